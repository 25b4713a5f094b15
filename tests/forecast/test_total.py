"""Totals: quantiles of sums from joint paths, exact means, and what cannot be added up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import ConfigError, DataError, FrequencyError, SchemaError
from demandcast.forecast import total as totals
from demandcast.forecast.total import _courses, _dates, joint_paths, sorted_values

DAYS, HORIZON = 200, 28


def shops(shared: float, *, n: int = 40, seed: int = 0) -> dc.Panel:
    """Series of two stores whose daily noise is shared to a degree; the value of a day is 50 on average."""
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 1, DAYS)
    own = rng.normal(0, 1, (n, DAYS))
    values = 50 + 10 * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
    table = pl.DataFrame(
        {
            "store": np.repeat(["north", "south"], n // 2 * DAYS),
            "item": np.repeat(np.arange(n), DAYS),
            "day": np.tile(np.datetime64("2024-01-01") + np.arange(DAYS), n),
            "units": values.ravel(),
            "group": np.repeat([["food", "drink"][i % 2] for i in range(n)], DAYS),
        }
    )
    return dc.read_panel(
        table,
        key=["store", "item"],
        time="day",
        target="units",
        freq="D",
        static=["group"],
        totals="keep",
    )


def forecast_of(panel: dc.Panel, paths: int | None = 200) -> dc.Forecast:
    return dc.local.WindowAverage(horizon=HORIZON, window=100).predict(panel, n_samples=paths)


@pytest.mark.parametrize("paths", [200, None])
@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_spread_of_a_total_is_that_of_sums_of_the_past(
    shared: float, paths: int | None
) -> None:
    panel = shops(shared)
    total = forecast_of(panel, paths).total()
    history = panel.target.reshape(40, DAYS).sum(0)
    width = (total.quantile(0.9) - total.quantile(0.1)).mean()
    truth = 2 * 1.2816 * 10 * np.sqrt(40 + shared * 40 * 39)
    assert width == pytest.approx(truth, rel=0.2)
    assert width == pytest.approx(2 * 1.2816 * history.std(), rel=0.2)
    adding = forecast_of(panel).quantiles
    added_up = (adding[..., -1] - adding[..., 0]).sum(0).mean()
    if shared < 1:
        assert added_up > 1.25 * truth  # where adding quantiles up is wrong


def test_means_add_up_and_series_keep_their_distributions() -> None:
    panel = shops(0.5)
    forecast = forecast_of(panel)
    by_store = forecast.total("store")
    np.testing.assert_allclose(by_store.mean.sum(0), forecast.mean.sum(0), rtol=1e-6)
    np.testing.assert_allclose(by_store.mean[0], forecast.mean[:20].sum(0), rtol=1e-6)
    assert by_store.keys.to_dict(as_series=False) == {"store": ["north", "south"]}
    single = forecast.total(["store", "item"])
    np.testing.assert_allclose(
        single.quantiles,
        np.quantile(forecast.samples, forecast.levels, axis=1).transpose(1, 2, 0),
        rtol=1e-5,
    )
    groups = forecast.total(["group", "store"]).keys
    assert groups.rows() == [
        ("food", "north"),
        ("drink", "north"),
        ("food", "south"),
        ("drink", "south"),
    ]


def test_levels_of_a_hierarchy_add_up() -> None:
    forecast = forecast_of(shops(0.5, n=6))
    frame = forecast.hierarchy(["store", ()])
    assert frame["level"].unique(maintain_order=True).to_list() == ["total", "store", "series"]
    assert frame.columns[:4] == ["level", "store", "item", "day"]
    sums = frame.group_by("level", maintain_order=True).agg(pl.col("mean").sum())["mean"]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-6)
    top = frame.filter(level="total")
    np.testing.assert_allclose(top["0.9"], forecast.total().quantile(0.9)[0])
    assert top["store"].null_count() == top.height == HORIZON


def test_weeks_are_whole() -> None:
    panel = shops(0.5)  # ends on Thursday, 2024-07-18
    forecast = forecast_of(panel)
    weeks = forecast.total(steps="week")
    assert weeks.to_frame()["day"].dt.date().to_list() == [
        np.datetime64(d).item() for d in ("2024-07-22", "2024-07-29", "2024-08-05")
    ]
    np.testing.assert_allclose(
        weeks.mean[0], forecast.mean.sum(0)[3:24].reshape(3, 7).sum(1), rtol=1e-6
    )
    assert "7 of 28 steps" in weeks.notes[-1]
    day, week = forecast.total().samples, weeks.samples
    assert day is not None
    assert week is not None
    np.testing.assert_allclose(week[0], day[0, :, 3:24].reshape(200, 3, 7).sum(2), rtol=1e-5)


def test_a_period_covered_in_part_or_without_a_calendar_is_refused() -> None:
    forecast = forecast_of(shops(0.5, n=4))
    with pytest.raises(ConfigError, match="28 steps of 'D' cover no whole step of 'QS-JAN'"):
        forecast.total(steps="quarter")
    table = pl.DataFrame({"k": ["a"] * 30, "t": range(30), "y": [1.0, 2.0] * 15})
    counted = dc.local.WindowAverage(horizon=4).predict(
        dc.read_panel(table, key="k", time="t", target="y")
    )
    with pytest.raises(FrequencyError, match="whole numbers"):
        counted.total(steps="week")


def test_columns_that_are_no_groups_are_refused_by_name() -> None:
    with pytest.raises(
        SchemaError, match=r"'stor' is neither a key column .*; did you mean 'store'"
    ):
        forecast_of(shops(0.5, n=4)).total("stor")


def test_series_that_end_at_different_times_share_fewer_steps() -> None:
    panel = shops(0.5, n=4)
    shorter = replace(panel, lengths=panel.lengths - np.array([0, 0, 0, 5]))
    total = forecast_of(shorter).total()
    assert total.horizon == HORIZON - 5
    assert "23 of 28 steps" in total.notes[-1]
    with pytest.raises(DataError, match="series south/3 ended 150 steps before others"):
        forecast_of(replace(panel, lengths=panel.lengths - np.array([0, 0, 0, 150]))).total()


def test_a_total_does_not_know_its_panel() -> None:
    total = forecast_of(shops(0.5, n=4)).total("store")
    with pytest.raises(DataError, match="add up what predict returned"):
        total.total()


@pytest.mark.parametrize("days", [4, 8, 12, 13, 30, 67, 68, 75, 200])
@pytest.mark.parametrize("horizon", [1, 5, 7, 9])
def test_dates_of_the_past_leave_a_whole_course_and_a_week_before_it(
    days: int, horizon: int
) -> None:
    """Eight weeks or more give days of the same weekday, fewer give every day; each as often as others."""
    lengths = np.array([3, days])
    panel = replace(shops(0.0, n=2), lengths=lengths)
    latest, earliest = horizon, max(horizon, days - 7)  # steps before the cutoff
    if (days - horizon - 7) // 7 >= 8:
        expected = [d for d in range(latest, earliest + 1) if d % 7 == 0]
    else:
        expected = [*range(latest, earliest + 1)]
    dates, often = np.unique(_dates(panel, horizon, 300), return_counts=True)
    assert dates.tolist() == expected
    assert often.max() - often.min() <= 1
    few = _dates(panel, horizon, 3)
    assert len(few) == 3
    assert set(few) <= set(expected)


def test_a_course_is_what_a_series_did_from_a_date_less_its_four_weeks_before() -> None:
    panel = shops(0.5, n=2)
    back = np.array([40, 28, 29])
    courses = _courses(panel, panel.ends(), back, HORIZON)
    for i in range(2):
        values = panel.history(i).astype(float)
        for s, steps in enumerate(back):
            date = DAYS - steps
            expected = values[date : date + HORIZON] - values[date - 28 : date].mean()
            np.testing.assert_allclose(courses[i, s], expected, atol=1e-4)
    # the same dates, of a forecast that begins three steps after the history
    later = _courses(panel, panel.ends() + 3, back + 3, HORIZON)
    np.testing.assert_allclose(later, courses, atol=1e-4)


def test_weeks_that_begin_and_end_with_the_forecast_are_whole() -> None:
    panel = shops(0.5, n=4).drop_last(4)  # ends on Sunday, 2024-07-14
    weeks = forecast_of(panel).total(steps="week")
    assert weeks.horizon == 4
    assert not weeks.notes
    assert str(weeks.to_frame()["day"][0]).startswith("2024-07-15")


@pytest.mark.parametrize("paths", [200, None])
def test_paths_are_joint_whether_series_are_ordered_at_once_or_alone(
    paths: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecast = forecast_of(shops(0.5, n=4), paths)
    whole = joint_paths(forecast)
    np.testing.assert_allclose(  # they are the forecast's own values, in another order
        np.sort(whole, 1), sorted_values(forecast, np.arange(4), 200), rtol=1e-6
    )
    for cells in (1, 200 * HORIZON, 3 * 200 * HORIZON):
        monkeypatch.setattr(totals, "CELLS", cells)
        np.testing.assert_array_equal(joint_paths(forecast), whole)


def test_values_of_a_distribution_stand_in_the_middle_of_equal_shares() -> None:
    """Without as many paths they are quantiles, none below a floor of 0."""
    panel = shops(0.5, n=2)
    forecast = forecast_of(panel)
    exact = sorted_values(forecast, np.array([1]), 200)
    assert forecast.samples is not None
    np.testing.assert_array_equal(exact, np.sort(forecast.samples[1:], 1))
    few = sorted_values(forecast, np.array([1]), 5)[0]
    for s, level in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        np.testing.assert_allclose(few[s], forecast.quantile(level)[1], rtol=1e-6)
    low = replace(forecast, quantiles=forecast.quantiles - 45, samples=None)
    found = sorted_values(low, np.array([0, 1]), 50)
    assert found.min() == 0
    assert (np.diff(found, axis=1) >= 0).all()


def test_shared_steps_are_those_of_the_same_dates() -> None:
    """A series that ended two days before lends the steps that begin two days later."""
    panel = shops(0.5, n=4)
    early = forecast_of(replace(panel, lengths=panel.lengths - np.array([0, 2, 0, 0])))
    total = early.total()
    assert total.horizon == HORIZON - 2
    expected = early.mean[[0, 2, 3], : HORIZON - 2].sum(0) + early.mean[1, 2:]
    np.testing.assert_allclose(total.mean[0], expected, rtol=1e-6)
    assert total.samples is not None
    paths = joint_paths(early)
    by_hand = paths[[0, 2, 3], :, : HORIZON - 2].sum(0) + paths[1, :, 2:]
    np.testing.assert_allclose(total.samples[0], by_hand, rtol=1e-5)
    assert total.times()[0, 0] == early.times()[0, 0] == early.times()[1, 2]
    only = forecast_of(panel).total(levels=[0.25, 0.75])
    assert only.levels == (0.25, 0.75)
    assert only.samples is not None
    np.testing.assert_allclose(only.quantile(0.25), np.quantile(only.samples, 0.25, axis=1), rtol=1e-6)  # fmt: skip


def test_months_are_added_up_whole() -> None:
    panel = shops(0.5, n=2).drop_last(18)  # ends on Sunday, 2024-06-30
    forecast = dc.local.WindowAverage(horizon=70, window=100).predict(panel)
    months = forecast.total(steps="month")
    assert months.to_frame()["day"].dt.date().to_list() == [
        np.datetime64(d).item() for d in ("2024-07-01", "2024-08-01")
    ]
    days = forecast.mean.sum(0)
    np.testing.assert_allclose(months.mean[0], [days[:31].sum(), days[31:62].sum()], rtol=1e-6)
    assert "8 of 70 steps" in months.notes[-1]
