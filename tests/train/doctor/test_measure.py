"""Measuring leaves no trace: weights, random numbers and threads are as they were."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from demandcast.errors import ConfigError
from demandcast.train.doctor import Doctor, Subject, operators
from demandcast.train.doctor.bare_loop import Bare, Syncs, limit_threads, restore_after
from demandcast.train.doctor.machine import cores, memory, physical_cores, record_load


class Dropping(nn.Module):
    """A network with all that a step may change: weights, a buffer, and draws of the global seed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.out, self.done = nn.BatchNorm1d(4), nn.Linear(4, 1), 0.25

    def loss(self, batch: Tensor) -> Tensor:
        value: Tensor = self.out(nn.functional.dropout(self.norm(batch))).square().mean()
        return value


def subject() -> Subject:
    torch.manual_seed(0)
    network = Dropping()

    def draw(size: int, generator: torch.Generator) -> Tensor:
        return torch.rand(size, 4, generator=generator)

    return Subject(network=network, loss_of=network.loss, draw=draw, batch=8)


def test_trials_leave_the_network_and_the_random_numbers_as_they_were() -> None:
    seen = subject()
    network = seen.network.eval()
    network.get_parameter("out.weight").grad = torch.ones(1, 4)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    with restore_after(network):
        bare = Bare(seen)
        assert bare.seconds(bare.batch(), limit=0.0, least=3, threads=1) > 0
        network.get_parameter("out.weight").data.add_(1.0)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert not network.training
    assert network.done == 0.25
    assert torch.equal(network.get_parameter("out.weight").grad, torch.ones(1, 4))  # type: ignore[arg-type]


def test_they_are_put_back_after_an_error_too() -> None:
    seen = subject()
    before = seen.network.get_parameter("out.weight").clone()
    threads = torch.get_num_threads()

    def fail() -> None:
        with restore_after(seen.network), limit_threads(threads + 1):
            seen.network.get_parameter("out.weight").data.add_(1.0)
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fail()
    assert torch.get_num_threads() == threads
    assert torch.equal(seen.network.get_parameter("out.weight"), before)


def test_reads_of_a_value_are_counted_at_their_line() -> None:
    x = torch.rand(3)
    seen = Syncs()
    with seen:
        float(x[0])
        bool((x > 0).all())
        (x + 1).sum()
    assert seen.count == 2
    assert all("test_measure.py" in place for place in seen.places)


def test_the_machine_is_told() -> None:
    assert 1 <= physical_cores() <= len(cores())
    with record_load(torch.device("cpu")) as load:
        sum(i * i for i in range(300_000))
    assert load.seconds > 0
    assert load.device is None  # no GPU was asked for
    assert memory(torch.device("cpu")).total >= memory(torch.device("cpu")).used > 0


@pytest.mark.parametrize(
    ("threads", "prices", "fault", "remedy"),
    [
        (1, {1: 4e-3, 4: 1e-3}, "few_threads", "threads=4"),
        (4, {1: 4e-3, 4: 80e-3}, "many_threads", "threads=1"),
        (4, {1: 4e-3, 4: 1e-3}, None, ""),
    ],
)
def test_trials_tell_of_threads(
    threads: int,
    prices: dict[int, float],
    fault: str | None,
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine of four idle cores, with a step that costs so much at each number of threads."""

    def times(bare: Bare, batch: Tensor, *, threads: int | None = None, **_: object) -> list[float]:
        return [prices[threads or torch.get_num_threads()] * len(batch)]

    monkeypatch.setattr(Bare, "times", times)
    monkeypatch.setattr("demandcast.train.doctor.machine.physical_cores", lambda: 4)
    doctor = Doctor(budget=1.0)
    monitor = doctor.monitor(torch.device("cpu"), 10, threads)
    monitor.load.cores, monitor.load.seconds, monitor.load.own = (0.5,) * 4, 1.0, 2.0
    monitor.clock.seen = monitor.clock.steps = 10
    monitor.clock.seconds["forward"] = 10 * 8 * prices[threads]
    found = doctor.examine(monitor, subject()).findings
    assert [f.fault for f in found] == ([fault] if fault else [])
    assert not fault or remedy in found[0].remedy


def test_a_memory_too_small_for_a_larger_batch_is_no_fault() -> None:
    seen = subject()
    whole = seen.loss_of

    def loss(batch: Tensor) -> Tensor:
        if len(batch) > seen.batch:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(batch)

    seen.loss_of = loss
    doctor = Doctor(budget=1.0)
    facts = doctor.examine(doctor.monitor(torch.device("cpu"), 10), seen).facts
    assert set(facts.by_batch) == {8}


def test_operators_and_their_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "steps.json"
    worst = operators(subject(), path)
    assert len(worst) == 5
    assert all(a.seconds >= b.seconds for a, b in pairwise(worst))
    assert 0 < sum(o.share for o in worst) <= 1
    names = {event.get("name") for event in json.loads(path.read_text())["traceEvents"]}
    assert {"wait", "forward", "backward", "optimiser"} <= names
    assert capfd.readouterr().err == ""  # of the profiler's own remarks


def test_a_trace_is_named_as_viewers_open_it() -> None:
    with pytest.raises(ConfigError, match=r"end it in \.json"):
        Doctor(trace="steps.txt")
