"""Which column is what, and the grid that time runs on.

A grid numbers its steps: `ordinal` turns timestamps into whole numbers and `times` turns them back,
so that everything behind the tables counts in steps.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import FrequencyError

Ints = NDArray[np.int64]
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
SECONDS = {"s": 1, "min": 60, "h": 3600, "D": 86400, "W": 7 * 86400}
SPANS = {"M": 1, "Q": 3, "Y": 12}  # months
ALIASES = {
    "T": "min", "m": "min", "minute": "min", "minutely": "min", "H": "h", "hour": "h", "hourly": "h",
    "d": "D", "day": "D", "daily": "D", "b": "B", "bday": "B", "business": "B", "S": "s",
    "w": "W", "week": "W", "weekly": "W", "M": "ME", "mo": "MS", "month": "MS", "monthly": "MS",
    "Q": "QE", "q": "QS", "quarter": "QS", "quarterly": "QS", "A": "YE", "Y": "YE", "y": "YS",
    "AS": "YS", "BS": "MS", "year": "YS", "yearly": "YS", "annual": "YS",
}  # fmt: skip
KNOWN = (
    "min",
    "5min",
    "15min",
    "30min",
    "h",
    "D",
    "B",
    "W-SUN",
    "MS",
    "ME",
    "QS",
    "QE",
    "YS",
    "YE",
)
MONDAY = 4 * 86400  # 1970-01-05, in seconds


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The user's names for what a table holds."""

    key: tuple[str, ...]
    time: str
    target: str
    freq: str
    known: tuple[str, ...] = ()  # covariates known ahead
    past: tuple[str, ...] = ()  # covariates known to the cutoff only
    static: tuple[str, ...] = ()
    available: str | None = None  # false where the item could not be bought

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Schema:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclass(frozen=True)
class Frequency:
    """A time grid, by its name: "15min", "h", "D", "B", "W-FRI", "MS", "QE-DEC", "YS-JUL", "1"."""

    name: str
    unit: str  # "s" (fixed steps, in seconds), "B", "M" (months) or "int"
    step: int  # seconds, months or whole numbers in one step
    phase: int  # where step 0 lies: seconds since 1970, months since 1970-01, or whole numbers
    end: bool = False  # month grids: stamped at the last day

    @staticmethod
    @lru_cache(maxsize=256)
    def parse(name: str) -> Frequency:
        """Read a name, or one of the aliases of pandas and Polars.

        Raises:
            FrequencyError: The name is not known; the nearest one is told.
        """
        text = str(name).strip()
        if re.fullmatch(r"\d+(\+\d+)?", text):
            step, _, phase = text.partition("+")
            return _integer(int(step), int(phase or 0), name)
        match = re.fullmatch(r"(\d*)([A-Za-z]+)(?:-([A-Za-z]{3}))?(?:\+(\d+)([a-zA-Z]*))?", text)
        if match is None:
            raise _unknown(name)
        count = int(match[1] or 1)
        unit = ALIASES.get(match[2], match[2])
        unit = {"W": "W"}.get(unit, unit)
        anchor = match[3].upper() if match[3] else None
        shift = int(match[4] or 0)
        if count < 1:
            raise _unknown(name)
        if unit == "B" and count == 1 and anchor is None:
            return Frequency("B", "B", 1, 0)
        if unit == "W" and (anchor is None or anchor in DAYS):
            day = anchor or "SUN"
            label = f"{_count(count)}W-{day}" + (f"+{shift % count}" if shift % count else "")
            phase = MONDAY + DAYS.index(day) * 86400 + shift % count * SECONDS["W"]
            return Frequency(label, "s", count * SECONDS["W"], phase)
        if unit in ("s", "min", "h", "D") and anchor is None:
            return _fixed(count * SECONDS[unit], shift)
        if len(unit) == 2 and unit[0] in SPANS and unit[1] in "SE" and (anchor or "JAN") in MONTHS:
            return _monthly(count * SPANS[unit[0]], unit[1] == "E", anchor, shift)
        raise _unknown(name)

    @property
    def is_integer(self) -> bool:
        return self.unit == "int"

    @property
    def is_subdaily(self) -> bool:
        return self.unit == "s" and self.step < 86400

    @property
    def periods(self) -> tuple[int, ...]:
        """Steps in each season that is longer than one step: a day, a week, a year."""
        if self.unit == "int":
            return (1,)
        if self.unit == "B":
            return (5, 260)
        if self.unit == "M":
            return (12 // self.step,) if self.step <= 12 and 12 % self.step == 0 else (1,)
        if self.step % SECONDS["W"] == 0:
            return (max(1, round(52 * SECONDS["W"] / self.step)),)
        spans = [s for s in (86400, SECONDS["W"]) if s % self.step == 0 and s > self.step]
        spans += [364 * 86400] if self.step == 86400 else []
        return tuple(s // self.step for s in spans) or (1,)

    @property
    def period(self) -> int:
        """Steps in the season that naive forecasts repeat; 1 where there is none."""
        return self.periods[0]

    def ordinal(self, times: NDArray[Any]) -> Ints:
        """Steps on the grid, int64, same shape.

        Raises:
            FrequencyError: A time is not on the grid; the first such time is named.
        """
        if self.unit == "int":
            whole = np.asarray(times)
            if whole.dtype.kind not in "iu":
                raise FrequencyError(
                    f"steps of {self.name!r} want whole numbers, not {whole.dtype}"
                )
            found, rest = np.divmod(whole.astype(np.int64) - self.phase, self.step)
            return self._on_grid(found, rest == 0, whole)
        stamps = np.asarray(times, "datetime64[us]")
        if self.unit == "s":
            micros = stamps.astype(np.int64) - self.phase * 1_000_000
            found = micros // (self.step * 1_000_000)
            return self._on_grid(found, micros == found * (self.step * 1_000_000), stamps)
        days = stamps.astype("datetime64[D]")
        if self.unit == "B":
            found = np.asarray(np.busday_count(np.datetime64("1970-01-01"), days), np.int64)
            return self._on_grid(found, np.is_busday(days) & (days == stamps), stamps)
        months = days.astype("datetime64[M]")
        number = months.astype(np.int64) - self.phase
        found = number // self.step
        stamp = (
            (months + 1).astype("datetime64[D]") - 1 if self.end else months.astype("datetime64[D]")
        )
        return self._on_grid(found, (number % self.step == 0) & (stamp == stamps), stamps)

    def _on_grid(self, found: Ints, fits: NDArray[np.bool_], times: NDArray[Any]) -> Ints:
        if not fits.all():
            first = times.ravel()[int(np.argmin(fits.ravel()))]
            raise FrequencyError(
                f"time {first} is not on the grid of frequency {self.name!r} "
                f"({int((~fits).sum()):,} times are not); name the right frequency with freq=..., "
                "or round the times to it first"
            )
        return found

    def times(self, ordinals: NDArray[Any]) -> NDArray[Any]:
        """Timestamps of steps: datetime64[us], or int64 on integer grids."""
        steps = np.asarray(ordinals, np.int64)
        if self.unit == "int":
            return steps * self.step + self.phase
        if self.unit == "s":
            return ((steps * self.step + self.phase) * 1_000_000).astype("datetime64[us]")
        if self.unit == "B":
            days = np.busday_offset(np.datetime64("1970-01-01"), steps, roll="forward")
            return np.asarray(days).astype("datetime64[us]")
        months = (steps * self.step + self.phase).astype("datetime64[M]")
        stamp = (months + 1).astype("datetime64[D]") - 1 if self.end else months
        return np.asarray(stamp.astype("datetime64[us]"))

    def lags(self) -> tuple[int, ...]:
        """Steps back that are worth an input: the last few, and around whole seasons.

        The rule of GluonTS for hours, days, weeks, months and quarters, and its like elsewhere.
        """
        if self.unit == "int":
            return tuple(range(1, 8))
        if self.unit == "B":
            return _around(range(1, 7), [10, 15, 20, 65, 130, 260, 520])
        if self.unit == "M":
            if self.step == 1:
                return _around(range(1, 8), [12, 24, 36])
            year = self.periods[0]
            return _around(range(1, 10), [3 * year]) if year > 1 else tuple(range(1, 6))
        if self.step % SECONDS["W"] == 0:
            year = self.periods[0]
            return _around([*range(1, 9), 12], [year, 2 * year, 3 * year])
        if self.step == 86400:
            return _around([*range(1, 9), *range(27, 32), 56, 84], [14, 21, 364, 728, 1092])
        if self.step == 3600:
            return _around(
                range(1, 8), [24 * k for k in range(1, 8)] + [168 * k for k in (2, 3, 4)] + [720]
            )
        day = self.periods[0]
        return (
            _around(range(1, 8), [day * k for k in range(1, 8)]) if day > 1 else tuple(range(1, 8))
        )

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
        if self.unit == "B" or (self.unit == "s" and self.step % SECONDS["W"]):
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


def infer_frequency(times: NDArray[Any], series: NDArray[Any] | None = None) -> Frequency:
    """The grid that times lie on, gaps allowed.

    Args:
        times: datetime64 or whole numbers, increasing within each series, (rows,).
        series: Which series each row belongs to, in runs, (rows,); None for one series.

    Raises:
        FrequencyError: There are too few times to tell, or they are on no regular grid.
    """
    inside = np.ones(max(len(times) - 1, 0), bool) if series is None else series[1:] == series[:-1]
    if not inside.any():
        raise FrequencyError(
            "no series has two times, so the frequency cannot be told; name it, as in freq='D'"
        )
    if times.dtype.kind in "iu":
        gaps = _gaps(np.diff(times.astype(np.int64))[inside])
        step = int(np.gcd.reduce(gaps[0]))
        return _integer(step, int(times[0]) % step, str(step))
    stamps = times.astype("datetime64[us]")
    gaps = _gaps(np.diff(stamps).astype(np.int64)[inside])
    days = np.unique(pl.Series(stamps).unique().to_numpy())
    whole = days.astype("datetime64[D]")
    if (whole == days).all():
        found = _dated(whole, gaps[0] // 86_400_000_000)
        if found is not None:
            return found
    step_us = int(np.gcd.reduce(gaps[0]))
    usual = int(gaps[0][np.argmax(gaps[1])])
    regular = gaps[1][gaps[0] == step_us].sum() / gaps[1].sum()
    if step_us % 1_000_000 or (step_us != usual and regular < 0.02):
        raise _irregular(stamps, series, inside, usual)
    step = step_us // 1_000_000
    return _fixed(step, int(stamps[0].astype(np.int64) // 1_000_000) % step)


def _dated(days: NDArray[Any], gaps: Ints) -> Frequency | None:
    """The grid of whole days: months, business days or weeks; None for plain days."""
    months = days.astype("datetime64[M]")
    starts = bool((days == months.astype("datetime64[D]")).all())
    ends = bool((days == (months + 1).astype("datetime64[D]") - 1).all())
    if gaps.min() >= 28 and (starts or ends):
        numbers = np.unique(months.astype(np.int64))
        step = int(np.gcd.reduce(np.diff(numbers))) or 1
        step = next((s for s in (12, 6, 3, 2, 1) if step % s == 0), 1) if step != 24 else 24
        anchor = MONTHS[int(numbers[0]) % 12] if step in (3, 12) else None
        return _monthly(step, ends and not starts, anchor, int(numbers[0]) % step)
    step_days = int(np.gcd.reduce(gaps))
    if step_days % 7 == 0:
        first = int(days[0].astype(np.int64))
        weekday = (first + 3) % 7
        weeks = step_days // 7
        return Frequency.parse(f"{weeks}W-{DAYS[weekday]}+{(first - 4 - weekday) // 7 % weeks}")
    weekdays = (days.astype(np.int64) + 3) % 7
    if step_days == 1 and len(days) >= 10 and weekdays.max() < 5 and np.isin(gaps, [1, 3]).any():
        return Frequency.parse("B")
    return None


def _irregular(
    stamps: NDArray[Any], series: NDArray[Any] | None, inside: NDArray[np.bool_], usual: int
) -> FrequencyError:
    rest = (np.diff(stamps).astype(np.int64) % max(usual, 1) != 0) & inside
    row = int(np.argmax(rest)) + 1
    of = "" if series is None else f" of series {series[row]}"
    return FrequencyError(
        f"the times are on no regular grid: most steps are {np.timedelta64(usual, 'us').astype(object)}, "
        f"but {stamps[row - 1]}{of} is followed by {stamps[row]}; aggregate the table to one row a "
        "step, or name the grid with freq=..."
    )


def _gaps(differences: Ints) -> tuple[Ints, Ints]:
    counts = pl.DataFrame({"gap": differences}).group_by("gap").len().sort("gap")
    return counts["gap"].to_numpy().astype(np.int64), counts["len"].to_numpy().astype(np.int64)


def _integer(step: int, phase: int, name: object) -> Frequency:
    if step < 1:
        raise _unknown(name)
    return Frequency(
        f"{step}" + (f"+{phase % step}" if phase % step else ""), "int", step, phase % step
    )


def _fixed(seconds: int, phase: int) -> Frequency:
    unit = next(u for u in ("D", "h", "min", "s") if seconds % SECONDS[u] == 0)
    label = f"{_count(seconds // SECONDS[unit])}{unit}" + (
        f"+{phase % seconds}s" if phase % seconds else ""
    )
    return Frequency(label, "s", seconds, phase % seconds)


def _monthly(step: int, end: bool, anchor: str | None, shift: int) -> Frequency:
    letter = "Y" if step % 12 == 0 else "Q" if step % 3 == 0 and step != 6 else "M"
    count = step // SPANS[letter]
    if anchor is None and letter != "M":
        anchor = "DEC" if end else "JAN"
    phase = (MONTHS.index(anchor) if anchor else shift) % step
    if letter == "Q":  # one name a grid, as pandas has it: QS-JAN, QE-DEC
        anchor = MONTHS[phase % 3 + (9 if end else 0)]
    label = f"{_count(count)}{letter}{'E' if end else 'S'}" + (f"-{anchor}" if anchor else "")
    if letter == "M" and phase:
        label += f"+{phase}"
    return Frequency(label, "M", step, phase, end)


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


def _unknown(name: object) -> FrequencyError:
    near = difflib.get_close_matches(str(name), [*KNOWN, *ALIASES], n=1, cutoff=0.3)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return FrequencyError(
        f"frequency {name!r} is not known{hint} Use 15min, h, D, B, W-MON, MS, ME, QS, YS, "
        "or 1 for plain whole-number steps"
    )
