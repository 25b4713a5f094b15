"""The command line as a whole: help, exit codes, and no word of anyone else's `sys.argv`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from demandcast.cli.main import main
from demandcast.frames.examples import retail

COMMANDS = ["demo", "check", "forecast", "backtest", "predict", "models", "doctor", "serve"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert "\x1b" not in shown


def test_help_shows_required_options_first_and_groups_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["order", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: demandcast order [DATA] --stock FILE [OPTIONS]")
    titles = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == [
        "Arguments:", "Options:", "What to order:", "Output:", "Columns of the table:", "How the table is read:",
    ]  # fmt: skip
    assert shown.count("--key") == 1


def test_every_command_fits_into_one_line_of_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "..." not in shown.split("Commands:")[1]


@pytest.mark.parametrize("argv", [None, []])
def test_no_words_show_the_first_steps_whatever_the_kernel_was_given(
    argv: list[str] | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert main(argv) == 0
    assert "demandcast check sales.csv" in capsys.readouterr().out


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
        ["backtest", "sales.csv", "--horizon", "7", "--models", ""],
        ["backtest", "sales.csv", "--horizon", "7", "--models", " ,"],
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


LIMITED = """
import resource, sys
from demandcast.cli.main import main
{imports}
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + ({room} << 20),) * 2)
sys.exit(main(sys.argv[1:]))
"""
NETWORK = ["--model", "nlinear", "--set", "max_steps=5"]
HUGE = ["--model", "deepar", "--set", "max_steps=5", "--set", "hidden=30000"]
TRAINED = "import demandcast.models.deepar, torch, polars; torch.ones(9, 9) @ torch.ones(9, 9); polars.select(1)"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs the limits of Linux")
@pytest.mark.parametrize(
    ("ending", "room", "imports", "options"),
    [
        ("csv", 20, "", ["--model", "seasonal_naive"]),
        ("parquet", 20, "", ["--model", "seasonal_naive"]),
        ("csv", 200, "import polars", ["--model", "seasonal_naive"]),
        ("parquet", 200, "import polars", ["--model", "seasonal_naive"]),
        ("csv", 700, "", NETWORK),
        ("parquet", 700, "", NETWORK),
        ("csv", 700, "", ["--model", "lightgbm", "--set", "trees=2"]),
        ("parquet", 700, "", ["--model", "lightgbm", "--set", "trees=2"]),
        ("csv", 1400, TRAINED, HUGE),
    ],
)
def test_a_process_with_little_memory_ends_in_one_line(
    ending: str, room: int, imports: str, options: list[str], tmp_path: Path
) -> None:
    """Whatever runs out first, and though polars would end the process."""
    table = retail(n_items=300, n_days=400, seed=0).frame
    if ending == "csv":
        table.write_csv(tmp_path / "sales.csv")
    else:
        table.write_parquet(tmp_path / "sales.parquet")
    code = LIMITED.format(room=room, imports=imports)
    words = ["forecast", f"sales.{ending}", "--horizon", "7", *options]
    ended = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 2, ended.stderr
    assert last.startswith("error:")
    assert "memory" in last
    assert "a store" in last or "smaller network" in last
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("demandcast fore", ["forecast"]), ("demandcast forecast sales.csv --hor", ["--horizon"])],
)
def test_a_shell_completes_commands_and_options(
    typed: str,
    offered: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (
        ("_DEMANDCAST_COMPLETE", "complete_bash"), ("COMP_WORDS", typed), ("COMP_CWORD", str(typed.count(" "))),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out.split() == offered
