"""What the cells of a column look like: numbers, times, or values that never repeat."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from functools import cached_property, lru_cache

import polars as pl

from demandcast.errors import DemandcastError
from demandcast.frames.dates import read_dates
from demandcast.frames.numerals import MISSING, parse_numbers
from demandcast.frames.opened import Table

PLAIN_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})|([0-9]{1,2})([./-])([0-9]{1,2})\5([0-9]{4})"
)
WORDS_READ = 200  # distinct words that decide whether a column holds times
FIGURES = rf"^\s*([+-]?\d[\d.,']*|{'|'.join(filter(None, MISSING))})\s*$"  # signs decided later
ROWS_OF_A_KEY = 20  # rows from which on a column that never repeats is no key


class Looks:
    """What columns hold by their first rows: numbers, times, keys. Each answer is computed once, on demand.

    A table may have many thousands of columns without a role. So text that is clearly numbers, or clearly
    not, is recognised for all columns in one pass; only the others are parsed, one by one.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._types = dict(table.sample.schema)  # Polars builds it anew at each access
        self._answers: dict[tuple[str, str], bool] = {}
        self._shares: dict[frozenset[str], float] = {}  # of cells that are numbers, by their shapes

    def is_number(self, column: str) -> bool:
        """Return whether most cells are numbers, in any notation."""
        return self._answer("number", column, self._find_number)

    def is_time(self, column: str) -> bool:
        """Return whether all cells are dates or datetimes."""
        return self._answer("time", column, self._find_time)

    def is_unique(self, column: str) -> bool:
        """Return whether cells never repeat, like row numbers and order ids; False for dates."""
        return self._answer("unique", column, self._find_unique)

    def _answer(self, question: str, column: str, find: Callable[[str], bool]) -> bool:
        cache_key = (question, column)
        if cache_key not in self._answers:
            self._answers[cache_key] = find(column)
        return self._answers[cache_key]

    def _find_number(self, column: str) -> bool:
        if not self._is_text(column):
            return self._types[column].is_numeric()
        _, full, figures, digits = self._counts[column]
        if not full or 2 * digits <= full:
            return False
        if figures == full:
            return True
        shapes = self._shapes[column]
        if (share := self._shares.get(shapes)) is None:
            share = _share_of_numbers(self.cells(column), self._table)
            if share in (0, 1):  # else it is the cells of a shape that count, not the shapes
                self._shares[shapes] = share
        return share > 0.5

    def _find_time(self, column: str) -> bool:
        kind = self._types[column]
        if not self._is_text(column):
            return kind.is_temporal() and kind not in (pl.Time, pl.Duration)
        first = self._counts[column][0]
        if first is None or not _may_be_time(first) or first in self._no_times:
            return False
        return _reads_as_times(self._words[column])

    def _find_unique(self, column: str) -> bool:
        if not (self._is_text(column) or self._types[column].is_integer()):
            return False
        cells = self.cells(column)
        distinct = len(cells) >= ROWS_OF_A_KEY and cells.n_unique() == len(cells)
        return distinct and (not self.is_time(column) or self.is_number(column))

    def _is_text(self, column: str) -> bool:
        return self._types[column] in (pl.String, pl.Categorical, pl.Enum)

    def cells(self, column: str) -> pl.Series:
        cells = self._table.sample[column].drop_nulls()
        return cells.cast(pl.String) if self._is_text(column) else cells

    @cached_property
    def _counts(self) -> dict[str, tuple[str | None, int, int, int]]:
        """For each column of text: its first cell; how many are full, are figures or "NA", hold a digit."""
        columns = list(filter(self._is_text, self._types))
        text = self._table.sample.select(pl.col(columns).cast(pl.String))
        counts = (
            text.select(pl.all().drop_nulls().first()),
            text.select(pl.all().count()),
            text.select(pl.all().str.contains(FIGURES).sum()),
            text.select(pl.all().str.contains(r"\d").sum()),
        )
        return dict(zip(columns, zip(*(c.row(0) for c in counts), strict=True), strict=True))

    @cached_property
    def _shapes(self) -> dict[str, frozenset[str]]:
        """Return for each column of text with digits the shapes of its cells: 9 for every digit but a leading 0.

        Columns of the same shapes are parsed in the same way, so one of them decides for all.
        """
        columns = [column for column, (*_, digits) in self._counts.items() if digits]
        shapes = pl.col(columns).cast(pl.String).drop_nulls().str.replace_all(r"\b0", "o")
        shapes = shapes.str.replace_all(r"\d", "9").unique().implode()
        row = self._table.sample.select(shapes).row(0)
        return dict(zip(columns, map(frozenset, row), strict=True))

    @cached_property
    def _words(self) -> dict[str, list[str]]:
        """For each column of text whose first cell may be a time: its first `WORDS_READ` distinct cells."""
        columns = [c for c, (first, *_) in self._counts.items() if first and _may_be_time(first)]
        cells = pl.col(columns).cast(pl.String).drop_nulls().unique(maintain_order=True)
        row = self._table.sample.select(cells.head(WORDS_READ).implode()).row(0)
        return dict(zip(columns, row, strict=True))

    @cached_property
    def _no_times(self) -> frozenset[str]:
        """First cells of columns that are read as no time, whatever the order of day and month."""
        firsts = {first for first, *_ in self._counts.values() if first and _may_be_time(first)}
        words = [word for word in firsts if not re.search(r"\d[-/.\s]+\d+[-/.\s]+\d", word)]
        read = read_dates(pl.Series(words, dtype=pl.String), "column").values
        return frozenset(word for word, time in zip(words, read, strict=True) if time is None)


def _share_of_numbers(cells: pl.Series, table: Table) -> float:
    """Return the share of cells that are numbers, in any notation."""
    try:
        values, _ = parse_numbers(cells, "column", junk="missing", hints=table.hints)
    except DemandcastError:  # numbers with undecided signs
        return float(cells.str.contains(r"^[^\p{L}]*\d[^\p{L}]*$").all())
    return 1 - values.null_count() / len(cells)


def _may_be_time(cell: str) -> bool:
    """Return whether a cell holds a digit and is not a plain number."""
    return bool(re.search(r"\d", cell)) and not re.fullmatch(r"\s*[-+]?\d+([.,]\d*)?\s*", cell)


def _reads_as_times(words: list[str]) -> bool:
    """Return whether all words are dates or datetimes."""
    if all(map(_is_plain_date, words)):  # far quicker than Polars
        return True
    if not all(map(_may_be_time, words)):
        return False
    try:
        read = read_dates(pl.Series(words, dtype=pl.String), "column")
        return not read.values.null_count()
    except DemandcastError:  # dates in an undecided order
        return True


@lru_cache(maxsize=1 << 16)
def _is_plain_date(word: str) -> bool:
    """Return whether a word is a valid date: 2024-01-31, or 31.1.2024 with day and month in either order."""
    match = PLAIN_DATE.fullmatch(word)
    if match is None:
        return False
    year, month, day = map(int, match.group(1, 2, 3) if match[1] else match.group(7, 6, 4))
    for m, d in ((month, day), (day, month)) if match[7] else ((month, day),):
        if 1 <= m <= 12 and year and 1 <= d <= monthrange(year, m)[1]:
            return True
    return False
