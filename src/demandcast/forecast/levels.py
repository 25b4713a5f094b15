"""Quantiles at other levels than those that are known, and paths with given quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws

Array = NDArray[Any]


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
