"""The clock gives every phase its own time, and changes no number."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from demandcast.train.clock import PHASES, Clock
from demandcast.train.gradients import Objective
from demandcast.train.loaders import ResidentLoader
from demandcast.train.loop import train
from demandcast.train.training import Training
from demandcast.train.watch import Watch

STEPS, NAP = 6, 0.02  # seconds


def run(clock: Clock | None, slow: str = "") -> list[float]:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)

    def draw(step: int, generator: torch.Generator) -> SimpleNamespace:
        time.sleep(NAP if slow == "wait" else 0)
        return Batch(x=torch.rand(8, 3, generator=generator))

    loader = ResidentLoader(AsDrawn(), draw, torch.device("cpu"))

    def loss(batch: SimpleNamespace) -> Tensor:
        time.sleep(NAP if slow == "forward" else 0)
        value: Tensor = network(batch.x).square().mean()
        if slow == "backward":
            value.register_hook(lambda _: time.sleep(NAP))
        return value

    def validate() -> float:
        time.sleep(NAP * STEPS if slow == "validation" else 0)
        return 0.0

    training = Training(max_steps=STEPS, validate_every=STEPS)
    objective = Objective(network=network, loss_of=loss, validate=validate)
    train(objective, loader, training, watch=Watch(progress=False), clock=clock)
    return [p.sum().item() for p in network.parameters()]


class Batch(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.x)


class AsDrawn(Dataset[Batch]):
    def __getitems__(self, drawn: Batch) -> Batch:
        return drawn


@pytest.mark.parametrize("slow", ["wait", "forward", "backward", "validation"])
def test_a_nap_is_found_in_its_phase_and_is_not_cpu_time(slow: str) -> None:
    clock = Clock()
    run(clock, slow)
    assert clock.steps == clock.seen == STEPS
    assert max(PHASES, key=clock.seconds.__getitem__) == slow
    assert clock.seconds[slow] >= STEPS * NAP
    assert clock.cpu[slow] < 0.5 * clock.seconds[slow]


def test_the_clock_changes_no_number() -> None:
    assert run(Clock()) == run(None)


def test_work_counts_as_cpu_time() -> None:
    clock = Clock()
    clock.begin()
    until = time.process_time() + NAP
    while time.process_time() < until:
        pass
    clock.mark("wait")
    assert clock.cpu["wait"] >= NAP
    assert clock.total == clock.seconds["wait"] >= clock.cpu["wait"] * 0.5
