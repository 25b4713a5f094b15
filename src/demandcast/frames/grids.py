"""Find the grid of a table's rows: their frequency, where each series lies in the panel, and where its history ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import FrequencyError, mend, way
from demandcast.frames.infer_frequency import infer_frequency
from demandcast.frames.table_rows import Ints, Rows, series_name, show
from demandcast.frames.times import Clock, zone_of_midnights
from demandcast.frequency import Frequency
from demandcast.panel.panel import Note


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where each series lies in the flat arrays, and where each row of the table goes."""

    begins: Ints  # (N,)
    extents: Ints  # (N,)
    starts: Ints  # (N,)
    at: Ints | None  # flat position of each row; None where row i goes to position i

    @property
    def total(self) -> int:
        return int(self.extents.sum())

    def spread(self, values: NDArray[Any], fill: Any) -> NDArray[Any]:
        """Spread one value per row to one per step, contiguous and writable."""
        if self.at is None:
            return np.array(values)
        flat = np.full(self.total, fill, values.dtype)
        flat[self.at] = values
        return flat


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
    """Return the grid that the user names, or infer it from sorted rows.

    Args:
        rows: Sorted rows.
        freq: The frequency that the user names, or None.
        time: The time column, for messages.
        clock: What is known of the times' clock.
        notes: Findings, to which the guess is added.

    Raises:
        FrequencyError: The times lie on no grid, or the named one is of another kind.
    """
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


def lay_out(rows: Rows, freq: Frequency, reach: Ints | None = None) -> tuple[Grid, Ints]:
    """Return the grid of sorted rows without duplicates, and the step of each row.

    Args:
        rows: Sorted, without duplicates.
        freq: The grid.
        reach: The step to which each series is extended after its last row; None if each ends with its rows.

    Raises:
        FrequencyError: A time is off the grid, or a series spans absurdly more steps than rows.
    """
    try:
        steps = freq.ordinal(rows.times)
    except FrequencyError as error:
        for row in _off_grid(rows, freq):
            raise FrequencyError(f"{rows.place(row)}: {error}") from None
        raise
    turn = np.flatnonzero(rows.codes[1:] != rows.codes[:-1]) + 1
    heads = np.concatenate([[0], turn]).astype(np.int64)
    tails = np.append(turn, len(steps)) - 1
    starts = steps[heads]
    ends = steps[tails] if reach is None else np.maximum(steps[tails], reach)
    extents = ends - starts + 1
    if extents.sum() > 100 * len(steps) + 1_000_000:
        widest = int(np.argmax(extents))
        first, last = rows.times[heads[widest]], rows.times[tails[widest]]
        raise FrequencyError(
            f"series {series_name(rows.keys, widest)} spans {extents[widest]:,} steps of "
            f"{freq.name!r}, from {show(first)} to {show(last)}, with only "
            f"{tails[widest] - heads[widest] + 1:,} rows; mend the stray time, or name a coarser step:",
            option="freq", series=series_name(rows.keys, widest), ways=[way(freq=...)],
        )  # fmt: skip
    begins = np.cumsum(extents) - extents
    if int(extents.sum()) == len(steps):
        return Grid(begins=begins, extents=extents, starts=starts, at=None), steps
    at = (begins - starts)[rows.codes] + steps
    return Grid(begins=begins, extents=extents, starts=starts, at=at), steps


def _off_grid(rows: Rows, freq: Frequency) -> list[int]:
    """Find the first row whose time is off the grid, by bisection; [] if the types differ."""
    low, high = 0, len(rows.times)
    if rows.times.dtype.kind != ("i" if freq.is_integer else "M"):
        return []
    while high - low > 1:
        middle = (low + high) // 2
        try:
            freq.ordinal(rows.times[low:middle])
            low = middle
        except FrequencyError:
            high = middle
    return [low]


def history_lengths(
    rows: Rows, grid: Grid, steps: Ints, known: Sequence[str], notes: list[Note]
) -> Ints:
    """Return the steps of history of each series; rows after it have no target and are steps to forecast.

    With known covariates, the history ends with the last value of its own series. Without, it ends with the last
    value of any series: a series that lacks its last values while others have theirs is not observed there.
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
