"""`what-if` from the command line: what it prints and writes, and what it refuses before the work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demandcast.cli.main import main

DAYS, AHEAD = 120, 7


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Path:
    monkeypatch.chdir(tmp_path)
    rng, day = np.random.default_rng(0), np.arange(DAYS + AHEAD)
    parts = []
    for store in ("north", "south"):
        promo = np.where(day < DAYS, day % 5 == 2, 0).astype(int)
        price = np.round(2 + 0.2 * rng.integers(-2, 3, len(day)), 2)
        units = rng.poisson(40 * 1.5**promo * (price / 2) ** -1.5)
        date = np.datetime64("2024-01-01") + day
        parts.append(
            pl.DataFrame(
                {
                    "store": [store] * len(day),
                    "date": date,
                    "units": units,
                    "price": price,
                    "promo": promo,
                }
            )
        )
    table = pl.concat(parts)
    table.filter(pl.col("date") < table["date"][DAYS]).write_csv("sales.csv")
    table.filter(pl.col("date") >= table["date"][DAYS]).drop("units").write_csv("future.csv")
    command = [
        "forecast",
        "sales.csv",
        "--horizon",
        str(AHEAD),
        "--known",
        "price,promo",
        "--future",
        "future.csv",
    ]
    assert main([*command, "--model", "seasonal_naive", "--save", "run", "--out", "f.csv"]) == 0
    capsys.readouterr()
    return tmp_path


def ask(*words: str) -> int:
    return main(["what-if", "run", "sales.csv", "--future", "future.csv", *words])


def test_what_changes_is_printed_and_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--set", "promo=1 where store=north", "--effect", "history"]
    assert ask(*words, "--out", "answer.csv", "--picture", "answer.png") == 0
    said = capsys.readouterr().err
    assert "1 of 2 series change, by the history" in said
    assert Path("answer.png").read_bytes().startswith(b"\x89PNG")
    frame = pl.read_csv("answer.csv")
    assert frame["store"].unique().to_list() == ["north"]
    assert frame["changed"].sum() / frame["planned"].sum() == pytest.approx(1.5, rel=0.12)
    assert (frame["difference_0.1"] < frame["difference"]).all()
    assert ask(*words, "--out", "answer.csv") == 0  # an earlier output is replaced
    assert ask("--response", "price", "--effect", "history", "--out", "curve.csv") == 0
    assert pl.read_csv("curve.csv")["factor"].n_unique() == 7


def test_a_summary_goes_to_stdout_or_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--set", "promo=1", "--effect", "history") == 0
    assert "ratio" in capsys.readouterr().out
    assert ask("--set", "promo=1", "--effect", "history", "--json") == 0
    assert pl.read_json(capsys.readouterr().out.encode()).height == 2 * AHEAD


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "promo=1"], "does not read covariates known ahead"),
        (["--set", "promo"], "should follow, but it ends"),
        (["--set", "promo=1", "--response", "price"], "give either --set"),
        ([], "give either --set"),
        (["--set", "promo=1", "--effect", "histry"], "did you mean 'history'"),
        (["--set", "promo=1 where stor=north", "--effect", "history"], "did you mean 'store'"),
        (["--set", "promo=1", "--picture", "a.gif"], "no known kind"),
    ],
)
def test_what_cannot_be_asked_ends_with_2(
    run: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert ask(*words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_an_explanation_is_written_and_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", "run", "sales.csv", "--future", "future.csv", "--explain", "parts.csv"]
    for _ in range(2):  # the second replaces the first
        assert main([*words, "--report", "f.html", "--out", "f.csv"]) == 0
    assert "does not read covariates known ahead" in capsys.readouterr().err
    frame = pl.read_csv("parts.csv")
    parts = frame.select("base", "trend", "season", "rest").sum_horizontal()
    np.testing.assert_allclose(parts, frame["mean"], atol=1e-5)
    assert 'id="parts"' in Path("f.html").read_text("utf-8")
    command = ["forecast", "sales.csv", "--horizon", "7", "--model", "drift", "--explain", "p.csv"]
    assert main([*command, "--by", "total", "--reconcile"]) == 2


def test_overrides_change_what_is_written(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("o.csv").write_text(
        "store,from,to,factor,author,reason\nnorth,2024-05-01,2024-05-02,2,anna,fair\n"
    )
    command = ["predict", "run", "sales.csv", "--future", "future.csv", "--out"]
    assert main([*command, "plain.csv"]) == 0
    assert main([*command, "changed.csv", "--overrides", "o.csv"]) == 0
    assert "override by anna (fair)" in capsys.readouterr().err
    ratio = pl.read_csv("changed.csv")["mean"] / pl.read_csv("plain.csv")["mean"]
    np.testing.assert_allclose(ratio[:AHEAD], [1, 2, 2, 1, 1, 1, 1], rtol=1e-5)
    Path("o.csv").write_text("store,factor,author,reason\nnorht,2,anna,fair\n")
    assert main([*command, "changed.csv", "--overrides", "o.csv"]) == 2
    assert "did you mean 'north'" in capsys.readouterr().err
