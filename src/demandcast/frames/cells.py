"""The cells of a table as rows: numbers, times on their clock, and a number for each series."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, FrequencyError, SchemaError
from demandcast.frames import quality
from demandcast.frames.infer_frequency import infer_frequency
from demandcast.frames.numerals import row_number
from demandcast.frames.opened import Table
from demandcast.frames.roles import Roles, melt
from demandcast.frames.table_rows import (
    Rows,
    number_series,
    numbers,
)
from demandcast.frames.times import (
    Clock,
    join_times,
    parse_times,
    reply_dtype,
    to_instants,
)
from demandcast.frequency import DAY, HOUR, Frequency
from demandcast.panel.panel import Note
from demandcast.reading import Reading


def read_rows(
    source: Table, roles: Roles, freq: str | None, reading: Reading
) -> tuple[Rows, Clock, list[Note]]:
    """Parse the columns needed: number the series, and read the times and the target."""
    clocks = [] if roles.melt_names_times else list(roles.parts or [roles.time])
    table = source.select(roles.columns, coded=clocks if roles.melt else [*roles.key, *clocks])
    width = table.height
    if roles.melt:
        table = melt(table, roles)

    def where(row: int) -> str:
        place = row_number(row % width if roles.melt else row)
        return f"{place} of column {roles.melt[row // width]!r}" if roles.melt else place

    if roles.parts:
        table, notes = quality.set_aside(table, roles.key, roles.parts, roles.target)
        table = table.with_columns(join_times(table, roles.parts, roles.time))
    else:
        table, notes = quality.set_aside(table, roles.key, [roles.time], roles.target)
    if not table.height:
        raise DataError("the table holds no rows; give at least one row of key, time and target")
    target, new_notes = numbers(
        table[roles.target],
        "target",
        reading.infinite,
        text=reading.text,
        hints=source.hints,
        where=where,
    )
    notes += new_notes
    times, new_notes = parse_times(
        table[roles.time], reading.time_zone, day_first=reading.day_first, freq=freq
    )
    notes += new_notes
    dtype = reply_dtype(table.schema[roles.time], times.values)
    if roles.key:
        codes, keys = number_series(table.select(roles.key))
    else:
        codes, keys = np.zeros(table.height, np.int32), pl.DataFrame({"series": ["all"]})
    extra = dict.fromkeys([*roles.known, *roles.past, *roles.static])
    extra.update({roles.available: None} if roles.available else {})
    rest, values = table.select(list(extra)), times.values
    counts_steps = values.dtype.kind == "i"
    if counts_steps and times.zone:
        raise SchemaError(
            f"time_zone is {times.zone!r}, but {roles.time!r} holds whole steps; leave time_zone out"
        )
    below_a_day = not counts_steps and (
        Frequency.parse(freq).is_subdaily
        if freq
        else bool((values != values.astype("datetime64[D]")).any())
    )
    keep, zone = None, times.zone
    if below_a_day and zone is not None and _by_the_clock(values, codes, freq):
        action = (
            f"steps of hours are counted on the clock of {zone}, on which they are regular all year"
        )
        notes.append(Note(kind="clock", count=len(values), series=0, example="", done=action))
        zone, dtype = None, pl.Datetime("us")
    elif below_a_day and times.instants is not None:
        values = times.instants
    elif below_a_day and zone is not None:
        values, valid, new_notes = to_instants(values, codes, zone)
        notes += new_notes
        keep = None if valid.all() else np.flatnonzero(valid)
    elif (
        times.instants is not None
        and reading.time_zone is None
        and table.schema[roles.time] == pl.String
    ):
        zone = None  # days of the clock that wrote them
    rows = Rows(keys=keys, codes=codes, times=values, target=target, rest=rest)
    clock = Clock(zone, dtype, times.instants is not None and reading.time_zone is None)
    return (rows if keep is None else rows.take(keep)), clock, notes


def _by_the_clock(walls: NDArray[Any], codes: NDArray[Any], freq: str | None) -> bool:
    """Return whether local clock times lie on a grid of two hours or more; clock changes are ignored."""
    if freq is not None:
        grid = Frequency.parse(freq)
    else:
        order = np.lexsort((walls, codes))
        try:
            grid = infer_frequency(walls[order], codes[order])
        except FrequencyError:
            return False
    return grid.unit == "s" and grid.step >= 2 * HOUR and DAY % grid.step == 0
