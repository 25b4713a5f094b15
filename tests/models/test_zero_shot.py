"""What docs/models/zero_shot.md claims: nothing to train, any horizon, any scale, covariates in any order."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.errors import CheckpointError, ConfigError, DataError
from demandcast.models.zero_shot import ZeroShot
from demandcast.panel.panel import Panel
from demandcast.pretrained.fine_tune import held_out_loss
from demandcast.pretrained.inputs import Histories
from demandcast.pretrained.weights import WEIGHTS, read_network
from demandcast.pretrained.zero_shot_network import PRETRAINED_LEVELS, ZeroShotNetwork
from demandcast.train.checkpoint import write_tensors


def table(values: np.ndarray, **known: np.ndarray) -> pl.DataFrame:
    """Daily series (series, steps); covariates known ahead may be longer than they are."""
    n, steps = values.shape
    longest = max([steps, *(v.shape[1] for v in known.values())])
    start = np.datetime64("2024-01-01", "D")
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat([f"s{i}" for i in range(n)], longest),
            "ds": np.tile(start + np.arange(longest), n),
            "y": np.pad(values, ((0, 0), (0, longest - steps)), constant_values=np.nan).ravel(),
        }
    )
    return frame.with_columns([pl.Series(k, v.ravel()) for k, v in known.items()]).with_columns(
        pl.col("y").fill_nan(None)
    )


def read(values: np.ndarray, **known: np.ndarray) -> Panel:
    panel = dc.read_panel(table(values, **known), freq="D", known=list(known))
    return replace(panel, lengths=np.full_like(panel.lengths, values.shape[1]))


@pytest.fixture(scope="module")
def noisy() -> Panel:
    rng = np.random.default_rng(0)
    week = 1 + 0.5 * np.sin(2 * np.pi * np.arange(200) / 7)
    return read(10 * week * rng.gamma(20, 1 / 20, (5, 200)))


def test_nothing_is_fitted(noisy: Panel) -> None:
    fresh = ZeroShot(horizon=14).predict(noisy)
    fitted = ZeroShot(horizon=14).fit(noisy).predict(noisy)
    np.testing.assert_array_equal(fresh.quantiles, fitted.quantiles)


def test_a_week_that_repeats_itself_goes_on() -> None:
    week = np.array([5.0, 7.0, 6.0, 8.0, 12.0, 20.0, 3.0]) + 0.25
    values = np.tile(week, 12)[None] * np.array([[1.0], [30.0]])
    forecast = ZeroShot(horizon=14).predict(read(values))
    wanted = np.tile(week, 2) * np.array([[1.0], [30.0]])
    error = np.abs(forecast.quantile(0.5) - wanted).mean(1) / wanted.mean(1)
    repeated = np.abs(values[:, -1:] - wanted).mean(1) / wanted.mean(1)
    assert (error < 0.1).all()
    assert (error < 0.2 * repeated).all()


def test_the_unit_does_not_matter(noisy: Panel) -> None:
    large = replace(noisy, target=noisy.target * 1000)
    small, big = (ZeroShot(horizon=14).predict(p).quantiles for p in (noisy, large))
    np.testing.assert_allclose(big / 1000, small, rtol=1e-3, atol=1e-3)


def test_steps_do_not_see_each_other_and_intervals_do_not_collapse() -> None:
    rng = np.random.default_rng(1)
    walk = read(100 + rng.normal(0, 1, (20, 300)).cumsum(1))
    near, far = (ZeroShot(horizon=h).predict(walk, levels=(0.1, 0.5, 0.9)) for h in (7, 150))
    np.testing.assert_allclose(far.quantiles[:, :7], near.quantiles, rtol=1e-4, atol=1e-3)
    width = (far.quantiles[..., 2] - far.quantiles[..., 0]).mean(0)
    assert width[140:].mean() > width[60:70].mean() > width[:5].mean()


def test_covariates_are_read_in_any_order_and_used() -> None:
    rng = np.random.default_rng(2)
    promo = (rng.random((6, 214)) < 0.2).astype(float)
    other = rng.normal(size=(6, 214))
    y = (10 + 10 * promo[:, :200]) * rng.gamma(50, 1 / 50, (6, 200))
    model = ZeroShot(horizon=14)
    one = model.predict(read(y, promo=promo, other=other)).quantile(0.5)
    two = model.predict(read(y, other=other, promo=promo)).quantile(0.5)
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)
    on, off = one[promo[:, 200:] == 1].mean(), one[promo[:, 200:] == 0].mean()
    assert on > 1.5 * off  # twice as much in truth


def test_histories_may_be_empty_short_or_constant() -> None:
    values = np.full((4, 40), np.nan)
    values[1, -1], values[2], values[3, -3:] = 4.0, 7.0, (1.0, 2.0, 3.0)
    forecast = ZeroShot(horizon=5).predict(read(values))
    assert np.isfinite(forecast.quantiles).all()
    assert np.abs(forecast.quantile(0.5)[2] - 7).max() < 0.5
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()


def test_paths_follow_the_quantiles_and_hang_together() -> None:
    rng = np.random.default_rng(3)
    walk = read(np.abs(200 + rng.normal(0, 2, (10, 300)).cumsum(1)))
    levels = (0.1, 0.5, 0.9)
    forecast = ZeroShot(horizon=10).predict(walk, levels=levels, n_samples=400)
    assert forecast.samples is not None
    found = np.quantile(forecast.samples, levels, axis=1).transpose(1, 2, 0)
    spread = forecast.quantiles[..., 2] - forecast.quantiles[..., 0]
    assert np.abs(found - forecast.quantiles).mean() < 0.05 * spread.mean()
    steps = forecast.samples - forecast.samples.mean(1, keepdims=True)
    linked = (steps[..., 8] * steps[..., 9]).mean(1) / (steps[..., 8].std(1) * steps[..., 9].std(1))
    assert linked.mean() > 0.6  # a walk's neighbours move together


@pytest.fixture(scope="module")
def learned(noisy: Panel) -> ZeroShot:
    return ZeroShot(horizon=7).fine_tune(noisy, "20 steps", batch_size=16, progress=False)


@pytest.fixture
def tuned(learned: ZeroShot) -> ZeroShot:
    return deepcopy(learned)


def test_a_longer_budget_of_fine_tuning_is_kept_only_where_it_helps(
    noisy: Panel, tuned: ZeroShot
) -> None:
    held = held_out_loss(noisy, context=1024, horizon=7)
    assert held(tuned.pretrained) <= held(ZeroShot(horizon=7).pretrained)
    fresh = ZeroShot(horizon=7).predict(noisy)
    np.testing.assert_array_equal(tuned.fit(noisy).predict(noisy).quantiles, fresh.quantiles)


def test_fit_goes_on_learning_where_it_is_told_to_and_repeats_to_the_bit(noisy: Panel) -> None:
    by_hand = ZeroShot(horizon=7).fine_tune(noisy, "10 steps", progress=False)
    fitted = ZeroShot(horizon=7, tune="10 steps").fit(noisy, progress=False)
    assert fitted.tuned is not None
    assert fitted.improved == by_hand.improved
    np.testing.assert_array_equal(fitted.predict(noisy).quantiles, by_hand.predict(noisy).quantiles)


def test_fine_tuned_weights_are_saved(noisy: Panel, tuned: ZeroShot, tmp_path: Path) -> None:
    with torch.no_grad():
        tuned.pretrained.out.bias += 0.1  # other than those that ship, whatever was kept
    tuned.save(tmp_path)
    back = dc.load(tmp_path)
    np.testing.assert_array_equal(tuned.predict(noisy).quantiles, back.predict(noisy).quantiles)
    assert isinstance(back, ZeroShot)
    assert back.improved == tuned.improved


def test_every_parameter_gets_a_gradient() -> None:
    g = torch.Generator().manual_seed(0)
    network = ZeroShotNetwork()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=g)
    batch = Histories(
        torch.rand(8, 120, generator=g) * 9, torch.randn(8, 140, 2, generator=g),
        torch.tensor([[7, 28]]).expand(8, 2), torch.rand(8, 20, generator=g) * 9,
    )  # fmt: skip
    network.loss(batch, torch.arange(1, 21)).backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label


def test_what_is_wrong_is_said(tmp_path: Path, noisy: Panel) -> None:
    with pytest.raises(ConfigError, match="context is 4096"):
        ZeroShot(horizon=7, context=4096)
    with pytest.raises(ConfigError, match="seed is -1"):
        ZeroShot(horizon=7, seed=-1)
    with pytest.raises(DataError, match="a panel is wanted, not list"):
        ZeroShot(horizon=7).predict([1, 2, 3])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n_samples is 0"):
        ZeroShot(horizon=7).predict(noisy, n_samples=0)
    write_tensors(tmp_path / WEIGHTS, {"a": torch.zeros(2)}, {"shape": []})
    with pytest.raises(CheckpointError, match="not of this network"):
        read_network(tmp_path / WEIGHTS)


def test_the_wheel_carries_few_bytes() -> None:
    from importlib.resources import files

    assert len((files("demandcast.pretrained") / WEIGHTS).read_bytes()) < 16 * 2**20
    assert tuple(sorted(PRETRAINED_LEVELS)) == PRETRAINED_LEVELS
    assert len(PRETRAINED_LEVELS) >= 21
