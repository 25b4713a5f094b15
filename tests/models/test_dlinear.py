"""DLinear and NLinear: what a linear map of the context can do, and what it begins with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.draws.tensors import TensorDraws
from demandcast.panel.panel import Panel


def lines() -> Panel:
    """Straight lines of all slopes, with a week on them."""
    day, rng = np.arange(200), np.random.default_rng(0)
    frames = [
        pl.DataFrame({"unique_id": f"s{i}", "ds": day, "y": slope * day + week[day % 7] + 50.0})
        for i, (slope, week) in enumerate(
            zip(rng.normal(0, 0.3, 12), rng.normal(0, 4, (12, 7)), strict=True)
        )
    ]
    dates = pl.col("ds").cast(pl.Int64) * 86_400_000_000
    return dc.read_panel(pl.concat(frames).with_columns(ds=dates.cast(pl.Datetime("us"))))


@pytest.mark.parametrize("kind", [dc.models.DLinear, dc.models.NLinear])
def test_lines_and_seasons_are_learned_exactly(kind: type[dc.models.DLinear]) -> None:
    panel = lines()
    known = panel.drop_last(14)
    model = kind(horizon=14, context=28, max_steps=120, learning_rate=1e-2, seed=1)
    median = model.fit(known, progress=False).predict(known, levels=[0.5]).quantiles[..., 0]
    truth = known.future_target(14)
    naive = dc.local.SeasonalNaive(horizon=14).fit(known).predict(known, levels=[0.5])
    error = np.abs(median - truth).mean()
    # the season is repeated exactly; what the naive misses is the slope
    assert error < 0.1 * np.abs(naive.quantiles[..., 0] - truth).mean()


@pytest.mark.parametrize("kind", [dc.models.DLinear, dc.models.NLinear])
def test_the_first_forecast_is_the_season_repeated(kind: type[dc.models.DLinear]) -> None:
    panel = lines()
    network, source, _ = kind(horizon=10, context=28).build(panel)
    network.eval()
    window = source.latest(torch.arange(3))
    levels = torch.tensor([0.5])
    median, _, _ = network.predict(window, levels, 0, TensorDraws.of(pl.DataFrame({"key": [0]}), 0))
    season = window.past_target[:, -7:].repeat(1, 2)[:, :10]
    torch.testing.assert_close(median[..., 0], season, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [dc.models.DLinear, dc.models.NLinear])
def test_a_horizon_of_whole_seasons_is_read_from_four(kind: type[dc.models.DLinear]) -> None:
    """Of the longest season that the horizon holds; a third of the history at most."""
    hours = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 12, 31, 23), "1h", eager=True)
    panel = dc.read_panel(pl.DataFrame({"ds": hours, "y": np.arange(len(hours)) % 24 * 1.0}))
    assert len(hours) == 8784
    contexts = {h: kind(horizon=h).build(panel)[2].context for h in (24, 48, 167, 168, 200)}
    assert contexts == {24: 168, 48: 168, 167: 334, 168: 672, 200: 672}
    short = panel.drop_last(8784 - 1500)
    assert kind(horizon=168).build(short)[2].context == 500


def test_nlinear_moves_with_the_last_value() -> None:
    """Zeng et al.: a series that has moved up is forecast as far up, whatever the weights."""
    panel = lines()
    network, source, _ = dc.models.NLinear(horizon=5, context=12, scaling="none").build(panel)
    with torch.no_grad():
        network.get_parameter("linear.weight").add_(0.3 * torch.randn(5, 12))
    window = source.latest(torch.arange(3))
    higher = replace(window, past_target=window.past_target + 100)
    middle = network.likelihood.middle  # type: ignore[attr-defined]
    torch.testing.assert_close(
        network(higher)[..., middle], network(window)[..., middle] + 100, rtol=1e-4, atol=1e-3
    )


def test_a_moving_average_needs_a_middle() -> None:
    with pytest.raises(dc.errors.ConfigError, match="trend_width is 24; it must be an odd number"):
        dc.models.DLinear(horizon=3, trend_width=24)
