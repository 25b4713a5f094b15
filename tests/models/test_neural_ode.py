"""What the neural ODE claims: gaps are flowed over and not filled, and solvers and gradients agree."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import demandcast as dc
from demandcast.cli.options import hyperparameters
from demandcast.errors import ConfigError, MissingExtraError
from demandcast.models.neural_ode import (
    ADAPTIVE,
    FIXED,
    Flow,
    NeuralODEConfig,
    NeuralODENetwork,
    SeasonalMean,
)
from demandcast.panel.panel import Panel
from demandcast.windows.window import Window


@pytest.fixture(scope="module")
def holed(promotions: Panel) -> Panel:
    """The promotions with 30 % of the steps gone."""
    target = promotions.target.copy()
    target[np.random.default_rng(2).random(len(target)) < 0.3] = np.nan
    return replace(promotions, target=target).drop_last(14)


def built(panel: Panel, **hyper: Any) -> tuple[NeuralODENetwork, Window]:
    """A network whose last layers are not still, and the panel's last training windows."""
    model = dc.models.NeuralODE(horizon=14, context=42, **hyper)
    network, source, plan = model.build(panel)
    assert isinstance(network, NeuralODENetwork)
    with torch.no_grad():
        for i, weight in enumerate(network.parameters()):
            noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(i))
            weight += 0.1 * noise
    ends = source.lengths
    window = source.windows(torch.arange(panel.n_series), ends - plan.horizon, ends)
    return network.eval(), window


def flow(**hyper: Any) -> Flow:
    torch.manual_seed(0)
    made = Flow(4, NeuralODEConfig(horizon=1, **hyper)).double()
    with torch.no_grad():
        made.field[2].weight.mul_(20)
    return made


def double(window: Window) -> Window:
    return replace(
        window,
        **{k: v.double() for k, v in vars(window).items() if v.is_floating_point()},
    )


def test_a_linear_field_decays_as_its_solution_says() -> None:
    """dz/dt = -z: z(t) = z(0) exp(-t); one step of rk4 errs by t^5 / 120."""
    made = flow(method="rk4")
    made.field = torch.nn.Linear(4, 4).double()  # type: ignore[assignment]
    with torch.no_grad():
        made.field.weight.copy_(-torch.eye(4))
        made.field.bias.zero_()
    z, times = torch.randn(3, 4).double(), torch.linspace(0, 1, 11).double()
    found = made(z, times, torch.ones(()).double())
    wanted = z * torch.exp(-times)[:, None, None]
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_rows_run_at_a_pace_of_their_own() -> None:
    """A pace of 2 goes in one unit of time where a pace of 1 goes in two, a pace of 0 nowhere."""
    made, z = flow(method="rk4"), torch.randn(1, 4).double()
    fine = torch.linspace(0, 1, 41).double()
    pace = torch.tensor([[0.0], [1.0], [2.0]]).double()
    still, once, twice = made(z.expand(3, -1), fine, pace)[-1]
    torch.testing.assert_close(still, z[0])
    torch.testing.assert_close(made(once[None], fine, torch.ones(()))[-1, 0], twice)


@pytest.mark.parametrize("method", [*FIXED, *ADAPTIVE])
def test_every_solver_comes_to_the_same_place(method: str) -> None:
    made = flow(method=method, rtol=1e-5, atol=1e-6)
    exact = flow(method="dopri8", rtol=1e-10, atol=1e-12)
    z, times = torch.randn(5, 4).double(), torch.linspace(0, 1, 201).double()
    one = torch.ones(()).double()
    tolerance = 1e-2 if method == "euler" else 2e-3  # as 1 / 200, and as rtol adds up
    torch.testing.assert_close(
        made(z, times, one)[-1], exact(z, times, one)[-1], rtol=tolerance, atol=tolerance
    )


def gradients(panel: Panel, **hyper: Any) -> dict[str, Tensor]:
    network, window = built(panel, **hyper)
    network.double()
    network.loss(double(window)).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("method", "jump", "tolerance"), [("rk4", 1, 1e-5), ("rk4", 8, 1e-2), ("dopri5", 8, 1e-4)]
)
def test_the_adjoint_gives_the_same_gradient(
    holed: Panel, method: str, jump: int, tolerance: float
) -> None:
    """Of every parameter, relative to its largest entry.

    rk4 solves the adjoint with the steps of the state, which errs as rk4 does, by their fifth power: a
    jump of 8 values leaves one step of nearly the horizon's length. dopri5 errs by its tolerances.
    """
    options: dict[str, Any] = {
        "method": method, "jump": jump, "rtol": 1e-7, "atol": 1e-9, "observations": 16,
    }  # fmt: skip
    straight = gradients(holed, adjoint=False, **options)
    adjoint = gradients(holed, adjoint=True, **options)
    assert straight.keys() == adjoint.keys()
    for name, gradient in straight.items():
        apart = (gradient - adjoint[name]).abs().max() / gradient.abs().max()
        assert apart < tolerance, name
    assert any((gradient != adjoint[name]).any() for name, gradient in straight.items())


def test_what_was_not_observed_is_not_read(holed: Panel) -> None:
    network, window = built(holed)
    other = torch.where(window.past_observed, window.past_target, 1e6)
    assert not torch.equal(other, window.past_target)
    first, second = network(window), network(replace(window, past_target=other))
    assert torch.equal(first, second)


def test_when_a_value_was_observed_matters(holed: Panel) -> None:
    """The same values, the second to last one 3 steps earlier: another state at the cutoff."""
    network, window = built(holed, jump=1)
    x = network.scale_context(window)
    read, steps, seen = network.observations(window, x)
    moved = steps.clone()
    moved[:, :-1] += 3
    first = network.encoder(read, steps, seen, 14.0)
    second = network.encoder(read, moved, seen, 14.0)
    assert ((first - second).abs().amax(1) > 1e-6).all()
    whole = network.encoder(read, 2 * steps, seen, 28.0)  # the same times in another unit
    torch.testing.assert_close(first, whole)


@pytest.mark.parametrize("jump", [1, 4])
def test_the_encoder_is_the_loop_of_the_paper(holed: Panel, jump: int) -> None:
    """Algorithm 1 over one series, only what was observed, a gap at a time."""
    network, window = built(holed, jump=jump, observations=12)
    x = network.scale_context(window)
    read, steps, seen = network.observations(window, x)
    assert seen.all()
    found = network.encoder(read, steps, seen, 14.0)
    row, encoder, ends = 3, network.encoder, torch.tensor([0.0, 1.0])
    at = window.past_observed[row].nonzero()[-12:, 0]
    assert (steps[row] == 41 - at).all()
    state, before = torch.zeros(1, network.config.hidden), None
    for part in range(0, 12, jump):
        now = float(at[part + jump - 1])
        if before is not None:
            state = encoder.flow(state, ends, torch.tensor([[(now - before) / 14]]))[-1]
        offset = (at[part : part + jump] - now)[:, None] / 14
        inputs = torch.cat([read[row, part : part + jump], offset, torch.ones(jump, 1)], 1)
        state, before = encoder.cell(inputs.view(1, -1), state), now
    state = encoder.flow(state, ends, torch.tensor([[(41 - now) / 14]]))[-1]
    torch.testing.assert_close(found[row], state[0], rtol=1e-4, atol=1e-5)


def test_seasons_give_way_to_one_another() -> None:
    """A missing value of last season is not filled: the season before takes its place."""
    mean = SeasonalMean(28, 7, "D")
    x = torch.arange(28.0)[None]
    observed = torch.ones(1, 28, dtype=torch.bool)
    first = mean(x, observed)
    places = torch.tensor([[0.0, 7.0, 14.0, 21.0]])
    weights = torch.exp(torch.tensor([-3.0, -2.0, -1.0, 0.0]))
    wanted = ((places + torch.arange(7)[:, None]) * weights).sum(1) / weights.sum()
    torch.testing.assert_close(first[0], wanted, rtol=0.02, atol=0.02)
    observed[0, 21] = False  # the first step's last season
    second = mean(torch.where(observed, x, 1e6), observed)
    torch.testing.assert_close(second[0, 1:], first[0, 1:], rtol=0.02, atol=0.02)
    left = (places[0, :3] * weights[:3]).sum() / weights[:3].sum()
    torch.testing.assert_close(second[0, 0], left, rtol=0.05, atol=0.05)
    assert (mean(x, torch.zeros_like(observed)) == 0).all()


def test_promotions_are_placed_where_steps_are_missing(holed: Panel, promotions: Panel) -> None:
    model = dc.models.NeuralODE(horizon=14, context=28, max_steps=80, rate=1e-2, batch_size=32)
    median = model.fit(holed, progress=False).predict(holed).quantile(0.5)
    truth = promotions.drop_last(14).future_target(14)
    # an ideal forecast errs by the noise, .8 a day; one that sees no promotions by 6 and more
    assert np.abs(median - truth).mean() < 3.0


@pytest.mark.parametrize("likelihood", ["student_t", "normal", "quantile", "negative_binomial"])
def test_every_kind_of_likelihood_is_learned(likelihood: str, holed: Panel) -> None:
    panel = replace(holed, target=np.round(holed.target))
    hyper = {"likelihood": likelihood, "max_steps": 25, "batch_size": 16}
    model = dc.models.NeuralODE(horizon=7, context=14, **hyper)
    forecast = model.fit(panel, progress=False).predict(panel, n_samples=50)
    assert forecast.samples is not None
    assert forecast.samples.shape == (8, 50, 7)
    assert np.isfinite(forecast.quantiles).all()


def test_steps_of_a_path_belong_together(holed: Panel) -> None:
    """One draw of the state flows over the whole horizon, so that what it moves moves jointly."""
    network, window = built(holed)
    with torch.no_grad():
        mean, deviation, decode = network.encode_state(window)
        noise = torch.randn(len(window), 500, mean.shape[-1])
        params = decode(mean[:, None] + deviation.exp()[:, None] * noise)
    middle = params[0, :, :, network.likelihood.middle]  # type: ignore[attr-defined]
    correlation = np.corrcoef(middle.numpy().T)
    assert np.abs(np.diag(correlation, 1)).min() > 0.5


def test_rate_is_the_learning_rate() -> None:
    assert dc.models.NeuralODE(horizon=3, rate=0.02).config.learning_rate == 0.02
    with pytest.raises(ConfigError, match="give one of them"):
        dc.models.NeuralODE(horizon=3, rate=0.02, learning_rate=0.01)
    said = hyperparameters(["neural_ode"], ["rate=0.02", "method=dopri5"], seed=0)["neural_ode"]
    assert dc.models.NeuralODE(horizon=3, **said).config.learning_rate == 0.02


def test_solvers_there_are_not_are_named() -> None:
    with pytest.raises(ConfigError, match=r"method is 'rk5'; .*It must be one of .*rk4.*dopri5"):
        dc.models.NeuralODE(horizon=3, method="rk5")
    with pytest.raises(ConfigError, match="jump is 0"):
        dc.models.NeuralODE(horizon=3, jump=0)


def test_a_missing_solver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    panel = dc.read_panel(pl.DataFrame({"ds": range(40), "y": range(40)}), key=[])
    with pytest.raises(MissingExtraError, match=r"pip install 'demandcast\[ode\]'"):
        dc.models.NeuralODE(horizon=3, max_steps=1).fit(panel, progress=False)
