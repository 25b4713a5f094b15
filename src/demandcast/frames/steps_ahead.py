"""Known covariates of the steps ahead: whether they reach, room for more of them, and steps that lack one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError, Way, mend, way
from demandcast.frames.table_rows import Ints, show
from demandcast.panel.panel import Note, Panel


def require_known(panel: Panel, names: Sequence[str], horizon: int) -> None:
    """Refuse known covariates that do not reach over the horizon of every series.

    Args:
        panel: As it is forecast, its future extended.
        names: Covariates that are read; where there are none, nothing must reach.
        horizon: Steps to forecast.

    Raises:
        DataError: Says how far they reach, for the first series that falls short.
    """
    short = np.flatnonzero(panel.extents - panel.lengths < horizon)
    if names and len(short):
        i = int(short[0])
        raise DataError(
            f"known covariates {', '.join(map(repr, names))} reach "
            f"{int(panel.extents[i] - panel.lengths[i])} of the {horizon} steps to forecast for series "
            f"{panel.key(i)} ({len(short):,} series fall short); give them with",
            option="future", series=panel.key(i), ways=[way(future=..., call="predict(panel, future=frame)")],
        )  # fmt: skip


def complete(panel: Panel, rule: str) -> Panel:
    """Treat the steps ahead that lack a covariate, up to the last step that the table has of any series.

    Args:
        panel: With covariates of the steps ahead; a series that has none of them is left alone.
        rule: "last" carries the value before a step on to it (or the one after it, where there is none
            before), "missing" only makes room for it, "error" refuses it.

    Raises:
        DataError: A step lacks a covariate, and the rule is "error".
    """
    ahead = panel.extents - panel.lengths
    if not panel.known.shape[1] or not ahead.any():
        return panel
    ends = panel.ends()
    last = int((ends + ahead)[ahead > 0].max())
    reach = np.where(ahead > 0, np.maximum(ahead, np.minimum(last - ends, ahead.max())), 0)
    short = reach > ahead
    grown = with_room(panel, panel.lengths + reach) if short.any() else panel
    codes = np.repeat(np.arange(panel.n_series), reach)
    within = np.arange(int(reach.sum())) - np.repeat(np.cumsum(reach) - reach, reach)
    rows = (grown.begins + grown.lengths)[codes] + within
    lacking = np.isnan(grown.known[rows]).any(1)
    if not lacking.any():
        return grown
    row = int(np.argmax(lacking))
    step = grown.starts[codes[row]] + grown.lengths[codes[row]] + within[row]
    example = (
        f"series {grown.key(int(codes[row]))} at {show(grown.freq.times(np.array([step]))[0])}"
    )
    series = np.unique(codes[lacking])
    if rule == "error":
        raise DataError(
            f"{int(lacking.sum()):,} steps ahead of {len(series):,} series have no row, or an empty cell, among the "
            f"known covariates, first {example}; give them, or pass",
            option="future_gaps",
            ways=[mend("as the step before", future_gaps="last"), way(future_gaps="missing")],
        )
    if rule == "last":
        known = _carry_on(grown, rows, series)
        grown = replace(grown, known=known)
        action = "steps ahead without a row or a value have the known covariates of the step before; to change it, pass"
        ways: tuple[Way, ...] = (
            way("refuses them", future_gaps="error"),
            way("leaves them missing", future_gaps="missing"),
        )
    else:
        action = "steps ahead without a row or a value: their known covariates are missing"
        ways = ()
    note = Note(
        kind="future gaps", count=int(lacking.sum()), series=len(series), example=example, done=action,
        ways=ways, severity="warning",
    )  # fmt: skip
    return replace(grown, notes=(*grown.notes, note))


def _carry_on(panel: Panel, ahead: Ints, series: Ints) -> NDArray[np.float32]:
    """Return the known covariates, with gaps in the rows `ahead` filled from the step before."""
    known = np.array(panel.known)
    extents = panel.extents[series]
    heads = np.cumsum(extents) - extents
    span = np.arange(int(extents.sum())) + np.repeat(panel.begins[series] - heads, extents)
    is_ahead = np.zeros(len(known), bool)
    is_ahead[ahead] = True
    tails = heads + extents - 1
    for j in range(known.shape[1]):
        values = known[span, j]
        is_known = ~np.isnan(values)
        before = np.where(is_known, np.arange(len(values)), 0)
        before[heads] = heads
        values = values[np.maximum.accumulate(before)]
        after = np.where(~np.isnan(values), np.arange(len(values)), len(values))
        after[tails] = tails
        values = values[np.minimum.accumulate(after[::-1])[::-1]]
        open_rows = is_ahead[span] & ~is_known
        known[span[open_rows], j] = values[open_rows]
    return known


def with_room(panel: Panel, extents: Ints) -> Panel:
    """Copy the panel to new arrays with room for `extents` rows of each series."""
    begins = np.cumsum(extents) - extents
    total, old_extents = int(extents.sum()), panel.extents
    within = np.arange(int(old_extents.sum())) - np.repeat(
        np.cumsum(old_extents) - old_extents, old_extents
    )
    source, goal = (
        np.repeat(panel.begins, old_extents) + within,
        np.repeat(begins, old_extents) + within,
    )

    def moved(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        fresh = np.full((total, *values.shape[1:]), fill, values.dtype)
        fresh[goal] = values[source]
        return fresh

    return replace(
        panel, begins=begins, extents=extents, target=moved(panel.target, np.nan),
        known=moved(panel.known, np.nan), past=moved(panel.past, np.nan),
        available=None if panel.available is None else moved(panel.available, True),
        share=None if panel.share is None else moved(panel.share, 1),
    )  # fmt: skip
