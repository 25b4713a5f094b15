"""Where the table begins in a file or a sheet: titles above the header, the header itself, empty columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl

from demandcast.errors import FileError
from demandcast.frames import vocabulary
from demandcast.frames.dates import looks_like_times
from demandcast.panel.panel import Note

Cells = Sequence[str | None]
DEEPEST = 50  # rows above the header, at most
NUMBER = re.compile(r"^[\s(]*[-+]?[^\w\s]?\s*[\d.,'\u00a0 ]*\d[\d.,'\u00a0 ]*\s*[%€$]?[)-]?\s*$")


def find_header(rows: Sequence[Cells], place: str) -> int:
    """Find the header row: the first row that is about as wide as the table.

    Args:
        rows: The first rows of a file, empty cells as "" or None.
        place: The file or sheet, for messages.

    Raises:
        FileError: No row is wide enough, or the first one is data already.
    """
    wide = [sum(_full(cell) for cell in row) for row in rows]
    usual = Counter(w for w in wide if w > 1).most_common()
    if not usual:
        return next((i for i, w in enumerate(wide) if w), 0)
    most = max(count for _, count in usual)
    width = max(w for w, count in usual if 2 * count >= most)
    fitting = [i for i in range(min(len(rows), DEEPEST)) if wide[i] > 1 and wide[i] >= width - 1]
    if not fitting:
        return next(i for i, w in enumerate(wide) if w > 1)
    for i in fitting:
        if _is_wordy(rows[i]) or _names_times(rows[i], rows[i + 1 : i + 2]):
            return i
    for i in range(fitting[0]):
        if (
            wide[i] > 1
            and _is_wordy(rows[i])
            and vocabulary.columns_with_words(list(filter(None, rows[i])), vocabulary.TIME)
        ):
            return i  # its rows are wider than it, as whoever reads them will find
    _refuse_data(rows, fitting[0], place)
    return fitting[0]


def _full(cell: str | None) -> bool:
    return cell is not None and cell.strip() != ""


def _is_wordy(row: Cells) -> bool:
    """Return whether the cells can be column names: all different, none a number or a date."""
    cells = [cell.strip() for cell in row if cell is not None and cell.strip()]
    if len(set(cells)) < len(cells) or any(NUMBER.match(cell) for cell in cells):
        return False
    return not looks_like_times(cells)


def _names_times(row: Cells, below: Sequence[Cells]) -> bool:
    """Return whether a row is the header of a table with one column for each time: a word, then times, above other cells."""
    cells = [cell.strip() for cell in row if cell is not None and cell.strip()]
    times = looks_like_times(cells[1:])
    if len(times) < 2 or len(times) < len(cells) // 2 or looks_like_times(cells[:1]) or not below:
        return False
    values = [cell for cell in below[0][1:] if cell]
    return 2 * len(looks_like_times(values)) <= len(values)  # one may look like a time by chance


def _refuse_data(rows: Sequence[Cells], header: int, place: str) -> None:
    """Refuse a first row whose dates stand above dates: it is no header."""
    head = [cell or "" for cell in rows[header]]
    times = looks_like_times(head)
    if len(times) != 1 or any(
        vocabulary.columns_with_words([cell], vocabulary.TIME) for cell in head if cell
    ):
        return
    column = head.index(times[0])
    below = [row[column] or "" for row in rows[header + 1 : header + 6] if column < len(row)]
    if below and len(looks_like_times(below)) == len(below):
        raise FileError(
            f"{place} has no header line: its first row holds {times[0]!r}, a date like those below; "
            "write the names of the columns, as in item,date,units, above the rows"
        )


def column_names(header: Cells, place: str) -> list[str]:
    """Return the column names of the file, unchanged; an absent name is "".

    Raises:
        FileError: Two columns have one name.
    """
    names = [(cell or "").strip() for cell in header]
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise FileError(f"{place} has two columns named {twice[0]!r}; rename one in its header")
    return names


def describe_titles(header: int, rows: Sequence[Cells]) -> list[Note]:
    """Return a note that the rows above the header are left out, if any of them has text."""
    titles = [" ".join(cell for cell in row if cell) for row in rows[:header]]
    if not any(titles):
        return []
    first = next(line for line in titles if line)
    action = f"{header} rows above the header are left out, the first of them {first[:60]!r}"
    return [Note(kind="title", count=header, series=0, example="", done=action)]


def choose_columns(
    names: Mapping[str, str], cells: pl.DataFrame
) -> tuple[dict[str, str], list[Note]]:
    """Name the columns, and return notes on those without a name in the header.

    Args:
        names: Of each column as the header has it, "" where it has none.
        cells: The columns to keep, or the first of their rows.
    """
    column_of: dict[str, str] = {}
    notes: list[Note] = []
    positions = {column: i for i, column in enumerate(names, 1)}
    for column in cells.columns:
        name, position = names[column], positions[column]
        if name and not re.fullmatch(r"Unnamed: \d+", name):
            column_of[name] = column
            continue
        steps = cells[column].cast(pl.Int64, strict=False).diff()[1:]
        if len(steps) and not steps.null_count() and (steps == 1).all():
            action = f"column {position} has no name and numbers the rows, as pandas writes them: left out"
        else:
            column_of[f"column {position}"] = column
            action = f"column {position} has no name in the header: called 'column {position}'"
        notes.append(Note(kind="unnamed", count=1, series=0, example="", done=action))
    return column_of, notes
