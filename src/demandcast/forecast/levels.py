"""Interpolate quantiles, reorder paths to given quantiles, and compute means after clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws

Array = NDArray[Any]
_TAIL = (0.0, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.015)
_EDGES = np.array([*_TAIL, *np.arange(2, 99) / 100, *(1 - edge for edge in reversed(_TAIL))])
MEAN_LEVELS = tuple(
    ((_EDGES[1:] + _EDGES[:-1]) / 2).tolist()
)  # a mean is a weighted sum of these quantiles
MEAN_WEIGHTS = np.diff(_EDGES)  # probability around each of these levels


def interpolate_quantiles(
    grid: Array, known: Sequence[float], levels: Sequence[float]
) -> NDArray[np.float64]:
    """Return quantiles at `levels`, (..., Q), from quantiles at the `known` levels, (..., G), both increasing.

    Linear between known levels. Outside them the tail is exponential, with the slope of the outermost piece, as in
    the networks' quantile grid.
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


def shuffle_paths(
    template: Array, grid: Array, known: Sequence[float], draws: Draws
) -> NDArray[np.float32]:
    """Return paths with given quantiles and the dependence between steps of other paths, (N, S, H).

    Schaake shuffle (Clark et al., 2004): at each step, S values are taken from the quantile function. The s-th
    smallest of them goes to the path that is s-th smallest in the template. Ties are broken at random.

    Args:
        template: Paths of another forecast of the same series and steps, (N, S, H).
        grid: Quantiles at the `known` levels, (N, H, G).
        known: Levels of the grid, (G,).
        draws: Random numbers that break ties, of the N series.
    """
    n, paths, horizon = template.shape
    levels = (np.arange(paths) + 0.5) / paths
    values = (
        interpolate_quantiles(grid, known, levels).transpose(0, 2, 1).astype(np.float32)
    )  # (N, S, H)
    order = np.lexsort((draws.uniform(template.shape), template), axis=1)
    shuffled = np.empty((n, paths, horizon), np.float32)
    np.put_along_axis(shuffled, order, values, 1)
    return shuffled


def mean_after_clipping(
    mean: Array, quantiles: Array, floor: Array, whole: Array | None = None
) -> NDArray[np.float64]:
    """Return the mean of a distribution after its values are clipped at a floor and rounded.

    Clipping raises the mean. Rounding moves it where the distribution covers few whole numbers.

    Args:
        mean: Mean before clipping, (...).
        quantiles: Quantiles at `MEAN_LEVELS` before clipping, (..., J).
        floor: Smallest value, broadcasts with the mean; minus infinity for no clipping.
        whole: Whether values are rounded to whole numbers, broadcasts with the mean; None for no rounding.
    """
    clipped = np.maximum(quantiles, np.asarray(floor)[..., None])
    if whole is not None:
        clipped = np.where(np.asarray(whole)[..., None], np.rint(clipped), clipped)
    moved_mean = np.maximum(mean + (clipped - quantiles) @ MEAN_WEIGHTS, floor)
    one_value = clipped[..., 0] == clipped[..., -1]  # the sum would add rounding errors
    return np.asarray(np.where(one_value, clipped[..., 0], moved_mean), np.float64)


def mean_bounds(
    quantiles: Array, levels: Sequence[float], *, floor: float = -np.inf, ceiling: float = np.inf
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest and the largest mean that a distribution with these quantiles can have, (...) each.

    Between two levels, the quantile function lies between their quantiles. Below the lowest level it is at least
    `floor`, above the highest at most `ceiling`. Without a floor the smallest mean is minus infinity; without a
    ceiling the largest is infinity.

    Args:
        quantiles: Quantiles at the levels, never decreasing, (..., Q).
        levels: Levels, increasing, (Q,).
        floor: Smallest possible value.
        ceiling: Largest possible value.
    """
    masses = np.diff([0.0, *levels, 1.0])  # (Q + 1,)
    values = np.asarray(quantiles, np.float64)
    smallest = masses[0] * floor + values @ masses[1:]
    largest = values @ masses[:-1] + masses[-1] * ceiling
    return smallest, largest
