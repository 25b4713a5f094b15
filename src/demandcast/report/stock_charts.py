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
        orders: The orders of any number of items.
        i: The row of the item.
        ordered: Stock of the item at the end of each step ahead with the order, (paths, steps).
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


def trade_off_chart(results: pl.DataFrame) -> Figure:
    """Draw units lost against stock held: a line for each model, a dot for each service level.

    Args:
        results: A row for each model and service level: model, target, held and lost.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    chart = figure_class()(figsize=(7, 5), layout="constrained")
    ax = chart.add_subplot()
    for name in results["model"].unique(maintain_order=True):
        rows_of_model = results.filter(pl.col("model") == name).sort("target")
        ax.plot(
            rows_of_model["held"],
            rows_of_model["lost"],
            marker="o",
            markersize=4,
            label=plain(name),
        )
        for target, stock, lost in rows_of_model.select("target", "held", "lost").rows():
            ax.annotate(f"{target:g}", (stock, lost), fontsize=7, color=INK)
    ax.set_xlabel("units in stock at the end of a window, mean")
    ax.set_ylabel("units lost, in all")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False)
    return chart
