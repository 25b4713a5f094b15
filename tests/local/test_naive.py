"""The naive methods against FPP3's formulas, and their intervals against simulated truth."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

from demandcast import local
from demandcast.errors import ConfigError, DataError
from demandcast.forecaster import Forecaster
from demandcast.local import Drift, LastValue, SeasonalNaive, WindowAverage
from demandcast.local.parts.error_distributions import MIN_DEGREES, SCORES, _student_scores
from demandcast.panel.panel import Panel
from demandcast.schema import Schema

NAN = float("nan")
METHODS = (LastValue, SeasonalNaive, Drift, WindowAverage)


def make_panel(*histories: Any, freq: str = "1", behind: int = 0) -> Panel:
    """Series of their own lengths; the last `behind` steps of each lie behind the cutoff."""
    sizes = np.array([len(h) for h in histories], np.int64)
    rows = int(sizes.sum())
    return Panel(
        schema=Schema(key=("id",), time="t", target="y", freq=freq),
        keys=pl.DataFrame({"id": [f"s{i}" for i in range(len(histories))]}),
        target=np.concatenate([np.asarray(h, np.float32) for h in histories]),
        begins=np.cumsum(sizes) - sizes,
        extents=sizes,
        lengths=sizes - behind,
        starts=np.zeros(len(sizes), np.int64),
        known=np.zeros((rows, 0), np.float32),
        past=np.zeros((rows, 0), np.float32),
    )


@pytest.mark.parametrize("method", METHODS)
def test_one_value_is_forecast_about_itself_at_every_step(method: Any) -> None:
    """Nothing tells how its errors grow, so its band does not; 1.05 is the mean after clipping at 0."""
    panel = make_panel([3.0], [NAN, 200.0, NAN, NAN], freq="D")
    forecast = method(horizon=20).predict(panel, n_samples=4000)
    value = np.array([[3.0], [200.0]])
    np.testing.assert_allclose(forecast.mean, np.repeat(1.05 * value, 20, 1), rtol=0.01)
    np.testing.assert_allclose(forecast.quantiles[:, 0], forecast.quantiles[:, -1], rtol=1e-6)
    assert forecast.samples is not None
    np.testing.assert_allclose(forecast.samples.mean(1), forecast.mean, rtol=0.06)


def test_points_are_those_of_fpp3() -> None:
    """Section 5.2: y_T; y_{T+h-m(k+1)}; y_T + h (y_T - y_1) / (T - 1); the mean."""
    panel = make_panel([3, 5, 4, 8, 6, 9, 7, 12])
    cases: list[tuple[Forecaster, list[float]]] = [
        (LastValue(h=5), [12, 12, 12, 12, 12]),
        (SeasonalNaive(h=5, period=4), [6, 9, 7, 12, 6]),
        (SeasonalNaive(h=5, period=3), [9, 7, 12, 9, 7]),  # 8 steps: not whole seasons
        (Drift(h=5), [12 + h * 9 / 7 for h in range(1, 6)]),
        (WindowAverage(h=5), [8.5] * 5),  # of 6, 9, 7, 12
        (WindowAverage(h=5, window=3), [28 / 3] * 5),
        (WindowAverage(h=5, window=99), [6.75] * 5),
    ]
    for method, points in cases:
        forecast = method.fit(panel).predict(panel)
        if not isinstance(method, WindowAverage):
            np.testing.assert_allclose(forecast.median[0], points, rtol=1e-6)
        high = replace(panel, target=panel.target + 1000)  # where no path comes near 0
        mean = method.fit(high).predict(high).mean[0]
        np.testing.assert_allclose(mean - 1000, points, atol=1e-3)


def test_intervals_grow_as_in_fpp3() -> None:
    """Table 5.2, with Student's t in the normal's place: few errors, so few degrees of freedom."""
    y = np.array([103.0, 105, 104, 108, 106, 109, 107, 112, 111, 115])
    panel, h = make_panel(y), np.arange(1, 9)
    season = np.diff(y.reshape(-1, 2), axis=0)  # y_t - y_{t-2}, (4, 2)
    step = np.diff(y)
    slope = (y[-1] - y[0]) / 9
    cases: list[tuple[Forecaster, float, int, Any]] = [
        (LastValue(h=8), np.sqrt((step**2).mean()), 9, np.sqrt(h)),
        (SeasonalNaive(h=8, period=2), np.sqrt((season**2).mean()), 8, np.sqrt((h - 1) // 2 + 1)),
        (Drift(h=8), np.sqrt(((step - slope) ** 2).sum() / 8), 8, np.sqrt(h * (1 + h / 9))),
    ]
    for method, sigma, df, growth in cases:
        for level in (0.6, 0.9, 0.975):
            forecast = method.predict(panel, levels=[level])
            width = forecast.quantiles[0, :, 0] - forecast.mean[0]
            expected = scipy.stats.t.ppf(level, df) * sigma * growth
            # 2e-3: the tables are linear between scores a tenth apart
            np.testing.assert_allclose(width, expected, rtol=2e-3, err_msg=method.name)


def test_student_table_is_scipys() -> None:
    level = scipy.stats.norm.cdf(SCORES)
    for row, df in ((0, MIN_DEGREES), (7, MIN_DEGREES + 7), (-2, 29)):
        ours = _student_scores()[row]
        np.testing.assert_allclose(ours, scipy.stats.t.ppf(level, df), rtol=2e-3, atol=1e-12)


def covered(panel: Panel, method: Forecaster, n_samples: int | None = None) -> float:
    """Share of the values behind the cutoff between the levels 0.1 and 0.9."""
    actual = panel.future_target(method.horizon)
    forecast = method.predict(panel, levels=[0.1, 0.9], n_samples=n_samples)
    low, high = forecast.quantiles[..., 0], forecast.quantiles[..., 1]
    if forecast.samples is not None:
        low, high = np.quantile(forecast.samples, [0.1, 0.9], axis=1)
    return float(((actual >= low) & (actual <= high)).mean())


@pytest.mark.parametrize("steps", [12, 200])
@pytest.mark.parametrize("noise", ["normal", "laplace"])
def test_intervals_cover_what_they_say(steps: int, noise: str) -> None:
    """Random walks, seasonal walks, lines and levels: 80 % within 5 points."""
    rng, n, horizon, m = np.random.default_rng(5), 700, 8, 4
    draw = getattr(rng, noise)
    e = draw(size=(n, steps + horizon))
    seasonal = draw(size=(n, (steps + horizon) // m, m)).cumsum(1).reshape(n, -1)
    cases: list[tuple[Forecaster, Any]] = [
        (LastValue(h=horizon), e.cumsum(1)),
        (Drift(h=horizon), (0.3 + e).cumsum(1)),
        (SeasonalNaive(h=horizon, period=m), seasonal),
        (WindowAverage(h=horizon, window=6), e),
    ]
    for method, y in cases:
        panel = make_panel(*y, behind=horizon)
        assert covered(panel, method) == pytest.approx(0.8, abs=0.05), method
        assert covered(panel, method, n_samples=100) == pytest.approx(0.8, abs=0.05), method


def test_gaps_widen_the_intervals_and_keep_the_coverage() -> None:
    rng, n, horizon = np.random.default_rng(6), 1500, 5
    y = rng.normal(size=(n, 80 + horizon)).cumsum(1)
    y[:, :80][rng.random((n, 80)) < 0.3] = NAN
    y[:, 77:80] = NAN
    panel = make_panel(*y, behind=horizon)
    for method in (LastValue(h=horizon), Drift(h=horizon)):
        assert covered(panel, method) == pytest.approx(0.8, abs=0.05)
        assert covered(panel, method, n_samples=100) == pytest.approx(0.8, abs=0.05)


def test_growing_series_are_covered_by_their_newest_errors() -> None:
    rng, horizon = np.random.default_rng(8), 6
    size = np.exp(np.linspace(0, 1, 300 + horizon))
    panel = make_panel(*(rng.normal(size=(1000, 300 + horizon)) * size).cumsum(1), behind=horizon)
    assert covered(panel, LastValue(h=horizon)) == pytest.approx(
        0.8, abs=0.1
    )  # 0.4 with all errors


def test_skewed_errors_keep_their_skew() -> None:
    rng = np.random.default_rng(7)
    panel = make_panel(*rng.poisson(0.6, (2000, 300)), behind=4)
    forecast = WindowAverage(h=4, window=28).predict(panel, levels=[0.05, 0.5, 0.95])
    actual = panel.future_target(4)
    above = (actual > forecast.quantile(0.95)).mean()
    assert above == pytest.approx(0.05, abs=0.04)  # counts jump over the level
    assert (forecast.quantile(0.05) >= 0).all()
    assert (forecast.median <= forecast.mean).mean() > 0.8


def test_gaps_take_the_last_observed_value_of_the_same_place() -> None:
    panel = make_panel([1, 2, 3, 4, 5, NAN, NAN, 8], [NAN, 2, NAN, 4, NAN, 6, NAN, 8])
    seasonal = SeasonalNaive(h=4, period=4).predict(panel)
    np.testing.assert_array_equal(seasonal.median, [[5, 2, 3, 8], [8, 6, 8, 8]])
    last = make_panel([1.0, 5, NAN, NAN])
    np.testing.assert_array_equal(LastValue(h=2).predict(last).median, [[5, 5]])
    np.testing.assert_array_equal(Drift(h=2).predict(last).median, [[5 + 3 * 4, 5 + 4 * 4]])
    np.testing.assert_array_equal(WindowAverage(h=1, window=2).predict(last).median, [[5]])


def test_short_series_fall_back(caplog: pytest.LogCaptureFixture) -> None:
    panel = make_panel([5], [4, 7], [NAN, NAN], [1, 2, 3, 4, 5, 6, 7], np.arange(30.0))
    with caplog.at_level(logging.WARNING, "demandcast"):
        for kind in METHODS:
            forecast = kind(horizon=3).predict(replace(panel), n_samples=4)
            assert np.isfinite(forecast.quantiles).all()
            assert np.isfinite(forecast.samples).all()  # type: ignore[arg-type]
            assert (forecast.quantiles[2] == 0).all()
            assert (forecast.median[0] == 5).all()
            assert (forecast.quantile(0.9)[0] > forecast.quantile(0.6)[0]).all()
    assert len(caplog.records) == len(METHODS)
    assert "1 series" in caplog.text
    assert "s2" in caplog.text


def test_period_is_that_of_the_grid() -> None:
    daily = make_panel(np.arange(21.0), freq="D")
    np.testing.assert_array_equal(SeasonalNaive(h=3).predict(daily).median, [[14, 15, 16]])
    np.testing.assert_array_equal(WindowAverage(h=1).predict(daily).mean, [[17]])
    shorter = make_panel(np.arange(6.0), freq="D")
    np.testing.assert_array_equal(SeasonalNaive(h=2).predict(shorter).median, [[5, 5]])


@pytest.mark.parametrize("kind", METHODS)
def test_nothing_behind_the_cutoff_is_seen(kind: type[Forecaster]) -> None:
    rng = np.random.default_rng(0)
    panel = make_panel(*rng.poisson(4, (5, 60)), behind=10)
    spoiled = panel.target.copy()
    for begin, length, extent in zip(panel.begins, panel.lengths, panel.extents, strict=True):
        spoiled[begin + length : begin + extent] = -1e6
    method = kind(horizon=10)  # type: ignore[call-arg]
    first = method.predict(panel, n_samples=20)
    second = method.predict(replace(panel, target=spoiled), n_samples=20)
    np.testing.assert_array_equal(first.quantiles, second.quantiles)
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.samples, second.samples)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", METHODS)
def test_series_do_not_depend_on_each_other(kind: type[Forecaster]) -> None:
    rng = np.random.default_rng(1)
    panel = make_panel(*(rng.normal(20, 4, size) for size in (50, 9, 3, 120, 31)))
    together, alone = (
        kind(horizon=6).predict(p)  # type: ignore[call-arg]
        for p in (panel, panel.select([3, 1]))
    )
    np.testing.assert_allclose(together.quantiles[[3, 1]], alone.quantiles, rtol=1e-6)


@pytest.mark.parametrize("kind", METHODS)
def test_paths_have_the_quantiles_and_the_seed(kind: Any) -> None:
    rng = np.random.default_rng(2)
    panel = make_panel(rng.normal(0, 9, 200), rng.normal(0, 1, 15))  # signed: no ties at 0
    levels = [0.05, 0.3, 0.5, 0.8, 0.99]
    first, second, other = (
        kind(horizon=9, seed=seed).predict(panel, levels=levels, n_samples=4000)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.samples, second.samples)
    assert (first.samples != other.samples).mean() > 0.9
    below = (first.samples[..., None] <= first.quantiles[:, None]).mean(1)  # (n, H, Q)
    # 5 standard errors of 4,000 draws; ties in the observed errors add a little
    np.testing.assert_allclose(below, np.broadcast_to(levels, below.shape), atol=0.045)


def test_paths_are_joint() -> None:
    """A random walk's steps 1 and 9 correlate by 1/3; a level's by the share of its own error."""
    panel = make_panel(np.random.default_rng(3).normal(0, 1, 400).cumsum())
    paths = LastValue(h=9).predict(panel, n_samples=8000).samples
    assert paths is not None
    assert np.corrcoef(paths[0, :, 0], paths[0, :, 8])[0, 1] == pytest.approx(1 / 3, abs=0.05)
    paths = WindowAverage(h=2, window=4).predict(panel, n_samples=8000).samples
    assert paths is not None
    assert np.corrcoef(paths[0].T)[0, 1] == pytest.approx(1 / 5, abs=0.05)
    paths = SeasonalNaive(h=8, period=4).predict(panel, n_samples=8000).samples
    assert paths is not None
    correlation = np.corrcoef(paths[0].T)
    assert correlation[0, 4] == pytest.approx(0.5**0.5, abs=0.05)
    assert correlation[0, 1] == pytest.approx(0, abs=0.05)


def test_only_demand_that_was_never_negative_stops_at_zero() -> None:
    y = np.tile([0.0, 0, 9, 0, 1], 20)
    forecast = LastValue(h=3).predict(make_panel(y, y - 5), n_samples=50)
    assert (forecast.quantiles[0] >= 0).all()
    assert (forecast.quantiles[1] < -5).any()
    assert forecast.samples is not None
    assert (forecast.samples[0] >= 0).all()
    assert (forecast.samples[1] < -5).any()
    falling = Drift(h=30).predict(make_panel(np.linspace(9, 1, 20)))
    assert (falling.mean >= 0).all()


def test_any_levels_and_whole_panels_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    panel = make_panel(*(rng.poisson(3, size) for size in rng.integers(1, 90, 50)))
    levels = [0.001, 0.025, 0.41, 0.995, 0.9999]
    whole = SeasonalNaive(h=20, period=7).predict(panel, levels=levels)
    monkeypatch.setattr("demandcast.local.naive.CELLS", 300)
    pieces = SeasonalNaive(h=20, period=7).predict(panel, levels=levels)
    np.testing.assert_allclose(whole.quantiles, pieces.quantiles, rtol=1e-6, atol=1e-9)
    assert (np.diff(whole.quantiles, axis=-1) >= 0).all()
    assert whole.levels == tuple(levels)


@pytest.mark.parametrize("kind", METHODS)
def test_saves_what_makes_it_again(kind: Any, tmp_path: Path) -> None:
    method = kind(h=4, seed=2)
    method.save(tmp_path / "a" / "run")
    stored = json.loads((tmp_path / "a" / "run" / "model.json").read_text())
    assert stored["format"] == 2
    assert stored["model"] == kind.name
    again = kind(**stored["hyperparameters"])
    assert repr(again) == repr(method)
    assert set(stored["hyperparameters"]) == {"horizon", *kind.defaults()}
    assert [p.name for p in (tmp_path / "a" / "run").iterdir()] == ["model.json"]
    assert kind.name in local.names()


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match="horizon"):
        LastValue()
    with pytest.raises(ConfigError, match="period is 0"):
        SeasonalNaive(h=3, period=0)
    with pytest.raises(DataError, match=r"not DataFrame.*read_panel"):
        Drift(h=3).fit(pl.DataFrame())  # type: ignore[arg-type]
    panel = make_panel([1.0, 2.0])
    with pytest.raises(ConfigError, match="n_samples is 0"):
        Drift(h=3).predict(panel, n_samples=0)
    with pytest.raises(ConfigError, match="levels"):
        Drift(h=3).predict(panel, levels=[0.9, 0.1])
    assert LastValue(h=3).fit(panel).predict(panel.select([])).n_series == 0
