"""Level times shape: what is of rank one is found and goes on; rows left out; any history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.levels import MEAN_LEVELS, MEAN_WEIGHTS
from demandcast.local import LevelShape, SeasonalNaive
from demandcast.local.parts import rank_one
from demandcast.local.parts.rank_one import Fitted, Ridge, Rows, Split, causes_of
from demandcast.panel.panel import Panel

Array = NDArray[np.float64]
MakePanel = Callable[..., Panel]
SHAPE = np.array([0.5, 0.8, 1.4, 1.1, 0.9, 1.3, 1.0])


def draws() -> Draws:
    return Draws.of(pl.DataFrame({"key": ["a"]}), 0)


def test_level_and_shape_of_a_matrix_of_rank_one_are_found() -> None:
    level = np.random.default_rng(0).uniform(5, 9, (3, 20))
    values = (level[..., None] * SHAPE).reshape(3, -1)
    split = Split.of(Rows.of(values, 7, 1))
    np.testing.assert_allclose(split.level, level)
    np.testing.assert_allclose(split.shape[:, 0], np.tile(SHAPE, (3, 1)))
    np.testing.assert_allclose(split.rest, 0, atol=1e-9)


def test_a_shape_of_mere_noise_is_drawn_to_a_flat_one() -> None:
    values = np.random.default_rng(0).normal(100, 20, (40, 7 * 12))
    split = Split.of(Rows.of(values, 7, 1))
    means = values.reshape(40, 12, 7).mean(1) / values.mean(1, keepdims=True)
    assert np.abs(split.shape - 1).mean() < 0.5 * np.abs(means - 1).mean()


def test_a_level_times_a_shape_goes_on(make_panel: MakePanel) -> None:
    values = [np.tile(SHAPE * 10, 8), np.tile(SHAPE * 10 - 12, 8)]
    forecast = LevelShape(horizon=16).predict(make_panel(*values, freq="D"))
    expected = np.tile(SHAPE * 10, 3)[:16]
    np.testing.assert_allclose(forecast.mean, [expected, expected - 12], atol=1e-4)


def test_each_day_of_a_week_of_hours_has_its_own_shape(make_panel: MakePanel) -> None:
    week = np.random.default_rng(1).uniform(1, 5, 168)
    forecast = LevelShape(horizon=100).predict(make_panel(np.tile(week, 6), freq="h"))
    np.testing.assert_allclose(forecast.mean[0], week[:100], rtol=1e-4)


def test_steps_that_were_filled_make_no_forecast_sure(make_panel: MakePanel) -> None:
    """A value and its repetition by filling is one value; two values with gaps have the error of both."""
    nan = float("nan")
    one, filled, two, with_gaps = (
        LevelShape(horizon=4).predict(make_panel(values, freq="D")).quantiles
        for values in (
            [3.0],
            [nan, 3.0, nan, nan],
            [50.0, 30.0],
            [50.0, nan, nan, nan, nan, 30.0, nan, nan],
        )
    )
    np.testing.assert_array_equal(filled, one)
    spread, with_gaps = two[..., -1] - two[..., 0], with_gaps[..., -1] - with_gaps[..., 0]
    assert (spread[0, 0] > 10) & (with_gaps[0, 0] > 0.5 * spread[0, 0])


def test_levels_that_grow_go_on_growing_but_not_faster() -> None:
    level = 10 + 2.0 * np.arange(12)
    values = (level[:, None] * SHAPE).reshape(1, -1)
    found = Fitted.of(values, 7, 1).point(7)[0]
    assert (found > level[-1] * SHAPE).all()
    assert (found <= (level[-1] + 2) * SHAPE + 1e-9).all()


def test_errors_are_those_of_rows_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_one, "PENALTIES", (2.0,))
    rng = np.random.default_rng(2)
    values = rng.uniform(1, 3, (1, 30))
    rows = Rows.of(values, 1, 3)
    ridge = Ridge.of(values, rows)
    used = np.flatnonzero(ridge.used[0])
    causes = np.stack([causes_of(values[:, :i], rows.begun[:, :i], 3)[0] for i in used])
    change = values[0, used] - values[0, used - 3]
    weight = rows.weights[0, used]
    size = np.sqrt((weight[:, None] * causes**2).sum(0) / weight.sum())
    x, y = causes / size * np.sqrt(weight)[:, None], change * np.sqrt(weight)
    for k, row in enumerate(used):
        rest = np.arange(len(used)) != k
        fit = np.linalg.solve(x[rest].T @ x[rest] + 2 * np.eye(3), x[rest].T @ y[rest])
        left = (y[k] - x[k] @ fit) / np.sqrt(weight[k])
        np.testing.assert_allclose(ridge.errors[0, row], left, rtol=1e-6)


def test_beats_the_seasonal_naive_on_noisy_levels_and_shapes(make_panel: MakePanel) -> None:
    rng = np.random.default_rng(3)
    level = 20 + np.cumsum(rng.normal(0, 0.5, (60, 20)), 1)
    values = (level[..., None] * SHAPE + rng.normal(0, 2, (60, 20, 7))).reshape(60, -1)
    panel = make_panel(*values, freq="D", behind=14)
    errors = {
        kind: np.abs(kind(horizon=14).predict(panel).mean - panel.future_target(14)).mean()
        for kind in (LevelShape, SeasonalNaive)
    }
    assert errors[LevelShape] < 0.85 * errors[SeasonalNaive]


def test_bands_hold_what_they_say(make_panel: MakePanel) -> None:
    rng = np.random.default_rng(4)
    level = 20 + np.cumsum(rng.normal(0, 0.5, (300, 24)), 1)
    values = (level[..., None] * SHAPE + rng.normal(0, 2, (300, 24, 7))).reshape(300, -1)
    panel = make_panel(*values, freq="D", behind=14)
    forecast = LevelShape(horizon=14).predict(panel, levels=(0.1, 0.5, 0.9))
    actual = panel.future_target(14)
    inside = (actual >= forecast.quantiles[..., 0]) & (actual <= forecast.quantiles[..., 2])
    assert 0.75 < inside.mean() < 0.85


def test_paths_are_joint_along_the_horizon(make_panel: MakePanel) -> None:
    rng = np.random.default_rng(5)
    level = 50 + np.cumsum(rng.normal(0, 4, 40))
    values = (level[:, None] * SHAPE).ravel() + rng.normal(0, 0.5, 280)
    paths = Fitted.of(values[None], 7, 1).paths(14, 2000, draws())[0]
    assert np.corrcoef(paths[:, 0], paths[:, 6])[0, 1] > 0.8  # one level moves the whole week
    assert np.corrcoef(paths[:, 6], paths[:, 13])[0, 1] > 0.5  # and lasts
    forecast = LevelShape(horizon=7).predict(
        make_panel(values, freq="D"), levels=(0.1, 0.5, 0.9), n_samples=500
    )
    assert forecast.samples is not None
    drawn = np.quantile(forecast.samples[0], [0.1, 0.9], axis=0).T
    np.testing.assert_allclose(drawn, forecast.quantiles[0][:, [0, 2]], rtol=0.02, atol=0.1)


def test_holes_hardly_move_the_forecast(make_panel: MakePanel) -> None:
    values = np.tile(SHAPE * 10, 10) + np.random.default_rng(6).normal(0, 0.2, 70)
    holed = values.copy()
    holed[[3, 20, 21, 22, 50]] = np.nan
    whole, with_holes = (
        LevelShape(horizon=7).predict(make_panel(v, freq="D")).mean for v in (values, holed)
    )
    np.testing.assert_allclose(whole, with_holes, rtol=0.05)


@pytest.mark.parametrize("freq", ["MS", "D", "h"])
def test_any_history_is_forecast(freq: str, make_panel: MakePanel) -> None:
    nan = np.nan
    rng = np.random.default_rng(7)
    panel = make_panel(
        [0.0] * 30, [5.0] * 30, [3.0], [1, 2, 4], [nan] * 4, [nan, 3, nan, nan],
        -50 - rng.random(40), [0.0] * 59 + [7], [7.0] + [0.0] * 59, rng.poisson(0.3, 60),
        1e12 * (2 + rng.random(60)), 1e-9 * (2 + rng.random(60)), rng.normal(size=60),
        freq=freq,
    )  # fmt: skip
    forecast = LevelShape(horizon=14).predict(panel, n_samples=20)
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.samples is not None
    assert np.isfinite(forecast.samples).all()
    assert (forecast.quantiles[0] == 0).all()
    np.testing.assert_allclose(forecast.quantiles[1], 5, rtol=1e-5)
    np.testing.assert_allclose(forecast.quantile(0.5)[[2, 5]], 3)
    # half of a lone value is its error: what lies below 0 is raised to it, and the mean with it
    law = LevelShape(horizon=14).predict(panel, levels=MEAN_LEVELS).quantiles[[2, 5]] @ MEAN_WEIGHTS
    assert (law[:, -1] > 3.1).all()
    np.testing.assert_allclose(forecast.mean[[2, 5]], law, rtol=6e-3)  # whole numbers, 110 levels
    assert (forecast.quantiles[2, :, 0] < forecast.quantiles[2, :, -1]).all()
    assert (forecast.mean[4] == 0).all()
    assert (np.abs(forecast.mean[6] + 50.5) < 2).all()
    assert ((forecast.mean[10] > 1e12) & (forecast.mean[10] < 4e12)).all()
    assert ((forecast.mean[11] > 1e-9) & (forecast.mean[11] < 4e-9)).all()
    counts = forecast.quantiles[[7, 8, 9]]
    np.testing.assert_array_equal(counts, np.rint(counts))
    assert (counts >= 0).all()


def test_a_week_without_level_has_no_shape_of_its_own(make_panel: MakePanel) -> None:
    """A level that is 0 but for rounding, squared, once divided the shapes of its week."""
    rng = np.random.default_rng(0)
    rare = (rng.random((40, 400)) < 0.08) * rng.integers(1, 4, (40, 400))
    panel = make_panel(*rare.astype(float), freq="D")
    forecast = LevelShape(horizon=28).predict(panel, levels=(0.5, 0.99))
    assert forecast.quantiles.max() <= 10 * rare.max()


def test_a_longer_season_is_read_only_where_two_of_it_were_seen(make_panel: MakePanel) -> None:
    year = 5 + np.sin(np.arange(400) * 2 * np.pi / 364) * 3 + (np.arange(400) % 7 == 0)
    model = LevelShape(horizon=14)
    ways = model._ways(make_panel(year, freq="D"))
    assert (7, 52) in ways
    assert (7, 52) not in model._choose(year[None], year[None], ways)
