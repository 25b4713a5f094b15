"""Faults planted into a real training are found by measuring it, and a sound one has none.

Sleeps and busy loops are many times a step's own cost, so that no timing decides.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from demandcast.train.loop import Training, train
from demandcast.train.roads import Resident
from demandcast.train.throughput import Diagnosis, Doctor, Subject
from demandcast.train.throughput.bare import threads_of

WIDTH, NAP = 16, 1e-3  # seconds a sample
MACHINE = {"busy_machine", "few_threads", "many_threads"}  # what other programs here may cause


@dataclass
class Batch:
    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.x)


class AsDrawn(Dataset[Batch]):
    def __getitems__(self, drawn: Batch) -> Batch:
        return drawn


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Map-style data, with a place for a fault in `__getitem__`."""

    def __init__(self, fault: Callable[[Tensor], Tensor] | None = None) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.rand(4096, WIDTH, generator=generator)
        self.fault = fault

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x = self.x[index] if self.fault is None else self.fault(self.x[index])
        return x, x.sum()


def computing(x: Tensor) -> Tensor:
    until = time.thread_time() + NAP
    while time.thread_time() < until:
        pass
    return x


def waiting(x: Tensor) -> Tensor:
    time.sleep(NAP)
    return x


def jitter(x: Tensor) -> Tensor:
    return computing(x) + torch.rand_like(x)


class Net(nn.Module):
    """Large enough for its step to outweigh a batch at hand; `item` plants a read of the device."""

    def __init__(self, *, hidden: int = 256, item: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(WIDTH, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 1),
        )  # fmt: skip
        self.item = item

    def loss(self, batch: Batch) -> Tensor:
        loss: Tensor = (self.layers(batch.x)[:, 0] - batch.y).square().mean()
        if self.item and loss.item() > 1e9:
            raise RuntimeError
        return loss


def examined(
    network: Net, data: Rows | None = None, *, batch: int = 64, steps: int = 30, **facts: Any
) -> Diagnosis:
    """Train on samples fetched one by one, or on a batch at hand where there are none."""
    at_hand = Rows()

    def ready(size: int, generator: torch.Generator) -> Batch:
        x = at_hand.x[torch.randint(len(at_hand), (size,), generator=generator)]
        return Batch(x, x.sum(1))

    batches: Iterator[Any] | None = None
    if data is not None:
        batches = iter(DataLoader(data, batch_size=batch, num_workers=facts.get("workers", 0)))

    def draw(step: int, generator: torch.Generator) -> Any:
        return ready(batch, generator) if batches is None else Batch(*next(batches))

    road = Resident(AsDrawn(), draw, torch.device("cpu"))

    doctor = Doctor(budget=1.0)
    watch = doctor.watch(torch.device("cpu"), steps)
    with watch.watching():
        train(
            network, network.loss, road, Training(max_steps=steps),
            progress=False, clock=watch.clock,
        )  # fmt: skip
    subject = Subject(
        network=network, loss_of=network.loss, draw=ready, batch=batch, dataset=data,
        loader="resident" if data is None else "streaming", **facts,
    )  # fmt: skip
    return doctor.examine(watch, subject)


@pytest.mark.parametrize(
    ("fault", "named", "remedy"),
    [
        (computing, "slow_getitem", "__getitems__"),
        (jitter, "augmentation", "augment the whole batch"),
        (waiting, "slow_storage", "faster disk"),
    ],
)
def test_a_slow_fetch_is_found_with_its_cause(
    fault: Callable[[Tensor], Tensor], named: str, remedy: str
) -> None:
    seen = examined(Net(), Rows(fault), steps=10)
    assert named in seen.faults
    (found,) = (f for f in seen.findings if f.fault == named)
    assert remedy in found.remedy
    assert found.gain is not None
    assert found.gain > 1.5
    assert seen.facts.fetch is not None
    assert seen.facts.fetch >= NAP
    names = {"slow_storage": "waiting"}.get(named, "computing")
    assert seen.facts.fetch_place.startswith(names)


def test_data_that_fit_in_memory_are_told_to_go_there() -> None:
    seen = examined(Net(), Rows(computing), steps=10, data_bytes=1000)
    assert "fits_in_memory" in seen.faults
    assert "loader='resident'" in seen.verdict()


def test_an_item_in_the_step_is_found_with_its_line() -> None:
    seen = examined(Net(item=True))
    assert "item_in_step" in seen.faults
    assert seen.facts.syncs == 1
    assert "test_faults.py" in seen.facts.sync_place
    assert "in loss" in seen.facts.sync_place


def test_tiny_batches_are_found() -> None:
    """A step of one window costs as much as one of four, almost to the end."""
    seen = examined(Net(hidden=32), batch=1)
    assert "tiny_batches" in seen.faults


def test_a_sound_run_has_no_fault() -> None:
    seen = examined(Net(hidden=512), batch=512)
    assert set(seen.faults) <= MACHINE, seen


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is of Linux")
def test_a_busy_machine_is_found() -> None:
    """Three programs on one core with this one: it stands in the queue most of the time."""
    before = os.sched_getaffinity(0)
    core = min(before)
    code = f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    os.sched_setaffinity(0, {core})
    others = [subprocess.Popen([sys.executable, "-S", "-c", code]) for _ in range(3)]
    try:
        time.sleep(0.3)
        with threads_of(1):
            seen = examined(Net(hidden=512), batch=512, steps=30)
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, before)
    assert "busy_machine" in seen.faults, seen
    assert seen.facts.others is not None
    assert seen.facts.others > 0.4
