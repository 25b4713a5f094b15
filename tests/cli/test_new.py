"""`demandcast new`: the script reads the table as the command did, and runs."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import demandcast as dc
from demandcast.cli.main import main
from demandcast.panel.panel import Panel

DAYS = [str(day) for day in np.datetime64("2024-01-01") + np.arange(40)]
PRICE = 'the "price"\'s \\n'
LONG = pl.DataFrame(
    {
        "item": ["x"] * 40 + ["y"] * 40, "day": DAYS * 2, "sold": [i % 7 + 1.0 for i in range(80)],
        PRICE: [2.0 + i % 3 for i in range(80)],
    }
)  # fmt: skip
TABLES = {
    "long": (LONG, []),
    "given": (LONG, ["--known", PRICE, "--target", "sold", "--gaps", "zero", "--time", "day"]),
    "wide": (pl.DataFrame({"date": DAYS} | {name: range(40) for name in "ABC"}), []),
    "one": (pl.DataFrame({"date": DAYS, "units": range(40)}), []),
    "parts": (
        pl.DataFrame({"item": ["a"] * 24, "year": [2022] * 12 + [2023] * 12, "month": [*range(1, 13)] * 2, "n": range(24)}),
        ["--time", "year,month"],
    ),
}  # fmt: skip


def settings_of(folder: Path) -> dict[str, Any]:
    """The names that settings.py gives values to."""
    tree = ast.parse((folder / "settings.py").read_text("utf-8"))
    return {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def same(one: Panel, other: Panel) -> bool:
    return one.schema == other.schema and np.array_equal(one.target, other.target, equal_nan=True)


@pytest.mark.parametrize("name", TABLES)
def test_the_settings_read_the_table_as_the_command_did(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, words = TABLES[name]
    monkeypatch.chdir(tmp_path)
    frame.write_csv("sales.csv")
    assert main(["new", "sales.csv", *words, "--folder", "plan/a"]) == 0
    settings = settings_of(Path("plan/a"))
    options = dict(zip([w[2:] for w in words[::2]], words[1::2], strict=True))
    given = {k: v.split(",") if k in ("known", "time") else v for k, v in options.items()}
    expected = dc.read_panel("sales.csv", **given)
    assert same(dc.read_panel(f"plan/a/{settings['TABLE']}", **settings["READING"]), expected)
    assert 1 <= settings["HORIZON"] <= 28


def test_the_script_forecasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LONG.write_csv("sales.csv")
    assert main(["new", "sales.csv"]) == 0
    settings = Path("plan/settings.py")
    settings.write_text(settings.read_text("utf-8").replace('"zero_shot"', '"seasonal_naive"'))
    monkeypatch.syspath_prepend(str(Path("plan").resolve()))
    monkeypatch.chdir("/")  # it runs from anywhere
    try:
        runpy.run_path(str(tmp_path / "plan" / "forecast.py"), run_name="__main__")
    finally:
        sys.modules.pop("settings", None)
    panel = dc.read_panel(str(tmp_path / "sales.csv"))
    expected = dc.local.SeasonalNaive(horizon=settings_of(tmp_path / "plan")["HORIZON"])
    found = pl.read_csv(tmp_path / "plan" / "forecast.csv", try_parse_dates=True)
    assert_frame_equal(found, expected.predict(panel).to_frame(), check_dtypes=False, rel_tol=1e-6)
    assert "Forecast of sales.csv" in (tmp_path / "plan" / "forecast.html").read_text("utf-8")


def test_work_in_the_folder_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    LONG.write_csv("sales.csv")
    Path("plan").mkdir()
    Path("plan/settings.py").write_text("mine = 1")
    assert main(["new", "sales.csv"]) == 2
    assert "--force" in capsys.readouterr().err
    assert Path("plan/settings.py").read_text() == "mine = 1"
    assert not Path("plan/forecast.py").exists()
    assert main(["new", "sales.csv", "--force"]) == 0


def test_a_query_has_no_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--sql", "select 1", "--connect", "sqlite:///none.db"]) == 2
    assert "check --fix" in capsys.readouterr().err
