"""`demandcast replay`: a leaderboard in money, its rows and its picture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demandcast.cli.main import main


def test_a_leaderboard_in_money_with_rows_and_a_picture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    monkeypatch.chdir(tmp_path)
    days, rng = np.datetime64("2024-01-01") + np.arange(60), np.random.default_rng(0)
    pl.concat(
        pl.DataFrame({"item": [i] * 60, "date": days, "units": rng.poisson(4, 60)}) for i in "ab"
    ).write_csv("sales.csv")
    words = ["replay", "sales.csv", "--lead-time", "2", "--cost-under", "1", "--cost-over", "0.2"]
    words += ["--models", "seasonal_naive", "--rounds", "3"]
    for _ in range(2):  # outputs may be replaced
        assert main([*words, "--out", "rows.csv", "--picture", "p.png", "--json"]) == 0
        board = json.loads(capsys.readouterr().out)
        assert board[0]["model"] == "perfect_foresight"
        assert {"mean_plus_sigma", "steps_of_cover", "seasonal_naive"} < {r["model"] for r in board}
    rows = pl.read_csv("rows.csv")
    assert rows.height == 4 * 3
    total = rows.filter(pl.col("model") == "seasonal_naive")["cost"].sum()
    shown = next(row["cost"] for row in board if row["model"] == "seasonal_naive")
    assert total == pytest.approx(shown)
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--rounds", "80"]) == 2
    assert "use fewer rounds" in capsys.readouterr().err
    assert main([*words, "--picture", "p.gif"]) == 2


def test_the_stock_is_read_by_the_decimal_sign_of_the_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    days = np.datetime64("2024-01-01") + np.arange(60)
    pl.DataFrame({"item": "a", "date": days, "units": [4] * 60}).write_csv("sales.csv")
    Path("stock.csv").write_text("item;on_hand\na;1.234\n")  # 1234, or one and a quarter
    words = [
        "replay",
        "sales.csv",
        "--lead-time",
        "2",
        "--service",
        "0.9",
        "--rounds",
        "3",
        "--json",
    ]
    words += ["--models", "seasonal_naive", "--stock", "stock.csv"]
    held = []
    for decimal in (",", "."):
        assert main([*words, "--decimal", decimal]) == 0
        board = json.loads(capsys.readouterr().out)
        held.append(next(r["held"] for r in board if r["model"] == "seasonal_naive"))
    assert held[0] > 1000 > held[1]


def test_a_backtest_by_cost_has_the_table_of_a_replay(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    days, rng = np.datetime64("2024-01-01") + np.arange(60), np.random.default_rng(0)
    pl.DataFrame({"date": days, "units": rng.poisson(4, 60)}).write_csv("sales.csv")
    words = [
        "sales.csv",
        "--lead-time",
        "2",
        "--cost-under",
        "1",
        "--cost-over",
        "0.2",
        "--backorders",
    ]
    backtest = ["backtest", *words, "--horizon", "3", "--folds", "4", "--models", "tsb"]
    for _ in range(2):  # outputs may be replaced
        assert main([*backtest, "--by-cost", "--out", "run", "--json"]) == 0
        board = json.loads(capsys.readouterr().out)
    models = ["replay", *words, "--models", "tsb,seasonal_naive", "--rounds", "4", "--json"]
    assert main(models) == 0
    played = json.loads(capsys.readouterr().out)
    assert [(r["model"], r["cost"]) for r in board] == [(r["model"], r["cost"]) for r in played]
    assert pl.read_csv("run/leaderboard.csv")["cost"].to_list() == [r["cost"] for r in board]
    for more, said in (
        (["--by-cost", "--metrics", "wql"], "--metrics shows scores of forecasts"),
        (["--by-cost", "--step", "2"], "--step 1 or --review 2"),
        ([], "--lead-time is of orders; add --by-cost"),
    ):
        assert main([*backtest, *more]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
