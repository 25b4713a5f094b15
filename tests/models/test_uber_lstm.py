"""What the Uber papers claim: an autoencoder that learns, thinned networks that differ, intervals that hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.draws.tensors import TensorDraws
from demandcast.models.uber_lstm import UberLSTMNetwork
from demandcast.panel.panel import Panel

SMALL: dict[str, Any] = {"context": 28, "hidden": 24, "embedding": 8, "batch_size": 32}


@pytest.fixture(scope="module")
def sales() -> Panel:
    """Twelve series of a weekly wave around their level, and log-normal noise of a tenth."""
    rng, day, frames = np.random.default_rng(0), np.arange(300), []
    for i in range(12):
        wave = 1 + 0.5 * np.sin(2 * np.pi * (day + rng.integers(7)) / 7)
        units = 50 * (1 + i) * wave * rng.lognormal(0, 0.1, 300)
        stamps = np.datetime64("2023-01-01") + day
        frames.append(pl.DataFrame({"unique_id": f"{i:02}", "ds": stamps, "y": units}))
    return dc.read_panel(pl.concat(frames))


def fitted(panel: Panel, **hyper: Any) -> tuple[dc.models.UberLSTM, UberLSTMNetwork]:
    model = dc.models.UberLSTM(horizon=7, **SMALL | hyper)
    model.fit(panel, progress=False)
    assert isinstance(model.network, UberLSTMNetwork)
    return model, model.network


def test_the_autoencoder_learns_to_write_its_window_again(sales: Panel) -> None:
    """Pre-training alone: its parameters are registered and move, the forecaster's stay where they were."""
    model, network = fitted(sales, max_steps=150, learning_rate=1e-2, pretrain=0.999)
    _, source, plan = model.build(sales)
    fresh = dc.models.UberLSTM(horizon=7, **SMALL).build(sales)[0]
    moved = {
        name for (name, new), old in zip(network.named_parameters(), fresh.parameters(), strict=True)
        if not torch.equal(new, old)
    }  # fmt: skip
    assert {n for n, _ in network.named_parameters() if n.startswith("autoencoder.")} <= moved
    assert not [n for n in moved if n.startswith(("forecaster.", "ahead.", "head.", "linear."))]
    window = source.latest(torch.arange(12))
    with torch.no_grad():
        x, _, _ = network.standardise(window)
        embedding = network.autoencoder.encode(network.inputs(window, x))
        written = network.autoencoder.decode(embedding, window.features[:, : plan.context])
    assert float((written - x).square().mean()) < 0.5  # half of the variance, in 150 steps


def test_frozen_features_rest_and_finetuned_ones_go_on(sales: Panel) -> None:
    for finetune, learns in ((0.0, False), (0.1, True)):
        network, source, _ = dc.models.UberLSTM(horizon=7, finetune=finetune, **SMALL).build(sales)
        series = torch.arange(12)
        network.train()
        window = source.windows(series, source.lengths[series] - 7, source.lengths[series])
        with torch.random.fork_rng():
            network.loss(window).backward()
        grads = [p.grad is not None for p in network.autoencoder.parameters()]
        assert all(grads) if learns else not any(grads)
        assert network.forecaster.weight_hh_l0.grad is not None


def test_thinned_networks_differ_and_are_run_in_one_batch(sales: Panel) -> None:
    model, network = fitted(sales, max_steps=60, learning_rate=5e-3)
    _, source, _ = model.build(sales)
    window = source.latest(torch.arange(5))
    with torch.no_grad():
        passes, _ = network.spread(window, 6, 1)
        alone, _ = network.spread(source.latest(torch.arange(2, 3)), 6, 1)
        still, _ = network(window)
    assert passes.shape == (5, 6, 7)
    assert (passes.std(1) > 1e-4).all()
    torch.testing.assert_close(passes[2:3], alone, rtol=1e-4, atol=1e-5)
    assert float((passes.mean(1) - still).abs().mean()) < 3 * float(passes.std(1).mean())
    _, whole = fitted(sales, max_steps=5, dropout=0.0)
    with torch.no_grad():
        same, _ = whole.spread(window, 6, 1)
    torch.testing.assert_close(same, same[:, :1].expand_as(same), rtol=1e-5, atol=1e-6)


def test_the_noise_is_measured_by_step_with_its_correlations(sales: Panel) -> None:
    network = dc.models.UberLSTM(horizon=4, context=14).build(sales)[0]
    assert isinstance(network, UberLSTMNetwork)
    generator = torch.Generator().manual_seed(0)
    step = torch.tensor([0.5, 1.0, 1.5, 2.0])
    truth = 0.7 ** (torch.arange(4)[:, None] - torch.arange(4)).abs()
    normal = torch.randn(20_000, 4, generator=generator) @ torch.linalg.cholesky(truth).T
    nothing, seen = torch.zeros(20_000, 4), torch.rand(20_000, 4, generator=generator) < 0.9
    network.set_noise(normal * step, nothing, seen)
    torch.testing.assert_close(network.noise, step, rtol=0.03, atol=0)  # 18,000 errors a step
    alike = network.mixing @ network.mixing.T
    torch.testing.assert_close(alike.diagonal(), torch.ones(4))
    torch.testing.assert_close(alike, truth, rtol=0, atol=0.1)  # gaps of a tenth pull them to 0
    network.set_noise(
        normal * step, torch.full_like(normal, 0.09), seen
    )  # passes that spread by .3
    torch.testing.assert_close(network.noise, (step**2 - 0.09).sqrt(), rtol=0.03, atol=0)
    network.set_noise(normal[:3], nothing[:3], torch.zeros(3, 4, dtype=torch.bool))
    assert torch.isfinite(network.mixing).all()


def test_the_mean_is_of_the_distribution_not_the_inverse_of_a_mean(sales: Panel) -> None:
    network = dc.models.UberLSTM(horizon=4, context=14, transform="log1p").build(sales)[0]
    assert isinstance(network, UberLSTMNetwork)
    middle, sigma = torch.tensor([0.1, 0.7, 2.0]), torch.tensor([0.5, 0.3, 0.8])
    z = middle + sigma * torch.randn(400_000, 3, generator=torch.Generator().manual_seed(0))
    drawn = network.inverse_transform(z, torch.ones(3)).mean(0)
    torch.testing.assert_close(network.expected_value(middle, sigma), drawn, rtol=0.01, atol=0)
    assert (drawn > torch.expm1(middle) * 1.03).all()


def test_the_interval_holds_its_share_and_so_do_sums_of_paths(sales: Panel) -> None:
    model, _ = fitted(sales.drop_last(70), max_steps=150, learning_rate=5e-3, noise=56)
    inside, sums = [], []
    for back in range(70, 6, -7):
        part = sales.drop_last(back)
        forecast, came = model.predict(part, levels=[0.05, 0.95]), part.future_target(7)
        inside.append((forecast.quantiles[..., 0] <= came) & (came <= forecast.quantiles[..., 1]))
        assert forecast.samples is not None
        low, high = np.quantile(forecast.samples.sum(-1), [0.05, 0.95], axis=1)
        sums.append((low <= came.sum(-1)) & (came.sum(-1) <= high))
        share = (forecast.samples < forecast.quantiles[:, None, :, 0]).mean()
        assert share == pytest.approx(0.05, abs=0.01)  # paths and quantiles tell one distribution
    assert np.mean(inside) == pytest.approx(
        0.9, abs=0.05
    )  # 840 steps, and 56 days to learn it from
    assert np.mean(sums) == pytest.approx(0.9, abs=0.09)  # 120 weeks


def test_logarithms_are_for_what_is_never_negative(sales: Panel) -> None:
    signed = dc.read_panel(pl.DataFrame({"ds": range(80), "y": np.sin(np.arange(80.0))}))
    for panel, transform in ((sales, "log1p"), (signed, "none")):
        settled: Any = dc.models.UberLSTM(horizon=3).build(panel)[2].config
        assert settled.transform == transform
    with pytest.raises(dc.errors.ConfigError, match="one of auto, log1p, none"):
        dc.models.UberLSTM(horizon=3, transform="log")
    with pytest.raises(
        dc.errors.ConfigError, match="passes is 1; it must be a whole number, 2 or more"
    ):
        dc.models.UberLSTM(horizon=3, passes=1)
    with pytest.raises(dc.errors.ConfigError, match=r"models\.DeepAR"):
        dc.models.UberLSTM(horizon=3, likelihood="poisson").build(signed)


def test_quantiles_hold_the_variance_of_the_passes(sales: Panel) -> None:
    """[B], section 3.3: that of the thinned networks and that of the noise, added."""
    model, network = fitted(sales, max_steps=40, learning_rate=5e-3)
    source, plan = model.build(sales)[1:]
    window = source.latest(torch.arange(12))
    levels = torch.tensor([0.1, 0.5, 0.9])
    own = network.noise.clone()
    for noise in (torch.zeros_like(own), own):
        network.noise.copy_(noise)
        with torch.no_grad():
            quantiles, _, _ = network.predict(window, levels, 2, TensorDraws.of(sales.keys[:12], 0))
            passes, added = network.spread(window, network.config.passes, plan.config.seed)
            deviation = network.standardise(window)[2]
        z = (quantiles / window.scale[..., None]).log1p()  # (12, horizon, 3)
        sigma = (z[..., 2] - z[..., 0]) / (2 * 1.2815516) / deviation
        torch.testing.assert_close(sigma, (passes.var(1) + added**2).sqrt(), rtol=1e-3, atol=1e-5)
        assert (sigma > 1e-3).all()
