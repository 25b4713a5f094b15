"""A stock table fits its forecast key by key, or is refused with the item, the value and the mend."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DemandcastError

Make = Callable[..., dc.Forecast]
GIVEN: dict[str, Any] = {"lead_time": 1, "cost_under": 1, "cost_over": 0.2}


def stock(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"item": ["a", "b"], "on_hand": [1.0, 2.0]} | columns, strict=False)


@pytest.fixture
def forecast(forecast_of: Make) -> dc.Forecast:
    return forecast_of(np.full((2, 50, 4), 2.0), ["a", "b"])


@pytest.mark.parametrize(
    ("columns", "given", "said"),
    [
        ({}, {"lead_time": -1}, "lead_time is -1; it is 0 or more"),
        ({"lead_time": [1, -1]}, {}, "lead_time of item b is -1"),
        ({"lead_time": [1, 1.5]}, {}, "lead_time of item b is 1.5.*whole number.*lead_time_deviation"),
        ({}, {"lead_time": 4}, "item a is up to 4 steps.*needs 5 steps, but the forecast has 4; forecast 5"),
        ({}, {"lead_time": 1.5}, "lead_time is 1.5; it is a whole number of steps"),
        ({"lead_time": [1, 900]}, {}, "item b is up to 900.*forecast 901 steps"),
        ({"lead_time": [1, 1e9]}, {}, "lead_time of item b is 1e.09.*at most 10000"),
        ({}, {"lead_time": None}, "is not known; .*give lead_time=2"),
        ({"item": ["a", "c"]}, {}, "item 'c', of which there is no forecast; 1 such rows"),
        ({"item": ["a", "A"]}, {}, "item 'A', of which there is no forecast"),
        ({"item": ["a", "a"]}, {}, "2 rows for item a, among them rows 1 and 2"),
        ({"item": ["a", None]}, {}, "row 2 of the stock table has no key"),
        ({"on_hand": [1.0, float("nan")]}, {}, "item b has no on_hand.*with 0 where there is none"),
        ({"on_hand": [1.0, None]}, {}, "item b has no on_hand"),
        ({"on_hand": [1.0, -2.0]}, {}, "on_hand of item b is -2.*0 or more.*lost_sales=False"),
        ({"on_hand": [1.0, float("inf")]}, {}, "on_hand of item b is inf"),
        ({"cost_under": [1, -1]}, {}, "cost_under of item b is -1.*above 0"),
        ({"cost_under": [1, None]}, {"cost_under": None}, "no cost_under for item b.*fill"),
        ({}, {"cost_under": None, "cost_over": None}, "nothing says what to order by"),
        ({}, {"cost_over": 0}, "cost_over is 0; it is an amount of money above 0"),
        ({}, {"cost_over": float("nan")}, "cost_over is nan"),
        ({}, {"service": 1}, "service is 1; it is a share between 0 and 1"),
        ({"service": [0.9, 1]}, {}, "service of item b is 1.*a share between 0 and 1"),
        ({"service": [0.9, 95]}, {}, "service of item b is 95"),
        ({}, {"service": 0.9, "fill_rate": 0.9}, "two rules; give one"),
        ({"service": [0.9, 0.9], "fill_rate": [None, 0.9]}, {}, "item b has both"),
        ({"pack": [1, 0]}, {}, "pack of item b is 0.*above 0"),
        ({"minimum": [-5, 0]}, {}, "minimum of item a is -5"),
        ({"arriving_0": [3, 3]}, {}, "'arriving_0' arrives before the first step ahead"),
        ({"arriving_-1": [3, 3]}, {}, "'arriving_-1' arrives before the first step ahead"),
        ({"arriving_1": [3, -3]}, {}, "arriving_1 of item b is -3"),
        ({"cost_under": ["1 $", "2 €"]}, {}, "mixes the currencies"),
        ({"pack": ["12", "a box"]}, {}, "'a box' in item b"),
        ({"review": [1, 0]}, {}, "review of item b is 0"),
        ({}, {"review": 1.5}, "review is 1.5; it is a whole number"),
        ({"On Order": [1, 1]}, {}, "no column 'on_order' but 'On Order'; rename"),
        ({}, {"spend": -1}, "spend is -1"),
        ({}, {"spend": float("inf")}, "spend is inf"),
        ({}, {"spend": True}, "spend is True"),
        ({}, {"spend": "5"}, "spend is '5'"),
    ],
)  # fmt: skip
def test_what_cannot_be_ordered_from_is_refused_by_name(
    forecast: dc.Forecast, columns: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(DemandcastError, match=said):
        dc.order(forecast, stock(**columns), **(GIVEN | given))


def test_items_without_stock_and_columns_are_named(forecast: dc.Forecast) -> None:
    with pytest.raises(DemandcastError, match=r"item 'b' has no row in the stock table.*on_hand 0"):
        dc.order(forecast, stock().head(1), **GIVEN)
    with pytest.raises(DemandcastError, match="no key column 'item'; rename 'Item'"):
        dc.order(forecast, stock().rename({"item": "Item"}), **GIVEN)
    with pytest.raises(DemandcastError, match="no column 'on_hand'"):
        dc.order(forecast, stock().drop("on_hand"), **GIVEN)
    with pytest.raises(DemandcastError, match="holds no rows"):
        dc.order(forecast, stock().clear(), **GIVEN)
    bare = dc.Forecast(**{**vars(forecast), "samples": None})
    with pytest.raises(DemandcastError, match=r"no sample paths.*n_samples"):
        dc.order(bare, stock(), **GIVEN)


def test_keys_are_compared_letter_for_letter(forecast_of: Make, tmp_path: Path) -> None:
    forecast = forecast_of(np.full((3, 50, 2), [[2.0]]), ["007", "7", " 7"])
    path = tmp_path / "stock.csv"
    path.write_text('item,on_hand\n" 7",3\n7,2\n007,1\n')
    found = dc.order(forecast, path, **GIVEN)
    assert found.to_frame()["item"].to_list() == ["007", "7", " 7"]
    assert found.stock.on_hand.tolist() == [1, 2, 3]


def test_a_currency_is_left_out_and_said(
    forecast: dc.Forecast, caplog: Any, tmp_path: Path
) -> None:
    path = tmp_path / "stock.csv"
    path.write_text("item;on_hand;cost_under\na;1;2,50 €\nb;2;1,75 €\n", encoding="utf-8")
    found = dc.order(forecast, path, **GIVEN)
    assert found.stock.under.tolist() == [2.5, 1.75]
    assert re.search("currency '€' is left out", caplog.text)


def test_columns_replace_options_item_by_item(forecast_of: Make) -> None:
    forecast = forecast_of(np.random.default_rng(0).poisson(5, (3, 400, 6)), ["a", "b", "c"])
    table = pl.DataFrame(
        {"item": ["c", "a", "b"], "on_hand": [0, 0, 0], "lead_time": [2, None, 0], "review": [None, 3, None],
         "cost_under": [None, 9, None], "service": [0.99, None, None]}
    )  # fmt: skip
    found = dc.order(forecast, table, **GIVEN)
    whole = table.with_columns(
        lead_time=pl.Series([2, 1, 0]), review=pl.Series([1, 3, 1]), cost_under=pl.Series([1, 9, 1])
    )
    alone = dc.order(forecast, whole, **GIVEN)
    assert found.to_frame().equals(alone.to_frame())
    assert found.why.tolist() == ["cost", "cost", "service"]
    assert found.expected_demand == pytest.approx([20, 5, 15], rel=0.05)


def test_random_lead_times_ask_for_more(forecast_of: Make) -> None:
    forecast = forecast_of(np.random.default_rng(0).poisson(5, (2, 400, 20)), ["a", "b"])
    table, rule = stock(lead_time_deviation=[0, 2]), {"service": 0.95, "lost_sales": False}
    fixed, random = dc.order(forecast, table, lead_time=5, **rule).order_up_to
    assert random > fixed + 5
    seen = pl.DataFrame({"item": ["a", "a", "b"], "lead_time": [5, 5, 5]})
    found = dc.order(forecast, stock(), lead_times=seen, **rule)
    assert found.order_up_to == pytest.approx([fixed, fixed], abs=3)
    with pytest.raises(DemandcastError, match=r"item b has no observed lead time"):
        dc.order(forecast, stock(), lead_times=seen.head(2), service=0.95)


def test_on_order_arrives_with_the_order(forecast_of: Make) -> None:
    """Sold from step lead_time + 1 on, so of no use before; arriving_1 serves the first step."""
    forecast = forecast_of(np.full((2, 50, 3), 4.0), ["a", "b"])
    late = dc.order(forecast, stock(on_hand=[0, 0], on_order=[9, 9]), lead_time=2, service=0.9)
    soon = dc.order(forecast, stock(on_hand=[0, 0], arriving_1=[9, 9]), lead_time=2, service=0.9)
    assert (late.why[0], late.expected_held[0]) == ("enough", 5)
    assert (soon.order[0], soon.order_up_to[0]) == (3, 12)


def test_a_decimal_sign_that_cannot_be_told_is_told(forecast: dc.Forecast) -> None:
    table = stock(on_hand=["1.234", "2.500"])
    assert dc.order(forecast, table, decimal=",", **GIVEN).stock.on_hand.tolist() == [1234, 2500]
    assert dc.order(forecast, table, decimal=".", **GIVEN).stock.on_hand.tolist() == [1.234, 2.5]


def test_the_unit_of_money_changes_no_order(forecast_of: Make) -> None:
    forecast = forecast_of(np.random.default_rng(0).poisson(5, (2, 400, 4)), ["a", "b"])
    orders = [
        dc.order(
            forecast,
            stock(cost_under=[unit, 3 * unit], cost_over=[unit / 2, unit / 5]),
            lead_time=1,
        ).order
        for unit in (1e-4, 1.0, 1e4)
    ]
    assert orders[1].min() > 0
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(orders[2], orders[1])
