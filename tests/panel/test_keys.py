"""Series by their keys: values, tuples and dicts; the nearest is named where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DataError
from demandcast.panel.panel import Panel

STORES = [("north", 1), ("north", 2), ("south", 1)]


@pytest.fixture(scope="module")
def panel() -> Panel:
    rows = [(store, item, t, 10 * item + t % 3) for store, item in STORES for t in range(12)]
    table = pl.DataFrame(rows, schema=["store", "item", "week", "units"], orient="row")
    return dc.read_panel(table, key=["store", "item"], time="week", target="units")


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (("south", 1), [2]),
        ({"store": "north"}, [0, 1]),
        ({"item": 1, "store": "south"}, [2]),
        ([("south", 1), ("north", 2)], [2, 1]),
        ([{"item": 1}, ("north", 2)], [0, 2, 1]),
        ([2, 0], [2, 0]),
        (np.array([False, True, False]), [1]),
    ],
)
def test_series_are_selected_by_key(panel: Panel, key: Any, rows: list[int]) -> None:
    part = panel.select(key)
    assert part.keys.rows() == [STORES[row] for row in rows]
    assert part.history(0).tolist() == panel.history(rows[0]).tolist()


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (("nort", 1), "did you mean ('north', 1)"),
        (("north", "1"), "did you mean ('north', 1)"),
        ({"store": "soth"}, "did you mean 'south'"),
        ({"shop": "south"}, "the key columns are 'store', 'item'"),
        ("north", "give a tuple of (store, item)"),
    ],
)
def test_an_unknown_key_names_the_nearest(panel: Panel, key: Any, said: str) -> None:
    forecast = dc.local.SES(horizon=2).predict(panel)
    for call in (panel.select, forecast.index, forecast.plot):
        with pytest.raises(DataError) as error:
            call(key)
        assert said in str(error.value)


def test_one_series_is_plotted_by_any_spelling_of_its_key(panel: Panel) -> None:
    forecast = dc.local.SES(horizon=2).predict(panel)
    for key in (("south", 1), {"store": "south"}, {"store": "south", "item": 1}):
        assert forecast.index(key) == 2
        assert "south/1" in forecast.plot(key).axes[0].get_title()
    with pytest.raises(DataError, match="2 series match"):
        forecast.plot({"store": "north"})


def test_a_key_of_the_wrong_type_is_told() -> None:
    table = pl.DataFrame({"item": [1, 1, 2, 2], "week": [0, 1, 0, 1], "units": [1, 2, 3, 4]})
    panel = dc.read_panel(table, key="item", time="week", target="units")
    with pytest.raises(DataError, match="of type int: did you mean 2"):
        panel.select("2")
