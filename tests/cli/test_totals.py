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
