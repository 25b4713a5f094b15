"""Implicit quantiles: any level is answered, in order, by weights that a network trains and saves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.draws.tensors import TensorDraws
from demandcast.frames.examples import retail
from demandcast.likelihoods import ImplicitQuantile
from demandcast.panel.panel import Panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    return dc.read_panel(
        retail(n_items=5, n_days=100, seed=1).frame, key="item", time="date", target="units"
    )


def law() -> ImplicitQuantile:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return ImplicitQuantile()


def test_quantiles_are_those_of_the_draws_where_the_function_turns() -> None:
    """Hidden numbers of any sign make functions that fall; what is returned is their rearrangement."""
    made, generator = law().requires_grad_(False), torch.Generator().manual_seed(1)
    params = 20 * torch.randn(4, made.n_params, generator=generator)
    scale = torch.full((4,), 3.0)
    raw = params[:, 1:] @ made.basis(made.grid(params.device)).T
    assert (raw.diff(dim=-1) < 0).any(-1).all()
    levels = torch.tensor([0.05, 0.3, 0.5, 0.7, 0.95])
    values = made.quantile(params, scale, levels)
    assert (values.diff(dim=-1) >= 0).all()
    draws = made.sample(
        params.expand(40_000, 4, -1),
        scale.expand(40_000, 4),
        TensorDraws.of(pl.DataFrame({"key": ["a"]}), 1),
    )
    reached = (draws[..., None] <= values).float().mean(0)
    # 0.02: 5 standard errors, and the grid of 256 levels
    np.testing.assert_allclose(reached, levels.expand(4, -1), atol=0.02)


def test_a_mixture_is_learned() -> None:
    """Two lumps, by gradient steps on h, phi and v together; no two-parameter law has them."""
    made, generator = law(), torch.Generator().manual_seed(0)
    side = torch.rand(400, generator=generator) < 0.3
    y = torch.where(side, -2.0, 3.0) + 0.3 * torch.randn(400, generator=generator)
    params = torch.tensor(made.still)[None].requires_grad_()
    adam = torch.optim.Adam([params, *made.parameters()], lr=0.03)
    ones, seen = torch.ones(400), torch.ones(400, dtype=torch.bool)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        for _ in range(200):
            adam.zero_grad()
            made.loss(params.expand(400, -1), y, ones, observed=seen).mean().backward()
            adam.step()
    levels = torch.tensor([0.1, 0.2, 0.4, 0.6, 0.9])
    learned = made.quantile(params, torch.ones(1), levels)[0].detach()
    np.testing.assert_allclose(learned, np.quantile(y.numpy(), levels.numpy()), atol=0.35)


def test_evaluation_draws_no_levels() -> None:
    made = law().eval()
    params, y = torch.randn(3, made.n_params), torch.tensor([1.0, 0.0, -4.0])
    first, second = (made.log_prob(params, y, torch.ones(3)) for _ in range(2))
    assert torch.equal(first, second)
    values = made.quantile(params, torch.ones(3), made.grid(params.device)).detach()
    assert values.shape == (3, 256)


def test_a_model_trains_and_saves_its_weights(panel: Panel, tmp_path: Path) -> None:
    known = panel.drop_last(7)
    options = {"horizon": 7, "context": 28, "max_steps": 20, "likelihood": "implicit_quantile"}
    model = dc.models.NHITS(**options).fit(known, progress=False)
    begun, _, _ = dc.models.NHITS(**options).build(known)
    assert model.network is not None
    learned, first = model.network.state_dict(), begun.state_dict()
    for name in ("likelihood.phi.weight", "likelihood.out.weight"):
        assert not torch.equal(learned[name], first[name])
    model.save(tmp_path)
    np.testing.assert_array_equal(
        dc.load(tmp_path).predict(known).quantiles, model.predict(known).quantiles
    )


@pytest.mark.parametrize("likelihood", ["implicit_quantile", "spline_quantile", "tweedie"])
def test_paths_are_drawn_from_it(likelihood: str, panel: Panel) -> None:
    before = torch.get_rng_state()
    model = dc.models.DeepAR(horizon=5, context=28, max_steps=5, likelihood=likelihood)
    forecast = model.fit(panel, progress=False).predict(panel, n_samples=30)
    assert torch.equal(torch.get_rng_state(), before)
    assert forecast.samples is not None
    assert np.isfinite(forecast.samples).all()
    above = forecast.mean > 0  # a few steps may lie at the floor of 0 in every path
    assert above.mean() > 0.5
    assert (forecast.samples.std(1)[above] > 0).all()
