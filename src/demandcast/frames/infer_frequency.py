"""Infer the frequency of a table from the times of its rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import FrequencyError, mend, way
from demandcast.frequency import (
    DAY,
    DAYS,
    HOUR,
    MINUTE,
    Frequency,
    Ints,
    business_grid,
    fixed_grid,
    half_month_grid,
    integer_grid,
    monthly_grid,
    open_days_grid,
    refuse_nat,
    retail_grid,
    time_text,
)

DAY_US = DAY * 1_000_000
FEWEST_WEEKS = 4  # without a row on a weekday, before it is taken as closed
OUT_OF_PHASE = 6  # a joint grid may be this many times finer than that of each series


def infer_frequency(
    times: NDArray[Any],
    series: NDArray[Any] | None = None,
    *,
    name: Callable[[Any], str] = str,
) -> Frequency:
    """Infer the grid of times, gaps allowed.

    Series that step alike but out of phase share a finer grid, as days for every second day begun on
    different days; not where that would leave the unit (a day at noon, a day at midnight) or be more
    than six times finer (weeks that end on different weekdays).

    Args:
        times: datetime64 or whole numbers, increasing within each series, (rows,).
        series: Which series each row belongs to, in runs, (rows,); None for one series.
        name: Says an entry of `series` in messages.

    Raises:
        FrequencyError: There are too few times, one is NaT, they are on no regular grid, or
            not all series are on the same one; the series and time are named.
    """
    inside = np.ones(max(len(times) - 1, 0), bool) if series is None else series[1:] == series[:-1]
    if not inside.any():
        raise FrequencyError(
            "no series has two times, so the frequency cannot be told; name it, as in",
            ways=[mend(freq="1" if times.dtype.kind in "iu" else "D")], option="freq",
        )  # fmt: skip
    counts_steps = times.dtype.kind in "iu"
    stamps = times.astype(np.int64 if counts_steps else "datetime64[us]", copy=False)
    if not counts_steps:
        refuse_nat(stamps)
    runs = _Runs(stamps, series, inside, name)
    numbers = stamps.view(np.int64)
    firsts = numbers[runs.firsts]
    gaps, counts = _gaps(np.diff(numbers)[inside])
    if gaps[0] <= 0:
        row = int(np.argmax((np.diff(numbers) <= 0) & inside)) + 1
        raise FrequencyError(
            f"{runs.at(row)} does not come after the time before it; sort the table"
        )
    if counts_steps:
        step = runs.joint_step(
            int(np.gcd.reduce(gaps)), firsts, 1, lambda s: integer_grid(s, 0).name
        )
        return integer_grid(step, int(firsts[0]) % step)
    if not (gaps % DAY_US).any() and not (firsts % DAY_US).any():
        date_grid = _fit_dates(runs, gaps // DAY_US, firsts // DAY_US)
        if date_grid is not None:
            return date_grid
    inner, usual = int(np.gcd.reduce(gaps)), int(gaps[np.argmax(counts)])
    rare = counts[gaps == inner].sum() < 0.02 * counts.sum()
    if inner % 1_000_000 or (inner != usual and rare):
        raise _irregular(runs, usual)
    unit = next(u for u in (DAY, HOUR, MINUTE, 1) if inner % (u * 1_000_000) == 0) * 1_000_000
    step = runs.joint_step(
        inner, firsts, unit, lambda s: fixed_grid(max(1, s // 1_000_000), 0).name
    )
    return fixed_grid(step // 1_000_000, int(firsts[0]) // 1_000_000)


@dataclass(frozen=True)
class _Runs:
    """Times in runs of one series each, with names for messages."""

    times: NDArray[Any]  # (rows,)
    series: NDArray[Any] | None
    inside: NDArray[np.bool_]  # row + 1 continues the series of row, (rows - 1,)
    name: Callable[[Any], str]

    @property
    def firsts(self) -> Ints:
        """First row of each series."""
        return np.concatenate([[0], np.flatnonzero(~self.inside) + 1])

    def at(self, row: int) -> str:
        of = "" if self.series is None else f" of series {self.name(self.series[row])}"
        return f"{time_text(self.times[row])}{of}"

    def days(self) -> NDArray[Any]:
        """Return the distinct days of all series; times are whole days."""
        number = self.times.view(np.int64) // DAY_US
        first = number.min()
        present = np.zeros(number.max() - first + 1, bool)  # far quicker than sorting
        present[number - first] = True
        return np.asarray(np.flatnonzero(present) + first, "datetime64[D]")

    def joint_step(self, inner: int, firsts: Ints, unit: int, name_of: Callable[[int], str]) -> int:
        """Return the step of the grid common to all series, if each series alone steps by `inner`.

        Raises:
            FrequencyError: It is no whole `unit`, or too fine; the first odd series is named.
        """
        phases = (firsts - firsts[0]) % inner
        step = int(np.gcd(inner, np.gcd.reduce(phases)))
        if step % unit == 0 and inner // step <= OUT_OF_PHASE:
            return step
        values, counts = np.unique(phases, return_counts=True)
        most = values[np.argmax(counts)]
        rows, odd = self.firsts, phases != most
        raise FrequencyError(
            f"the series step alike but not together: {self.at(rows[np.argmax(odd)])} lies between "
            f"the steps of most series, as {self.at(rows[np.argmin(odd)])} ({int(odd.sum()):,} of "
            f"{len(rows):,} series are out of step); move their times onto one grid, as with polars' "
            f"dt.truncate, or name a grid that holds all of them:",
            ways=[mend(freq=name_of(step))], option="freq",
        )  # fmt: skip


def _fit_dates(runs: _Runs, gaps: Ints, firsts: Ints) -> Frequency | None:
    """Return the grid of whole days: months, weeks or business days; None for plain days."""
    step = int(np.gcd.reduce(gaps))
    if gaps[0] >= 28:
        days = runs.days()
        months = days.astype("datetime64[M]")
        starts = bool((days == months.astype("datetime64[D]")).all())
        if starts or (days == (months + 1).astype("datetime64[D]") - 1).all():
            return _months(runs, gaps, end=not starts)
        for end in (True, False):
            grid = business_grid(monthly_grid(1, end, 0))
            if (days == grid._stamp(months)).all():
                return business_grid(_months(runs, gaps, end=end))
    if gaps[0] >= 13 and step % 7 and (half_months := _half_month_fit(runs.days())) is not None:
        return half_months
    if gaps[0] == 28 and 35 in gaps and (retail := _retail_fit(runs.days())) is not None:
        return retail
    if step % 7 == 0:  # weeks have a joint grid of weeks: days would be seven times finer
        weeks = runs.joint_step(step, firsts, 1, lambda s: fixed_grid(s * DAY, 0).name) // 7
        weekday = (int(firsts[0]) + 3) % 7
        shift = (int(firsts[0]) - 4 - weekday) // 7 % weeks
        return Frequency.parse(f"{weeks}W-{DAYS[weekday]}+{shift}")
    return _weekdays(runs.days()) if step == 1 else None


def _retail_fit(days: NDArray[Any]) -> Frequency | None:
    """Return the retail calendar whose stamps include all days; of several, the likeliest."""
    number = days.astype(np.int64)
    weekday = int(number[0] + 3) % 7
    if len(days) < 4 or ((number + 3) % 7 != weekday).any():
        return None
    months = (
        11,
        0,
        *range(1, 11),
    )  # years that end with December, or after the holidays, come first
    for end in (
        (True, False) if weekday else (False, True)
    ):  # weeks begin on a Monday, if on a stamp
        for month in months:
            for weeks in ("445", "454", "544"):
                for near in (True, False):
                    closing = weekday if end else (weekday - 1) % 7
                    grid = retail_grid(weeks, month, closing, near=near, end=end)
                    grid_days = grid.times(grid._retail_step(days))
                    if (grid_days == days.astype("datetime64[us]")).all():
                        return grid
    return None


def _half_month_fit(days: NDArray[Any]) -> Frequency | None:
    """Return the grid of two days a month that holds all days, if both days occur; else None."""
    months = days.astype("datetime64[M]")
    number = (days - months.astype("datetime64[D]")).astype(np.int64) + 1
    for end, middles in ((False, (15, 16)), (True, (15,))):
        for middle in middles:
            grid = half_month_grid(end=end, middle=middle)
            halves = number == middle
            if ((days == grid._stamp(months)) | halves).all() and halves.any() and not halves.all():
                return grid
    return None


def _weekdays(days: NDArray[Any]) -> Frequency | None:
    """Return the grid of the weekdays that occur, if the others are clearly closed; else None.

    Saturday and Sunday are closed where ten days have neither; any other weekday where four weeks have none of
    it, and each of the others in at least half of the weeks.
    """
    counts = np.bincount((days.astype(np.int64) + 3) % 7, minlength=7)
    is_open = counts > 0
    if len(days) < 10 or is_open.all() or is_open.sum() < 2:
        return None
    grid = open_days_grid("".join("01"[int(o)] for o in is_open))
    weeks = (int(days[-1].astype(np.int64)) - int(days[0].astype(np.int64)) + 1) / 7
    plain = weeks >= FEWEST_WEEKS and counts[is_open].min() >= weeks / 2
    return grid if plain or grid.name == "B" else None


def _months(runs: _Runs, gaps: Ints, *, end: bool) -> Frequency:
    # month starts lie within 3 days of an even spacing, so days between them tell the months
    inner = int(np.gcd.reduce(np.rint(gaps / 30.436875).astype(np.int64)))
    if inner % 12:  # a table of few months may by chance leave out all but every fifth
        inner = next(s for s in (6, 4, 3, 2, 1) if inner % s == 0)
    firsts = runs.times[runs.firsts].astype("datetime64[M]").astype(np.int64)
    step = runs.joint_step(inner, firsts, 1, lambda s: monthly_grid(s, end, 0).name)
    return monthly_grid(step, end, int(firsts[0]))


def _irregular(runs: _Runs, usual: int) -> FrequencyError:
    """Return the error of times on no grid, most of them `usual` microseconds apart."""
    if usual >= 28 * DAY_US and (error := _irregular_months(runs)) is not None:
        return error
    rest = (np.diff(runs.times).astype(np.int64) % usual != 0) & runs.inside
    if not rest.any():
        return FrequencyError(
            f"the times are {usual / 1e6:g} seconds apart, and a step is one whole second or more; "
            "aggregate the table to seconds first"
        )
    row = int(np.argmax(rest))
    return FrequencyError(
        f"the times are on no regular grid: most steps are {_span(usual)}, but {runs.at(row)} is "
        f"followed by {time_text(runs.times[row + 1])}; aggregate the table to one row a step, or name "
        "the step:",
        option="freq", ways=[way(freq=...)],
    )  # fmt: skip


def _irregular_months(runs: _Runs) -> FrequencyError | None:
    """Return the error of times that look monthly but are not all stamped alike; None if they share no day."""
    days = runs.times.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    number = (days - months.astype("datetime64[D]")).astype(np.int64) + 1  # day of the month
    usual = int(np.argmax(np.bincount(number)))
    last = days == (months + 1).astype("datetime64[D]") - 1
    same, where = number == usual, f"day {usual} of a month"
    if last.sum() > same.sum():
        same, where = last, "the last day of a month"
    if 2 * same.sum() < len(same):
        return None
    mend = "truncate the times to months first, as with polars' dt.truncate('1mo')"
    if not same.all():
        return FrequencyError(
            f"the times are on no regular grid: most are {where}, but {runs.at(int(np.argmin(same)))} "
            f"is not; correct it, or {mend}"
        )
    return FrequencyError(
        f"the times look like months but are stamped as {runs.at(0)}, and a month's stamp is 00:00 of "
        f"its first or last day; {mend}"
    )


def _gaps(differences: Ints) -> tuple[Ints, Ints]:
    """Return the distinct differences, increasing, and the count of each."""
    counts = pl.DataFrame({"gap": differences}).group_by("gap").len().sort("gap")
    return counts["gap"].to_numpy().astype(np.int64), counts["len"].to_numpy().astype(np.int64)


def _span(micros: int) -> str:
    for seconds, unit in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute")):
        if micros % (seconds * 1_000_000) == 0:
            count = micros // (seconds * 1_000_000)
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{micros / 1e6:g} seconds"
