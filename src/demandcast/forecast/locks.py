"""Locks: fixed totals, such as budgets, that a reconciled forecast keeps exactly.

A table of locks has the columns of its levels, perhaps the time, and the value, under the names that the user's table
has. An empty cell of a level column says that the row's level is without that column, so a row without any is the
total of all. A row without a time is the total of the whole horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError
from demandcast.panel.groups import describe, group

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
SAME = 1e-6  # relative tolerance within which two locks agree
SHOWN = 4  # locks that an error names


@dataclass(frozen=True)
class Lock:
    """One fixed total.

    Attributes:
        by: The columns of its level.
        group: Its group among those of `by`.
        step: Step of the horizon, or None for all of them together.
        value: The fixed value.
        name: The user's name for it.
    """

    by: tuple[str, ...]
    group: int
    step: int | None
    value: float
    name: str


def read_locks(forecast: Forecast, panel: Panel, table: Any) -> list[Lock]:
    """Check a table of locks against the series and steps of a forecast.

    Raises:
        SchemaError: A column is absent or unknown.
        DataError: A row names a group or time that is not forecast, has no value, or repeats another.
    """
    frame: pl.DataFrame = nw.from_native(table, eager_only=True).to_polars()
    target, time = forecast.schema.target, forecast.schema.time
    if target not in frame.columns:
        raise SchemaError(
            f"the table of locks has no column {target!r}, the total to keep; its columns are "
            f"{', '.join(frame.columns)}",
            column=target,
            found=frame.columns,
        )
    known = describe(panel)
    columns = [c for c in frame.columns if c not in (target, time)]
    for column in columns:
        group(panel, [column])  # refuses an unknown column and suggests the nearest
    if not frame.height:
        raise DataError(
            "the table of locks holds no rows; leave it out, or give the totals to keep",
            option="locks",
            found=0,
            expected="one row or more",
        )
    groups: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    locks: list[Lock] = []
    row_of: dict[tuple[Any, ...], int] = {}
    steps = _steps(forecast, frame, time)
    text = frame.select(pl.col(columns).cast(pl.String))
    for row in range(frame.height):
        cells = {c: v for c, v in zip(columns, text.row(row), strict=True) if v is not None}
        by = tuple(cells)
        value = frame[target][row]
        name = ", ".join(f"{c}={v}" for c, v in cells.items()) or "total"
        if by not in groups:
            table_of = group(panel, by).table.cast(pl.String) if by else pl.DataFrame({"t": [""]})
            groups[by] = {key: i for i, key in enumerate(table_of.rows())}
        key = tuple(cells.values()) if by else ("",)
        if key not in groups[by]:
            lacking = next(
                (c for c in by if cells[c] not in set(known[c].cast(pl.String).to_list())), by[-1]
            )
            raise DataError(
                f"row {row + 1} of the table of locks keeps {name}, but no series has {lacking} "
                f"{cells[lacking]!r}{' together with the rest' if len(by) > 1 else ''}; mend or drop the row",
                column=lacking,
                found=cells[lacking],
            )
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            raise DataError(
                f"row {row + 1} of the table of locks has no number as the {target} of {name}: {value!r}; "
                "fill it, or drop the row",
                column=target,
                found=value,
                expected="a finite number",
            )
        step = steps[row]
        name += "" if step is None else f" at {_time_text(forecast, step)}"
        place = (by, groups[by][key], step)
        if place in row_of:
            raise DataError(
                f"rows {row_of[place] + 1} and {row + 1} of the table of locks both keep {name}; drop one"
            )
        row_of[place] = row
        locks.append(Lock(by, groups[by][key], step, float(value), name))
    return locks


def _steps(forecast: Forecast, frame: pl.DataFrame, time: str) -> list[int | None]:
    """Return the step of each row, or None for the whole horizon."""
    if time not in frame.columns:
        return [None] * frame.height
    times = forecast.to_frame()[time]
    row = int(forecast.cutoffs.argmax())
    forecast_times = times[row * forecast.horizon : (row + 1) * forecast.horizon]
    column = frame[time]
    if not column.dtype.is_temporal() and forecast_times.dtype.is_temporal():
        raise SchemaError(
            f"{time!r} in the table of locks is {column.dtype}, not a time as in the forecast ({forecast_times.dtype}); convert it "
            f"first, as with polars' str.to_date",
            column=time,
            found=str(column.dtype),
            expected=str(forecast_times.dtype),
        )
    at = {str(t): i for i, t in enumerate(forecast_times.to_list())}
    steps: list[int | None] = []
    for i, moment in enumerate(column.cast(forecast_times.dtype).to_list()):
        if moment is not None and str(moment) not in at:
            raise DataError(
                f"row {i + 1} of the table of locks is for {moment}, but the forecast covers {forecast_times[0]} to {forecast_times[-1]} in "
                f"steps of {forecast.schema.freq}; mend or drop the row",
                column=time,
                time=str(moment),
                expected=f"{forecast_times[0]} to {forecast_times[-1]}",
            )
        steps.append(None if moment is None else at[str(moment)])
    return steps


def _time_text(forecast: Forecast, step: int) -> str:
    moment = forecast.times()[int(forecast.cutoffs.argmax()), step]
    text = np.datetime_as_string(moment, unit="auto") if moment.dtype.kind == "M" else moment
    return str(text)


def independent(locks: Sequence[Lock], members: Sequence[NDArray[np.bool_]]) -> list[int]:
    """Drop the locks that follow from the others.

    Args:
        locks: The locks.
        members: For each, the mask of the values that it adds up, (n,).

    Raises:
        DataError: A lock contradicts the others, which are named.
    """
    masks = np.array(members, np.float64)
    overlap = masks @ masks.T
    sizes = overlap.diagonal().copy()
    combinations = np.eye(len(locks))  # the combination of locks in each eliminated row
    values = np.array([lock.value for lock in locks])
    free: list[int] = []
    for i in range(len(locks)):
        if overlap[i, i] > 1e-9 * sizes[i]:
            share = overlap[i + 1 :, i] / overlap[i, i]
            overlap[i + 1 :] -= share[:, None] * overlap[i]
            combinations[i + 1 :] -= share[:, None] * combinations[i]
            free.append(i)
            continue
        part = np.where(np.abs(combinations[i]) > 1e-9, combinations[i], 0.0)
        part[i] = 0
        follows = float(-(part @ values))
        if abs(follows - values[i]) > SAME * max(np.abs(part * values).sum(), abs(values[i])):
            involved = np.flatnonzero(part).tolist()
            raise DataError(
                f"locks contradict each other: {locks[i].name} is kept at {values[i]:g}, but "
                f"{_list_names(locks, involved)} make it {follows:g}; mend one of them or drop it"
            )
    return free


def _list_names(locks: Sequence[Lock], rows: Sequence[int]) -> str:
    names = [f"{locks[j].name} at {locks[j].value:g}" for j in rows[:SHOWN]]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return ("; ".join(names) + more) if names else "nothing"


def check_floors(
    locks: Sequence[Lock], members: Sequence[NDArray[np.bool_]], floors: Doubles
) -> None:
    """Refuse locks below the sum of their series' floors, or below the locks of their parts.

    Raises:
        DataError: A lock is too low; the locks are named.
    """
    for lock, inside in zip(locks, members, strict=True):
        least = float(floors[inside].sum())
        if lock.value < least:  # a sum of zeros, or minus infinity
            raise DataError(
                f"{lock.name} is kept at {lock.value:g}, but its series cannot fall below {least:g}, as none ever was "
                "negative; raise it",
                found=lock.value,
                expected=f"{least:g} or more",
            )
    levels: dict[tuple[tuple[str, ...], bool], list[int]] = {}
    for j, lock in enumerate(locks):
        levels.setdefault((lock.by, lock.step is None), []).append(j)
    for i, inside in enumerate(members):
        for rows in levels.values():  # locks of one level share no series
            parts = [j for j in rows if j != i and not (members[j] & ~inside).any()]
            rest = inside.copy()
            for j in parts:
                rest &= ~members[j]
            least = sum(locks[j].value for j in parts) + float(floors[rest].sum())
            if parts and locks[i].value < least - SAME * max(abs(least), abs(locks[i].value)):
                raise DataError(
                    f"locks contradict each other: {locks[i].name} is kept at {locks[i].value:g}, but "
                    f"{_list_names(locks, parts)} make at least {least:g} of it, as no other series falls below 0; mend one"
                )
