"""Metrics of point forecasts; `demandcast.evaluate.metrics` says how they treat series and missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.evaluate.in_sample_error import in_sample_error, seasonal_error
from demandcast.evaluate.observed import (
    errors_of,
    mean_per_series,
    observed_mask,
    positive_or_nan,
    ratio,
    sum_observed,
)

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def nd(actual: Array, forecast: Array) -> float:
    """Return the normalised deviation, sum|y - f| / sum|y|, pooled; the same as `wape`.

    As in Salinas et al., "DeepAR", 2020, who score the median with it; the median minimises it.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        forecast: Point forecasts, (N, H), same unit.

    Returns:
        Unitless, 0 at best; NaN where all actuals are 0.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> nd(np.array([[2.0, 4.0, np.nan]]), np.array([[3.0, 4.0, 9.0]]))
        0.16666666666666666
    """
    observed = observed_mask(actual, forecast)
    return ratio(
        sum_observed(np.abs(errors_of(actual, forecast)), observed),
        sum_observed(np.abs(actual), observed),
    )


def wape(actual: Array, forecast: Array) -> float:
    """Return the weighted absolute percentage error: `nd` under the name used in retail."""
    return nd(actual, forecast)


def nrmse(actual: Array, forecast: Array) -> float:
    """Return the root mean squared error over mean|y|, pooled; the mean minimises it.

    sqrt(mean (y - f)^2) / mean|y|, Salinas et al. 2020. Unitless; NaN where all actuals are 0.
    """
    observed = observed_mask(actual, forecast)
    count = int(observed.sum())
    squares = sum_observed(errors_of(actual, forecast) ** 2, observed)
    return ratio(
        np.sqrt(ratio(squares, count)), ratio(sum_observed(np.abs(actual), observed), count)
    )


def smape(actual: Array, forecast: Array) -> float:
    """Return the symmetric absolute percentage error in [0, 2]: mean 2|y - f| / (|y| + |f|) over all steps.

    Makridakis, "Accuracy measures", 1993. A step at which both are 0 has the error 0.
    """
    observed = observed_mask(actual, forecast)
    size = np.abs(np.asarray(actual, np.float64)) + np.abs(forecast)
    errors = 2 * np.abs(errors_of(actual, forecast)) / np.where(size == 0, 1, size)
    return ratio(sum_observed(errors, observed), int(observed.sum()))


def mape(actual: Array, forecast: Array) -> float:
    """Return the absolute percentage error as a fraction: mean |y - f| / |y| over the steps where y is not 0.

    Errors at steps without demand do not count; for data with zeros use `wape`.
    """
    observed = observed_mask(actual, forecast) & (np.asarray(actual) != 0)
    size = np.where(observed, np.abs(actual), 1)
    return ratio(
        sum_observed(np.abs(errors_of(actual, forecast)) / size, observed), int(observed.sum())
    )


def bias(actual: Array, forecast: Array) -> float:
    """Return the bias sum(f - y) / sum|y|, pooled: 0.1 means that forecasts are 10 % too high, -0.1 too low."""
    observed = observed_mask(actual, forecast)
    return ratio(
        -sum_observed(errors_of(actual, forecast), observed), sum_observed(np.abs(actual), observed)
    )


def mase(actual: Array, forecast: Array, past: Array, *, period: int) -> Doubles:
    """Return the mean absolute scaled error of each series, (N,): mean|y - f| / `seasonal_error`.

    Hyndman and Koehler, "Another look at measures of forecast accuracy", 2006; FPP3, section 5.8.
    Average it over series with `np.nanmean`.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        forecast: Point forecasts, (N, H); the median minimises it.
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.
        period: Steps in one season.

    Returns:
        Unitless; below 1 is better than the seasonal naive forecast was on the past. NaN for a series without an
        observed actual value, or whose past is too short or repeats itself exactly.

    Example:
        >>> past = np.array([[1.0, 3.0, 2.0, 4.0]])
        >>> mase(np.array([[3.0, 5.0]]), np.array([[2.0, 5.0]]), past, period=1)
        array([0.3])
    """
    return mase_of_scale(actual, forecast, seasonal_error(past, period=period))


def rmsse(actual: Array, forecast: Array, past: Array) -> Doubles:
    """Return the root mean squared scaled error of each series, (N,), as in the M5 competition.

    sqrt(mean (y - f)^2 / mean (y_t - y_{t-1})^2), with the past from its first value other than 0 on; Makridakis et
    al., "The M5 accuracy competition", 2022. The mean minimises it. NaN as in `mase`.
    """
    n, steps = past.shape
    squares = in_sample_error(past.ravel(), np.arange(n) * steps, np.full(n, steps), 1, power=2)
    return rmsse_of_scale(actual, forecast, squares)


def mase_of_scale(actual: Array, forecast: Array, scale: Doubles) -> Doubles:
    """Return `mase` for given in-sample errors (N,)."""
    observed = observed_mask(actual, forecast)
    return mean_per_series(np.abs(errors_of(actual, forecast)), observed) / positive_or_nan(scale)


def rmsse_of_scale(actual: Array, forecast: Array, squares: Doubles) -> Doubles:
    """Return `rmsse` for given in-sample squared errors (N,)."""
    observed = observed_mask(actual, forecast)
    mean = mean_per_series(errors_of(actual, forecast) ** 2, observed)
    return np.asarray(np.sqrt(mean / positive_or_nan(squares)))
