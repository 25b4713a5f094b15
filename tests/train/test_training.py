"""Settings of a training, its budget, its batches and its state, each by itself."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from demandcast.errors import CheckpointError, ConfigError
from demandcast.train import clock as clocks
from demandcast.train import interrupts
from demandcast.train.batches import (
    ALIGNED,
    Slot,
    count_samples,
    move_batch,
    pack_batch,
    slice_batch,
    tensors_of,
)
from demandcast.train.budget import Budget
from demandcast.train.fit import ShuffledEpochs
from demandcast.train.group import ALONE, Group
from demandcast.train.loaders import ResidentLoader, _bytes_text, choose
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

    def __getitems__(self, index: Tensor) -> Tensor:
        self.asked.append(len(index))
        return index * 10


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


def test_arrays_stay_where_they_fit() -> None:
    assert [_bytes_text(n) for n in (999, 1e6, 2.5e9)] == ["1.0 kB", "1.0 MB", "2.5 GB"]
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
