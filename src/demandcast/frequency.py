"""The time grid: `ordinal` numbers its steps, and `times` converts the numbers back.

So all code after the tables counts in steps.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import FrequencyError, way

Ints = NDArray[np.int64]
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
MINUTE, HOUR, DAY, WEEK = 60, 3600, 86400, 7 * 86400  # seconds
SECONDS = {"s": 1, "min": MINUTE, "h": HOUR, "D": DAY, "W": WEEK}
SPANS = {"M": 1, "Q": 3, "Y": 12}  # months
ALIASES = {
    "T": "min", "m": "min", "minute": "min", "minutely": "min", "H": "h", "hour": "h", "hourly": "h",
    "d": "D", "day": "D", "daily": "D", "b": "B", "bday": "B", "business": "B", "S": "s",
    "w": "W", "week": "W", "weekly": "W", "M": "ME", "mo": "MS", "month": "MS", "monthly": "MS",
    "Q": "QE", "q": "QS", "quarter": "QS", "quarterly": "QS", "A": "YE", "Y": "YE", "y": "YS",
    "AS": "YS", "BS": "MS", "year": "YS", "yearly": "YS", "annual": "YS",
}  # fmt: skip
KNOWN = (
    "min", "5min", "15min", "30min", "h", "D", "B", "W-SUN", "MS", "ME", "QS", "QE", "YS", "YE",
)  # fmt: skip
MONDAY = 4 * DAY  # 1970-01-05, in seconds
RETAIL_YEARS = (1889, 2210)  # the first only marks the start of the next
RETAIL_ZERO = 12 * (1970 - RETAIL_YEARS[0] - 1)  # the index of step 0
LAGS = (  # seconds in a season, how many of them back, and how many steps around each
    (HOUR, (1, 2, 3), 2),
    (DAY, (1, 2, 3, 4, 5, 6, 7), 1),
    (WEEK, (1, 2, 3, 4), 1),
    (30 * DAY, (1,), 1),
    (4 * WEEK, (1, 2, 3), 0),
    (52 * WEEK, (1, 2, 3), 1),
)
LONGEST_LAG = 1200  # steps, as in GluonTS


@dataclass(frozen=True)
class Frequency:
    """A time grid, by its name: "15min", "h", "D", "B", "D-exSUN", "W-FRI", "MS", "QE-DEC", "YS-JUL", "445-JAN-SAT", "1".

    "445-JAN-SAT" has retail periods of 4, 4 and 5 weeks, stamped at their last day, in years that end on the last
    Saturday of January; "445-JAN-SAT-NEAR" on the one nearest to its end; "-START" stamps them at their first day.
    "BME" is stamped at the last business day of each month, "BMS" at the first.
    "SMS" has two steps a month, at its 1st and 15th, "SMS-16" at its 1st and 16th, "SME" at its 15th and last day.
    "D-exSUN" has every day but Sundays, "D-exFRI.SAT" neither Fridays nor Saturdays; "B" is "D-exSAT.SUN".
    """

    name: str
    unit: str  # "s" (fixed steps, in seconds), "B", "M" (months), "SM" (half months), "R" or "int"
    step: int  # seconds, months or whole numbers in one step
    phase: int  # where step 0 lies: seconds since 1970, months since 1970-01, or whole numbers
    end: bool = False  # month grids: stamped at the last day
    middle: int = 15  # unit "SM": the day of the month that stamps the other step
    week: str = "1111100"  # unit "B": which weekdays have steps, from Monday on
    business: bool = False  # month grids: stamped at business days
    retail: tuple[str, int, int, bool] | None = None  # unit "R": weeks, month, weekday, nearest

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(name: str) -> Frequency:
        """Read a name, or one of the aliases of pandas and Polars.

        Raises:
            FrequencyError: The name is unknown; the nearest one is suggested.
        """
        text = str(name).strip()
        if re.fullmatch(r"\d+(\+\d+)?", text):
            step, _, phase = text.partition("+")
            if int(step) < 1:
                raise _unknown_frequency(name)
            return integer_grid(int(step), int(phase or 0))
        if closed := re.fullmatch(r"D-ex([A-Z]{3}(?:[.,][A-Z]{3})*)", text, re.IGNORECASE):
            days = re.split("[.,]", closed[1].upper())
            if not set(days) <= set(DAYS) or len(set(days)) > 5:
                raise _unknown_frequency(name)
            return open_days_grid("".join("01"[day not in days] for day in DAYS))
        if half := re.fullmatch(r"SM([SE]?)(?:-(1[3-7]))?", text.upper()):
            return half_month_grid(end=half[1] != "S", middle=int(half[2] or 15))
        if business := re.fullmatch(r"(\d*)B([MQY][SE].*)", text):
            months = Frequency.parse(f"{business[1]}{business[2]}")
            return business_grid(months)
        if retail := re.fullmatch(
            r"(445|454|544)-([A-Z]{3})-([A-Z]{3})(-NEAR)?(-START)?", text.upper()
        ):
            weeks, month, day, near, start = retail.groups()
            if month not in MONTHS or day not in DAYS:
                raise _unknown_frequency(name)
            return retail_grid(
                weeks, MONTHS.index(month), DAYS.index(day), near=bool(near), end=not start
            )
        match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-([A-Za-z]{3}))?(?:\+(\d+)([a-zA-Z]*))?", text)
        if match is None:
            raise _unknown_frequency(name)
        count = int(match[1] or 1)
        unit = ALIASES.get(match[2], match[2])
        anchor = match[3].upper() if match[3] else None
        shift = int(match[4] or 0)
        if count < 1:
            raise _unknown_frequency(name)
        if unit == "B" and count == 1 and anchor is None:
            return open_days_grid("1111100")
        if unit == "W" and (anchor is None or anchor in DAYS):
            day = anchor or "SUN"
            label = f"{_count(count)}W-{day}" + (f"+{shift % count}" if shift % count else "")
            start = MONDAY + DAYS.index(day) * DAY + shift % count * WEEK
            return Frequency(label, "s", count * WEEK, start)
        if unit in ("s", "min", "h", "D") and anchor is None:
            return fixed_grid(count * SECONDS[unit], shift)
        if len(unit) == 2 and unit[0] in SPANS and unit[1] in "SE" and (anchor or "JAN") in MONTHS:
            span, end = SPANS[unit[0]], unit[1] == "E"
            first = MONTHS.index(anchor or ("DEC" if end and span > 1 else "JAN"))
            return monthly_grid(
                count * span, end, (first % span if span > 1 else first) + shift * span
            )
        raise _unknown_frequency(name)

    @property
    def is_integer(self) -> bool:
        return self.unit == "int"

    @property
    def is_subdaily(self) -> bool:
        """Steps that are no whole days, so that the clock of a time zone matters: "h", "36h"."""
        return self.unit == "s" and self.step % DAY != 0

    @property
    def periods(self) -> tuple[int, ...]:
        """Steps in each season that is longer than one step: a day, a week, a year."""
        if self.unit == "int":
            return (1,)
        if self.unit == "B":
            days = self.week.count("1")
            return (days, 52 * days)
        if self.unit == "R":
            return (12,)
        if self.unit == "SM":
            return (2, 24)
        if self.unit == "M":
            return (12 // self.step,) if self.step <= 12 and 12 % self.step == 0 else (1,)
        if self.step % WEEK == 0:
            return (max(1, round(52 * WEEK / self.step)),)
        spans = [s for s in (DAY, WEEK) if s % self.step == 0 and s > self.step]
        spans += [52 * WEEK] if self.step == DAY else []
        return tuple(s // self.step for s in spans) or (1,)

    @property
    def period(self) -> int:
        """Steps in the season that naive forecasts repeat; 1 where there is none."""
        return self.periods[0]

    def ordinal(self, times: NDArray[Any]) -> Ints:
        """Return the steps of times on the grid, int64, same shape.

        Raises:
            FrequencyError: A time is not on the grid, or NaT; the first such time is named.
        """
        if self.unit == "int":
            numbers = np.asarray(times)
            if numbers.dtype.kind not in "iu":
                raise FrequencyError(
                    f"steps of {self.name!r} want whole numbers, not {numbers.dtype}"
                )
            steps, rest = np.divmod(numbers.astype(np.int64) - self.phase, self.step)
            return self._on_grid(steps, rest == 0, numbers)
        stamps = np.asarray(times, "datetime64[us]")
        refuse_nat(stamps)
        if self.unit == "s":
            micros = stamps.astype(np.int64) - self.phase * 1_000_000
            steps = micros // (self.step * 1_000_000)
            return self._on_grid(steps, micros == steps * (self.step * 1_000_000), stamps)
        days = stamps.astype("datetime64[D]")
        if self.unit == "B":
            counted = np.busday_count(np.datetime64("1970-01-01"), days, weekmask=self.week)
            steps = np.asarray(counted, np.int64)
            return self._on_grid(steps, self.is_open(days) & (days == stamps), stamps)
        if self.unit == "R":
            steps = self._retail_step(days)
            return self._on_grid(steps, self.times(steps) == stamps, stamps)
        if self.unit == "SM":
            steps = self._half_month(days)
            return self._on_grid(steps, self.times(steps) == stamps, stamps)
        months = days.astype("datetime64[M]")
        number = months.astype(np.int64) - self.phase
        steps = number // self.step
        stamp = self._stamp(months)
        return self._on_grid(steps, (number % self.step == 0) & (stamp == stamps), stamps)

    @property
    def closed(self) -> tuple[str, ...]:
        """Weekdays without a step, as "SUN"."""
        return tuple(
            d for d, o in zip(DAYS, self.week, strict=True) if self.unit == "B" and o == "0"
        )

    def is_open(self, days: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the mask of days with a step, False on closed weekdays; same shape."""
        return np.asarray(np.is_busday(days.astype("datetime64[D]"), weekmask=self.week), np.bool_)

    def floor(self, times: NDArray[Any]) -> NDArray[Any]:
        """Return the timestamp of the step that contains each time.

        Raises:
            FrequencyError: The grid has closed weekdays or whole-number steps.
        """
        if self.unit in ("B", "int"):
            raise FrequencyError(
                f"times cannot be rounded to steps of {self.name!r}; name another frequency"
            )
        stamps = np.asarray(times, "datetime64[us]")
        if self.unit == "s":
            micros = stamps.astype(np.int64) - self.phase * 1_000_000
            return self.times(micros // (self.step * 1_000_000))
        if self.unit == "R":
            return self.times(self._retail_step(stamps.astype("datetime64[D]")))
        if self.unit == "SM":
            days = stamps.astype("datetime64[D]")
            steps = self._half_month(days)
            return self.times(steps + (self.times(steps) < days) if self.end else steps)
        months = stamps.astype("datetime64[M]").astype(np.int64) - self.phase
        return self.times(-(-months // self.step) if self.end else months // self.step)

    def begin(self, ordinal: int) -> Any:
        """Return the start of a step: its timestamp, or for month ends the first day of its months."""
        if self.unit == "R":
            return replace(self, end=False).times(np.array([ordinal]))[0]
        if self.unit == "SM":
            before = self.times(np.array([ordinal - self.end]))[0]
            return before + np.timedelta64(int(self.end), "D")
        if self.end:
            first = np.array([(ordinal - 1) * self.step + self.phase + 1])
            return first.astype("datetime64[M]").astype("datetime64[us]")[0]
        return self.times(np.array([ordinal]))[0]

    def _on_grid(self, steps: Ints, fits: NDArray[np.bool_], times: NDArray[Any]) -> Ints:
        if not fits.all():
            row = int(np.argmin(fits.ravel()))
            time, step = times.ravel()[row], int(steps.ravel()[row])
            step -= bool(self.times(np.array([step]))[0] > time)
            before, after = self.times(np.array([step, step + 1]))
            raise FrequencyError(
                f"time {time_text(time)} is not on the grid of frequency {self.name!r}, whose steps there "
                f"are {time_text(before)} and {time_text(after)} ({int((~fits).sum()):,} times are not on it); "
                "round the times to it first, or name the right frequency:",
                option="freq", time=time_text(time), found=self.name, ways=[way(freq=...)],
            )  # fmt: skip
        return steps

    def times(self, ordinals: NDArray[Any]) -> NDArray[Any]:
        """Timestamps of steps: datetime64[us], or int64 on integer grids."""
        steps = np.asarray(ordinals, np.int64)
        if self.unit == "int":
            return steps * self.step + self.phase
        if self.unit == "s":
            return ((steps * self.step + self.phase) * 1_000_000).astype("datetime64[us]")
        if self.unit == "B":
            days = np.busday_offset(
                np.datetime64("1970-01-01"), steps, roll="forward", weekmask=self.week
            )
            return np.asarray(days).astype("datetime64[us]")
        if self.unit == "R" and self.retail:
            ends = _retail_ends(*self.retail)
            index = np.clip(steps + RETAIL_ZERO, 1, len(ends) - 1)
            number = ends[index] if self.end else ends[index - 1] + 1
            return np.asarray(number.astype("datetime64[D]").astype("datetime64[us]"))
        if self.unit == "SM":
            months = (steps // 2).astype("datetime64[M]")
            middle = months.astype("datetime64[D]") + (self.middle - 1)
            second = (steps % 2 == 1) != self.end  # ends: the middle comes before the last day
            return np.where(second, middle, self._stamp(months)).astype("datetime64[us]")
        months = (steps * self.step + self.phase).astype("datetime64[M]")
        return self._stamp(months).astype("datetime64[us]")

    def _half_month(self, days: NDArray[Any]) -> Ints:
        """Return the last step that is stamped at or before each day."""
        months = days.astype("datetime64[M]")
        first = 2 * months.astype(np.int64) - self.end  # of a month of ends: the last day before it
        passed = (self.times(first + 1) <= days).astype(np.int64)
        return np.asarray(first + passed + (self.times(first + 2) <= days), np.int64)

    def _stamp(self, months: NDArray[Any]) -> NDArray[Any]:
        """Return the day that stamps each month."""
        days = (
            (months + 1).astype("datetime64[D]") - 1 if self.end else months.astype("datetime64[D]")
        )
        if self.business:
            days = np.busday_offset(days, 0, roll="backward" if self.end else "forward")
        return np.asarray(days)

    def _retail_step(self, days: NDArray[Any]) -> Ints:
        """Return the retail period that contains each day."""
        assert self.retail is not None
        index = np.searchsorted(_retail_ends(*self.retail), days.astype(np.int64))
        return np.asarray(index - RETAIL_ZERO, np.int64)

    def lags(self) -> tuple[int, ...]:
        """Return the lags that are useful inputs: the last seven steps, and steps around whole seasons.

        The rule of GluonTS (Alexandrov et al., JMLR 2020): up to three hours, seven days, four weeks,
        a month, twelve weeks and three years back, as far as 1200 steps. Of business days it has no
        rule; ours is of weeks, a quarter, half a year and years.
        """
        if self.unit == "int":
            return tuple(range(1, 8))
        if self.unit == "B":
            days = self.week.count("1")
            return _around(
                range(1, days + 2), [days * weeks for weeks in (2, 3, 4, 13, 26, 52, 104)]
            )
        if self.unit == "R":
            return _around(range(1, 8), [12, 24, 36])
        if self.unit == "SM":
            return _around(range(1, 8), [24, 48, 72])
        if self.unit == "M":
            years = [12 * k // self.step for k in (1, 2, 3)] if self.step < 12 else []
            return _around(range(1, 8), years)
        lags = {*range(1, 8)}
        for span, times, width in LAGS:
            if span > self.step:
                middles = [k * span // self.step for k in times]
                lags |= {m + d for m in middles for d in range(-width, width + 1)}
        return tuple(sorted(lag for lag in lags if 0 < lag <= LONGEST_LAG))

    @property
    def calendar_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self._calendar(np.zeros(1, np.int64)))

    def calendar(self, ordinals: NDArray[Any]) -> NDArray[np.float32]:
        """Where in the day, week, month and year each step lies, (steps, features), in [-1, 1]."""
        steps = np.asarray(ordinals, np.int64)
        columns = [column for _, column in self._calendar(steps)]
        if not columns:
            return np.zeros((len(steps), 0), np.float32)
        return np.stack(columns, 1).astype(np.float32)

    def _calendar(self, steps: Ints) -> list[tuple[str, NDArray[np.float64]]]:
        if self.unit == "int":
            return []
        stamps = self.times(steps)
        days = stamps.astype("datetime64[D]")
        columns: list[tuple[str, NDArray[np.float64]]] = []
        if self.is_subdaily:
            hour = (stamps - days).astype(np.int64) / 3.6e9
            columns += _waves("hour_of_day", hour / 24, 3)
        if self.unit == "B" or (self.unit == "s" and self.step % WEEK):
            weekday = (days.astype(np.int64) + 3) % 7
            columns += [(f"is_{d.lower()}", (weekday == i) * 1.0) for i, d in enumerate(DAYS)]
            month_day = (days - days.astype("datetime64[M]").astype("datetime64[D]")).astype(
                np.int64
            )
            columns += _waves("day_of_month", month_day / 30.5, 1)
        year = days.astype("datetime64[Y]").astype("datetime64[D]")
        if not (self.unit == "M" and self.step % 12 == 0):
            columns += _waves("day_of_year", (days - year).astype(np.int64) / 365.25, 2)
        return columns


@lru_cache(maxsize=64)
def _retail_ends(weeks: str, month: int, weekday: int, near: bool) -> Ints:
    """The last day of every retail period, as days since 1970; the last one of a long year takes its 53rd week."""
    years = np.arange(RETAIL_YEARS[0], RETAIL_YEARS[1] + 1)
    months = ((years - 1970) * 12 + month + 1).astype("datetime64[M]")
    last = (
        months.astype("datetime64[D]").astype(np.int64) - 1
    )  # of the month in which the year ends
    back = (last + 3 - weekday) % 7
    closing = last - back + np.where(near & (back > 3), 7, 0)
    within = 7 * np.cumsum([int(w) for w in weeks] * 4)
    ends = closing[:-1, None] + within
    ends[:, -1] = closing[1:]
    return np.asarray(ends.ravel(), np.int64)


def retail_grid(weeks: str, month: int, weekday: int, *, near: bool, end: bool) -> Frequency:
    label = f"{weeks}-{MONTHS[month]}-{DAYS[weekday]}" + "-NEAR" * near + "-START" * (not end)
    return Frequency(label, "R", 1, 0, end, retail=(weeks, month, weekday, near))


def refuse_nat(stamps: NDArray[Any]) -> None:
    if (missing := np.isnat(stamps)).any():
        raise FrequencyError(
            f"{int(missing.sum()):,} times are missing (NaT), the first in row "
            f"{int(np.argmax(missing.ravel())) + 1:,}; drop those rows, or fill in their time"
        )


def time_text(time: Any) -> str:
    """Format a time as briefly as possible: 2020-01-01, 2020-01-01T08:30, or a whole number."""
    return (
        str(np.datetime_as_string(time, unit="auto"))
        if isinstance(time, np.datetime64)
        else str(time)
    )


def open_days_grid(week: str) -> Frequency:
    closed = [day for day, is_open in zip(DAYS, week, strict=True) if is_open == "0"]
    name = "B" if week == "1111100" else f"D-ex{'.'.join(closed)}"
    return Frequency(name, "B", 1, 0, week=week)


def integer_grid(step: int, phase: int) -> Frequency:
    phase %= step
    return Frequency(f"{step}" + (f"+{phase}" if phase else ""), "int", step, phase)


def fixed_grid(seconds: int, phase: int) -> Frequency:
    phase %= seconds
    unit = next(u for u in ("D", "h", "min", "s") if seconds % SECONDS[u] == 0)
    label = f"{_count(seconds // SECONDS[unit])}{unit}" + (f"+{phase}s" if phase else "")
    return Frequency(label, "s", seconds, phase)


def monthly_grid(step: int, end: bool, phase: int) -> Frequency:
    """Steps of whole months; one name a grid, as pandas has it: QS-JAN, QE-DEC, 2YS-JAN+1."""
    phase %= step
    letter = "Y" if step % 12 == 0 else "Q" if step == 3 else "M"
    months = SPANS[letter]
    label = f"{_count(step // months)}{letter}{'E' if end else 'S'}"
    if letter == "Y":
        label += f"-{MONTHS[phase % 12]}"
    if letter == "Q":
        label += f"-{MONTHS[phase + (9 if end else 0)]}"
    shift = phase // months
    return Frequency(label + (f"+{shift}" if shift else ""), "M", step, phase, end)


def half_month_grid(*, end: bool, middle: int) -> Frequency:
    name = f"SM{'E' if end else 'S'}" + (f"-{middle}" if middle != 15 else "")
    return Frequency(name, "SM", 1, 0, end, middle=middle)


def business_grid(months: Frequency) -> Frequency:
    """Return a grid of months stamped at their first or last business day: BMS, BME, BQE-DEC."""
    name = re.sub(r"^(\d*)", r"\1B", months.name)
    return replace(months, name=name, business=True)


def _count(count: int) -> str:
    return "" if count == 1 else str(count)


def _around(near: Any, seasons: list[int]) -> tuple[int, ...]:
    return tuple(sorted({*near, *(s + d for s in seasons for d in (-1, 0, 1) if s + d > 0)}))


def _waves(
    name: str, turn: NDArray[np.float64], harmonics: int
) -> list[tuple[str, NDArray[np.float64]]]:
    angle = 2 * np.pi * turn
    return [
        (f"{name}_{wave.__name__}{k}", wave(k * angle))
        for k in range(1, harmonics + 1)
        for wave in (np.sin, np.cos)
    ]


def _unknown_frequency(name: object) -> FrequencyError:
    weeks = [f"W-{day}" for day in DAYS]
    anchored = [f"{unit}-{month}" for unit in ("QS", "QE", "YS", "YE") for month in MONTHS]
    names = dict.fromkeys([*KNOWN, *ALIASES, *weeks, *anchored])
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return FrequencyError(
        f"frequency {name!r} is not known{hint} Use 15min, h, D, B, W-MON, MS, ME, QS, YS, "
        "or 1 for plain whole-number steps",
        found=str(name),
    ).suggest(near[0] if near else None)
