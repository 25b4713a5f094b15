"""The notebooks of docs/notebooks stand in the repository as they were run; `make docs` runs them again."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_run_from_top_to_bottom_and_shows_no_path_of_a_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs) or path.stem[:2] in (
        "02",
        "04",
    )
    assert not any(output.output_type == "error" for output in outputs)
    shown = path.read_text(encoding="utf-8")
    assert not re.search(
        r"(?<![\w.])/(work|home|root|Users)/", re.sub(r'"image/png": "[^"]*"', "", shown)
    )
    assert path.stat().st_size < 1 << 20
