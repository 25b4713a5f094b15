"""Write the section of the report that shows the parts of the forecast: a stacked bar chart and a table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from demandcast.frequency import Frequency
from demandcast.report import scores
from demandcast.report.words import amount, percent, span, time_labels

if TYPE_CHECKING:
    from demandcast.forecast.explain import Explanation

WIDTH, HEIGHT, LEFT, BOTTOM = 900, 260, 70, 24  # of the chart, in pixels
COLOURS = {"base": "--line", "trend": "--muted", "season": "--blue", "rest": "--then"}
OF_COVARIATES = ("--c1", "--c2", "--c3", "--c4", "--c5")
LEAST = 1e-6  # share of the forecast below which a part is rounding error, shown as 0
WORDS = {
    "base": "mean of the last seasons",
    "trend": "departure of the level from that",
    "season": "pattern that repeats",
    "rest": "what the other parts do not hold",
}


def explanation_section(explanation: Explanation) -> str:
    """Return the section: the share of each part, and a chart by step if all series end at the same time."""
    forecast = explanation.forecast
    sums = {name: float(part.sum()) for name, part in explanation.parts.items()}
    total = sum(sums.values())
    least = LEAST * sum(map(abs, sums.values()))
    sums = {name: value if abs(value) > least else 0.0 for name, value in sums.items()}
    names = (*explanation.covariates,)
    colours = {
        name: OF_COVARIATES[i % len(OF_COVARIATES)] for i, name in enumerate(names)
    } | COLOURS
    rows = ""
    for name, value in sums.items():
        meaning = WORDS.get(name, "its planned value against the item's usual one")
        share = percent(value / total, sign=True) if total else ""
        mark = f'<span aria-hidden="true" style="color:var({colours[name]})">&#9632;</span> '
        rows += (
            f'<tr><th scope="row">{mark}{escape(name)}</th><td>{amount(value)}</td><td>{share}</td>'
            f'<td class="why">{escape(meaning)}</td></tr>'
        )
    head = (
        '<th scope="col">Part</th><th scope="col">Sum</th><th scope="col">Share</th>'
        '<th scope="col" class="why">Meaning</th>'
    )
    picture = ""
    if len(np.unique(forecast.cutoffs)) == 1:
        picture = _picture(
            {k: v.sum(0) for k, v in explanation.parts.items()}, colours, _labels(explanation)
        )
    notes = "".join(f"<p>{escape(note)}.</p>" for note in explanation.notes)
    lead = f"All {forecast.n_series:,} items over {span(forecast.horizon, forecast.schema.freq)}. The parts add up to the mean."
    inner = f"{picture}{scores.table('Parts of the forecast', head, rows)}{notes}"
    return scores.section("What the forecast is made of", lead, inner, name="parts")


def _labels(explanation: Explanation) -> list[str]:
    forecast = explanation.forecast
    steps = forecast.cutoffs[0] + 1 + np.arange(forecast.horizon)
    return time_labels(steps, Frequency.parse(forecast.schema.freq), forecast.time_zone)


def _picture(
    parts: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]],
    colours: dict[str, str],
    labels: list[str],
) -> str:
    """Return an SVG with one stacked bar for each step; negative parts are drawn below the zero line."""
    stacked = np.stack(list(parts.values()))
    high = max(float(np.maximum(stacked, 0).sum(0).max()), 1e-12)
    low = min(float(np.minimum(stacked, 0).sum(0).min()), 0.0)
    unit = (HEIGHT - BOTTOM - 10) / (high - low)
    zero = 5 + high * unit
    step = (WIDTH - LEFT) / stacked.shape[1]
    bars = ""
    for h, label in enumerate(labels):
        up = down = 0.0
        for name, values in parts.items():
            value = float(values[h])
            if abs(value) < LEAST * high:
                continue
            size = abs(value) * unit
            top = zero - up - size if value > 0 else zero + down
            up, down = (up + size, down) if value > 0 else (up, down + size)
            tooltip = f"{escape(label)}, {escape(name)}: {amount(value)}"
            bars += (
                f'<rect x="{LEFT + h * step + 0.1 * step:.1f}" y="{top:.1f}" width="{0.8 * step:.1f}" height="{size:.1f}" '
                f'fill="var({colours[name]})"><title>{tooltip}</title></rect>'
            )
    line = f'<line x1="{LEFT}" x2="{WIDTH}" y1="{zero:.1f}" y2="{zero:.1f}" stroke="var(--muted)"/>'
    texts = "".join(
        f'<text x="{LEFT - 6}" y="{zero - value * unit + 4:.1f}" text-anchor="end">{amount(value)}</text>'
        for value in sorted({0.0, high, *([low] if low < -0.1 * high else [])})
    )
    ends = (("start", LEFT, labels[0]), ("end", WIDTH, labels[-1]))
    texts += "".join(
        f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="{anchor}">{escape(label)}</text>'
        for anchor, x, label in ends[: 1 if len(labels) == 1 else 2]
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Parts of the forecast by step" '
        f'style="width:100%;font-size:12px;fill:var(--muted)">{bars}{line}{texts}</svg>'
    )
