"""Synthetic demand: repeatable, finite, and as varied as the parts it is made of say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from demandcast.synthetic import Demand, draw
from demandcast.synthetic.components import (
    coloured_noise,
    demand_steps,
    event_flags,
    log_prices,
    poisson,
    seasonal_pattern,
)  # fmt: skip

HORIZON = 16


def drawn(seed: int = 0, batch: int = 400, *, covariates: bool = True) -> Demand:
    g = torch.Generator().manual_seed(seed)
    return draw(g, batch, 200, horizon=HORIZON, covariates=covariates)


def zeros(target: Tensor) -> Tensor:
    return (target == 0).float().mean(1)


@pytest.mark.parametrize("covariates", [True, False])
def test_the_same_seed_draws_the_same_series_whatever_else_was_drawn(covariates: bool) -> None:
    first = drawn(covariates=covariates)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    second = drawn(covariates=covariates)
    assert torch.equal(torch.get_rng_state(), before)
    for name in ("target", "known", "periods", "history"):
        one, other = getattr(first, name), getattr(second, name)
        assert torch.equal(one.nan_to_num(-7.0), other.nan_to_num(-7.0)), name
    assert not torch.equal(first.target.nan_to_num(), drawn(1).target.nan_to_num())


def test_values_are_finite_and_mostly_there() -> None:
    d = drawn()
    assert d.target.shape == (400, 200)
    assert d.known.shape == (400, 200, 3)
    assert not d.target.isinf().any()
    assert not d.known.isinf().any()
    assert d.target.isnan().float().mean() < 0.1
    assert (d.history >= 1).all()
    assert (d.history <= 200 - HORIZON).all()
    assert drawn(covariates=False).known.shape == (400, 200, 0)


def test_all_kinds_of_demand_are_there() -> None:
    d = drawn(batch=1500)
    seen = d.target.nan_to_num()
    whole = (seen % 1 == 0).all(1)
    share = zeros(d.target)
    assert 0.3 < whole.float().mean() < 0.8  # counts and rounded values, and measured ones
    assert 0.3 < (share < 0.02).float().mean() < 0.8  # never out of demand
    assert 0.1 < (share > 0.5).float().mean() < 0.4  # more steps without demand than with
    assert 0.005 < (seen < 0).any(1).float().mean() < 0.2  # not demand at all
    sizes = seen.abs().mean(1)
    assert (sizes > 1e4).any()
    assert (sizes < 0.5).any()


def test_covariates_tell_of_the_target() -> None:
    """A regression on them explains more of the series than one on those of another series."""
    d = drawn(batch=600)
    given = ~d.known.isnan().any(1)  # (batch, covariates)
    rows = given[:, 0].nonzero().squeeze(1)
    x = d.known[rows, :, 0]
    y = d.target[rows].nan_to_num()

    def correlation(x: Tensor, y: Tensor) -> Tensor:
        x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
        return (
            (x * y).mean(1) / (x.square().mean(1) * y.square().mean(1)).sqrt().clamp(min=1e-9)
        ).abs()

    own, other = correlation(x, y), correlation(x.roll(1, 0), y)
    assert own.mean() > 1.5 * other.mean()
    assert (own > 0.5).float().mean() > 0.03


def test_a_season_repeats_itself() -> None:
    g = torch.Generator().manual_seed(2)
    period = torch.full((300, 1), 12.0)
    x = seasonal_pattern(g, 300, 120, period, torch.zeros(300, 1))
    moved = (x[:, 12:] - x[:, :-12]).abs().mean(1)
    assert (moved < 1e-4).float().mean() > 0.4  # others drift or swell
    assert moved.mean() < 0.5 * (x[:, 5:] - x[:, :-5]).abs().mean()
    none = seasonal_pattern(g, 5, 120, torch.zeros(5, 1), torch.zeros(5, 1))
    assert (none == 0).all()


@pytest.mark.parametrize("interval", [1.5, 5.0, 20.0])
def test_occurrences_lie_as_far_apart_as_asked(interval: float) -> None:
    g = torch.Generator().manual_seed(3)
    hit = demand_steps(g, 400, 400, torch.full((400, 1), interval))
    assert 1 / hit.float().mean() == pytest.approx(interval, rel=0.25)


def test_parts_are_what_they_say() -> None:
    g = torch.Generator().manual_seed(4)
    x = coloured_noise(g, 200, 300)
    torch.testing.assert_close(x.mean(1), torch.zeros(200), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(1, correction=0), torch.ones(200), atol=1e-3, rtol=0)
    f = event_flags(g, 200, 300, torch.full((200, 1), 52.0), torch.zeros(200, 1))
    assert set(f.unique().tolist()) == {0.0, 1.0}
    assert (log_prices(g, 100, 300).diff(dim=1) == 0).float().mean() > 0.5
    rate = torch.tensor([[0.3], [5.0], [4000.0]]).expand(3, 20000)
    counts = poisson(g, rate)
    torch.testing.assert_close(counts.mean(1), rate[:, 0], rtol=0.03, atol=0)
    torch.testing.assert_close(counts.var(1), rate[:, 0], rtol=0.05, atol=0)
