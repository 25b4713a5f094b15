"""Every script in benchmarks/ starts: its imports are there and its --help is printed."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

import polars as pl
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = [
    path for path in sorted(FOLDER.rglob("*.py")) if "__main__" in path.read_text(encoding="utf-8")
]


def name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_prints_its_help(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, for speed; the script's folder is first on the path, as python puts it."""
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    loaded = set(sys.modules)
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(path), run_name="__main__")
    finally:
        for module in set(sys.modules) - loaded:
            if str(FOLDER) in str(getattr(sys.modules[module], "__file__", "")):
                del sys.modules[module]  # two folders may name a file alike
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "usage:" in printed
    docstring = path.read_text(encoding="utf-8").partition('"""')[2].splitlines()[0]
    assert docstring in printed


def test_a_task_keeps_series_that_end_before_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The competitions score them; reading tables leaves them out unless asked."""
    monkeypatch.setattr(sys, "path", [str(FOLDER / "accuracy"), *sys.path])
    rows = [(f"H{i}", step) for i, steps in enumerate((300, 300, 60)) for step in range(steps)]
    table = pl.DataFrame(rows, schema=["unique_id", "ds"], orient="row")
    table = table.with_columns(y=1.0 + pl.col("ds") % 24, is_test=0)
    table.write_parquet(tmp_path / "m4_hourly.parquet")
    try:
        panel = importlib.import_module("tasks").TASKS["m4_hourly"].load(tmp_path)
    finally:
        sys.modules.pop("tasks", None)
    assert panel.n_series == 3
