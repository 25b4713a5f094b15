"""Compare the times of series: other steps than the grid's, closed weekdays, an end long before the others', a coarser grid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError, FrequencyError, Way, mend, way
from demandcast.frames.grids import Grid
from demandcast.frames.infer_frequency import FEWEST_WEEKS
from demandcast.frames.table_rows import Ints, Rows, series_name, show
from demandcast.frequency import DAY, DAYS, Frequency
from demandcast.panel.panel import Note

OWN_ROWS = 6  # rows by which a series shows a rhythm of its own
WEEKDAYS = {
    "MON": "Monday", "TUE": "Tuesday", "WED": "Wednesday", "THU": "Thursday", "FRI": "Friday",
    "SAT": "Saturday", "SUN": "Sunday",
}  # fmt: skip


def check_steps(rows: Rows, steps: Ints, grid: Grid, freq: Frequency, *, given: bool) -> list[Note]:
    """Compare the rhythm of every series with the grid of all.

    Args:
        rows: Sorted, without duplicates.
        steps: The grid step of each row.
        grid: Where each series lies.
        freq: The grid.
        given: Whether the user named the grid, and so means it.

    Returns:
        A warning where some series step more coarsely than the others.

    Raises:
        FrequencyError: The grid is far finer than the steps of any series, or some series have one value a
            month among others with one a day.
    """
    if freq.is_integer or len(steps) < 3:
        return []
    inside = rows.codes[1:] == rows.codes[:-1]
    gaps = np.diff(steps)
    if not inside.any():
        return []
    least = int(gaps[inside].min())
    if least >= 4 and not given:
        raise _too_fine(rows, gaps[inside], freq)
    narrow = np.full(rows.keys.height, np.iinfo(np.int64).max)
    wide = np.zeros(rows.keys.height, np.int64)
    np.minimum.at(narrow, rows.codes[1:][inside], gaps[inside])
    np.maximum.at(wide, rows.codes[1:][inside], gaps[inside])
    counts = np.bincount(rows.codes, minlength=rows.keys.height)
    regular = (narrow > 1) & (counts >= OWN_ROWS)
    if freq.unit == "s" and freq.step == DAY:
        monthly = regular & (narrow >= 28) & (wide <= 31)
        weekly = regular & (narrow == 7) & (wide == 7)
        kinds = [(monthly, "months"), (weekly, "weeks")]
    else:
        kinds = [(regular & (narrow == wide), "steps of its own")]
    if least > 1 and not any(kind.all() for kind, _ in kinds):
        return []
    notes = []
    for which, what in kinds:
        series = np.flatnonzero(which)
        if not len(series) or len(series) == rows.keys.height:
            continue
        first = series_name(rows.keys, int(series[0]))
        if what == "months" and not given:
            raise FrequencyError(
                f"series {first} steps by months, the others by {freq.name!r} ({len(series):,} of "
                f"{rows.keys.height:,} series do): a month's total would be taken for a day's; read the two "
                "kinds apart, or pass",
                ways=[mend("add the others up", to="MS"), way("it is meant so", freq=freq.name)], option="freq", series=first, expected=freq.name,
            )  # fmt: skip
        action = (
            f"these series have a row every {narrow[series[0]]} steps of {freq.name!r} only, unlike the others: "
            "if each is a total of these steps, read them apart"
        )
        notes.append(
            Note(kind="mixed steps", count=len(series), series=len(series), example=f"series {first}",
                 done=action, severity="warning")
        )  # fmt: skip
    return notes


def _too_fine(rows: Rows, gaps: Ints, freq: Frequency) -> FrequencyError:
    """Why a grid cannot be that of the table: no two rows are near each other on it."""
    sizes = sorted({int(g) for g in np.unique(gaps)})
    listed = " and ".join(map(str, sizes[:3])) + (" ..." if len(sizes) > 3 else "")
    days = freq.step // DAY if freq.unit == "s" and freq.step % DAY == 0 else 0
    retail = {28, 35} >= {s * days for s in sizes} if days else False
    likely = (
        "; periods of 4 and 5 weeks, as of a 4-4-5 calendar, are on no regular grid: number them 1, 2, 3 ... "
        "in a column of whole numbers"
        if retail
        else "; if each row is one step, number them 1, 2, 3 ...; if most steps have no row, pass"
    )
    return FrequencyError(
        f"the times fit a grid of {freq.name!r}, but no series has two rows closer than {sizes[0]} of its steps "
        f"(there are {listed}), first {rows.place(0)}{likely}",
        option="freq",
        ways=[] if retail else [mend(freq=freq.name)],
    )


def describe_closed(rows: Rows, freq: Frequency) -> list[Note]:
    """Return a note that weekdays without a row are taken as closed, if the frequency has such days."""
    if not freq.closed:
        return []
    names = " or ".join(WEEKDAYS[day] for day in freq.closed)
    days = rows.times.astype("datetime64[D]").astype(np.int64)
    weeks = max(1, int(days.max() - days.min() + 1) // 7)
    action = (
        f"no row on any {names} in {weeks} weeks: taken as closed, without a step or a forecast; to "
        "take them as days like others, pass"
    )
    return [
        Note(
            kind="closed",
            count=len(freq.closed),
            series=0,
            example="",
            done=action,
            ways=(way(freq="D"),),
        )
    ]


def find_closed_days(
    rows: Rows, steps: Ints, grid: Grid, freq: Frequency, *, given: bool
) -> tuple[NDArray[np.bool_] | None, list[Note]]:
    """Find weekdays on which some series never have a row while others do: a shop closed on Sundays beside one open.

    A weekday is closed in a series that has a row on nearly all days of the weekdays on which it has any, over
    `FEWEST_WEEKS` or more.

    Args:
        rows: Sorted, without duplicates.
        steps: The grid step of each row.
        grid: Where each series lies.
        freq: The grid.
        given: Whether the user named the grid, and so means each day of it.

    Returns:
        The flat positions that are closed days, (T_total,), None where there are none; and a warning.
    """
    if not (freq.unit == "s" and freq.step == DAY) or grid.at is None:
        return None, []
    n = rows.keys.height
    weekday = (rows.times.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 0 is Monday
    counts = np.bincount(rows.codes * 7 + weekday, minlength=7 * n).reshape(n, 7)
    weeks = grid.extents // 7
    open_days = counts > 0
    steady = np.where(open_days, counts, np.iinfo(np.int64).max).min(1) >= 0.8 * weeks
    shut = ~open_days & (steady & (weeks >= FEWEST_WEEKS) & (open_days.sum(1) >= 2))[:, None]
    series = np.flatnonzero(shut.any(1))
    if not len(series):
        return None, []
    extents = grid.extents[series]
    codes = np.repeat(series, extents)
    within = np.arange(len(codes)) - np.repeat(np.cumsum(extents) - extents, extents)
    first = freq.times(grid.starts).astype("datetime64[D]").astype(np.int64)
    closed = np.zeros(grid.total, bool)
    closed[grid.begins[codes] + within] = shut[codes, (first[codes] + within + 3) % 7]
    days = [DAYS[d] for d in np.flatnonzero(shut[series].any(0))]
    names = " or ".join(WEEKDAYS[day] for day in days)
    example = f"series {series_name(rows.keys, int(series[0]))} in {weeks[series[0]]} weeks"
    done = (
        "kept as not observed, as you asked; to take them as no demand, pass"
        if given
        else "taken as closed, with no demand on these days; to take them as not observed, pass"
    )
    note = Note(
        kind="closed", count=int(closed.sum()), series=len(series), example=example, severity="warning",
        done=f"no row of these series on any {names}, unlike the others: {done}",
        ways=(way(gaps="zero") if given else way(freq="D"),),
    )  # fmt: skip
    return (None if given else closed), [note]


def treat_ended(
    rows: Rows, steps: Ints, grid: Grid, freq: Frequency, rule: str
) -> tuple[Rows, Ints | None, list[Note]]:
    """Find series that stop long before the others: leave them out, or carry them to the common end.

    A series stops long before where it lacks the last two seasons of the table (28 days and the like), and more
    than three times its own longest gap. Where fewer than half of the series reach the end of the table, they
    have no common end, and none stops before it. One of fewer than `OWN_ROWS` rows, or seen over no longer than the
    gap, has shown no rhythm: it may be rare or new, and is never left out.

    Returns:
        The rows that stay, the grid step that each of their series is carried to (None where none is), and notes.
    """
    if rows.keys.height < 2:
        return rows, None, []
    last = grid.starts + grid.extents - 1
    longest = np.zeros(rows.keys.height, np.int64)
    inside = rows.codes[1:] == rows.codes[:-1]
    np.maximum.at(longest, rows.codes[1:][inside], np.diff(steps)[inside])
    end = int(last.max())
    season = max(freq.period, 14 if freq.unit in ("s", "B") and freq.step <= DAY else 3)
    far = 2 * min(season, 60)
    behind = end - last
    early = behind > np.maximum(far, 3 * longest)
    if not early.any() or 2 * int((behind <= far).sum()) < len(last):
        return rows, None, []
    counts = np.bincount(rows.codes, minlength=len(last))
    few = early & ((counts < OWN_ROWS) | (grid.extents <= far))
    ended = early & ~few
    common = show(freq.times(np.array([end]))[0])
    notes = []

    def tell(kind: str, which: NDArray[np.bool_], action: str, severity: str, *ways: Way) -> None:
        if not which.any():
            return
        first, count = int(np.argmax(which)), int(which.sum())
        at = show(freq.times(last[first : first + 1])[0])
        name = series_name(rows.keys, first)
        example = f"series {name} ends {behind[first]:,} steps before the others, at {at}"
        notes.append(
            Note(kind=kind, count=count, series=count, example=example, done=action, severity=severity,
                 ways=ways)
        )  # fmt: skip

    if rule == "keep":
        tell(
            "ended",
            ended,
            "these series ended before the others: forecast from their own ends, in the past",
            "warning",
        )
        return rows, None, notes
    if rule == "skip":
        action = f"no rows for longer than {far} steps and three of their longest gaps: left out; to forecast them from {common}, pass"
    else:
        action = f"these series ended before the others: forecast from the common end, {common}, as you asked"
    ways = [way(ended="forecast")] if rule == "skip" else []
    tell("ended", ended, action, "warning", *ways)
    action = f"fewer than {OWN_ROWS} rows, the last long ago: not observed since, forecast from the common end, {common}"
    tell("rare", few & (counts < OWN_ROWS), action, "info")
    action = (
        f"rows over no more than {far} steps, the last long ago, so that it cannot be told whether they ended: "
        f"forecast from the common end, {common}"
    )
    tell("ended", few & (counts >= OWN_ROWS), action, "warning")
    reach = np.where(early, end, last)
    if rule == "skip" and ended.any():
        stays = ~ended
        return rows.take(np.flatnonzero(stays[rows.codes])), reach[stays], notes
    return rows, reach, notes


def aggregate(rows: Rows, to: str, used: Frequency | None) -> tuple[Rows, list[Note]]:
    """Move every row to the step of a coarser grid that it lies in; steps that are not whole are left out.

    The rows of a step are added up later, as rows of one time. The first and the last step of the table are
    left out where the table does not cover them.

    Args:
        rows: Rows with their own times.
        to: The coarser grid.
        used: The grid of the rows, where it is known: it tells whether a step is covered.

    Raises:
        FrequencyError: `to` is no grid that times can be rounded to.
        DataError: No whole step is left.
    """
    grid = Frequency.parse(to)
    if rows.times.dtype.kind == "i":
        raise FrequencyError(
            f"to is {to!r}, but the times are whole numbers; aggregate the table first"
        )
    floored = grid.floor(rows.times)
    first, last = rows.times.min(), rows.times.max()
    width = (
        np.timedelta64(1, "D")
        if used is None
        else used.times(np.array([1]))[0] - used.times(np.array([0]))[0]
    )
    steps = grid.ordinal(floored)
    begin = grid.begin(int(steps.min()))
    finish = grid.begin(int(steps.max()) + 1)
    keep = np.ones(len(steps), bool)
    notes = [
        Note(kind="aggregated", count=len(steps), series=rows.keys.height, example="",
             done=f"rows are added up to steps of {grid.name!r}, as you asked")
    ]  # fmt: skip
    for odd, step, side in (
        (first - begin >= width, steps.min(), "first"), (finish - last > width, steps.max(), "last"),
    ):  # fmt: skip
        if odd:
            keep &= steps != step
            at = show(grid.times(np.array([step]))[0])
            notes.append(
                Note(kind="incomplete", count=int((steps == step).sum()), series=0, example=at,
                     done=f"the table covers only a part of the {side} step of {grid.name!r}, {at}: left out",
                     severity="warning")
            )  # fmt: skip
    if not keep.any():
        raise DataError(
            f"the table covers no whole step of {grid.name!r}; name a finer step:",
            option="to", found=to, ways=[way(to=...)],
        )  # fmt: skip
    moved = replace(rows, times=floored.astype("datetime64[us]"))
    return (moved if keep.all() else moved.take(np.flatnonzero(keep))), notes


def to_day(rows: Rows, freq: Frequency) -> tuple[Rows, list[Note]]:
    """Move times of day to the start of their step of `freq`, for tables of single sales."""
    floored: NDArray[Any] = freq.floor(rows.times)
    off = floored != rows.times
    if not off.any():
        return rows, []
    example = rows.place(int(np.argmax(off)))
    action = f"times are moved to the step of {freq.name!r} that they lie in"
    note = Note(kind="rounded times", count=int(off.sum()), series=len(np.unique(rows.codes[off])),
                example=example, done=action)  # fmt: skip
    return replace(rows, times=floored.astype("datetime64[us]")), [note]
