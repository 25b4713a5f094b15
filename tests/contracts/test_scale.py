"""What every method owes a series whose last steps are empty, and a target told in another unit."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import demandcast
from demandcast import registry
from demandcast.forecast.forecast import Forecast
from demandcast.models import gaps
from demandcast.models.base import Network, NeuralForecaster
from demandcast.models.multivariate import MultivariateForecaster
from demandcast.panel.panel import Panel

HORIZON, DAYS = 7, 112
NEURAL = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
COUNTS = ("damped_counts", "gamma_poisson", "multi_stage")  # take whole numbers only


def forecast_of(name: str, panel: Panel, **hyper: Any) -> Forecast:
    if name in NEURAL:
        hyper |= {"max_steps": 4, "batch_size": 8, "context": 14}
    if name == "auto":
        hyper |= {"budget": "4 steps", "include": ("seasonal_naive", "tsb", "nlinear")}
    if name == "lightgbm":
        hyper |= {"trees": 12}
    return registry.create(name, horizon=HORIZON, **hyper).fit(panel).predict(panel)


def panel_of(histories: list[np.ndarray]) -> Panel:
    rows = [
        (f"s{i}", datetime(2024, 1, 1) + timedelta(days=d), None if np.isnan(v) else float(v))
        for i, values in enumerate(histories)
        for d, v in enumerate(values)
    ]
    schema = {"key": pl.String, "time": pl.Datetime, "y": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return demandcast.read_panel(
        frame, key="key", time="time", target="y", freq="D", gaps="missing"
    )


def histories(levels: tuple[float, ...]) -> list[np.ndarray]:
    week = 1 + 0.2 * np.sin(np.arange(DAYS) * 2 * np.pi / 7)
    rng = np.random.default_rng(0)
    return [level * week * rng.lognormal(0, 0.1, DAYS) for level in levels]


@pytest.mark.parametrize("name", [name for name in registry.names() if name != "zero"])
def test_series_that_closed_are_forecast_about_their_level(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Closed for 20 and 60 days, longer than the context; beside it one with a single later value."""
    level = 128.0
    values = histories((level, level, level, 20.0, 300.0))
    values[0][-20:] = np.nan
    values[1][-60:] = np.nan
    values[2][-20:] = np.nan
    values[2][-6] = level
    gaps.warn_once.cache_clear()
    forecast = forecast_of(name, panel_of([series.round() for series in values]))
    if name in NEURAL:
        assert re.search(
            rf"{name}: [23] series hold fewer than 4 values .*\(e\.g\. s0\)", caplog.text
        )
    for found in (forecast.mean, forecast.quantile(0.5)):
        means = found[:3].mean(1)
        assert (means > level / 2).all(), means
        assert (means < level * 2).all(), means


@pytest.mark.parametrize("name", NEURAL)
def test_series_without_a_value_are_forecast_at_zero(name: str) -> None:
    values = histories((100.0, 5.0, 30.0))
    values[1][:] = np.nan
    forecast = forecast_of(name, panel_of(values))
    assert not forecast.quantiles[1].any()
    assert not forecast.mean[1].any()
    assert (forecast.mean[[0, 2]] > 0).all()


@pytest.mark.parametrize("name", NEURAL)
def test_windows_without_a_scale_do_not_enter_the_loss(name: str) -> None:
    """Whatever they hold: an error in units of a scale that is not known would outweigh all others."""
    values = histories((100.0, 5.0, 30.0, 60.0))
    values[1][:40] = np.nan
    values[3][:40] = 0.0
    panel = panel_of(values)
    hyper = {"max_steps": 1, "batch_size": 4, "context": 14, "scaling": "mean_abs"}
    model: Any = registry.create(name, horizon=HORIZON, **hyper)
    network, source, plan = model.build(panel)
    assert isinstance(network, Network)
    network.eval()
    cutoffs = torch.full((4,), 38)
    extra = model._extra_steps(plan)
    window = source.windows(
        torch.arange(4), cutoffs + extra, torch.full((4,), 60 + extra), extra=extra
    )
    axis = 2 if issubclass(registry.get(name), MultivariateForecaster) else 0
    lacking = ~window.has_scale[0, 0] if axis else ~window.has_scale[:, 0]
    assert lacking.tolist() == [False, True, False, True]
    rows = lacking[None, None] if axis else lacking[:, None]
    assert (window.future_observed & rows).any()
    spoiled = {"future_target": torch.where(rows, 1e6, window.future_target)}
    if not axis:  # where all series are read at once, the past of each is an input of the others
        spoiled["past_target"] = torch.where(rows, -1e6, window.past_target)
    with torch.no_grad():
        assert network.loss(window) == network.loss(replace(window, **spoiled))
        assert network.weight(window) == network.loss_mask(window).sum() > 0
        assert not (network.loss_mask(window).transpose(0, axis)[lacking]).any()


@pytest.mark.parametrize("name", registry.names())
def test_forecasts_come_in_the_unit_of_the_target(name: str) -> None:
    """Targets a million times smaller or a billion times larger, forecasts likewise.

    Nothing a method decides or adds has a size of its own. Amounts, for a count times a thousand is
    another thing; methods that take nothing else are exempt. Factors are powers of 2, which change no digit of a target: those of 10 do, and Adam's
    first steps make whole steps of a gradient that is nothing but rounding.
    """
    if name in COUNTS:
        pytest.skip("takes whole numbers only")
    values = histories((3.0, 30.0, 300.0, 50.0))
    values[1][np.random.default_rng(1).random(DAYS) < 0.6] = 0.0
    values[3][40:60] = np.nan
    panel = panel_of(values)
    plain = forecast_of(name, panel)
    size = np.abs(plain.quantiles).mean((1, 2)) + 1e-9
    for unit in (2.0**-20, 2.0**30):
        target = panel.target * np.float32(unit)
        scaled = forecast_of(name, replace(panel, target=target))
        off = np.abs(scaled.quantiles / unit - plain.quantiles) / size[:, None, None]
        assert off.max() < 1e-3, (unit, off.max((1, 2)))
        off = np.abs(scaled.mean / unit - plain.mean) / size[:, None]
        assert off.max() < 1e-3, (unit, off.max(1))


def test_validation_is_the_mean_over_all_values_held_out() -> None:
    """However they fall into batches, and however many of a batch were observed."""
    rng = np.random.default_rng(0)
    values = [rng.normal(50, 5, 30) for _ in range(300)]
    for series in values[:256:2]:
        series[-6:] = np.nan
    panel = panel_of([series[:30] for series in values])
    model: Any = registry.create("nlinear", horizon=HORIZON, context=14, validation=HORIZON)
    network, source, plan = model.build(panel)
    ends = source.lengths
    whole = source.windows(torch.arange(300), ends - HORIZON, ends)
    with torch.no_grad():
        found = model._validation(panel, source, network, plan)()
        assert found == pytest.approx(float(network.loss(whole)), rel=1e-5)


@pytest.mark.parametrize("name", registry.names())
def test_series_that_show_no_size_do_not_take_their_neighbours(name: str) -> None:
    """Long and short histories of zeros beside series about 150, and one of a single value.

    What is learned from the others counts for a series with a value of its own up to a few times that value.
    """
    rng = np.random.default_rng(0)
    large = [(100 * (1 + rng.random(DAYS))).round() for _ in range(5)]
    single = np.full(DAYS, np.nan)
    single[-1] = 3.0
    forecast = forecast_of(name, panel_of([np.zeros(DAYS), np.zeros(5), single, *large]))
    assert forecast.mean[:2].max() < 0.05
    assert forecast.quantile(0.9)[:2].max() < 1
    assert forecast.mean[2].max() < 12
