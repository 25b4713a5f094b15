"""Filter and smoother against a plain loop and against one large normal distribution, solved exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from numpy.typing import NDArray

import demandcast
from demandcast.errors import ConfigError, DataError
from demandcast.local import LocalLevel
from demandcast.local.parts.kalman import (
    concentrated_likelihood,
    fit_ratio,
    kalman_filter,
    kalman_smoother,
)

from .conftest import panel_of

NAN = float("nan")
Array = NDArray[np.float64]


def some_series() -> Array:
    """Series of 30 steps with gaps inside, before and behind, (30, n)."""
    rng = np.random.default_rng(0)
    table = rng.normal(5, 1, (30, 6)).cumsum(0) + rng.normal(0, 2, (30, 6))
    table[rng.random(table.shape) < 0.2] = NAN
    table[:4, 1], table[25:, 2] = NAN, NAN
    table[:, 3] = NAN
    table[7, 3] = 3.0  # one value
    return table


def plain(y: Array, q: float, r: float, start: float) -> tuple[list[float], list[float]]:
    """The scalar recursions of Durbin and Koopman 2012, equation 2.15."""
    a, p = 0.0, start
    levels, variances = [], []
    for value in y:
        if not np.isnan(value):
            v, f = value - a, p + r
            k = p / f
            a, p = a + k * v, p * (1 - k)
        levels.append(a)
        variances.append(p)
        p += q
    return levels, variances


def exact(y: Array, q: float, r: float) -> tuple[float, Array, Array]:
    """Diffuse log-likelihood, and mean and variance of the level at each step given all values.

    level = first + B step with a flat prior on the first: generalised least squares.
    """
    seen = np.flatnonzero(~np.isnan(y))
    steps = np.arange(len(y))
    walk = q * np.minimum.outer(steps, steps)
    noise = walk[np.ix_(seen, seen)] + r * np.eye(len(seen))
    inverse = np.linalg.inv(noise)
    one = np.ones(len(seen))
    weight = one @ inverse @ one
    first = one @ inverse @ y[seen] / weight
    gain = walk[:, seen] @ inverse
    mean = first + gain @ (y[seen] - first)
    left = 1 - gain @ one  # of the first level's own error
    variance = np.diag(walk - gain @ walk[seen]) + left**2 / weight
    if len(seen) == 1:
        return 0.0, mean, variance
    contrast = np.eye(len(seen))[1:] - np.eye(len(seen))[:1]  # y[t] - y[first]
    law = scipy.stats.multivariate_normal(cov=contrast @ noise @ contrast.T, allow_singular=False)
    return float(law.logpdf(contrast @ y[seen])), mean, variance


def test_the_filter_is_that_of_a_plain_loop() -> None:
    table, q, r = some_series(), 0.7, 2.3
    steps = list(kalman_filter(table, [r] * len(table), np.full(6, q), 1.7))
    for i in range(table.shape[1]):
        levels, variances = plain(table[:, i], q, r, 1.7)
        np.testing.assert_allclose([s.level[i] for s in steps], levels, rtol=1e-10)
        np.testing.assert_allclose([s.variance[i] for s in steps], variances, rtol=1e-10)


def test_the_diffuse_start_is_the_limit_of_a_vague_one() -> None:
    table = some_series()
    diffuse = list(kalman_filter(table, [1.0] * 30, np.full(6, 0.5), np.inf))
    vague = list(kalman_filter(table, [1.0] * 30, np.full(6, 0.5), 1e9))
    np.testing.assert_allclose(diffuse[-1].level, vague[-1].level, rtol=1e-6)
    np.testing.assert_allclose(diffuse[-1].variance, vague[-1].variance, rtol=1e-6)


@pytest.mark.parametrize("q", [0.0, 1e-3, 0.4, 30.0])
def test_smoothing_is_that_of_the_joint_normal(q: float) -> None:
    table = some_series()
    steps = list(kalman_filter(table, [1.0] * 30, np.full(6, q), np.inf))
    level, variance = kalman_smoother(steps, np.full(6, q))
    for i in range(6):
        _, mean, deviation2 = exact(table[:, i], q, 1.0)
        np.testing.assert_allclose(level[:, i], mean, rtol=1e-8)
        np.testing.assert_allclose(variance[:, i], deviation2, rtol=1e-7, atol=1e-12)


def test_the_likelihood_is_that_of_the_joint_normal() -> None:
    table = some_series()[:, [0, 1, 2, 4, 5]]
    ratios = np.repeat([[0.01], [0.3], [5.0]], 5, 1)
    likely, noise = concentrated_likelihood(table, ratios)
    for g, i in np.ndindex(likely.shape):
        q, r = ratios[g, i] * noise[g, i], noise[g, i]
        assert likely[g, i] == pytest.approx(exact(table[:, i], q, r)[0], rel=1e-9)
        for other in (0.8, 1.25):  # and no other r is more likely
            assert exact(table[:, i], q * other, r * other)[0] < likely[g, i]


def test_no_ratio_is_more_likely_than_the_one_found() -> None:
    rng = np.random.default_rng(1)
    table = rng.normal(0, 1, (80, 20)).cumsum(0) * np.geomspace(0.01, 3, 20)
    table += rng.normal(0, 1, table.shape)
    found = concentrated_likelihood(table, fit_ratio(table))[0]
    fine = np.repeat(np.geomspace(1e-6, 1e3, 400)[:, None], 20, 1)
    assert (found >= concentrated_likelihood(table, fine)[0].max(0) - 0.01).all()


def test_variances_are_found_again() -> None:
    rng = np.random.default_rng(2)
    table = rng.normal(0, 0.5, (400, 60)).cumsum(0) + rng.normal(0, 2, (400, 60))
    ratio = fit_ratio(table)
    assert np.median(ratio) == pytest.approx(0.25 / 4, rel=0.2)
    assert np.median(concentrated_likelihood(table, ratio)[1]) == pytest.approx(4, rel=0.1)


def test_the_forecast_is_flat_and_its_variance_grows_by_the_walk() -> None:
    rng = np.random.default_rng(3)
    y = 100 + rng.normal(0, 1, 60).cumsum() + rng.normal(0, 1, 60) + 0.5
    model = LocalLevel(h=9, ratio=0.8)
    forecast = model.predict(panel_of(y, freq="D"), levels=[0.1, 0.5, 0.975], n_samples=20_000)
    y = y.astype(np.float32).astype(np.float64)
    noise = concentrated_likelihood(y[:, None], np.array([0.8]))[1][0]
    levels, variances = plain(y, 0.8, 1.0, 1e12)
    np.testing.assert_allclose(forecast.mean[0], levels[-1], rtol=1e-5)
    expected = (variances[-1] + 0.8 * np.arange(1, 10) + 1) * noise
    width = (forecast.quantiles[0, :, 2] - forecast.quantiles[0, :, 1]) / scipy.stats.norm.ppf(
        0.975
    )
    np.testing.assert_allclose(width**2, expected, rtol=1e-3)
    assert forecast.samples is not None
    paths = forecast.samples[0].astype(np.float64)
    np.testing.assert_allclose(paths.var(0), expected, rtol=0.05)  # 5 standard errors
    covariance = np.cov(paths.T)[0]  # of the first step and the others: the level at the first
    np.testing.assert_allclose(covariance[1:], (variances[-1] + 0.8) * noise, rtol=0.2)


def test_time_goes_on_over_a_gap() -> None:
    y = [10.0, 12.5, 11, 10.2, 9, 11, 12, 10]
    narrow, wide = (
        LocalLevel(h=1, ratio=0.5).predict(
            panel_of([*y, *[NAN] * gap], freq="D"), levels=[0.1, 0.9]
        )
        for gap in (0, 6)
    )
    np.testing.assert_allclose(narrow.mean, wide.mean)
    assert np.diff(wide.quantiles) > 1.3 * np.diff(narrow.quantiles)


def test_smooth_tells_the_level_of_every_step_by_key_and_time() -> None:
    rows = [("a", d, float(d % 3)) for d in range(1, 9)] + [("b", d, 5.5) for d in range(3, 9)]
    frame = pl.DataFrame(rows, schema=["item", "day", "sold"], orient="row").with_columns(
        day=pl.date(2024, 1, pl.col("day"))
    )
    panel: Any = demandcast.read_panel(frame, key="item", time="day", target="sold", freq="D")
    found = LocalLevel(h=1, ratio=0.3).smooth(panel)
    assert found.columns == [
        *("item", "day", "filtered", "filtered_deviation", "smoothed", "smoothed_deviation")
    ]
    assert found.select("item", "day").equals(frame.select("item", "day"))
    _, mean, variance = exact(np.array([float(d % 3) for d in range(1, 9)]), 0.3, 1.0)
    noise = concentrated_likelihood(
        np.array([[float(d % 3)] for d in range(1, 9)]), np.array([0.3])
    )[1][0]
    first = found.filter(item="a")
    np.testing.assert_allclose(first["smoothed"], mean, rtol=1e-6)
    np.testing.assert_allclose(first["smoothed_deviation"], np.sqrt(variance * noise), rtol=1e-6)
    assert first["filtered"][-1] == first["smoothed"][-1]  # at the end the two know the same
    assert first["filtered_deviation"][0] > first["smoothed_deviation"][0]
    assert (found.filter(item="b")["smoothed"] == 5.5).all()


def test_what_was_never_seen_has_no_level() -> None:
    found = LocalLevel(h=1).smooth(panel_of([NAN, NAN, 2.0, 4.0, NAN], [NAN, NAN], freq="D"))
    assert found["filtered"].is_null().to_list() == [True, True, False, False, False, True, True]
    assert found["smoothed"].is_null().to_list() == [False] * 5 + [True] * 2
    assert found["smoothed_deviation"].drop_nans().len() == 7


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match=r"ratio is -1; it must be 0 or more, or None"):
        LocalLevel(h=1, ratio=-1)
    with pytest.raises(DataError, match="read_panel"):
        LocalLevel(h=1).smooth([1, 2])  # type: ignore[arg-type]
