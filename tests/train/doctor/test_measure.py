"""Measuring leaves no trace: weights, random numbers and threads are as they were."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from demandcast.errors import ConfigError
from demandcast.train.doctor import Doctor, Subject, machine, operators
from demandcast.train.doctor.bare_loop import Bare, Syncs, limit_threads, restore_after
from demandcast.train.doctor.machine import Memory, cores, memory, physical_cores, record_load
from demandcast.train.doctor.measure import Monitor, _fetch, _same, _thread_counts


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


def test_trials_take_as_many_steps_as_asked_for() -> None:
    """One to warm up; then `least`, until the limit is over, and no more than `most`."""
    seen = subject()
    with restore_after(seen.network):
        bare = Bare(seen)
        batch = bare.batch()
        assert len(batch) == 8
        assert len(bare.batch(3)) == 3
        assert len(bare.times(batch, limit=0.0)) == 2
        assert len(bare.times(batch, limit=0.0, least=5)) == 5
        assert len(bare.times(batch, limit=60.0, most=7)) == 7
        assert seen.network.done == 1.0  # the last of the steps
        assert len(bare.times(batch, limit=60.0, hopeless=0.0)) == 1  # the first is one too many
        assert all(spent > 0 for spent in bare.times(batch, limit=0.0, least=4, alone=True))


def test_the_machine_is_read_from_what_linux_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four logical cores of two physical ones, of which a container grants one and a half."""

    def put(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    monkeypatch.setattr(machine, "cores", lambda: (0, 1, 2, 3))
    assert physical_cores() == 4  # nothing is told
    for core in range(4):
        topology = f"sys/devices/system/cpu/cpu{core}/topology"
        put(f"{topology}/physical_package_id", "0\n")
        put(f"{topology}/core_id", f"{core % 2}\n")
    assert physical_cores() == 2
    put("sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert machine._quota() == 1.5
    assert physical_cores() == 1
    put("sys/fs/cgroup/cpu.max", "max 100000\n")
    assert physical_cores() == 2
    monkeypatch.setattr(machine, "_TICK", 100)
    stat = "cpu 1 1 1 1 1 1 1\ncpu0 100 20 30 999 50 4 6 0\ncpu3 5 0 0 9 0 0 0\ncpu7 1 1 1 1 1 1 1\nintr 5"
    put("proc/stat", stat)
    assert machine._busy_seconds() == {0: pytest.approx(1.6), 3: pytest.approx(0.05)}
    put("proc/self/task/11/schedstat", "7 2000000000 3")
    put("proc/self/task/12/schedstat", "7 500000000 3")
    assert machine._queued_seconds() == pytest.approx(2.5)
    put("proc/thread-self/schedstat", "7 250000000 3")
    assert machine.queued() == pytest.approx(0.25)
    monkeypatch.setattr(os, "sysconf", lambda name: 4096)
    put("proc/self/statm", "900 30 5 1 0 2 0")
    assert machine._resident() == 30 * 4096


def test_other_programs_are_what_this_one_does_not_use() -> None:
    load = machine.Load(seconds=1.0, cores=(0.9, 0.5), own=1.0)
    assert load.others == pytest.approx(0.4)
    assert machine.Load(seconds=1.0, cores=(0.2,), own=0.5).others == 0
    assert machine.Load(seconds=0.2, cores=(0.9, 0.5), own=1.0).others is None  # too short
    assert machine.Load(seconds=1.0, own=1.0).others is None


def test_fetches_are_alike_where_all_their_values_are() -> None:
    x, gap = torch.tensor([1.0, float("nan")]), np.array([1.0, np.nan])
    for one in (x, gap, {"a": x}, [x, gap], (1, "b"), Memory(1, 2, 3)):
        assert _same(one, one)
    for one, other in (
        (x, torch.tensor([1.0, 2.0])),
        (gap, np.array([2.0, np.nan])),
        ({"a": x}, {"b": x}),
        ({"a": x}, {"a": x + 1}),
        ([x], [x, x]),
        ([x, gap], [x, gap + 1]),
        (1, 2),
        (Memory(1, 2, 3), Memory(1, 2, 4)),
    ):
        assert not _same(one, other)


def test_what_a_sample_costs_is_told_with_its_function() -> None:
    class Rows(Dataset[Any]):
        def __init__(self, count: int) -> None:
            self.count, self.asked = count, list[int]()

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, i: int) -> float:
            self.asked.append(i)
            return self.work(i)

        def work(self, i: int) -> float:
            return sum(float(k) for k in range(20_000)) + i

    rows = Rows(100)
    found = _fetch(rows, limit=60.0)
    # the first is not timed; eight are, from all over the data; then the first again, and one to profile
    assert rows.asked[:9] == np.linspace(0, 99, 9).astype(int).tolist()
    assert rows.asked[9:] == [0, 12]
    assert 0 < found["fetch_cpu"] <= found["fetch"]
    assert found["fetch_random"] is False
    assert found["fetch_place"].startswith(("work (test_measure.py", "<genexpr> (test_measure.py"))
    few = Rows(100)
    _fetch(few, limit=0.0)
    assert len(few.asked) == 1 + 2 + 2
    assert _fetch(Rows(1), limit=1.0) == {}
    assert _fetch(Rows(0), limit=1.0) == _fetch(None, limit=1.0) == {}


def test_first_steps_of_a_long_run_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert [Monitor(cpu, steps).clock.skip for steps in (6, 7)] == [0, 3]
    assert Monitor(cpu, 9, threads=3).threads == 3
    monkeypatch.setattr(machine, "physical_cores", lambda: 8)
    monitor = Monitor(cpu, 9, threads=4)
    monitor.load.cores, monitor.load.seconds, monitor.load.own = (1.0,) * 4, 1.0, 1.6
    assert _thread_counts(monitor) == [1, 6]  # other programs keep 2.4 cores busy
    assert _thread_counts(Monitor(cpu, 9, threads=8)) == [1]
    assert _thread_counts(Monitor(torch.device("cuda"), 9, threads=8)) == []


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
