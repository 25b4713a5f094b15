"""Masks, sums and means over observed steps, and checks of shapes, for all metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ShapeError

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def observed_mask(actual: Array, *forecasts: Array) -> NDArray[np.bool_]:
    """Return the mask of observed values, (N, H), after checking the shapes of the forecasts."""
    for forecast in forecasts:
        if actual.ndim != 2 or forecast.shape != actual.shape:
            raise ShapeError(
                f"the forecast is {forecast.shape} but the actuals are {actual.shape}, both "
                "(series, horizon); for samples, take a quantile or the mean first",
                found=forecast.shape,
                expected=str(actual.shape),
            )
    return ~np.isnan(actual)


def check_quantiles(actual: Array, quantiles: Array, levels: Sequence[float]) -> None:
    """Refuse quantiles whose shape is not (series, horizon, levels)."""
    if quantiles.shape != (*actual.shape, len(levels)):
        raise ShapeError(
            f"quantiles are {quantiles.shape}, but {len(levels)} levels of actuals {actual.shape} need "
            f"{(*actual.shape, len(levels))}, (series, horizon, levels)",
            found=quantiles.shape,
            expected=str((*actual.shape, len(levels))),
        )


def check_samples(actual: Array, samples: Array) -> None:
    """Refuse paths whose shape is not (series, paths, horizon)."""
    if samples.ndim != 3 or (samples.shape[0], samples.shape[2]) != actual.shape:
        raise ShapeError(
            f"samples are {samples.shape} and the actuals {actual.shape}; samples need the shape "
            "(series, paths, horizon), actuals (series, horizon)",
            found=samples.shape,
            expected="(series, paths, horizon)",
        )


def errors_of(actual: Array, forecast: Array) -> Doubles:
    """Return actual minus forecast in 64 bits."""
    return np.subtract(actual, forecast, dtype=np.float64)


def sum_observed(values: Array, observed: NDArray[np.bool_]) -> float:
    """Sum the values at observed steps."""
    return float(np.where(observed, values, 0).sum(dtype=np.float64))


def ratio(part: float, whole: float) -> float:
    """Return part / whole, NaN where the whole is 0."""
    return float(part / whole) if whole else float("nan")


def mean_per_series(values: Doubles, observed: NDArray[np.bool_]) -> Doubles:
    """Return the mean of each series' values at observed steps, (N,); NaN without any."""
    count = observed.sum(1)
    return np.where(count > 0, np.where(observed, values, 0).sum(1) / np.maximum(count, 1), np.nan)


def positive_or_nan(scale: Doubles) -> Doubles:
    """Return the scale where it is positive, else NaN."""
    return np.where(scale > 0, scale, np.nan)
