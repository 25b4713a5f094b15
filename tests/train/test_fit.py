"""Any network on any map-style data: epochs as the field means them, and every road gives the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import demandcast as dc
from demandcast.errors import CheckpointError, ConfigError, DataError

MNIST = Path(__file__).parents[2].parent / "shared" / "data" / "mnist.npz"
N = 50


class Items(Dataset[tuple[Tensor, Tensor]]):
    """One sample at a time, as most datasets are written; it tells which were asked for."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.asked = x, y, list[int]()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        self.asked.append(i)
        return self.x[i], self.y[i]


def data() -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(N, 3, generator=g)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.1


def net(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))


def fit(model: nn.Module, dataset: Dataset[Any], **hyper: Any) -> Any:
    hyper = {"batch_size": 16, "epochs": 3, "progress": False, "device": "cpu"} | hyper
    return dc.train.fit(model, dataset, nn.functional.mse_loss, **hyper)


def test_no_graph_outlives_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """The running average is a number, not a sum that remembers all steps: that would fill the memory."""
    averaged, lerp = list[Tensor](), torch._foreach_lerp_

    def noting(own: list[Tensor], weights: list[Tensor], share: float) -> None:
        lerp(own, weights, share)
        averaged.extend(own)

    monkeypatch.setattr(torch, "_foreach_lerp_", noting)
    fit(net(), TensorDataset(*data()))
    assert averaged
    assert all(average.grad_fn is None for average in averaged)


def test_an_epoch_is_one_pass_over_all_samples_in_an_order_of_its_own() -> None:
    items = Items(*data())
    log = fit(net(), items)
    assert log.per_epoch == 4  # ceil(50 / 16)
    assert log.steps == 12
    assert log.windows == 3 * N
    epochs = [items.asked[i : i + N] for i in range(0, 3 * N, N)]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)  # none twice, none left out
    assert epochs[0] != epochs[1] != epochs[2]
    again = Items(*data())
    fit(net(), again)
    assert again.asked == items.asked
    fit(net(), other := Items(*data()), seed=1)
    assert other.asked != items.asked


def test_the_bar_shows_epoch_batch_and_iteration(capsys: pytest.CaptureFixture[str]) -> None:
    fit(net(), Items(*data()), epochs=25, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 7/25, batch 1/4" in shown  # iteration 25
    assert "/100" in shown
    assert "iteration" in shown
    assert "samples/s" in shown


def test_all_roads_and_datasets_give_the_same_network() -> None:
    x, y = data()
    held, made = TensorDataset(x, y), Items(x, y)
    ways: list[tuple[Dataset[Any], dict[str, Any]]] = [
        (held, {"loader": "resident"}),
        (held, {"loader": "streaming"}),
        (held, {"loader": "streaming", "workers": 2}),
        (made, {"workers": 0}),
        (made, {"workers": 2}),
        (Subset(made, range(N)), {}),  # has a `__getitems__`, of single samples
    ]
    found = []
    for dataset, hyper in ways:
        model = net(dropout=0.3)
        fit(model, dataset, **hyper)
        found.append([p.detach() for p in model.parameters()])
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_inputs_may_be_a_dict_and_the_target_of_any_shape() -> None:
    class Pairs(Items):
        def __getitem__(self, i: int) -> Any:
            return {"a": self.x[i, :1], "b": self.x[i, 1:]}, self.y[i]

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, inputs: dict[str, Tensor]) -> Tensor:
            out: Tensor = self.net(torch.cat([inputs["a"], inputs["b"]], 1))
            return out

    model, plain = Two(), net()
    fit(model, Pairs(*data()))
    fit(plain, Items(*data()))
    assert all(map(torch.equal, model.parameters(), plain.parameters()))


def test_what_is_held_out_keeps_the_best_weights_and_stops() -> None:
    x, y = data()
    y[30:] += 2 * torch.randn(
        20, 1, generator=torch.Generator().manual_seed(2)
    )  # not to be learned
    model = net()
    log = fit(
        model, TensorDataset(x[:30], y[:30]), validation=TensorDataset(x[30:], y[30:]),
        epochs=400, learning_rate=0.03, patience=3,
    )  # fmt: skip
    assert [step for step, _ in log.validation[:3]] == [2, 4, 6]  # after every epoch
    best = min(score for _, score in log.validation)
    with torch.no_grad():
        found = nn.functional.mse_loss(model(x[30:]), y[30:]).item()
    assert found == pytest.approx(best, rel=1e-5)
    assert log.steps < 800
    assert len([s for s, _ in log.validation if s > log.best_step]) == 3


def test_a_cut_run_goes_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    whole = net(dropout=0.3)
    fit(whole, Items(*data()), workers=2)

    class Cut(Exception):
        pass

    steps = 0

    def loss(output: Tensor, target: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise Cut
        return nn.functional.mse_loss(output, target)

    hyper: dict[str, Any] = {
        "batch_size": 16,
        "epochs": 3,
        "progress": False,
        "checkpoint": tmp_path,
    }
    with pytest.raises(Cut):
        dc.train.fit(net(dropout=0.3), Items(*data()), loss, workers=2, checkpoint_every=3, **hyper)
    resumed, items = net(dropout=0.3), Items(*data())
    hyper["loss"] = nn.functional.mse_loss
    log = dc.train.fit(resumed, items, resume=True, checkpoint_every=3, **hyper)  # no workers now
    assert len(items.asked) == 3 * N - (N + 32)  # those behind step 6, where it was kept
    assert log.steps == 12
    assert all(map(torch.equal, whole.parameters(), resumed.parameters()))
    with pytest.raises(CheckpointError, match="batch_size"):
        dc.train.fit(resumed, items, resume=True, checkpoint_every=3, **hyper | {"batch_size": 8})


def test_what_cannot_be_trained_on_is_refused() -> None:
    x, y = data()
    with pytest.raises(ConfigError, match="did you mean 'batch_size'"):
        fit(net(), TensorDataset(x, y), batchsize=3)
    with pytest.raises(ConfigError, match="epochs is 0; it must be a whole number"):
        fit(net(), TensorDataset(x, y), epochs=0)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        fit(net(), TensorDataset(x, y), batch_size=0)
    with pytest.raises(ConfigError, match=r"wants a TensorDataset.*an? Items.*loader='streaming'"):
        fit(net(), Items(x, y), loader="resident")
    with pytest.raises(DataError, match="holds no samples"):
        fit(net(), TensorDataset(x[:0], y[:0]))

    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield from zip(x, y, strict=True)

    with pytest.raises(DataError, match="has no length"):
        fit(net(), Stream())


def test_errors_of_a_dataset_come_through_from_its_worker() -> None:
    class Broken(Items):
        def __getitem__(self, i: int) -> Any:
            if i == 7:
                raise KeyError("no such image")
            return super().__getitem__(i)

    with pytest.raises(KeyError, match="no such image"):
        fit(net(), Broken(*data()), workers=1)


def test_the_doctor_looks_at_it_too(capsys: pytest.CaptureFixture[str]) -> None:
    plain, watched = net(dropout=0.3), net(dropout=0.3)
    fit(plain, Items(*data()), epochs=10)
    log = fit(watched, Items(*data()), epochs=10, diagnose=True, progress=True)
    assert all(map(torch.equal, plain.parameters(), watched.parameters()))
    assert log.diagnosis.facts.loader == "streaming"
    assert log.diagnosis.facts.ceiling > 0
    assert str(log.diagnosis) in capsys.readouterr().err


@pytest.mark.skipif(not MNIST.exists(), reason=f"{MNIST} is not there")
def test_digits_are_read() -> None:
    """Handwritten digits, a tenth of the training: the whole is in benchmarks/LOG.md."""
    with np.load(MNIST) as file:
        x, y, x_test, y_test = (
            torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")
        )
    torch.manual_seed(0)
    mlp = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    digits = TensorDataset(x[:12_000].flatten(1).float() / 255, y[:12_000].long())
    dc.train.fit(
        mlp, digits, nn.functional.cross_entropy, epochs=3, batch_size=128,
        learning_rate=4e-3, progress=False, device="cpu",
    )  # fmt: skip
    with torch.no_grad():
        found = mlp(x_test.flatten(1).float() / 255).argmax(1)
    assert (found == y_test).float().mean() > 0.93


class NoBf16(nn.Linear):
    """A network that runs in float32 only, as an LSTM does on a CPU without AVX-512."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor. Run with ONEDNN_VERBOSE")
        return super().forward(x)


def test_bf16_where_it_does_not_run() -> None:
    points = TensorDataset(torch.ones(16, 1), torch.ones(16, 1))
    how: dict[str, Any] = {"epochs": 2, "device": "cpu", "progress": False}
    net = NoBf16(1, 1)
    before = net.weight.clone()
    with pytest.raises(ConfigError, match=r"could not create a primitive descriptor.*float32"):
        dc.train.fit(net, points, nn.functional.mse_loss, precision="bf16", **how)
    assert torch.equal(net.weight, before)
    log = dc.train.fit(net, points, nn.functional.mse_loss, precision="auto", **how)
    assert any(
        note
        == "precision=float32: bf16 does not run here (could not create a primitive descriptor)"
        for note in log.notes
    )


def test_an_error_in_any_precision_is_the_networks_own() -> None:
    points = TensorDataset(torch.ones(16, 2), torch.ones(16, 1))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        dc.train.fit(
            nn.Linear(1, 1),
            points,
            nn.functional.mse_loss,
            precision="bf16",
            device="cpu",
            progress=False,
        )


class Moves(nn.Module):
    """One weight, whose gradient the loss sets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(float(self.weight.detach()))
        return self.weight.expand(len(x), 1)


def move_batch(steps: int, slope: Any, **hyper: Any) -> Moves:
    """Train the weight down slopes; AdamW moves it by the rate where all slopes are alike."""
    net, ones = Moves(), TensorDataset(torch.ones(8, 1), torch.ones(8, 1))

    def loss(outputs: Tensor, _: Tensor) -> Tensor:
        return outputs.mean() * slope(len(net.seen))

    how = {"max_steps": steps, "batch_size": 8, "device": "cpu", "weight_decay": 0.0} | hyper
    dc.train.fit(net, ones, loss, progress=False, **how)  # type: ignore[arg-type]
    return net


def test_the_rate_rises_then_falls_as_a_cosine() -> None:
    net = move_batch(41, lambda _: 1.0, learning_rate=0.1, warmup=0.1, average=0.0)
    steps = -np.diff([*net.seen, float(net.weight.detach())])
    np.testing.assert_allclose(steps[:4], [0.025, 0.05, 0.075, 0.1], rtol=1e-3)
    assert steps.argmax() in (3, 4)
    assert (np.diff(steps[4:]) < 0).all()
    np.testing.assert_allclose(steps[-1], 0.001, rtol=0.3)


def test_a_network_is_told_the_share_of_steps_that_are_done() -> None:
    class Told(nn.Linear):
        done = -1.0

        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.done)
            return super().forward(x)

    seen: list[float] = []
    ones = TensorDataset(torch.ones(8, 1), torch.ones(8, 1))
    net = Told(1, 1)
    log = dc.train.fit(net, ones, nn.functional.mse_loss, max_steps=5, batch_size=4, progress=False)
    assert seen == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert net.done == 1.0
    assert (log.steps, log.windows, log.best_step, log.skipped) == (5, 20, 5, 0)


def test_losses_are_logged_as_means_over_the_steps_since_the_last_entry() -> None:
    ones, seen = TensorDataset(torch.ones(8, 1), torch.ones(8, 1)), []

    def loss(outputs: Tensor, _: Tensor) -> Tensor:
        seen.append(float(len(seen)))
        return outputs.mean() * 0 + seen[-1]

    log = dc.train.fit(nn.Linear(1, 1), ones, loss, max_steps=60, batch_size=8, progress=False)
    assert log.losses == [(25, 12.0), (50, 37.0)]


def test_a_gradient_that_is_infinite_moves_nothing_and_too_many_end_the_run() -> None:
    def loss(outputs: Tensor, _: Tensor) -> Tensor:
        steps.append(1)
        return outputs.mean() * (float("inf") if len(steps) in bad else 1.0)

    ones = TensorDataset(torch.ones(8, 1), torch.ones(8, 1))
    how: dict[str, Any] = {"max_steps": 30, "batch_size": 8, "progress": False}
    steps: list[int] = []
    bad: Any = range(1, 13)  # 12 of the first 25
    net = nn.Linear(1, 1)
    log = dc.train.fit(net, ones, loss, **how)
    assert (log.skipped, log.steps) == (12, 30)
    assert all(p.isfinite().all() for p in net.parameters())
    steps, bad = [], range(1, 14)  # 13 of them
    with pytest.raises(ConfigError, match="13 of the first 25 training steps had no finite"):
        dc.train.fit(nn.Linear(1, 1), ones, loss, **how)


def test_a_gradient_is_clipped() -> None:
    def slope(step: int) -> float:
        return 1000.0 if step == 1 else 1.0

    # Adam's second moment forgets a slope of 1,000 slowly: unclipped, the steps after it are tiny
    free = move_batch(6, slope, learning_rate=0.1, warmup=0.0, clip=1e9, average=0.0)
    clipped = move_batch(6, slope, learning_rate=0.1, warmup=0.0, clip=1.0, average=0.0)
    alike = move_batch(6, lambda _: 1.0, learning_rate=0.1, warmup=0.0, clip=1e9, average=0.0)
    np.testing.assert_allclose(clipped.seen, alike.seen, rtol=1e-5)
    assert abs(free.seen[-1] - alike.seen[-1]) > 0.01


def test_the_weights_kept_are_the_running_average() -> None:
    net = move_batch(20, lambda _: 1.0, learning_rate=0.1, warmup=0.0, average=0.9)
    last = move_batch(20, lambda _: 1.0, learning_rate=0.1, warmup=0.0, average=0.0)
    passed, expected = [*last.seen[1:], float(last.weight.detach())], 0.0
    for step, value in enumerate(passed, 1):
        decay = min(0.9, (1 + step) / (10 + step))
        expected += (1 - decay) * (value - expected)
    assert float(net.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert abs(expected - passed[-1]) > 0.01


def test_a_data_loader_is_told_what_to_give() -> None:
    data = TensorDataset(torch.zeros(8, 1), torch.zeros(8, 1))
    loader = DataLoader(data, batch_size=4, shuffle=True)
    with pytest.raises(DataError, match=r"fit\(model, loader\.dataset, loss, batch_size=4\)"):
        fit(net(), loader)  # type: ignore[arg-type]
