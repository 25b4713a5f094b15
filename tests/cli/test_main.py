"""The command line as a whole: help, exit codes, and no word of anyone else's `sys.argv`."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from demandcast.cli.main import main

COMMANDS = ["demo", "check", "forecast", "backtest", "predict", "models", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("argv", [None, []])
def test_no_words_show_the_help_whatever_the_kernel_was_given(
    argv: list[str] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert main(argv) == 0
    assert "forecast" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["forcast"],
        ["forecast"],
        ["forecast", "sales.csv"],
        ["forecast", "sales.csv", "--horizon", "0"],
        ["forecast", "sales.csv", "--horizon", "soon"],
        ["forecast", "sales.csv", "--horizon", "7", "--modle", "deepar"],
        ["forecast", "sales.csv", "--horizon", "7", "--quantiles", "low"],
        ["forecast", "sales.csv", "--horizon", "7", "--quantiles", "0.9,0.1"],
        ["backtest", "sales.csv", "--horizon", "7", "--folds", "0"],
        ["predict", "run"],
        ["models", "extra"],
        ["doctor", "--model", "seasonal_naive"],
        ["doctor", "--trace", "steps.txt"],
        ["doctor", "--set", "epochs=3"],
    ],
)
def test_what_the_caller_can_mend_ends_in_2_and_a_message(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "Traceback" not in told


def test_help_loads_neither_torch_nor_polars() -> None:
    code = (
        "import sys; from demandcast.cli.main import main; main(['--help']); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'polars', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("library", ["numpy", "torch", "python"])
def test_an_allocation_that_fails_is_one_line(
    library: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        if library == "numpy":
            np.empty(1 << 58)
        if library == "torch":
            torch.empty(1 << 58)
        raise MemoryError

    monkeypatch.setattr("demandcast.frames.read.read_panel", read)
    assert main(["forecast", "sales.csv", "--horizon", "7"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: the memory does not suffice")
    assert told.count("\n") == 1
    assert "store" in told
    assert library == "python" or str(1 << 60) in told or "2.00 EiB" in told
