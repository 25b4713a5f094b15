"""Settings of a training, its budget, its batches and its state, each by itself."""

from __future__ import annotations

import importlib.util
import math
import platform
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from demandcast.errors import CheckpointError, ConfigError
from demandcast.train import clock as clocks
from demandcast.train import group as group_module
from demandcast.train import interrupts
from demandcast.train.allocator import keep_heap
from demandcast.train.batches import (
    ALIGNED,
    Slot,
    count_samples,
    keep_batch,
    move_batch,
    pack_batch,
    slice_batch,
    tensors_of,
)
from demandcast.train.budget import Budget
from demandcast.train.device import out_of_memory, resolve_device
from demandcast.train.fit import ShuffledEpochs
from demandcast.train.group import ALONE, Group, process_group
from demandcast.train.loaders import ResidentLoader, StreamingLoader, _bytes_text, choose
from demandcast.train.state import CHECKPOINT, State
from demandcast.train.training import Training, TrainingLog


def test_the_rate_of_every_step_by_its_formula() -> None:
    training = Training(max_steps=100, learning_rate=0.2, warmup=0.1)
    rates = [training.rate(step) for step in range(100)]
    np.testing.assert_allclose(rates[:10], 0.2 * np.arange(1, 11) / 10)
    done = np.arange(90) / 90
    np.testing.assert_allclose(rates[10:], 0.2 * (0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2))
    assert Training(max_steps=1, learning_rate=0.2, warmup=0.0).rate(0) == 0.2
    assert training.rate(100) == pytest.approx(0.002)  # a hundredth is left in the end


def test_epochs_are_passes_over_all_windows() -> None:
    training = Training(batch_size=16, epochs=3)
    assert [training.per_epoch(n) for n in (1, 16, 17, 50)] == [1, 1, 2, 4]
    assert training.with_max_steps(50).max_steps == 12
    plain = Training(max_steps=7)
    assert plain.with_max_steps(50) is plain
    assert (Training(threads=3).fixed_threads, Training(threads="auto").fixed_threads) == (3, None)
    Training(batch_size=4, devices=4)
    with pytest.raises(ConfigError, match="devices is 5; it must be at most the 4 samples"):
        Training(batch_size=4, devices=5)
    assert TrainingLog(windows=30, seconds=2.0).windows_per_second == 15


@pytest.mark.parametrize("batch", [16, 10, 50, 64])
def test_an_epoch_has_every_sample_once_in_an_order_of_its_own(batch: int) -> None:
    draw = ShuffledEpochs(50, Training(batch_size=batch, seed=3))
    per_epoch = math.ceil(50 / batch)
    drawn = [draw(step, torch.Generator()) for step in range(2 * per_epoch)]
    for epoch in (drawn[:per_epoch], drawn[per_epoch:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(50))
        assert all(len(numbers) == batch for numbers in epoch[:-1])
    assert torch.cat(drawn[:per_epoch]).tolist() != torch.cat(drawn[per_epoch:]).tolist()
    again = ShuffledEpochs(50, Training(batch_size=batch, seed=3))  # begins anywhere
    assert torch.equal(again(2 * per_epoch - 1, torch.Generator()), drawn[-1])
    other = ShuffledEpochs(50, Training(batch_size=batch, seed=4))
    assert not torch.equal(other(0, torch.Generator()), drawn[0])


@pytest.mark.parametrize(
    ("text", "seconds", "steps"),
    [("90s", 90, None), (" 1.5 m ", 90, None), ("2min", 120, None), ("1H", 3600, None), (7, 7, None),
     ("500 steps", None, 500), ("1step", None, 1), ("0.5 steps", None, 1)],
)  # fmt: skip
def test_a_budget_is_a_time_or_a_number_of_steps(
    text: Any, seconds: float | None, steps: int | None
) -> None:
    budget = Budget.parse(text)
    assert (budget.seconds, budget.steps) == (seconds, steps)
    assert budget.left == math.inf if seconds is None else seconds - 1 < budget.left <= seconds
    assert 0 <= budget.spent < 1


@pytest.mark.parametrize("text", ["0", "-3", "0 steps", "5 d", "soon", "1 2", ""])
def test_a_budget_of_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=f"budget is '{text}'; say a time"):
        Budget.parse(text)


class Pair(NamedTuple):
    x: Tensor
    rest: dict[str, list[Tensor]]


def batch() -> Pair:
    return Pair(torch.arange(12.0).view(6, 2), {"more": [torch.arange(6), torch.rand(6, 3) > 0.5]})


def test_a_nested_batch_is_counted_cut_and_moved_as_one() -> None:
    whole = batch()
    assert count_samples(whole) == count_samples({"a": whole}) == count_samples([whole.x]) == 6
    part = slice_batch(whole, slice(2, 4))
    assert isinstance(part, Pair)
    assert torch.equal(part.x, whole.x[2:4])
    assert part.rest["more"][0].tolist() == [2, 3]
    assert part.x.data_ptr() == whole.x[2:].data_ptr()  # a view
    moved = move_batch(whole, torch.device("cpu"))
    assert len(tensors_of(moved)) == 3
    assert all(map(torch.equal, tensors_of(moved), tensors_of(whole)))


def test_tensors_of_a_packed_batch_begin_where_any_type_may() -> None:
    whole = {"flags": torch.ones(3, dtype=torch.bool), "values": torch.rand(5), "empty": torch.zeros(0, 2), "last": torch.arange(3)}  # fmt: skip
    packed = pack_batch(whole)
    slots: Any = packed.batch
    places = [(s.first, s.stop) for s in slots.values() if isinstance(s, Slot)]
    assert places == [(0, 3), (16, 36), (48, 48), (48, 72)]
    assert len(packed.flat) == 80
    assert all(first % ALIGNED == 0 for first, _ in places)
    back: Any = packed.unpack()
    for name, value in whole.items():
        assert torch.equal(back[name], value)
        assert back[name].dtype == value.dtype


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_processes_share_every_batch_between_them(size: int) -> None:
    drawn = torch.arange(17)
    parts = []
    for rank in range(size):
        group = Group()
        group.rank, group.size = rank, size
        part: Any = group.share(lambda *_: drawn)(0, torch.Generator())
        parts.append(part)
    assert torch.equal(torch.cat(parts), drawn)
    assert {len(p) for p in parts} <= {17 // size, -(-17 // size)}


def test_gradients_of_two_processes_are_added_up_where_one_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other process has the same, but for the last weight, which only it has a gradient of."""

    def add(flat: Tensor) -> None:  # stands in for the sum over both
        other = flat.clone()
        other[3], other[6], other[4 + 4 - 1] = 5.0, 1.0, flat[7]
        flat += other

    group = Group()
    group.size = 2
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]  # fmt: skip
    weights[0].grad = torch.tensor([1.0, 2.0])
    numbers = torch.tensor([7.0, 8.0, 9.0])
    monkeypatch.setattr(group_module.dist, "all_reduce", add)
    sums = group.sum_gradients(weights, numbers)
    assert sums.tolist() == [14, 16, 18]
    assert weights[0].grad.tolist() == [2, 4]
    assert weights[1].grad is None  # no process has it: the optimiser leaves it alone
    assert weights[2].grad is not None
    assert weights[2].grad.tolist() == [5]
    assert ALONE.sum_gradients(weights, numbers) is numbers


def test_what_the_first_process_says_reaches_all(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Tensor] = []

    def send(tensor: Tensor, rank: int) -> None:
        assert rank == 0
        sent.append(tensor.clone())

    def receive(tensor: Tensor, rank: int) -> None:
        tensor.copy_(sent.pop(0))

    first, second = Group(), Group()
    first.size = second.size = 2
    second.rank = 1
    value = {"batch_size": 64, "rate": 0.1, "name": "größer"}
    weight, mask = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    monkeypatch.setattr(group_module.dist, "broadcast", send)
    assert first.broadcast(value) == value
    first.broadcast_tensors([weight, mask])
    monkeypatch.setattr(group_module.dist, "broadcast", receive)
    assert second.broadcast(None) == value
    other, another = torch.zeros(2), torch.zeros(2, dtype=torch.bool)
    second.broadcast_tensors([other, another])
    assert torch.equal(other, weight)
    assert torch.equal(another, mask)
    assert not sent
    assert ALONE.broadcast(value) is value
    assert ALONE.gather(weight) == [weight]


def test_a_program_alone_is_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, rank in ((None, None), ("1", "0"), ("4", None)):
        for name, value in (("WORLD_SIZE", size), ("RANK", rank)):
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        assert process_group(1) is ALONE


def test_heap_is_kept_unless_that_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_heap.cache_clear()
    monkeypatch.setenv("DEMANDCAST_KEEP_HEAP", "0")
    assert not keep_heap()
    keep_heap.cache_clear()
    monkeypatch.delenv("DEMANDCAST_KEEP_HEAP")
    assert keep_heap() == (platform.libc_ver()[0] == "glibc")


def test_devices_are_named_or_refused() -> None:
    assert resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match="device='gpu' is not usable here"):
        resolve_device("gpu")
    said = "CUDA out of memory", "can't allocate memory: 8 bytes", "not enough memory: x"
    assert all(out_of_memory(RuntimeError(words)) for words in said)
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("shapes differ"))
    assert not out_of_memory(KeyError("out of memory"))


def test_a_streamed_batch_is_the_resident_one_and_so_is_the_place_to_go_on() -> None:
    class Items(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return 100

        def __getitem__(self, i: int) -> Tensor:
            return torch.tensor(10 * i)

    def draw(step: int, generator: torch.Generator) -> Tensor:
        return torch.randint(100, (5,), generator=generator)

    cpu = torch.device("cpu")
    for data, collate in ((Items(), None), (Numbers(), keep_batch)):
        loader: StreamingLoader[Any] = StreamingLoader(data, draw, cpu, collate=collate)
        draws, alone = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
        loader.start(2, 6, draws)
        for step in range(2, 6):
            expected = 10 * draw(step, alone)
            assert torch.equal(loader.next_batch(), expected)
            assert torch.equal(loader.state(), alone.get_state())
        assert torch.equal(loader.batch(torch.tensor([3, 7])), torch.tensor([30, 70]))
        loader.stop()
        assert loader.with_workers(2).workers == 2
        assert loader.pinned is None


def state_of(**hyper: Any) -> State:
    torch.manual_seed(0)
    return State(nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1)), Training(**hyper), ALONE)


def test_what_a_forward_pass_changes_is_undone() -> None:
    state = state_of()
    before = [b.clone() for b in state.network.buffers()], state.inside.get_state()
    undo = state.before_forward()
    state.network(torch.rand(4, 2))
    torch.rand(3, generator=state.inside)
    assert not torch.equal(state.inside.get_state(), before[1])
    undo()
    assert torch.equal(state.inside.get_state(), before[1])
    assert all(map(torch.equal, state.network.buffers(), before[0]))


def test_notes_are_kept_once() -> None:
    state = state_of()
    for words in ("one", "two", "one"):
        state.note(words)
    assert state.log.notes == ["one", "two"]


def test_a_checkpoint_brings_back_all_of_a_state(tmp_path: Any) -> None:
    state = state_of(max_steps=9, seed=5)
    state.network(torch.rand(4, 2)).sum().backward()
    state.optimiser.step()
    state.log.steps, state.best_score = 4, 0.25
    state.average_weights()
    torch.rand(3, generator=state.inside)
    torch.rand(3, generator=state.draws)
    path = tmp_path / CHECKPOINT
    state.write(path, state.draws.get_state())
    back = state_of(max_steps=9, seed=5)
    back.restore(tmp_path / "none")  # nothing to go on from
    assert back.log.steps == 0
    back.restore(path)
    assert (back.log.steps, back.best_score) == (4, 0.25)
    for one, other in (
        (state.weights, back.weights),
        (state.averaged, back.averaged),
        (state.best, back.best),
        (list(state.network.buffers()), list(back.network.buffers())),
        (list(state.optimiser.tensors().values()), list(back.optimiser.tensors().values())),
        ([state.inside.get_state()], [back.inside.get_state()]),
        ([state.draws.get_state()], [back.draws.get_state()]),
    ):
        assert len(one) == len(other) > 0
        assert all(map(torch.equal, one, other))
    state_of(max_steps=9, seed=5, workers=3, pin_memory=False).restore(path)  # no number changes
    with pytest.raises(CheckpointError, match=r"other settings \(seed\)"):
        state_of(max_steps=9, seed=6).restore(path)
    for steps, parts in ((10, 1), (-1, 1), (3, 0)):
        state.log.steps, state.log.parts = steps, parts
        state.write(path, state.draws.get_state())
        with pytest.raises(CheckpointError, match=f"{steps} steps in {parts} parts are out of range"):  # fmt: skip
            state_of(max_steps=9, seed=5).restore(path)


class Numbers(torch.utils.data.Dataset[Any]):
    """Counts how many samples each call asks for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __getitems__(self, index: Tensor | list[int]) -> Tensor:
        self.asked.append(len(index))
        return 10 * torch.as_tensor(index)


def test_small_batches_are_gathered_several_at_once_and_come_in_order() -> None:
    data = Numbers()
    loader = ResidentLoader(data, lambda step, g: torch.randint(100, (100,), generator=g) + step * 1000, torch.device("cpu"))  # fmt: skip
    draws, alone = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    loader.start(2, 9, draws)
    assert torch.equal(loader.state(), alone.get_state())
    for step in range(2, 9):
        expected = torch.randint(100, (100,), generator=alone) + step * 1000
        batch: Any = loader.next_batch()
        assert torch.equal(batch, expected * 10)
        assert torch.equal(loader.state(), alone.get_state())  # a resumed run draws the next one
    assert data.asked == [300, 400]  # 256 or more at first, then up to 1,024 while there are steps


@pytest.mark.parametrize(
    ("width", "count"), [(1, 1024), (8 << 10, 1024), (16 << 10, 512), (1 << 20, 256)]
)
def test_wide_samples_are_gathered_fewer_at_once(width: int, count: int) -> None:
    """As many as take 32 MB of memory, but at least 256 and at most 1,024."""

    class Wide(Numbers):
        def __getitems__(self, index: Tensor | list[int]) -> Tensor:
            self.asked.append(len(index))
            return torch.zeros(1).expand(len(index), width)  # 4 bytes a number, on paper

    data = Wide()
    loader: ResidentLoader[Tensor] = ResidentLoader(
        data, lambda step, g: torch.zeros(128, dtype=torch.int64), torch.device("cpu")
    )
    loader.start(0, 20, torch.Generator())
    for _ in range(10):
        loader.next_batch()
    assert data.asked[0] == 256  # before the size of a sample is known
    assert data.asked[1] == count


def test_arrays_stay_where_they_fit() -> None:
    assert [_bytes_text(n) for n in (999, 1e6, 1e9, 2.5e9)] == ["1.0 kB", "1.0 MB", "1.0 GB", "2.5 GB"]  # fmt: skip
    cpu = torch.device("cpu")
    there = choose("auto", "auto", cpu, needed=1 << 60, lie=cpu)
    assert (there.loader, there.workers) == ("resident", 0)
    far = choose("auto", 3, cpu, needed=1 << 60, lie=None)
    assert (far.loader, far.workers) == ("streaming", 3)
    assert "1,152,921,504.6 GB" in str(far)
    assert choose("auto", 0, cpu, needed=10, lie=None).loader == "resident"
    asked = choose("streaming", "auto", cpu, needed=10, lie=cpu)
    assert str(asked) == "streaming loader with 0 workers: loader='streaming'"


def test_a_device_that_works_on_its_own_time_is_waited_for_in_one_step_of_seven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[Any] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    clock = clocks.Clock(torch.device("cuda"), skip=3)
    timed = []
    for step in range(20):
        before = len(waits)
        clock.begin()
        clock.mark("forward")
        if len(waits) > before:
            timed.append(step)
    assert timed == [3, 10, 17]
    assert (clock.steps, clock.seen, len(waits)) == (3, 20, 6)
    on_cpu = clocks.Clock(skip=3)
    for _ in range(5):
        on_cpu.begin()
        on_cpu.mark("rest")
    assert (on_cpu.steps, len(waits)) == (2, 6)
    assert on_cpu.total == on_cpu.seconds["rest"] > 0


def test_no_interrupt_waits_when_a_program_begins() -> None:
    spec = importlib.util.find_spec("demandcast.train.interrupts")
    assert spec is not None
    assert spec.loader is not None
    fresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fresh)
    assert not fresh.waiting()
    assert not fresh.wait_for_step()  # no training is under way either
    fresh.check()


def test_an_interrupt_waits_for_the_step_of_the_outermost_training() -> None:
    reached = []

    def outer() -> None:
        with interrupts.at_steps():
            with interrupts.at_steps():
                interrupts.check()
            reached.append(interrupts.wait_for_step())
            interrupts.check()
            reached.append(False)

    assert not interrupts.wait_for_step()
    with pytest.raises(KeyboardInterrupt):
        outer()
    assert reached == [True]
    assert not interrupts.wait_for_step()
    interrupts.check()  # none is left
