"""Quantiles between and beyond known levels; paths that keep quantiles and order."""

from __future__ import annotations

import numpy as np
import polars as pl

from demandcast.draws.arrays import Draws
from demandcast.forecast.levels import interpolate_quantiles, shuffle_paths

GRID = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)


def test_levels_between_and_beyond_those_known() -> None:
    grid = np.sort(np.random.default_rng(0).normal(0, 1, (50, len(GRID))), 1)
    levels = np.linspace(0.005, 0.995, 199)
    found = interpolate_quantiles(grid, GRID, levels)
    assert (np.diff(found, axis=1) >= -1e-12).all()
    np.testing.assert_allclose(interpolate_quantiles(grid, GRID, GRID), grid)
    # an exponential tail of the outermost piece: half the rest, one more half-life
    tail = interpolate_quantiles(grid, GRID, [0.98, 0.99])
    slope = (grid[:, -1] - grid[:, -2]) / np.log(0.1 / 0.02)
    np.testing.assert_allclose(tail[:, 1] - tail[:, 0], slope * np.log(2))


def test_shuffled_paths_have_the_quantiles_asked_for_and_the_order_of_the_template() -> None:
    rng = np.random.default_rng(0)
    template = rng.normal(0, 1, (3, 400, 1)) + 0.3 * rng.normal(0, 1, (3, 400, 5))
    grid = np.sort(rng.gamma(2, 3, (3, 5, len(GRID))), -1)
    paths = shuffle_paths(template, grid, GRID, Draws.of(pl.DataFrame({"item": [0, 1, 2]}), 0))
    found = np.quantile(paths, GRID, axis=1).transpose(1, 2, 0)
    # 400 values stand for the law: the slope of its steepest piece over a hundredth
    np.testing.assert_allclose(found[..., 1:-1], grid[..., 1:-1], atol=0.25)
    ranks = lambda x: np.argsort(np.argsort(x, 1), 1)  # noqa: E731
    np.testing.assert_array_equal(ranks(paths), ranks(template))
