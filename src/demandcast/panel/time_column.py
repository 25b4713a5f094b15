"""Grid steps as a column of the user's own times."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.frequency import Frequency
from demandcast.schema import Schema


def time_column(
    schema: Schema, steps: NDArray[np.int64], zone: str | None, dtype: pl.DataType | None
) -> pl.Series:
    """Return grid steps as a time column with the user's name, time zone and type.

    Steps below a day are timestamps, also where the user's times are dates.
    """
    grid = Frequency.parse(schema.freq)
    time = pl.Series(schema.time, np.asarray(grid.times(steps)))
    if zone is None:
        if dtype is None or (dtype == pl.Date and grid.is_subdaily):
            return time
        return time.cast(dtype)
    if grid.is_subdaily:
        return time.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    if dtype == pl.Date:
        return time.cast(pl.Date)
    # a day begins at 1 o'clock where daylight saving time skips its midnight
    midnight, one_o_clock = (
        t.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        for t in (time, time.dt.offset_by("1h"))
    )
    return midnight.fill_null(one_o_clock)
