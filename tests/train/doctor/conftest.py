"""Four items of 120 days, which several files fit networks to."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import demandcast as dc


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    rng = np.random.default_rng(0)
    days = np.datetime64("2024-01-01") + np.arange(120)
    rows = {
        "item": np.repeat(list("abcd"), 120),
        "date": np.tile(days, 4),
        "y": rng.poisson(5, 480),
    }
    return dc.read_panel(pl.DataFrame(rows))
