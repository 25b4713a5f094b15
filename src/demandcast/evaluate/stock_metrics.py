"""Metrics of stock: forecast errors that add up over time, and their cost.

The forecast is read as a plan that was carried out: units forecast in excess are in stock, missing units are owed to
customers. All metrics are per series. A step whose actual is NaN was not observed, and counts as a step without
demand and without a plan.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ConfigError, ShapeError

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def spec(actual: Array, forecast: Array, *, shortage: float = 0.75, stock: float = 0.25) -> Doubles:
    """Return the stock-keeping-oriented prediction error cost of each series, (N,).

    (1/n) sum_{t=1..n} sum_{i=1..t} (t - i + 1) max(0, a1 min(y_i, Y_i - F_t), a2 min(f_i, F_i - Y_t))
    with Y and F the cumulative sums, a1 the `shortage` and a2 the `stock` weight: units owed at step t
    times the steps they have been owed, and units lying in stock likewise. Martin, Spitzer and Kuehl,
    "A new metric for lumpy and intermittent demand forecasts: stock-keeping-oriented prediction error
    costs", arXiv:2004.10537, 2020.

    Args:
        actual: Actual values, (N, H), 0 or more; NaN where not observed.
        forecast: Point forecasts, (N, H), 0 or more.
        shortage: Cost of one unit owed for one step.
        stock: Cost of one unit in stock for one step.

    Returns:
        Cost per step, in units of the target; 0 where the forecast is right at every step. NaN without an observed
        value. The computing time grows with the square of H.

    Raises:
        ShapeError: The shapes differ.
        ConfigError: A cost is negative.

    Example:
        >>> y = np.array([[0, 0, 5, 6, 0, 5, 0, 0, 0, 8, 0, 0, 6, 0]])
        >>> f = np.array([[0, 0, 5, 6, 0, 5, 0, 0, 8, 0, 0, 0, 6, 0]])
        >>> spec(y, f).round(6)
        array([0.142857])
    """
    if shortage < 0 or stock < 0:
        raise ConfigError(
            f"shortage is {shortage} and stock is {stock}; neither cost may be negative",
            option="shortage" if shortage < 0 else "stock",
            found=min(shortage, stock),
            expected="0 or more",
        )
    y, f, count = _fill_unobserved(actual, forecast)
    demand, planned = y.cumsum(1), f.cumsum(1)
    total = np.zeros(len(y))
    for t in range(y.shape[1]):
        past = slice(0, t + 1)
        age = np.arange(t + 1, 0, -1)
        owed = shortage * np.minimum(y[:, past], demand[:, past] - planned[:, t, None])
        in_stock = stock * np.minimum(f[:, past], planned[:, past] - demand[:, t, None])
        total += (age * np.maximum(0, np.maximum(owed, in_stock))).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def cfe(actual: Array, forecast: Array) -> Doubles:
    """Return the cumulated forecast error sum_{i<=t} (y_i - f_i) at each step, (N, H), in units of the target.

    Above 0, demand so far exceeds the forecast. The last column is the CFE. The smallest and the largest value over
    time show how far the plan was off on the way (Wallstroem and Segerstedt, "Evaluation of forecasting error
    measurements and techniques for intermittent demand", 2010).
    """
    y, f, _ = _fill_unobserved(actual, forecast)
    return np.asarray((y - f).cumsum(1))


def pis(actual: Array, forecast: Array) -> Doubles:
    """Return the periods in stock of each series, (N,): -sum_t CFE_t, in units times steps.

    Wallstroem and Segerstedt 2010. Above 0 the forecast builds up stock, below 0 it leaves demand unmet.
    """
    return np.asarray(-cfe(actual, forecast).sum(1))


def scaled_pis(actual: Array, forecast: Array, past: Array) -> Doubles:
    """Return `pis` divided by the mean demand per step of the past, (N,).

    Args:
        actual: Actual values, (N, H).
        forecast: Point forecasts, (N, H).
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.

    Returns:
        NaN for a series whose past has no demand.
    """
    observed = ~np.isnan(np.asarray(past, np.float64))
    mean = np.where(observed, past, 0).sum(1) / np.maximum(observed.sum(1), 1)
    return np.asarray(pis(actual, forecast) / np.where(mean > 0, mean, np.nan))


def nos(actual: Array, forecast: Array) -> Doubles:
    """Return the number of shortages as a share of the observed steps, (N,): steps with y_t > 0 and CFE_t > 0.

    At these steps, demand exceeds all that was forecast so far; Wallstroem and Segerstedt 2010.
    """
    y, _, count = _fill_unobserved(actual, forecast)
    short = ((cfe(actual, forecast) > 0) & (y > 0)).sum(1)
    return np.where(count > 0, short / np.maximum(count, 1), np.nan)


def _fill_unobserved(actual: Array, forecast: Array) -> tuple[Doubles, Doubles, NDArray[np.int64]]:
    """Return both in 64 bits, 0 where the actual was not observed, and the number of observed steps, (N,)."""
    if np.ndim(actual) != 2 or np.shape(actual) != np.shape(forecast):
        raise ShapeError(
            f"the forecast is {np.shape(forecast)} but the actuals are {np.shape(actual)}, both "
            "(series, horizon); for samples, take a quantile or the mean first",
            found=np.shape(forecast),
            expected=str(np.shape(actual)),
        )
    observed = ~np.isnan(np.asarray(actual, np.float64))
    y, f = (np.where(observed, x, 0).astype(np.float64) for x in (actual, forecast))
    return y, f, observed.sum(1)
