"""Quantiles at other levels than those known, paths with given quantiles, and the mean of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws

Array = NDArray[Any]
_TAIL = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.015)
_EDGES = np.array([*_TAIL, *np.arange(2, 99) / 100, *(1 - edge for edge in reversed(_TAIL))])
MEAN_LEVELS = tuple(((_EDGES[1:] + _EDGES[:-1]) / 2).tolist())  # levels that a mean is summed over
MEAN_WEIGHTS = np.diff(_EDGES)  # the probability around each of them


def between(grid: Array, known: Sequence[float], levels: Sequence[float]) -> NDArray[np.float64]:
    """Quantiles at `levels`, (..., Q), from those at the `known` ones, (..., G), both increasing.

    Linear between known levels. Beyond the outermost, the quantile function goes on as an exponential
    whose slope is that of the last piece, as in the quantile grid of the networks.
    """
    at, base = np.asarray(levels, np.float64), np.asarray(known, np.float64)
    right = np.clip(np.searchsorted(base, at), 1, len(base) - 1)
    weight = np.clip((at - base[right - 1]) / (base[right] - base[right - 1]), 0, 1)
    inner = grid[..., right - 1] * (1 - weight) + grid[..., right] * weight
    low = (grid[..., 1] - grid[..., 0]) / np.log(base[1] / base[0])
    high = (grid[..., -1] - grid[..., -2]) / np.log((1 - base[-2]) / (1 - base[-1]))
    below = low[..., None] * np.log(np.minimum(at / base[0], 1))
    above = -high[..., None] * np.log(np.minimum((1 - at) / (1 - base[-1]), 1))
    return np.asarray(inner + below + above, np.float64)


def shuffled(
    template: Array, grid: Array, known: Sequence[float], draws: Draws
) -> NDArray[np.float32]:
    """Paths with given quantiles and the order of other paths, (N, S, H).

    The Schaake shuffle (Clark et al., 2004): at each step the s-th smallest of S values that follow the
    quantiles goes to the path that is s-th smallest in the template, so that the dependence between
    steps is that of the template. Ties are broken by lot.

    Args:
        template: Paths of another forecast of the same series and steps, (N, S, H).
        grid: Quantiles wanted at the `known` levels, (N, H, G).
        known: Levels of the grid, (G,).
        draws: Break ties.
    """
    n, paths, horizon = template.shape
    levels = (np.arange(paths) + 0.5) / paths
    values = between(grid, known, levels).transpose(0, 2, 1).astype(np.float32)  # (N, S, H)
    order = np.lexsort((draws.uniform(template.shape), template), axis=1)
    found = np.empty((n, paths, horizon), np.float32)
    np.put_along_axis(found, order, values, 1)
    return found


def bounded_mean(
    mean: Array, quantiles: Array, floor: Array, whole: Array | None = None
) -> NDArray[np.float64]:
    """Return the mean of a distribution once its values are kept within what the history allows.

    Values raised to the floor raise the mean. Values rounded to whole numbers move it where few whole
    numbers have a share in the distribution.

    Args:
        mean: The mean before that, (...).
        quantiles: The quantiles at `MEAN_LEVELS` before that, (..., J).
        floor: The least value, broadcasts with the mean; minus infinity for none.
        whole: Whether values are rounded, broadcasts with the mean; None for never.
    """
    kept = np.maximum(quantiles, np.asarray(floor)[..., None])
    if whole is not None:
        kept = np.where(np.asarray(whole)[..., None], np.rint(kept), kept)
    found = np.maximum(mean + (kept - quantiles) @ MEAN_WEIGHTS, floor)
    one_value = kept[..., 0] == kept[..., -1]  # without the rounding errors of the sum
    return np.asarray(np.where(one_value, kept[..., 0], found), np.float64)


def mean_bounds(
    quantiles: Array, levels: Sequence[float], *, floor: float = -np.inf, ceiling: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest mean of a distribution with these quantiles, (...) each.

    Between two levels the quantile function lies between their values; below the lowest level it is
    at least `floor`, above the highest at most `ceiling`. Without a floor the least mean is minus
    infinity, without a ceiling the largest is infinity.

    Args:
        quantiles: Values at the levels, never decreasing, (..., Q).
        levels: Probabilities, increasing, (Q,).
        floor: The least value there can be.
        ceiling: The largest value there can be.
    """
    masses = np.diff([0.0, *levels, 1.0])  # (Q + 1,)
    values = np.asarray(quantiles, np.float64)
    least = masses[0] * floor + values @ masses[1:]
    largest = values @ masses[:-1] + masses[-1] * ceiling
    return least, largest
