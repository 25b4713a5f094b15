"""Whether distributions of counts are calibrated: half of a count's chance lies on the count itself.

A quantile of counts covers its level at least, and more than it where the distribution jumps over the
level. So its coverage is told as two shares, or made exact by breaking ties by lot. Sources: Czado,
Gneiting and Held, "Predictive model assessment for count data", 2009.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ShapeError
from demandcast.evaluate.metrics import quantile_loss

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def randomised_pit(actual: Array, samples: Array, *, seed: int = 0) -> Doubles:
    """Probability integral transform of each value, ties broken by lot, (N, H).

    F(y-) + u (F(y) - F(y-)), u uniform in [0, 1) and F the empirical distribution of the paths, F(y-)
    the share below y; Czado et al. 2009, section 2. Uniform on [0, 1] where forecasts are calibrated,
    whether they are counts or not.

    Args:
        actual: Values that came, (N, H); NaN stays NaN.
        samples: Paths, (N, S, H).
        seed: Of the lots.

    Raises:
        ShapeError: The two do not match.

    Example:
        >>> paths = np.array([[[0.0], [0.0], [1.0], [2.0]]])
        >>> bool(0.5 <= randomised_pit(np.array([[1.0]]), paths)[0, 0] < 0.75)
        True
    """
    if samples.ndim != 3 or (samples.shape[0], samples.shape[2]) != actual.shape:
        raise ShapeError(
            f"samples are {samples.shape}, but the actuals {actual.shape}; samples want the shape "
            "(series, paths, horizon), actuals (series, horizon)"
        )
    below = (samples < actual[:, None]).mean(1)
    upto = (samples <= actual[:, None]).mean(1)
    level = below + np.random.default_rng(seed).random(actual.shape) * (upto - below)
    return np.where(np.isnan(actual), np.nan, level)


def pit_coverage(pit: Array, levels: Sequence[float]) -> Doubles:
    """Share of randomised PITs at or below each level, (Q,); the level itself is right.

    The coverage that quantiles would have, were ties at them broken by lot.
    """
    seen = pit[~np.isnan(pit)]
    return np.array([(seen <= level).mean() if len(seen) else np.nan for level in levels])


def coverage_steps(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Shares of values below, and at or below, each quantile, (2, Q).

    Calibrated quantiles of counts have their level between the two.

    Args:
        actual: Values that came, (N, H), NaN where not observed.
        quantiles: Forecasts at the levels, (N, H, Q).
        levels: Probabilities, (Q,).
    """
    if quantiles.shape != (*actual.shape, len(levels)):
        raise ShapeError(
            f"quantiles are {quantiles.shape}, but {len(levels)} levels of actuals {actual.shape} want "
            f"{(*actual.shape, len(levels))}, (series, horizon, levels)"
        )
    seen = ~np.isnan(actual)
    value, at = actual[seen][:, None], quantiles[seen]  # (seen,), (seen, Q)
    if not len(value):
        return np.full((2, len(levels)), np.nan)
    return np.stack([(value < at).mean(0), (value <= at).mean(0)])


def scaled_pinball(
    actual: Array, quantiles: Array, levels: Sequence[float], past: Array
) -> Doubles:
    """Scaled pinball loss of each series and level, (N, Q), as in the M5 competition.

    mean `quantile_loss` over the horizon / mean |y_t - y_{t-1}| of the past from its first demand on;
    Makridakis et al., "The M5 uncertainty competition", 2022. Without the factor 2 of `sql`, whose
    scale counts all of the past.

    Args:
        actual: Values that came, (N, H), NaN where not observed.
        quantiles: Forecasts at the levels, (N, H, Q).
        levels: Probabilities, (Q,).
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.

    Returns:
        Unitless. NaN for a series of which nothing was observed, or whose past does not change.
    """
    loss = quantile_loss(actual, quantiles, levels)  # (N, H, Q)
    seen = ~np.isnan(np.asarray(actual, np.float64))
    mean = np.where(seen[..., None], loss, 0).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
    known = ~np.isnan(np.asarray(past, np.float64))
    begun = np.maximum.accumulate(known & (past != 0), axis=1)
    pair = begun[:, :-1] & known[:, :-1] & known[:, 1:]
    step = np.where(pair, np.abs(np.diff(past, axis=1)), 0).sum(1) / np.maximum(pair.sum(1), 1)
    scale = np.where((step > 0) & seen.any(1), step, np.nan)
    return np.asarray(mean / scale[:, None])
