"""Which steps a backtest holds out, counted by hand."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

import demandcast
from demandcast.errors import ConfigError, DataError
from demandcast.evaluate.backtest import BacktestResult, backtest


@pytest.mark.parametrize(("step", "cutoffs"), [(None, (13, 16)), (2, (14, 16)), (5, (11, 16))])
def test_cutoffs_leave_one_horizon_and_lie_a_step_apart(
    step: int | None, cutoffs: tuple[int, int]
) -> None:
    """Steps 0 to 19 hold their own number: last_value forecasts the cutoff, and the next 3 came."""
    steps = range(20)
    panel = demandcast.read_panel(
        pl.DataFrame({"unique_id": ["a"] * 20, "ds": steps, "y": [float(s) for s in steps]})
    )
    result = backtest("last_value", panel, horizon=3, folds=2, step=step, progress=False)
    for fold, cutoff in enumerate(cutoffs):
        forecast = result.forecasts["last_value"][fold]
        assert forecast.cutoffs.tolist() == [cutoff]
        np.testing.assert_array_equal(forecast.quantile(0.5), [[cutoff] * 3])
        np.testing.assert_array_equal(result.actuals[fold], [[cutoff + 1, cutoff + 2, cutoff + 3]])
    of_model = result.rows.filter(pl.col("model") == "last_value")
    assert of_model["cutoff"].cast(pl.String).to_list() == [str(c) for c in cutoffs]


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    """Noise around 50, more on Sundays: the mean of many days is best, that of the last day worst."""
    day = np.arange(70)
    values = 50 + (day % 7 == 6) + np.random.default_rng(0).normal(0, 1, 70)
    table = pl.DataFrame({"ds": np.datetime64("2024-01-01") + day, "y": values})
    models = ["last_value", "window_average", "last_value"]
    return backtest(models, demandcast.read_panel(table), horizon=7, folds=3, progress=False)


def test_a_verdict_says_which_side_of_the_seasonal_naive_a_model_is_on(
    result: BacktestResult,
) -> None:
    board = result.leaderboard()
    assert set(result.models) == {
        "last_value_1",
        "window_average",
        "last_value_2",
        "seasonal_naive",
    }
    assert board["wql"].is_sorted()
    naive = board.filter(model="seasonal_naive")["wql"].item()
    for row in board.rows(named=True):
        own = result.rows.filter(model=row["model"])
        assert row["wql"] == pytest.approx(own["wql"].mean())
        assert row["fit_seconds"] == pytest.approx(own["fit_seconds"].sum())
        assert row["predict_seconds"] == pytest.approx(own["predict_seconds"].sum())
        assert row["vs_seasonal_naive"] == pytest.approx(row["wql"] / naive)
        if row["model"] == "seasonal_naive":
            expected = "is the seasonal naive"
        else:
            expected = ("beats" if row["wql"] < naive else "loses to") + " seasonal naive"
        assert row["verdict"] == expected
    assert set(result.losers()) == {"last_value_1", "last_value_2"}
    assert "3 folds of 7 steps" in repr(result)
    assert f"best {board['model'][0]}, wQL {board['wql'][0]:.4g}, " in repr(result)


def test_the_leaderboard_shows_the_metrics_asked_for_in_their_order(result: BacktestResult) -> None:
    last = ["vs_seasonal_naive", "verdict", "fit_seconds", "predict_seconds"]
    assert set(result.leaderboard("mape, wape").columns[-4:]) == set(last)
    assert result.leaderboard("mape, WAPE").columns[:3] == ["model", "mape", "wape"]
    assert result.leaderboard(["bias", "bias"]).columns[1] == "bias"
    assert "mape" not in result.leaderboard().columns
    assert result.leaderboard().columns[:2] == ["model", "wql"]
    with pytest.raises(ConfigError, match="did you mean 'wape'"):
        result.leaderboard("wap")


def test_a_naive_forecast_without_error_leaves_no_ratio() -> None:
    table = pl.DataFrame({"ds": range(20), "y": [3.0] * 20})
    board = backtest("last_value", demandcast.read_panel(table), horizon=2, progress=False)
    assert board.leaderboard()["vs_seasonal_naive"].to_list() == [None, None]


def test_without_refit_a_model_is_fitted_at_the_first_cutoff_only() -> None:
    class Counted(demandcast.local.LastValue):
        fits: ClassVar[list[int]] = []

        def fit(self, panel: demandcast.Panel) -> Counted:
            self.fits.append(int(panel.lengths[0]))
            super().fit(panel)
            return self

    panel = demandcast.read_panel(pl.DataFrame({"ds": range(20), "y": np.arange(20.0)}))
    for refit, expected in ((True, [11, 14, 17]), (False, [11])):
        Counted.fits.clear()
        found = backtest(Counted(horizon=3), panel, folds=3, refit=refit, progress=False)
        assert Counted.fits == expected
        assert [f.mean[0, 0] for f in found.forecasts["last_value"]] == [10, 13, 16]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"horizon": None}, ConfigError, r"models have the horizons \[\]"),
        ({"folds": 0}, ConfigError, "folds is 0; it must be 1 or more"),
        ({"step": 0}, ConfigError, "step is 0; it must be 1 or more"),
        ({"folds": 4, "horizon": 5}, DataError, "hold out 20 steps, but the longest series has 20"),
        ({"folds": 2, "step": 18, "horizon": 2}, DataError, "hold out 20 steps"),
        ({"levels": (0.5, 1.2)}, ConfigError, "1.2"),
    ],
)
def test_folds_that_cannot_be_are_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    panel = demandcast.read_panel(pl.DataFrame({"ds": range(20), "y": np.arange(20.0)}))
    with pytest.raises(error, match=words):
        backtest("last_value", panel, progress=False, **{"horizon": 3, **options})
    backtest("last_value", panel, progress=False, horizon=1, folds=19)  # one step is left to know
    two = [demandcast.local.LastValue(horizon=h) for h in (2, 3)]
    with pytest.raises(ConfigError, match=r"horizons \[2, 3\]"):
        backtest(two, panel, progress=False)


def test_no_model_is_refused() -> None:
    """The seasonal naive alone would look like an answer."""
    panel = demandcast.read_panel(pl.DataFrame({"ds": range(20), "y": np.arange(20.0)}))
    with pytest.raises(ConfigError, match="models is empty"):
        backtest([], panel, horizon=2)
