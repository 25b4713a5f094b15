"""What a run leaves open is chosen by trial, told with its reason, and can be pinned."""

from __future__ import annotations

import importlib
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import demandcast as dc
from demandcast.errors import CheckpointError, ConfigError
from demandcast.train.doctor import Subject
from demandcast.train.doctor import trials as module
from demandcast.train.doctor.bare_loop import Bare, limit_threads
from demandcast.train.doctor.thread_limit import ThreadLimit
from demandcast.train.doctor.trials import choose_by_trial, resize_batch, tune_workers
from demandcast.train.loaders import ResidentLoader, StreamingLoader
from demandcast.train.training import Training

running = importlib.import_module("demandcast.train.run")
PRICE = 4e-3  # seconds a step costs, whatever it holds


class Priced(nn.Module):
    """A network whose step has a fixed price, one a window, and one for its precision."""

    def __init__(self, *, window: float = 0.0, float32: float = 0.0, bf16: float = 0.0) -> None:
        super().__init__()
        self.layer, self.window, self.prices = nn.Linear(4, 1), window, (float32, bf16)

    def loss(self, batch: Tensor) -> Tensor:
        value: Tensor = (self.layer(batch) - 1).square().mean()
        return value

    def price(self, windows: int, precision: str) -> float:
        return PRICE + windows * self.window + self.prices[precision == "bf16"]


@pytest.fixture
def price_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is taken, and costs what its network says: no clock decides."""

    def seconds(bare: Bare, batch: Any, *, threads: int | None = None, **_: Any) -> float:
        with limit_threads(threads):
            bare.step(batch)
            network: Any = bare.subject.network
            return float(network.price(len(batch), bare.subject.precision))

    monkeypatch.setattr(Bare, "seconds", seconds)


def subject(network: Any, **facts: Any) -> Subject:
    def draw(size: int, generator: torch.Generator) -> Tensor:
        return torch.rand(size, 4, generator=generator)

    return Subject(network=network, loss_of=network.loss, draw=draw, batch=8, **facts)


def chosen(network: Any, name: str, settings: Training | None = None, **facts: Any) -> Any:
    settings = settings or Training(batch_size=8, max_steps=1_000_000)
    settled, (found,) = choose_by_trial(subject(network, **facts), settings, [name], seconds=2.0)
    assert found.name == name
    return settled, found


@pytest.mark.usefixtures("price_list")
def test_a_batch_grows_while_that_pays() -> None:
    """A step of n windows costs 4 ms and 0.1 ms each: 512 have 93 % of the best rate, 10,000 a second."""
    settled, found = chosen(Priced(window=1e-4), "batch_size")
    assert settled.batch_size == found.value == 512
    assert "batches of 8 1,667, batches of 16 2,857" in found.why
    assert "windows/s" in found.why


@pytest.mark.usefixtures("price_list")
def test_a_batch_stays_where_it_does_not_pay() -> None:
    _, found = chosen(Priced(window=0.02), "batch_size")
    assert found.value == 8


@pytest.mark.usefixtures("price_list")
@pytest.mark.parametrize(
    ("settings", "facts", "most", "why"),
    [
        ({"max_steps": 4000}, {}, 32, "the usual number of steps is kept"),  # 1000
        ({"max_steps": 500}, {}, 8, "the usual number of steps is kept"),
        ({}, {"windows": 50}, 16, "50 windows"),  # 25, in powers of two
    ],
)
def test_a_batch_is_bounded_by_steps_and_data(
    settings: dict[str, Any], facts: dict[str, Any], most: int, why: str
) -> None:
    _, found = chosen(
        Priced(),
        "batch_size",
        Training(**{"batch_size": 8, "max_steps": 1_000_000} | settings),
        **facts,
    )
    assert found.value == most
    assert why in found.why


@pytest.mark.usefixtures("price_list")
def test_a_batch_is_bounded_by_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of 4 numbers is kept for the backward pass with its one output."""
    memory = SimpleNamespace(free=8000, used=0, total=0)
    monkeypatch.setattr("demandcast.train.doctor.bare_loop.memory", lambda device: memory)
    _, found = chosen(Priced(), "batch_size")
    assert found.value in (16, 32, 64)
    assert "memory is short" in found.why


def test_batches_are_tried_for_three_fifths_of_the_time_and_the_best_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step takes a second whatever it holds; 10 s of 25 are for the batch, a second and a bit a trial."""
    now, tried = 0.0, list[tuple[int, float]]()

    def seconds(bare: Bare, batch: Tensor, *, limit: float, **_: Any) -> float:
        nonlocal now
        now += 1.0
        tried.append((len(batch), limit))
        return 1.0

    monkeypatch.setattr(Bare, "seconds", seconds)
    monkeypatch.setattr(Bare, "fits", lambda bare: 1 << 40)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now))
    training = Training(batch_size=8, max_steps=1_000_000)
    _, (found,) = choose_by_trial(subject(Priced()), training, ["batch_size"], seconds=25.0)
    sizes = [8 * 2**k for k in range(7)]
    assert tried == [*((size, 10 / 8) for size in sizes), (sizes[-1], 10 / 10)]
    assert found.value == sizes[-1]
    assert "time was up" in found.why


@pytest.mark.usefixtures("price_list")
def test_running_out_of_memory_in_a_trial_is_survived() -> None:
    class Greedy(Priced):
        def loss(self, batch: Tensor) -> Tensor:
            if len(batch) > 32:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().loss(batch)

    _, found = chosen(Greedy(), "batch_size")
    assert found.value == 32
    assert "exhausted" in found.why


def test_an_error_that_is_no_lack_of_memory_comes_through() -> None:
    class Broken(Priced):
        def loss(self, batch: Tensor) -> Tensor:
            raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        chosen(Broken(), "batch_size")


def test_another_batch_means_as_many_windows_and_the_root_of_the_rate() -> None:
    training = Training(batch_size=64, max_steps=1000, learning_rate=1e-3, average=0.99)
    larger = resize_batch(training, 256)
    assert (larger.batch_size, larger.max_steps, larger.validate_every) == (256, 250, 12)
    assert larger.learning_rate == pytest.approx(2e-3)
    assert larger.average == pytest.approx(0.99**4)  # of a quarter of the steps
    assert resize_batch(training, 64) == training
    assert resize_batch(training, 64 * 1000).validate_every == 1  # a step at least


@pytest.mark.usefixtures("price_list")
def test_threads_that_wait_for_each_other_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.machine, "physical_cores", lambda: 8)

    class Shared(Priced):
        best = 2

        def price(self, windows: int, precision: str) -> float:
            return PRICE * (1 + abs(torch.get_num_threads() - self.best))

    network, before = Shared(), torch.get_num_threads()
    settled, found = chosen(network, "threads")
    assert settled.threads == found.value == 2
    assert "1 thread " in found.why
    assert "8 threads" not in found.why  # four were slow enough
    network.best = 1
    assert chosen(network, "threads")[1].value == 1
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("price_list")
def test_threads_that_gain_nothing_are_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.machine, "physical_cores", lambda: 2)
    assert chosen(Priced(window=1e-3), "threads")[1].value == 1


@pytest.mark.usefixtures("price_list")
@pytest.mark.parametrize(("gain", "count"), [(1.07, 1), (1.09, 2)])
def test_a_thread_more_has_to_gain_a_twelfth(
    gain: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.machine, "physical_cores", lambda: 2)

    class Shared(Priced):
        def price(self, windows: int, precision: str) -> float:
            return PRICE / (gain if torch.get_num_threads() == 2 else 1)

    assert chosen(Shared(), "threads")[1].value == count


@pytest.mark.parametrize(("cores", "tried"), [(1, [1]), (4, [1, 2, 4]), (12, [1, 2, 4, 8, 12])])
def test_threads_are_doubled_up_to_all_cores(
    cores: int, tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def seconds(bare: Bare, batch: Any, *, threads: int, **_: Any) -> float:
        counts.append(threads)
        return 1 / threads

    monkeypatch.setattr(module.machine, "physical_cores", lambda: cores)
    monkeypatch.setattr(Bare, "seconds", seconds)
    assert chosen(Priced(), "threads")[1].value == cores
    assert counts == tried


def test_a_number_of_threads_three_times_as_slow_is_given_up_after_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.machine, "physical_cores", lambda: 4)
    costs, bounds = {1: 8.0, 2: 4.0, 4: 5.0}, dict[int, tuple[float, float]]()

    def seconds(bare: Bare, batch: Any, *, threads: int, limit: float, hopeless: float, **_: Any) -> float:  # fmt: skip
        bounds[threads] = limit, hopeless
        return costs[threads]

    monkeypatch.setattr(Bare, "seconds", seconds)
    assert chosen(Priced(), "threads")[1].value == 2
    assert bounds == {n: (pytest.approx(0.5 / 3), s) for n, s in {1: math.inf, 2: 24, 4: 12}.items()}  # fmt: skip


@pytest.mark.usefixtures("price_list")
@pytest.mark.parametrize(("gain", "precision"), [(1.07, "float32"), (1.09, "bf16")])
def test_bfloat16_has_to_gain_a_twelfth(gain: float, precision: str) -> None:
    assert chosen(Priced(float32=(gain - 1) * PRICE), "precision")[1].value == precision


@pytest.mark.usefixtures("price_list")
@pytest.mark.parametrize(("loss", "precision"), [(1.01, "bf16"), (1.03, "float32")])
def test_bfloat16_may_cost_a_fiftieth_of_the_loss(loss: float, precision: str) -> None:
    class Hurt(Priced):
        def loss(self, batch: Tensor) -> Tensor:
            return super().loss(batch) * (loss if torch.is_autocast_enabled("cpu") else 1)

    assert chosen(Hurt(float32=0.02), "precision")[1].value == precision


@pytest.mark.usefixtures("price_list")
def test_bfloat16_is_not_taken_where_there_is_no_time_to_compare() -> None:
    """Twenty steps of 0.1 s in each precision do not fit in two seconds."""
    _, found = chosen(Priced(float32=0.1, bf16=0.05), "precision")
    assert found.value == "float32"
    assert "no time" in found.why


def test_the_rate_of_a_streamed_training_leaves_out_its_first_two_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They take 10 s each, while workers start; later ones half a second."""
    now, steps = 0.0, 0

    def step(bare: Bare, batch: Tensor) -> None:
        nonlocal now, steps
        steps += 1
        now += 10.0 if steps <= 2 else 0.5

    monkeypatch.setattr(Bare, "step", step)
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now))
    rate = module._streaming_rate
    assert rate(streaming(0), subject(Priced()), 2.0) == 8 / 0.5
    assert steps == 2 + 4
    steps = 0
    assert rate(streaming(0), subject(Priced()), 0.1) == 8 / 0.5
    assert steps == 2 + 3  # three at least


@pytest.mark.usefixtures("price_list")
def test_bfloat16_is_taken_where_it_is_faster_and_as_good() -> None:
    _, found = chosen(Priced(float32=0.02), "precision")
    assert found.value == "bf16"
    assert "loss" in found.why
    assert chosen(Priced(bf16=0.02), "precision")[1].value == "float32"

    class Hurt(Priced):
        def loss(self, batch: Tensor) -> Tensor:
            return super().loss(batch) * (2 if torch.is_autocast_enabled("cpu") else 1)

    _, found = chosen(Hurt(float32=0.02), "precision")
    assert found.value == "float32"


def test_all_of_it_leaves_the_network_alone() -> None:
    network = Priced()
    before, state = [p.clone() for p in network.parameters()], torch.get_rng_state()
    names = ("threads", "batch_size", "precision")
    settled, found = choose_by_trial(subject(network), Training(batch_size=8), names, seconds=0.5)
    assert {c.name for c in found} == set(names)
    assert "auto" not in (settled.threads, settled.batch_size, settled.precision)
    assert all(map(torch.equal, before, network.parameters()))
    assert torch.equal(torch.get_rng_state(), state)


class Slow(Dataset[Tensor]):
    """Items that wait for their storage: more of them can wait at once."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, number: int) -> Tensor:
        time.sleep(2e-3)
        return torch.ones(4)


def streaming(workers: int) -> StreamingLoader:
    def draw(step: int, generator: torch.Generator) -> Tensor:
        return torch.randint(1000, (8,), generator=generator)

    return StreamingLoader(Slow(), draw, torch.device("cpu"), workers=workers)


def test_workers_are_started_where_they_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch waits 16 ms; two workers wait at the same time."""
    monkeypatch.setattr(module.machine, "physical_cores", lambda: 2)
    found = tune_workers(streaming, subject(Priced()), seconds=1.0)
    assert found.value > 0, found
    assert "0 workers " in found.why
    assert "1 worker " in found.why


def test_no_worker_is_started_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.machine, "physical_cores", lambda: 8)
    rates = {0: 100.0, 1: 105.0, 2: 130.0, 4: 135.0, 8: 40.0}

    tried: list[int] = []

    def streamed(loader: StreamingLoader, *_: Any) -> float:
        tried.append(loader.workers)
        return rates[loader.workers]

    monkeypatch.setattr(module, "_streaming_rate", streamed)
    assert tune_workers(streaming, subject(Priced())).value == 2
    assert tried == [0, 1, 2, 4, 8]
    rates[2] = rates[4] = 100.0
    tried.clear()
    assert tune_workers(streaming, subject(Priced())).value == 0
    assert tried == [0, 1, 2, 4]  # four bring no more than none, so eight are not started


def test_rates_in_words() -> None:
    rates = {1: 1234.6, 2: 900.0, 11: 5.0}
    assert module._rates_text(rates, "{} threads") == "1 thread 1,235, 2 threads 900, 11 threads 5 windows/s"  # fmt: skip
    assert module._rates_text({1: 3.0}, "batches of {}") == "batches of 1 3 windows/s"


@pytest.mark.parametrize(
    ("steps", "asked", "streams", "tried"),
    [(3125, "auto", True, True), (3124, "auto", True, False), (3125, 2, True, False), (3125, "auto", False, False)],
)  # fmt: skip
def test_workers_are_tried_for_long_runs_that_stream(
    steps: int, asked: int | str, streams: bool, tried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 200,000 windows on, and only where the number is left open."""
    calls = []

    def tune(*_: Any) -> Any:
        calls.append(1)
        return SimpleNamespace(value=3)

    monkeypatch.setattr(running, "tune_workers", tune)
    loader: Any = streaming(1)
    if not streams:
        loader = ResidentLoader(loader.dataset, loader.draw, loader.device)
    job: Any = SimpleNamespace(asked=Training(workers=asked), subject=lambda settings: None)
    settings = Training(max_steps=steps, batch_size=64)
    found, notes = running.choose_workers(job, settings, loader)
    assert (len(calls), found.workers) == ((1, 3) if tried else (0, loader.workers))
    assert len(notes) == tried


# The limit of threads


def test_a_collapse_is_cured_by_one_thread_or_told() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        free = ThreadLimit(free=True)
        assert free.check_rate(1000) is None
        assert free.check_rate(400) is None  # slower, but no collapse
        assert "fell from 1,000 to 100 with 2 threads: trying one" in str(free.check_rate(100))
        assert torch.get_num_threads() == 1
        assert "one thread from here on: 700" in str(free.check_rate(700))
        assert free.check_rate(10) is None  # there is nothing left to try

        torch.set_num_threads(2)
        bound = ThreadLimit(free=False)
        bound.check_rate(1000)
        said = str(bound.check_rate(100))
        assert "threads=1" in said
        assert bound.check_rate(100) is None  # said once
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("rate", "collapsed"), [(334, False), (332, True)])
@pytest.mark.parametrize(("after", "cured"), [(1.19, False), (1.21, True)])
def test_a_third_of_the_best_rate_is_a_collapse_and_a_fifth_more_a_cure(
    rate: float, collapsed: bool, after: float, cured: bool
) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        limit = ThreadLimit(free=True)
        limit.check_rate(1000)
        assert (limit.check_rate(rate) is not None) == collapsed
        if collapsed:
            limit.check_rate(after * rate)
            assert torch.get_num_threads() == (1 if cured else 2)
        torch.set_num_threads(1)
        alone = ThreadLimit(free=True)
        alone.check_rate(1000)
        assert alone.check_rate(1) is None  # one thread waits for no other
    finally:
        torch.set_num_threads(before)


def test_one_thread_that_does_not_help_is_taken_back() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        limit = ThreadLimit(free=True)
        limit.check_rate(1000)
        limit.check_rate(100)
        assert "2 threads again" in str(limit.check_rate(105))
        assert torch.get_num_threads() == 2
        assert limit.check_rate(100) is None  # this is the usual rate now
    finally:
        torch.set_num_threads(before)


# In a fit


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SECONDS", 0.3)
    monkeypatch.setattr(Training, "max_steps", 10)  # the usual steps
    monkeypatch.setattr(dc.models.NHITS.Config, "max_steps", 10)
    monkeypatch.setattr(dc.models.DLinear.Config, "max_steps", 10)


OPEN = {"batch_size": "auto", "threads": "auto", "precision": "auto"}
SMALL: dict[str, Any] = {"horizon": 4, "context": 14, "max_steps": 40}


@pytest.mark.usefixtures("quick")
def test_a_fit_tells_what_it_chose_and_repeats_where_that_is_pinned(panel: dc.Panel) -> None:
    threads = torch.get_num_threads()
    model = dc.models.NHITS(**SMALL, **OPEN)
    model.fit(panel, progress=False)
    assert torch.get_num_threads() == threads
    told = [note.split("=")[0] for note in model.log.notes]
    assert {"threads", "batch_size", "precision"} <= set(told)
    settled = model.plan.config
    assert isinstance(settled.batch_size, int)
    assert model.log.windows == settled.batch_size * settled.max_steps
    assert model.log.windows == pytest.approx(40 * 128, rel=0.1)  # as many as without
    names = (*OPEN, *module.RESIZED)
    pinned = dc.models.NHITS(**SMALL | {name: getattr(settled, name) for name in names})
    pinned.fit(panel, progress=False)
    assert pinned.predict(panel).to_frame().equals(model.predict(panel).to_frame())


@pytest.mark.usefixtures("quick")
def test_a_run_that_is_resumed_keeps_its_choices(panel: dc.Panel, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SMALL, **OPEN, "checkpoint_every": 2}
    first = dc.models.DLinear(**settings).fit(panel, checkpoint=tmp_path, progress=False)
    again = dc.models.DLinear(**settings).fit(
        panel, checkpoint=tmp_path, resume=True, progress=False
    )
    assert again.plan.config == first.plan.config
    assert again.predict(panel).to_frame().equals(first.predict(panel).to_frame())


@pytest.mark.usefixtures("quick")
def test_choices_of_a_resumed_run_bring_no_other_settings(panel: dc.Panel, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SMALL, "threads": "auto", "checkpoint_every": 2}
    dc.models.DLinear(**settings).fit(panel, checkpoint=tmp_path, progress=False)
    longer = dc.models.DLinear(**settings | {"max_steps": settings["max_steps"] + 2})
    with pytest.raises(CheckpointError, match=r"other settings .max_steps"):
        longer.fit(panel, checkpoint=tmp_path, resume=True, progress=False)


def test_a_long_run_on_a_streaming_road_tries_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def pick(loader: Any, subject: Subject) -> Any:
        tried.append(loader(1).name)
        return module.TrialResult("workers", 1, "by trial")

    monkeypatch.setattr(running, "tune_workers", pick)
    x = torch.rand(64, 1)
    data, mse = TensorDataset(x, x), nn.functional.mse_loss
    hyper: dict[str, Any] = {"epochs": 1, "loader": "streaming", "progress": False}
    assert "workers" not in " ".join(dc.train.fit(nn.Linear(1, 1), data, mse, **hyper).notes[1:])
    monkeypatch.setattr(running, "LONG", 64)
    log = dc.train.fit(nn.Linear(1, 1), data, mse, **hyper)
    assert log.notes[-1] == "workers=1: by trial"
    assert tried == ["streaming"]
    dc.train.fit(nn.Linear(1, 1), data, mse, **hyper, workers=0)  # said, so not tried
    assert tried == ["streaming"]


@pytest.mark.usefixtures("quick")
def test_any_network_may_leave_its_batch_open() -> None:
    x = torch.linspace(-1, 1, 256)[:, None]
    line = nn.Linear(1, 1)
    log = dc.train.fit(
        line, TensorDataset(x, 3 * x + 1), nn.functional.mse_loss, epochs=40, learning_rate=0.1,
        progress=False, batch_size="auto",
    )  # fmt: skip
    assert any(note.startswith("batch_size=") for note in log.notes)
    assert log.windows == 40 * 256
    assert line.weight.item() == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(
    ("name", "value"), [("batch_size", "large"), ("threads", 0), ("precision", "fp8")]
)
def test_what_is_no_choice_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value!r}; "):
        dc.models.NHITS(horizon=4, **{name: value})


def test_every_default_is_settled() -> None:
    settings = Training(**OPEN)
    assert module.without_auto(settings) == replace(
        settings, batch_size=64, threads=None, precision="float32"
    )
    assert module.open_settings(settings) == ("threads", "batch_size", "precision")
    assert module.open_settings(Training()) == ()
