"""Kalman filter and smoother of a level that is a random walk, for many series at once.

    y[t] = level[t] + noise of variance r[t];    level[t + 1] = level[t] + step of variance q

Kalman, "A new approach to linear filtering and prediction problems", 1960; Rauch, Tung and Striebel,
"Maximum likelihood estimates of linear dynamic systems", 1965. The diffuse start is after Durbin and Koopman, "Time
Series Analysis by State Space Methods", 2012, chapters 2 and 5: the variance before the first observed value is
infinite, so that value becomes the level with the variance r, and adds nothing to the likelihood.

Time is the first axis. NaN is a step of the walk without an observation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from demandcast.local.parts.histories import Array

RATIOS = np.geomspace(1e-6, 1e3, 19)  # of q to r, the first candidates
FINER = 3  # candidates of the next round on each side of the best
MIN_NOISE = 1e-12  # variance of the noise, in units of the values' mean square


@dataclass(frozen=True)
class Step:
    """State of the filter after one step, (..., n) each.

    Attributes:
        level: Mean of the level given the values up to y[t]; 0 before the first value.
        variance: Variance of the level; infinite before the first value.
        error: y[t] minus its forecast; 0 where y[t] was not observed.
        error_variance: Variance of the error; infinite before the first value.
    """

    level: Array
    variance: Array
    error: Array
    error_variance: Array


def kalman_filter(
    values: Iterable[Array], noise: Iterable[Array | float], step: Array, start: float | Array
) -> Iterator[Step]:
    """Run the filter forwards over time and yield its state after each step.

    Args:
        values: y, (n,) at each of T steps; NaN where not observed.
        noise: r, (n,) or a number at each step.
        step: q, (..., n).
        start: Variance of the level at the first step, its mean being 0; infinite for a diffuse start.
    """
    variance = np.broadcast_to(np.asarray(start, np.float64), np.shape(step))
    level = np.zeros(np.shape(step))
    for y, r in zip(values, noise, strict=False):
        known = ~np.isnan(y)
        error_variance = variance + r
        diffuse = np.isinf(variance)
        gain = np.where(diffuse, 1.0, variance / np.where(diffuse, 1.0, error_variance))
        error = np.where(known, y - level, 0.0)
        level = level + gain * error
        variance = np.where(known, gain * r, variance)
        yield Step(level, variance, error, error_variance)
        variance = variance + step


def kalman_smoother(steps: list[Step], step: Array) -> tuple[Array, Array]:
    """Run the smoother backwards; return mean and variance of the level given all values, (T, n) each."""
    levels, variances = [steps[-1].level], [steps[-1].variance]
    for filtered in reversed(steps[:-1]):
        predicted = filtered.variance + step
        # before the first value, and where the level cannot move, it equals the next level
        equal = np.isinf(predicted) | (predicted == 0)
        gain = np.where(equal, 1.0, filtered.variance / np.where(equal, 1.0, predicted))
        levels.append(filtered.level + gain * (levels[-1] - filtered.level))
        variances.append(gain * step + gain**2 * variances[-1])
    return np.stack(levels[::-1]), np.stack(variances[::-1])


def concentrated_likelihood(values: Array, ratio: Array) -> tuple[Array, Array]:
    """Return the concentrated log-likelihood of ratios q / r, and the noise variance r that maximises it, (..., n) both.

    With r = 1 the errors v have variances F. r is the mean of v^2 / F over the values after the first, and
    log L = -1/2 sum(log(2 pi r F) + 1). With one value, r is its square.

    Args:
        values: Histories, (T, n), NaN where not observed.
        ratio: q / r, (..., n).
    """
    squares, logs = np.zeros(np.shape(ratio)), np.zeros(np.shape(ratio))
    ones = [1.0] * len(values)
    for step, y in zip(kalman_filter(values, ones, ratio, np.inf), values, strict=True):
        counts = np.isfinite(step.error_variance) & ~np.isnan(y)
        squares += np.where(counts, step.error**2 / step.error_variance, 0.0)
        logs += np.where(counts, np.log(np.where(counts, step.error_variance, 1.0)), 0.0)
    n_observed = (~np.isnan(values)).sum(0)
    mean_square = np.nansum(values**2, 0) / np.maximum(n_observed, 1)
    noise = np.where(n_observed > 1, squares / np.maximum(n_observed - 1, 1), mean_square)
    noise = np.maximum(noise, MIN_NOISE * np.where(mean_square > 0, mean_square, 1.0))
    log_likelihood = -0.5 * ((n_observed - 1) * (np.log(2 * np.pi * noise) + 1) + logs)
    return log_likelihood, noise


def fit_ratio(values: Array) -> Array:
    """Return the ratio q / r of largest likelihood for each series of (T, n), (n,)."""
    n = values.shape[1]
    candidates = np.repeat(np.log(RATIOS)[:, None], n, 1)  # (G, n)
    gap = candidates[1, 0] - candidates[0, 0]
    best = candidates[0]
    for _ in range(3):
        log_likelihood = concentrated_likelihood(values, np.exp(candidates))[0]
        best = candidates[log_likelihood.argmax(0), np.arange(n)]
        gap /= FINER + 1
        candidates = best + gap * np.arange(-FINER, FINER + 1)[:, None]
    return np.asarray(np.exp(best))
