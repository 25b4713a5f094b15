"""Two processes learn what one does, forecast what one does, and say what went wrong in either."""

from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

import demandcast as dc
from demandcast import registry
from demandcast.cli.main import main
from demandcast.errors import ConfigError, WorkerError
from demandcast.frames import examples, read_panel
from demandcast.models.base import NeuralForecaster
from demandcast.models.rows import Rows
from demandcast.models.workers import shared_forecast
from demandcast.panel.panel import Panel
from demandcast.train.checkpoint import read_tensors
from demandcast.train.doctor.bare_loop import limit_threads
from demandcast.train.group import launch_group, run_beside
from demandcast.train.state import CHECKPOINT

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")
SMALL: dict[str, Any] = {"horizon": 7, "context": 14, "batch_size": 9, "seed": 3, "dropout": 0.0}

TOGETHER = """
import json, os
os.environ.update(environment)
import torch, demandcast as dc
from torch import nn
from torch.utils.data import TensorDataset

torch.manual_seed(int(os.environ.get("RANK", 0)))  # they begin apart
net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1))
x = torch.linspace(-1, 1, 150).view(50, 3)
log = dc.train.fit(
    net, TensorDataset(x, x.sum(1, keepdim=True)), nn.functional.mse_loss, epochs=20,
    batch_size=16, device="cpu", progress=False, devices=devices,
    validation=TensorDataset(x[:7], x[:7, :1]),
)
told = [log.steps, log.windows, *(p.double().sum().item() for p in net.parameters())]
if place:
    with open(place, "w") as file:
        json.dump(told, file)
"""
WORKER = """
import os, atexit
os.environ.update(environment)
from demandcast.models.workers import main
main(*words)
atexit._run_exitfuncs()  # which a fork leaves out
"""


@pytest.fixture(scope="module")
def panel() -> Panel:
    frame = examples.retail(n_items=12, n_days=60, seed=1).frame
    panel = read_panel(frame, key="item", known=["price", "promo"])
    panel.target[np.random.default_rng(0).random(len(panel.target)) < 0.3] = np.nan
    return panel.drop_last(7)


class Fork:
    """A worker as `Popen` starts it, from a process that has imported all."""

    def __init__(
        self, forks: ForkServerContext, program: Sequence[str], environment: dict[str, str]
    ) -> None:
        assert program[:3] == [sys.executable, "-m", "demandcast.models.workers"]
        known = {"words": program[3:], "environment": environment}
        self.process = forks.Process(target=exec, args=(WORKER, known))
        self.process.start()

    def poll(self) -> int | None:
        return self.process.exitcode

    returncode = property(poll)

    def wait(self, seconds: float | None = None) -> int | None:
        self.process.join(seconds)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()


def test_two_processes_learn_what_one_does(
    panel: Panel, tmp_path: Path, forks: ForkServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork(program: Sequence[str], env: dict[str, str], **_: Any) -> Fork:
        return Fork(forks, program, env)

    monkeypatch.setattr("demandcast.train.group.subprocess.Popen", fork)
    hyper = SMALL | {"max_steps": 15, "validation": 7, "validate_every": 6, "own_draws": 0.0}
    alone: Any = registry.create("deepar", **hyper)
    alone.fit(panel, progress=False)
    both: Any = registry.create("deepar", **hyper, devices=2, checkpoint_every=6)
    both.fit(panel, progress=False, checkpoint=tmp_path)
    assert both.log.steps == 15
    assert both.log.windows == 15 * 9
    # sums in another order, grown over 15 steps of Adam
    for one, other in zip(alone.network.parameters(), both.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=2e-4)
    scores = [[score for _, score in model.log.validation] for model in (alone, both)]
    assert scores[1] == pytest.approx(scores[0], rel=1e-4)
    again: Any = registry.create("deepar", **hyper, devices=2, checkpoint_every=6)
    again.fit(panel, progress=False, checkpoint=tmp_path, resume=True)  # from step 12
    for one, other in zip(again.network.parameters(), both.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not dist.is_initialized()


def test_two_processes_forecast_what_one_does(
    panel: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = registry.create("deepar", **SMALL, max_steps=2)
    model.fit(panel, progress=False)
    monkeypatch.setattr(type(model), "rows", 1000)  # series x paths at once: 5 of 12 series
    one = model.predict(panel, n_samples=200)
    calls = []

    def watched(*words: Any) -> Any:
        calls.append(words[2])
        return shared_forecast(*words)

    monkeypatch.setattr("demandcast.models.base.shared_forecast", watched)
    model.config = dc.models.DeepAR(**SMALL, devices=2).config
    two = model.predict(panel, n_samples=200)
    assert calls == [[slice(0, 5), slice(5, 10), slice(10, 12)]]
    assert two.keys.equals(one.keys)
    np.testing.assert_allclose(two.samples, one.samples, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(two.quantiles, one.quantiles, rtol=1e-5, atol=1e-5)


def test_a_series_has_the_same_paths_whatever_is_forecast_before_it(panel: Panel) -> None:
    model: Any = registry.create("deepar", **SMALL, max_steps=2)
    model.fit(panel, progress=False)
    asked = Rows(levels=(0.1, 0.5), paths=20, keep=True)
    whole = model.forecast_rows(panel, [slice(0, 5), slice(5, 12)], asked)
    rest = model.forecast_rows(panel, [slice(5, 12)], asked)
    assert torch.equal(whole["samples"][5:], rest["samples"])


def test_torchrun_starts_them_too(tmp_path: Path, forks: ForkServerContext) -> None:
    alone: dict[str, Any] = {"devices": 1, "place": "", "environment": {}}
    exec(TOGETHER, alone)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    runs = []
    for rank, devices in enumerate((1, 2)):  # the setting need not be given
        own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        known = {"devices": devices, "place": str(tmp_path / str(rank)), "environment": own}
        runs.append(forks.Process(target=exec, args=(TOGETHER, known)))
        runs[-1].start()
    for run in runs:
        run.join(120)
    assert [run.exitcode for run in runs] == [0, 0]
    numbers = [json.loads((tmp_path / str(rank)).read_text()) for rank in (0, 1)]
    assert numbers[0] == numbers[1]
    np.testing.assert_allclose(numbers[0], alone["told"], rtol=1e-4)


INTERRUPTED = """
import json, os, signal
os.environ.update(environment)
import torch, demandcast as dc
from torch import nn
from torch.utils.data import TensorDataset
from demandcast.cli import signals

signals.handle()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.2), nn.Linear(16, 1))
x = torch.linspace(-1, 1, 150).view(50, 3)
calls = 0

def loss(outputs, target):
    global calls
    calls += 1
    if calls == at:
        signal.raise_signal(signal.SIGTERM)
    return nn.functional.mse_loss(outputs, target)

def fit(**more):
    how = dict(max_steps=12, batch_size=16, device="cpu", progress=False, checkpoint_every=5)
    return dc.train.fit(net, TensorDataset(x, x.sum(1, keepdim=True)), loss, **how, **more)

try:
    log = fit(checkpoint=place, resume=True)
    told = [log.steps, *(p.double().sum().item() for p in net.parameters())]
except KeyboardInterrupt:
    told = [calls, "interrupted", signals.exit_code()]
with open(end, "w") as file:
    json.dump(told, file)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="not a POSIX system")
def test_processes_end_after_the_step_in_which_one_is_interrupted(
    tmp_path: Path, forks: ForkServerContext
) -> None:
    """A scheduler's SIGTERM need not reach all of them in one step; the checkpoint is of that step."""

    def train(place: str, at: int) -> list[Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        runs = []
        for rank in (0, 1):  # the signal is of the second process alone
            own = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            known = {"environment": own, "place": str(tmp_path / place), "at": at * rank}
            known["end"] = str(tmp_path / f"end{rank}")
            runs.append(forks.Process(target=exec, args=(INTERRUPTED, known)))
            runs[-1].start()
        for run in runs:
            run.join(120)
        return [json.loads((tmp_path / f"end{rank}").read_text()) for rank in (0, 1)]

    whole = train("whole", at=0)
    assert whole[0] == whole[1]
    assert train("cut", at=7) == [[7, "interrupted", 130], [7, "interrupted", 143]]
    assert read_tensors(tmp_path / "cut" / CHECKPOINT)[1]["log"]["steps"] == 7
    assert train("cut", at=0) == whole


def test_what_cannot_be_shared_is_refused(panel: Panel) -> None:
    with pytest.raises(ConfigError, match="devices is 0"):
        registry.create("nhits", horizon=7, devices=0)
    with pytest.raises(ConfigError, match="devices is 4; it must be at most the 3 samples"):
        registry.create("nhits", horizon=7, batch_size=3, devices=4)
    data = torch.utils.data.TensorDataset(torch.zeros(8, 1), torch.zeros(8, 1))
    with pytest.raises(ConfigError, match=r"torchrun --nproc-per-node 2"):
        dc.train.fit(torch.nn.Linear(1, 1), data, torch.nn.functional.mse_loss, devices=2)
    if not torch.cuda.is_available():
        with (
            pytest.raises(ConfigError, match="there are 0 GPUs"),
            launch_group(2, ["true"], "cuda"),
        ):
            pass


@pytest.mark.parametrize(("threads", "share"), [(4, 2), (5, 2), (1, 1)])
def test_programs_beside_this_one_share_its_threads_equally(threads: int, share: int) -> None:
    told = f"import os, sys; sys.exit(os.environ['OMP_NUM_THREADS'] != '{share}')"
    with limit_threads(threads):
        with run_beside([[sys.executable, "-S", "-c", told]]):
            assert torch.get_num_threads() == share
        assert torch.get_num_threads() == threads  # its own again


def test_the_end_of_a_process_is_said_with_its_last_words() -> None:
    program = [sys.executable, "-c", "raise ValueError('no such disk')"]
    with (
        pytest.raises(WorkerError, match=r"\(ValueError: no such disk\).*devices=1"),
        launch_group(2, program, "cpu"),
    ):
        pass


def test_the_command_line_hands_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fit(self: Any, *_: Any, **__: Any) -> None:
        asked.append(self.config.devices)
        raise ConfigError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(NeuralForecaster, "fit", fit)
    examples.retail(n_items=4, n_days=60, seed=1).frame.write_csv("sales.csv")
    words = ["sales.csv", "--horizon", "7", "--devices", "2"]
    for command in (
        ["forecast", "--model", "nlinear"],
        ["backtest", "--models", "nlinear,croston"],
    ):
        assert main([*command, *words]) == 2
        assert "enough" in capsys.readouterr().err
    assert asked == [2, 2]
    assert main(["forecast", "--model", "croston", *words]) == 2
    assert "croston has no hyper-parameter 'devices'" in capsys.readouterr().err
