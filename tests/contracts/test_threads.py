"""Fits in threads of one program give the numbers of a fit alone, and leave its random numbers alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import demandcast as dc
from demandcast import registry
from demandcast.models.base import NeuralForecaster
from demandcast.panel.panel import Panel
from demandcast.train.doctor.bare_loop import Bare

NEURAL = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
SMALL: dict[str, Any] = {"horizon": 7, "context": 28, "max_steps": 3, "batch_size": 8, "seed": 3}


def numbers(name: str, panel: Panel, **hyper: Any) -> list[np.ndarray[Any, Any]]:
    """Weights, forecasts and losses of a fit with dropout on."""
    if "dropout" in registry.get(name).defaults():
        hyper = {"dropout": 0.2} | hyper
    model: Any = registry.create(name, **SMALL | hyper)
    history = panel.drop_last(7)
    model.fit(history, progress=False)
    forecast = model.predict(history)
    weights = [value.numpy() for value in model.network.state_dict().values()]
    return [*weights, forecast.quantiles, forecast.mean, np.array(model.log.losses)]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NEURAL)
def test_a_fit_in_threads_is_a_fit_alone(name: str, panel: Panel) -> None:
    alone = numbers(name, panel)
    before = torch.get_rng_state()
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(numbers, name, panel, seed=seed) for seed in (4, 3)]
        other, found = (fit.result() for fit in fits)
    assert same(alone, found)
    assert not same(alone, other)
    assert torch.equal(torch.get_rng_state(), before)


class Noisy(nn.Module):
    """Draws in every way there is: modules of torch, functions, methods and an LSTM's own dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 8, 2, batch_first=True, dropout=0.3)
        self.attention = nn.TransformerEncoderLayer(8, 2, 8, dropout=0.3, batch_first=True)
        self.out = nn.Sequential(nn.Dropout(0.2), nn.RReLU(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.attention(self.lstm(x)[0])[:, -1]
        if self.training:
            hidden = hidden + 0.1 * torch.randn_like(hidden) * torch.rand(len(x), 1)
            hidden = hidden * torch.bernoulli(torch.full_like(hidden, 0.9))
            hidden = nn.functional.dropout(hidden, 0.1)[torch.randperm(len(x)).argsort()]
        out: Tensor = self.out(hidden)
        return out


def trained(seed: int, **hyper: Any) -> list[Any]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, 2, generator=g)
    network = Noisy()
    with torch.no_grad():
        for weight in network.parameters():
            weight.copy_(torch.randn(weight.shape, generator=g) / 4)
    log = dc.train.fit(
        network, TensorDataset(x, x.sum((1, 2))[:, None]), nn.functional.mse_loss, epochs=4,
        batch_size=8, device="cpu", seed=seed, progress=False, **hyper,
    )  # fmt: skip
    return [*(p.detach().numpy() for p in network.parameters()), np.array(log.losses)]


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_any_network_draws_its_own_random_numbers(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials of "auto" draw too; here they run, but find all steps equally fast, so that no clock chooses."""
    times = Bare.times
    monkeypatch.setattr(Bare, "times", lambda *args, **how: [1e-3] * len(times(*args, **how)))
    torch.manual_seed(1)
    alone = trained(0, precision=precision)
    torch.manual_seed(2)
    again = trained(0, precision=precision)
    assert same(alone, again)
    if precision == "float32":  # the other is chosen by trials, which take seconds
        assert not same(alone, trained(1, precision=precision))


def test_another_thread_draws_what_it_would_alone(panel: Panel) -> None:
    stop = Event()

    def draw() -> list[Tensor]:
        torch.manual_seed(7)
        found = []
        while not stop.wait(0.002):
            found.append(torch.rand(3))
        return found

    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(draw)
        try:
            for name in ("deepar", "patchtst"):
                numbers(name, panel)
                registry.create(name, **SMALL).build(panel)  # type: ignore[attr-defined]
        finally:
            stop.set()
        found = drawn.result()
    torch.manual_seed(7)
    assert all(torch.equal(values, torch.rand(3)) for values in found)
