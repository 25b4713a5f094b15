"""The error of a naive forecast on the past, by which mase, rmsse and sql are scaled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ShapeError
from demandcast.panel.panel import Panel

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def seasonal_error(past: Array, *, period: int) -> Doubles:
    """Return the mean |y_t - y_{t - period}| over the past of each series, (N,), in the target's unit.

    Pairs with a value that was not observed are left out; NaN without a pair.

    Args:
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.
        period: Steps in one season; 1 for the plain naive forecast.
    """
    n, steps = past.shape
    return in_sample_error(past.ravel(), np.arange(n) * steps, np.full(n, steps), period, power=1)


def history_error(panel: Panel, lag: int, *, power: int) -> Doubles:
    """Return `in_sample_error` of all series of a panel, (N,)."""
    parts = panel.parts()
    return np.concatenate(
        [in_sample_error(p.target, p.begins, p.lengths, lag, power=power) for p in parts]
    )


def in_sample_error(
    target: Array, begins: Array, lengths: Array, lag: int, *, power: int
) -> Doubles:
    """Return the mean |y_t - y_{t-lag}|^power of each series, (N,); a series is a run of rows of a flat target.

    Squares (power 2) are taken from the first value other than 0 on, as in the M5.
    """
    if lag < 1:
        raise ShapeError(
            f"period is {lag}, but the scale of an error needs period=1 or more",
            option="period",
            found=lag,
            expected="1 or more",
        )
    stops = begins + lengths
    if power == 2:
        demand = np.append(np.flatnonzero((target != 0) & ~np.isnan(target)), len(target))
        begins = np.minimum(demand[np.searchsorted(demand, begins)], stops)
    if len(target) <= lag:
        return np.full(len(begins), np.nan)
    change = np.abs(target[lag:] - target[:-lag])  # row t: from t to t + lag
    observed = ~np.isnan(change)
    change[~observed] = 0
    if power == 2:
        change = change.astype(np.float64) ** 2
    stops = np.maximum(stops - lag, begins)
    count = _sum_runs(observed, begins, stops, np.int64)
    total = _sum_runs(change, begins, stops, np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sum_runs(values: Array, begins: Array, stops: Array, dtype: Any) -> Array:
    """Sum values[begin:stop] for each pair of begin and stop, in one pass; the sum of an empty run is 0."""
    values = np.append(values, values.dtype.type(0))  # so that a run may stop at the end
    order = np.argsort(begins, kind="stable")  # reduceat needs one pass where edges increase
    edges = np.minimum(np.stack([begins, stops], 1)[order].ravel(), len(values) - 1)
    sums = np.empty(len(begins), dtype)
    sums[order] = np.add.reduceat(values, edges, dtype=dtype)[::2]
    return np.where(stops > begins, sums, 0)
