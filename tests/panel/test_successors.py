"""A new item has the history of the one it replaces, step by step, and no other value changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DemandcastError


@pytest.fixture
def panel() -> dc.Panel:
    """old: days 0 to 19; new: days 24 to 29; other: days 0 to 29. Units are 100 x item + day."""
    spans = {"old": (1, 0, 20), "new": (2, 24, 30), "other": (3, 0, 30)}
    table = pl.concat(
        pl.DataFrame(
            {
                "item": name,
                "day": np.arange(first, last),
                "units": 100.0 * number + np.arange(first, last),
                "price": 10.0 * number,
            }
        )
        for name, (number, first, last) in spans.items()
    )
    return dc.read_panel(table, key="item", known=["price"], ended="keep")


def test_history_before_the_first_step_is_that_of_the_predecessor(panel: dc.Panel) -> None:
    found = panel.with_successors(
        pl.DataFrame({"item": ["new", "other"], "predecessor": ["old", None]})
    )
    assert found.keys["item"].to_list() == panel.keys["item"].to_list()
    i = found.keys["item"].to_list().index("new")
    history = found.history(i)
    np.testing.assert_array_equal(history[:20], 100 + np.arange(20))
    assert np.isnan(history[20:24]).all()
    np.testing.assert_array_equal(history[24:], 200 + np.arange(24, 30))
    np.testing.assert_array_equal(found.ends(), panel.ends())
    price = found.known[found.begins[i] : found.begins[i] + 30, 0]
    assert [price[0], price[29]] == [10, 20]
    assert np.isnan(price[22])
    for name in ("old", "other"):
        j = panel.keys["item"].to_list().index(name)
        np.testing.assert_array_equal(found.history(j), panel.history(j))
    assert "24 in 1 series (e.g. new after old)" in str(found.notes[-1])


def test_an_item_without_any_row_becomes_a_series(panel: dc.Panel) -> None:
    found = panel.with_successors(
        pl.DataFrame({"item": ["newest", "new"], "predecessor": ["new", "old"]})
    )
    assert found.keys["item"].to_list()[-1] == "newest"
    np.testing.assert_array_equal(found.history(3), found.history(1))
    forecast = dc.local.SeasonalNaive(horizon=2).predict(found)
    assert forecast.quantile(0.5)[3].tolist() == forecast.quantile(0.5)[1].tolist()
    assert panel.n_series == 3


def test_of_several_key_columns_those_that_differ_are_named() -> None:
    table = pl.DataFrame(
        {"store": [1] * 20 + [2] * 20, "item": ["a"] * 20 + ["b"] * 20, "day": [*range(20)] * 2, "units": range(40)}
    )  # fmt: skip
    panel = dc.read_panel(table, key=["store", "item"])
    stock = pl.DataFrame({"store": [1, 2], "item": ["c", "b"], "predecessor_item": ["a", ""]})
    found = panel.with_successors(stock)
    assert found.keys.rows() == [(1, "a"), (2, "b"), (1, "c")]
    np.testing.assert_array_equal(found.history(2), np.arange(20))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"item": ["new"], "predecessor": ["olt"]}, r"item new has the predecessor olt.*nearest is 'old'.*ended='keep'"),
        ({"item": ["new", "old"], "predecessor": ["old", "new"]}, "replace each other: "),
        ({"item": ["new"], "predecessor": ["new"]}, "replace each other: "),
        ({"item": ["new", "new"], "predecessor": ["old", "other"]}, "item new has two rows with a predecessor"),
        ({"item": ["new"], "precursor": ["old"]}, "no column 'predecessor'"),
        ({"item": ["new"], "predecessor_store": ["old"]}, "'predecessor_store' is of no key column"),
        ({"name": ["new"], "predecessor": ["old"]}, "no key column 'item'"),
    ],
)  # fmt: skip
def test_predecessors_that_cannot_be_are_refused(
    panel: dc.Panel, columns: dict[str, Any], said: str
) -> None:
    with pytest.raises(DemandcastError, match=said):
        panel.with_successors(pl.DataFrame(columns))
    with pytest.raises(DemandcastError, match="not str; read the file first"):
        panel.with_successors("stock.csv")
