"""What the memory network claims: its loss, its attention, and that it remembers what followed a pattern."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

import demandcast as dc
from demandcast.models.extreme_value_memory import (
    ExtremeValueMemoryNetwork,
    extreme_value_loss,
    probability,
)
from demandcast.panel.panel import Panel
from demandcast.windows.window import Window

SHARE = torch.tensor(0.04)


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    u = 0.02 + 0.96 * torch.rand(50, generator=generator, dtype=torch.float64)
    return u, (torch.rand(50, generator=generator) < 0.3).double()


def test_the_loss_is_the_papers_formula_and_so_is_its_gradient(
    drawn: tuple[Tensor, Tensor],
) -> None:
    u, v = drawn
    b0, b1, gamma = 0.96, 0.04, 2.5
    plain = u.clone().requires_grad_()
    terms = []
    for x, label in zip(plain, v, strict=True):
        first = -b0 * (1 - x / gamma) ** gamma * label * torch.log(x)
        second = -b1 * (1 - (1 - x) / gamma) ** gamma * (1 - label) * torch.log(1 - x)
        terms.append(first + second)
    ours = u.clone().requires_grad_()
    loss = extreme_value_loss(ours, v, torch.tensor(b1, dtype=torch.float64), gamma)
    torch.testing.assert_close(loss, torch.stack(terms))
    (expected,) = torch.autograd.grad(torch.stack(terms).sum(), plain)
    (found,) = torch.autograd.grad(loss.sum(), ours)
    torch.testing.assert_close(found, expected)
    assert (loss > 0).all()


def test_for_large_gamma_the_weights_are_exponentials_of_a_weighted_cross_entropy(
    drawn: tuple[Tensor, Tensor],
) -> None:
    u, v = drawn
    share = SHARE.double()
    weight = torch.where(v > 0, (1 - share) * (-u).exp(), share * (u - 1).exp())
    entropy = weight * binary_cross_entropy(u, v, reduction="none")
    torch.testing.assert_close(extreme_value_loss(u, v, share, 1e7), entropy, rtol=1e-5, atol=0)


def test_the_rare_class_weighs_more() -> None:
    missed = extreme_value_loss(torch.tensor(0.1), torch.tensor(1.0), SHARE, 2.0)
    false = extreme_value_loss(torch.tensor(0.9), torch.tensor(0.0), SHARE, 2.0)
    assert missed / false == pytest.approx(0.96 / 0.04, rel=1e-4)


@pytest.mark.parametrize("gamma", [1.5, 2.0, 4.0, 50.0])
def test_probabilities_are_those_that_the_loss_was_least_for(gamma: float) -> None:
    """For each p, the u that minimises p EVL(u, 1) + (1 - p) EVL(u, 0) on a fine grid is told back as p."""
    grid = torch.linspace(0.0005, 0.9995, 20_000, dtype=torch.float64)
    share = SHARE.double()
    for p in (0.002, 0.04, 0.3, 0.8):
        cost = p * extreme_value_loss(grid, torch.ones_like(grid), share, gamma)
        cost = cost + (1 - p) * extreme_value_loss(grid, torch.zeros_like(grid), share, gamma)
        u = grid[cost.argmin()]
        assert float(probability(u, share, gamma)) == pytest.approx(p, rel=0.01)
    assert float(probability(torch.tensor(0.5), SHARE, gamma)) == pytest.approx(0.04, rel=1e-5)
    assert (probability(grid, share, gamma).diff() > 0).all()


def network(panel: Panel, **hyper: float) -> tuple[ExtremeValueMemoryNetwork, Window]:
    model = dc.models.ExtremeValueMemory(horizon=7, context=60, **hyper)
    net, source, _ = model.build(panel)
    assert isinstance(net, ExtremeValueMemoryNetwork)
    return net.eval(), source.latest(torch.arange(4))


def test_attention_over_the_memory_sums_to_one(promotions: Panel) -> None:
    net, window = network(promotions)
    holed = window.past_observed.clone()
    holed[1, :45] = False  # of this one, windows of nothing lie in the memory
    holed[2] = False
    window = replace(window, past_observed=holed)
    inputs = net.inputs(window)
    embedded, _, _, filled = net.remember(inputs, window)
    attention = net.attention(net.gru(inputs)[0][:, -1], embedded, filled)
    assert attention.shape == (4, 60 - 15 - 7 + 1)
    torch.testing.assert_close(attention.sum(1), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    assert (attention[1, :31] == 0).all()


def test_every_remembered_window_and_its_labels_end_at_the_cutoff(promotions: Panel) -> None:
    """Labels follow their window; the last one's end with the last value known."""
    net, window = network(promotions)
    inputs = net.inputs(window)
    _, labels, certain, filled = net.remember(inputs, window)
    assert certain.all()
    assert filled.all()
    above = net.thresholds(window)[0]
    high = (window.past_target > above).float()
    torch.testing.assert_close(labels[:, 0, :, 0], high[:, 15:22])
    torch.testing.assert_close(labels[:, -1, :, 0], high[:, 53:60])


def test_in_training_some_are_drawn_in_forecasts_all_are_read(promotions: Panel) -> None:
    net, window = network(promotions, memory=10)
    inputs = net.inputs(window)
    assert net.remember(inputs, window)[0].shape[1] == 39
    net.train()
    assert net.remember(inputs, window)[0].shape[1] == 10


def test_a_context_too_short_for_a_memory_still_warns(promotions: Panel) -> None:
    model = dc.models.ExtremeValueMemory(horizon=14, context=14, max_steps=3)
    forecast = model.fit(promotions.drop_last(14), progress=False).predict(promotions.drop_last(14))
    assert forecast.events is not None
    assert np.isfinite(forecast.events.p_high).all()
    with pytest.raises(dc.errors.ConfigError, match="span=10 and the horizon of 7"):
        dc.models.ExtremeValueMemory(horizon=7, context=16, span=10).fit(promotions)
    with pytest.raises(dc.errors.ConfigError, match="low below"):
        dc.models.ExtremeValueMemory(horizon=7, low=0.9, high=0.2)


def spiky(n: int = 12, days: int = 400) -> Panel:
    """A dip of two days, and three days behind it a spike; nothing else happens."""
    rng, frames = np.random.default_rng(0), []
    for i in range(n):
        units = 10 + rng.normal(0, 0.3, days)
        for start in np.flatnonzero(rng.random(days - 10) < 0.03):
            units[start : start + 2] = 6
            units[start + 4] = 25
        frames.append(pl.DataFrame({"unique_id": f"{i}", "ds": np.arange(days), "y": units}))
    return dc.read_panel(pl.concat(frames))


def test_spikes_that_are_announced_are_warned_of() -> None:
    panel = spiky()
    known = panel.drop_last(60)
    hyper = {"context": 50, "span": 10, "high": 0.97, "batch_size": 32, "memory": 12}
    model = dc.models.ExtremeValueMemory(horizon=5, max_steps=120, learning_rate=1e-2, **hyper)
    model.fit(known, progress=False)
    odds, spikes = [], []
    for back in range(60, 4, -3):
        part = panel.drop_last(back)
        events = model.predict(part).events
        assert events is not None
        odds.append(events.p_high[:, :3])  # of these the dip was seen to its end
        spikes.append(part.future_target(5)[:, :3] > 20)
    told, true = np.stack(odds), np.stack(spikes)
    assert true.sum() > 15
    assert told[true].mean() > 0.5
    # the loss weighs rare steps more, which raises all odds: .05 to .09 by the length of the training
    assert told[~true].mean() < 0.1
    assert np.median(told[~true]) < 0.05
    assert (told[true][:, None] > told[~true]).mean() > 0.85  # the area under the ROC curve
