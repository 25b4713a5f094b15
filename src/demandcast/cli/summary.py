"""Print a forecast in a few lines: its dates, its total, and the largest items with sparklines."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from demandcast.cli import show, terminal

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

BARS = "▁▂▃▄▅▆▇█"
MOST_BARS = 28  # of each part of a sparkline
WIDEST = 40  # characters of a name
LARGEST = 5  # items listed


def print_summary(forecast: Forecast, panel: Panel) -> None:
    """Print the dates, the total and the largest items of a forecast, with sparklines, to stderr."""
    from demandcast.report.view import View
    from demandcast.report.words import amount, percent, period, span

    view = View.of("", {forecast.model: forecast}, panel)
    steps, target = span(forecast.horizon, forecast.schema.freq), forecast.schema.target
    before = view.previous[view.previous > 0].sum()
    change = percent(view.total[view.previous > 0].sum() / before - 1, sign=True) if before else ""
    show.say("")
    show.say(f"forecast of {forecast.n_series:,} items for {steps}, {period(*view.dates())}")
    against = f", {change} against the {steps} before" if change else ""
    show.say(f"total {target}: {amount(view.total.sum())}{against}")
    if forecast.n_series == 1:
        return
    rows: list[tuple[str, ...]] = [
        ("largest items", f"last {steps}", "forecast", "change", "course")
    ]
    largest = (-abs(view.total)).argsort(kind="stable")[:LARGEST]
    for i, (past, ahead) in zip(largest, view.courses(largest), strict=True):
        before_item, ahead_item = view.previous[i], view.total[i]
        rows.append(
            (
                _short("/".join(map(str, forecast.keys.row(int(i))))),
                amount(before_item),
                amount(ahead_item),
                percent(ahead_item / before_item - 1, sign=True) if before_item > 0 else "",
                sparkline(past, ahead),
            )
        )
    if not _prints(BARS):
        rows = [row[:-1] for row in rows]
    widths = [max(len(terminal.printable(row[c])) for row in rows) for c in range(len(rows[0]))]
    for row in rows:
        cells = [terminal.printable(cell) for cell in row]
        name_cell, right = cells[0].ljust(widths[0]), zip(cells[1:4], widths[1:4], strict=True)
        show.say("  ".join([name_cell, *(cell.rjust(width) for cell, width in right), *cells[4:]]))


def sparkline(past: Sequence[float], ahead: Sequence[float]) -> str:
    """Return a line of bars for a history, a rule, and bars for what follows, on one scale from 0."""
    parts = [_thin(values) for values in (past, ahead)]
    finite = [value for part in parts for value in part if math.isfinite(value)]
    low, high = min([0.0, *finite]), max([0.0, *finite])

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return (
            BARS[round((value - low) / (high - low) * (len(BARS) - 1))] if high > low else BARS[0]
        )

    return "│".join("".join(map(bar, part)) for part in parts)


def _thin(values: Sequence[float]) -> list[float]:
    """Return at most `MOST_BARS` means of neighbours that are observed."""
    width = -(-len(values) // MOST_BARS) or 1
    groups = [values[i : i + width] for i in range(0, len(values), width)]
    observed = [[value for value in group if math.isfinite(value)] for group in groups]
    return [sum(group) / len(group) if group else math.nan for group in observed]


def _short(name: str) -> str:
    return name if len(name) <= WIDEST else f"{name[: WIDEST - 3]}..."


def _prints(text: str) -> bool:
    """Return whether stderr has the characters of a text."""
    try:
        text.encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
