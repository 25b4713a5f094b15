"""Calibration of counts on forecasts known to be right, and the M5's scaled pinball loss by hand."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from demandcast.errors import ShapeError
from demandcast.evaluate.count_metrics import (
    coverage_steps,
    pit_coverage,
    randomised_pit,
    scaled_pinball,
)

LEVELS = [0.1, 0.5, 0.8, 0.95]


def test_pits_of_right_forecasts_are_uniform() -> None:
    rng = np.random.default_rng(0)
    actual = rng.poisson(0.7, (2000, 2)) * 1.0
    pit = randomised_pit(actual, rng.poisson(0.7, (2000, 300, 2)), seed=1)
    assert scipy.stats.kstest(pit.ravel(), "uniform").pvalue > 0.01
    np.testing.assert_allclose(pit_coverage(pit, LEVELS), LEVELS, atol=0.025)  # 3 standard errors
    wide = randomised_pit(actual, 2 * rng.poisson(0.7, (2000, 300, 2)), seed=1)
    assert pit_coverage(wide, [0.9])[0] > 0.93


def test_pit_is_the_share_below_plus_a_lot() -> None:
    paths = np.array([0.0, 0, 1, 2]).reshape(1, 4, 1)
    for value, low, high in ((0, 0, 0.5), (1, 0.5, 0.75), (2, 0.75, 1), (3, 1, 1), (-1, 0, 0)):
        assert low <= randomised_pit(np.array([[value * 1.0]]), paths)[0, 0] <= high
    assert np.isnan(randomised_pit(np.array([[np.nan]]), paths)).all()
    with pytest.raises(ShapeError, match="paths"):
        randomised_pit(np.zeros((2, 1)), paths)


def test_right_quantiles_of_counts_have_their_level_between_the_steps() -> None:
    rng = np.random.default_rng(1)
    actual = rng.poisson(0.7, (5000, 1)) * 1.0
    at = np.broadcast_to(scipy.stats.poisson.ppf(LEVELS, 0.7), (5000, 1, 4))
    below, upto = coverage_steps(actual, at, LEVELS)
    assert (below <= LEVELS).all()
    assert (upto >= LEVELS).all()
    nothing = coverage_steps(np.full((1, 1), np.nan), at[:1], LEVELS)
    assert nothing.shape == (2, 4)
    assert np.isnan(nothing).all()


def test_scaled_pinball_by_hand() -> None:
    """Steps of the past count from its first demand, and not across what was not observed."""
    past = np.array([[0.0, 0, 2, 0, np.nan, 3, 1]])  # steps 2 and 2: from 2 to 0, and 3 to 1
    actual, at = np.array([[4.0, np.nan, 0]]), np.array([[[1.0, 2.0], [9, 9], [1, 2]]])
    loss = np.array([(0.25 * 3 + 0.75 * 1) / 2, (0.75 * 2 + 0.25 * 2) / 2])
    np.testing.assert_allclose(scaled_pinball(actual, at, [0.25, 0.75], past), [loss / 2])
    assert np.isnan(scaled_pinball(actual, at, [0.25, 0.75], np.zeros((1, 4)))).all()
