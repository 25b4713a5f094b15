"""Ctrl-C, SIGTERM and SIGHUP: an exit code that tells which, a checkpoint, and no second waiting."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from demandcast.cli import signals
from demandcast.cli.main import main
from demandcast.frames.examples import retail
from demandcast.local.croston import TSB
from demandcast.train.checkpoint import read_tensors
from demandcast.train.state import CHECKPOINT

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="not a POSIX system")


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    numbers = [getattr(signal, name) for name in (*signals.NAMES, "SIGALRM")]
    handlers = [signal.getsignal(number) for number in numbers]
    hook = sys.unraisablehook
    monkeypatch.setattr(signals, "_first", None)
    monkeypatch.setattr(signals, "_ending", False)
    for number in numbers:  # nohup ignores SIGHUP, and so would the commands
        signal.signal(number, signal.SIG_DFL)
    signals.handle()
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.unraisablehook = hook
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_a_command_with_its_code_and_a_hint(
    name: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(*_: Any, **__: Any) -> None:
        signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr("demandcast.registry.classes", press)
    assert main(["models"]) == code
    assert capsys.readouterr().err == "interrupted\n"  # it has nothing to go on with
    monkeypatch.setattr("demandcast.registry.create", press)
    monkeypatch.setattr(signals, "_first", None)
    assert main(["forecast", "sales.csv", "--horizon", "2", "--model", "ses"]) == code
    assert (
        "interrupted; with --checkpoint DIR a training can be continued" in capsys.readouterr().err
    )


def test_the_second_time_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)  # a terminal that closes says so more than once
    assert codes == []
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
    assert codes == [143, 130]


def test_an_interrupt_waits_for_an_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_module.py").write_text(
        "import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def work() -> None:
        importlib.import_module("slow_module")
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert sys.modules["slow_module"].whole


def test_an_interrupt_that_a_finaliser_swallows_comes_again() -> None:
    class Swallows:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def work() -> None:
        Swallows()
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        work()


def test_what_is_about_to_be_written_is_written() -> None:
    signals.finish()
    signal.raise_signal(signal.SIGTERM)  # raises nothing
    assert signals.exit_code() == 143


@pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")
@pytest.mark.parametrize(("whole_group", "code"), [(False, 143), (True, 130)])
def test_processes_that_train_together_end_together(
    whole_group: bool, code: int, tmp_path: Path
) -> None:
    """By SIGTERM to the first of them, and by Ctrl-C, which the terminal sends to all."""
    retail(3, 60, seed=0).frame.write_csv(tmp_path / "sales.csv")
    command = [
        sys.executable, "-m", "demandcast", "forecast", "sales.csv", "--horizon", "7", "--model", "nlinear",
        "--set", "max_steps=1000000", "--set", "checkpoint_every=20", "--set", "devices=2",
        "--checkpoint", "run",
    ]  # fmt: skip
    # a test run in the background ignores Ctrl-C, and so would all that it starts
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(
            command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    kept, until = tmp_path / "run" / CHECKPOINT, time.monotonic() + 100
    while not kept.exists():
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    if whole_group:
        os.killpg(child.pid, signal.SIGINT)
    else:
        child.send_signal(signal.SIGTERM)
    _, said = child.communicate(timeout=60)
    assert child.returncode == code, said
    assert "interrupted; add --resume to continue" in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):  # nobody of the group is left
        os.killpg(child.pid, 0)
    assert read_tensors(kept)[1]["log"]["steps"] >= 20  # there to go on from
    assert [path.name for path in (tmp_path / "run").iterdir()] == [CHECKPOINT]


def test_a_search_that_is_interrupted_takes_the_best_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    retail(3, 80, seed=0).frame.write_csv(tmp_path / "sales.csv")
    calls, own = 0, TSB.predict

    def predict(model: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 9:  # in the third trial, of two cutoffs each
            signal.raise_signal(signal.SIGTERM)
        return own(model, *args, **kwargs)

    monkeypatch.setattr(TSB, "predict", predict)
    words = ["tune", str(tmp_path / "sales.csv"), "--horizon", "7", "--model", "tsb"]
    assert main([*words, "--trials", "20", "--save", str(tmp_path / "best")]) == 143
    assert "best of 3 trials" in (said := capsys.readouterr().err)
    assert said.endswith("interrupted; with --storage FILE a search can be continued\n")
    assert (tmp_path / "best" / "model.json").exists()
    calls = 5  # in the first trial: there is no best
    monkeypatch.setattr(signals, "_first", None)
    assert main([*words, "--trials", "20"]) == 143
    assert "best of" not in capsys.readouterr().err
