"""Treat and describe faults of series: totals, negative values, gaps, and series without information."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, mend, way
from demandcast.frames.grids import Grid
from demandcast.frames.table_rows import Floats, Ints, Rows, series_name, show
from demandcast.frames.vocabulary import TOTALS, is_word
from demandcast.frequency import Frequency
from demandcast.panel.panel import Note


def set_aside(
    table: pl.DataFrame, key: Sequence[str], times: Sequence[str], target: str
) -> tuple[pl.DataFrame, list[Note]]:
    """Drop empty rows and rows of totals, which have no time.

    A row of totals has an empty time, or a word like "Total" in its place, and a word like "Total" or nothing
    in its key columns.
    """

    def blank(column: str) -> pl.Expr:
        cell = pl.col(column)
        return cell.is_null() | (
            cell.cast(pl.String).str.strip_chars() == "" if text[column] else pl.lit(False)
        )

    text = {c: table.schema[c] in (pl.String, pl.Categorical) for c in (*key, *times, target)}
    if not any(_has_odd_times(table[c]) for c in times):
        return table, []
    suspect = table.select(pl.any_horizontal(blank(c) for c in times)).to_series()
    words = [c for c in times if text[c]]
    total_rows = _totals_in([table[c] for c in words], table.height) if words else None
    if total_rows is not None:
        suspect |= total_rows
    if not suspect.any():
        return table, []
    rows = table.filter(suspect)
    empty = rows.select(pl.all_horizontal(blank(c) for c in (*key, *times, target))).to_series()
    keyless = rows.select(pl.all_horizontal(blank(c) for c in key)) if key else None
    total = _totals_in([rows[c] for c in (*(c for c in key if text[c]), *words)], rows.height)
    if keyless is not None:
        total |= (
            keyless.to_series()
            & rows.select(pl.all_horizontal(blank(c) for c in times)).to_series()
        )
    total &= ~empty
    notes = []
    if empty.any():
        action = "rows without anything in them are left out"
        notes.append(
            Note(kind="empty rows", count=int(empty.sum()), series=0, example="", done=action)
        )
    if total.any():
        first = rows.filter(total).select([*key, *times, target]).row(0)
        action = f"rows of totals, which have no time, are left out, first {' '.join(str(v) for v in first if v is not None)!r}"
        notes.append(Note(kind="total", count=int(total.sum()), series=0, example="", done=action))
    gone = suspect.arg_true().filter(empty | total)
    mask = pl.Series([True] * table.height).scatter(gone, False) if len(gone) else None
    return (table if mask is None else table.filter(mask)), notes


def _has_odd_times(column: pl.Series) -> bool:
    """Return whether any cell of a time column is empty or a word for a total."""
    if column.null_count():
        return True
    if column.dtype not in (pl.String, pl.Categorical):
        return False
    words = column.unique().cast(pl.String)
    return bool((words.str.strip_chars() == "").any()) or bool(
        _totals_in([words], len(words)).any()
    )


def _totals_in(columns: Sequence[pl.Series], n_rows: int) -> pl.Series:
    """Return the mask of rows with a word for a total in one of several columns."""
    is_total = pl.Series([False] * n_rows, dtype=pl.Boolean)
    for column in columns:
        cells = column.cast(pl.String)
        words = (
            [w for w in cells.drop_nulls().unique() if is_word(w, TOTALS)]
            if _may_name_totals(cells)
            else []
        )
        if words:
            is_total |= cells.is_in(pl.Series(words).implode()).fill_null(False)
    return is_total


def _may_name_totals(cells: pl.Series) -> bool:
    """Return whether any cell has letters of a word for a total, so that each word must be checked."""
    return bool(
        cells.str.to_lowercase()
        .str.contains(r"tot|sum|som|gesamt|ergebnis|overall|insgesamt|合计|总|小计")
        .any()
    )


def leave_out_totals(rows: Rows, rule: str) -> tuple[Rows, list[Note]]:
    """Leave out series that are named as totals and are the sum of the others of their kind, at nearly every time.

    A series that has such a name but is no such sum stays, with a warning.
    """
    keys = rows.keys
    notes: list[Note] = []
    gone = np.zeros(keys.height, bool)
    for column in keys.columns:
        if keys.schema[column] != pl.String:
            continue
        total = _totals_in([keys[column]], keys.height).to_numpy()
        if not total.any() or total.all():
            continue
        other_keys = [c for c in keys.columns if c != column]
        frame = pl.DataFrame({
            "time": rows.times, "value": rows.target.astype(np.float64), "total": total[rows.codes],
            **{c: keys[c].gather(rows.codes) for c in other_keys},
        }).filter(pl.col("value").is_not_nan())  # fmt: skip
        on = ["time", *other_keys]
        sums = frame.filter(~pl.col("total")).group_by(on).agg(pl.col("value").sum().alias("sum"))
        both = frame.filter("total").join(sums, on=on)
        alike = (both["value"] - both["sum"]).abs() <= 0.005 * both["sum"].abs() + 0.01
        is_sum = both.height > 0 and float(alike.mean() or 0) > 0.9  # type: ignore[arg-type]
        name = series_name(keys, int(np.argmax(total)))
        if is_sum and rule == "leave_out":
            gone |= total
            action = (
                "named as a total and the sum of the others: left out; to take it as a series, pass"
            )
        elif is_sum:
            action = "named as a total and the sum of the others: kept, as you asked"
        else:
            action = "named as a total, but not the sum of the others: kept as a series"
        count = int(total.sum())
        notes.append(
            Note(kind="total", count=count, series=count, example=f"series {name}", done=action,
                 severity="warning", ways=(way(totals="keep"),) if is_sum and rule == "leave_out" else ())
        )  # fmt: skip
    return (rows.take(np.flatnonzero(~gone[rows.codes])) if gone.any() else rows), notes


def treat_negative(rows: Rows, rule: str) -> list[Note]:
    """Apply `negative` to the target in place; it is ours alone by now.

    Raises:
        DataError: There are negative values and the rule is "error".
    """
    below = np.flatnonzero(rows.target < 0)
    if not len(below):
        return []
    where, series = rows.place(int(below[0])), len(np.unique(rows.codes[below]))
    if rule == "error":
        raise DataError(
            f"the target is negative in {len(below):,} rows of {series:,} series, first "
            f"{rows.target[below[0]]:g} in {where}; mend them, or pass",
            ways=[mend(negative="zero"), way(negative="missing"), way(negative="keep")], option="negative", found=float(rows.target[below[0]]),
        )  # fmt: skip
    if rule != "keep":
        rows.target[below] = 0 if rule == "zero" else np.nan
    actions = {
        "keep": "kept; to change it, pass",
        "zero": "set to 0, as you asked",
    }
    action = actions.get(rule, "taken as missing, as you asked")
    ways = (way(negative="zero"), way(negative="missing")) if rule == "keep" else ()
    return [
        Note(
            kind="negative",
            count=len(below),
            series=series,
            example=where,
            done=action,
            ways=ways,
        )
    ]


def fill_gaps(
    target: Floats,
    rows: Rows,
    grid: Grid,
    lengths: Ints,
    rule: str,
    *,
    steps: Ints,
    closed: NDArray[np.bool_] | None = None,
) -> list[Note]:
    """Apply `gaps` to the steps of history that have no row, in place; days on which a series is closed are 0.

    Raises:
        DataError: There are such steps and the rule is "error".
    """
    if grid.at is None:
        return []
    present = np.zeros(grid.total, bool)
    present[grid.at] = True
    inside = history(grid, lengths)
    if closed is not None:
        target[closed & ~present & inside] = 0
        present |= closed
    absent = np.flatnonzero(~present & inside)
    if not len(absent):
        return []
    series = np.unique(np.searchsorted(grid.begins, absent, side="right") - 1)
    after = ~present[np.minimum(grid.at[:-1] + 1, grid.total - 1)]
    jumps = np.flatnonzero((np.diff(steps) > 1) & (np.diff(rows.codes) == 0) & after)
    if len(jumps):
        where = f"{rows.place(int(jumps[0]))} is followed by {show(rows.times[jumps[0] + 1])}"
    else:  # of a series that is carried on to the common end
        tail = int(np.flatnonzero(rows.codes == series[0])[-1])
        where = f"{rows.place(tail)} is the last row"
    if rule == "error":
        raise DataError(
            f"{len(absent):,} steps have no row in {len(series):,} series: {where}; add the rows, or "
            "pass",
            ways=[mend("not known", gaps="missing"), way("nothing was sold", gaps="zero")], option="gaps",
        )  # fmt: skip
    if rule == "zero":
        target[absent] = 0
    few = len(absent) > int(present.sum())
    most = f"most steps, {len(absent) / int(inside.sum()):.0%}, have no row; " if few else ""
    action = {
        "missing": f"{most}absent steps are taken as not observed; to take them as no demand, pass",
        "zero": f"{most}absent steps are taken as no demand",
    }[rule]
    ways = (way(gaps="zero"),) if rule == "missing" else ()
    return [
        Note(
            kind="gaps",
            count=len(absent),
            series=len(series),
            example=where,
            done=action,
            ways=ways,
            severity="warning" if few and rule == "missing" else "info",
        )
    ]


def history(grid: Grid, lengths: Ints) -> NDArray[np.bool_]:
    """Return the mask of positions that are history, (T_total,)."""
    inside = np.ones(grid.total, bool)
    for_series = np.flatnonzero(lengths < grid.extents)
    if len(for_series):
        change = np.zeros(grid.total + 1, np.int8)
        change[grid.begins[for_series] + lengths[for_series]] -= 1
        change[grid.begins[for_series] + grid.extents[for_series]] += 1
        inside = np.cumsum(change[:-1], dtype=np.int8) == 0
    return inside


def describe(target: Floats, grid: Grid, lengths: Ints, rows: Rows, freq: Frequency) -> list[Note]:
    """Return notes on series that are all missing, all zero, constant or shorter than a season, and on missing values.

    Raises:
        DataError: No value is observed at all.
    """
    observed = ~np.isnan(target)
    count = np.add.reduceat(observed.astype(np.int32), grid.begins)
    if not count.any():
        raise DataError(
            "the target holds no value at all: every row is missing; check the name of "
            "its column:",
            option="target", ways=[way(target=...)],
        )  # fmt: skip
    low = np.fmin.reduceat(target, grid.begins)
    high = np.fmax.reduceat(target, grid.begins)
    notes: list[Note] = []

    def tell(kind: str, which: NDArray[np.bool_], action: str) -> None:
        series = np.flatnonzero(which)
        if len(series):
            example = f"series {series_name(rows.keys, int(series[0]))}"
            notes.append(
                Note(kind=kind, count=len(series), series=len(series), example=example,
                     done=action, severity="warning")
            )  # fmt: skip

    zero = (low == 0) & (high == 0)
    season = freq.period + 1
    tell("all missing", count == 0, "kept, but there is nothing to learn from them")
    tell("all zero", zero, "kept; their forecast will be zero or close to it")
    tell(
        "constant", (low == high) & ~zero & (count > 1), "kept; scaled errors of them are undefined"
    )
    tell(
        "short",
        lengths < season,
        f"kept, though shorter than one season and a step ({season} steps)",
    )
    inside = history(grid, lengths)
    if grid.at is None:
        unseen = np.flatnonzero(~observed & inside)
    else:  # absent steps have a note of their own, of gaps
        rowed = np.zeros(grid.total, bool)
        rowed[grid.at] = True
        unseen = np.flatnonzero(~observed & inside & rowed)
    if len(unseen):
        codes = np.searchsorted(grid.begins, unseen, side="right") - 1
        first = int(codes[0])
        time = freq.times(np.array([grid.starts[first] + unseen[0] - grid.begins[first]]))[0]
        notes.append(
            Note(kind="missing", count=len(unseen), series=len(np.unique(codes)),
                 example=f"series {series_name(rows.keys, first)} at {show(time)}",
                 done="empty target values are taken as not observed")
        )  # fmt: skip
    return notes
