"""Read a table of locks (fixed totals), with the column types that `Forecast.reconcile` needs."""

from __future__ import annotations

from typing import Any

import polars as pl

from demandcast.errors import SchemaError
from demandcast.frames.numerals import Hints, parse_numbers
from demandcast.frames.source import open_table
from demandcast.frames.times import parse_times
from demandcast.panel.groups import group
from demandcast.panel.panel import Panel


def read_lock_table(source: Any, panel: Panel, *, decimal: str | None = None) -> pl.DataFrame:
    """Read a table of locks of a panel's series from a path or frame.

    Text becomes numbers in the target's column and times in the time column. An empty cell is null.

    Raises:
        SchemaError: The target's column is absent, or another is neither key nor static category.
        DataError: A cell is not a number or not a time.
    """
    table = open_table(source, decimal=decimal, row="keys, time and the total to keep").collect()
    target, time = panel.schema.target, panel.schema.time
    if target not in table.columns:
        raise SchemaError(
            f"the table of locks has no column {target!r}, the total to keep; its columns are "
            f"{', '.join(table.columns)}"
        )
    for column in table.columns:
        if column not in (target, time):
            group(panel, [column])  # refused before anything is fitted
    text = pl.col(pl.String)
    table = table.with_columns(pl.when(text.str.strip_chars() != "").then(text.str.strip_chars()))
    if table[target].dtype == pl.String:
        values, _ = parse_numbers(table[target], "lock", hints=Hints(decimal=decimal))
        table = table.with_columns(values.alias(target))
    if time in table.columns:
        with_time = table.with_row_index("__row").filter(pl.col(time).is_not_null())
        if with_time.height:
            times = pl.Series(time, parse_times(with_time[time], panel.time_zone)[0].values)
            parsed = with_time.select("__row").with_columns(times)
        else:
            parsed = pl.DataFrame(
                {"__row": [], time: []}, schema={"__row": pl.UInt32, time: pl.Date}
            )
        table = (
            table.drop(time)
            .with_row_index("__row")
            .join(parsed, on="__row", how="left")
            .drop("__row")
        )
    return table
