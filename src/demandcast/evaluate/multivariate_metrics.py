"""Scores of the multivariate literature, RSE and CORR, over a block of steps and series.

A block holds one forecast a step, from many cutoffs, the same number of steps ahead. Compare the scores with those of
the last-value forecast: `rse` divides by a spread that includes the differences between the series' levels, so a score
near 0 alone does not show a good forecast. An actual of NaN is left out; a NaN in the forecast makes the score NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ShapeError

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def rse(actual: Array, forecast: Array) -> float:
    """Return the root relative squared error, pooled over the block.

    sqrt(sum (y - f)^2) / sqrt(sum (y - mean y)^2), with the mean over all steps and series; Lai et al., "Modeling
    Long- and Short-Term Temporal Patterns with Deep Neural Networks", 2018, equation 13.

    Args:
        actual: Actual values, (steps, series), NaN where not observed.
        forecast: Point forecasts, (steps, series), same unit.

    Returns:
        Unitless, 0 at best; 1 for the mean of the block. NaN where all actuals are equal.

    Raises:
        ShapeError: The shapes differ or are not (steps, series).

    Example:
        >>> rse(np.array([[1.0, 5.0], [3.0, 7.0]]), np.array([[1.0, 5.0], [3.0, 5.0]]))
        0.4472135954999579
    """
    y, f, observed = _check_block(actual, forecast)
    spread = (
        float(((y - y.mean(where=observed)) ** 2).sum(where=observed)) if observed.any() else 0.0
    )
    errors = float(((y - f) ** 2).sum(where=observed))
    return float(np.sqrt(errors / spread)) if spread else float("nan")


def corr(actual: Array, forecast: Array) -> float:
    """Return the empirical correlation coefficient, the mean of the series' Pearson correlations.

    Lai et al. 2018, equation 14.

    Args:
        actual: Actual values, (steps, series), NaN where not observed.
        forecast: Point forecasts, (steps, series).

    Returns:
        In [-1, 1], 1 at best. Series whose actuals are all equal are left out; a constant forecast of any other
        series has the correlation 0. NaN where no series is left.

    Raises:
        ShapeError: The shapes differ or are not (steps, series).
    """
    y, f, observed = _check_block(actual, forecast)
    any_observed = observed.any(0)
    y, f, observed = y[:, any_observed], f[:, any_observed], observed[:, any_observed]
    dy = y - y.mean(0, where=observed)
    df = f - f.mean(0, where=observed)
    sizes = (dy**2).sum(0, where=observed), (df**2).sum(0, where=observed)
    varies = sizes[0] > 0
    if not varies.any():
        return float("nan")
    products = (dy * df).sum(0, where=observed)[varies]
    norm = np.sqrt(sizes[0] * sizes[1])[varies]
    return float(np.divide(products, norm, out=np.zeros_like(products), where=norm != 0).mean())


def _check_block(actual: Array, forecast: Array) -> tuple[Doubles, Doubles, NDArray[np.bool_]]:
    """Return both in 64 bits and the mask of observed actuals, after checking the shapes."""
    if actual.shape != forecast.shape or actual.ndim != 2:
        raise ShapeError(
            f"the forecast is {forecast.shape} and the actual {actual.shape}; both must be (steps, series), "
            "with one forecast a step and series",
            found=forecast.shape,
            expected=str(actual.shape),
        )
    y = np.asarray(actual, np.float64)
    return y, np.asarray(forecast, np.float64), ~np.isnan(y)
