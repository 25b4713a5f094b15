"""What a reader of the panel should know about its series: holes, signs, and series with nothing to say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError
from demandcast.frames.regularise import Floats, Grid, Ints, Rows, series_name, show
from demandcast.panel.panel import Note
from demandcast.schema import Frequency


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
            f"{rows.target[below[0]]:g} in {where}; mend them, or pass negative='zero', 'missing' or 'keep'"
        )
    if rule != "keep":
        rows.target[below] = 0 if rule == "zero" else np.nan
    done = {
        "keep": "kept; negative='zero' or 'missing' changes it",
        "zero": "set to 0 by negative='zero'",
    }
    action = done.get(rule, "taken as missing by negative='missing'")
    return [Note(kind="negative", count=len(below), series=series, example=where, action=action)]


def fill_gaps(
    target: Floats, rows: Rows, steps: Ints, grid: Grid, lengths: Ints, rule: str
) -> list[Note]:
    """Apply `gaps` to the steps of history that have no row, in place.

    Raises:
        DataError: There are such steps and the rule is "error".
    """
    if grid.at is None:
        return []
    present = np.zeros(grid.total, bool)
    present[grid.at] = True
    inside = history(grid, lengths)
    notes: list[Note] = []
    ahead = np.flatnonzero(~present & ~inside)
    if len(ahead):
        codes = np.searchsorted(grid.begins, ahead, side="right") - 1
        action = "steps ahead without a row: their known covariates are missing"
        notes.append(
            Note(kind="future gaps", count=len(ahead), series=len(np.unique(codes)),
                 example=f"series {series_name(rows.keys, int(codes[0]))}", action=action,
                 severity="warning")
        )  # fmt: skip
    absent = np.flatnonzero(~present & inside)
    if not len(absent):
        return notes
    series = np.unique(np.searchsorted(grid.begins, absent, side="right") - 1)
    jump = int(np.argmax((np.diff(steps) > 1) & (np.diff(rows.codes) == 0)))
    where = f"{rows.place(jump)} is followed by {show(rows.times[jump + 1])}"
    if rule == "error":
        raise DataError(
            f"{len(absent):,} steps have no row in {len(series):,} series: {where}; add the rows, or "
            "pass gaps='missing' (not known) or gaps='zero' (nothing was sold)"
        )
    if rule == "zero":
        target[absent] = 0
    action = {
        "missing": "absent steps are taken as not observed; gaps='zero' takes them as no demand",
        "zero": "absent steps are taken as no demand by gaps='zero'",
    }[rule]
    return [
        *notes,
        Note(kind="gaps", count=len(absent), series=len(series), example=where, action=action),
    ]


def history(grid: Grid, lengths: Ints) -> NDArray[np.bool_]:
    """Which flat positions are history, (T_total,)."""
    inside = np.ones(grid.total, bool)
    for_series = np.flatnonzero(lengths < grid.extents)
    if len(for_series):
        change = np.zeros(grid.total + 1, np.int8)
        change[grid.begins[for_series] + lengths[for_series]] -= 1
        change[grid.begins[for_series] + grid.extents[for_series]] += 1
        inside = np.cumsum(change[:-1], dtype=np.int8) == 0
    return inside


def describe(target: Floats, grid: Grid, lengths: Ints, rows: Rows, freq: Frequency) -> list[Note]:
    """Series that are all missing, all zero, constant or shorter than a season, and missing values.

    Raises:
        DataError: No value is observed at all.
    """
    seen = ~np.isnan(target)
    count = np.add.reduceat(seen.astype(np.int32), grid.begins)
    if not count.any():
        raise DataError(
            "the target holds no value at all: every row is missing; check that target=... names "
            "the right column"
        )
    low = np.fmin.reduceat(target, grid.begins)
    high = np.fmax.reduceat(target, grid.begins)
    notes: list[Note] = []

    def tell(kind: str, which: NDArray[np.bool_], action: str) -> None:
        found = np.flatnonzero(which)
        if len(found):
            example = f"series {series_name(rows.keys, int(found[0]))}"
            notes.append(
                Note(kind=kind, count=len(found), series=len(found), example=example,
                     action=action, severity="warning")
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
        unseen = np.flatnonzero(~seen & inside)
    else:  # absent steps are told as gaps
        rowed = np.zeros(grid.total, bool)
        rowed[grid.at] = True
        unseen = np.flatnonzero(~seen & inside & rowed)
    if len(unseen):
        codes = np.searchsorted(grid.begins, unseen, side="right") - 1
        first = int(codes[0])
        time = freq.times(np.array([grid.starts[first] + unseen[0] - grid.begins[first]]))[0]
        notes.append(
            Note(kind="missing", count=len(unseen), series=len(np.unique(codes)),
                 example=f"series {series_name(rows.keys, first)} at {show(time)}",
                 action="empty target values are taken as not observed")
        )  # fmt: skip
    return notes
