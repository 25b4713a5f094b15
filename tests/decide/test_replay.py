"""A replay is the loop it stands for, and the rules beside it are those that people use."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DemandcastError

RULE = {"lead_time": 2, "cost_under": 1, "cost_over": 0.2}


def panel(weeks: int = 60, items: int = 3, seed: int = 0) -> dc.Panel:
    units = np.random.default_rng(seed).poisson(5, (items, weeks))
    return dc.read_panel(
        pl.DataFrame(
            {
                "item": np.repeat([f"i{i}" for i in range(items)], weeks),
                "week": np.tile(np.arange(weeks), items),
                "units": units.ravel(),
            }
        ),
        key="item",
    )


def by_hand(history: np.ndarray, rounds: int, z: float, lost_sales: bool) -> tuple[float, float]:
    """Cost and units lost of mean + z sigma of 13 weeks: lead time 2, review 1, from 4 on hand and 3 that come."""
    steps = 2 + rounds
    demand, stock, comes = history[-steps:], 4.0, [3.0] + [0.0] * (steps + 2)
    money = lost = 0.0
    for t in range(steps):
        if t < rounds:
            recent = history[: len(history) - steps + t][-13:]
            top = 3 * recent.mean() + z * recent.std(ddof=1) * 3**0.5
            comes[t + 2] += max(np.ceil(top - stock - sum(comes[t:])), 0)
        stock += comes[t]
        short = max(demand[t] - max(stock, 0), 0)
        stock = max(stock - demand[t], 0) if lost_sales else stock - demand[t]
        if t >= 2:
            money += short + 0.2 * max(stock, 0)
            lost += short
    return money, lost


@pytest.mark.parametrize("lost_sales", [True, False])
def test_the_money_is_that_of_a_loop(lost_sales: bool) -> None:
    from statistics import NormalDist

    read = panel()
    stock = read.keys.with_columns(on_hand=pl.lit(4), arriving_1=pl.lit(3))
    found = dc.replay([], read, stock, rounds=5, progress=False, lost_sales=lost_sales, **RULE)
    board = {row["model"]: row for row in found.leaderboard().to_dicts()}
    z = NormalDist().inv_cdf(1 / 1.2)
    want = np.sum([by_hand(read.history(i), 5, z, lost_sales) for i in range(3)], 0)
    got = board["mean_plus_sigma"]
    assert (got["cost"], got["lost"]) == (pytest.approx(want[0]), want[1])


def test_perfect_foresight_is_the_cheapest_and_models_stand_between() -> None:
    read = panel(items=20)
    found = dc.replay(["seasonal_naive"], read, rounds=6, progress=False, **RULE)
    board = found.leaderboard()
    assert board["model"][0] == "perfect_foresight"
    assert set(board["model"]) == {
        "perfect_foresight", "seasonal_naive", "mean_plus_sigma", "steps_of_cover",
    }  # fmt: skip
    assert board["lost"][0] == 0
    curve = found.trade_off((0.6, 0.9, 0.99))
    own = curve.filter(pl.col("model") == "mean_plus_sigma")
    assert own["lost"].is_sorted(descending=True)
    assert own["held"].is_sorted()
    assert "Replay(4 rules x 6 rounds; best perfect_foresight" in repr(found)


def test_a_forecast_knows_nothing_of_later_weeks() -> None:
    read = panel()
    found = dc.replay(["seasonal_naive"], read, rounds=4, progress=False, **RULE)
    for r, part in enumerate(found.panels):
        assert (part.lengths == 60 - 2 - 4 + r).all()
        assert (found.forecasts["seasonal_naive"][r].cutoffs == part.ends()).all()


def test_without_refit_a_model_is_fitted_at_the_first_round_only() -> None:
    class Counted(dc.local.SeasonalNaive):
        fits: ClassVar[list[int]] = []

        def fit(self, panel: dc.Panel) -> Counted:
            self.fits.append(int(panel.lengths[0]))
            super().fit(panel)
            return self

    for refit, expected in ((True, [54, 55, 56, 57]), (False, [54])):
        Counted.fits.clear()
        found = dc.replay(Counted(horizon=3), panel(), rounds=4, refit=refit, progress=False, **RULE)  # fmt: skip
        assert Counted.fits == expected
        assert [int(f.cutoffs[0]) for f in found.forecasts["seasonal_naive"]] == [53, 54, 55, 56]


def test_reviews_longer_than_a_step_share_no_window() -> None:
    found = dc.replay([], panel(), rounds=3, review=4, progress=False, **RULE)
    demand = found.rows.filter(pl.col("model") == "mean_plus_sigma")["demand"]
    read = panel()
    want = [sum(read.history(i)[48 + 4 * r : 52 + 4 * r].sum() for i in range(3)) for r in range(3)]
    assert demand.to_list() == want


def test_what_cannot_be_replayed_is_refused() -> None:
    read = panel(weeks=8)
    with pytest.raises(DemandcastError, match="use fewer rounds"):
        dc.replay([], read, rounds=6, progress=False, **RULE)
    with pytest.raises(DemandcastError, match="what to order by"):
        dc.replay([], read, rounds=2, progress=False, lead_time=1)
    stock = read.keys.with_columns(on_hand=pl.lit(1), review=pl.Series([1, 2, 1]))
    with pytest.raises(DemandcastError, match="item i1 has a review of 2"):
        dc.replay([], read, stock, rounds=2, progress=False, **RULE)


def test_placing_an_order_costs_what_it_costs() -> None:
    """The orders of a fixed quantity are the same at any cost of placing one."""
    rule = {"rule": "s,Q", "quantity": 20, **RULE}
    boards = [
        dc.replay(["seasonal_naive"], panel(), rounds=6, progress=False, fixed_cost=k, **rule).leaderboard()
        for k in (0, 7)
    ]  # fmt: skip
    cost = [{r["model"]: r for r in board.to_dicts()} for board in boards]
    one, other = cost[0]["seasonal_naive"], cost[1]["seasonal_naive"]
    assert one["ordered"] == other["ordered"] > 0
    placed = (other["cost"] - one["cost"]) / 7
    assert placed == pytest.approx(round(placed))
    assert one["ordered"] / 80 <= placed <= one["ordered"] / 20
    assert cost[0]["perfect_foresight"]["lost"] == 0


def test_folds_of_a_backtest_are_the_rounds_of_a_replay() -> None:
    """The same cutoffs, forecasts and stock: the same money, for models and usual rules."""
    read = panel()
    result = dc.backtest(
        "seasonal_naive", read, horizon=3, folds=5, step=1, n_samples=400, progress=False
    )
    rule = RULE | {"lost_sales": False}  # which needs no step beyond the window
    found = dc.replay(result, **rule).leaderboard().drop("seconds")
    played = dc.replay("seasonal_naive", read, rounds=5, progress=False, **rule)
    assert found.equals(played.leaderboard().drop("seconds"))


def test_series_that_begin_between_folds_are_left_out_of_its_orders() -> None:
    weeks = np.arange(60)
    late = pl.DataFrame({"item": "late", "week": weeks[55:], "units": np.full(5, 4)})
    early = pl.DataFrame({"item": "early", "week": weeks, "units": weeks % 5})
    read = dc.read_panel(pl.concat([late, early]), key="item")
    result = dc.backtest(
        "seasonal_naive", read, horizon=3, folds=5, step=1, n_samples=100, progress=False
    )
    alone = dc.backtest("seasonal_naive", read.select("early"), horizon=3, folds=5, step=1, n_samples=100, progress=False)  # fmt: skip
    boards = [dc.replay(r, **RULE).leaderboard().drop("seconds") for r in (result, alone)]
    assert boards[0].equals(boards[1])


@pytest.mark.parametrize(
    ("given", "rule", "said"),
    [
        ({}, RULE, "folds of the backtest are 3 steps apart.*every 1; .*step=1 or review=3"),
        ({"step": 1, "horizon": 2}, RULE, "are 3 steps, but the backtest forecasts 2; give horizon=3"),
        ({"step": 1, "n_samples": None}, RULE, "no sample paths.*n_samples=400"),
        ({"step": 1}, {"lead_time": 2}, "what to order by"),
    ],
)  # fmt: skip
def test_a_backtest_that_cannot_be_ordered_by_is_refused(
    given: dict[str, Any], rule: dict[str, Any], said: str
) -> None:
    usual = {"horizon": 3, "folds": 2, "n_samples": 50, "progress": False}
    result = dc.backtest("seasonal_naive", panel(), **{**usual, **given})
    with pytest.raises(DemandcastError, match=said):
        dc.replay(result, **rule)
    with pytest.raises(DemandcastError, match=r"give replay\(models, panel"):
        dc.replay("seasonal_naive", **RULE)
