"""Quantiles between and beyond known levels; paths that keep quantiles and order."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from demandcast.draws.arrays import Draws
from demandcast.forecast.levels import (
    MEAN_LEVELS,
    MEAN_WEIGHTS,
    interpolate_quantiles,
    mean_after_clipping,
    mean_bounds,
    shuffle_paths,
)

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


def test_the_levels_of_a_mean_share_all_chances_between_them() -> None:
    """Every level is the middle of its share of the chances, and no share is more than a hundredth."""
    levels = np.array(MEAN_LEVELS)
    ends = MEAN_WEIGHTS.cumsum()
    assert len(levels) == 110
    assert (MEAN_WEIGHTS > 0).all()
    assert MEAN_WEIGHTS.max() < 0.01 + 1e-9
    assert ends[-1] == pytest.approx(1)
    np.testing.assert_allclose(levels, ends - MEAN_WEIGHTS / 2)
    np.testing.assert_allclose(levels, 1 - levels[::-1])  # both tails alike
    assert levels[0] < 0.0003  # and far out


def test_means_after_clipping_are_those_of_the_clipped_law() -> None:
    """Of a uniform law from -1 to 3: at 0 clipped by hand, and rounded to whole numbers."""
    quantiles = 4 * np.array([MEAN_LEVELS]) - 1
    clipped = mean_after_clipping(np.array([1.0]), quantiles, np.array([0.0]))
    np.testing.assert_allclose(
        clipped, 3 * 3 / 2 / 4, atol=1e-3
    )  # 3/4 of the chances, 1.5 on average
    whole = mean_after_clipping(np.array([1.0]), quantiles, np.array([0.0]), np.array([True]))
    # 0 to .5, .5 to 1.5, 1.5 to 2.5, 2.5 to 3 become 0, 1, 2, 3
    np.testing.assert_allclose(whole, (1 + 2 + 0.5 * 3) / 4, atol=0.01)
    same = mean_after_clipping(np.array([1.0]), quantiles, np.array([-np.inf]))
    np.testing.assert_array_equal(same, [1.0])
    none = mean_after_clipping(np.array([-5.0]), quantiles - 6, np.array([0.0]))
    np.testing.assert_array_equal(none, [0.0])


def test_the_tails_are_exponential_on_both_sides() -> None:
    grid = np.array([[1.0, 2.0, 5.0]])
    found = interpolate_quantiles(grid, (0.1, 0.5, 0.8), [0.05, 0.1, 0.3, 0.8, 0.9])[0]
    low, high = 1 / np.log(5), 3 / np.log(0.5 / 0.2)
    np.testing.assert_allclose(found, [1 - low * np.log(2), 1, 1.5, 5, 5 + high * np.log(2)])


def test_a_mean_lies_between_those_of_steps_at_the_quantiles() -> None:
    least, most = mean_bounds(np.array([[2.0, 6.0]]), (0.25, 0.75), floor=0.0, ceiling=10.0)
    np.testing.assert_allclose(least, 0.5 * 2 + 0.25 * 6)
    np.testing.assert_allclose(most, 0.25 * 2 + 0.5 * 6 + 0.25 * 10)
