"""Draw what drives a forecast, with matplotlib: what-if, response to a covariate, and parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from demandcast.frequency import Frequency
from demandcast.panel.keys import find_rows
from demandcast.report.figures import BLUE, INK, ORANGE, figure_class, plain, time_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from demandcast.forecast.explain import Explanation
    from demandcast.forecast.forecast import Forecast
    from demandcast.forecast.response_table import ResponseTable
    from demandcast.forecast.what_if import WhatIf

PAST = 4  # horizons of history before the steps ahead, at most
COLOURS = ("#b35900", "#1a7f37", "#8250df", "#bf3989", "#0a7d91", "#7d4e00", "#57606a")
GREYS = {"base": "#c8cdd3", "trend": "#9aa3ad", "season": "#6f9fe0", "rest": "#e3c9a8"}


def what_if_chart(answer: WhatIf, key: Any = None) -> Figure:
    """Draw one series as planned and as changed, and below it the difference with its interval."""
    planned, changed = answer.planned, answer.changed
    if key is None:
        row = int(np.abs(changed.mean - planned.mean).sum(1).argmax())
    else:
        row = planned.index(key)
    figure: Figure = figure_class()(figsize=(9, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    ahead, grid = planned.times()[row], Frequency.parse(planned.schema.freq)
    if planned.panel is not None:
        steps = min(PAST * planned.horizon, int(planned.panel.lengths[row]))
        above.plot(
            planned.panel.history_times(row)[-steps:], planned.panel.history(row)[-steps:],
            color=INK, linewidth=1.2, label="history",
        )  # fmt: skip
    mark = "o" if len(ahead) == 1 else None
    above.plot(
        ahead, planned.mean[row], color=BLUE, linewidth=1.8, marker=mark, label="planned (mean)"
    )
    above.plot(
        ahead, changed.mean[row], color=ORANGE, linewidth=1.8, marker=mark, label="changed (mean)"
    )
    low, high = answer.difference[row][:, 0], answer.difference[row][:, -1]
    label = f"{answer.levels[-1] - answer.levels[0]:.0%} interval"
    below.vlines(ahead, low, high, color=ORANGE, alpha=0.4, linewidth=4, label=label)
    below.plot(
        ahead,
        changed.mean[row] - planned.mean[row],
        "o",
        color=ORANGE,
        markersize=3.5,
        label="difference",
    )
    below.axhline(0, color=INK, linewidth=0.8)
    above.set_title(plain(f"{_name(planned, row)}: {answer.question} (by the {answer.effect})"))
    above.set_ylabel(plain(planned.schema.target))
    below.set_ylabel("difference")
    below.set_xlabel(plain(planned.schema.time))
    time_axis(below, grid, planned.time_zone)
    for ax in (above, below):
        _finish(ax)
    return figure


def response_chart(table: ResponseTable, key: Any = None) -> Figure:
    """Draw the demand of one series against the values of a covariate, with the interval."""
    keys = table.frame.select(table.keys).unique(maintain_order=True) if table.keys else None
    rows = table.frame
    name = "all"
    if keys is not None:
        row = 0 if key is None else int(find_rows(keys, key)[0])
        rows = rows.join(keys[[row]], on=list(table.keys), how="semi")
        name = "/".join(map(str, keys.row(row)))
    levels = [c for c in rows.columns if c.startswith("ratio_")]
    base = (rows["demand"] / rows["ratio"]).to_numpy()
    figure: Figure = figure_class()(figsize=(7, 4.5), layout="constrained")
    ax = figure.add_subplot()
    value = rows["value"].to_numpy()
    band = [rows[c].to_numpy() * base for c in (levels[0], levels[-1])]
    words = [c.removeprefix("ratio_") for c in (levels[0], levels[-1])]
    label = f"{float(words[1]) - float(words[0]):.0%} interval"
    ax.fill_between(value, band[0], band[1], color=BLUE, alpha=0.2, linewidth=0, label=label)
    ax.plot(
        value,
        rows["demand"].to_numpy(),
        color=BLUE,
        marker="o",
        linewidth=1.8,
        label="demand (mean)",
    )
    planned = rows.filter(rows["factor"] == 1)
    if planned.height:
        ax.plot(
            planned["value"], planned["demand"], "o", color=ORANGE, markersize=8, label="planned"
        )
    ax.set_title(plain(name))
    ax.set_xlabel(plain(table.column))
    ax.set_ylabel("demand over the steps ahead")
    _finish(ax)
    return figure


def explain_chart(explanation: Explanation, key: Any = None) -> Figure:
    """Draw the parts of one series, or of the sum over all series, as stacked bars with the mean as a line."""
    forecast = explanation.forecast
    row = None if key is None else forecast.index(key)
    if row is None and len(np.unique(forecast.cutoffs)) > 1:
        row = 0  # steps of different dates do not add up
    values = {k: v.sum(0) if row is None else v[row] for k, v in explanation.parts.items()}
    mean = forecast.mean.astype(np.float64).sum(0) if row is None else forecast.mean[row]
    grid = Frequency.parse(forecast.schema.freq)
    ahead = forecast.times()[0 if row is None else row]
    figure: Figure = figure_class()(figsize=(9, 4.5), layout="constrained")
    ax = figure.add_subplot()
    width: Any = 0.85 * (ahead[1] - ahead[0]) if len(ahead) > 1 else 0.85
    up, down = np.zeros(len(ahead)), np.zeros(len(ahead))
    colours = dict(zip(explanation.covariates, COLOURS * 9, strict=False)) | GREYS
    for name, part in values.items():
        if not np.abs(part).max() > 1e-6 * max(1e-12, np.abs(mean).max()):
            continue
        positive = part >= 0
        ax.bar(
            ahead,
            part,
            width,
            bottom=np.where(positive, up, down),
            color=colours[name],
            label=plain(name),
        )
        up, down = up + np.where(positive, part, 0), down + np.where(positive, 0, part)
    ax.plot(ahead, mean, color=INK, marker="o", markersize=3, linewidth=1.2, label="mean forecast")
    ax.axhline(0, color=INK, linewidth=0.8)
    title = f"all {forecast.n_series:,} series" if row is None else _name(forecast, row)
    ax.set_title(plain(f"{title} ({forecast.model})" if forecast.model else title))
    ax.set_xlabel(plain(forecast.schema.time))
    ax.set_ylabel(plain(forecast.schema.target))
    time_axis(ax, grid, forecast.time_zone)
    _finish(ax)
    return figure


def _name(forecast: Forecast, row: int) -> str:
    return "/".join(map(str, forecast.keys.row(row))) or forecast.schema.target


def _finish(ax: Axes) -> None:
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
