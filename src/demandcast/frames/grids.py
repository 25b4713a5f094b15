"""The grid of a table's rows: the frequency that their times tell, and where the history of each series ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import FrequencyError, mend, way
from demandcast.frames.cells import Clock
from demandcast.frames.infer_frequency import infer_frequency
from demandcast.frames.regularise import (
    Grid,
    Ints,
    Rows,
    series_name,
    show,
)
from demandcast.frames.times import (
    zone_of_midnights,
)
from demandcast.frequency import Frequency
from demandcast.panel.panel import Note


def used_frequency(rows: Rows) -> Frequency | None:
    """Return the grid of the unchanged rows, or None if they lie on no grid."""
    try:
        return infer_frequency(*_distinct(rows))
    except FrequencyError:
        return None


def _distinct(rows: Rows) -> tuple[NDArray[Any], NDArray[Any]]:
    """Drop repeated pairs of time and series from sorted rows."""
    fresh = np.ones(len(rows.codes), bool)
    fresh[1:] = (rows.codes[1:] != rows.codes[:-1]) | (rows.times[1:] != rows.times[:-1])
    return rows.times[fresh], rows.codes[fresh]


def find_frequency(
    rows: Rows, freq: str | None, time: str, clock: Clock, notes: list[Note]
) -> Frequency:
    if freq is not None:
        grid = Frequency.parse(freq)
        if grid.is_integer != (rows.times.dtype.kind == "i"):
            holds = "dates" if grid.is_integer else "whole numbers"
            raise FrequencyError(
                f"freq is {freq!r}, but the time column {time!r} holds {holds}; leave the "
                "frequency out, or pass",
                option="freq", column=time, found=freq,
                ways=[way("days", freq="D") if grid.is_integer else way(freq="1")],
            )  # fmt: skip
        return grid
    try:
        grid = infer_frequency(
            rows.times, rows.codes, name=lambda code: series_name(rows.keys, int(code))
        )
    except FrequencyError as error:
        zone = zone_of_midnights(rows.times) if clock.stated else None
        if zone is None:
            raise
        raise FrequencyError(
            f"the times are midnights of another clock than theirs ({show(rows.times[0])}): days of "
            f"{zone}; pass",
            option="time_zone",
            ways=[mend(time_zone=zone)],
        ) from error
    action = f"the steps of the times give frequency {grid.name!r}; to change it, pass"
    notes.append(
        Note(kind="guess", count=1, series=0, example="", done=action, ways=(way(freq=...),))
    )
    if grid.unit == "R":
        action = (
            f"periods of 4 and 5 weeks: read as the retail calendar {grid.name!r}; if a long year lies elsewhere, name "
            "the year's last month and whether it ends on the last such weekday or the nearest, as"
        )
        notes.append(
            Note(kind="retail", count=1, series=0, example="", done=action, severity="warning",
                 ways=(way(freq="454-JAN-SAT-NEAR"),))
        )  # fmt: skip
    return grid


def history_lengths(
    rows: Rows, grid: Grid, steps: Ints, known: Sequence[str], notes: list[Note]
) -> Ints:
    """Steps of history; rows at the end that have no target are steps to forecast.

    With covariates known ahead, those after the last value of their own series; without, only those after the
    last value of any series: a series that lacks its last values while others have theirs is not observed there.
    A series without any value is new: its rows after the last value of the others are to be forecast.
    """
    observed = np.flatnonzero(~np.isnan(rows.target))
    if not len(observed):
        return grid.extents.copy()
    codes = rows.codes[observed]
    last = np.flatnonzero(np.append(codes[1:] != codes[:-1], len(codes) > 0))
    lengths = np.clip(int(steps[observed].max()) - grid.starts + 1, 0, grid.extents)
    if known:
        series_with_values = codes[last]
        lengths[series_with_values] = steps[observed[last]] - grid.starts[series_with_values] + 1
        rowless = np.ones(
            grid.total, bool
        )  # a series carried on to the common end is history up to it
        rowless[slice(None) if grid.at is None else grid.at] = False
        carried = rowless[grid.begins + grid.extents - 1]
        lengths[carried] = grid.extents[carried]
    ahead = grid.extents - lengths
    first = int(np.argmax(ahead > 0))
    if ahead.any():
        name = series_name(rows.keys, first)
        what = "hold covariates known ahead" if known else "have no target in any series"
        notes.append(
            Note(
                kind="future",
                count=int(ahead.sum()),
                series=int((ahead > 0).sum()),
                example=f"series {name}, its last {ahead[first]:,} steps",
                done=f"rows at the end {what}: taken as the steps to forecast, not as history",
            )
        )
    return lengths
