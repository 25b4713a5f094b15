"""The two scores of the multivariate literature, of a block of steps and series.

They take one forecast a step from many cutoffs, the same number of steps ahead. Beside them belongs the
last value: the spread that `rse` divides by holds the series' different levels, so on series that differ
in level a score near 0 is no proof of a good forecast. An actual of NaN counts nowhere; a NaN in the
forecast makes the score NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ShapeError

Array = NDArray[Any]
Doubles = NDArray[np.float64]


def rse(actual: Array, forecast: Array) -> float:
    """Root relative squared error, pooled over the block.

    sqrt(sum (y - f)^2) / sqrt(sum (y - mean y)^2), the mean over all steps and series; Lai et al.,
    "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks", 2018, equation 13.

    Args:
        actual: Values that came, (steps, series), NaN where not observed.
        forecast: Point forecasts, (steps, series), same unit.

    Returns:
        Unitless, 0 at best; 1 for the mean of the block. NaN where all actuals are alike.

    Raises:
        ShapeError: The two differ in shape, or are not blocks.

    Example:
        >>> rse(np.array([[1.0, 5.0], [3.0, 7.0]]), np.array([[1.0, 5.0], [3.0, 5.0]]))
        0.4472135954999579
    """
    y, f, seen = _block(actual, forecast)
    spread = float(((y - y.mean(where=seen)) ** 2).sum(where=seen)) if seen.any() else 0.0
    errors = float(((y - f) ** 2).sum(where=seen))
    return float(np.sqrt(errors / spread)) if spread else float("nan")


def corr(actual: Array, forecast: Array) -> float:
    """Empirical correlation coefficient, the mean over series of Pearson's; Lai et al. 2018, equation 14.

    Args:
        actual: Values that came, (steps, series), NaN where not observed.
        forecast: Point forecasts, (steps, series).

    Returns:
        In [-1, 1], 1 at best. Series whose actuals are all alike do not count, and a forecast that is
        all alike of one that moves counts 0; NaN where no series counts.

    Raises:
        ShapeError: The two differ in shape, or are not blocks.
    """
    y, f, seen = _block(actual, forecast)
    some = seen.any(0)
    y, f, seen = y[:, some], f[:, some], seen[:, some]
    dy = y - y.mean(0, where=seen)
    df = f - f.mean(0, where=seen)
    sizes = (dy**2).sum(0, where=seen), (df**2).sum(0, where=seen)
    moves = sizes[0] > 0
    if not moves.any():
        return float("nan")
    common = (dy * df).sum(0, where=seen)[moves]
    bound = np.sqrt(sizes[0] * sizes[1])[moves]
    return float(np.divide(common, bound, out=np.zeros_like(common), where=bound != 0).mean())


def _block(actual: Array, forecast: Array) -> tuple[Doubles, Doubles, NDArray[np.bool_]]:
    """Both in 64 bits, and where the actual was observed."""
    if actual.shape != forecast.shape or actual.ndim != 2:
        raise ShapeError(
            f"the forecast is {forecast.shape} and the actual {actual.shape}; both are (steps, series), "
            "one forecast a step and series"
        )
    y = np.asarray(actual, np.float64)
    return y, np.asarray(forecast, np.float64), ~np.isnan(y)
