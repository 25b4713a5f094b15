"""Measuring leaves no trace: weights, random numbers and threads are as they were."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from itertools import pairwise
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from demandcast.errors import ConfigError
from demandcast.train.doctor import Doctor, Subject, bare_loop, machine, operators
from demandcast.train.doctor.bare_loop import Bare, Syncs, limit_threads, restore_after
from demandcast.train.doctor.machine import Memory, cores, memory, physical_cores, record_load
from demandcast.train.doctor.measure import Monitor, _fetch, _same, _thread_counts, measure

measuring = importlib.import_module("demandcast.train.doctor.measure")


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


def test_a_wait_for_a_core_longer_than_the_step_is_not_subtracted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel may count a wait that began before the step; a step of negative seconds has no rate."""
    clock = iter(range(10**6))
    monkeypatch.setattr(bare_loop, "queued", lambda: 100.0 * next(clock))
    counted = subject()
    with restore_after(counted.network):
        bare = Bare(counted)
        times = bare.times(bare.batch(), limit=0.0, least=3, threads=1, alone=True)
    assert min(times) > 0


@pytest.mark.parametrize(("threads", "waits", "taken"), [(1, 0.25, 1.5), (1, 1, 2), (2, 0.25, 2)])
def test_a_wait_for_a_core_is_left_out_where_one_thread_works(
    threads: int, waits: float, taken: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps take 2 s, of which a share is waited; one that only waited takes its time, for zero seconds have no rate."""
    now = 0.0

    def step(bare: Bare, batch: Tensor) -> None:
        nonlocal now
        now += 2.0

    monkeypatch.setattr(bare_loop, "queued", lambda: waits * now)
    monkeypatch.setattr(bare_loop, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(Bare, "step", step)
    counted = subject()
    with restore_after(counted.network):
        bare = Bare(counted)
        times = bare.times(bare.batch(), limit=0.0, least=3, threads=threads, alone=True)
    assert times == [taken] * 3


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
    assert (machine._queued_seconds(), machine._busy_seconds()) == (None, {})
    assert (machine.queued(), machine._resident()) == (0, 0)
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


def test_cores_are_those_that_the_system_lets_this_process_run_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7, 2}, raising=False)
    assert cores() == (2, 7)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == (0, 1, 2)  # all, where the system knows no such limit


def test_a_load_is_what_was_spent_between_two_readings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores are busy for at most all of the time, and a reading that goes back counts as none."""
    times = iter([10.0, 12.0])
    readings = {
        "_busy_seconds": iter([{0: 5.0, 1: 7.0, 2: 1.0}, {0: 6.0, 1: 99.0, 2: 0.5, 3: 4.0}]),
        "_own_cpu_seconds": iter([3.0, 4.0]),
        "_queued_seconds": iter([1.0, 1.5]),
    }
    for name, values in readings.items():
        monkeypatch.setattr(machine, name, lambda values=values: next(values))
    monkeypatch.setattr(machine, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    with record_load(torch.device("cpu")) as load:
        load.samples.extend([0.5, 1.0])  # stands in for the GPU's
    assert (load.seconds, load.cores) == (2.0, (0.5, 1.0, 0.0))
    assert (load.own, load.queued, load.device) == (0.5, 0.25, 0.75)
    assert load.others == 1.0


def test_workers_that_live_and_those_that_are_gone_are_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "proc/77/stat"
    stat.parent.mkdir(parents=True)
    stat.write_text("77 (a (odd) name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0")
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / str(path).lstrip("/"))
    monkeypatch.setattr(machine, "_TICK", 100)
    workers = [SimpleNamespace(pid=77), SimpleNamespace(pid=78)]  # the second has just ended
    monkeypatch.setattr(machine.multiprocessing, "active_children", lambda: workers)
    spent = SimpleNamespace(user=1.0, system=2.0, children_user=4.0, children_system=8.0)
    monkeypatch.setattr(machine.os, "times", lambda: spent)
    assert machine._own_cpu_seconds() == 15 + 1.5 + 0.5


def test_facts_are_read_from_the_run_and_its_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ceiling is of the mean step, as the run's are; trials are compared by the median."""
    seen, limits = subject(), []

    def times(bare: Bare, batch: Tensor, *, limit: float, **_: Any) -> list[float]:
        limits.append(limit)
        return [0.01, 0.02, 0.06]

    def seconds(bare: Bare, batch: Tensor, *, limit: float, threads: int | None = None, hopeless: float = 0, **_: Any) -> float:  # fmt: skip
        limits.append(limit)
        assert hopeless == (0 if threads is None else pytest.approx(5 * 0.02))  # of the median
        return 0.04 if threads is None else 0.01

    monkeypatch.setattr(Bare, "times", times)
    monkeypatch.setattr(Bare, "seconds", seconds)
    monkeypatch.setattr(Bare, "fits", lambda bare: 32)
    monkeypatch.setattr(machine, "physical_cores", lambda: 2)
    fetched = []
    monkeypatch.setattr(measuring, "_fetch", lambda dataset, limit: fetched.append(limit) or {"fetch": 0.5})  # fmt: skip
    monitor = Monitor(torch.device("cpu"), 10, threads=1)
    monitor.load.seconds = 100.0
    monitor.clock.steps = 5
    monitor.clock.seconds |= {"wait": 0.5, "forward": 4.0}
    monitor.clock.cpu |= {"forward": 3.0}
    facts = measure(monitor, seen)
    assert facts.phases == {"wait": 0.1, "forward": 0.8}
    assert facts.cpu == {"forward": 0.6}
    assert facts.ceiling == pytest.approx(8 / 0.03)
    assert facts.by_threads == {1: 8 / 0.02, 2: 8 / 0.01}
    assert facts.by_batch == {8: 8 / 0.02, 32: 32 / 0.04}
    assert limits == pytest.approx([0.6, 0.3, 0.3])  # of 1.5 s, which are 1.5 % of the run
    assert fetched == pytest.approx([0.15])
    assert (facts.fetch, facts.run, facts.threads, facts.steps) == (0.5, 100.0, 1, 5)
    # no time for a larger batch, and no wait that is worth a look
    monitor.clock.seconds["wait"] = 0.4
    short = measure(monitor, seen, budget=0.16)
    assert (short.by_batch, short.fetch) == ({8: 8 / 0.02}, None)
    assert measure(monitor, seen, budget=0.17).by_batch.keys() == {8, 32}
    monkeypatch.setattr(Bare, "fits", lambda bare: 31)
    assert measure(monitor, seen, budget=9.0).by_batch.keys() == {8}


def test_what_the_doctor_takes_is_its_own_time_and_that_of_its_marks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step has a beginning and six marks; here each of the seven takes a second."""
    now = 50.0

    def second(*_: Any) -> None:
        nonlocal now
        now += 1.0

    clock = SimpleNamespace(begin=second, mark=second)
    monkeypatch.setattr(measuring, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(measuring, "Clock", lambda *_, **__: clock)
    assert measuring._mark_cost() == 7
    monkeypatch.undo()
    monkeypatch.setattr(measuring, "_mark_cost", lambda: 100.0)
    monitor = Monitor(torch.device("cpu"), 10)
    monitor.clock.seen = 3
    began = time.perf_counter()
    measuring_took = measure(monitor, subject(), budget=0.0).measuring
    assert 300 < measuring_took < 300 + time.perf_counter() - began


def test_trial_steps_do_not_decay_weights() -> None:
    flat = subject()
    flat.loss_of = lambda batch: 0 * flat.network.loss(batch)  # type: ignore[operator]
    before = [weight.clone() for weight in flat.network.parameters()]
    Bare(flat, rate=0.1).probe()
    assert all(map(torch.equal, flat.network.parameters(), before))


def test_operators_are_looked_at_where_they_or_a_trace_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    module = importlib.import_module("demandcast.train.doctor.doctor")
    monkeypatch.setattr(module, "operators", lambda seen, trace: asked.append(trace) or ("worst",))
    monkeypatch.setattr(module, "measure", lambda *_, **__: None)
    monkeypatch.setattr(module, "Diagnosis", lambda facts, inside, choices: inside)
    monitor = Monitor(torch.device("cpu"), 5)
    for doctor, inside in (
        (Doctor(), ()),
        (Doctor(operators=True), ("worst",)),
        (Doctor(trace="steps.json.gz"), ("worst",)),
    ):
        assert doctor.examine(monitor, subject()) == inside
    assert asked == [None, "steps.json.gz"]


def test_other_programs_are_what_this_one_does_not_use() -> None:
    load = machine.Load(seconds=1.0, cores=(0.9, 0.5), own=1.0)
    assert load.others == pytest.approx(0.4)
    assert machine.Load(seconds=1.0, cores=(0.2,), own=0.5).others == 0
    assert machine.Load(seconds=0.2, cores=(0.9, 0.5), own=1.0).others is None  # too short
    assert machine.Load(seconds=1.0, own=1.0).others is None
    assert machine.Load(cores=(0.9, 0.5)).others is None  # no time has passed


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


@pytest.mark.parametrize(("free", "windows"), [(12_800, 100), (0, 1 << 40)])
def test_half_of_the_free_memory_is_for_a_batch_and_what_its_gradients_need(
    free: int, windows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 8 windows, 256 bytes are kept for the backward pass, and as many come and go: 64 a window."""
    network = nn.Linear(4, 1, bias=False)
    kept = Subject(
        network=network, batch=8, draw=lambda size, generator: torch.rand(size, 4),
        loss_of=lambda batch: (batch * network.weight).exp().sum(),  # the batch, and exponents
    )  # fmt: skip
    monkeypatch.setattr(bare_loop, "memory", lambda device: Memory(0, free, 0))
    assert Bare(kept).fits() == windows  # any number where the system does not tell


def test_the_load_of_a_gpu_is_the_mean_of_what_its_driver_tells_in_percent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = [20, 60]
    enough = Event()

    def rates(handle: bytes) -> SimpleNamespace:
        assert handle == b"GPU-1234"
        if len(readings) == 1:
            enough.set()
        return SimpleNamespace(gpu=readings.pop(0) if len(readings) > 1 else readings[0])

    nvml = SimpleNamespace(
        nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetUtilizationRates=rates,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="1234"))
    samples: list[float] = []
    with machine._Sampler(torch.device("cuda"), samples):
        assert enough.wait(20)
    assert samples[:2] == [0.2, 0.6]


def test_costs_of_an_operator_are_those_of_a_step() -> None:
    """Two products of matrices: one forward, and one back to the weights."""
    network = nn.Linear(64, 512, bias=False)
    product = Subject(
        network=network, batch=256, draw=lambda size, generator: torch.rand(size, 64),
        loss_of=lambda batch: network(batch).sum(),
    )  # fmt: skip
    began = time.perf_counter()
    costs = {operator.name: operator for operator in operators(product)}
    took = time.perf_counter() - began
    assert costs["aten::mm"].calls == 2
    wholes = [operator.seconds / operator.share for operator in costs.values()]
    assert wholes == pytest.approx([wholes[0]] * len(wholes))  # each a share of the same whole
    assert wholes[0] < took


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
