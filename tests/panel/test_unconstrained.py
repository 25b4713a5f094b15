"""Demand at unavailable steps: exact sums, simulated truth, and what must not change."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from numpy.typing import NDArray
from polars.testing import assert_frame_equal

import demandcast as dc
from demandcast import registry
from demandcast.errors import DataError
from demandcast.panel.unconstrained import condition_on_bound, condition_on_sale


def retail(
    series: int = 60,
    days: int = 400,
    *,
    seed: int = 0,
    scale: float = 1.0,
    promotions: bool = False,
) -> tuple[dc.Panel, NDArray[np.int64], NDArray[np.bool_]]:
    """Negative binomial demand with weekdays and a moving level, sold from a stock that is filled on Mondays."""
    rng = np.random.default_rng(seed)
    day = np.arange(days)
    week = np.exp(rng.normal(0, 0.3, (series, 7)))
    promo = (rng.random((series, days)) < 0.1) * promotions
    mean = scale * np.exp(
        rng.uniform(0, 3, (series, 1)) + np.cumsum(rng.normal(0, 0.01, (series, days)), 1)
    )
    mean = mean * (week / week.mean(1, keepdims=True))[:, day % 7] * np.where(promo, 2.0, 1.0)
    demand = rng.poisson(mean * rng.gamma(5, 1 / 5, mean.shape))
    sold, there = demand.copy(), np.ones(demand.shape, np.bool_)
    target = np.ceil(mean.mean(1) * 7)
    stock = target.copy()
    for t in day:
        stock = np.where(t % 7 == 0, target, stock)
        sold[:, t] = np.minimum(stock, demand[:, t])
        there[:, t] = stock > sold[:, t]
        stock = stock - sold[:, t]
    table = pl.DataFrame(
        {
            "item": np.repeat([f"i{i:02d}" for i in range(series)], days),
            "day": np.tile(np.datetime64("2023-01-02") + day, series),
            "units": sold.ravel(), "promo": promo.ravel().astype(float), "there": there.ravel(),
        }
    )  # fmt: skip
    panel = dc.read_panel(
        table, key="item", time="day", target="units", freq="D", available="there",
        known=["promo"] if promotions else [],
    )  # fmt: skip
    return panel, demand, there


def masses(mean: float, spread: float, most: int) -> NDArray[np.float64]:
    """Negative binomial probabilities of 0 ... most, term by term."""
    size = 1 / spread
    return np.array(
        [
            math.exp(
                math.lgamma(k + size) - math.lgamma(size) - math.lgamma(k + 1)
                - size * math.log1p(spread * mean) + k * math.log(spread * mean / (1 + spread * mean))
            )
            for k in range(most + 1)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mean", "spread", "least"), [(3, 0.4, 0), (3, 0.4, 5), (30, 0.1, 41), (0.2, 2, 4)]
)
def test_counts_given_a_bound_are_the_sums_of_their_probabilities(
    mean: float, spread: float, least: int
) -> None:
    law = masses(mean, spread, 2000)
    law[:least] = 0
    law /= law.sum()
    k = np.arange(len(law))
    levels = np.array([[0.1, 0.5, 0.9]])
    one = np.array([1.0])
    first, second, quantiles = condition_on_bound(
        mean * one, spread * one, least * one, levels, one > 0
    )
    assert first == pytest.approx(law @ k, rel=1e-5)
    assert second == pytest.approx(law @ k**2, rel=1e-4)
    assert quantiles[0] == pytest.approx([(law.cumsum() < q).sum() for q in levels[0]])


@pytest.mark.parametrize(("mean", "spread"), [(300, 0.5), (300, 0.001), (5000, 0.02)])
def test_large_counts_keep_mean_and_variance_and_their_tail(mean: float, spread: float) -> None:
    law = masses(mean, spread, 20 * int(mean))
    k = np.arange(len(law))
    least = mean * (1 + 0.5 * math.sqrt(1 / mean + spread))
    one = np.array([1.0])
    free, square, _ = condition_on_bound(
        mean * one, spread * one, 0 * one, np.zeros((1, 0)), one > 0
    )
    assert free == pytest.approx(mean, rel=1e-5)
    assert square - free**2 == pytest.approx(mean + spread * mean**2, rel=1e-3)
    above, _, _ = condition_on_bound(
        mean * one, spread * one, least * one, np.zeros((1, 0)), one > 0
    )
    tail = law * (k >= least)
    assert above == pytest.approx(tail @ k / tail.sum(), rel=0.01)


@pytest.mark.parametrize("promotions", [False, True])
def test_simulated_demand_is_found_again(promotions: bool) -> None:
    panel, demand, there = retail(scale=4.0, promotions=promotions)
    frame = panel.unconstrained((0.1, 0.9))
    mean, low, high = (frame[c].to_numpy().reshape(demand.shape) for c in ("mean", "0.1", "0.9"))
    lost = ~there
    assert 0.1 < lost.mean() < 0.4
    sold = frame["units"].to_numpy().reshape(demand.shape)
    assert sold.sum() < 0.93 * demand.sum()  # what ignoring stock-outs costs
    assert abs(mean.sum() / demand.sum() - 1) < 0.01
    assert abs(mean[lost].sum() / demand[lost].sum() - 1) < 0.03
    inside, ends = (low < demand) & (demand < high), (demand == low) | (demand == high)
    assert abs((inside + 0.5 * ends)[lost].mean() - 0.8) < 0.03  # half of the ties, for counts
    assert (mean[lost] >= sold[lost]).all()
    np.testing.assert_array_equal(mean[there], demand[there])


def test_promotions_raise_the_demand_that_was_lost() -> None:
    panel, demand, there = retail(scale=4.0, promotions=True)
    without = replace(panel, known=panel.known[:, :0], known_names=())
    promo = panel.known[:, 0].reshape(demand.shape) > 0
    lost = ~there & promo
    with_it, blind = (
        p.unconstrained()["mean"].to_numpy().reshape(demand.shape)[lost].sum() / demand[lost].sum()
        for p in (panel, without)
    )
    assert abs(with_it - 1) < 0.05 < 1 - blind


def test_imputed_demand_has_the_mean_and_spread_of_demand() -> None:
    panel, demand, there = retail(scale=4.0)
    imputed = panel.impute_demand(seed=1)
    values = imputed.target.reshape(demand.shape)
    assert imputed.available is None
    np.testing.assert_array_equal(values[there], demand[there])
    assert abs(values.sum() / demand.sum() - 1) < 0.01
    assert (values == np.rint(values)).all()
    error = values.std(1) / demand.std(1) - 1
    assert abs(error.mean()) < 0.03
    assert (imputed.target != panel.impute_demand(seed=2).target).any()


def test_neither_order_nor_company_changes_a_series() -> None:
    panel, _, _ = retail(12)
    alone = panel.select([3])
    turned = panel.select(np.arange(12)[::-1])
    whole = panel.unconstrained().filter(pl.col("item") == "i03")
    assert_frame_equal(alone.unconstrained(), whole, rel_tol=1e-9)
    assert_frame_equal(turned.unconstrained().filter(pl.col("item") == "i03"), whole, rel_tol=1e-9)
    own = panel.impute_demand().history(3)
    np.testing.assert_array_equal(alone.impute_demand().history(0), own)


def test_without_stock_outs_nothing_changes() -> None:
    panel, _, _ = retail(5)
    always = replace(panel, available=np.ones_like(panel.available))
    frame = always.unconstrained()
    for column in ("mean", "0.1", "0.9"):
        np.testing.assert_array_equal(frame[column], frame["units"])
    np.testing.assert_array_equal(always.impute_demand().target, panel.target)


def test_a_panel_without_the_column_is_refused() -> None:
    panel, _, _ = retail(2)
    with pytest.raises(DataError, match=r"available='in_stock'"):
        panel.mask_unavailable().unconstrained()


@pytest.mark.parametrize(
    "method",
    [
        "seasonal_naive",
        "tsb",
        "ets",
        "analogues",
        "damped_counts",
        "routed",
        "zero_shot",
        "lightgbm",
    ],
)
def test_sales_of_unavailable_steps_are_not_read_as_demand(method: str) -> None:
    panel, _, _ = retail(3, 120)
    hyper: dict[str, Any] = {"trees": 5} if method == "lightgbm" else {}
    other = replace(
        panel, target=np.where(panel.available, panel.target, np.float32(1e6)).astype(np.float32)
    )
    forecasts = [
        registry.create(method, horizon=7, **hyper).fit(p).predict(p) for p in (panel, other)
    ]
    np.testing.assert_array_equal(forecasts[0].quantiles, forecasts[1].quantiles)
    np.testing.assert_array_equal(forecasts[0].mean, forecasts[1].mean)


def test_unavailable_steps_are_not_scored() -> None:
    panel, _, _ = retail(8)
    result = dc.backtest(["tsb"], panel, horizon=14, progress=False)
    rows = panel.begins[:, None] + panel.lengths[:, None] - 14 + np.arange(14)
    assert panel.available is not None
    np.testing.assert_array_equal(np.isnan(result.actuals[0]), ~panel.available[rows])


def test_columns_of_the_user_keep_their_names_by_the_rule_of_forecasts() -> None:
    table = {
        "mean": ["a"] * 9,
        "day": range(9),
        "available": [2.0, 3, 1, 0, 2, 3, 0, 1, 2],
        "on": [1, 1, 1, 0] * 2 + [1],
    }
    panel = dc.read_panel(
        pl.DataFrame(table), key="mean", time="day", target="available", available="on"
    )
    assert panel.unconstrained(levels=[0.5]).columns == [
        "mean", "day", "available", "demand_available", "demand_mean", "0.5"
    ]  # fmt: skip
    forecast = dc.local.LastValue(horizon=1).fit(panel).predict(panel, levels=[0.5])
    assert forecast.to_frame().columns == ["mean", "day", "forecast_mean", "0.5"]


@pytest.mark.parametrize(
    ("mean", "spread", "sold", "share"), [(6, 0.4, 2, 0.5), (6, 0.4, 9, 0.8), (26, 0.05, 4, 0.1)]
)
def test_demand_given_the_sale_of_a_part_is_bayes_rule(
    mean: float, spread: float, sold: int, share: float
) -> None:
    """P(D | y) is the negative binomial of D times the binomial chance of y of D in the share of the step."""
    law = masses(mean, spread, 600)
    k = np.arange(len(law))
    law *= scipy.stats.binom.pmf(sold, k, share)
    law /= law.sum()
    one, levels = np.array([1.0]), np.array([[0.1, 0.5, 0.9]])
    first, second, quantiles = condition_on_sale(
        mean * one, spread * one, sold * one, share * one, levels, one > 0
    )
    assert first == pytest.approx(law @ k, rel=1e-5)
    assert second == pytest.approx(law @ k**2, rel=1e-4)
    assert quantiles[0] == pytest.approx([(law.cumsum() < q).sum() for q in levels[0]])


def parts_of_days(seed: int = 0) -> tuple[pl.DataFrame, NDArray[np.int64], NDArray[np.float64]]:
    """40 items of which a fifth of the days have sales for a random part of the day only."""
    rng = np.random.default_rng(seed)
    series, days = 40, 300
    mean = (
        np.exp(rng.uniform(0, 3, (series, 1)))
        * np.exp(rng.normal(0, 0.3, (series, 7)))[:, np.arange(days) % 7]
    )
    demand = rng.poisson(mean * rng.gamma(5, 1 / 5, mean.shape))
    share = np.where(rng.random(mean.shape) < 0.2, rng.integers(1, 10, mean.shape) / 10, 1.0)
    table = pl.DataFrame(
        {
            "item": np.repeat([f"i{i:02d}" for i in range(series)], days),
            "day": np.tile(np.datetime64("2023-01-02") + np.arange(days), series),
            "units": rng.binomial(demand, share).ravel(),
            "open": share.ravel(),
        }
    )
    return table, demand, share


def test_the_demand_of_half_a_day_is_not_taken_as_a_bound() -> None:
    """By shares the bias is within 2 % and the interval holds; by flags alone it is 10 % too high and more."""
    table, demand, share = parts_of_days()
    part = (share < 1).ravel()
    bias = {}
    for name, shown in (("share", table), ("flag", table.with_columns(pl.col("open") == 1))):
        panel = dc.read_panel(shown, key="item", time="day", target="units", available="open")
        assert (panel.share is None) == (name == "flag")
        assert panel.available is not None
        assert (panel.available == ~part).all()
        found = panel.unconstrained(levels=(0.1, 0.9))
        bias[name] = found["mean"].to_numpy()[part].sum() / demand.ravel()[part].sum() - 1
        if name == "share":
            low, high = found["0.1"].to_numpy()[part], found["0.9"].to_numpy()[part]
            came = demand.ravel()[part]
            inside = ((came > low) & (came < high)) + 0.5 * ((came == low) | (came == high))
            often = np.repeat(demand.mean(1) > 8, 300)[part]  # of few units, most days are ties
            assert inside[often].mean() == pytest.approx(0.8, abs=0.04)
            assert (came < low).mean() < 0.1 > (came > high).mean()
            drawn = panel.impute_demand().target
            assert drawn[part].sum() == pytest.approx(
                found["mean"].to_numpy()[part].sum(), rel=0.02
            )
            assert (drawn >= panel.target).all()
    assert abs(bias["share"]) < 0.02
    assert bias["flag"] > 0.1


def test_shares_come_back_from_a_store_and_a_part_of_the_panel(tmp_path: Path) -> None:
    table, _, share = parts_of_days()
    panel = dc.read_panel(table, key="item", time="day", target="units", available="open")
    panel.to_store(tmp_path / "store")
    stored = dc.read_panel(str(tmp_path / "store"))
    np.testing.assert_array_equal(stored.share, share.ravel().astype(np.float32))
    assert_frame_equal(stored.unconstrained(), panel.unconstrained())
    few = panel.select([3, 7]).drop_last(5)
    assert few.compact().share.shape == (600,)  # type: ignore[union-attr]
    assert panel.total().share is None
    assert panel.mask_unavailable().share is None


@pytest.mark.parametrize("text", [False, True])
def test_shares_beyond_the_step_are_refused(text: bool) -> None:
    table = pl.DataFrame(
        {"day": range(40), "units": range(40), "open": [1.0, 0.5] * 19 + [1.0, 50.0]}
    )
    if text:
        table = table.with_columns(pl.col("open").cast(pl.String))
    with pytest.raises(
        DataError, match=r"'open' must hold true/false, 1/0 or the share .*percentages by 100"
    ):
        dc.read_panel(table, available="open")
    fine = table.head(38).with_columns(pl.lit("yes").alias("open")) if text else table.head(38)
    assert (dc.read_panel(fine, available="open").share is None) == text
