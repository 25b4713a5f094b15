"""A panel whose demand jumps on promotion days, known ahead and in no regular order."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.panel.panel import Panel


@pytest.fixture(scope="session")
def promotions() -> Panel:
    """Eight series around 20, plus 30 on one day in five, given as the known covariate `promo`."""
    rng, day = np.random.default_rng(0), np.arange(260)
    frames = []
    for i in range(8):
        promo = rng.random(260) < 0.2
        units = 20 + 30 * promo + rng.normal(0, 1, 260)
        frames.append(pl.DataFrame({"item": f"i{i}", "day": day, "units": units, "promo": promo}))
    dates = pl.col("day").cast(pl.Int64) * 86_400_000_000
    table = pl.concat(frames).with_columns(pl.col("promo").cast(pl.Int8))
    return dc.read_panel(
        table.with_columns(day=dates.cast(pl.Datetime("us"))),
        key="item", time="day", target="units", known=["promo"],
    )  # fmt: skip
