"""Panels of totals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DataError


def panel_of() -> dc.Panel:
    """Two stores; the second item of each begins three days later, and one value is missing."""
    rows = [("n", "a", 0, 10), ("n", "b", 3, 10), ("s", "a", 0, 10), ("s", "b", 3, 10)]
    frames = [
        pl.DataFrame(
            {
                "store": store, "item": item, "kind": {"a": "food", "b": "drink"}[item],
                "day": np.datetime64("2024-01-01", "D") + np.arange(first, end), "units": float(i + 1),
            }
        )
        for i, (store, item, first, end) in enumerate(rows)
    ]  # fmt: skip
    table = (
        pl.concat(frames)
        .with_row_index()
        .with_columns(units=pl.when(pl.col("index") == 5).then(None).otherwise(pl.col("units")))
        .drop("index")
    )
    return dc.read_panel(
        table,
        key=["store", "item"],
        time="day",
        target="units",
        freq="D",
        static=["kind"],
        totals="keep",
    )


def test_a_total_counts_each_series_from_its_first_step() -> None:
    panel = panel_of()
    stores = panel.total("store")
    assert stores.keys.rows() == [("n",), ("s",)]
    np.testing.assert_array_equal(stores.history(1), [3, 3, 3, 7, 7, 7, 7, 7, 7, 7])
    first = stores.history(0)
    assert np.isnan(first[5])  # n/a was not observed
    np.testing.assert_array_equal(first[[0, 3, 9]], [1, 3, 3])
    assert any(note.kind == "totals not known" and note.count == 1 for note in stores.notes)


def test_statics_group_and_the_total_of_all_has_a_key() -> None:
    panel = panel_of()
    assert panel.total("kind").keys.rows() == [("food",), ("drink",)]
    everything = panel.total()
    assert everything.keys.rows() == [("total",)]
    assert everything.history(0)[-1] == 10
    dc.local.SES(horizon=2).predict(everything)


def test_a_total_is_available_where_all_its_series_are() -> None:
    panel = panel_of()
    available = np.ones(len(panel.target), np.bool_)
    available[panel.begins[3] + 2] = False  # s/b on its third day, the sixth of the store
    total = replace(panel, available=available).total("store")
    assert total.available is not None
    np.testing.assert_array_equal(np.flatnonzero(~total.available), [total.begins[1] + 5])


def test_a_gap_in_a_level_names_the_series() -> None:
    days = np.tile(np.arange("2024-01-01", "2024-01-21", dtype="datetime64[D]"), 2)
    table = pl.DataFrame({"item": ["a"] * 20 + ["b"] * 20, "day": days, "units": range(40)})
    static = pl.DataFrame({"item": ["a", "b"], "store": ["north", None]})
    options = {"key": "item", "time": "day", "target": "units"}
    panel = dc.read_panel(table, **options, static_table=static)
    with pytest.raises(DataError, match=r"series b has no store .1 series have none., so a level"):
        panel.total("store")
    assert panel.total().n_series == 1
    twice = pl.concat([static, static.head(1).with_columns(store=pl.lit("south"))])
    with pytest.raises(DataError, match="more than one row for series a"):
        dc.read_panel(table, **options, static_table=twice)


def test_weeks_of_a_panel_are_whole() -> None:
    days = np.arange(
        "2024-01-03", "2024-01-31", dtype="datetime64[D]"
    )  # from a Wednesday to a Tuesday
    values = np.arange(28.0)
    values[10] = np.nan
    table = pl.DataFrame({"item": ["a"] * 28, "day": days, "units": values})
    panel = dc.read_panel(table, key="item", time="day", target="units")
    weeks = panel.total("item", steps="week")
    assert weeks.schema.freq == "W-MON"
    np.testing.assert_array_equal(weeks.target, [np.nan, values[12:19].sum(), values[19:26].sum()])
    assert str(weeks.freq.times(weeks.starts)[0])[:10] == "2024-01-08"
    assert any(n.kind == "steps left out" and n.count == 7 for n in weeks.notes)
    with pytest.raises(DataError, match=r"series a holds no whole step of 'MS'"):
        panel.total("item", steps="month")
