"""A sheet of a workbook (Excel, LibreOffice) as rows of text, and a table as a workbook."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import polars as pl

from demandcast.errors import FileError, mend, way
from demandcast.files import replacing
from demandcast.frames.layout import choose_columns, column_names, describe_titles, find_header
from demandcast.frames.numerals import Hints
from demandcast.frames.opened import SAMPLE, Table
from demandcast.panel.panel import Note

ROWS = 1_048_576  # of a sheet of Excel
COLUMNS = 16_384
LETTERS = 32_767  # of a cell
EXACT = 2**53  # from here on a number in Excel loses digits
FIRST_DAY = datetime(1900, 3, 1)  # before it, Excel counts days as no calendar does
OPTIONS = {"strings_to_formulas": False, "strings_to_urls": False, "remove_timezone": True}


def open_sheet(source: Any, name: str, sheet: str | None, decimal: str | None) -> Table:
    """Read a sheet of a workbook as a table of text; see `read_sheet`."""
    cells, title, notes = read_sheet(source, name, sheet)
    place = f"{name}, sheet {title!r}"
    rows = cells.head(SAMPLE).rows()
    header = find_header(rows, place)
    names = column_names(rows[header], place)
    frame = cells.slice(header + 1)
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    labels = dict(zip(frame.columns, names, strict=True))
    full = [c for c in frame.columns if labels[c] or frame[c].null_count() < frame.height]
    names_by_column, column_notes = choose_columns(labels, frame.select(full))
    frame = frame.select(pl.col(old).alias(new) for new, old in names_by_column.items())
    titles = describe_titles(header, rows)
    return Table(
        frame=frame.lazy(), sample=frame.head(SAMPLE), is_text=True, name=place,
        hints=Hints(decimal=decimal, typed=decimal is None), notes=(*notes, *titles, *column_notes),
    )  # fmt: skip


def read_sheet(source: Any, name: str, sheet: str | None) -> tuple[pl.DataFrame, str, list[Note]]:
    """Read a sheet: its cells as text, without a header; its name; and a note on how it was chosen.

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
        reason = str(error).split("\n", 1)[0]
        raise FileError(
            f"{name} cannot be read as a workbook ({reason}); save it anew, or as CSV"
        ) from error
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
            "name one:",
            option="sheet",
            ways=[mend(sheet=tables[0])],
        )
    notes = []
    if len(names) > 1 and sheet is None:
        action = f"sheet {tables[0]!r} is read, the only one with a table; to read another, pass"
        notes.append(
            Note(kind="guess", count=1, series=0, example="", done=action, ways=(way(sheet=...),))
        )
    return cells[tables[0]], tables[0], notes


def _cells(book: Any, title: str) -> pl.DataFrame:
    """Return the cells as text, without the empty columns and rows around them."""
    table: pl.DataFrame = book.load_sheet(title, header_row=None, dtypes="string").to_polars()
    table = table.select(c for c in table.columns if table[c].is_not_null().any())
    if not table.width:
        return table
    full = table.select(pl.any_horizontal(pl.all().is_not_null()))[:, 0].arg_true()
    return table.slice(int(full[0])) if len(full) else table.clear()


def require_writer(name: str) -> Any:
    """Import the library that writes workbooks.

    Raises:
        FileError: It is not installed.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise FileError(
            f"{name} is a workbook, and writing it needs xlsxwriter: pip install 'demandcast[excel]'"
        ) from error
    return xlsxwriter


def write_frame(
    frame: pl.DataFrame, path: str | Path, *, what: str, keys: Sequence[str] = (), ending: str = ""
) -> None:
    """Write a table by the ending of its name, whole or not at all.

    Args:
        frame: The table.
        path: Where.
        what: What it is, for the message of an error.
        keys: Columns that are text in a workbook whatever their type.
        ending: The ending, where the name has none.
    """
    ending = ending or Path(path).suffix.lower()
    with replacing(path, what=what) as file:
        if ending == ".parquet":
            frame.write_parquet(file)
        elif ending == ".xlsx":
            write_sheet(frame, file, str(path), keys=keys)
        else:
            frame.write_csv(file, separator="\t" if ending == ".tsv" else ",")


def write_sheet(
    frame: pl.DataFrame, file: IO[bytes], name: str, *, keys: Sequence[str] = ()
) -> None:
    """Write a table as the only sheet of a workbook, its header frozen.

    Dates are dates and numbers are numbers; keys, and whatever Excel would change (whole numbers of more than
    15 digits, years before 1900), are text. Text that begins like a formula stays text. What is missing is empty.

    Args:
        frame: The table.
        file: Where the workbook goes.
        name: What messages call it.
        keys: Columns to write as text whatever their type.

    Raises:
        FileError: xlsxwriter is not installed, or the table has more rows or columns than a sheet.
    """
    library = require_writer(name)
    if frame.height >= ROWS or frame.width > COLUMNS:
        raise FileError(
            f"{name}: a sheet holds {ROWS - 1:,} rows and {COLUMNS:,} columns, and the table has "
            f"{frame.height:,} and {frame.width:,}; write it as .csv or .parquet"
        )
    with library.Workbook(file, OPTIONS) as book:
        sheet = book.add_worksheet("forecast")
        sheet.freeze_panes(1, 0)
        bold = book.add_format({"bold": True})
        days = book.add_format({"num_format": "yyyy-mm-dd"})
        clocks = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        for j, column in enumerate(frame.iter_columns()):
            sheet.write_string(0, j, column.name, bold)
            kind = column.dtype
            values = column.cast(pl.String) if column.name in keys else column
            midnights = kind == pl.Date or (
                isinstance(kind, pl.Datetime) and bool((column.dt.time().cast(pl.Int64) == 0).all())
            )
            for i, value in enumerate(values.to_list(), 1):
                if value is None or value != value:
                    continue
                if kind.is_temporal() and column.name not in keys and _is_date(value):
                    sheet.write_datetime(i, j, value, days if midnights else clocks)
                elif isinstance(value, (int, float)) and abs(value) < EXACT:
                    sheet.write(i, j, value)
                elif isinstance(value, float) and abs(value) != float("inf"):
                    sheet.write_number(i, j, value)
                else:
                    sheet.write_string(i, j, str(value)[:LETTERS])
        sheet.autofit()


def _is_date(value: Any) -> bool:
    """Return whether a value is a date that Excel can hold."""
    return hasattr(value, "year") and (value.year, value.month) >= (FIRST_DAY.year, FIRST_DAY.month)
