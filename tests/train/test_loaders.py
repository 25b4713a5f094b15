"""Both loaders bring the same batches, and "auto" takes the one that the memory asks for."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.frames import examples, read_panel
from demandcast.models.base import NeuralForecaster
from demandcast.panel.panel import Panel
from demandcast.train import loaders
from demandcast.train.doctor.machine import Memory
from demandcast.windows import WindowDataset

NEURAL = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
SMALL: dict[str, Any] = {"horizon": 7, "context": 14, "max_steps": 6, "batch_size": 8, "seed": 3}


@pytest.fixture(scope="module")
def panel() -> Panel:
    frame = examples.retail(n_items=4, n_days=60, seed=1).frame
    return read_panel(frame, key="item", known=["price", "promo"]).drop_last(7)


@pytest.fixture
def mapped(panel: Panel, tmp_path: Path) -> Panel:
    """The same panel, its values in files that cannot be written to."""

    def lay(name: str, values: Any) -> Any:
        np.save(tmp_path / f"{name}.npy", values)
        return np.load(tmp_path / f"{name}.npy", mmap_mode="r")

    return replace(panel, **{name: lay(name, values) for name, values in panel.flat.items()})


def fitted(name: str, panel: Panel, **hyper: Any) -> Any:
    return registry.create(name, **SMALL | hyper).fit(panel, progress=False)  # type: ignore[call-arg]


def numbers(model: Any) -> list[torch.Tensor]:
    return [value.clone() for value in model.network.state_dict().values()]


def alike(first: Any, second: Any) -> bool:
    return all(map(torch.equal, numbers(first), numbers(second)))


@pytest.mark.parametrize("name", NEURAL)
def test_the_same_seed_gives_the_same_network_on_both_roads(name: str, panel: Panel) -> None:
    resident = fitted(name, panel, loader="resident")
    streamed = fitted(name, panel, loader="streaming", workers=0)
    assert resident.log.notes == ["resident loader: loader='resident'"]
    assert streamed.log.notes == ["streaming loader with 0 workers: loader='streaming'"]
    assert alike(resident, streamed)


@pytest.mark.parametrize("name", ["nhits", "uber_lstm", "lstnet"])
def test_workers_change_no_number(name: str, mapped: Panel, panel: Panel) -> None:
    hyper = {"dropout": 0.2, "validation": 7, "validate_every": 3}
    resident = fitted(name, panel, loader="resident", **hyper)
    streamed = fitted(name, mapped, loader="streaming", workers=2, **hyper)
    assert alike(resident, streamed)
    assert resident.log.validation == streamed.log.validation
    assert resident.log.losses == streamed.log.losses
    first, second = resident.predict(panel), streamed.predict(mapped)
    np.testing.assert_array_equal(first.quantiles, second.quantiles)


def test_the_roads_leave_the_callers_random_numbers_alone(panel: Panel) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fitted("nlinear", panel, loader="streaming", workers=1)
    assert torch.equal(torch.get_rng_state(), before)


def dataset(name: str, panel: Panel) -> WindowDataset:
    model: Any = registry.create(name, **SMALL)
    _, source, plan = model.build(panel)
    return WindowDataset(source, model._sampler(panel, plan, 0), extra=model._extra_steps(plan))


@pytest.mark.parametrize("name", ["nlinear", "mqrnn", "lstnet"])
def test_every_window_has_its_number(name: str, panel: Panel) -> None:
    windows = dataset(name, panel)
    seen = list(DataLoader(windows, batch_size=32))  # with torch's own collate
    assert sum(map(len, seen)) == len(windows)
    if name != "lstnet":  # which reads all series at one stamp
        last = np.maximum(panel.lengths - 7 - windows.extra, 1)
        assert len(windows) == last.sum()
        places = torch.cat([w.stamps[:, 0] for w in seen])
        per_series = [
            int(panel.starts[i]) + 1 - 14 + k
            for i in range(panel.n_series)
            for k in range(int(last[i]))
        ]
        assert places.tolist() == per_series
    one, many = windows[-1], windows.__getitems__([0, len(windows) - 1])
    for field in fields(one):
        if field.name not in ("row", "step"):
            assert torch.equal(getattr(one, field.name)[0], getattr(many, field.name)[1])
    with pytest.raises(IndexError):
        windows[len(windows)]


@pytest.mark.parametrize("name", ["nhits", "lstnet"])
def test_the_collate_of_torch_joins_windows(name: str, panel: Panel) -> None:
    windows = dataset(name, panel)
    whole = windows.__getitems__(range(6))
    singly = default_collate([windows[i] for i in range(6)])
    worked = next(iter(DataLoader(windows, batch_size=6, num_workers=1)))
    for field in fields(whole):
        for other in (singly, worked):
            assert torch.equal(getattr(other, field.name), getattr(whole, field.name)), field.name


@pytest.mark.parametrize(("asked", "pinned"), [("auto", True), (True, True), (False, False)])
def test_pin_memory_says_where_streamed_batches_wait(
    asked: bool | str, pinned: bool, panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted("nlinear", panel, loader="streaming", pin_memory=asked)  # nothing to pin on a CPU
    asked_of: list[bool] = []
    real = loaders.DataLoader

    def noted(*args: Any, pin_memory: bool, **more: Any) -> Any:
        asked_of.append(pin_memory)
        return real(*args, **more)

    monkeypatch.setattr(loaders, "DataLoader", noted)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    windows = dataset("nlinear", panel)
    cuda = torch.device("cuda")
    loader = loaders.StreamingLoader(windows, lambda *_: torch.arange(2), cuda, pin_memory=asked)
    loader.with_workers(0).start(0, 1, torch.Generator())
    assert asked_of == [pinned]
    with pytest.raises(ConfigError, match="pin_memory is 'yes'"):
        fitted("nlinear", panel, pin_memory="yes")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("whole", [True, False])
def test_whole_batches_travel_as_one_piece_and_workers_keep_four_ready(
    workers: int, device: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that the dataset made travels from a worker, or to a GPU; no other is packed."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(loaders, "DataLoader", lambda *_, **named: given.update(named) or ())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    collate = loaders.keep_batch if whole else default_collate
    loader: Any = loaders.StreamingLoader(
        [], lambda *_: torch.arange(2), torch.device(device), workers=workers, collate=collate
    )
    loader.start(0, 1, torch.Generator())
    travels = whole and (workers > 0 or device == "cuda")
    assert given["collate_fn"] is (loaders.pack_batch if travels else collate)
    assert (given["num_workers"], given["prefetch_factor"]) == (workers, 4 if workers else None)


def test_one_core_of_a_gpu_machine_is_left_to_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest gather batches, one at least and eight at most."""
    gpu = torch.device("cuda")
    for cores, workers in ((1, 1), (2, 1), (6, 5), (9, 8), (99, 8)):
        monkeypatch.setattr(loaders, "cores", lambda cores=cores: range(cores))
        assert loaders.choose("streaming", "auto", gpu, needed=1, lie=None).workers == workers


@pytest.mark.parametrize("name", ["nhits", "lstnet"])
def test_a_part_of_a_batch_is_those_windows(name: str, panel: Panel) -> None:
    windows = dataset(name, panel)
    whole, half = windows.__getitems__(range(6)), windows.__getitems__(range(2, 4))
    some = loaders.slice_batch(whole, slice(2, 4))
    for field in fields(half):
        assert torch.equal(getattr(some, field.name), getattr(half, field.name)), field.name


@pytest.mark.parametrize("name", ["nhits", "lstnet"])
def test_a_packed_batch_is_that_batch(name: str, panel: Panel) -> None:
    window = dataset(name, panel).__getitems__(range(5))
    batch = {"windows": (window, torch.ones(3, dtype=torch.bool)), "more": [torch.zeros(0, 2)]}
    back = loaders.pack_batch(batch).to(torch.device("cpu")).unpack()
    for field in fields(window):
        one, other = getattr(window, field.name), getattr(back["windows"][0], field.name)
        assert torch.equal(one, other), field.name
        assert one.dtype == other.dtype
    assert torch.equal(back["windows"][1], torch.ones(3, dtype=torch.bool))
    assert back["more"][0].shape == (0, 2)


def test_auto_goes_by_where_the_values_are_and_what_is_free(
    panel: Panel, mapped: Panel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "demandcast"):
        in_memory = fitted("nlinear", panel)
        assert in_memory.plan.config.loader == "resident"
        assert fitted("nlinear", mapped).plan.config.loader == "resident"  # read into memory
        monkeypatch.setattr(loaders, "memory", lambda device: Memory(0, panel.nbytes, 10**9))
        streamed = fitted("nlinear", mapped)
    assert streamed.plan.config.loader == "streaming"
    assert "the arrays need" in streamed.log.notes[0]
    assert "are free on cpu" in streamed.log.notes[0]
    assert streamed.log.notes[0] in caplog.text
    assert alike(in_memory, streamed)
    source = streamed.build(mapped)[1]
    assert source.target.data_ptr() == mapped.target.ctypes.data  # not a copy


def test_a_gpu_streams_what_it_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(loaders, "memory", lambda device: Memory(0, 10_000, 10**9))
    monkeypatch.setattr(loaders, "cores", lambda: range(16))
    small = loaders.choose("auto", "auto", gpu, needed=4_000, lie=cpu)
    large = loaders.choose("auto", "auto", gpu, needed=6_000, lie=cpu)
    assert small.loader == "resident"
    assert (large.loader, large.workers) == ("streaming", 8)
    assert loaders.choose("auto", 3, gpu, needed=6_000, lie=None).workers == 3


@pytest.mark.parametrize(
    ("hyper", "said"),
    [
        ({"loader": "fast"}, "loader is 'fast'; .*It must be one of auto, resident, streaming"),
        ({"workers": -1}, "workers is -1; it must be a whole number, 0 or more, or 'auto'"),
        ({"precision": "fp8"}, "precision is 'fp8'; .*It must be one of float32, bf16, auto"),
    ],
)
def test_what_is_no_road_is_refused(hyper: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        registry.create("nlinear", **SMALL, **hyper)


def lstm_takes_bf16() -> bool:
    """Whether this CPU has bfloat16 LSTM kernels; oneDNN's need AVX-512."""
    try:
        with torch.autocast("cpu", torch.bfloat16):
            torch.nn.LSTM(2, 2)(torch.ones(1, 1, 2))[0].sum().backward()
    except RuntimeError:
        return False
    return True


LSTMS = ("deepar", "mqrnn", "deep_factors", "uber_lstm")  # whose LSTM reads float32


@pytest.mark.parametrize("name", ["nhits", "tft", *LSTMS])
def test_bf16_learns_what_float32_learns_or_is_refused(name: str, panel: Panel) -> None:
    hyper: dict[str, Any] = {"max_steps": 25, "dropout": 0.0, "average": 0.0}
    if name in LSTMS and not lstm_takes_bf16():
        with pytest.raises(ConfigError, match=r"precision='bf16' does not run .* cpu .*'auto'"):
            fitted(name, panel, precision="bf16", **hyper)
        return
    exact, rough = (fitted(name, panel, precision=p, **hyper) for p in ("float32", "bf16"))
    assert not alike(exact, rough)
    assert all(value.dtype != torch.bfloat16 for value in numbers(rough))
    assert rough.log.losses[-1][1] == pytest.approx(exact.log.losses[-1][1], rel=0.05)


@pytest.mark.parametrize("name", LSTMS)
def test_auto_precision_trains_on_every_cpu(name: str, panel: Panel) -> None:
    chosen = fitted(name, panel, precision="auto")
    if lstm_takes_bf16():
        return
    assert chosen.plan.config.precision == "float32"
    assert any("bf16 does not run here" in note for note in chosen.log.notes)
    assert alike(chosen, fitted(name, panel, precision="float32"))
