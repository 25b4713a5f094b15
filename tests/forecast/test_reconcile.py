"""Reconciled forecasts: the closed form against a dense reference, coherence, floors."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.optimize

import demandcast as dc
from demandcast.errors import ConfigError, DataError
from demandcast.forecast.reconcile import Level, _Solver

DAYS, HORIZON = 120, 5


def panel_of(*, low: float = 50.0, seed: int = 0) -> dc.Panel:
    rng = np.random.default_rng(seed)
    keys = [(store, item) for store in ("north", "south") for item in ("a", "b", "c")]
    return dc.read_panel(
        pl.DataFrame(
            {
                "store": np.repeat([s for s, _ in keys], DAYS),
                "item": np.repeat([i for _, i in keys], DAYS),
                "day": np.tile(np.datetime64("2024-01-01") + np.arange(DAYS), 6),
                "units": np.maximum(rng.normal(low, 10, 6 * DAYS), 0),
            }
        ),
        key=["store", "item"], time="day", target="units", freq="D", totals="keep",
    )  # fmt: skip


def forecast_of(panel: dc.Panel, **settings: Any) -> dc.Forecast:
    return dc.local.WindowAverage(horizon=HORIZON, **settings).predict(panel, n_samples=50)


def solver_of(seed: int = 0) -> tuple[_Solver, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Nine series in crossed groups, with random variances; the matrix that adds up, values and totals."""
    rng = np.random.default_rng(seed)
    paths = rng.gamma(2, 3, (9, 40, 1)) * rng.uniform(0.5, 3, (9, 1, 1))
    codes = [np.zeros(9, np.int64), np.arange(9) // 3, np.arange(9) % 3]
    levels = [
        Level(
            c,
            np.sort(rng.gamma(9, 3, (c.max() + 1, 40, 1)), 1).astype(np.float32),
            np.zeros((c.max() + 1, 1), np.float32),
        )
        for c in codes
    ]
    matrix = np.concatenate([np.eye(c.max() + 1)[:, c] for c in codes])
    return (
        _Solver.of(paths, levels, "variance"),
        matrix,
        paths[..., 0],
        [v.values[..., 0] for v in levels],
    )


def test_the_closed_form_is_generalised_least_squares() -> None:
    solver, matrix, values, totals = solver_of()
    assert solver.add(values) == pytest.approx(matrix @ values)
    own = solver.variance
    above = np.diag(np.linalg.inv(solver.inverse) - (matrix * own) @ matrix.T)
    ranks = np.argsort(np.argsort(matrix @ values, 1), 1)
    matched = np.take_along_axis(np.concatenate(totals).astype(float), ranks, 1)
    everything = np.concatenate([matrix, np.eye(9)])
    weight = np.diag(1 / np.concatenate([above, own]))
    dense = np.linalg.solve(
        everything.T @ weight @ everything,
        everything.T @ weight @ np.concatenate([matched, values]),
    )
    np.testing.assert_allclose(
        solver.reconcile(values, solver.match_ranks(values, np.concatenate(totals))),
        dense,
        rtol=1e-8,
    )


def test_values_at_their_floor_cost_little_more_than_the_best_there_are() -> None:
    solver, matrix, values, _ = solver_of()
    rng = np.random.default_rng(1)
    wanted = values[:, :5] - rng.uniform(0, 8, (9, 5))  # some below 0
    found = solver.clip(wanted, np.zeros(9))
    assert (found >= 0).all()
    root = 1 / np.sqrt(solver.variance)
    for s in range(5):
        # as near as can be in the totals first, then in the values
        heavy = np.concatenate([1e3 * matrix, np.diag(root)])
        best = scipy.optimize.nnls(heavy, heavy @ wanted[:, s])[0]

        def off(v: np.ndarray, s: int = s) -> float:
            return float(np.abs(matrix @ (v - wanted[:, s])).sum())

        assert off(found[:, s]) <= off(best) + 0.01 * np.abs(wanted[:, s]).sum()


@pytest.mark.parametrize("weights", ["variance", "structure"])
def test_totals_of_the_result_lie_between_both_forecasts(weights: Any) -> None:
    panel = panel_of()
    series, store = forecast_of(panel, window=10), forecast_of(panel.total("store"), window=60)
    found = series.reconcile(store, weights=weights)
    before, after = series.total("store"), found.total("store")
    low, high = np.minimum(before.mean, store.mean), np.maximum(before.mean, store.mean)
    assert ((after.mean > low - 1e-3) & (after.mean < high + 1e-3)).all()
    assert np.abs(after.mean - before.mean).max() > 0.1  # it moved
    np.testing.assert_allclose(found.mean[:3].sum(0), after.mean[0], rtol=1e-5)
    assert after.samples is not None
    assert found.samples is not None
    np.testing.assert_allclose(found.samples[:3].sum(0), after.samples[0], rtol=1e-5)


def test_several_levels_agree_with_each_other() -> None:
    panel = panel_of()
    levels = [forecast_of(panel.total(by)) for by in ((), "store", "item")]
    found = forecast_of(panel, window=7).reconcile(*levels)
    frame = found.hierarchy(["store", "item", ()])
    sums = frame.group_by("level").agg(pl.col("mean").sum())["mean"]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


def test_nothing_falls_below_its_floor_and_what_that_cost_is_noted() -> None:
    panel = panel_of(low=4.0)
    series = forecast_of(panel)
    small = forecast_of(panel.total())
    lower = dc.Forecast(
        **{
            **small.__dict__,
            "samples": small.samples * 0.05,
            "mean": small.mean * 0.05,
            "quantiles": small.quantiles * 0.05,
        }
    )
    found = series.reconcile(lower)
    assert found.samples is not None
    assert found.samples.min() >= 0
    (note,) = (note for note in found.notes if "floor" in note)
    share = float(note.split("moved by ")[1].split("%")[0])
    assert 0 < share < 100  # of all that is forecast


def test_forecasts_that_do_not_fit_are_refused_by_name() -> None:
    panel = panel_of()
    series = forecast_of(panel)
    with pytest.raises(ConfigError, match="name one forecast of totals"):
        series.reconcile()
    with pytest.raises(ConfigError, match="weights is 'ols'"):
        series.reconcile(forecast_of(panel.total()), weights="ols")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"by store lacks \('south',\)"):
        series.reconcile(forecast_of(panel.total("store").select([0])))
    with pytest.raises(DataError, match="forecast for 4 steps of D, the series for 5 of D"):
        series.reconcile(dc.local.SES(horizon=4).predict(panel.total()))
    with pytest.raises(DataError, match="ends at another step than its total"):
        series.reconcile(forecast_of(panel.total().drop_last(3)))
