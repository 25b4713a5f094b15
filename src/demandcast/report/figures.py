"""Draw a forecast as a fan chart, with matplotlib."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import MissingExtraError
from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel
from demandcast.report.picture import picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from demandcast.forecast.forecast import Forecast

BLUE, ORANGE, INK = "#1f6feb", "#b35900", "#333333"
OPACITY = 0.18  # of a band


def fan_chart(
    forecast: Forecast,
    key: Any,
    *,
    panel: Panel | None = None,
    actual: NDArray[np.float32] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw one series: the end of its history, the bands, median and mean of its forecast, and its actual values.

    The figure is not registered with pyplot, so it need not be closed.

    Args:
        forecast: Of any number of series.
        key: Which of them: a value, or a tuple for several key columns.
        panel: Where the history is. Values after the cutoff are drawn as dots.
        actual: Actual values, (H,), NaN where not known; in place of those of the panel.
        ax: Axes to draw on; those of a new figure by default.

    Returns:
        The figure; a notebook shows it, `figure.savefig("item.png")` writes it.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: The forecast holds no such series.
        ShapeError: `actual` is not one value per step.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise MissingExtraError(
            'pictures need matplotlib; install it with: pip install "demandcast[plot]"'
        ) from error

    grid = Frequency.parse(forecast.schema.freq)
    drawing = picture(forecast, forecast.index(key), panel=panel, actual=actual)
    if ax is None:
        ax = figure_class()(figsize=(9, 4), layout="constrained").add_subplot()
    past, ahead = grid.times(drawing.past), grid.times(drawing.ahead)

    if len(past):
        ax.plot(past, drawing.values, color=INK, linewidth=1.2, label="history")
    swatches = {}
    for n, band in enumerate(drawing.bands):
        label = f"{band.share:.0%} band" if n in (0, len(drawing.bands) - 1) else "_"
        # bands lie over each other, so the swatch of the inmost is as dark as all of them together
        swatches[label] = Patch(color=BLUE, alpha=1 - (1 - OPACITY) ** (n + 1), linewidth=0)
        # a lone step has no width to fill, so it gets a bar
        if len(ahead) == 1:
            ax.vlines(ahead, band.low, band.high, color=BLUE, alpha=0.25, linewidth=8, label=label)
        else:
            ax.fill_between(
                ahead, band.low, band.high, color=BLUE, alpha=OPACITY, linewidth=0, label=label
            )
    mark = "o" if len(ahead) == 1 else None
    if drawing.median is not None:
        ax.plot(ahead, drawing.median, color=BLUE, linewidth=1.8, marker=mark, label="median")
    ax.plot(ahead, drawing.mean, color=BLUE, linewidth=1, linestyle="--", marker=mark, label="mean")
    if not np.isnan(drawing.actual).all():
        ax.plot(
            ahead,
            drawing.actual,
            linestyle="none",
            marker="o",
            markersize=3.5,
            color=ORANGE,
            label="held out",
        )
    ax.set_title(plain(f"{drawing.name} ({forecast.model})" if forecast.model else drawing.name))
    ax.set_xlabel(plain(forecast.schema.time))
    ax.set_ylabel(plain(forecast.schema.target))
    time_axis(ax, grid, forecast.time_zone)
    ax.grid(axis="y", alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    handles = [swatches.get(label, handle) for handle, label in zip(handles, labels, strict=True)]
    ax.legend(
        handles, labels, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1)
    )
    figure = ax.get_figure(root=True)
    assert isinstance(figure, Figure)
    return figure


@functools.cache
def figure_class() -> type[Figure]:
    """Return a figure class that notebooks show as a picture, with pyplot imported or not.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            'pictures need matplotlib; install it with: pip install "demandcast[plot]"'
        ) from error

    class Chart(Figure):
        def _repr_png_(self) -> bytes:
            content = io.BytesIO()
            self.savefig(content, format="png", dpi=144)
            return content.getvalue()

    return Chart


def plain(text: str) -> str:
    """Escape dollar signs, which would start a formula."""
    return text.replace("$", r"\$")


def time_axis(ax: Axes, grid: Frequency, time_zone: str | None) -> None:
    """Set ticks at round hours, days, months or years, whichever fits; at whole numbers for integer times."""
    if grid.is_integer:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    import matplotlib.dates

    dates: Any = matplotlib.dates  # its functions carry no types
    zone = time_zone if grid.is_subdaily else None  # the grid of hours counts in UTC
    locator = dates.AutoDateLocator(tz=zone, minticks=4, maxticks=9)
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=zone))
