"""Stock-outs that nobody flagged: what is suspected, and what is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

import demandcast as dc

DAYS = 200


def panel_of(units: NDArray[np.int64]) -> dc.Panel:
    """A series a row, by day."""
    n = len(units)
    table = pl.DataFrame(
        {
            "item": np.repeat([f"i{i}" for i in range(n)], units.shape[1]),
            "day": np.tile(np.datetime64("2024-01-01", "D") + np.arange(units.shape[1]), n),
            "units": units.ravel(),
        }
    )
    return dc.read_panel(table, key="item", time="day", target="units", freq="D", totals="keep")


def sales(mean: float, n: int = 6, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).poisson(mean, (n, DAYS))


def test_a_steady_seller_that_falls_to_zero_and_comes_back_is_suspected() -> None:
    units = np.maximum(sales(5), 1)
    units[2, 50:58] = 0
    panel = panel_of(units)
    (run,) = panel.suspected_stock_outs().rows(named=True)
    assert (run["item"], str(run["first"]), str(run["last"]), run["steps"]) == (
        "i2", "2024-02-20", "2024-02-27", 8,
    )  # fmt: skip
    assert run["zeros_otherwise"] < 0.01
    (note,) = [n for n in panel.notes if n.kind == "suspected stock-outs"]
    assert (note.count, note.series) == (8, 1)
    assert "i2, 2024-02-20 to 2024-02-27" in note.example
    assert "available='in_stock'" in note.action
    np.testing.assert_array_equal(panel.target.reshape(units.shape), units)  # nothing is changed


def test_chance_the_end_rare_sellers_and_holidays_are_not_suspected() -> None:
    assert not panel_of(sales(1.0, 200)).suspected_stock_outs().height  # e^-1 of the days are zero
    ended = np.maximum(sales(5), 1)
    ended[1, -9:] = 0
    ended[1, :9] = 0
    assert not panel_of(ended).suspected_stock_outs().height
    rare = sales(0.3)
    rare[1, 50:150] = 0
    assert not panel_of(rare).suspected_stock_outs().height
    holiday = np.maximum(sales(5), 1)
    holiday[:, 50:56] = 0
    assert not panel_of(holiday).suspected_stock_outs().height


def test_a_run_does_not_go_on_in_the_next_series() -> None:
    units = np.maximum(sales(5, 2), 1)
    units[0, -4:] = 0
    units[1, :4] = 0
    assert not panel_of(units).suspected_stock_outs().height


def test_flagged_steps_are_not_suspected_again() -> None:
    units = np.maximum(sales(5), 1)
    units[2, 50:58] = 0
    panel = panel_of(units)
    flagged = replace(panel, available=panel.target > 0)
    assert not flagged.suspected_stock_outs().height
