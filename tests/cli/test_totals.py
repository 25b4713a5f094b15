"""`--by`: rows of totals beside the series, in every command that writes a forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from demandcast.cli.main import main

DAYS = 60


@pytest.fixture
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    keys = [(store, item) for store in ("north", "south") for item in ("a", "b")]
    pl.DataFrame(
        {
            "store": np.repeat([s for s, _ in keys], DAYS),
            "item": np.repeat([i for _, i in keys], DAYS),
            "date": np.tile(np.datetime64("2024-01-01") + np.arange(DAYS), 4),
            "units": rng.poisson(6, 4 * DAYS),
        }
    ).write_csv("sales.csv")
    return tmp_path


def test_totals_stand_beside_the_series(sales: Path) -> None:
    command = ["forecast", "sales.csv", "--key", "store,item", "--horizon", "7", "--model", "tsb"]
    command += ["--save", "run"]
    assert main([*command, "--by", "store", "--by", "total", "--out", "forecast.csv"]) == 0
    frame = pl.read_csv("forecast.csv")
    assert frame["level"].value_counts(sort=True).rows() == [
        ("series", 28),
        ("store", 14),
        ("total", 7),
    ]
    means = frame.group_by("level").agg(pl.col("mean").sum())["mean"]
    np.testing.assert_allclose(means, means[0], rtol=1e-5)
    assert main(["predict", "run", "sales.csv", "--by", "total", "--out", "again.csv"]) == 0
    assert set(pl.read_csv("again.csv")["level"]) == {"series", "total"}


def test_a_wrong_column_is_refused_before_the_work(
    sales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["forecast", "sales.csv", "--key", "store,item", "--horizon", "7", "--model", "tsb"]
    assert main([*command, "--by", "stor"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'store'" in said
    assert "fitting" not in said


def test_reconciled_totals_differ_and_still_add_up(
    sales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["forecast", "sales.csv", "--key", "store,item", "--horizon", "7", "--model", "tsb"]
    for more, name in (([], "plain.csv"), (["--reconcile"], "reconciled.csv")):
        assert main([*command, "--by", "store", "--by", "total", *more, "--out", name]) == 0
    assert "fitting tsb to 2 totals by store" in capsys.readouterr().err
    plain, reconciled = (pl.read_csv(name) for name in ("plain.csv", "reconciled.csv"))
    means = reconciled.group_by("level").agg(pl.col("mean").sum())["mean"]
    np.testing.assert_allclose(means, means[0], rtol=1e-5)
    assert plain.select(reconciled.columns).shape == reconciled.shape
    assert (plain["mean"] - reconciled["mean"]).abs().max() > 0
    assert main([*command, "--reconcile"]) == 2
    assert "add --by store or --by total" in capsys.readouterr().err


def test_locks_are_kept_and_those_that_contradict_are_named(
    sales: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["forecast", "sales.csv", "--key", "store,item", "--horizon", "7", "--model", "tsb"]
    Path("locks.csv").write_text("store,date,units\nnorth,,100\n,2024-03-01,20\n")
    assert main([*command, "--by", "store", "--lock", "locks.csv", "--out", "kept.csv"]) == 0
    rows = pl.read_csv("kept.csv")
    north = rows.filter(pl.col("level") == "store", pl.col("store") == "north")
    assert north["mean"].sum() == pytest.approx(100, rel=1e-5)
    first = rows.filter(pl.col("level") == "store", pl.col("date") == "2024-03-01")
    assert first["mean"].sum() == pytest.approx(20, rel=1e-5)
    Path("locks.csv").write_text("store,units\nnorth,100\nsouth,50\n,140\n")
    assert main([*command, "--lock", "locks.csv"]) == 2
    assert (
        "total is kept at 140, but store=north at 100; store=south at 50" in capsys.readouterr().err
    )
    Path("locks.csv").write_text("shop,units\nnorth,100\n")
    assert main([*command, "--lock", "locks.csv"]) == 2
    assert "'shop' is neither" in capsys.readouterr().err
