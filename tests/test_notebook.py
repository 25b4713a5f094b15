"""The magic in a real kernel, whose own `sys.argv` holds a kernel's flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from demandcast.notebook import _as_path

SALES = """
import polars as pl
from datetime import date
days = pl.date_range(date(2024, 1, 1), date(2024, 2, 29), eager=True)
sales = pl.DataFrame({"item": ["a"] * len(days), "date": days, "units": [1, 2, 3, 4, 5, 6, 7] * 8 + [1, 2, 3, 4]})
horizon, out = 7, "forecast.csv"
"""
CELLS = [
    "import sys; assert '-f' in sys.argv, sys.argv",
    "%load_ext demandcast",
    "%demandcast forecast --help",
    "import demandcast.cli; assert demandcast.cli.main(['forecast']) == 2",
    "assert demandcast.cli.main() == 0",
    SALES,
    "%demandcast check sales",
    "%demandcast forecast sales --horizon {horizon} --model deepar --set max_steps=3 --set hidden=8 --out {out}",
    "%demandcast forecast sales --horizon $horizon --model nonesuch",
    "import demandcast as dc; panel = dc.read_panel(sales); panel",
    "dc.local.SeasonalNaive(horizon=7).fit(panel).predict(panel)",
    "dc.backtest('drift', panel, horizon=7, progress=False)",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_magic_runs_in_a_real_notebook(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    said = {cell.source: _text(cell.outputs) for cell in notebook.cells}
    assert "--horizon" in said[CELLS[2]]
    assert "read 1 series, 60 steps of D" in said[CELLS[6]]
    assert "wrote forecast.csv" in said[CELLS[7]]
    assert not any("Warning" in text for text in said.values()), said
    assert said[CELLS[8]].startswith("error: model 'nonesuch' is not known")
    for shown in CELLS[9:]:
        assert "<table" in said[shown], shown
    written = pl.read_csv(tmp_path / "forecast.csv")
    assert written["date"].to_list() == [f"2024-03-0{day}" for day in range(1, 8)]


def _text(outputs: list[Any]) -> str:
    parts = [out.get("text") or out.get("data", {}).get("text/html", "") for out in outputs]
    return "".join(parts)


def test_a_word_that_names_a_frame_stands_for_it(tmp_path: Path) -> None:
    sales = pl.DataFrame({"item": ["a"], "units": [3.0]})
    path = _as_path("sales", {"sales": sales}, tmp_path)
    assert pl.read_parquet(path).equals(sales)
    assert _as_path("sales.csv", {"sales": sales}, tmp_path) == "sales.csv"
    assert _as_path("forecast", {"forecast": print}, tmp_path) == "forecast"
