"""What NHITS, TiDE, TSMixer, PatchTST and TFT claim: covariates are placed, and the parts are what the papers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast import likelihoods
from demandcast.draws.tensors import TensorDraws
from demandcast.models.config import Plan
from demandcast.models.nhits import Block
from demandcast.models.tsmixer import TimeMixing
from demandcast.panel.panel import Panel

WITH_COVARIATES = (dc.models.NHITS, dc.models.TiDE, dc.models.TSMixer, dc.models.TFT)
ALL = (*WITH_COVARIATES, dc.models.PatchTST)


@pytest.mark.parametrize("kind", WITH_COVARIATES)
def test_promotions_known_ahead_are_placed(kind: type[dc.models.TiDE], promotions: Panel) -> None:
    known = promotions.drop_last(14)
    hyper = {
        dc.models.NHITS: {"max_steps": 300, "batch_size": 32, "learning_rate": 5e-3},
        dc.models.TFT: {"max_steps": 60, "batch_size": 16, "learning_rate": 1e-2, "hidden": 16},
    }.get(kind, {"max_steps": 100, "batch_size": 16, "learning_rate": 1e-2})
    model = kind(horizon=14, context=28, seed=0, **hyper)
    median = model.fit(known, progress=False).predict(known, levels=[0.5]).quantiles[..., 0]
    truth = known.future_target(14)
    # an ideal forecast errs by the noise, .8 a day; one that sees no promotions by 6 and more
    assert np.abs(median - truth).mean() < 3.0


@pytest.mark.parametrize("kind", ALL)
def test_the_first_forecast_is_the_season_repeated(
    kind: type[dc.models.TiDE], promotions: Panel
) -> None:
    network, source, _ = kind(horizon=10, context=28).build(promotions)
    network.eval()
    window = source.latest(torch.arange(3))
    median, _, _ = network.predict(
        window, torch.tensor([0.5]), 0, TensorDraws.of(pl.DataFrame({"key": [0]}), 0)
    )
    season = window.past_target[:, -7:].repeat(1, 2)[:, :10]
    torch.testing.assert_close(median[..., 0], season, rtol=1e-4, atol=1e-4)


OTHERS = sorted(set(likelihoods.names()) - {"quantile"})


@pytest.mark.parametrize(  # every likelihood with two or three networks, every network with half of them
    ("kind", "likelihood"),
    [(k, name) for i, k in enumerate(ALL) for j, name in enumerate(OTHERS) if (i + j) % 2 == 0],
)
def test_every_kind_of_likelihood_is_learned(
    kind: type[dc.models.TiDE], likelihood: str, promotions: Panel
) -> None:
    panel = replace(promotions, target=np.round(promotions.target)).drop_last(7)
    small = {"width": 16} if kind is dc.models.PatchTST else {"hidden": 16}
    hyper = {"max_steps": 25, "batch_size": 8, "learning_rate": 1e-2, "likelihood": likelihood}
    model = kind(horizon=7, context=14, **hyper, **small)
    forecast = model.fit(panel, progress=False).predict(panel)
    assert np.isfinite(forecast.quantiles).all()
    assert model.log is not None
    assert model.log.losses[-1][1] < 8  # nats a step


def test_blocks_forecast_by_knots_and_interpolation() -> None:
    """Section 3.3: a block of stride s has horizon / s coefficients, straight lines between them."""
    likelihood = dc.models.NHITS(horizon=24).make_likelihood(
        dc.models.NHITS.Config(horizon=24), None
    )
    plan = Plan(dc.models.NHITS.Config(horizon=24, context=48), "D")
    block = Block(plan, 3, likelihood, pool=4, stride=8, last=False)
    with torch.no_grad():
        block.forecast.weight.normal_()
    assert block.forecast.steps == 3
    assert block.mlp[0].in_features == 48 // 4 + 3
    _, ahead = block(torch.randn(2, 48), torch.randn(2, 3))
    assert ahead.shape == (2, 24, likelihood.n_params)
    bend = ahead.diff(n=2, dim=1).abs().amax((0, 2))  # (22,): 0 where the line is straight
    assert int((bend > 1e-4).sum()) <= 2 * 3


def test_time_mixing_is_shared_by_the_inputs_of_a_step() -> None:
    """Section 3.2: inputs that are shuffled come out shuffled."""
    layer = TimeMixing(12, 5, 0.0)
    x, order = torch.randn(2, 12, 5), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(layer(x)[..., order], layer(x[..., order]))


def test_nhits_names_half_a_block() -> None:
    with pytest.raises(dc.errors.ConfigError, match=r"pools=\(2, 1\) and strides=\(4, 2, 1\)"):
        dc.models.NHITS(horizon=7, pools=(2, 1), strides=(4, 2, 1))


def test_patches_end_at_the_cutoff(promotions: Panel) -> None:
    """Section 3.1: (context - patch) / stride + 1 of them, one more where the first is filled up."""
    for context, patches, missing in ((32, 3, 0), (28, 3, 4), (10, 1, 6)):
        model = dc.models.PatchTST(horizon=7, context=context, patch=16, stride=8)
        network, source, _ = model.build(promotions)
        assert network.get_parameter("position").shape == (patches, 64)
        assert network.missing == missing
        assert network(source.latest(torch.arange(2))).shape == (2, 7, 11)


def test_patches_leave_no_step_out() -> None:
    with pytest.raises(dc.errors.ConfigError, match="stride is 20 and patch 16"):
        dc.models.PatchTST(horizon=7, stride=20)
    with pytest.raises(dc.errors.ConfigError, match="5 heads cannot share"):
        dc.models.PatchTST(horizon=7, heads=5)


def test_tide_decodes_each_step_with_its_own_covariates(promotions: Panel) -> None:
    """Section 4.2: the temporal decoder reads the projected covariates of the step it decodes."""
    network, source, plan = dc.models.TiDE(horizon=7, context=28).build(promotions)
    network.eval()
    window = source.latest(torch.arange(3))
    features = window.features.clone()
    features[:, plan.context + 4] += 1.0
    with torch.no_grad():
        network.dense[-1].weight.zero_()  # what the encoder says is the same now at all times
        network.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        before, after = network(window), network(replace(window, features=features))
    changed = (before - after).abs().amax((0, 2)) > 1e-4  # (horizon,)
    assert changed.tolist() == [step == 4 for step in range(7)]
