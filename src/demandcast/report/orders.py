"""Pictures of orders and of what replays found, with matplotlib where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from demandcast.decide.orders import stock_ahead
from demandcast.report.figures import BLUE, INK, ORANGE, figure_class, plain, time_axis
from demandcast.schema import Frequency

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.decide.orders import Orders


def stock_chart(orders: Orders, i: int) -> Figure:
    """The stock of one item at the end of each step ahead: bands of the paths with the order, median without it.

    Args:
        orders: Of any number of items.
        i: Which of them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    chart = figure_class()(figsize=(9, 4), layout="constrained")
    ax = chart.add_subplot()
    steps = stock_ahead(orders, i, order=True)  # (paths, steps)
    without = stock_ahead(orders, i, order=False)
    at = orders.forecast.times()[i, : steps.shape[1]]
    for level in (0.1, 0.25):
        low, high = np.quantile(steps, (level, 1 - level), axis=0)
        ax.fill_between(
            at, low, high, color=BLUE, alpha=0.18, linewidth=0, label=f"{1 - 2 * level:.0%} band"
        )
    ax.plot(at, np.median(steps, 0), color=BLUE, label="with the order")
    ax.plot(at, np.median(without, 0), color=ORANGE, linestyle="--", label="without it")
    ax.axhline(0, color=INK, linewidth=0.8)
    key = "/".join(map(str, orders.forecast.keys.row(i)))
    ax.set_title(plain(f"{key}: order {orders.order[i]:,.10g}, {orders.why[i]}"))
    forecast = orders.forecast
    time_axis(ax, Frequency.parse(forecast.schema.freq), forecast.time_zone)
    ax.set_ylabel("units in stock")
    ax.legend(frameon=False)
    return chart
