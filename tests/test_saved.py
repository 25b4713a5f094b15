"""A folder's files become valid at once, and what a killed save leaves is found and removed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import demandcast as dc
from demandcast import files, saved
from demandcast.errors import CheckpointError, FileError
from demandcast.saved import Saving, digest_of, read_saved, saving


class Killed(BaseException):
    pass


def write(folder: Path, text: str, dies: int = 99) -> None:
    """Save two files and a folder of one text; `dies` counts the writes until the process is no more."""
    with saving(folder, what="the test") as run:
        for i, name in enumerate(("a.txt", "b.txt")):
            if i == dies:
                raise Killed
            run.add(name, text)
        with run.inner("c") as inner:
            inner.add("d.txt", text)
            inner.finish({"format": 2})
        if dies == 2:
            raise Killed
        run.finish({"format": 2, "text": text})


def texts(folder: Path) -> set[str]:
    run = read_saved(folder)
    own = [run.file("a.txt"), run.file("b.txt"), run.inner("c").file("d.txt")]
    return {str(run.facts["text"]), *(path.read_text() for path in own)}


@pytest.mark.parametrize("dies", range(3))
def test_a_killed_save_leaves_the_old_version(
    dies: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "old")
    (tmp_path / "notes.md").write_text("the user's")
    names = {p.name for p in tmp_path.iterdir()}
    with monkeypatch.context() as patch:  # a process that is killed cleans nothing up
        patch.setattr(Saving, "__exit__", lambda self, *_: self.journal.close())
        with pytest.raises(Killed):
            write(tmp_path, "new", dies)
    assert texts(tmp_path) == {"old"}
    for text in ("newer", "newest"):
        write(tmp_path, text)
        assert texts(tmp_path) == {text}
    assert {p.name for p in tmp_path.iterdir()} == names  # nothing is left of any other version


def test_a_save_into_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with saving(tmp_path, what="the first") as run:
        with pytest.raises(FileError, match="another process is saving"):
            write(tmp_path, "second")
        run.finish({"format": 2})
    (tmp_path / "model.json").write_text('{"name": "of another tool"}')
    with pytest.raises(FileError, match="not of this package"):
        write(tmp_path, "third")


@pytest.mark.parametrize("name", ["../a.txt", "/etc/hosts", ".", "..", "c/d.txt", "", 5])
def test_names_lead_nowhere_else(name: object, tmp_path: Path) -> None:
    write(tmp_path, "old")
    facts = json.loads((tmp_path / "model.json").read_text())
    facts.pop("digest")
    facts["files"]["a.txt"]["name"] = name
    (tmp_path / "model.json").write_text(json.dumps(facts | {"digest": digest_of(facts)}))
    with pytest.raises(CheckpointError, match="plain names"):
        read_saved(tmp_path)


def test_files_of_dead_writers_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    (tmp_path / ".f.csv.0123abcd.tmp").write_text("left by a killed process")
    (tmp_path / ".f.csv.notes.tmp").write_text("of someone else")
    with files.replacing(tmp_path / "f.csv", what="the one") as one:
        one.write(b"1")
        files.write_file(tmp_path / "f.csv", "2", what="the other")
    assert (tmp_path / "f.csv").read_text() == "1"  # the last to end
    assert sorted(os.listdir(tmp_path)) == [".f.csv.notes.tmp", "f.csv"]


def test_a_full_disk_is_said_with_what_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    said = (
        r"not saved: .*run.*: no space left on device; the fitted drift was not written; free space"
    )
    with pytest.raises(FileError, match=said):
        dc.local.Drift(horizon=2).save(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_an_older_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"format": 1, "model": "drift", "hyperparameters": {}}')
    with pytest.raises(CheckpointError, match="has format 1, this package reads 2"):
        dc.load(tmp_path)
    assert saved.is_ours(tmp_path / "model.json")


def test_an_older_format_with_an_upgrade_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = dc.local.SeasonalNaive(horizon=2, period=7)
    model.save(tmp_path)
    facts = json.loads((tmp_path / "model.json").read_text())
    facts.pop("digest")
    facts |= {"format": 1, "settings": facts.pop("hyperparameters")}
    (tmp_path / "model.json").write_text(json.dumps(facts | {"digest": digest_of(facts)}))

    def upgrade(facts: dict[str, Any]) -> dict[str, Any]:
        return facts | {"hyperparameters": facts["settings"]}

    monkeypatch.setitem(saved.UPGRADES, ("model.json", 1), upgrade)
    assert dc.load(tmp_path).hyperparameters() == model.hyperparameters()
    (tmp_path / "model.json").write_text(json.dumps(facts | {"digest": "of the new facts"}))
    with pytest.raises(CheckpointError, match="damaged or edited"):
        dc.load(tmp_path)
