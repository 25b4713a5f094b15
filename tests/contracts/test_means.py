"""The mean of every method is one that a distribution with its quantiles can have."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast import registry
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping, mean_bounds
from demandcast.forecaster import Forecaster
from demandcast.frames import read_panel
from demandcast.models.base import NeuralForecaster
from demandcast.panel.panel import Panel

HORIZON = 7
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
FOR_COUNTS, COUNTS = ("damped_counts", "gamma_poisson", "multi_stage"), [2, 3, 4, 5]


@pytest.fixture(scope="module")
def shops() -> Panel:
    """Shops with promotions and closed Sundays, counts from rare to many, smooth sales."""
    rng = np.random.default_rng(0)
    days, steps = 140, np.arange(140)
    open_ = (steps % 7 != 6).astype(float)
    promo = ((steps // 14) % 2 == 0) * open_
    week = 1 + 0.3 * np.sin(2 * np.pi * steps / 7)
    rows = [
        *(level * open_ * (1 + 0.6 * promo) * rng.lognormal(0, 0.25, days) for level in (30, 6e3)),
        *(rng.poisson(rate, days) for rate in (0.1, 0.8, 5.0)),
        (rng.random(days) < 0.15) * rng.negative_binomial(1, 0.1, days),
        *(level * week * rng.lognormal(0, 0.1, days) for level in (1.0, 400.0)),
    ]
    frame = pl.DataFrame(
        {
            "item": np.repeat(np.arange(len(rows)), days),
            "date": pl.date_range(
                dt.date(2024, 1, 1), dt.date(2024, 1, 1) + dt.timedelta(days - 1), eager=True
            ).to_list()
            * len(rows),
            "units": np.concatenate(rows).round(2),
            "promo": np.tile(promo, len(rows)),
            "open": np.tile(open_, len(rows)),
        }
    )
    return read_panel(
        frame, key="item", time="date", target="units", freq="D", known=["promo", "open"]
    ).drop_last(HORIZON)


@pytest.fixture(scope="module")
def counts(shops: Panel) -> Panel:
    return shops.select([2, 3, 4, 5])


def small(name: str) -> Forecaster:
    hyper: dict[str, Any] = {}
    if issubclass(registry.get(name), NeuralForecaster):
        hyper = {"max_steps": 4, "batch_size": 8, "context": 28, "seed": 3}
    elif name == "lightgbm":
        hyper = {"trees": 40, "rows": 3000}
    elif name == "auto":
        hyper = {"budget": "4 steps", "include": ("seasonal_naive", "tsb", "nlinear")}
    return registry.create(name, horizon=HORIZON, **hyper)


@pytest.mark.parametrize("name", registry.names())
def test_the_mean_is_one_that_the_quantiles_allow(name: str, shops: Panel) -> None:
    panel = shops.select(COUNTS) if name in FOR_COUNTS else shops
    forecast = small(name).fit(panel).predict(panel, levels=LEVELS)
    quantiles = forecast.quantiles.astype(np.float64)
    least, _ = mean_bounds(quantiles, LEVELS, floor=0.0)
    slack = 1e-3 * np.abs(quantiles).max(-1) + 1e-6  # of the sum over levels that a mean is
    impossible = forecast.mean < least - slack
    assert not impossible.any(), (
        f"{impossible.sum()} of {impossible.size} means lie below the least that the quantiles allow"
    )


@pytest.mark.parametrize("name", ["deepar", "neural_ode"])
def test_a_mean_of_paths_is_that_of_the_paths_shown(name: str, shops: Panel) -> None:
    """However few: where draws below 0 are raised to it, the mean is raised as much."""
    rng = np.random.default_rng(1)
    target = np.where(
        rng.random(shops.target.shape) < 0.7, 0.0, 0.1 + rng.random(shops.target.shape)
    )
    panel = replace(shops, target=target.astype(np.float32))
    forecast = small(name).fit(panel).predict(panel, levels=LEVELS, n_samples=7)
    assert forecast.samples is not None
    assert (forecast.samples == 0).any()
    np.testing.assert_allclose(forecast.mean, forecast.samples.mean(1), rtol=1e-5, atol=1e-6)


def test_bounds_of_the_mean_are_those_of_the_two_step_functions() -> None:
    least, largest = mean_bounds(np.array([[2.0, 4.0], [0.0, 0.0]]), (0.25, 0.5), floor=0.0)
    np.testing.assert_allclose(least, [0.25 * 2 + 0.5 * 4, 0])
    assert np.isinf(largest).all()
    least, largest = mean_bounds(np.array([2.0, 4.0]), (0.25, 0.5), ceiling=10.0)
    assert least == -np.inf
    np.testing.assert_allclose(largest, 0.25 * 2 + 0.25 * 4 + 0.5 * 10)


def test_values_kept_above_the_floor_raise_the_mean() -> None:
    scores = np.array([NormalDist().inv_cdf(level) for level in MEAN_LEVELS])
    none, half, far = mean_after_clipping(
        np.zeros(3), np.tile(scores, (3, 1)), [-np.inf, 0.0, -9.0]
    )
    assert (none, far) == (0, 0)
    assert half == pytest.approx(1 / np.sqrt(2 * np.pi), rel=2e-3)  # E max(Z, 0)
    narrow = 0.3 + 0.01 * scores  # all of it rounds to 0
    assert mean_after_clipping(
        np.array(0.3), narrow, np.array(0.0), np.array(True)
    ) == pytest.approx(0)
