"""Metrics: plain loops, numbers worked by hand, and what must hold for every forecast."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from demandcast.errors import DataError, SchemaError, ShapeError
from demandcast.evaluate import metrics
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.panel.panel import Panel
from demandcast.schema import Schema

LEVELS = DEFAULT_LEVELS
LENGTHS = [40, 23, 61, 9, 30]
HORIZON = 6


def make_panel(freq: str = "D", scale: float = 1.0) -> Panel:
    """Five series of different length with the actuals behind the cutoff, some not observed."""
    rng = np.random.default_rng(3)
    lengths = np.array(LENGTHS)
    extents = lengths + HORIZON
    target = (scale * rng.poisson(3, extents.sum())).astype(np.float32)
    target[rng.random(len(target)) < 0.1] = np.nan
    begins = np.cumsum(extents) - extents
    target[begins[1] : begins[1] + 5] = 0  # no demand at first
    return Panel(
        schema=Schema(key=("shop",), time="day", target="sales", freq=freq),
        keys=pl.DataFrame({"shop": list("abcde")}),
        target=target,
        begins=begins,
        extents=extents,
        lengths=lengths,
        starts=np.arange(5) * 3,
        known=np.zeros((len(target), 0), np.float32),
        past=np.zeros((len(target), 0), np.float32),
    )


def make_forecast(panel: Panel, levels: tuple[float, ...] = LEVELS, scale: float = 1.0) -> Forecast:
    paths = scale * np.random.default_rng(4).gamma(2, 1.5, (panel.n_series, 100, HORIZON))
    made = Forecast.from_samples(paths.astype(np.float32), levels, panel, model="gamma")
    return replace(made, samples=None)


def pinball(y: float, f: float, q: float) -> float:
    return q * (y - f) if y >= f else (1 - q) * (f - y)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def plain_scores(forecast: Forecast, actual: np.ndarray, panel: Panel) -> dict[str, float]:
    """The definitions, one value at a time."""
    steps = [(i, t) for i, t in np.ndindex(actual.shape) if not np.isnan(actual[i, t])]
    y, mid, avg, q = (
        np.float64(v) for v in (actual, forecast.median, forecast.mean, forecast.quantiles)
    )
    size = sum(abs(y[s]) for s in steps)
    period = {"D": 7, "MS": 12, "YS-JAN": 1}[panel.schema.freq]
    mases, sqls, rmsses, unscaled, observed = [], [], [], 0, 0
    for i in range(panel.n_series):
        seen = [t for j, t in steps if j == i]
        observed += bool(seen)
        past = panel.history(i).astype(np.float64)
        pairs = [
            abs(b - a) for a, b in zip(past, past[period:], strict=False) if not np.isnan(a + b)
        ]
        first = next((t for t, v in enumerate(past) if v != 0 and not np.isnan(v)), len(past))
        squares = [
            (b - a) ** 2
            for a, b in zip(past[first:], past[first + 1 :], strict=False)
            if not np.isnan(a + b)
        ]
        if seen and pairs and mean(pairs) > 0:
            mases.append(mean([abs(y[i, t] - mid[i, t]) for t in seen]) / mean(pairs))
            losses = [
                2 * pinball(y[i, t], q[i, t, k], p)
                for t in seen
                for k, p in enumerate(forecast.levels)
            ]
            sqls.append(mean(losses) / mean(pairs))
        elif seen:
            unscaled += 1
        if seen and squares and mean(squares) > 0:
            rmsses.append(
                math.sqrt(mean([(y[i, t] - avg[i, t]) ** 2 for t in seen]) / mean(squares))
            )
    low, high = q[..., 0], q[..., 8]
    return {
        "wql": mean(
            [
                2 * sum(pinball(y[s], q[s][k], p) for s in steps) / size
                for k, p in enumerate(forecast.levels)
            ]
        ),
        "wape": sum(abs(y[s] - mid[s]) for s in steps) / size,
        "nrmse": math.sqrt(mean([(y[s] - avg[s]) ** 2 for s in steps])) / (size / len(steps)),
        "mase": mean(mases),
        "rmsse": mean(rmsses),
        "sql": mean(sqls),
        "smape": mean([2 * abs(y[s] - mid[s]) / (abs(y[s]) + abs(mid[s])) for s in steps]),
        "mape": mean([abs(y[s] - mid[s]) / abs(y[s]) for s in steps if y[s] != 0]),
        "bias": sum(avg[s] - y[s] for s in steps) / size,
        "coverage_80": mean([float(low[s] <= y[s] <= high[s]) for s in steps]),
        "interval_score_80": mean(
            [
                high[s] - low[s] + 10 * max(low[s] - y[s], 0) + 10 * max(y[s] - high[s], 0)
                for s in steps
            ]
        ),
        "unscaled": unscaled / observed,
    }


@pytest.mark.parametrize("freq", ["D", "MS", "YS-JAN"])
def test_scores_are_those_of_plain_loops(freq: str) -> None:
    panel = make_panel(freq)
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    found = metrics.scores(forecast, actual, panel)
    want = plain_scores(forecast, actual, panel)
    assert list(found) == list(want)
    # rtol: the quantiles are float32, and the loops add up in another order
    assert found == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("order", [[4, 2, 0, 3, 1], [2, 2, 0], [3]])
def test_scores_hold_for_any_selection_of_series(order: list[int]) -> None:
    panel = make_panel().select(order)
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    found = metrics.scores(forecast, actual, panel)
    assert found == pytest.approx(plain_scores(forecast, actual, panel), rel=1e-6, nan_ok=True)


def test_the_scale_is_of_history_only() -> None:
    panel = make_panel()
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    spoiled = panel.target.copy()
    for begin, length, extent in zip(panel.begins, panel.lengths, panel.extents, strict=True):
        spoiled[begin + length : begin + extent] = 1e6
    known_later = replace(panel, target=spoiled)
    assert metrics.scores(forecast, actual, known_later) == metrics.scores(forecast, actual, panel)


def test_per_series_metrics_agree_with_scores() -> None:
    panel = make_panel()
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    past = panel.padded_history(max(LENGTHS))
    found = metrics.scores(forecast, actual, panel)
    mase = metrics.mase(actual, forecast.median, past, period=7)
    sql = metrics.sql(actual, forecast.quantiles, LEVELS, past, period=7)
    assert mase.shape == sql.shape == (5,)
    assert found["mase"] == pytest.approx(np.nanmean(mase))
    assert found["sql"] == pytest.approx(np.nanmean(sql))
    assert found["rmsse"] == pytest.approx(np.nanmean(metrics.rmsse(actual, forecast.mean, past)))


def test_numbers_worked_by_hand() -> None:
    y, f = np.array([[3.0, 5.0], [0.0, np.nan]]), np.array([[2.0, 7.0], [0.0, 1e9]])
    assert metrics.nd(y, f) == metrics.wape(y, f) == 3 / 8
    assert metrics.nrmse(y, f) == pytest.approx(math.sqrt(5 / 3) / (8 / 3))
    assert metrics.bias(y, f) == 1 / 8  # 9 forecast where 8 came
    assert metrics.mape(y, f) == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert metrics.smape(y, f) == pytest.approx((2 / 5 + 4 / 12 + 0) / 3)
    assert metrics.smape(np.ones((1, 1)), np.zeros((1, 1))) == 2
    past = np.array([[1.0, 3, 2, 4], [np.nan, 0, 0, 2]])
    np.testing.assert_allclose(metrics.seasonal_error(past, period=1), [5 / 3, 1])
    np.testing.assert_allclose(metrics.seasonal_error(past, period=2), [1, 2])
    np.testing.assert_allclose(metrics.mase(y, f, past, period=1), [1.5 / (5 / 3), 0])
    # squared steps of the first series 4, 1, 4; of the second none after its first demand
    np.testing.assert_allclose(metrics.rmsse(y, f, past), [math.sqrt(2.5 / 3), math.nan])


def test_the_interval_score_by_hand() -> None:
    y = np.array([[5.0, 1.0, 12.0]])
    low, high = np.full((1, 3), 2.0), np.full((1, 3), 10.0)
    # widths of 8, and 2 / 0.2 = 10 for each unit that 1 and 12 lie outside
    assert metrics.interval_score(y, low, high, 0.8) == pytest.approx((8 + 18 + 28) / 3)
    assert metrics.coverage(y, low, high) == pytest.approx(1 / 3)
    ends = np.array([[2.0, 10.0, np.nan]])
    assert metrics.coverage(ends, low, high) == 1


def test_pinball_and_its_sum_by_hand() -> None:
    y = np.array([[10.0]])
    loss = metrics.quantile_loss(y, np.array([[[8.0, 12.0]]]), [0.9, 0.9])
    np.testing.assert_allclose(loss, [[[1.8, 0.2]]])
    assert metrics.wql(y, np.array([[[8.0]]]), [0.9]) == pytest.approx(2 * 1.8 / 10)


def test_crps_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    y, paths = rng.normal(size=(3, 2)), rng.normal(size=(3, 11, 2))
    y[1, 1] = np.nan
    found = metrics.crps_samples(y, paths)
    for i, t in np.ndindex(y.shape):
        x = paths[i, :, t]
        want = mean([abs(a - y[i, t]) for a in x]) - mean([abs(a - b) for a in x for b in x]) / 2
        assert found[i, t] == pytest.approx(want, nan_ok=True)
    # a single path is a point forecast
    np.testing.assert_allclose(metrics.crps_samples(y, paths[:, :1]), np.abs(y - paths[:, 0]))


def test_crps_is_twice_the_pinball_loss_of_many_levels() -> None:
    rng = np.random.default_rng(1)
    y, paths = rng.normal(size=(4, 1)), rng.normal(size=(4, 50, 1))
    levels = (np.arange(2000) + 0.5) / 2000
    quantiles = np.quantile(paths, levels, axis=1, method="inverted_cdf").transpose(1, 2, 0)
    loss = 2 * metrics.quantile_loss(y, quantiles, levels.tolist()).mean(2)
    # rtol: 2000 levels stand for the integral
    np.testing.assert_allclose(metrics.crps_samples(y, paths), loss, rtol=1e-5)


def test_at_the_median_quantile_scores_are_absolute_ones() -> None:
    panel = make_panel()
    actual, past = panel.future_target(HORIZON), panel.padded_history(61)
    forecast = make_forecast(panel)
    alone = forecast.median[..., None]
    assert metrics.wql(actual, alone, [0.5]) == pytest.approx(metrics.nd(actual, forecast.median))
    np.testing.assert_allclose(
        metrics.sql(actual, alone, [0.5], past, period=7),
        metrics.mase(actual, forecast.median, past, period=7),
    )


def test_a_perfect_forecast_costs_nothing() -> None:
    panel = make_panel()
    actual = panel.future_target(HORIZON)
    exact = np.nan_to_num(actual)
    forecast = Forecast.of(panel, LEVELS, np.repeat(exact[..., None], 9, 2), exact, model="oracle")
    found = metrics.scores(forecast, actual, panel)
    assert found.pop("coverage_80") == pytest.approx(0.8)  # every value lies on all its quantiles
    assert found.pop("unscaled") == 0
    assert set(found.values()) == {0.0}


def test_scores_do_not_depend_on_the_unit() -> None:
    panel, larger = make_panel(), make_panel(scale=1024)
    found = metrics.scores(make_forecast(panel), panel.future_target(HORIZON), panel)
    scaled = metrics.scores(
        make_forecast(larger, scale=1024), larger.future_target(HORIZON), larger
    )
    assert scaled.pop("interval_score_80") == pytest.approx(1024 * found.pop("interval_score_80"))
    assert scaled == pytest.approx(found)


def test_a_series_of_no_scale_is_left_out_and_counted() -> None:
    panel = make_panel()
    target = panel.target.copy()
    target[panel.begins[2] : panel.begins[2] + panel.lengths[2]] = 4
    flat = replace(panel, target=target)
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    actual[4] = np.nan  # nothing came: no score, but no fault of the scale either
    found = metrics.scores(forecast, actual, flat)
    assert found["unscaled"] == 1 / 4  # of those that were observed
    past = flat.padded_history(61)
    mase = metrics.mase(actual, forecast.median, past, period=7)
    assert np.isnan(mase).tolist() == [False, False, True, False, True]
    assert found["mase"] == pytest.approx(np.nanmean(mase))
    short = metrics.scores(forecast, actual, flat, period=50)
    assert short["unscaled"] == 1
    assert math.isnan(short["mase"])


def test_quantile_coverage_counts_values_at_the_quantile() -> None:
    y = np.array([[1.0, 2.0], [3.0, np.nan]])
    quantiles = np.stack([np.full((2, 2), 1.0), np.full((2, 2), 2.5)], 2)
    np.testing.assert_allclose(metrics.quantile_coverage(y, quantiles, [0.2, 0.8]), [1 / 3, 2 / 3])
    draws = np.random.default_rng(5).normal(size=(40, 500))
    normal = np.broadcast_to([-1.2815515655, 0.0, 1.2815515655], (40, 500, 3))
    # atol: four standard errors of 20,000 draws
    np.testing.assert_allclose(
        metrics.quantile_coverage(draws, normal, [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.015
    )


def test_honest_forecasts_of_counts_reach_their_levels() -> None:
    """54 % zeros: at or below the 0.1 quantile lie 54 % of all values, and 10 % with ties at random."""
    draws = np.random.default_rng(6).poisson(0.616, (40, 500)).astype(float)
    law = np.broadcast_to([0.0, 0, 0, 0, 0, 1, 1, 1, 2], (40, 500, 9))  # of the Poisson
    assert metrics.quantile_coverage(draws, law, LEVELS)[0] > 0.53
    # half-way between levels stands for the share of a count that lies below it
    np.testing.assert_allclose(metrics.level_coverage(draws, law, LEVELS), LEVELS, atol=0.03)
    rare = np.array([[0.0] * 9 + [5.0]])
    none = np.zeros(
        (1, 10, 2)
    )  # 0 at 0.2 and at 0.8: a value of 0 lies below 0.2 of 0.9 of the times
    np.testing.assert_allclose(
        metrics.level_coverage(rare, none, (0.2, 0.8)), [0.9 * 0.2, 0.9 * 0.8]
    )
    apart = draws + np.random.default_rng(7).random(draws.shape)  # nothing is tied
    np.testing.assert_array_equal(
        metrics.level_coverage(apart, law, LEVELS), metrics.quantile_coverage(apart, law, LEVELS)
    )


def test_a_series_that_was_observed_at_one_step_is_scored_on_it() -> None:
    """Steps that were not observed do not take their series out of the scaled errors."""
    panel = make_panel()
    forecast = make_forecast(panel)
    actual = np.full((5, HORIZON), np.nan, np.float32)
    for i in range(5):
        actual[i, i] = 4.0
    found = metrics.scores(forecast, actual, panel)
    expected = plain_scores(forecast, actual, panel)
    for name in ("mase", "rmsse", "sql", "unscaled", "wql", "bias"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5), name


def test_bias_is_that_of_the_mean() -> None:
    panel = make_panel()
    actual = panel.future_target(HORIZON)
    exact = np.nan_to_num(actual)
    forecast = Forecast.of(panel, LEVELS, np.repeat(exact[..., None], 9, 2), exact * 1.1, model="x")
    assert metrics.scores(forecast, actual, panel)["bias"] == pytest.approx(0.1, rel=1e-3)


def test_what_was_not_forecast_or_observed_is_nan() -> None:
    panel = make_panel()
    actual = panel.future_target(HORIZON)
    few = metrics.scores(make_forecast(panel, (0.6, 0.9)), actual, panel)
    assert math.isnan(few["wape"])
    assert math.isnan(few["mase"])
    assert math.isnan(few["coverage_80"])
    assert few["wql"] > 0
    quarters = metrics.scores(make_forecast(panel, (0.1, 0.25, 0.5, 0.75, 0.9)), actual, panel)
    assert list(quarters)[9:11] == ["coverage_50", "coverage_80"]
    assert 0 < quarters["coverage_50"] <= quarters["coverage_80"] <= 1
    nothing = metrics.scores(make_forecast(panel), np.full_like(actual, np.nan), panel)
    assert nothing.pop("unscaled") == 0
    assert all(math.isnan(v) for v in nothing.values())
    assert math.isnan(metrics.nd(np.zeros((1, 2)), np.ones((1, 2))))
    assert math.isnan(metrics.nd(np.ones((1, 1)), np.full((1, 1), np.nan)))


def test_what_does_not_fit_is_refused() -> None:
    panel = make_panel()
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    with pytest.raises(ShapeError, match="future_target"):
        metrics.scores(forecast, actual[:, :2], panel)
    with pytest.raises(ShapeError, match="3 series"):
        metrics.scores(forecast, actual, panel.select([0, 1, 2]))
    with pytest.raises(DataError, match="series a of the panel"):
        metrics.scores(forecast, actual, panel.drop_last(1))
    with pytest.raises(ShapeError, match=r"\(5, 1\)"):
        metrics.nd(actual, actual[:, :1])
    with pytest.raises(ShapeError, match="levels"):
        metrics.wql(actual, forecast.quantiles, [0.5])
    with pytest.raises(ShapeError, match="paths"):
        metrics.crps_samples(actual, forecast.quantiles[:1])
    with pytest.raises(ShapeError, match="period=1"):
        metrics.seasonal_error(actual, period=0)


def test_a_tidy_frame_scores_the_same() -> None:
    panel = make_panel()
    forecast, actual = make_forecast(panel), panel.future_target(HORIZON)
    whole = metrics.scores(forecast, actual, panel)
    table = forecast.to_frame().with_columns(pl.Series("came", actual.ravel()))
    for frame in (table, table.with_columns(pl.col("came").fill_nan(None)), table.to_pandas()):
        found = metrics.score_frame(frame, actual="came")
        assert found == pytest.approx({name: whole[name] for name in found})
    others = {"0": 9.0, "1": 9.0, "-0.5": 9.0, "nan": 9.0, "12": 9.0}  # no levels
    with_more = table.with_columns(pl.lit(v).alias(name) for name, v in others.items())
    assert metrics.score_frame(with_more, actual="came") == pytest.approx(found)
    points = metrics.score_frame(table.select("came", "mean"), actual="came")
    assert points["wape"] == pytest.approx(metrics.wape(actual, forecast.mean))
    assert math.isnan(points["wql"])
    assert math.isnan(points["coverage_80"])
    with pytest.raises(SchemaError, match="actual="):
        metrics.score_frame(table)
