"""Days on which orders may be placed and goods are delivered, and the lead times and review periods that follow.

An order belongs to the day of step t, after which it is placed. With a lead time of L it is sold from the first
delivery day after step t+L on; without delivery days from step t+L+1 on. It decides the steps until the first later
order that arrives later.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.decide.interval import Ints
from demandcast.errors import DataError
from demandcast.frequency import DAY, DAYS, Frequency, time_text

Bools = NDArray[np.bool_]
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
WEEK_AHEAD = 8  # days among which every weekday is


@dataclass(frozen=True)
class Now:
    """The step after which orders are placed, on its time grid."""

    step: int
    freq: Frequency

    def text(self, ahead: int = 0) -> str:
        """Return the time of a step so many after now, with its weekday where steps are days or shorter."""
        time = self.freq.times(np.array([self.step + ahead]))[0]
        if not has_weekdays(self.freq):
            return time_text(time)
        return f"{DAYS[int(_weekdays(self.freq, np.array([self.step + ahead]))[0])].title()} {time_text(time)}"


@dataclass(frozen=True)
class Days:
    """Weekdays, 0 for Monday, or the steps of dates, in order."""

    weekdays: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()

    def first(self, step: int, freq: Frequency) -> int | None:
        """Return the first of the days' steps at a step or after it; None after the last date."""
        if not self.weekdays:
            return next((day for day in self.steps if day >= step), None)
        span = WEEK_AHEAD * (DAY // freq.step if freq.unit == "s" else 1)
        steps = step + np.arange(span)
        return int(steps[np.argmax(np.isin(_weekdays(freq, steps), self.weekdays))])


def has_weekdays(freq: Frequency) -> bool:
    """Return whether every step lies in one day."""
    return freq.unit == "B" or (freq.unit == "s" and DAY % freq.step == 0)


def _weekdays(freq: Frequency, steps: Ints) -> Ints:
    days = freq.times(steps).astype("datetime64[D]").astype(np.int64)
    return np.asarray((days + 3) % 7)  # 1970-01-01 was a Thursday


def read_days(value: Any, freq: Frequency, where: str) -> Days | None:
    """Read weekdays, as "Mon, Thu", or dates; None for no text.

    Args:
        value: A text or a list of words or dates.
        freq: The grid of the demand.
        where: What the days are of, for errors: "order_days of item a".

    Raises:
        DataError: A word is neither a weekday nor a date, both occur, or the grid has no such days.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    listed = re.split(r"[\s,;|+]+", value.strip()) if isinstance(value, str) else list(value)
    words = [str(word)[:10] if isinstance(word, date) else str(word) for word in listed]
    dated = [bool(DATE.fullmatch(word)) for word in words]
    if all(dated):
        return Days(steps=tuple(sorted({step_of(word, freq, where) for word in words})))
    numbers = [_weekday(word) for word in words]
    bad = [w for w, d, day in zip(words, dated, numbers, strict=True) if not d and day is None]
    if bad:
        near = difflib.get_close_matches(bad[0].upper(), DAYS, 1, 0.4)
        hint = f", is it {near[0].title()}?" if near else "."
        raise DataError(
            f"{where} is {value!r}: {bad[0]!r} is neither a weekday (Mon ... Sun) nor a date (2024-05-31){hint} Write "
            "weekdays as in 'Mon, Thu', or dates",
            found=bad[0],
        )
    if any(dated):
        raise DataError(f"{where} is {value!r}; write weekdays or dates, not both")
    if not has_weekdays(freq):
        raise DataError(
            f"{where} is {value!r}, but a step of the table is {freq.name!r}, in which there are no weekdays; write "
            "dates, or give lead_time and review"
        )
    weekdays = sorted({day for day in numbers if day is not None})
    closed = [DAYS[day].title() for day in weekdays if DAYS[day] in freq.closed]
    if closed:
        raise DataError(
            f"{where} is {value!r}, but the table has no step on {closed[0]} (its frequency is {freq.name}); name "
            "days that it has"
        )
    return Days(weekdays=tuple(weekdays))


def _weekday(word: str) -> int | None:
    """Return 0 for Mon or Monday, ...; None for what is no weekday."""
    names = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
    return next(
        (i for i, n in enumerate(names) if len(word) >= 3 and n.startswith(word.upper())), None
    )


def step_of(value: Any, freq: Frequency, where: str) -> int:
    """Return the step that holds a date; of whole-number steps, the step of that number.

    Raises:
        DataError: It is no date.
    """
    if freq.is_integer:
        if re.fullmatch(r"-?\d+(\.0)?", str(value)):
            return int((int(float(str(value))) - freq.phase) // freq.step)
        raise DataError(
            f"{where} is {value!r}; the table counts steps, so write one of them: a whole number"
        )
    text = str(value)[:10]
    try:
        if not DATE.fullmatch(text):
            raise ValueError
        day = np.datetime64(text, "D")
    except ValueError:
        raise DataError(f"{where} is {value!r}; write a date, as in 2024-05-31") from None
    if freq.unit == "B":
        open_day = np.busday_offset(day, 0, roll="backward", weekmask=freq.week)
        return int(freq.ordinal(np.array([open_day], "datetime64[us]"))[0])
    return int(freq.ordinal(freq.floor(np.array([day], "datetime64[us]")))[0])


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the days of N items make of lead times and review periods.

    Attributes:
        may_order: Whether now is an order day, (N,).
        delivery: Lead time of an order placed now for each lead time before delivery days, (N, W).
        review: Steps that the order decides, (N,).
        next_order: Steps until the next order day, (N,).
    """

    may_order: Bools
    delivery: Ints
    review: Ints
    next_order: Ints

    def select(self, items: Ints) -> Schedule:
        """Return some of the items, in the given order."""
        return Schedule(**{name: value[items] for name, value in vars(self).items()})


def plan(
    orders: Sequence[Days | None],
    deliveries: Sequence[Days | None],
    now: Now,
    lead: Ints,
    longest: Ints,
    review: Ints,
    name: Callable[[int], str],
) -> Schedule:
    """Return when the orders of N items arrive, and how many steps each decides.

    Args:
        orders: Order days; None for every review.
        deliveries: Delivery days; None for every step.
        now: When orders are placed.
        lead: Expected lead times, (N,).
        longest: Longest lead times, (N,).
        review: Steps between orders without order days, (N,).
        name: Of an item, for errors.

    Raises:
        DataError: The dates of an item end before its next order arrives.
    """
    count, width = len(lead), int(longest.max()) + 1

    @cache
    def first(days: Days, step: int) -> int | None:
        return days.first(step, now.freq)

    def arrival(i: int, placed: int, steps: int) -> int:
        days = deliveries[i]
        step = placed + steps + 1 if days is None else first(days, placed + steps + 1)
        if step is None:
            raise DataError(
                f"delivery_days of item {name(i)} have no day from {now.text(placed + steps + 1 - now.step)} on, when its "
                "next order would arrive; add later dates",
                series=name(i), column="delivery_days",
            )  # fmt: skip
        return step

    def next_order(i: int, placed: int) -> int:
        days = orders[i]
        step = placed + int(review[i]) if days is None else first(days, placed + 1)
        if step is None:
            raise DataError(
                f"order_days of item {name(i)} have no day after {now.text(placed - now.step)}, and the order placed then "
                "has to last until the next one; add later dates",
                series=name(i), column="order_days",
            )  # fmt: skip
        return step

    may, later = np.ones(count, np.bool_), np.zeros(count, np.int64)
    table, steps = np.zeros((count, width), np.int64), review.copy()
    for i in range(count):
        days = orders[i]
        may[i] = days is None or first(days, now.step) == now.step
        table[i] = [
            arrival(i, now.step, min(k, int(longest[i]))) - now.step - 1 for k in range(width)
        ]
        own = arrival(i, now.step, int(lead[i]))
        following = next_order(i, now.step)
        later[i] = following - now.step
        while arrival(i, following, int(lead[i])) <= own:
            following = next_order(i, following)
        steps[i] = arrival(i, following, int(lead[i])) - own
    return Schedule(may_order=may, delivery=table, review=steps, next_order=later)
