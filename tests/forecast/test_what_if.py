"""What-if: the difference is that of the covariates alone, and what cannot be told is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import ConfigError, DataError, SchemaError
from demandcast.forecast import apply_changes, changes, repeat, what_if
from demandcast.forecast.changes import Change
from demandcast.forecast.response_table import ResponseTable
from demandcast.frames.examples import retail
from demandcast.panel.response import Response

from .linear_method import HORIZON, Linear, shop


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    return shop()


@pytest.fixture(scope="module")
def forecast(panel: dc.Panel) -> dc.Forecast:
    return Linear().predict(panel, n_samples=50)


def test_the_difference_is_that_of_the_covariates_at_the_same_luck(forecast: dc.Forecast) -> None:
    answer = forecast.what_if("promo=1 where weekday=friday and item=b")
    frame = answer.to_frame()
    friday = (pl.col("date").dt.weekday() == 5) & (pl.col("item") == "b")
    assert frame["item"].unique().to_list() == ["b"]  # the other is not touched
    for name in ("difference", "difference_0.1", "difference_0.9"):  # no noise is left in it
        np.testing.assert_allclose(frame.filter(friday)[name], 5.0, atol=1e-4)
        np.testing.assert_allclose(frame.filter(~friday)[name], 0.0, atol=1e-4)
    assert answer.totals()["difference"].to_list() == pytest.approx([10.0], abs=1e-4)
    assert answer.total()["difference_0.9"] == pytest.approx(10.0, abs=1e-3)


def test_without_paths_levels_are_matched(panel: dc.Panel) -> None:
    forecast = Linear().predict(panel)
    answer = replace(forecast, samples=None).what_if(price="*2")
    planned = forecast.panel.known[:, 0].reshape(2, -1)[:, -HORIZON:]  # type: ignore[union-attr]
    np.testing.assert_allclose(answer.difference[..., 0], -2 * planned, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"price": 3.0}, [3.0] * HORIZON),
        ({"price": "*0.5"}, None),
        ({"price": "+1"}, None),
        ({"price": np.linspace(1, 3, HORIZON)}, np.linspace(1, 3, HORIZON)),
    ],
)
def test_values_are_levels_factors_steps_or_arrays(
    forecast: dc.Forecast, values: dict[str, Any], expected: Any
) -> None:
    answer = forecast.what_if(**values)
    assert answer.changed.panel is not None
    after = answer.changed.mean - answer.planned.mean
    if expected is not None:
        before = forecast.panel.known[:, 0].reshape(2, -1)[:, -HORIZON:]  # type: ignore[union-attr]
        np.testing.assert_allclose(after, -2 * (np.asarray(expected) - before), atol=1e-4)
    else:
        assert (after != 0).all()


def test_a_category_takes_the_place_of_the_planned_one(forecast: dc.Forecast) -> None:
    frame = forecast.what_if("event=fair where step=2|3").to_frame()
    assert frame["difference"].to_list()[:3] == pytest.approx([0.0, 3.0, 3.0], abs=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ("promo", ConfigError, "should follow, but it ends"),
        ("promo=", ConfigError, "a value should follow"),
        ("promo==1", ConfigError, "'=' stands there"),
        ("promo=1 when week=1", ConfigError, "'when' stands there"),
        ("promo=1 where week=1 or week=2", ConfigError, "'or' stands there"),
        ("promo=1 where item=a|", ConfigError, "a value should follow"),
        ('promo=1 where item="a', ConfigError, "cannot be read at"),
        ("units=1", SchemaError, "'units' is the table's target"),
        ("item=1", SchemaError, "'item' is the table's key"),
        ("prise=1", SchemaError, "did you mean 'price'"),
        ("promo=2", ConfigError, "was only ever 0 or 1"),
        ("price=cheap", ConfigError, "'cheap' is no finite number"),
        ("price=inf", ConfigError, "no finite number"),
        ("event=fare", ConfigError, "did you mean 'fair'"),
        ("event*=2", ConfigError, "holds categories"),
        ("promo=1 where wek=1", SchemaError, "did you mean 'week'"),
        ("promo=1 where item=c", ConfigError, "it goes from a to b"),
        ("promo=1 where item<b", ConfigError, "compared with = and != only"),
        ("promo=1 where step=x", ConfigError, "'x' is no number"),
        ("promo=1 where date=soon", ConfigError, "write the time as"),
        ("promo=1 where step=1 and step=2", ConfigError, "never hold together"),
        ("price*=1", DataError, "nothing would change"),
        ("noise*=2", DataError, "learned nothing from 'noise'"),
    ],
)
def test_what_cannot_be_asked_is_an_error(
    forecast: dc.Forecast, change: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words.replace("|", r"\|")):
        forecast.what_if(change)


@pytest.mark.parametrize(
    ("condition", "item", "steps"),
    [
        ("item=b", "b", range(1, 15)),
        ("item!=b", "a", range(1, 15)),
        ("item=a|b", "ab", range(1, 15)),
        ("step<3", "ab", (1, 2)),
        ("step<=3", "ab", (1, 2, 3)),
        ("step>12", "ab", (13, 14)),
        ("step>=12 and item=a", "a", (12, 13, 14)),
        ("weekday=Friday", "ab", (5, 12)),  # the forecast begins on Monday, 2024-02-26
        ("weekday=7", "ab", (7, 14)),
        ("week=10", "ab", range(8, 15)),
        ("month=3", "ab", range(5, 15)),
        ("day=29", "ab", (4,)),
        ("year=2024", "ab", range(1, 15)),
        ("date=2024-02-27", "ab", (2,)),
        ("date>2024-03-08", "ab", (13, 14)),
        ("date>=2024-03-08 and date<2024-03-10", "ab", (12, 13)),
        ("event=fair", "ab", (1, 14)),  # days 56 and 69 of the shop, as planned
        ("event!=fair", "ab", range(2, 14)),
        ("promo=yes", "ab", (4, 11)),
        ("price=1", "ab", (10,)),
    ],
)
def test_a_change_holds_where_its_conditions_do(
    panel: dc.Panel, condition: str, item: str, steps: Any
) -> None:
    changed = apply_changes.apply(panel, [Change.parse(f"noise=9 where {condition}")], HORIZON)
    expected = [[i in item and step in steps for step in range(1, HORIZON + 1)] for i in "ab"]
    assert changed.touched.tolist() == expected
    noise = panel.known_names.index("noise")
    before, after = (apply_changes.known_ahead(p, HORIZON) for p in (panel, changed.panel))
    np.testing.assert_array_equal(after[..., noise] == 9, expected)
    np.testing.assert_array_equal(np.delete(after, noise, 2), np.delete(before, noise, 2))


def test_values_of_keywords_mean_what_texts_mean(panel: dc.Panel) -> None:
    for value, text in (
        ({"price": "*0.5"}, "price*=0.5"),
        ({"price": "+1"}, "price+=1"),
        ({"price": 2}, "price=2"),
        ({"promo": True}, "promo=1"),
        ({"promo": np.bool_(False)}, "promo=no"),
        ({"event": "fair"}, "event=fair"),
        ({"price": np.full((2, HORIZON), 2.5)}, "price=2.5"),
    ):
        by_value, by_text = (
            apply_changes.apply(panel, some, HORIZON).panel.known
            for some in (changes.as_changes([], value), changes.as_changes([text], {}))
        )
        np.testing.assert_array_equal(by_value, by_text)
    for wrong, words in ((np.ones(3), r"price is \(3,\); give a number"), ([np.nan] * HORIZON, "no finite numbers")):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            apply_changes.apply(panel, changes.as_changes([], {"price": wrong}), HORIZON)


def test_a_value_that_was_missing_ahead_is_a_change_and_a_gap_that_stays_is_none(
    panel: dc.Panel,
) -> None:
    known = panel.known.copy()
    price = panel.known_names.index("price")
    first = int(panel.begins[0] + panel.lengths[0])  # of item a: steps 1 and 2 have no price yet
    known[first : first + 2, price] = np.nan
    gaps = replace(panel, known=known)
    plan = apply_changes.known_ahead(gaps, HORIZON)[0, 2, price]
    filled = apply_changes.apply(gaps, [Change.parse("price=2.5 where item=a and step=1")], HORIZON)
    assert np.argwhere(filled.touched).tolist() == [[0, 0]]
    with pytest.raises(DataError, match="nothing would change"):
        apply_changes.apply(gaps, [Change.parse(f"price={plan} where item=a and step=3")], HORIZON)
    with pytest.raises(DataError, match="nothing would change"):
        apply_changes.apply(gaps, [Change.parse("price*=2 where item=a and step<3")], HORIZON)


def test_steps_that_the_panel_does_not_reach_have_no_plan(panel: dc.Panel) -> None:
    far = apply_changes.known_ahead(panel, HORIZON + 3)
    np.testing.assert_array_equal(far[:, :HORIZON], apply_changes.known_ahead(panel, HORIZON))
    assert np.isnan(far[:, HORIZON:]).all()
    assert not np.isnan(far[:, :HORIZON]).any()
    # what is laid over them changes no row of another series
    changed = apply_changes.with_ahead(panel, far + 1)
    rows = panel.history_rows()
    np.testing.assert_array_equal(changed.known[rows], panel.known[rows])
    np.testing.assert_array_equal(apply_changes.known_ahead(changed, HORIZON), far[:, :HORIZON] + 1)


def test_a_condition_may_name_an_hour() -> None:
    hour = np.datetime64("2024-01-01T00:00:00") + np.arange(48) * np.timedelta64(1, "h")
    units = [*np.arange(36.0), *[None] * 12]
    price = np.arange(48) % 5 + 1.0
    table = pl.DataFrame({"time": hour.astype("datetime64[us]"), "units": units, "price": price})
    panel = dc.read_panel(table, time="time", target="units", known=["price"])
    for condition, steps in (
        ("time>=2024-01-02T20:00", range(8, 12)),
        ("time=2024-01-02T13:00:00", (1,)),
        ("time<2024-01-02T13", (0,)),
    ):
        changed = apply_changes.apply(panel, [Change.parse(f"price=9 where {condition}")], 12)
        assert np.flatnonzero(changed.touched[0]).tolist() == list(steps)


def test_a_category_that_is_planned_but_never_was_is_refused() -> None:
    day = np.datetime64("2024-01-01") + np.arange(30)
    event = np.where(np.arange(30) % 9 == 4, "fair", "none").astype(object)
    event[28] = "gala"
    units = [*np.arange(28.0), None, None]
    table = pl.DataFrame({"day": day, "units": units, "event": event.tolist()})
    panel = dc.read_panel(table, time="day", target="units", known=["event"], freq="D")
    assert "event=gala" in panel.known_names
    apply_changes.apply(panel, [Change.parse("event=fair where step=1")], 2)
    with pytest.raises(ConfigError, match=r"never was 'gala' in the history.*it was fair, none"):
        apply_changes.apply(panel, [Change.parse("event=gala where step=2")], 2)


def test_an_answer_says_itself_in_a_line(forecast: dc.Forecast) -> None:
    answer = forecast.what_if("promo=1 where step=1 and item=a", price="*1.5")
    total = answer.total()
    said = repr(answer)
    assert said.startswith("WhatIf('promo=1 where step=1 and item=a; price*=1.5', by the model: ")
    assert f"{total['planned']:,.1f} -> {total['changed']:,.1f} over 2 series, 14 steps" in said
    assert total["changed"] - total["planned"] == pytest.approx(total["difference"])


def test_forecasts_differ_where_more_than_rounding_does() -> None:
    ones = np.ones((2, 3), np.float32)
    for one, other, expected in (
        (0 * ones, 0 * ones, False),
        (ones, ones + np.float32(1e-6), False),
        (ones, ones * np.float32([[1, 1, 1], [1, 1, 1.001]]), True),
        (1e-20 * ones, 2e-20 * ones, True),
    ):
        assert repeat.differs(one, other) is expected


def test_values_beyond_the_own_history_are_noted_by_series(panel: dc.Panel) -> None:
    known = panel.known.copy()
    price = panel.known_names.index("price")
    known[panel.begins[1] :, price] += 4  # item b costs 5 to 7
    apart = replace(panel, known=known)
    change = [Change.parse("price=6 where step=2")]
    (note,) = apply_changes.apply(apart, change, HORIZON).notes
    assert "1 of 2 series get values" in note
    assert "such as 6 for series a, whose history has 1 to 3" in note
    for edge in (1, 7):  # the least and the largest of all are no news
        notes = apply_changes.apply(apart, [Change.parse(f"price={edge}")], HORIZON).notes
        assert not any("every series" in note for note in notes)
    for unit in (1e6, 1e-6):  # rounding is no news either, whatever the unit
        other = replace(apart, known=(known * unit).astype(np.float32))
        near, far = (f"price={7 * unit * ratio!r} where item=b" for ratio in (1 + 3e-7, 1.001))
        assert not apply_changes.apply(other, [Change.parse(near)], HORIZON).notes
        assert len(apply_changes.apply(other, [Change.parse(far)], HORIZON).notes) == 2
    for beyond in (0.9, 7.1):
        notes = apply_changes.apply(apart, [Change.parse(f"price={beyond}")], HORIZON).notes
        assert f"{beyond:g} lies outside the history of every series (1 to 7)" in notes[-1]


def test_a_flag_that_was_never_up_and_no_change_at_all_are_refused() -> None:
    forecast = Linear().predict(shop())
    with pytest.raises(ConfigError, match="nothing is changed"):
        forecast.what_if()
    panel = shop()
    known = panel.known.copy()
    known[:, panel.known_names.index("promo")] = 0
    with pytest.raises(ConfigError, match="was only ever 0 in the history, never 1"):
        Linear().predict(replace(panel, known=known)).what_if(promo=1)


def test_values_outside_the_history_are_said(forecast: dc.Forecast) -> None:
    assert forecast.what_if(price=2.5).notes == ()
    said = " ".join(forecast.what_if(price=30).notes)
    assert "whose history has 1 to 3" in said
    assert "30 lies outside the history of every series (1 to 3)" in said


def test_one_ignored_covariate_among_others_is_said(forecast: dc.Forecast) -> None:
    assert "learned nothing from 'noise'" in " ".join(forecast.what_if("noise=0, price=3").notes)


def test_methods_that_read_nothing_and_adjusted_forecasts_are_refused(panel: dc.Panel) -> None:
    naive = dc.local.SeasonalNaive(horizon=HORIZON).predict(panel)
    with pytest.raises(DataError, match="does not read covariates known ahead"):
        naive.what_if(promo=1)
    forecast = Linear().predict(panel)
    with pytest.raises(DataError, match="it was adjusted since"):
        replace(forecast, mean=forecast.mean * 2).what_if(promo=1)
    with pytest.raises(DataError, match="does not know the model"):
        forecast.total().what_if(promo=1)


def test_a_response_is_a_curve_of_what_ifs(forecast: dc.Forecast) -> None:
    table = forecast.response("price", (0.5, 1.0, 2.0))
    assert table.frame["factor"].to_list() == [0.5, 1.0, 2.0] * 2
    a = table.frame.filter(pl.col("item") == "a")
    np.testing.assert_allclose(
        np.diff(a["demand"]) / np.diff(a["value"]), -2.0 * HORIZON, rtol=1e-3
    )
    # what is certain has no interval: the ratio of demand, whatever the level
    planned = table.frame.filter(pl.col("factor") == 1)["demand"].to_numpy().repeat(3)
    for name in ("ratio", "ratio_0.1", "ratio_0.9"):
        np.testing.assert_allclose(table.frame[name] * planned, table.frame["demand"], rtol=1e-4)
    plan = forecast.panel.known[:, 0].reshape(2, -1)[:, -HORIZON:].mean(1)  # type: ignore[union-attr]
    np.testing.assert_allclose(table.frame["value"], table.frame["factor"] * plan.repeat(3))
    assert any("lies outside" in note for note in table.notes)
    for column, words in (("promo", "holds yes and no"), ("event", "holds categories")):
        with pytest.raises(ConfigError, match=words):
            forecast.response(column)
    for factors in ((1.0,), (0.0, 1.0), (1.0, np.inf)):
        with pytest.raises(ConfigError, match="two or more numbers above 0"):
            forecast.response("price", factors)


def test_an_elasticity_is_the_power_of_the_covariate_that_demand_follows() -> None:
    factor = np.array([0.5, 0.8, 1.0, 2.0])
    frame = pl.DataFrame(
        {"item": ["a"] * 4 + ["b"] * 4, "factor": np.tile(factor, 2), "ratio": [*factor**-1.5, *factor**0.25]}
    )  # fmt: skip
    found = ResponseTable("price", frame, ("item",)).elasticities()
    assert found["item"].to_list() == ["a", "b"]
    np.testing.assert_allclose(found["elasticity"], [-1.5, 0.25])


@pytest.mark.parametrize("effect", ["model", "history"])
def test_differences_are_the_same_series_by_series_and_all_at_once(
    forecast: dc.Forecast, effect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = forecast.what_if(effect=effect, price="*0.9")
    monkeypatch.setattr(what_if, "CELLS", 1)
    single = forecast.what_if(effect=effect, price="*0.9")
    for name in ("difference", "sums", "sum"):
        np.testing.assert_allclose(getattr(single, name), getattr(whole, name), rtol=1e-6)
    # sums are of joint paths: where an effect is certain they are the sums of the steps
    total, frame = whole.total(), whole.totals()
    assert total["difference"] == pytest.approx(frame["difference"].sum())
    assert total["ratio"] == pytest.approx(frame["changed"].sum() / frame["planned"].sum())
    np.testing.assert_allclose(frame["ratio"], frame["changed"] / frame["planned"])
    if effect == "model":
        np.testing.assert_allclose(whole.sums, whole.difference.sum(1), rtol=1e-4)
        np.testing.assert_allclose(whole.sum, whole.sums.sum(0), rtol=1e-4)
    else:
        assert (np.diff(whole.sums) > 0).all()


def test_blocks_of_series_hold_no_more_numbers_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_if, "CELLS", 30)
    for n, width, most in ((10, 10, 3), (10, 3, 10), (4, 90, 1), (7, 15, 2)):
        blocks = what_if._blocks(n, width)
        assert np.concatenate(blocks).tolist() == [*range(n)]
        assert max(map(len, blocks)) <= most
        assert len(blocks) == -(-n // most)


def test_a_covariate_that_does_nothing_at_these_values_is_noted(panel: dc.Panel) -> None:
    class Cheap(Linear):
        """Reads the price only where it is below 2."""

        def _forecast(self, panel: dc.Panel, ask: Any) -> Any:
            known = panel.known.copy()
            at = panel.known_names.index("price")
            known[:, at] = np.minimum(known[:, at], 2)
            return super()._forecast(replace(panel, known=known), ask)

    forecast = Cheap().predict(panel)
    answer = forecast.what_if("price=2.5 where item=a and step=3")
    assert np.abs(answer.difference).max() < 1e-5
    assert any("the difference is 0: linear does read price" in n.replace("'", "") for n in answer.notes)  # fmt: skip
    assert not any("is 0" in note for note in forecast.what_if(price=1).notes)


@pytest.fixture(scope="module")
def measured() -> tuple[pl.DataFrame, dc.Panel, Response]:
    example = retail(60, 400, 1, price_changes=0.08)
    rng = np.random.default_rng(0)
    placebo = np.repeat(rng.random(example.frame.height // 7 + 1) < 0.15, 7)[: example.frame.height]
    panel = dc.read_panel(
        example.frame.with_columns(pl.Series("placebo", placebo)), key="item", time="date", target="units",
        freq="D", known=["price", "promo", "placebo"], available="in_stock",
    )  # fmt: skip
    truth = panel.keys.join(example.effects, on="item", how="left", maintain_order="left")
    return truth, panel, Response.of(panel)


def test_the_history_shows_planted_effects_within_their_intervals(
    measured: tuple[pl.DataFrame, dc.Panel, Response],
) -> None:
    truth, _, response = measured
    assert response.names == ("price", "promo", "placebo")
    planted = np.stack([-truth["elasticity"], np.log(truth["lift"]), np.zeros(len(truth))], 1)
    deviation = np.sqrt(np.einsum("nkk->nk", response.covariance))
    errors = (response.mean - planted) / deviation
    # as large as stated; benchmarks/accuracy/what_if.py measures the share in the intervals over many panels
    size = np.sqrt((errors**2).mean(0))
    assert ((size > 0.5) & (size < 1.5)).all(), size
    assert np.sqrt((errors[:, :2] ** 2).mean()) == pytest.approx(1.0, abs=0.25)
    np.testing.assert_allclose(response.mean.mean(0), planted.mean(0), atol=0.25)


def test_a_method_without_covariates_takes_the_effect_of_the_history(
    measured: tuple[pl.DataFrame, dc.Panel, Response],
) -> None:
    truth, panel, _ = measured
    known = panel.drop_last(14)
    forecast = dc.local.SeasonalNaive(horizon=14).predict(known)
    answer = forecast.what_if(effect="history", placebo=1)
    assert answer.total()["difference_0.1"] < 0 < answer.total()["difference_0.9"]
    cheaper = forecast.what_if(effect="history", price="*0.8")
    ratio = 0.8 ** -truth["elasticity"].to_numpy()
    expected = (forecast.mean.sum(1) * ratio).sum() / forecast.mean.sum()
    assert cheaper.total()["ratio"] == pytest.approx(expected, rel=0.1)
    assert np.all(cheaper.changed.quantiles[..., -1] >= cheaper.planned.quantiles[..., -1])


def test_the_history_refuses_what_it_does_not_show() -> None:
    forecast = dc.local.SeasonalNaive(horizon=HORIZON).predict(shop(shelf=3.0))
    with pytest.raises(DataError, match="'shelf' never changed within the history"):
        forecast.what_if(effect="history", shelf=4)
    panel = shop()
    known = panel.known.copy()
    known[panel.begins[1] :, panel.known_names.index("promo")] = 0  # item b never had one
    some = dc.local.SeasonalNaive(horizon=HORIZON).predict(replace(panel, known=known))
    (note,) = (n for n in some.what_if(effect="history", promo=1).notes if "never changed" in n)
    assert "of 1 of 2 series, such as b" in note
    longer = dc.local.SeasonalNaive(horizon=HORIZON + 1).predict(panel)
    with pytest.raises(DataError, match=f"reach {HORIZON} of the {HORIZON + 1} steps for series a"):
        longer.what_if(effect="history", promo=1)
    forecast = dc.local.SeasonalNaive(horizon=HORIZON).predict(
        replace(panel, target=panel.target - 50)
    )
    with pytest.raises(DataError, match="has negative values"):
        forecast.what_if(effect="history", promo=1)


def test_words_of_a_change() -> None:
    change = Change.parse(
        "price *= 0.9, 'shelf space'=2 where \"store name\"=north|south and date>=2024-01-05"
    )
    assert [(a.column, a.sign, a.value) for a in change.assignments] == [
        ("price", "*=", "0.9"),
        ("shelf space", "=", "2"),
    ]
    assert change.conditions[0].values == ("north", "south")
    assert (change.conditions[1].sign, change.conditions[1].values) == (">=", ("2024-01-05",))
