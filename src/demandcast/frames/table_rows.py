"""Prepare the rows of a table for the grid: number their series, parse numbers, sort, and merge duplicates.

All of it works on flat arrays; nothing here visits series one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, mend, way
from demandcast.frames.numerals import Hints, parse_numbers, row_number
from demandcast.panel.panel import Note

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
EXACT = 1 << 24  # whole numbers up to here are exact in 32 bits
FLAGS = {
    "true": 1.0,
    "false": 0.0,
    "yes": 1.0,
    "no": 0.0,
    "1": 1.0,
    "0": 0.0,
    "ja": 1.0,
    "nein": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a table: series number, time, target, and the other columns as they are."""

    keys: pl.DataFrame  # a row a series, in order of first appearance
    codes: NDArray[np.int32]  # row of `keys`, (rows,)
    times: NDArray[Any]  # datetime64[us] or int64, (rows,)
    target: Floats  # (rows,)
    rest: pl.DataFrame

    def take(self, index: NDArray[Any]) -> Rows:
        """Return the rows at `index`, in that order; series left without a row are dropped."""
        codes, keys = self.codes[index], self.keys
        present = np.zeros(keys.height, bool)
        present[codes] = True
        if not present.all():
            codes = (np.cumsum(present) - 1).astype(np.int32)[codes]
            keys = keys.filter(pl.Series(present))
        rest = self.rest if not self.rest.width else self.rest[pl.Series(index)]
        return Rows(
            keys=keys, codes=codes, times=self.times[index], target=self.target[index], rest=rest
        )

    def place(self, row: int) -> str:
        """Series and time of a row, for messages."""
        return f"series {series_name(self.keys, int(self.codes[row]))} at {show(self.times[row])}"


def series_name(keys: pl.DataFrame, code: int) -> str:
    return "/".join(str(v) for v in keys.row(code))


def show(time: Any) -> str:
    """Format a time for a message; midnight is written as the date alone."""
    if isinstance(time, np.datetime64):
        return str(time.astype("datetime64[s]")).removesuffix("T00:00:00").replace("T", " ")
    return str(time)


def number_series(columns: pl.DataFrame) -> tuple[NDArray[np.int32], pl.DataFrame]:
    """Number the distinct keys by first appearance; return each row's number, and the keys in that order.

    Raises:
        SchemaError: A key column holds lists or the like.
        DataError: A key is absent.
    """
    for column in columns.iter_columns():
        if column.dtype.is_nested() or column.dtype == pl.Object:
            raise SchemaError(
                f"key column {column.name!r} holds {column.dtype}; a key is text or a number"
            )
        absent = column.is_null() | (column.is_nan() if column.dtype.is_float() else False)
        if absent.any():
            row = int(absent.arg_true()[0])
            raise DataError(
                f"key column {column.name!r} is empty in {int(absent.sum()):,} rows, the first of "
                f"them row {row + 1:,}; drop those rows, or fill_null('unknown') the column"
            )
    turns = [pl.col(c).ne_missing(pl.col(c).shift()) for c in columns.columns]
    begun = columns.select(pl.any_horizontal(turns).alias("begun"))["begun"]
    run = begun.cum_sum().cast(pl.Int32).to_numpy() - 1
    heads = columns.filter(begun)
    heads = heads.with_columns(pl.col(pl.Categorical).cast(pl.String))
    keys = heads.unique(maintain_order=True)
    if keys.height == heads.height:
        return run.astype(np.int32), keys
    numbered = keys.with_row_index("__code")
    codes = heads.join(numbered, on=columns.columns, how="left", maintain_order="left")["__code"]
    return codes.to_numpy().astype(np.int32)[run], keys


def numbers(
    column: pl.Series,
    role: str,
    infinite: str,
    *,
    text: str = "error",
    hints: Hints | None = None,
    where: Callable[[int], str] = row_number,
) -> tuple[NDArray[np.float32], list[Note]]:
    """Convert a column to a new float32 array, NaN where absent.

    Args:
        column: Numbers, booleans, or text that `parse_numbers` reads.
        role: What the column is for, as messages name it.
        infinite, text: Rules for infinite numbers and for text that is no number.
        hints: What the file tells of the numbers in it.
        where: Says the place of a row, for messages.

    Raises:
        SchemaError: The column holds no numbers.
        DataError: A text is no number, or a number is infinite and `infinite` is "error".
    """
    notes, kind = list[Note](), column.dtype
    if kind == pl.Categorical or kind == pl.Enum:
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        if holds_flags(column):
            flags = column.str.strip_chars().str.to_lowercase()
            column = flags.replace_strict(FLAGS, default=None, return_dtype=pl.Float64)
            action = f"{role} {column.name!r} holds yes and no: read as 1 and 0"
            notes.append(Note(kind="flags", count=len(column), series=0, example="", done=action))
        else:
            column, notes = parse_numbers(column, role, junk=text, hints=hints, where=where)
            if hints is None or (hints.separator is None and not hints.typed):
                action = f"{role} {column.name!r} holds numbers as text: read as numbers"
                notes.append(
                    Note(kind="text", count=len(column), series=0, example="", done=action)
                )
    if column.dtype.is_decimal():
        column = column.cast(pl.Float64)
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise SchemaError(
            f"{role} {column.name!r} holds {kind}; it must hold numbers: name another column"
        )
    values = column.cast(pl.Float32).fill_null(float("nan")).to_numpy(writable=True)
    endless = np.isinf(values)
    if endless.any():
        row, count = int(np.argmax(endless)), int(endless.sum())
        if infinite == "error":
            raise DataError(
                f"{role} {column.name!r} is infinite (or above 3.4e38) in {count:,} rows, the first "
                f"of them {where(row)}; mend them, or pass",
                ways=[mend(infinite="missing")], option="infinite", column=column.name, expected="a finite number",
            )  # fmt: skip
        values[endless] = np.nan
        action = f"infinite values of {column.name!r} are taken as missing, as you asked"
        notes.append(
            Note(kind="infinite", count=count, series=0, example=f"row {row + 1:,}", done=action)
        )
    return values, [*notes, *_note_lost_figures(column, values, role)]


def holds_flags(column: pl.Series) -> bool:
    """Return whether a text column holds only words for yes and no, in any known language."""
    for cells in (column.head(100), column):  # the first rows decide for most columns
        words = cells.drop_nulls().unique().str.strip_chars().str.to_lowercase().unique().to_list()
        if not set(words) <= set(FLAGS):
            return False
    return not set(words) <= {"0", "1"}


def _note_lost_figures(column: pl.Series, values: NDArray[np.float32], role: str) -> list[Note]:
    """Return a note if numbers too long for 32 bits lose their last figures."""
    if (
        column.dtype == pl.Boolean
        or not len(values)
        or not np.nanmax(np.abs(values), initial=0) > EXACT
    ):
        return []
    exact = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    return note_rounding(exact, values, f"{role} {column.name!r}", row_number)


def note_rounding(
    exact: NDArray[np.float64],
    rounded: NDArray[np.float32],
    what: str,
    where: Callable[[int], str],
    codes: NDArray[Any] | None = None,
) -> list[Note]:
    """Return a note if numbers above what 32 bits hold exactly are rounded, with the largest of them."""
    lost = (np.abs(exact) > EXACT) & np.isfinite(rounded) & (exact != rounded.astype(np.float64))
    if not lost.any():
        return []
    row = int(np.argmax(np.where(lost, np.abs(exact), 0)))
    off = float(np.max(np.abs(exact - rounded.astype(np.float64)), where=lost, initial=0))
    action = (
        f"{what} holds numbers above {EXACT:,}, kept to seven figures: the largest, {exact[row]:,.15g}, becomes "
        f"{rounded[row]:,.0f} (by {off:,.6g} at most); forecast the difference to a base, or in larger units"
    )
    series = 0 if codes is None else len(np.unique(codes[lost]))
    return [
        Note(kind="rounded", count=int(lost.sum()), series=series, example=where(row), done=action,
             severity="warning")
    ]  # fmt: skip


def sort(rows: Rows) -> tuple[Rows, list[Note]]:
    """Series one after the other, each in the order of time; equal times keep their order."""
    codes, times = rows.codes, rows.times
    back = (codes[1:] == codes[:-1]) & (times[1:] < times[:-1])
    if not back.any() and bool((codes[1:] >= codes[:-1]).all()):
        return rows, []
    rows = rows.take(_sort_order(codes=codes))
    back = (rows.codes[1:] == rows.codes[:-1]) & (rows.times[1:] < rows.times[:-1])
    if not back.any():
        return rows, []
    at = np.flatnonzero(back) + 1
    note = Note(
        kind="unsorted", count=len(at), series=len(np.unique(rows.codes[at])),
        example=rows.place(int(at[0])), done="rows were out of order: sorted by time",
    )  # fmt: skip
    return rows.take(_sort_order(codes=rows.codes, times=rows.times)), [note]


def _sort_order(**columns: NDArray[Any]) -> NDArray[Any]:
    """Return the stable sort order by the columns, first to last; Polars sorts in threads."""
    order = pl.DataFrame(columns).select(pl.arg_sort_by(list(columns), maintain_order=True))
    return order.to_series().to_numpy()


def merge_duplicates(
    rows: Rows, rule: str, zone: str | None, *, summed: bool = False
) -> tuple[Rows, list[Note]]:
    """Merge rows of the same series and time; sorted rows in, sorted rows out.

    Args:
        rows: Sorted rows.
        rule: "error", "sum", "mean", "first" or "last".
        zone: Where the clock stood, if it was said.
        summed: The rows are parts of one step, as the caller asked: nothing to warn of.

    Raises:
        DataError: Rows share series and time, and `rule` is "error".
    """
    fresh = np.ones(len(rows.codes), bool)
    fresh[1:] = (rows.codes[1:] != rows.codes[:-1]) | (rows.times[1:] != rows.times[:-1])
    if fresh.all():
        return rows, []
    again = np.flatnonzero(~fresh)
    where, series = rows.place(int(again[0])), len(np.unique(rows.codes[again]))
    if rule == "error":
        first = int(again[0])
        place = series_name(rows.keys, int(rows.codes[first])), show(rows.times[first])
        clock = np.issubdtype(rows.times.dtype, np.datetime64)
        midnight = clock and bool((rows.times[again] == rows.times[again].astype("M8[D]")).all())
        if clock and not midnight and _many_a_day(rows):
            raise DataError(
                f"the table holds single sales with their time of day: {len(again):,} rows repeat a series and "
                f"time, first {where}; add them up by day:",
                ways=[mend(freq="D", duplicates="sum")], option="duplicates", series=place[0], time=place[1],
            )  # fmt: skip
        rules = [
            mend(duplicates="sum"),
            *(way(duplicates=name) for name in ("mean", "first", "last")),
        ]
        if clock and zone is None and not midnight:
            rules.append(way("a clock change doubles an hour", time_zone=...))
        raise DataError(
            f"{len(again):,} rows repeat a series and time in {series:,} series, first {where}; name "
            "every column that makes a series, or pass",
            ways=[way("all of them", key=...), *rules], option="duplicates", series=place[0], time=place[1],
        )  # fmt: skip
    heads = np.flatnonzero(fresh)
    tails = np.append(heads[1:], len(fresh)) - 1
    merged, notes = rows.take(heads if rule == "first" else tails), list[Note]()
    if rule in ("sum", "mean"):
        observed = ~np.isnan(rows.target)
        total = np.add.reduceat(np.where(observed, rows.target, 0).astype(np.float64), heads)
        count = np.add.reduceat(observed.astype(np.int64), heads)
        value = total / np.maximum(count, 1) if rule == "mean" else total
        exact = np.where(count > 0, value, np.nan)
        merged = replace(merged, target=exact.astype(np.float32))
        notes = note_rounding(
            exact, merged.target, f"the {rule} of rows", merged.place, merged.codes
        )
    rest = "" if rule in ("first", "last") else "; of other columns the last row counts"
    if summed:
        return merged, notes
    note = Note(
        kind="duplicates", count=len(again), series=series, example=where,
        done=f"rows of the same time are merged by their {rule}{rest}", severity="warning",
    )  # fmt: skip
    return merged, [note, *notes]


def _many_a_day(rows: Rows) -> bool:
    """Return whether rows are single sales: their clock times lie on no grid of a minute or more."""
    seconds = rows.times.astype("datetime64[s]").astype(np.int64)
    return len(np.unique(seconds % 3600)) > 12
