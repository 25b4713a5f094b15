"""Faults planted into a real training are found by measuring it, and a sound one has none.

Sleeps and busy loops are many times a step's own cost, so that no timing decides.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import demandcast as dc
from demandcast.train.doctor import Diagnosis, Doctor, explain
from demandcast.train.doctor.bare_loop import limit_threads

WIDTH, NAP = 16, 1e-3  # seconds a sample
MACHINE = {"busy_machine", "few_threads", "many_threads"}  # what other programs here may cause


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Map-style data, with a place for a fault in `__getitem__`."""

    def __init__(self, fault: Callable[[Tensor], Tensor] = torch.clone) -> None:
        self.x, self.y = rows().tensors
        self.fault = fault

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.fault(self.x[index]), self.y[index]


def rows() -> TensorDataset:
    x = torch.rand(4096, WIDTH, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, x.sum(1))


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

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)[:, 0]
        if self.item and y.max().item() > 1e9:
            raise RuntimeError
        return y


def examined(network: Net, data: Dataset[Any], *, batch: int = 64, steps: int = 30) -> Diagnosis:
    log = dc.train.fit(
        network, data, nn.functional.mse_loss, batch_size=batch, max_steps=steps, device="cpu",
        progress=False, diagnose=Doctor(budget=1.0),
    )  # fmt: skip
    diagnosis: Diagnosis = log.diagnosis
    return diagnosis


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
    seen = examined(Net(), Rows(fault), batch=24, steps=10)
    assert named in seen.faults
    (found,) = (f for f in seen.findings if f.fault == named)
    assert remedy in found.remedy
    assert found.gain is not None
    assert found.gain > 1.5
    assert seen.facts.fetch is not None
    assert seen.facts.fetch >= NAP
    names = {"slow_storage": "waiting"}.get(named, "computing")
    assert seen.facts.fetch_place.startswith(names)


def test_a_sound_fetch_is_no_fault() -> None:
    """The step computes many times what sixteen small copies do.

    Phases are those of CPU time: of seven short steps, one turn of another program would be half the time.
    """
    facts = examined(Net(hidden=1024), Rows(), batch=16, steps=10).facts
    faults = {finding.fault for finding in explain(replace(facts, phases=facts.cpu))}
    assert faults <= MACHINE | {"tiny_batches"}, facts


def test_an_item_in_the_step_is_found_with_its_line() -> None:
    seen = examined(Net(item=True), rows())
    assert "item_in_step" in seen.faults
    assert seen.facts.syncs == 1
    assert "test_faults.py" in seen.facts.sync_place
    assert "in forward" in seen.facts.sync_place


def test_tiny_batches_are_found() -> None:
    """A step of one window costs as much as one of four, almost to the end."""
    seen = examined(Net(hidden=32), rows(), batch=1)
    assert "tiny_batches" in seen.faults


def test_a_sound_run_has_no_fault() -> None:
    seen = examined(Net(hidden=512), rows(), batch=512)
    assert seen.facts.loader == "resident"
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
        with limit_threads(1):
            seen = examined(Net(hidden=512), rows(), batch=512)
    finally:
        for other in others:
            other.kill()
            other.wait()
        os.sched_setaffinity(0, before)
    assert "busy_machine" in seen.faults, seen
    assert seen.facts.others is not None
    assert seen.facts.others > 0.4
