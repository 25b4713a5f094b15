"""A sheet of a workbook (Excel, LibreOffice) as rows of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from demandcast.errors import FileError
from demandcast.panel.panel import Note


def read_sheet(source: Any, name: str, sheet: str | None) -> tuple[pl.DataFrame, str, list[Note]]:
    """Every cell of a sheet as text, without a header; the sheet's name; and how it was chosen.

    Args:
        source: A path, or bytes in memory.
        name: What messages call it.
        sheet: The sheet to read; None where only one of them holds a table.

    Raises:
        FileError: fastexcel is not installed, the file is no workbook, or the sheet is not there or not plain.
    """
    try:
        import fastexcel
    except ImportError as error:
        raise FileError(
            f"{name} is a workbook, and reading it needs fastexcel: pip install 'demandcast[excel]'"
        ) from error
    try:
        book = fastexcel.read_excel(source if isinstance(source, Path) else source.getvalue())
    except Exception as error:  # fastexcel raises its own kinds, and those of calamine
        raise FileError(f"{name} is no workbook that can be read ({error})") from error
    names = list(book.sheet_names)
    if sheet is not None and sheet not in names:
        raise FileError(f"{name} has no sheet {sheet!r}; it has {', '.join(map(repr, names))}")
    cells = {title: _cells(book, title) for title in ([sheet] if sheet else names)}
    tables = [title for title, table in cells.items() if table.height > 1 and table.width > 1]
    if not tables:
        raise FileError(f"{name} holds no table: no sheet has two rows and two columns")
    if len(tables) > 1:
        raise FileError(
            f"{name} holds {len(tables)} tables, in the sheets {', '.join(map(repr, tables))}; "
            f"name one: sheet={tables[0]!r}"
        )
    notes = []
    if len(names) > 1 and sheet is None:
        action = (
            f"sheet {tables[0]!r} is read, the only one with a table; sheet='...' names another"
        )
        notes.append(Note(kind="guess", count=1, series=0, example="", action=action))
    return cells[tables[0]], tables[0], notes


def _cells(book: Any, title: str) -> pl.DataFrame:
    """The cells as text, without the empty columns and rows around them."""
    table: pl.DataFrame = book.load_sheet(title, header_row=None, dtypes="string").to_polars()
    table = table.select(c for c in table.columns if table[c].is_not_null().any())
    if not table.width:
        return table
    full = table.select(pl.any_horizontal(pl.all().is_not_null()))[:, 0].arg_true()
    return table.slice(int(full[0])) if len(full) else table.clear()
