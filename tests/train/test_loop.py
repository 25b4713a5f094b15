"""What the loop reports of a run, on a clock that the test moves."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from demandcast.train.doctor.thread_limit import ThreadLimit
from demandcast.train.gradients import Objective
from demandcast.train.loaders import ResidentLoader
from demandcast.train.state import State
from demandcast.train.training import Training
from demandcast.train.watch import Watch

loop = importlib.import_module("demandcast.train.loop")


class Rows(torch.utils.data.Dataset[Any]):
    def __getitems__(self, index: Tensor) -> Tensor:
        return torch.ones(len(index), 1)


def test_the_rate_that_is_watched_is_that_of_the_steps_since_the_last_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps of 8 windows take 2 s, later 4 s; a validation of 50 s and a checkpoint of 100 s are no part of it."""
    now, rates = 0.0, list[float]()
    network = nn.Linear(1, 1)

    def loss(batch: Tensor) -> Tensor:
        nonlocal now
        now += 2.0 if now < 250 else 4.0
        value: Tensor = network(batch).mean()
        return value

    def validate() -> float:
        nonlocal now
        now += 50.0
        return 1.0

    def write(state: State, path: Path, draws: Tensor) -> None:
        nonlocal now
        now += 100.0

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(State, "write", write)

    def check_rate(limit: ThreadLimit, rate: float) -> str | None:
        rates.append(rate)
        return "slower" if rate < 3 else None

    monkeypatch.setattr(ThreadLimit, "check_rate", check_rate)
    rows: ResidentLoader[Tensor] = ResidentLoader(
        Rows(), lambda step, g: torch.zeros(8, dtype=torch.int64), torch.device("cpu")
    )
    training = Training(max_steps=75, batch_size=8, validate_every=30, checkpoint_every=40)
    log = loop.train(
        Objective(network=network, loss_of=loss, validate=validate), rows, training,
        watch=Watch(progress=False, checkpoint=tmp_path),
    )  # fmt: skip
    assert rates == pytest.approx([8 / 2, 8 / 4])
    assert log.notes == ["step 75: slower"]
