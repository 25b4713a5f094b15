"""The magic in a real kernel, whose own `sys.argv` holds a kernel's flags."""

from __future__ import annotations

from pathlib import Path

import nbformat
import polars as pl
import pytest
from nbclient import NotebookClient

from demandcast.notebook import _as_path

CELLS = [
    "import sys; assert '-f' in sys.argv, sys.argv",
    "%load_ext demandcast",
    "%demandcast forecast --help",
    "import demandcast.cli; assert demandcast.cli.main(['forecast']) == 2",
    "assert demandcast.cli.main() == 0",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_magic_runs_in_a_real_notebook(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown = "".join(out.get("text", "") for out in notebook.cells[2].outputs)
    assert "--horizon" in shown


def test_a_word_that_names_a_frame_stands_for_it(tmp_path: Path) -> None:
    sales = pl.DataFrame({"item": ["a"], "units": [3.0]})
    path = _as_path("sales", {"sales": sales}, tmp_path)
    assert pl.read_parquet(path).equals(sales)
    assert _as_path("sales.csv", {"sales": sales}, tmp_path) == "sales.csv"
    assert _as_path("forecast", {"forecast": print}, tmp_path) == "forecast"
