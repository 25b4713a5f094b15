"""Choose the items of a forecast that a person should look at, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.report.view import View
from demandcast.report.words import amount, percent, span

# an item is listed if one of these is exceeded
JUMP = 0.5  # change of the total against as many steps before, as a share
WIDE = 1.0  # margin of the outer band, as a share of the forecast
WORSE = 1.25  # error, as a multiple of the seasonal naive's
OFF = 0.3  # error of the total, as a share of the larger of forecast and actual total
MOST = 50  # items listed
SMALL = 1e-3  # share of the total below which an item is not listed


@dataclass(frozen=True)
class Item:
    """An item that a person should look at.

    Attributes:
        row: Its row in the forecast.
        reasons: Why to look at it, one sentence each, the most important first.
        weight: Units that the most important reason concerns.
    """

    row: int
    reasons: tuple[str, ...]
    weight: float


def items_to_look_at(view: View) -> list[Item]:
    """Return at most 50 items that have a reason, in descending order of the units concerned."""
    reasons_of_row: dict[int, list[tuple[float, str]]] = {}
    for row, weight, reason in _reasons(view):
        reasons_of_row.setdefault(row, []).append((weight, reason))
    least = SMALL * float(np.abs(view.total).sum()) / max(1, min(view.first.n_series, 1000))
    items = []
    for row, reasons in reasons_of_row.items():
        ordered = sorted(reasons, key=lambda entry: -entry[0])
        if ordered[0][0] > least:
            items.append(Item(row, tuple(reason for _, reason in ordered), ordered[0][0]))
    return sorted(items, key=lambda item: (-item.weight, item.row))[:MOST]


def _reasons(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield the row of an item, the units concerned, and the reason, for every reason of every item."""
    if view.has_actual:
        yield from _far_totals(view)
    else:
        yield from _changed_totals(view)
    yield from _worse_than_naive(view)
    wide = view.margin > WIDE * np.abs(view.total)
    levels = view.first.levels
    share = percent(levels[-1] - levels[0])
    for row in _rows_where(wide & (np.abs(view.total) >= np.median(np.abs(view.total)))):
        margin = view.margin[row] / max(abs(view.total[row]), 1e-12)
        text = f"Very uncertain: the {share} band is ± {percent(margin)} wide."
        yield row, float(view.margin[row] - abs(view.total[row])), text


def _far_totals(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield the items whose forecast total is far from the actual total."""
    total = np.where(np.isnan(view.actual), 0, view.first.mean).sum(1)
    actual = np.nansum(view.actual, 1)
    error = total - actual
    for row in _rows_where(np.abs(error) > OFF * np.maximum(np.abs(actual), np.abs(total))):
        how = "Too high" if error[row] > 0 else "Too low"
        text = f"{how}: forecast {amount(total[row])}, actual {amount(actual[row])}."
        yield row, float(abs(error[row])), text


def _changed_totals(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield the items whose total changes much, and those with a short history."""
    steps = span(view.first.horizon, view.first.schema.freq)
    change = view.total - view.previous
    for row in _rows_where(np.abs(change) > JUMP * np.abs(view.previous)):
        before, ahead = view.previous[row], view.total[row]
        last_year = view.year_before[row]
        year = f" A year before: {amount(last_year)}." if np.isfinite(last_year) else ""
        if before == 0:
            text = f"Nothing in the last {steps}, but a forecast of {amount(ahead)}.{year}"
        else:
            how = percent(ahead / before - 1, sign=True) if before > 0 else "Much changed"
            text = f"{how} against the last {steps}: {amount(before)} before, {amount(ahead)} ahead.{year}"
        yield row, float(abs(change[row])), text
    few = max(2 * view.grid.period, view.first.horizon)
    if view.panel is not None:
        for row in _rows_where((view.observed < few) & (view.observed < np.median(view.observed))):
            count = int(view.observed[row])
            values = "1 value" if count == 1 else f"{count} values"
            text = f"New: only {values} of history." if count else "New: no history."
            yield row, float(abs(view.total[row])) / 2, text


def _worse_than_naive(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield the items that the seasonal naive forecasts better."""
    with np.errstate(invalid="ignore"):
        worse = view.error > WORSE * view.naive_error
        units = (view.error - view.naive_error) * np.abs(view.total)
    for row in _rows_where(worse & (np.abs(view.total) >= np.median(np.abs(view.total)))):
        text = (
            f"Its past error is {percent(view.error[row])}; "
            f"repeating the last season has {percent(view.naive_error[row])}."
        )
        yield row, float(units[row]), text


def _rows_where(mask: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(mask)]
