"""Panels of hand-made histories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.panel.panel import Panel
from demandcast.schema import Schema


def panel_of(*histories: Any, freq: str = "MS", behind: int = 0) -> Panel:
    """Series of their own lengths; the last `behind` steps of each lie behind the cutoff."""
    sizes = np.array([len(h) for h in histories], np.int64)
    rows = int(sizes.sum())
    return Panel(
        schema=Schema(key=("id",), time="t", target="y", freq=freq),
        keys=pl.DataFrame({"id": [f"s{i}" for i in range(len(histories))]}),
        target=np.concatenate([np.asarray(h, np.float32) for h in histories]),
        begins=np.cumsum(sizes) - sizes,
        extents=sizes,
        lengths=sizes - behind,
        starts=np.zeros(len(sizes), np.int64),
        known=np.zeros((rows, 0), np.float32),
        past=np.zeros((rows, 0), np.float32),
    )


@pytest.fixture(scope="session")
def make_panel() -> Callable[..., Panel]:
    return panel_of
