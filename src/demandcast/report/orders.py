"""Draw orders and the results of replays, with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.frequency import Frequency
from demandcast.report.figures import BLUE, INK, OPACITY, ORANGE, figure_class, plain, time_axis

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.decide.orders import Orders


def stock_chart(
    orders: Orders, i: int, *, ordered: NDArray[np.float64], without: NDArray[np.float64]
) -> Figure:
    """Draw the stock of one item at the end of each step ahead: bands and median with the order, median without.

    Args:
        orders: Of any number of items.
        i: Which of them.
        ordered: Its stock at the end of each step ahead with the order, (paths, steps).
        without: The same without the order.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    chart = figure_class()(figsize=(9, 4), layout="constrained")
    ax = chart.add_subplot()
    begin = int(orders.gap[i])
    at = orders.forecast.times()[i, begin : begin + ordered.shape[1]]
    for level in (0.1, 0.25):
        low, high = np.quantile(ordered, (level, 1 - level), axis=0)
        ax.fill_between(at, low, high, color=BLUE, alpha=OPACITY, linewidth=0)
    # the inner band lies over the outer one, so its swatch is as dark as both together
    for share, alpha in (("80", OPACITY), ("50", 1 - (1 - OPACITY) ** 2)):
        ax.fill_between([], [], [], color=BLUE, alpha=alpha, linewidth=0, label=f"{share}% band")
    ax.plot(at, np.median(ordered, 0), color=BLUE, label="with the order")
    ax.plot(at, np.median(without, 0), color=ORANGE, linestyle="--", label="without it")
    ax.axhline(0, color=INK, linewidth=0.8)
    key = "/".join(map(str, orders.forecast.keys.row(i)))
    ax.set_title(plain(f"{key}: order {orders.order[i]:,.10g}, {orders.why[i]}"))
    forecast = orders.forecast
    time_axis(ax, Frequency.parse(forecast.schema.freq), forecast.time_zone)
    ax.set_ylabel("units in stock")
    ax.legend(frameon=False)
    return chart


def trade_off_chart(found: pl.DataFrame) -> Figure:
    """Draw units lost against stock held, a line a model and a dot a service level.

    Args:
        found: With the columns model, target, held and lost.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    chart = figure_class()(figsize=(7, 5), layout="constrained")
    ax = chart.add_subplot()
    for name in found["model"].unique(maintain_order=True):
        own = found.filter(pl.col("model") == name).sort("target")
        ax.plot(own["held"], own["lost"], marker="o", markersize=4, label=plain(name))
        for target, held, lost in own.select("target", "held", "lost").rows():
            ax.annotate(f"{target:g}", (held, lost), fontsize=7, color=INK)
    ax.set_xlabel("units in stock at the end of a window, mean")
    ax.set_ylabel("units lost, in all")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return chart
