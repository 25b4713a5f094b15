"""Save files that belong together as one thing: all of them change at once, and none unnoticed.

A folder has a manifest (`model.json`, `panel.json`) that names every other file with its size and SHA-256
digest, and has a digest of its own. Files of a new version are written beside those of the old one, under
names that are free; renaming the new manifest over the old one makes the new version valid in one
step. Until then the old one is whole. A journal in the folder lists what the save may leave behind, so
that the next one removes what a killed save has left. Files of the user in the folder are not touched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from demandcast.errors import CheckpointError, DemandcastError, FileError
from demandcast.files import check_name, lock, not_written, printable, remove_stale, write_file

MODEL = "model.json"
JOURNAL = ".saving"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")  # no path: neither "..", nor a separator
BLOCK = 1 << 20
# Functions that turn the facts of an older format into those of the next one, by manifest and format. A
# change that a default of a new field cannot express gets the next format number and an entry here.
UPGRADES: dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]] = {}


class Saving:
    """A version of a folder that is being written; see `saving`."""

    def __init__(self, folder: Path, manifest: str, what: str) -> None:
        self.folder, self.manifest, self.what = folder, manifest, what
        self.files: dict[str, dict[str, Any]] = {}
        self.finished = False
        self.before: list[str] = []  # files of the version that is valid when the save begins
        self.written: list[str] = []
        self.journal: IO[str] | None = None

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """Open a file to write; it is on disk when the block ends."""
        path = self._free(name)
        with path.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        self._note(name, path, path)

    def add(self, name: str, content: bytes | str) -> None:
        """Write a file."""
        with self.file(name) as file:
            file.write(content.encode() if isinstance(content, str) else content)

    @contextlib.contextmanager
    def inner(self, name: str) -> Iterator[Saving]:
        """Open a folder inside this one, with a manifest of its own."""
        path = self._free(name)
        path.mkdir()
        inner_run = Saving(path, self.manifest, self.what)
        yield inner_run
        assert inner_run.finished
        self._note(name, path, path / self.manifest)

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the manifest, by which all files become valid."""
        facts = json.loads(json.dumps({**facts, "files": self.files}))
        facts["digest"] = digest_of(facts)
        write_file(self.folder / self.manifest, json.dumps(facts, indent=1) + "\n", what=self.what)
        self.finished = True
        if os.name != "nt":  # the new manifest is on disk before files of the old version go
            descriptor = os.open(self.folder, os.O_RDONLY)
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
            os.close(descriptor)

    def _free(self, name: str) -> Path:
        """Reserve an unused path in the folder and record it in the journal."""
        stem, dot, ending = name.partition(".")
        number = 1
        while os.path.lexists(path := self.folder / name):
            number += 1
            name = f"{stem}.{number}{dot}{ending}"
        self.written.append(path.name)
        if self.journal is not None:
            self.journal.write(path.name + "\n")
            self.journal.flush()
            os.fsync(self.journal.fileno())
        return path

    def _note(self, name: str, path: Path, content: Path) -> None:
        self.files[name] = {
            "name": path.name, "bytes": content.stat().st_size, "sha256": digest_of_file(content),
        }  # fmt: skip

    def __enter__(self) -> Saving:
        descriptor = os.open(self.folder / JOURNAL, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self.journal = os.fdopen(descriptor, "a+", encoding="utf-8")
        if lock(descriptor) is False:
            self.journal.close()
            raise FileError(
                f"not saved: {printable(self.folder)}: another process is saving into it; {self.what} was "
                "not written; wait for it, or choose another folder"
            )
        self.before = _valid_names(self.folder / self.manifest)
        self.journal.seek(0)
        left = self.journal.read().splitlines()
        self._remove(set(left) - set(self.before))
        remove_stale(self.folder / self.manifest)
        self.journal.seek(0)
        self.journal.truncate()
        self.journal.writelines(name + "\n" for name in self.before)
        self.journal.flush()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.journal is not None
        valid = set(_valid_names(self.folder / self.manifest))
        self._remove({*self.written, *self.before} - valid)
        with contextlib.suppress(OSError):
            (self.folder / JOURNAL).unlink()
        self.journal.close()

    def _remove(self, names: set[str]) -> None:
        """Remove files of a version that is not valid, or not any more."""
        for name in names:
            if not NAME.fullmatch(name):
                continue
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()


@contextlib.contextmanager
def saving(path: str | Path, *, what: str, manifest: str = MODEL) -> Iterator[Saving]:
    """Write a folder's files as one: valid together with `finish`, or not there.

    Args:
        path: The folder, made where it is missing; files in it that are not of an older version stay.
        what: What is saved, for the message of an error: "the fitted deepar".
        manifest: Name of the file that lists the others.

    Raises:
        FileError: It cannot be written there, or the folder has a manifest of something else.
    """
    folder = Path(path)
    check_name(folder / manifest, what)
    created = False
    try:
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(20, "")
        _check_ours(folder / manifest, what)
        created = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        with Saving(folder, manifest, what) as run:
            yield run
            if not run.finished:
                raise AssertionError("a save ends with finish")
    except OSError as error:
        if isinstance(error, DemandcastError):
            raise
        raise not_written(path, error, what) from error
    finally:
        if created:
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing was written


class Saved:
    """A folder as `saving` wrote it, its files checked against their digests.

    Attributes:
        folder: Where it lies.
        facts: The manifest.
        stamp: When the manifest was last changed.
    """

    def __init__(
        self, folder: Path, facts: dict[str, Any], stamp: int, error: type[DemandcastError]
    ) -> None:
        self.folder, self.facts, self.stamp, self.error = folder, facts, stamp, error

    def file(self, name: str, *, check: bool = True) -> Path:
        """Return the path of a file after checking its content.

        Raises:
            CheckpointError: It is missing or was changed since it was saved.
        """
        path, entry = self._entry(name)
        self._check(path, entry, check=check)
        return path

    def inner(self, name: str) -> Saved:
        """Return a folder inside that was written with `Saving.inner`."""
        path, entry = self._entry(name)
        self._check(path / MODEL, entry)
        return read_saved(path, error=self.error)

    def _entry(self, name: str) -> tuple[Path, dict[str, Any]]:
        files = self.facts["files"]
        if name not in files:
            raise self.error(
                f"{printable(self.folder)} is damaged: it has no {name}; save it again"
            )
        entry: dict[str, Any] = files[name]
        return self.folder / entry["name"], entry

    def _check(self, path: Path, entry: dict[str, Any], *, check: bool = True) -> None:
        try:
            if not path.is_file():
                reason = "is missing"
            elif path.stat().st_size != entry["bytes"]:
                reason = f"has {path.stat().st_size:,} bytes, and should have {entry['bytes']:,}"
            elif check and digest_of_file(path) != entry["sha256"]:
                reason = "is not what was saved: its SHA-256 digest differs"
            else:
                return
        except OSError as error:
            reason = f"cannot be read ({error.strerror})"
        raise self.error(
            f"{printable(path)} {reason}; the run is damaged: save it again, or take it from a copy"
        )


def read_saved(
    path: str | Path,
    *,
    manifest: str = MODEL,
    format: int = 2,
    error: type[DemandcastError] = CheckpointError,
    holds: str = "no saved forecaster",
    hint: str = "name the folder given to model.save or --save",
) -> Saved:
    """Read a folder's manifest and check its own digest; its files are checked as they are read.

    Raises:
        CheckpointError: There is none, it is damaged, edited or of another version. Another kind
            of error where `error` says so.
    """
    folder = Path(path)
    try:
        if (folder / manifest).exists() and not (folder / manifest).is_file():
            raise ValueError(f"{manifest} is not a file")
        stamp = (folder / manifest).stat().st_mtime_ns
        facts = json.loads((folder / manifest).read_bytes())
        if not isinstance(facts, dict) or "format" not in facts:
            raise ValueError(f"{manifest} has no format")
    except (OSError, ValueError, RecursionError) as cause:
        raise error(f"{printable(path)} holds {holds} ({_short_text(cause)}); {hint}") from cause
    version = facts["format"]
    known = type(version) is int and 0 < version <= format
    if not known or any((manifest, older) not in UPGRADES for older in range(version, format)):
        newer = type(version) is int and version > format
        what = "update demandcast" if newer else "fit and save it again with this version"
        raise error(
            f"{printable(path)} has format {version!r:.40}, this package reads {format}; {what}"
        )
    digest = facts.pop("digest", None)
    if digest != digest_of(facts):
        raise error(
            f"{printable(folder / manifest)} was damaged or edited: its digest differs; save it again, "
            "or take it from a copy"
        )
    files = facts.get("files")
    if not isinstance(files, dict) or not all(map(_is_entry, files.values())):
        raise error(
            f"{printable(folder / manifest)} is damaged: its list of files has to hold plain names with their "
            "bytes and sha256; save it again"
        )
    for older in range(version, format):
        facts = UPGRADES[manifest, older](facts)
    return Saved(folder, facts, stamp, error)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and NAME.fullmatch(entry["name"]) is not None
        and type(entry.get("bytes")) is int
        and isinstance(entry.get("sha256"), str)
    )


def digest_of(facts: dict[str, Any]) -> str:
    """Return the digest of a manifest's content, independent of its layout."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """Return the SHA-256 digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_ours(manifest: Path) -> bool:
    """Return whether a manifest looks like one of this package, in any version."""
    try:
        facts = json.loads(manifest.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and isinstance(facts.get("format"), int)


def _check_ours(manifest: Path, what: str) -> None:
    if os.path.lexists(manifest) and not is_ours(manifest):
        raise FileError(
            f"not saved: {printable(manifest)} is not of this package, or is damaged; {what} was not written; "
            "choose another folder, or remove that file"
        )


def _valid_names(manifest: Path) -> list[str]:
    """Return the names of the files of the valid version, empty without one."""
    try:
        facts = json.loads(manifest.read_bytes())
        digest = facts.pop("digest")
        names = [entry["name"] for entry in facts["files"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return names if digest == digest_of(facts) else []


def _short_text(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:200]
