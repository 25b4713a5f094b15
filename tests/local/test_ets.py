"""The exponential smoothing family: derivatives, special cases, statsforecast's figures, any history."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from demandcast.errors import ConfigError
from demandcast.local import ETS
from demandcast.local.ets import FAMILY, Form, Search, States
from demandcast.local.parts.histories import Histories
from demandcast.local.parts.seasonal import SeriesTable, decompose
from demandcast.local.parts.smoothing import fit_recursion, ses
from demandcast.panel.panel import Panel

Array = NDArray[np.float64]
MakePanel = Callable[..., Panel]
T = np.arange(1, 49)
LEVEL = np.round(40 + 8 * np.sin(T * T) + 6 * np.sin(0.21 * T))
GROWING = np.round((60 + T) * (1 + 0.3 * np.sin(2 * np.pi * T / 12)) + 4 * np.cos(3.7 * T * T))


def searched(form: Form, values: Array, period: int) -> Search:
    table = SeriesTable.from_rows(values, period)
    season = decompose(table, np.full(table.n_series, period > 1), added=form.season != "M").index
    return Search(form, table, season if form.season != "N" else 0 * season)


@pytest.mark.parametrize("form", FAMILY, ids=lambda f: f.error + f.trend + f.season)
def test_derivatives_are_those_of_small_differences(form: Form) -> None:
    holed = GROWING.copy()
    holed[[5, 30]] = np.nan
    search = searched(form, np.stack([GROWING, holed, GROWING[::-1].copy() + 3]), 12)
    x = search._start() + 0.1
    loss, slope, bend = search._derive(x, search.table, search.season)
    np.testing.assert_allclose(loss, search._loss(x), rtol=1e-9)
    assert bend.shape == (3, len(x), len(x))
    for i in range(len(x)):
        step = np.zeros_like(x)
        step[i] = 1e-5
        found = (search._loss(x + step) - search._loss(x - step)) / 2e-5
        np.testing.assert_allclose(2 * slope[:, i], found, rtol=1e-3, atol=1e-5)


def test_the_search_finds_the_best_of_a_fine_grid() -> None:
    search = searched(Form("N", "N", "A"), LEVEL[None], 1)
    states, loss, _ = search.run()
    best = np.inf
    for alpha in np.linspace(0.01, 0.99, 33):
        for level in np.linspace(LEVEL.min(), LEVEL.max(), 20) / search.table.scale:
            x = np.array([[np.log(alpha / (1 - alpha))], [level]])
            best = min(best, float(search._loss(x)[0]))
    assert loss[0] <= best
    assert 0 < states.weights[0, 0] < 1


def test_without_trend_and_season_it_is_the_smoothing_of_this_package() -> None:
    weights = np.array([[0.3], [0.0], [0.0], [1.0]])
    table = SeriesTable.from_rows(LEVEL[None], 1)
    start = States(weights, table.filled[0], np.zeros(1), np.zeros((1, 1)))
    track = start.run(np.zeros(1, bool), table, 0)
    expected = fit_recursion(ses, Histories.from_rows(LEVEL[None]), weights[0], weights[0])
    np.testing.assert_allclose(track.mu[1:] * table.scale, expected[1:-1])
    np.testing.assert_allclose(track.level[-1] * table.scale, expected[-1])


def test_forecasts_are_those_of_statsforecast(make_panel: MakePanel) -> None:
    """Version 2.1.1, AutoETS: ETS(A,N,N) and ETS(M,A,M), steps 1, 2, 6 and 14.

    Weights are searched from other starts, and first seasons are not searched here: 1 and 2.5 %.
    """
    level = ETS(horizon=14, period=1).predict(make_panel(LEVEL)).mean[0, [0, 1, 5, 13]]
    np.testing.assert_allclose(level, 37.1241, rtol=0.01)
    model = ETS(horizon=14, period=12, family="all")
    growing = model.predict(make_panel(GROWING)).mean[0, [0, 1, 5, 13]]
    np.testing.assert_allclose(growing, [126.8151, 139.2469, 118.1286, 155.0364], rtol=0.025)


def test_a_straight_line_goes_on(make_panel: MakePanel) -> None:
    forecast = ETS(horizon=24).predict(make_panel(10 + 3.0 * T, 500 - 2.5 * T))
    ahead = 48 + np.arange(1, 25)
    np.testing.assert_allclose(
        forecast.mean, np.stack([10 + 3.0 * ahead, 500 - 2.5 * ahead]), rtol=1e-3
    )


def test_a_level_times_a_shape_goes_on(make_panel: MakePanel) -> None:
    shape = 50 * (2 + np.cos(np.arange(12)))
    forecast = ETS(horizon=18).predict(make_panel(np.tile(shape, 5), np.tile(shape - 100, 5)))
    expected = np.tile(shape, 2)[:18]
    np.testing.assert_allclose(forecast.mean, [expected, expected - 100], atol=1e-2)


def test_a_season_that_grows_with_the_level_is_multiplied(make_panel: MakePanel) -> None:
    t = np.arange(84)
    values = (50 + 2 * t) * (1 + 0.4 * np.sin(2 * np.pi * t / 12))
    forecast = ETS(horizon=12, family="all").predict(make_panel(values[:72]))
    np.testing.assert_allclose(forecast.mean[0], values[72:], rtol=0.03)


def test_noise_has_neither_trend_nor_season(make_panel: MakePanel) -> None:
    values = np.random.default_rng(0).normal(100, 10, (60, 60))
    forecast = ETS(horizon=12).predict(make_panel(*values))
    flat = np.ptp(forecast.mean, 1) < 1
    assert flat.mean() > 0.7
    assert np.abs(forecast.mean - 100).mean() < 5


def test_bands_hold_what_they_say_on_a_wandering_level(make_panel: MakePanel) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(400, 112))
    level = 100 + 0.4 * np.cumsum(noise, 1)
    values = np.concatenate([100 + noise[:, :1], level[:, :-1] + noise[:, 1:]], 1)
    panel = make_panel(*values, behind=12)
    forecast = ETS(horizon=12, period=1).predict(panel, levels=(0.1, 0.5, 0.9))
    actual = panel.future_target(12)
    inside = (actual >= forecast.quantiles[..., 0]) & (actual <= forecast.quantiles[..., 2])
    assert 0.74 < inside[:, 0].mean() < 0.86  # 400 draws: two standard errors are 0.04
    assert 0.73 < inside.mean() < 0.85


def test_series_do_not_depend_on_those_beside_them(make_panel: MakePanel) -> None:
    values = [LEVEL, GROWING, LEVEL[:20]]
    together = ETS(horizon=6).predict(make_panel(*values))
    for i, series in enumerate(values):
        alone = ETS(horizon=6).predict(make_panel(series))
        np.testing.assert_allclose(together.quantiles[i], alone.quantiles[0], rtol=1e-4)


@pytest.mark.parametrize("scale", [1e12, 1e-9])
def test_units_do_not_matter(scale: float, make_panel: MakePanel) -> None:
    values = GROWING + 0.5
    plain, scaled = (ETS(horizon=6).predict(make_panel(values * s)) for s in (1, scale))
    np.testing.assert_allclose(scaled.quantiles / np.float32(scale), plain.quantiles, rtol=1e-3)


@pytest.mark.parametrize("family", ["additive", "all"])
def test_any_history_is_forecast(family: str, make_panel: MakePanel) -> None:
    nan = np.nan
    rng = np.random.default_rng(3)
    panel = make_panel(
        [0.0] * 30, [5.0] * 30, [3.0], [1, 2, 4], [nan] * 4, [nan, 3, nan, nan],
        -50 - rng.random(40), [0.0] * 59 + [7], [7.0] + [0.0] * 59, rng.poisson(0.3, 60),
        1.2 ** np.arange(60),
    )  # fmt: skip
    forecast = ETS(horizon=14, family=family).predict(panel, n_samples=20)
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.samples is not None
    assert np.isfinite(forecast.samples).all()
    assert (forecast.quantiles[0] == 0).all()
    assert (forecast.quantiles[1] == 5).all()
    assert (forecast.median[[2, 5]] == 3).all()
    assert ((forecast.median[3] >= 1) & (forecast.median[3] <= 4)).all()
    assert (forecast.mean[4] == 0).all()
    assert (np.abs(forecast.mean[6] + 50.5) < 2).all()
    counts = forecast.quantiles[[7, 8, 9]]
    np.testing.assert_array_equal(counts, np.rint(counts))
    assert (counts >= 0).all()


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'additive'"):
        ETS(horizon=3, family="additiv")
