"""Orders by cost reckon with the next order where demand is lost: against the optimum of a system of the literature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.decide.interval import protect
from demandcast.decide.next_order import look_further
from demandcast.decide.rules import Policy, fractile
from demandcast.decide.stock_table import read_stock

RATE, UNDER, OVER = 5.0, 4.0, 1.0
MOST, LARGEST = 22, 12  # stock and order: beyond them nothing is best
Make = Callable[..., dc.Forecast]

STOCK, FIRST, SECOND = np.meshgrid(
    range(MOST + 1), range(LARGEST + 1), range(LARGEST + 1), indexing="ij"
)
COUNT = np.arange(20)
LAW = np.exp(-RATE) * RATE**COUNT / np.array([math.factorial(k) for k in COUNT])


def long_run_cost(orders: np.ndarray | None = None) -> float:
    """Cost of a step with an order for every state (stock, arriving next, arriving after), or with the best orders.

    Poisson demand, lost sales, lead time 2: by iteration of the values of states, until they rise alike.
    """
    there = (STOCK + FIRST)[..., None]
    left = np.clip(there - COUNT, 0, MOST)
    now = (UNDER * np.maximum(COUNT - there, 0) + OVER * np.maximum(there - COUNT, 0)) @ LAW
    value = np.zeros(STOCK.shape)
    for _ in range(60):
        if orders is None:
            each = np.einsum("xabds,d->xabs", value[left, SECOND[..., None]], LAW)
            after = now + each.min(-1)
        else:
            after = now + value[left, SECOND[..., None], orders[..., None]] @ LAW
        rise = after - value
        value = after
        if np.ptp(rise) < 1e-3:
            return float(rise.mean())
    raise AssertionError("the values of states do not settle")


def orders_by(forecast_of: Make, steps: int) -> np.ndarray:
    """Our order in every state, from paths of so many steps."""
    paths = np.random.default_rng(0).poisson(RATE, (STOCK.size, 200, steps))
    stock = pl.DataFrame({
        "item": [f"item {i}" for i in range(STOCK.size)], "on_hand": STOCK.ravel(),
        "arriving_1": FIRST.ravel(), "arriving_2": SECOND.ravel(),
    })  # fmt: skip
    found = dc.order(forecast_of(paths), stock, lead_time=2, cost_under=UNDER, cost_over=OVER)
    return np.minimum(found.order, LARGEST).astype(int).reshape(STOCK.shape)


def test_the_order_is_near_the_optimum(forecast_of: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The optimum is 4.40 (Zipkin 2008, Poisson demand of mean 5, lead time 2, costs 4 and 1)."""
    best = long_run_cost()
    assert best == pytest.approx(4.40, abs=0.005)
    assert long_run_cost(orders_by(forecast_of, 4)) < 1.012 * best
    assert not caplog.records
    alone = orders_by(forecast_of, 3)  # the critical fractile of one window
    assert long_run_cost(alone) > 1.02 * best
    assert "would need a forecast of 4 steps" in caplog.text


def test_costs_of_two_windows_are_those_of_a_loop(forecast_of: Make) -> None:
    """Few paths are one group: one next order for all of them, in the window after that of the order."""
    rng = np.random.default_rng(1)
    n, s, lead, review, pack = 6, 9, 2, 2, 3.0
    paths = rng.poisson(3, (n, s, lead + 2 * review)).astype(float)
    table = pl.DataFrame({
        "item": [f"item {i}" for i in range(n)], "on_hand": rng.integers(0, 9, n),
        "arriving_2": rng.integers(0, 4, n), "arriving_5": rng.integers(0, 3, n), "pack": pack,
    })  # fmt: skip
    policy = Policy(lead_time=lead, review=review, cost_under=3, cost_over=0.5)
    stock = read_stock(table, forecast_of(paths).keys, policy)
    leads = np.full(n, lead)
    arriving = stock.open_orders(lead + 2 * review)
    alone = protect(paths, stock.on_hand, arriving, leads, stock.review)
    both = look_further(paths, leads, alone, stock, policy)
    assert both is not None
    for order in (0.0, 6.0, 15.0):
        found = both.cost(np.full(n, order))
        for i in range(n):
            needs, first, left_over = [], 0.0, []
            for path in paths[i]:
                on_hand = stock.on_hand[i]
                for step in range(lead + review):
                    on_hand += arriving[i, step] + (order if step == lead else 0)
                    short = max(path[step] - on_hand, 0)
                    on_hand = max(on_hand - path[step], 0)
                    first += 3 * short if step >= lead else 0
                first += 0.5 * on_hand
                net = np.cumsum(path[4:] - arriving[i, 4:])
                needs.append(max(net) - on_hand)
                left_over.append((net[-1] - on_hand, max(net) - on_hand))
            level = fractile(np.array([needs]), np.array([3 / 3.5]))[0]
            later = max(math.ceil(level / pack - 1e-9), 0) * pack
            second = 0.0
            for left, need in left_over:
                short = max(need - later, 0)
                second += 3 * short + 0.5 * (later - left + short)
            assert found[i] == pytest.approx((first + second) / s)


def test_only_lost_sales_by_cost_look_further(forecast_of: Make) -> None:
    """Backorders, a service level and a lead time of 0 order the same however far the paths reach."""
    paths = np.random.default_rng(2).poisson(2, (5, 100, 4)).astype(float)
    stock = pl.DataFrame({"item": [f"item {i}" for i in range(5)], "on_hand": [0, 1, 2, 3, 9]})
    costs = {"cost_under": 5, "cost_over": 1}
    for rule in (
        {"lead_time": 2, "lost_sales": False, **costs},
        {"lead_time": 2, "service": 0.8},
        {"lead_time": 0, **costs},
    ):
        long = dc.order(forecast_of(paths), stock, **rule)
        steps = rule["lead_time"] + 1
        short = dc.order(forecast_of(paths[..., :steps]), stock, **rule)
        assert long.order.tolist() == short.order.tolist()
    looked = dc.order(forecast_of(paths), stock, lead_time=2, **costs)
    alone = dc.order(forecast_of(paths[..., :3]), stock, lead_time=2, **costs)
    assert (looked.order <= alone.order).all()
    assert (looked.order < alone.order).any()
