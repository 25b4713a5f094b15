"""Filter and smoother of a level that walks at random, for many series at once.

    y[t] = level[t] + noise of variance r[t];    level[t + 1] = level[t] + step of variance q

Kalman, "A new approach to linear filtering and prediction problems", 1960; Rauch, Tung and Striebel,
"Maximum likelihood estimates of linear dynamic systems", 1965; the diffuse start after Durbin and
Koopman, "Time Series Analysis by State Space Methods", 2012, chapters 2 and 5: with an infinite variance
before it, the first value seen is the level, has the variance r, and adds nothing to the likelihood.

Time is the first axis. A NaN is a step of the walk at which nothing was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from demandcast.local.parts.histories import Array

RATIOS = np.geomspace(1e-6, 1e3, 19)  # of q to r, looked at first
FINER = 3  # candidates between two of the round before, to each side of the best
LEAST = 1e-12  # of the noise's variance, in units of the values' mean square


@dataclass(frozen=True)
class Step:
    """What a filter knows at one step, (..., n) each.

    Attributes:
        level: The mean of the level, y[t] included; 0 where nothing was seen yet.
        variance: Of the level; infinite where nothing was seen yet.
        error: y[t] less the mean before it; 0 where y[t] was not seen.
        expected: The variance of the error; infinite before the first value.
    """

    level: Array
    variance: Array
    error: Array
    expected: Array


def filtered(
    values: Iterable[Array], noise: Iterable[Array | float], step: Array, start: float | Array
) -> Iterator[Step]:
    """Forwards over time.

    Args:
        values: y, (n,) at each of T steps; NaN where not seen.
        noise: r, (n,) or a number at each step.
        step: q, (..., n).
        start: The variance of the level, of mean 0, at the first step; infinite for a diffuse start.
    """
    variance = np.broadcast_to(np.asarray(start, np.float64), np.shape(step))
    level = np.zeros(np.shape(step))
    for y, r in zip(values, noise, strict=False):
        known = ~np.isnan(y)
        expected = variance + r
        fresh = np.isinf(variance)
        gain = np.where(fresh, 1.0, variance / np.where(fresh, 1.0, expected))
        error = np.where(known, y - level, 0.0)
        level = level + gain * error
        variance = np.where(known, gain * r, variance)
        yield Step(level, variance, error, expected)
        variance = variance + step


def smoothed(steps: list[Step], step: Array) -> tuple[Array, Array]:
    """Means and variances of the level as known at the last step, (T, n) each."""
    levels, variances = [steps[-1].level], [steps[-1].variance]
    for at in reversed(steps[:-1]):
        ahead = at.variance + step
        follows = np.isinf(ahead) | (ahead == 0)  # nothing known of its own, or nothing moves
        gain = np.where(follows, 1.0, at.variance / np.where(follows, 1.0, ahead))
        levels.append(at.level + gain * (levels[-1] - at.level))
        variances.append(gain * step + gain**2 * variances[-1])
    return np.stack(levels[::-1]), np.stack(variances[::-1])


def concentrated(values: Array, ratio: Array) -> tuple[Array, Array]:
    """Log-likelihood of ratios q / r, (..., n), at the most likely noise variance r, and that r.

    With r = 1 the errors v have variances F; r is the mean of v^2 / F over the values behind the first,
    and log L = -1/2 sum(log(2 pi r F) + 1). With one value, r is its square.

    Args:
        values: (T, n), NaN where not seen.
        ratio: (..., n).
    """
    squares, logs = np.zeros(np.shape(ratio)), np.zeros(np.shape(ratio))
    for at, y in zip(filtered(values, _ones(values), ratio, np.inf), values, strict=True):
        told = np.isfinite(at.expected) & ~np.isnan(y)
        squares += np.where(told, at.error**2 / at.expected, 0.0)
        logs += np.where(told, np.log(np.where(told, at.expected, 1.0)), 0.0)
    seen = (~np.isnan(values)).sum(0)
    size = np.nansum(values**2, 0) / np.maximum(seen, 1)
    noise = np.where(seen > 1, squares / np.maximum(seen - 1, 1), size)
    noise = np.maximum(noise, LEAST * np.where(size > 0, size, 1.0))
    likely = -0.5 * ((seen - 1) * (np.log(2 * np.pi * noise) + 1) + logs)
    return likely, noise


def likeliest_ratio(values: Array) -> Array:
    """The ratio q / r of the largest likelihood for each series of (T, n): (n,)."""
    n = values.shape[1]
    tried = np.repeat(np.log(RATIOS)[:, None], n, 1)  # (G, n)
    gap = tried[1, 0] - tried[0, 0]
    best = tried[0]
    for _ in range(3):
        likely = concentrated(values, np.exp(tried))[0]
        best = tried[likely.argmax(0), np.arange(n)]
        gap /= FINER + 1
        tried = best + gap * np.arange(-FINER, FINER + 1)[:, None]
    return np.asarray(np.exp(best))


def _ones(values: Array) -> Iterable[float]:
    return [1.0] * len(values)
