"""A command that failed is printed anew with the name that was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from demandcast import registry
from demandcast.cli.main import main
from demandcast.cli.mend import replace_name
from demandcast.decide.rules import choose_policy
from demandcast.errors import DemandcastError
from demandcast.frequency import Frequency
from demandcast.reading import Reading
from demandcast.settings import check_names


@pytest.mark.parametrize(
    ("words", "wrong", "right", "expected"),
    [
        (
            ["check", "s.csv", "--target", "sale"],
            "sale",
            "sales",
            ["check", "s.csv", "--target", "sales"],
        ),
        (
            ["check", "s.csv", "--key=shop,itm"],
            "itm",
            "item",
            ["check", "s.csv", "--key=shop,item"],
        ),
        (
            ["forecast", "s.csv", "--set", "max_step=10"],
            "max_step",
            "max_steps",
            ["forecast", "s.csv", "--set", "max_steps=10"],
        ),
        (["forecast", "s.csv", "--freq", "fortnight"], "fortnight", "MS", None),
        (["check", "s.csv"], "itm", "item", None),
        (["check", "itm"], "itm", None, None),
    ],
)
def test_the_name_that_was_meant_is_put_in(
    words: list[str], wrong: str, right: str | None, expected: list[str] | None
) -> None:
    assert replace_name(words, wrong, right) == expected


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        (["forcast", "s.csv", "--horizon", "3"], "forecast s.csv --horizon 3"),
        (["forecast", "s.csv"], "forecast s.csv --horizon 28"),
        (["forecast", "s.csv", "--horizn", "3"], "forecast s.csv --horizon 3"),
        (["forecast", "s.csv", "--horizn=3"], "forecast s.csv --horizon=3"),
        (["backtest", "s.csv", "--h", "3", "--models", "ets,nhit"], "backtest s.csv --h 3 --models ets,nhits"),
        (
            ["backtest", "s.csv", "--h", "3", "--models", "ets", "--target", "sale"],
            "backtest s.csv --h 3 --models ets --target sales",
        ),
        (["forecast", "s.cvs", "--h", "3"], "forecast s.csv --h 3"),
        (["forecast", "s.csv", "--h", "3", "--key", "item", "date"], "forecast s.csv --h 3 --key item,date"),
        (["forecast", "s.csv", "--h", "3", "--levels", "0.5"], "forecast s.csv --h 3 --quantiles 0.5"),
        (["forecast", "s.csv", "--h", "3", "--quantiles", "10,90"], "forecast s.csv --h 3 --quantiles 0.1,0.9"),
        (["backtest", "s.csv", "--h", "3", "--models", "ses ets"], "backtest s.csv --h 3 --models ses,ets"),
    ],
)  # fmt: skip
def test_the_corrected_command_is_printed(
    words: list[str],
    tried: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"a,2024-01-{day:02d},{day}" for day in range(1, 29)]
    Path("s.csv").write_text("\n".join(["item,date,sales", *lines]), encoding="utf-8")
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"try: demandcast {tried}"


@pytest.mark.parametrize(
    ("call", "wrong", "right"),
    [
        (lambda: registry.get("nhit"), "nhit", "nhits"),
        (lambda: Frequency.parse("W-SUM"), "W-SUM", "W-SUN"),
        (lambda: Frequency.parse("W-MOM"), "W-MOM", "W-MON"),
        (lambda: Frequency.parse("QS-FEV"), "QS-FEV", "QS-FEB"),
        (lambda: Reading().override({"gap": "zero"}), "gap", "gaps"),
        (lambda: choose_policy(None, {"lead_tme": 2}), "lead_tme", "lead_time"),
        (lambda: check_names("ets", ["max_step"], ["max_steps"]), "max_step", "max_steps"),
        (lambda: check_names("ets", ["zebra"], ["max_steps"]), "zebra", None),
    ],
)
def test_an_error_holds_the_name_that_its_message_suggests(
    call: Callable[[], object], wrong: str, right: str | None
) -> None:
    with pytest.raises(DemandcastError) as caught:
        call()
    assert (caught.value.found, caught.value.suggested) == (wrong, right)
    assert ("did you mean" in str(caught.value)) == (right is not None)


def test_an_error_without_a_suggestion_has_no_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "nowhere.csv"]) == 2
    assert "try:" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["forecast"], "--horizon is missing: number of steps to forecast, in steps of the table"),
        (["forecast", "s.csv", "--horizon", "0"], "--horizon is '0'; it must be a whole number, 1 or more"),
        (["forecast", "s.csv", "--h=7.5"], "--h is '7.5'; it must be a whole number"),
        (["doctor", "--seconds", "x"], "--seconds is 'x'; it must be a number"),
        (["forecast", "s.csv", "--horizon"], "--horizon has no value; write one after it"),
        (["check", "s.csv", "--horizon", "7"], "demandcast check has no option --horizon; demandcast check --help lists the options"),
        (["check", "a.csv", "b.csv"], "'b.csv' is one word too many; DATA is one path: to read several files as one table, quote the pattern, as in '*.csv'"),
        (["check", "a.csv", "--json", "yes"], "'yes' is one word too many; --json takes no value; write --json alone"),
        (["backtest", "s.csv", "--refit=no"], "--refit takes no value; write --refit alone"),
        (["sell", "s.csv"], "there is no command 'sell'; demandcast --help lists all"),
        (["forecast", "s.csv", "--h", "3", "--model", "ses,ets"], "--model takes one name, and 'ses,ets' are several; demandcast backtest compares models: --models ses,ets"),
        (["forecast", "s.csv", "--h", "3", "--report", "r.pdf"], "--report r.pdf is of no known kind; a report is a page: end it in .html"),
        (["backtest", "s.csv", "--h", "3", "--out", "r.csv"], "--out r.csv has the name of a file, but it is a folder that is written; name a folder"),
        (["check", "s.csv", "--sheet", "2"], "not ready: sheet is '2', but s.csv has none: only .xlsx, .xlsm, .xlsb, .xls, .ods have; leave it out"),
    ],
)  # fmt: skip
def test_a_mistake_is_explained(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.csv").write_text("item,date,sales\na,2024-01-01,1\n", encoding="utf-8")
    assert main(words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("try: ")]
    assert lines[-1] == f"error: {message}"


def test_no_command_is_shown_that_would_fail_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        "a,2024-01-01,x",
        "a,2024-01-01,y",
    ]  # twice, which a rule mends, and no number, which none does
    Path("s.csv").write_text("\n".join(["item,date,sales", *rows]), encoding="utf-8")
    for words in (["check", "s.csv"], ["forecast", "s.csv", "--h", "1", "--model", "ses"]):
        assert main([*words, "--target", "sales", "--key", "item", "--time", "date"]) == 2
        assert "try: " not in capsys.readouterr().err
