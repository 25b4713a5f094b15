"""What reaches the terminal: no control character of a table, and no failure of a closed stream."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import polars as pl
import pytest

from demandcast.cli import show, terminal
from demandcast.cli.main import app, main

HOSTILE = "\x1b[2J\x1b]0;pwn\x07x\n\r\t\x9b\x7f\u202e\u2066\u200f\u2028y\ud800"[:-1]
JOINERS = "\u200c\u200d"


def is_safe(text: str) -> bool:
    """Whether a terminal shows a text as it stands, line breaks aside."""
    return not any(
        unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
        or unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for c in text.replace("\n", "")
    )  # fmt: skip


def test_no_character_of_unicode_steers_a_terminal() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    shown = terminal.printable(every)
    assert is_safe(shown)
    assert "\n" not in shown
    assert terminal.printable(plain := f"crème-brûlée 日本 שלום 👩{JOINERS[1]}🌾 | x") == plain
    assert terminal.printable("a\x1b\n\u202eb") == r"a\x1b\n\u202eb"


def test_json_stays_json() -> None:
    values = {HOSTILE: [HOSTILE, "\U000e0041", 1.5]}
    text = json.dumps(values, ensure_ascii=False, indent=1)
    shown = terminal.printable_json(text)
    assert is_safe(shown)
    assert json.loads(shown) == values


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A table whose keys, column and file names hold escape codes."""
    path = tmp_path / "s\x1b[31m\nales.csv"
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 30), eager=True)
    pl.DataFrame(
        {
            "item": [HOSTILE] * 30,
            "date": days,
            f"units{HOSTILE}": [1, 2, 0, 4, 5] * 6,
            f"spare{HOSTILE}": ["a"] * 30,
        }
    ).write_csv(path)
    stock = pl.DataFrame({"item": [HOSTILE], "on_hand": [3], f"note{HOSTILE}": ["a"]})
    stock.write_csv(tmp_path / "st\x1bock.csv")
    return path


COMMANDS: list[list[str]] = [
    ["check", "FILE"],
    ["forecast", "FILE", "--horizon", "2", "--model", "ses"],
    ["forecast", "FILE", "--horizon", "2", "--model", "ses", "--out", "f\x1b[31m.csv"],
    ["forecast", "FILE", "--horizon", "2", "--model", "ses", "--json"],
    ["forecast", "FILE", "--horizon", "2", "--model", "se\x1b[31ms"],
    ["forecast", "FILE", "--horizon", "2", "--model", "ses", "--set", "\x1b[31m=1"],
    ["forecast", "FILE", "--horizon", "2", "--key", "\x1b[31m"],
    ["forecast", "nowhere\x1b[31m.csv", "--horizon", "2"],
    ["backtest", "FILE", "--horizon", "2", "--models", "ses"],
    ["check\x1b[31m"],
    ["check", "--sql", "select \x1b[31m", "--connect", "sqlite:///n\x1b[31m.db"],
    ["predict", "RUN", "FILE"],
    ["predict", "RUN", "FILE", "--report", "r\x1b[31m.html", "--out", "f\x1b[31m.csv"],
    ["predict", "nowhere\x1b[31m", "FILE"],
    ["order", "FILE", "--model", "ses", "--lead-time", "1", "--service", "0.9", "--stock", "STOCK"],
    ["order", "FILE", "--model", "ses", "--lead-time", "1", "--service", "0.9", "--stock", "FILE"],
    ["order", "FILE", "--model", "ses", "--lead-time", "1", "--stock", "nowhere\x1b[31m.csv"],
    ["replay", "FILE", "--models", "ses", "--rounds", "2", "--lead-time", "1", "--service", "0.9"],
    ["replay", "FILE", "--models", "se\x1b[31ms", "--rounds", "2", "--lead-time", "1"],
    [
        "tune",
        "FILE",
        "--horizon",
        "2",
        "--model",
        "ses",
        "--trials",
        "1",
        "--space",
        "alpha=[0.1]",
        "--storage",
        "s\x1b[31m",
        "--save",
        "t\x1b[31m",
    ],
    ["tune", "FILE", "--horizon", "2", "--model", "ses", "--space", "\x1b[31m=[1,2]"],
    ["tune", "FILE", "--horizon", "2", "--model", "ses", "--storage", "FILE"],
    [
        "doctor",
        "FILE",
        "--horizon",
        "2",
        "--model",
        "nlinear",
        "--set",
        "context=4",
        "--set",
        "max_steps=25",
        "--seconds",
        "0.5",
        "--trace",
        "t\x1b[31m.json",
    ],
    ["doctor", "FILE", "--model", "nlin\x1b[31mear"],
    ["app", "nowhere\x1b[31m.csv", "--no-browser"],
    ["new", "FILE", "--folder", "n\x1b[31m"],
    ["serve", "r\x1b[31mun"],
    ["what-if", "RUN", "FILE", "--set", "pr\x1b[31mice=2"],
    ["demo", "--out", "FILE"],
    ["models", "show", "ses\x1b[31m"],
]


def test_every_command_is_given_escape_codes() -> None:
    assert {words[0] for words in COMMANDS} >= {command.name for command in app.registered_commands}


@pytest.mark.parametrize(
    "words", COMMANDS, ids=lambda words: ascii(" ".join(words[2:]) or words[0])
)
def test_names_with_escape_codes_are_shown_escaped(
    words: list[str],
    hostile: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(hostile.parent)
    target = f"units{HOSTILE}"
    roles = ["--target", target, "--key", "item"]
    names = {"FILE": hostile.name, "STOCK": "st\x1bock.csv", "RUN": "r\x1b[31mun"}
    given = [names.get(word, word) for word in words]
    given += roles if words[1:2] != ["--out"] and "FILE" in words and "--key" not in words else []
    if "RUN" in words:
        fit = ["forecast", hostile.name, "--horizon", "2", "--model", "ses", *roles]
        assert main([*fit, "--save", names["RUN"], "--out", "old.csv"]) == 0
    code = main(given)
    shown = capsys.readouterr()
    assert is_safe(shown.out), ascii(shown.out)
    assert is_safe(shown.err), ascii(shown.err)
    assert r"\x1b" in shown.out + shown.err or "--json" in words
    outputs = {"--out", "--storage", "--trace", "--folder"} & {*words}
    over = (
        words[-1] == "FILE" and words[0] != "predict"
    )  # an output over an input, or a stock that is none
    mistaken = any("\x1b" in word for word in words) and not outputs
    assert code == (2 if mistaken or (over and words != ["check", "FILE"]) else 0), shown.err
    if "--json" in words:
        assert {row["item"] for row in json.loads(shown.out)} == {HOSTILE}
    if "--out" in words and code == 0:
        assert set(pl.read_csv("f\x1b[31m.csv", glob=False)["item"]) == {HOSTILE}


@pytest.mark.parametrize("tty", [False, True])
def test_a_table_has_one_line_a_row(
    tty: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty, raising=False)
    show.table(pl.DataFrame({HOSTILE: [HOSTILE, "b"]}))
    shown = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)  # rich's own bold and dim
    assert is_safe(shown)
    assert shown.count("pwn") == 2


def test_what_the_library_logs_is_escaped() -> None:
    code = (
        "import logging; from demandcast.cli import terminal\n"
        "with terminal.log_lines(): logging.getLogger('demandcast').warning('%s empty', '\\x1b[2J')\n"
        "terminal.open_streams()\n"
        "raise ValueError('\\x1b[2J')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[0] == r"\x1b[2J empty"
    assert done.stderr.splitlines()[-1] == r"ValueError: \x1b[2J"


@pytest.fixture
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 1, 30), eager=True)
    table = pl.DataFrame({"item": ["a"] * 30, "date": days, "units": [1, 2, 0, 4, 5] * 6})
    table.write_csv(tmp_path / "sales.csv")
    monkeypatch.chdir(tmp_path)


FORECAST = ["forecast", "sales.csv", "--horizon", "2", "--model", "ses"]


@pytest.mark.usefixtures("sales")
def test_a_reader_that_goes_away_costs_no_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as pipe:  # fails at the first line, as a terminal does
        monkeypatch.setattr(sys, "stdout", pipe)
        words = ["backtest", "sales.csv", "--horizon", "2", "--models", "ses", "--out", "run"]
        assert main([*words, "--report", "page.html"]) == 0
    assert {p.name for p in Path("run").iterdir()} == {"leaderboard.csv", "rows.csv", "config.json"}
    assert Path("page.html").stat().st_size


@pytest.mark.usefixtures("sales")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is a device of Linux")
def test_a_full_disk_behind_stdout_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main([*FORECAST, "--json"]) == 2
    assert "error: cannot print to stdout: No space left" in capsys.readouterr().err


@pytest.mark.usefixtures("sales")
@pytest.mark.skipif(sys.platform == "win32", reason="closes streams by the shell")
def test_closed_streams_cost_no_output() -> None:
    def shell(closed: str) -> subprocess.CompletedProcess[str]:
        command = f'"{sys.executable}" -m demandcast {" ".join(FORECAST)} {closed}'
        return subprocess.run(command, shell=True, capture_output=True, text=True)

    lost = shell(">&-")
    assert (lost.returncode, lost.stderr.count("error: stdout is closed")) == (2, 1), lost.stderr
    kept = shell("--out kept.csv >&- 2>&-")
    assert kept.returncode == 0
    assert pl.read_csv("kept.csv").height == 2
