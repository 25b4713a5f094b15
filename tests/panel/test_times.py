"""Steps of the grid in the user's own kind of time."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from demandcast.panel.time_column import time_column
from demandcast.schema import Schema


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_hours_of_a_table_of_dates_stay_apart(zone: str | None) -> None:
    schema = Schema(key=(), time="date", target="units", freq="h")
    times = time_column(schema, np.arange(5), zone, pl.Date())
    assert times.n_unique() == 5
    assert times.diff().drop_nulls().dt.total_hours().to_list() == [1, 1, 1, 1]
