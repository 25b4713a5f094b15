"""Measure the calibration of count forecasts.

A value may equal a quantile of counts, so a calibrated quantile covers its level or more. Coverage is therefore
given as two shares (below, and at or below the quantile), or made exact by breaking ties at random. Czado, Gneiting
and Held, "Predictive model assessment for count data", 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.evaluate.observed import check_quantiles, check_samples
from demandcast.evaluate.quantile_metrics import quantile_loss

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def randomised_pit(actual: Array, samples: Array, *, seed: int = 0) -> Doubles:
    """Return the probability integral transform of each value, ties broken at random, (N, H).

    F(y-) + u (F(y) - F(y-)), with u uniform in [0, 1), F the empirical distribution of the paths and F(y-) the share
    below y; Czado et al. 2009, section 2. Uniform on [0, 1] where forecasts are calibrated, for counts and for
    continuous values.

    Args:
        actual: Actual values, (N, H); NaN stays NaN.
        samples: Paths, (N, S, H).
        seed: Seed of u.

    Raises:
        ShapeError: The shapes do not match.

    Example:
        >>> paths = np.array([[[0.0], [0.0], [1.0], [2.0]]])
        >>> bool(0.5 <= randomised_pit(np.array([[1.0]]), paths)[0, 0] < 0.75)
        True
    """
    check_samples(actual, samples)
    below = (samples < actual[:, None]).mean(1)
    at_or_below = (samples <= actual[:, None]).mean(1)
    level = below + np.random.default_rng(seed).random(actual.shape) * (at_or_below - below)
    return np.where(np.isnan(actual), np.nan, level)


def pit_coverage(pit: Array, levels: Sequence[float]) -> Doubles:
    """Return the share of randomised PITs at or below each level, (Q,); calibrated forecasts have the level itself.

    This is the coverage of the quantiles with ties broken at random.
    """
    observed = pit[~np.isnan(pit)]
    return np.array([(observed <= level).mean() if len(observed) else np.nan for level in levels])


def coverage_steps(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the shares of values below, and at or below, each quantile, (2, Q).

    The level of a calibrated quantile of counts lies between the two.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        quantiles: Quantile forecasts, (N, H, Q).
        levels: Quantile levels, (Q,).
    """
    check_quantiles(actual, quantiles, levels)
    observed = ~np.isnan(actual)
    values, limits = actual[observed][:, None], quantiles[observed]  # (observed, 1), (observed, Q)
    if not len(values):
        return np.full((2, len(levels)), np.nan)
    return np.stack([(values < limits).mean(0), (values <= limits).mean(0)])


def scaled_pinball(
    actual: Array, quantiles: Array, levels: Sequence[float], past: Array
) -> Doubles:
    """Return the scaled pinball loss of each series and level, (N, Q), as in the M5 competition.

    mean `quantile_loss` over the horizon / mean |y_t - y_{t-1}| of the past from its first demand on; Makridakis et
    al., "The M5 uncertainty competition", 2022. Without the factor 2 of `sql`, which scales by the whole past.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        quantiles: Quantile forecasts, (N, H, Q).
        levels: Quantile levels, (Q,).
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.

    Returns:
        Unitless. NaN for a series without an observed actual value, or whose past does not change.
    """
    loss = quantile_loss(actual, quantiles, levels)  # (N, H, Q)
    observed = ~np.isnan(np.asarray(actual, np.float64))
    mean = np.where(observed[..., None], loss, 0).sum(1) / np.maximum(observed.sum(1), 1)[:, None]
    known = ~np.isnan(np.asarray(past, np.float64))
    after_demand = np.maximum.accumulate(known & (past != 0), axis=1)
    pairs = after_demand[:, :-1] & known[:, :-1] & known[:, 1:]
    change = np.where(pairs, np.abs(np.diff(past, axis=1)), 0).sum(1) / np.maximum(pairs.sum(1), 1)
    scale = np.where((change > 0) & observed.any(1), change, np.nan)
    return np.asarray(mean / scale[:, None])
