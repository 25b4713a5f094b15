"""Metrics of quantiles, intervals and paths; `demandcast.evaluate.metrics` says how they treat series and missing values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.evaluate.in_sample_error import seasonal_error
from demandcast.evaluate.observed import (
    check_quantiles,
    check_samples,
    errors_of,
    mean_per_series,
    observed_mask,
    positive_or_nan,
    ratio,
    sum_observed,
)

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def quantile_loss(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the pinball loss max(q e, (q - 1) e) of e = y - f_q, without the factor 2, (N, H, Q).

    In the target's unit. Koenker and Bassett, "Regression Quantiles", 1978. NaN where not observed.

    Args:
        actual: Actual values, (N, H).
        quantiles: Quantile forecasts, (N, H, Q).
        levels: Quantile levels, (Q,).
    """
    check_quantiles(actual, quantiles, levels)
    error = np.asarray(actual, np.float64)[..., None] - quantiles  # (N, H, Q)
    return np.maximum(np.asarray(levels) * error, (np.asarray(levels) - 1) * error)


def wql(actual: Array, quantiles: Array, levels: Sequence[float]) -> float:
    """Return the weighted quantile loss, pooled, then averaged over the levels.

    2 sum_{i,t} quantile_loss / sum|y| at each level; GIFT-Eval's "mean_weighted_sum_quantile_loss" at levels
    0.1 .. 0.9. With the single level 0.5 it equals `nd` of the median. Unitless; NaN where all actuals are 0.
    """
    check_quantiles(actual, quantiles, levels)
    observed = observed_mask(actual)
    scale = sum_observed(np.abs(actual), observed)
    loss = quantile_loss(actual, quantiles, levels)
    return ratio(2 * sum_observed(loss, observed[..., None]), scale * len(levels))


def crps_samples(actual: Array, samples: Array) -> Doubles:
    """Return the continuous ranked probability score of the empirical distribution of paths, (N, H).

    mean|x - y| - mean|x - x'| / 2 over all pairs of the S samples, in the target's unit; Gneiting and Raftery,
    "Strictly Proper Scoring Rules", 2007, eq. 21. It equals twice the pinball loss averaged over all levels. NaN
    where not observed.

    Args:
        actual: Actual values, (N, H).
        samples: Paths, (N, S, H).
    """
    check_samples(actual, samples)
    count = samples.shape[1]
    ordered = np.sort(np.asarray(samples, np.float64), axis=1)
    weights = 2 * np.arange(1, count + 1) - count - 1
    spread = np.einsum("s,nsh->nh", weights, ordered) / count**2  # half the mean of |x - x'|
    return np.asarray(np.abs(ordered - actual[:, None]).mean(1) - spread)


def coverage(actual: Array, lower: Array, upper: Array) -> float:
    """Return the share of the observed values in [lower, upper]; a calibrated 80 % interval has 0.8."""
    observed = observed_mask(actual, lower, upper)
    inside = ((lower <= actual) & (actual <= upper)) + 0 * (upper - lower)  # NaN bounds give NaN
    return ratio(sum_observed(inside, observed), int(observed.sum()))


def quantile_coverage(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the share of the observed values at or below each quantile, (Q,); calibrated ones have their level.

    mean 1[y <= f_q]. Counts may equal the quantile, so that calibrated quantiles of counts have more than their
    level; see `level_coverage`. NaN without an observed value.
    """
    check_quantiles(actual, quantiles, levels)
    observed = observed_mask(actual)
    below = (np.asarray(actual)[..., None] <= quantiles) & observed[..., None]
    count = int(observed.sum())
    return below.sum((0, 1)) / count if count else np.full(len(levels), np.nan)


def level_coverage(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the share of values below each quantile, ties broken at random, (Q,); calibrated ones have their level.

    Equals `quantile_coverage` where no value is equal to its quantile. A value equal to the quantiles of the levels a
    to b has a rank that is uniform from half-way to the level before a to half-way to the level after b. This is the
    randomised PIT of Czado, Gneiting and Held, 2009, in expectation: calibrated forecasts of counts have their levels
    too, even with zeros at more than half of the steps. NaN without an observed value.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        quantiles: Quantile forecasts, (N, H, Q).
        levels: Quantile levels, increasing, (Q,).

    Example:
        >>> level_coverage(np.zeros((1, 8)), np.zeros((1, 8, 2)), [0.2, 0.6]).round(2)
        array([0.2, 0.6])
    """
    check_quantiles(actual, quantiles, levels)
    observed = observed_mask(actual)
    values, limits = (
        np.asarray(actual)[observed][:, None],
        quantiles[observed],
    )  # (observed, 1), (observed, Q)
    if not len(values) or not len(levels):
        return np.full(len(levels), np.nan)
    share = np.where(np.isnan(limits), np.nan, (values < limits).astype(np.float64))
    tied = values == limits
    rows = np.flatnonzero(tied.any(1))
    if len(rows):
        level = np.asarray(levels, np.float64)
        first = tied[rows].argmax(1)
        last = len(level) - 1 - tied[rows][:, ::-1].argmax(1)
        edges = np.concatenate([[0.0], (level[1:] + level[:-1]) / 2, [1.0]])
        low, high = edges[first][:, None], edges[last + 1][:, None]
        share[rows] = np.where(tied[rows], (level - low) / (high - low), share[rows])
    return np.asarray(share.mean(0))


def interval_score(actual: Array, lower: Array, upper: Array, level: float) -> float:
    """Return the interval score: the width plus a penalty for values outside, mean over all steps.

    (u - l) + 2/a (l - y)^+ + 2/a (y - u)^+ with a = 1 - level; Gneiting and Raftery 2007, eq. 43. In the target's
    unit, so it compares models on one table, not tables.

    Args:
        actual: Actual values, (N, H).
        lower: The (1 - level) / 2 quantile, (N, H).
        upper: The (1 + level) / 2 quantile, (N, H).
        level: Probability of the interval, such as 0.8.
    """
    observed = observed_mask(actual, lower, upper)
    too_low, too_high = errors_of(lower, actual), errors_of(actual, upper)
    outside = np.maximum(too_low, 0) + np.maximum(too_high, 0)
    step_scores = errors_of(upper, lower) + 2 / (1 - level) * outside
    return ratio(sum_observed(step_scores, observed), int(observed.sum()))


def sql(
    actual: Array, quantiles: Array, levels: Sequence[float], past: Array, *, period: int
) -> Doubles:
    """Return the scaled quantile loss of each series, (N,): 2 mean `quantile_loss` / `seasonal_error`.

    Averaged over the levels; Shchur et al., "fev-bench", 2025. With the single level 0.5 it equals `mase` of the
    median. NaN as in `mase`.
    """
    return sql_of_scale(actual, quantiles, levels, seasonal_error(past, period=period))


def sql_of_scale(
    actual: Array, quantiles: Array, levels: Sequence[float], scale: Doubles
) -> Doubles:
    """Return `sql` for given in-sample errors (N,)."""
    loss = quantile_loss(actual, quantiles, levels)
    mean = 2 * mean_per_series(loss.sum(2), observed_mask(actual)) / len(levels)
    return np.asarray(mean / positive_or_nan(scale))
