"""Find the items of a forecast that a person should look at, and say why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.report.view import View
from demandcast.report.words import amount, percent, span

MOST = 50  # items listed
JUMP = 0.5  # change against the steps before that is worth a look, as a share
WIDE = 1.0  # margin of the outer band, as a share of the forecast
WORSE = 1.25  # error, as a multiple of the seasonal naive's
OFF = 0.3  # difference between the total forecast and the total that came, as a share
SMALL = 1e-3  # share of the total below which an item is not listed


@dataclass(frozen=True)
class Item:
    """One item to look at.

    Attributes:
        row: Its row in the forecast.
        reasons: Why, one sentence each, the most important first.
        weight: Units that the reasons are about.
    """

    row: int
    reasons: tuple[str, ...]
    weight: float


def items_to_look_at(view: View) -> list[Item]:
    """Return the items with a reason to look at them, those about most units first, 50 at most."""
    found: dict[int, list[tuple[float, str]]] = {}
    for row, weight, reason in _reasons(view):
        found.setdefault(row, []).append((weight, reason))
    least = SMALL * float(np.abs(view.total).sum()) / max(1, min(view.first.n_series, 1000))
    items = []
    for row, reasons in found.items():
        ordered = sorted(reasons, key=lambda entry: -entry[0])
        if ordered[0][0] > least:
            items.append(Item(row, tuple(reason for _, reason in ordered), ordered[0][0]))
    return sorted(items, key=lambda item: (-item.weight, item.row))[:MOST]


def _reasons(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield row, units concerned and reason."""
    if view.has_come:
        yield from _missed(view)
    else:
        yield from _ahead(view)
    yield from _worse_than_naive(view)
    wide = view.margin > WIDE * np.abs(view.total)
    levels = view.first.levels
    share = percent(levels[-1] - levels[0])
    for row in _where(wide & (np.abs(view.total) >= np.median(np.abs(view.total)))):
        margin = view.margin[row] / max(abs(view.total[row]), 1e-12)
        text = f"Very uncertain: the {share} band is ± {percent(margin)} wide."
        yield row, float(view.margin[row] - abs(view.total[row])), text


def _missed(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield items whose total was far from the total that came."""
    total = np.where(np.isnan(view.came), 0, view.first.mean).sum(1)
    came = np.nansum(view.came, 1)
    missed = total - came
    for row in _where(np.abs(missed) > OFF * np.maximum(np.abs(came), np.abs(total))):
        how = "Too high" if missed[row] > 0 else "Too low"
        text = f"{how}: forecast {amount(total[row])}, came {amount(came[row])}."
        yield row, float(abs(missed[row])), text


def _ahead(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield items that change much, or have little or no recent demand."""
    steps = span(view.first.horizon, view.first.schema.freq)
    change = view.total - view.previous
    for row in _where(np.abs(change) > JUMP * np.abs(view.previous)):
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
        for row in _where((view.observed < few) & (view.observed < np.median(view.observed))):
            count = int(view.observed[row])
            values = "1 value" if count == 1 else f"{count} values"
            text = f"New: only {values} of history." if count else "New: no history."
            yield row, float(abs(view.total[row])) / 2, text


def _worse_than_naive(view: View) -> Iterator[tuple[int, float, str]]:
    """Yield items that the seasonal naive forecast better."""
    with np.errstate(invalid="ignore"):
        worse = view.error > WORSE * view.naive_error
        units = (view.error - view.naive_error) * np.abs(view.total)
    for row in _where(worse & (np.abs(view.total) >= np.median(np.abs(view.total)))):
        text = (
            f"Its past error is {percent(view.error[row])}; "
            f"repeating the last season has {percent(view.naive_error[row])}."
        )
        yield row, float(units[row]), text


def _where(chosen: NDArray[np.bool_]) -> list[int]:
    return [int(i) for i in np.flatnonzero(chosen)]
