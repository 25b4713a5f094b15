"""(s, Q) and (s, S) on sample paths: published examples, stockpyl, simulation, and what an order then does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats

import demandcast as dc
from demandcast.decide import closed_form as forms
from demandcast.decide import reorder
from demandcast.errors import DemandcastError

Make = Callable[..., dc.Forecast]
SHARES = (np.arange(4000) + 0.5) / 4000


def poisson(mean: float) -> np.ndarray:
    """Values whose distribution is Poisson to within 1 / 4,000."""
    return np.asarray(scipy.stats.poisson(mean).ppf(SHARES))


def item(demand: np.ndarray, period: np.ndarray, **given: Any) -> reorder.Item:
    bare = reorder.Item(
        demand=np.sort(demand), period=period, pack=1, minimum=0, under=150, over=20, fixed=100, lost_sales=False
    )  # fmt: skip
    return replace(bare, **given)


def test_published_examples_come_out_of_order(forecast_of: Make) -> None:
    """Snyder and Shen, examples 5.8: (3, 5), Poisson of 1.5 a step and lead time 2; and 4.17: (4, 10), of 6 a step."""
    paths = np.stack([poisson(3), np.zeros(4000), np.tile([1, 2], 2000)], 1)[None]
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [3]})
    costs = {"cost_over": 20, "cost_under": 150, "fixed_cost": 100, "lost_sales": False}
    found = dc.order(forecast_of(paths), stock, rule="s,Q", continuous=True, lead_time=2, **costs)
    row = found.to_frame().row(0, named=True)
    assert (row["reorder_point"], row["quantity"], row["order"], row["order_up_to"]) == (3, 5, 5, 8)
    above = dc.order(
        forecast_of(paths), stock.with_columns(on_hand=4), rule="s,Q", continuous=True, lead_time=2, **costs
    )  # fmt: skip
    assert (above.order[0], above.why[0]) == (0, "enough")
    costs = {"cost_over": 1, "cost_under": 4, "fixed_cost": 5, "lost_sales": False}
    found = dc.order(
        forecast_of(poisson(6)[None, :, None]), stock, rule="(s, S)", lead_time=0, **costs
    )
    row = found.to_frame().row(0, named=True)
    assert (row["reorder_point"], row["order_up_to"], row["order"]) == (4, 10, 7)
    assert found.safety_stock[0] == pytest.approx(4 - 6, abs=1e-3)
    assert found.cost[0] == pytest.approx(
        5 + forms._holding(forms.poisson(6), 1, 4, 10), abs=5e-3
    )  # with the order placed


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_paths_are_those_of_the_closed_forms_and_stockpyl(seed: int) -> None:
    rng = np.random.default_rng(seed)
    over, under, fixed, mean = rng.uniform([0.5, 4, 1, 1], [3, 60, 80, 9])
    costs = {"over": over, "under": under, "fixed": fixed}
    s, q = reorder.best_fixed(item(poisson(mean), poisson(mean / 2), **costs))
    exact = forms.best_reorder_quantity(forms.poisson(mean), mean / 2, **costs)
    assert (s, q) == (exact.reorder_point, exact.quantity)
    low, top = reorder.best_level(item(poisson(mean), poisson(mean), **costs))
    level = forms.best_reorder_level(forms.poisson(mean), **costs)
    assert (low, top) == (level.reorder_point, level.order_up_to)
    reason = "stockpyl is not installed: pip install --no-deps stockpyl==1.0.2"
    rq = pytest.importorskip("stockpyl.rq", reason=reason)
    ss = pytest.importorskip("stockpyl.ss", reason=reason)
    assert (s, q) == rq.r_q_poisson_exact(over, under, fixed, mean / 2, 2)[:2]
    assert (low, top) == ss.s_s_discrete_exact(over, under, fixed, True, demand_mean=mean)[:2]


def test_a_coarse_grid_costs_as_little_as_a_fine_one(monkeypatch: pytest.MonkeyPatch) -> None:
    demand = np.random.default_rng(0).gamma(3, 30, 400).round()
    one = item(demand, demand / 3, under=9, over=1, fixed=400)

    def cost(s: float, q: float) -> float:
        mean = reorder.holding_costs(one, np.arange(s + 1, s + q + 1)).mean()
        return float(one.fixed * one.rate / q + mean)

    fine = cost(*reorder.best_fixed(one))
    monkeypatch.setattr(reorder, "POINTS", 60)
    assert fine <= cost(*reorder.best_fixed(one)) < 1.005 * fine
    packs = reorder.best_fixed(replace(one, pack=48.0))
    assert packs[1] % 48 == 0
    assert reorder.best_fixed(one, 500.0)[1] == 500
    assert reorder.best_fixed(replace(one, minimum=700.0), 500.0)[1] == 700


@pytest.mark.parametrize("lost_sales", [False, True])
def test_fill_rates_of_reorder_points_are_reached_in_a_simulation(lost_sales: bool) -> None:
    """Single units at random times, rate 4, lead time 2, Q 6, orders at any moment."""
    rng = np.random.default_rng(1)
    one = item(poisson(8), poisson(4), lost_sales=lost_sales)
    s = reorder.point_by_fill_rate(one, 0.9, 6)
    times = rng.exponential(0.25, 60_000).cumsum()

    def fill_rate(s: float) -> float:
        stock, waiting, served = s + 6, list[float](), 0
        for now in times:
            while waiting and waiting[0] <= now:
                waiting.pop(0)
                stock += 6
            served += stock > 0
            if stock > 0 or not lost_sales:
                stock -= 1
                while stock + 6 * len(waiting) <= s:
                    waiting.append(now + 2)
        return served / len(times)

    assert fill_rate(s) >= 0.9 - 0.01
    assert lost_sales or fill_rate(s - 1) < 0.9 + 0.01  # of lost sales, the formula is a bound


def test_service_covers_the_demand_until_the_order_after_arrives(forecast_of: Make) -> None:
    """At reviews, s covers lead time + review; at any moment, the lead time. Q is given, or sqrt(2 K m / over)."""
    forecast = forecast_of(np.random.default_rng(0).poisson(5, (1, 999, 4)))
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [0]})
    rule = {"rule": "s,Q", "lead_time": 3, "service": 0.9, "quantity": 7}
    found = dc.order(forecast, stock, **rule)
    sums = forecast.samples[0].cumsum(1)  # type: ignore[index]
    s = found.reorder.point[0]  # type: ignore[union-attr]
    assert (sums[:, 3] <= s).mean() >= 0.9 > (sums[:, 3] <= s - 1).mean()
    assert found.order[0] == 7 * (s // 7 + 1)  # the least multiple that lifts the position above s
    moment = dc.order(forecast, stock, continuous=True, **rule).reorder.point[0]  # type: ignore[union-attr]
    assert (sums[:, 2] <= moment).mean() >= 0.9 > (sums[:, 2] <= moment - 1).mean()
    del rule["quantity"]
    chosen = dc.order(forecast, stock, fixed_cost=10, cost_over=0.5, cost_under=9, **rule)
    assert chosen.reorder.quantity[0] == np.ceil((2 * 10 * 5 / 0.5) ** 0.5)  # type: ignore[union-attr]
    assert chosen.why[0] == "service"


def test_points_and_quantities_of_the_stock_table_are_kept(forecast_of: Make) -> None:
    forecast = forecast_of(np.full((4, 50, 2), 5.0))
    stock = pl.DataFrame(
        {
            "item": forecast.keys["item"],
            "on_hand": [9, 10, 0, 0],
            "on_order": [3, 3, 0, 0],
            "reorder_point": [12, 12, None, None],
            "quantity": [24, 24, 24, None],
            "maximum": [None, None, 30, None],
            "fixed_cost": [None, None, None, 3],
        }
    )
    found = dc.order(forecast, stock, rule="s,S", lead_time=1, service=0.9, cost_over=1)
    assert found.order.tolist() == [24, 0, 30, 16]
    assert found.why.tolist() == ["service", "enough", "limit", "service"]
    assert found.to_frame()["reorder_point"].to_list() == [12, 12, 10, 10]
    assert found.to_frame()["quantity"].to_list() == [24, 24, 24, 6]


def test_lost_sales_do_not_move_the_level_up(forecast_of: Make) -> None:
    """The best s of backorders is below 0; where demand is lost it is 0, and S stays what it was."""
    forecast = forecast_of(poisson(2)[None, :, None])
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [0]})
    costs = {"cost_under": 1, "cost_over": 1, "fixed_cost": 30, "rule": "s,S", "lead_time": 0}
    owed, lost = (dc.order(forecast, stock, lost_sales=lost, **costs) for lost in (False, True))
    assert owed.reorder.point[0] < 0 == lost.reorder.point[0]  # type: ignore[union-attr]
    assert owed.order_up_to[0] == lost.order_up_to[0]


def test_demand_outside_the_reviews_and_returns_end_in_numbers(forecast_of: Make) -> None:
    """No demand up to the next review, and days on which more came back than was sold."""
    later = np.zeros((1, 50, 4))
    later[..., 3] = 5
    returns = np.random.default_rng(0).poisson(3, (1, 50, 4)) - 2.0
    forecast = forecast_of(np.concatenate([later, returns]))
    stock = pl.DataFrame({"item": forecast.keys["item"], "on_hand": [0, 0]})
    for rule in ("s,Q", "s,S"):
        found = dc.order(
            forecast, stock, rule=rule, lead_time=1, cost_under=4, cost_over=1, fixed_cost=2
        )
        assert found.order[1] > 0
        assert found.reorder.point[0] == 0  # type: ignore[union-attr]


def test_an_item_without_demand_is_not_ordered(forecast_of: Make) -> None:
    forecast = forecast_of(np.zeros((1, 50, 2)))
    stock = pl.DataFrame({"item": ["item 0"], "on_hand": [0]})
    for rule in ("s,Q", "s,S"):
        costs = {"cost_under": 1, "cost_over": 1, "fixed_cost": 3}
        assert dc.order(forecast, stock, rule=rule, lead_time=1, **costs).order[0] == 0


@pytest.mark.parametrize(
    ("columns", "given", "said"),
    [
        ({}, {"rule": "s,R"}, "rule is 's,R'.*s,Q"),
        ({}, {"fixed_cost": 3}, "fixed_cost is of the rules.*or give rule='s,Q' or rule='s,S'"),
        ({}, {"quantity": 3}, "quantity is of the rules"),
        ({}, {"continuous": True}, "continuous is of the rules"),
        ({}, {"rule": "s,Q"}, "the rule s,Q has no quantity for item a .2 items.*no fixed_cost.*quantity=12 or fixed_cost=5"),
        ({"quantity": [3, None]}, {"rule": "s,S"}, "no quantity for item b .1 items"),
        ({}, {"rule": "s,Q", "fixed_cost": 1, "service": 0.9, "cost_over": None}, "no cost_over to choose it by"),
        ({"quantity": [3, 0]}, {"rule": "s,Q"}, "quantity of item b is 0.*above 0"),
        ({"fixed_cost": [3, -1]}, {"rule": "s,Q"}, "fixed_cost of item b is -1.*0 or more"),
        ({}, {"rule": "s,Q", "fixed_cost": -1}, "fixed_cost is -1"),
        ({}, {"rule": "s,Q", "quantity": 0}, "quantity is 0"),
        ({}, {"rule": "s,Q", "quantity": 3, "spend": 5}, "spend cuts orders pack by pack.*rule='up_to'"),
    ],
)  # fmt: skip
def test_what_has_no_reorder_point_is_refused_by_name(
    forecast_of: Make, columns: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    forecast = forecast_of(np.full((2, 50, 2), 5.0), ["a", "b"])
    stock = pl.DataFrame({"item": ["a", "b"], "on_hand": [1, 1]} | columns, strict=False)
    rule = {"lead_time": 1, "cost_under": 1, "cost_over": 1} | given
    with pytest.raises(DemandcastError, match=said):
        dc.order(forecast, stock, **rule)
