"""The simulated shop keeps its promises."""

from __future__ import annotations

import polars as pl

from demandcast.frames.examples import retail


def test_retail_is_seeded_and_hides_demand_only_in_stock_outs() -> None:
    shop, again = retail(20, 100, seed=3), retail(20, 100, seed=3)
    assert shop.frame.equals(again.frame)
    assert not shop.frame.equals(retail(20, 100, seed=4).frame)
    sold, wanted = shop.frame["units"], shop.demand
    assert (sold == wanted).filter(shop.frame["in_stock"]).all()
    assert (sold.filter(~shop.frame["in_stock"]) == 0).all()
    assert 0 < shop.frame.select(pl.col("in_stock").mean()).item() < 1
    assert shop.frame["item"].n_unique() == 20
