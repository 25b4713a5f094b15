"""Reconciled forecasts: the closed form against a dense reference, coherence, floors."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import demandcast as dc
from demandcast.errors import ConfigError, DataError
from demandcast.forecast import least_squares
from demandcast.forecast.least_squares import LeastSquares
from demandcast.forecast.reconcile_problem import Cost, Problem, quantiles_of, running_sums
from demandcast.forecast.sums import Addition, Sums

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


def hierarchy_of(seed: int) -> tuple[LeastSquares, np.ndarray, np.ndarray, np.ndarray]:
    """Levels that nest, cross, and leave values out, some with a level kept; the matrix that adds up, values, totals."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 20))

    def ranks(codes: Any) -> np.ndarray:
        return np.unique(codes, return_inverse=True)[1].astype(np.int64)

    fine = ranks(rng.integers(0, 6, n))
    coarse = ranks(rng.integers(0, 3, 6)[fine])
    some = np.where(rng.random(n) < 0.3, -1, 0)
    codes = [
        np.zeros(n, np.int64),
        fine,
        coarse,
        ranks(rng.integers(0, 3, n)),
        some * (some.max() + 1),
    ]
    matrix = np.concatenate([np.eye(c.max() + 1)[:, c] * (c >= 0) for c in codes])
    own, above = rng.uniform(0.2, 3, n), rng.uniform(0.2, 3, len(matrix))
    values = rng.gamma(0.5, 4, (n, 4))
    problem = LeastSquares(Sums.of(codes), own, above)
    if seed % 3 == 0:
        above[problem.sums.slices[1]] = 0
    return problem, matrix, values, matrix @ values * rng.uniform(0.2, 1.6, (len(matrix), 4))


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_optimum_is_that_of_a_dense_reference(seed: int) -> None:
    problem, matrix, values, totals = hierarchy_of(seed)
    assert problem.sums.add(values) == pytest.approx(matrix @ values)
    assert problem.sums.spread(totals) == pytest.approx(matrix.T @ totals)
    dense = (matrix * problem.own) @ matrix.T + np.diag(problem.above)
    gain = problem.own[:, None] * matrix.T @ np.linalg.pinv(dense)
    free = values + gain @ (totals - matrix @ values)
    found = problem.solve(values, totals, np.full(len(values), -np.inf))
    np.testing.assert_allclose(found.values, free, rtol=1e-7, atol=1e-7)
    assert found.moved == 0
    assert found.loss == pytest.approx(problem.loss(free, values, totals))
    single = problem.solve(*(v.astype(np.float32) for v in (values, totals, free.min(1))))
    np.testing.assert_allclose(single.values, free, atol=2e-4 * np.abs(totals).max())


@pytest.mark.parametrize("rounds", [least_squares.ROUNDS, 1])  # with 1 round by Newton's method
@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_the_floor_costs_what_the_quadratic_program_costs(rounds: int, seed: int) -> None:
    problem, matrix, values, totals = hierarchy_of(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(least_squares, "ROUNDS", rounds)
        found = problem.solve(values, totals, np.zeros(len(values)))
    assert (found.values >= 0).all()
    assert found.moved >= 0
    assert found.loss == pytest.approx(problem.loss(found.values, values, totals), rel=1e-6, abs=1e-12) or not found.moved  # fmt: skip
    assert found.free <= found.loss * (1 + 1e-9)
    kept = problem.above == 0
    np.testing.assert_allclose(
        (matrix @ found.values)[kept], totals[kept], rtol=1e-6, atol=1e-8 * totals.max()
    )
    soft = np.where(kept, 1e-7, problem.above)  # least squares with a floor and no constraint
    heavy = np.concatenate([np.diag(problem.own**-0.5), matrix / np.sqrt(soft)[:, None]])
    for s in range(4):
        goal = np.concatenate([values[:, s] / problem.own**0.5, totals[:, s] / np.sqrt(soft)])
        best = scipy.optimize.nnls(heavy, goal)[0][:, None]
        least = problem.loss(best, values[:, [s]], totals[:, [s]])
        loss = problem.loss(found.values[:, [s]], values[:, [s]], totals[:, [s]])
        assert loss <= 1.01 * least + 1e-4 * kept.any()


@pytest.mark.parametrize("n", [1, 9, 60, 300])
def test_groups_of_any_size_are_added_up_and_distributed(n: int) -> None:
    """A code of -1 is in no sum; a group may be empty."""
    rng = np.random.default_rng(n)
    code = np.where(rng.random(n) < 0.2, -1, np.minimum(rng.geometric(0.3, n), 6)).astype(np.int64)
    matrix = np.arange(8)[:, None] == code
    values, shares = rng.normal(size=(n, 3)), rng.normal(size=(8, 3))
    addition = Addition(code, 8)
    np.testing.assert_allclose(addition.add(values), matrix @ values, atol=1e-12)
    np.testing.assert_allclose(addition.spread(shares), matrix.T @ shares, atol=1e-12)


@pytest.mark.parametrize("n", [1, 127, 128, 129, 400])
def test_quick_sums_and_quantiles_are_those_of_numpy(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 7))
    np.testing.assert_allclose(running_sums(values), np.cumsum(values, 0), atol=1e-12)
    levels = (0.0, 0.1, 0.5, 0.51, 0.9, 1.0)
    for many in (values, values.T):
        expected = np.quantile(many, levels, axis=1).T
        np.testing.assert_allclose(quantiles_of(many, levels), expected, rtol=1e-6)


def test_one_level_is_the_closed_form() -> None:
    """To the last digits of the numbers that are kept."""
    panel = panel_of(low=5000.0)
    series, store = forecast_of(panel, window=10), forecast_of(panel.total("store"), window=60)
    found = series.reconcile(store)
    lacks = store.mean.astype(float) - series.mean.astype(float).reshape(2, 3, -1).sum(1)
    expected = series.mean + np.repeat(lacks / (3 + 3), 3, 0)  # K = 3 series of variance 1, and 3
    np.testing.assert_allclose(found.mean, expected, rtol=8e-8)


@pytest.mark.parametrize(("begin", "weeks"), [(0, 2), (2, 2), (-1, 3)])
def test_weeks_that_the_totals_do_not_cover_are_left_as_they_are(begin: int, weeks: int) -> None:
    """Totals may begin later or earlier than the series, and end before them."""
    panel = panel_of().drop_last(22)  # ends on a Sunday, three weeks before the last of the table
    days = dc.local.WindowAverage(horizon=35, window=10).predict(panel, n_samples=20)
    later = panel_of().drop_last(22 - 7 * begin)
    total = dc.local.WindowAverage(horizon=weeks).predict(later.total(steps="week"), n_samples=20)
    found = days.reconcile(total, trust=[1e9])
    first, last = 7 * max(begin, 0), 7 * (begin + weeks)
    kept = np.r_[0:first, last:35]
    np.testing.assert_allclose(found.mean[:, kept], days.mean[:, kept], rtol=1e-6)
    sums = found.mean[:, first:last].sum(0).reshape(-1, 7).sum(1)
    np.testing.assert_allclose(sums, total.mean[0, max(-begin, 0) :], rtol=1e-4)
    assert f"{len(kept)} of 35 steps lie in no whole step" in found.notes[-1]


def test_a_series_gives_way_as_its_own_forecast_is_uncertain() -> None:
    """In proportion to the variance over paths, whose course along the horizon does not matter."""
    panel = panel_of()
    series, total = forecast_of(panel), forecast_of(panel.total())
    rng = np.random.default_rng(0)
    sizes = np.array([1.0, 2, 3, 4, 5, 6], np.float32)
    level = 50 + sizes[:, None, None] * rng.normal(size=(6, 50, 1)).astype(np.float32)
    season = np.float32([0, 9, -9, 5, -5])
    apart = dc.Forecast.from_samples(level + season, series.levels, panel, model="x")
    assert apart.samples is not None
    moved = (apart.reconcile(total, weights="variance").mean - apart.mean) / sizes[:, None] ** 2
    variance = apart.samples.var(1).mean(1) / sizes**2
    np.testing.assert_allclose(moved / variance[:, None], np.tile(moved[0] / variance[0], (6, 1)), rtol=1e-2)  # fmt: skip
    assert np.abs(moved).max() > 0.001


def test_a_level_that_is_not_trusted_changes_nothing() -> None:
    """Also if its steps are weeks, so that all days are one problem."""
    panel = panel_of().drop_last(1)  # ends on a Sunday
    days = dc.local.WindowAverage(horizon=14, window=10).predict(panel, n_samples=20)
    stores = dc.local.WindowAverage(horizon=14, window=60).predict(panel.total("store"), n_samples=20)  # fmt: skip
    weeks = dc.local.WindowAverage(horizon=2).predict(panel.total(steps="week"), n_samples=20)
    one = days.reconcile(stores)
    two = days.reconcile(stores, weeks, trust=[1, 1e-9])
    assert np.abs(one.mean - days.mean).max() > 0.1
    for name in ("mean", "quantiles", "samples"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-4)


def paths_rounded_and_not(series: Any, totals: Any) -> tuple[np.ndarray, np.ndarray]:
    """Reconciled paths of counts as they are, and as they were before they were rounded."""
    rounded = series.reconcile(totals).samples
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Problem, "_rounded", lambda self, values, *_: values)
        plain = series.reconcile(totals).samples
    assert rounded is not None
    assert plain is not None
    return rounded, plain


def test_rounded_counts_keep_their_means_and_move_totals_by_less_than_1() -> None:
    panel = panel_of(low=4.0)
    series = forecast_of(dc.Panel(**{**panel.__dict__, "target": np.rint(panel.target)}), window=40)
    store = forecast_of(panel.total("store"), window=60)
    rounded, plain = paths_rounded_and_not(series, store)
    np.testing.assert_array_equal(rounded, np.rint(rounded))
    assert np.abs(rounded - plain).max() < 1 + 1e-5
    assert np.abs(rounded.sum(0) - plain.sum(0)).max() < 1 + 1e-4
    # 5 standard errors of 50 paths, each of which is rounded by at most 1
    assert np.abs(rounded.mean(1) - plain.mean(1)).max() < 5 * 0.5 / 50**0.5


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
    with pytest.raises(ConfigError, match="name one forecast of totals or more, or locks"):
        series.reconcile()
    with pytest.raises(ConfigError, match="weights is 'ols'"):
        series.reconcile(forecast_of(panel.total()), weights="ols")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"by store lacks \('south',\)"):
        series.reconcile(forecast_of(panel.total("store").select([0])))
    with pytest.raises(DataError, match="forecast for 4 steps of D, the series for 5 of D"):
        series.reconcile(dc.local.SES(horizon=4).predict(panel.total()))
    with pytest.raises(DataError, match="ends at another step than its total"):
        series.reconcile(forecast_of(panel.total().drop_last(3)))


def budget(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame(columns)


def first_day(forecast: dc.Forecast) -> Any:
    return forecast.to_frame()["day"][0]


def test_locks_hold_on_every_path_and_in_the_mean() -> None:
    series = forecast_of(panel_of())
    day = first_day(series)
    locks = budget(
        store=["north", "south", None, "north"],
        day=[day, day, day, None],
        units=[130.0, 170.0, 300.0, 900.0],
    )
    found = series.reconcile(forecast_of(series.panel.total("item")), locks=locks)  # type: ignore[union-attr]
    stores = found.total("store")
    assert stores.samples is not None
    np.testing.assert_allclose(stores.samples[:, :, 0].T, [[130, 170]] * 50, rtol=1e-6)
    np.testing.assert_allclose(stores.mean[:, 0], [130, 170], rtol=1e-6)
    np.testing.assert_allclose(stores.samples[0].sum(1), 900, rtol=1e-6)
    assert np.ptp(stores.samples[1, :, 1]) > 1  # what is not kept stays uncertain


def test_counts_under_locks_stay_counts() -> None:
    panel = panel_of(low=4.0)
    counts = dc.Panel(**{**panel.__dict__, "target": np.rint(panel.target)})
    locks = budget(store=["north", None], units=[60.0, 110.0])
    found = forecast_of(counts).reconcile(locks=locks)
    assert found.samples is not None
    np.testing.assert_array_equal(found.samples, np.rint(found.samples))
    assert (found.samples[:3].sum((0, 2)) == 60).all()
    assert (found.samples.sum((0, 2)) == 110).all()
    assert found.samples.min() >= 0


def test_counts_are_rounded_where_locks_nest_and_are_whole_and_else_noted() -> None:
    panel = panel_of(low=4.0)
    series = forecast_of(dc.Panel(**{**panel.__dict__, "target": np.rint(panel.target)}))
    day = first_day(series)
    nested = {"store": ["north", None, "north"], "item": ["a", None, None], "units": [7.0, 30.0, 18.0]}  # fmt: skip
    crossed = {"store": ["north", None], "item": [None, "a"], "units": [20.0, 9.0]}
    whole, days = {**nested, "day": [day] * 3}, {**nested, "day": [day, None, day], "units": [7.0, 150.0, 18.0]}  # fmt: skip
    for columns, rounds in (
        (whole, True),
        (days, True),
        (nested, True),
        ({**nested, "units": [7.5, 30.0, 18.0]}, False),
        (crossed, False),
    ):
        found = series.reconcile(locks=budget(**columns))
        assert found.samples is not None
        assert np.array_equal(found.samples, np.rint(found.samples)) == rounds, columns
        assert any("counts are not rounded" in note for note in found.notes) != rounds
        span = slice(0, 1) if columns is whole or columns is days else slice(None)
        if columns is not crossed:
            north, total, a = found.samples[:3, :, span].sum((0, 2)), found.samples.sum((0, 2)), found.samples[0, :, span].sum(1)  # fmt: skip
            np.testing.assert_allclose(north, 18, rtol=1e-6)
            np.testing.assert_allclose(a, columns["units"][0], rtol=1e-6)
            if columns is not whole:
                np.testing.assert_allclose(total, columns["units"][1], rtol=1e-6)
        else:
            np.testing.assert_allclose(found.samples[:3].sum((0, 2)), 20, rtol=1e-6)
            np.testing.assert_allclose(found.samples[[0, 3]].sum((0, 2)), 9, rtol=1e-6)


def test_the_note_on_floors_says_what_they_cost() -> None:
    for moved, text in ((2e-5, "moved by 0.00%"), (0.05, "moved by 5.00%")):
        (note,) = Cost(free=2.0, floored=3.0, moved=moved, size=1.0).note()
        assert text in note
        assert "adds 50.0% to the weighted squares" in note
    assert Cost(free=2.0, floored=3.0, moved=1e-5, size=1.0).note() == ()
    assert Cost().note() == ()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"store": ["north", "south", None], "units": [100.0, 150.0, 240.0]},
            "total is kept at 240, but store=north at 100; store=south at 150 make it 250",
        ),
        (
            {"store": ["north", None], "units": [100.0, 90.0]},
            "store=north at 100 make at least 100",
        ),
        (
            {
                "store": [*["north"] * 3, *["south"] * 3, None],
                "item": [*"abcabc", None],
                "units": [1.0] * 6 + [9.0],
            },
            "total is kept at 9, but store=north, item=a at 1; .*item=a at 1 and 2 more make it 6",
        ),
        ({"store": ["north"], "units": [-5.0]}, "store=north is kept at -5, but its series cannot"),
        ({"store": ["nort"], "units": [5.0]}, "keeps store=nort, but no series has store 'nort'"),
        ({"shop": ["north"], "units": [5.0]}, "'shop' is neither a key column"),
        ({"store": ["north"], "units": [None]}, "row 1 .* has no number"),
        ({"store": ["north"] * 2, "units": [5.0, 6.0]}, "rows 1 and 2 .* both keep store=north"),
        ({"store": ["north"]}, "has no column 'units'"),
        ({"day": [datetime.date(2020, 1, 1)], "units": [5.0]}, "is for 2020-01-01.*covers"),
    ],
)
def test_locks_that_cannot_be_kept_are_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        forecast_of(panel_of(low=4.0)).reconcile(locks=budget(**columns))


def test_counts_of_days_move_no_total_of_weeks_by_1() -> None:
    """Where all days are one problem, a series is rounded along its days."""
    panel = panel_of(low=4.0).drop_last(1)  # ends on a Sunday
    counts = dc.Panel(**{**panel.__dict__, "target": np.rint(panel.target)})
    days = dc.local.WindowAverage(horizon=14).predict(counts, n_samples=20)
    weeks = dc.local.WindowAverage(horizon=2).predict(counts.total(["store", "item"], steps="week"), n_samples=20)  # fmt: skip
    rounded, plain = paths_rounded_and_not(days, weeks)
    assert np.abs(rounded - plain).max() < 1 + 1e-5
    moved = (rounded - plain).astype(np.float64)
    assert np.abs(moved.sum(2)).max() < 1 + 1e-4
    assert np.abs(moved[:, :, :7].sum(2)).max() < 1 + 1e-4
    assert np.abs(moved.sum((0, 2))).max() < 1 + 1e-3


@pytest.mark.parametrize("turn", range(4))
def test_locks_that_no_forecast_can_meet_are_named_with_their_values(turn: int) -> None:
    """The north is to sell more than all items of both stores together, whatever lock comes first."""
    series = forecast_of(panel_of(low=4.0))
    columns = {"store": ["north", *[None] * 3], "item": [None, "a", "b", "c"], "units": [10.0, 2.0, 3.0, 4.0]}  # fmt: skip
    locks = budget(**{name: values[turn:] + values[:turn] for name, values in columns.items()})
    with pytest.raises(DataError) as error:
        series.reconcile(locks=locks)
    said = str(error.value)
    names = ["store=north at 10", "item=a at 2", "item=b at 3", "item=c at 4"]
    head, _, others = said.partition(" together with ")
    (own,) = (n for n in names if n.replace(" at ", " cannot be kept at ") in head)
    assert all((name in others) == (name != own) for name in names), said
    assert "missed by" in others


def test_locks_that_agree_within_rounding_are_kept() -> None:
    """A budget of 250.0001 for what its parts make 250 is no contradiction; one of 249 is."""
    series = forecast_of(panel_of(low=4.0))
    for total in (250.0, 250.0001, 249.9999):
        locks = budget(store=["north", "south", None], units=[100.0, 150.0, total])
        found = series.reconcile(locks=locks)
        assert found.total("store").mean.sum(1) == pytest.approx([100, 150], rel=1e-5)
    # no series falls below 0, so a part may be all of the total, and nothing may be the whole of it
    found = series.reconcile(locks=budget(store=["north", None], units=[100.0, 100.0]))
    assert found.total("store").mean.sum(1) == pytest.approx([100, 0], abs=1e-3)
    found = series.reconcile(locks=budget(store=["north"], units=[0.0]))
    assert found.mean[:3].max() < 1e-4
    for total in (249.0, 251.0):
        locks = budget(store=["north", "south", None], units=[100.0, 150.0, total])
        with pytest.raises(DataError, match=f"total is kept at {total:g}, but .* make it 250"):
            series.reconcile(locks=locks)


def test_locks_that_cross_and_cannot_be_met_are_named() -> None:
    # all of item a stands in north, which is to sell less than that
    series = forecast_of(panel_of(low=4.0).select([0, 3, 4]))
    locks = budget(store=["north", None], item=[None, "b"], units=[10.0, 5.0])
    with_room = series.reconcile(locks=locks)
    assert with_room.total("store").mean[0].sum() == pytest.approx(10, rel=1e-6)
    with pytest.raises(DataError, match=r"locks contradict each other: .*item=b"):
        series.reconcile(locks=budget(store=["south", None], item=[None, "b"], units=[10.0, 15.0]))


def test_trust_and_top_down() -> None:
    panel = panel_of()
    series, store = forecast_of(panel, window=10), forecast_of(panel.total("store"), window=60)
    near = series.reconcile(store, trust=[1e9]).total("store")
    np.testing.assert_allclose(near.mean, store.mean, rtol=1e-5)
    far = series.reconcile(store, trust=[1e-9]).total("store")
    np.testing.assert_allclose(far.mean, series.total("store").mean, rtol=1e-5)
    down = series.reconcile(store, weights="top_down")
    np.testing.assert_allclose(down.total("store").mean, store.mean, rtol=1e-5)
    own = series.mean.mean(1)
    np.testing.assert_allclose(
        (down.mean - series.mean)[:3],
        (own[:3] / own[:3].sum())[:, None] * (store.mean - series.total("store").mean)[0],
        atol=1e-3,
    )
    for bad, message in (
        ([1, 2], "trust has 2 numbers for 1"),
        ([0], "trust is 0"),
        ([np.inf], "trust is inf"),
        ([np.nan], "trust is nan"),
    ):
        with pytest.raises(ConfigError, match=message):
            series.reconcile(store, trust=bad)
    with pytest.raises(ConfigError, match="keeps the totals of one level"):
        series.reconcile(store, forecast_of(panel.total()), weights="top_down")
    with pytest.raises(ConfigError, match="1 levels and locks are given"):
        series.reconcile(store, weights="top_down", locks=budget(units=[3.0]))
    with pytest.raises(ConfigError, match="0 levels and locks are given"):
        series.reconcile(weights="top_down", locks=budget(units=[3.0]))


def test_days_agree_with_weeks_and_months() -> None:
    panel = panel_of()  # ends on Monday, 2024-04-29, so the first whole week begins after six days
    days = dc.local.WindowAverage(horizon=35, window=10).predict(panel, n_samples=50)
    whole = dc.Panel(**{**panel.__dict__, "lengths": panel.lengths - 1})  # ends on a Sunday
    keys = ["store", "item"]
    weeks = dc.local.WindowAverage(horizon=6).predict(whole.total(keys, steps="week"), n_samples=50)
    months = dc.local.WindowAverage(horizon=2).predict(
        panel.total(keys, steps="month"), n_samples=50
    )
    found = days.reconcile(weeks, trust=[1e9])
    again = found.total(keys, steps="week")
    np.testing.assert_allclose(again.mean, weeks.mean[:, 1:5], rtol=1e-4)
    assert any("7 of 35 steps lie in no whole step" in note for note in found.notes)
    np.testing.assert_allclose(found.mean[:, :6], days.mean[:, :6], rtol=1e-5)
    assert found.samples is not None
    assert again.samples is not None
    np.testing.assert_allclose(
        found.samples[:, :, 6:34].reshape(6, 50, 4, 7).sum(3), again.samples, rtol=1e-5
    )
    # all of May is forecast: with the weeks it is one problem of least squares, as a dense matrix has it
    both = days.reconcile(weeks, months)
    cells = np.arange(35)
    in_week = np.array([(cells - 6) // 7 == k for k in range(4)])
    matrix = np.concatenate([in_week, [(cells >= 1) & (cells < 32)]]).astype(float)
    goal = np.concatenate([weeks.mean[0, 1:5], months.mean[0, 1:2]])
    gain = matrix.T @ np.linalg.inv(matrix @ matrix.T + np.diag([7, 7, 7, 7, 31]))
    np.testing.assert_allclose(
        both.mean[0], days.mean[0] + gain @ (goal - matrix @ days.mean[0]), rtol=1e-4
    )
    with pytest.raises(DataError, match="cover none as a whole"):
        forecast_of(panel).reconcile(months)
