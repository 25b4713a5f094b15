"""Targets against closed forms, packs and limits by hand, and shared money against buying unit by unit."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.decide.closed_form import fill_rate_periodic, newsvendor_normal, poisson
from demandcast.decide.interval import protect
from demandcast.decide.rules import expected_cost, fractile, share_money

Make = Callable[..., dc.Forecast]
SHARES = (np.arange(2000) + 0.5) / 2000


def poisson_paths(mean: float, steps: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).poisson(mean, (1, n, steps)).astype(float)


def test_orders_by_cost_are_the_newsvendors(forecast_of: Make) -> None:
    normal = [NormalDist(50, 8).inv_cdf(p) for p in SHARES]
    forecast = forecast_of(np.array(normal)[None, :, None])
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [0], "pack": [0.001]})
    found = dc.order(forecast, stock, lead_time=0, cost_under=0.70, cost_over=0.18)
    exact = newsvendor_normal(50, 8, 0.70, 0.18)
    assert found.order[0] == pytest.approx(exact, abs=0.005)
    assert found.safety_stock[0] == pytest.approx(exact - 50, abs=0.005)
    assert found.p_stock_out[0] == pytest.approx(0.18 / 0.88, abs=1e-3)


def test_whole_orders_cost_no_more_than_any_other(forecast_of: Make) -> None:
    forecast = forecast_of(np.random.default_rng(0).negative_binomial(1, 0.2, (40, 300, 3)))
    stock = pl.DataFrame(
        {"item": forecast.keys["item"], "on_hand": [3] * 40, "arriving_2": [2] * 40}
    )
    found = dc.order(forecast, stock, lead_time=2, cost_under=1, cost_over=0.2)
    inner = dc.decide.orders.look_ahead(forecast, found.stock, found.policy, found.gap)
    ones = np.ones(40)
    costs = [expected_cost(inner, y * ones, ones, 0.2 * ones) for y in range(60)]
    np.testing.assert_allclose(found.cost, np.min(costs, 0), rtol=1e-12)


def test_service_is_reached_and_not_with_a_unit_less(forecast_of: Make) -> None:
    forecast = forecast_of(poisson_paths(4, 3, 999))
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [5]})
    found = dc.order(forecast, stock, lead_time=2, service=0.9, lost_sales=False)
    totals = forecast.samples.sum(-1)[0]  # type: ignore[union-attr]
    assert (totals <= 5 + found.order[0]).mean() >= 0.9 > (totals <= 4 + found.order[0]).mean()
    assert found.p_stock_out[0] == pytest.approx((totals > 5 + found.order[0]).mean())
    assert found.why[0] == "service"


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fractiles_are_hazens_to_both_ends(count: int) -> None:
    values = np.random.default_rng(count).normal(size=(1, count))
    for level in (0.0, 0.01, 0.3, 0.5, 0.95, 0.999, 1.0):
        found = fractile(values, np.array([level]))
        np.testing.assert_allclose(found, np.quantile(values, level, axis=1, method="hazen"))


def test_fill_rate_is_that_of_the_formula(forecast_of: Make) -> None:
    """(R, S) with backorders and Poisson demand of 4: lead time 2, review 3; within the error of 20,000 paths."""
    forecast = forecast_of(poisson_paths(4, 5, 20_000))
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [9]})
    found = dc.order(forecast, stock, lead_time=2, review=3, fill_rate=0.97, lost_sales=False)
    top = int(9 + found.order[0])
    exact = [fill_rate_periodic(poisson(8), poisson(20), s) for s in (top - 1, top)]
    assert exact[0] < 0.97 + 2e-3
    assert exact[1] > 0.97 - 2e-3
    assert found.fill_rate[0] == pytest.approx(exact[1], abs=2e-3)


def test_packs_minimums_and_limits_decide_and_say_so(forecast_of: Make) -> None:
    forecast = forecast_of(np.full((7, 50, 1), 10.0))
    stock = pl.DataFrame(
        {
            "item": forecast.keys["item"],
            "on_hand": [0, 12, 0, 8, 0, 0, 0],
            "pack": [1.0, 1.0, 6.0, 1.0, 1.0, 4.0, 0.25],
            "minimum": [None, None, None, 5, None, 11, None],
            "maximum": [None, None, None, None, 7, 11, None],
        }
    )
    found = dc.order(forecast, stock, lead_time=0, service=0.95, cost_under=1, cost_over=1)
    assert found.order.tolist() == [10, 0, 12, 5, 7, 0, 10]
    assert found.why.tolist() == [
        "service",
        "enough",
        "pack",
        "minimum",
        "limit",
        "limit",
        "service",
    ]
    assert found.expected_held.tolist() == [0, 2, 2, 3, 0, 0, 0]
    assert found.expected_lost.tolist() == [0, 0, 0, 0, 3, 10, 0]
    assert found.to_frame()["order"].dtype == pl.Float64
    whole = dc.order(forecast, stock.drop("pack"), lead_time=0, service=0.95)
    assert whole.to_frame()["order"].dtype == pl.Int64
    assert whole.to_frame()["cost"].null_count() == 7


def test_by_cost_a_pack_or_a_minimum_is_bought_only_where_it_pays(forecast_of: Make) -> None:
    """Demand of 3, one short costs 1, one left .2: a pack of 10 costs 1.4 against 3; of 20 3.4 against 3."""
    forecast = forecast_of(np.full((4, 50, 1), 3.0))
    stock = pl.DataFrame(
        {
            "item": forecast.keys["item"],
            "on_hand": [0] * 4,
            "pack": [10, 20, 1, 1],
            "minimum": [0, 0, 10, 20],
        }
    )
    found = dc.order(forecast, stock, lead_time=0, cost_under=1, cost_over=0.2)
    assert found.order.tolist() == [10, 0, 10, 0]
    assert found.why.tolist() == ["pack", "pack", "minimum", "minimum"]
    np.testing.assert_allclose(found.cost, [1.4, 3, 1.4, 3])


@pytest.mark.parametrize("spend", [0.0, 37.0, 120.0, 260.0])
def test_shared_money_buys_the_best_unit_first(spend: float) -> None:
    rng = np.random.default_rng(3)
    n = 15
    paths = rng.poisson(rng.uniform(1, 9, (n, 1, 1)), (n, 200, 2)).astype(float)
    found = protect(paths, np.ones(n), np.zeros((n, 2)), np.ones(n, np.int64), np.ones(n, np.int64))
    price, under, over = rng.integers(1, 6, n) * 1.0, rng.uniform(1, 4, n), rng.uniform(0.1, 1, n)
    ones = np.ones(n)
    wanted = np.array([
        np.argmin([expected_cost(found, y * ones, under, over)[i] for y in range(40)]) for i in range(n)
    ]) * 1.0  # fmt: skip
    ours = share_money(
        found, wanted, spend=spend, price=price, pack=ones, minimum=0 * ones, under=under, over=over
    )
    bought, left = np.zeros(n), spend
    while True:  # the unit of the best return that can still be paid
        saved = expected_cost(found, bought, under, over) - expected_cost(
            found, bought + 1, under, over
        )
        can = (bought < wanted) & (price <= left + 1e-9) & (saved > 0)
        if not can.any():
            break
        best = int(np.argmax(np.where(can, saved / price, -np.inf)))
        bought[best] += 1
        left -= price[best]
    assert (price * ours).sum() <= spend + 1e-9
    assert (ours <= wanted).all()
    costs = [expected_cost(found, y, under, over).sum() for y in (ours, bought)]
    assert costs[0] <= costs[1] + 0.02 * (
        expected_cost(found, 0 * ones, under, over).sum() - costs[1]
    )


@pytest.mark.parametrize("spend", [4.0, 5.5, 8.0])
def test_items_alike_share_money_that_is_not_enough_for_all(spend: float) -> None:
    n, ones = 3, np.ones(3)
    paths = np.tile(np.random.default_rng(0).poisson(4, (1, 300, 2)).astype(float), (n, 1, 1))
    found = protect(paths, ones, np.zeros((n, 2)), np.ones(n, np.int64), np.ones(n, np.int64))
    ours = share_money(
        found,
        9 * ones,
        spend=spend,
        price=ones,
        pack=ones,
        minimum=0 * ones,
        under=ones,
        over=ones / 9,
    )
    assert spend - 1 < ours.sum() <= spend  # all that a whole pack can be bought of, and no more


def test_orders_show_themselves(forecast_of: Make) -> None:
    """The picture: the median with the order is the stock after demand of 4 a step, from 5, and 8 more at step 2."""
    pytest.importorskip("matplotlib", reason="the plot extra is not installed")
    forecast = forecast_of(np.full((2, 50, 3), 4.0))
    stock = pl.DataFrame({"item": forecast.keys["item"], "on_hand": [5, 5], "minimum": [0, 8]})
    found = dc.order(forecast, stock, lead_time=1, service=0.9)
    assert repr(found) == "Orders(chosen: 2 items, 2 ordered, 11 units)"
    assert "<b>Orders(chosen" in found._repr_html_()
    assert found.summary() == (
        "order 11 units of 2 of 2 items by chosen; expected until the next order arrives: 100.0% of demand served, "
        "0.0 units short, 5.0 left; 1 set by a minimum order"
    )
    priced = dc.order(forecast, stock, lead_time=1, cost_under=1, cost_over=0.2, spend=3)
    said = priced.summary()
    money = priced.cost.sum()
    assert f"left, cost {money:,.2f}; 1 cut by a maximum or the budget" in said
    lines = found.plot("item 1").axes[0].lines
    assert list(lines[0].get_ydata()) == [1, 5]
    assert list(lines[1].get_ydata()) == [1, 0]


def test_orders_count_from_the_last_step_of_all_items(forecast_of: Make) -> None:
    """An item whose rows end two steps before the others' has two steps of its forecast behind it by then."""
    steps = np.array([[50, 60, 1, 2, 3, 0], [1, 2, 3, 0, 70, 80]])[:, None].repeat(50, 1)
    forecast = forecast_of(steps)
    forecast = dc.Forecast(**{**vars(forecast), "cutoffs": np.array([7, 9])})
    stock = pl.DataFrame({"item": forecast.keys["item"], "on_hand": [0, 0]})
    found = dc.order(forecast, stock, lead_time=1, review=2, service=0.9)
    assert found.order.tolist() == [5, 5]
    assert found.expected_demand.tolist() == [6, 6]
    with pytest.raises(
        dc.errors.DataError, match=r"item 0 .*2 steps after its own last value, needs 7 steps"
    ):
        dc.order(forecast, stock, lead_time=3, review=2, service=0.9)


def test_an_item_that_was_never_observed_is_named(forecast_of: Make) -> None:
    table = pl.DataFrame(
        {
            "item": ["item 0"] * 30 + ["item 1"] * 30,
            "day": [*range(30)] * 2,
            "units": [4.0] * 30 + [None] * 30,
        }
    )
    panel = dc.read_panel(table, key="item", ended="keep")
    forecast = forecast_of(np.full((2, 50, 2), 4.0))
    stock = pl.DataFrame({"item": forecast.keys["item"], "on_hand": [0, 0]})
    assert panel.keys.equals(forecast.keys)
    found = dc.order(forecast, stock, lead_time=1, service=0.9, panel=panel)
    assert found.why.tolist() == ["service", "no history"]
    assert found.order.tolist() == [4, 4]


def test_numbers_of_a_table_end_where_they_should(forecast_of: Make) -> None:
    """1.6 and not 1.5999999999999996."""
    paths = [[[2, 4, 4]], [[1, 1, 1]]] * np.ones((1, 5, 1))
    paths[0, 0] = 8
    stock = pl.DataFrame({"item": ["item 0", "item 1"], "on_hand": [0.1, 0.2], "pack": 0.1})
    found = dc.order(forecast_of(paths), stock, lead_time=2, service=0.9).to_frame()
    for column in found.select(pl.col(pl.Float64)):
        assert all(len(str(value)) < 14 for value in column)
