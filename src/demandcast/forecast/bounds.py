"""Limit forecasts to a range that follows from the history of their own series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

MAX_RATIO = 1_000.0  # of a forecast to the largest |value| in the series' own history
MAX_FLOAT32 = float(np.finfo(np.float32).max)


def forecast_bounds(panel: Panel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest value that a forecast of each series may have, (N,) both.

    - A forecast is at most `MAX_RATIO` times the largest |value| of the series' own history, and within float32.
    - A history of zeros counts as if its largest value were 1, or that of the panel's smallest series if below 1.
    - A series without an observed value is limited by float32 only: its size was learned from other series.
    - The lower bound is 0 where the history is never negative; the upper one is whole where the history is.
    """
    largest = panel.largest().astype(np.float64)
    unobserved = panel.n_observed() == 0
    for_zeros = min(1.0, largest[largest > 0].min(initial=1.0))
    without_demand = np.where(unobserved, MAX_FLOAT32, MAX_RATIO * for_zeros)
    high = np.minimum(np.where(largest > 0, MAX_RATIO * largest, without_demand), MAX_FLOAT32)
    high = np.where(panel.whole_numbers(), np.floor(high), high)
    return np.maximum(panel.floors(), -high), high


def clip_to_bounds(
    values: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clip values (N, ...) to the bounds of each series (N,), and say which series exceeded `high` in size.

    Returns:
        The clipped values as float32, and a mask of series, (N,). NaN stays NaN: the caller refuses it.
    """
    shape = (len(values), *[1] * (values.ndim - 1))
    other_axes = tuple(range(1, values.ndim))
    exceeded = (np.abs(values) > high.reshape(shape) * (1 + 1e-6)).any(other_axes)
    clipped = np.clip(values, low.reshape(shape), high.reshape(shape))
    return clipped.astype(np.float32, copy=False), exceeded
