"""A batch that does not fit is taken in parts, with the gradient of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import demandcast as dc
from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.frames import examples, read_panel
from demandcast.models.base import NeuralForecaster
from demandcast.panel.panel import Panel
from demandcast.train.device import out_of_memory
from demandcast.train.loaders import slice_batch
from demandcast.windows import WindowDataset

EXHAUSTED = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
]
# every network whose loss is one mean over observed values, and no random number in it
EXACT = [
    n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)
    and n not in ("extreme_value_memory", "neural_ode", "uber_lstm")
]  # fmt: skip


@pytest.fixture(scope="module")
def panel() -> Panel:
    frame = examples.retail(n_items=4, n_days=60, seed=1).frame
    panel = read_panel(frame, key="item", known=["price", "promo"])
    rng = np.random.default_rng(0)
    panel.target[rng.random(len(panel.target)) < 0.3] = np.nan  # parts do not weigh alike
    return panel.drop_last(7)


class Limited(nn.Module):
    """A network that takes so many samples and no more, from the second step on."""

    def __init__(self, most: int, error: Exception) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net, self.most, self.error, self.calls = nn.Linear(3, 1), most, error, list[int]()

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        if len(self.calls) > 1 and len(x) > self.most:
            raise self.error
        out: Tensor = self.net(x)
        return out


def fit(model: nn.Module) -> Any:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=g)
    return dc.train.fit(
        model, TensorDataset(x, x.sum(1, keepdim=True)), nn.functional.mse_loss, device="cpu",
        batch_size=16, max_steps=8, progress=False,
    )  # fmt: skip


@pytest.mark.parametrize("error", EXHAUSTED, ids=lambda error: type(error).__name__)
def test_parts_learn_what_the_whole_does(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    whole, limited = Limited(16, error), Limited(5, error)
    fit(whole)
    log = fit(limited)
    for one, other in zip(whole.parameters(), limited.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # sums in another order
    assert limited.calls == [16, 16, 8, *[4] * 28]
    assert log.parts == 4
    assert log.steps == 8
    assert log.windows == 8 * 16
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warned == log.notes[1:]
    assert "out of memory at step 1" in warned[0]
    assert "batches of 16 are now taken in 4 parts" in warned[1]


def test_one_sample_too_many_is_said() -> None:
    with pytest.raises(ConfigError, match="one sample alone exhausts the memory"):
        fit(Limited(0, MemoryError()))


def test_other_errors_are_not_taken_for_it() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        fit(Limited(5, RuntimeError("shapes cannot be multiplied")))
    assert not out_of_memory(ValueError("out of memory"))


def test_an_allocation_beyond_all_memory_is_known_for_what_it_is() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert out_of_memory(caught.value)


@pytest.mark.parametrize("name", EXACT)
def test_every_forecaster_counts_by_what_was_observed(name: str, panel: Panel) -> None:
    model: Any = registry.create(name, horizon=7, context=14, batch_size=8, dropout=0.0)
    network, source, plan = model.build(panel)
    network.eval()  # DeepAR feeds itself no draws
    windows = WindowDataset(source, model._sampler(panel, plan, 0), extra=model._extra_steps(plan))
    whole = windows.__getitems__(range(3, 27, 3))

    def gradients(window: Any, weight: Any = 1.0) -> list[Tensor]:
        loss = network.loss(window) * weight
        return list(torch.autograd.grad(loss, tuple(network.parameters()), allow_unused=True))

    parts = [slice_batch(whole, slice(first, first + 3)) for first in range(0, 8, 3)]
    weights = [network.weight(some) for some in parts]
    assert len({int(weight) for weight in weights}) > 1
    found = zip(*map(gradients, parts, weights), strict=True)
    for one, some in zip(gradients(whole), found, strict=True):
        if one is not None:
            torch.testing.assert_close(sum(some) / sum(weights), one, rtol=1e-4, atol=2e-5)


def test_a_forecaster_goes_on_in_parts(panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    hyper: dict[str, Any] = {"context": 14, "max_steps": 40, "batch_size": 8, "dropout": 0.0}
    whole: Any = registry.create("nhits", horizon=7, **hyper)
    whole.fit(panel, progress=False)
    loss = whole.Net.loss

    def limited(self: Any, window: Any) -> Tensor:
        if len(window) > 3:
            raise MemoryError
        found: Tensor = loss(self, window)
        return found

    monkeypatch.setattr(whole.Net, "loss", limited)
    parted: Any = registry.create("nhits", horizon=7, **hyper)
    parted.fit(panel, progress=False)
    assert parted.log.parts == 4
    losses = [[loss for _, loss in model.log.losses] for model in (whole, parted)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)  # rounding, grown over 25 steps of Adam


def test_a_resumed_run_remembers_the_parts(tmp_path: Path, panel: Panel) -> None:
    model: Any = registry.create(
        "nlinear", horizon=7, context=14, max_steps=6, batch_size=8, checkpoint_every=2
    )
    loss = model.Net.loss
    calls = list[int]()

    def limited(self: Any, window: Any) -> Tensor:
        calls.append(len(window))
        if len(window) > 4:
            raise MemoryError
        found: Tensor = loss(self, window)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.Net, "loss", limited)
        model.fit(panel, checkpoint=tmp_path, progress=False)
        del calls[:]
        model.fit(panel, checkpoint=tmp_path, resume=True, progress=False)
    assert calls == []  # the last checkpoint is the end
    assert model.log.parts == 2
