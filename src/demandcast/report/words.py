"""Format numbers, dates and spans of time for people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.frequency import Frequency

SPANS = {  # frequency -> the word for one step
    "min": "minute", "h": "hour", "D": "day", "B": "business day", "W": "week", "MS": "month",
    "ME": "month", "QS": "quarter", "QE": "quarter", "YS": "year", "YE": "year",
}  # fmt: skip
UNITS = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"))


def span(steps: int, freq: str) -> str:
    """Return a number of steps as text: "28 days", "24 months", "96 steps of 15min"."""
    for name, word in SPANS.items():
        if freq == name or freq.startswith(f"{name}-"):
            return f"{steps:,} {word}{'s' * (steps != 1)}"
    return f"{steps:,} step{'s' * (steps != 1)} of {freq}"


def amount(value: float) -> str:
    """Return a number as people write it: "4.92 million", "48,210", "214", "20.3", "0.35"."""
    if not math.isfinite(value):
        return "n/a"
    size = abs(value)
    for unit, word in UNITS:
        if size >= unit:
            return f"{value / unit:.3g} {word}"
    if size >= 99.5 or value == round(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 0.95 else f"{value:.2g}"


def percent(share: float, *, sign: bool = False) -> str:
    """Return a share in percent without decimals: "58 %", or "+58 %" with its sign."""
    if not math.isfinite(share):
        return "n/a"
    if abs(share) >= 99.5:
        return f"{'+' if sign and share > 0 else ''}{share:,.0f} times"
    rounded = round(100 * share) + 0  # no "-0"
    return f"{rounded:{'+' if sign and rounded else ''}d} %"


def time_labels(steps: NDArray[np.int64], grid: Frequency, zone: str | None) -> list[str]:
    """Return times as sortable text: "2024-01", "2024-01-31" or "2024-01-31 13:00" in the user's time zone."""
    times = grid.times(steps)
    if grid.is_integer:
        return [str(t) for t in times]
    if grid.is_subdaily:
        clock = pl.Series(times)
        if zone is not None:
            clock = clock.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
        form = "%Y-%m-%d %H:%M" if grid.step % 60 == 0 else "%Y-%m-%d %H:%M:%S"
        return [str(t) for t in clock.dt.strftime(form)]
    return [str(t)[: 7 if grid.unit == "M" else 10] for t in times]


def period(first: str, last: str) -> str:
    """Return the span from one time label to another as people write it: "25 Apr to 22 May 2016"."""
    begin, end = _moment(first), _moment(last)
    if begin is None or end is None:
        return first if first == last else f"{first} to {last}"
    if first == last:
        return _format_moment(begin, first)
    if len(first) <= 10 and begin.year == end.year:
        return f"{_format_moment(begin, first).rsplit(' ', 1)[0]} to {_format_moment(end, last)}"
    return f"{_format_moment(begin, first)} to {_format_moment(end, last)}"


def _moment(label: str) -> datetime | None:
    try:
        return datetime.fromisoformat(f"{label}-01" if len(label) == 7 else label)
    except ValueError:
        return None  # a step without a calendar


def _format_moment(moment: datetime, label: str) -> str:
    day = "" if len(label) == 7 else f"{moment.day} "
    clock = f", {moment:%H:%M}" if len(label) > 10 else ""
    return f"{day}{moment:%b %Y}{clock}"


def join_words(words: Iterable[Any]) -> str:
    """Join words to a list in a sentence: "a, b and c"."""
    texts = [str(word) for word in words]
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if texts[1:] else texts)
