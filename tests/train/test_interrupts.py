"""An interrupted training keeps its last whole step, and goes on from there to the same numbers."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import demandcast as dc
from demandcast.train import interrupts, loop, state
from demandcast.train.checkpoint import read_tensors
from demandcast.train.state import CHECKPOINT, checkpoint_settings
from demandcast.train.training import Training

STEPS = 12


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))


def fit(net: nn.Module, at: int = -1, what: Any = None, **hyper: Any) -> Any:
    """Train, and call `what` in the loss of step `at`."""
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(1))
    calls = 0

    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            what()
        return nn.functional.mse_loss(outputs, target)

    how = {"max_steps": STEPS, "batch_size": 8, "device": "cpu", "progress": False} | hyper
    return dc.train.fit(net, TensorDataset(x, x.sum(1, keepdim=True)), loss, **how)  # type: ignore[arg-type]


def press() -> None:
    raise KeyboardInterrupt


def end() -> None:
    raise SystemExit(143)


def values(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


@pytest.mark.parametrize(
    ("what", "at", "error"),
    [(press, 7, KeyboardInterrupt), (end, 2, SystemExit), (interrupts.wait_for_step, 5, KeyboardInterrupt)],
)  # fmt: skip
def test_an_interrupted_training_goes_on_to_the_same_numbers(
    what: Any, at: int, error: type[BaseException], tmp_path: Path
) -> None:
    whole, cut = network(), network()
    log = fit(whole)
    with pytest.raises(error):
        fit(cut, at, what, checkpoint=tmp_path)
    assert checkpoint_settings(tmp_path, Training) is not None
    resumed = network()
    calls: list[int] = []
    again = fit(resumed, 1, lambda: calls.append(1), checkpoint=tmp_path, resume=True)
    assert again.losses == log.losses
    assert again.windows == log.windows
    assert all(map(torch.equal, values(whole), values(resumed)))


def test_an_interrupt_that_waits_is_raised_after_the_step(tmp_path: Path) -> None:
    assert not interrupts.wait_for_step()  # no training: the caller raises it
    with pytest.raises(KeyboardInterrupt):
        fit(network(), 5, interrupts.wait_for_step, checkpoint=tmp_path)
    _, facts = read_tensors(tmp_path / CHECKPOINT)
    assert facts["log"]["steps"] == 5


def test_an_interrupt_in_an_update_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = 0

    def lerp(*_: Any) -> None:
        nonlocal updates
        updates += 1
        if updates == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "_foreach_lerp_", lerp)
    with pytest.raises(KeyboardInterrupt):
        fit(network(), checkpoint=tmp_path, checkpoint_every=3)
    assert read_tensors(tmp_path / CHECKPOINT)[1]["log"]["steps"] == 6


def test_a_checkpoint_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "write_tensors", full)
    log = fit(network(), checkpoint=tmp_path, checkpoint_every=8)
    assert log.steps == STEPS
    said = f"no checkpoint of step 8: {tmp_path / CHECKPOINT} could not be written (No space left"
    assert any(note.startswith(said) for note in log.notes)
    assert said in caplog.text


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_bar_closes_when_a_fit_ends_early(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Any] = []

    class Bar(loop.Bar):  # type: ignore[misc, name-defined]
        closed = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            bars.append(self)

        def close(self) -> None:
            self.closed = True
            super().close()

    monkeypatch.setattr(loop, "Bar", Bar)

    def fail() -> None:
        raise error

    with pytest.raises(error):
        fit(network(), 3, fail, progress=True)
    assert bars[0].closed
