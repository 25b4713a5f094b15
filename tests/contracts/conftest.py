"""A small panel of counts with all that a table can hold."""

from __future__ import annotations

import pytest

from demandcast.frames import read_panel
from demandcast.frames.examples import retail
from demandcast.panel.panel import Panel


@pytest.fixture(scope="session")
def panel() -> Panel:
    frame = retail(n_items=6, n_days=120, seed=1).frame
    return read_panel(
        frame, key="item", time="date", target="units", freq="D", known=["price", "promo"]
    )
