"""A second table of covariates, by series and time, of the past and ahead: a calendar, a price list, promotions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from demandcast.errors import DataError, SchemaError
from demandcast.frames.regularise import Rows
from demandcast.frames.roles import Roles, nearest
from demandcast.frames.source import Table
from demandcast.frames.times import join_times, parse_times
from demandcast.panel.panel import Note, Panel


def columns_of(table: Table, known: Sequence[str], own: Sequence[str]) -> list[str]:
    """The covariates that the second table gives: those named as known that the main one has not, else all.

    Args:
        table: The second table.
        known: Columns named as known.
        own: Columns of the main table.

    Raises:
        SchemaError: A column named as known is in neither table, or in both.
    """
    wanted = [c for c in known if c not in own]
    for column in wanted:
        if column not in table.columns:
            raise SchemaError(
                f"there is no column {column!r} in the table or in the table of covariates"
                f"{nearest(column, table.columns)}"
            )
    both = [c for c in known if c in own and c in table.columns]
    if both:
        raise SchemaError(
            f"column {both[0]!r} is in the table and in the table of covariates; drop one of them"
        )
    return wanted or [c for c in table.columns if c not in own]


def join(
    rows: Rows,
    roles: Roles,
    table: pl.DataFrame,
    columns: Sequence[str],
    zone: str | None,
    freq: str | None,
) -> tuple[Rows, list[Note]]:
    """The rows with the covariates of their series and time beside them.

    A table without a key column holds for every series; one with some of the key columns for all series of them.

    Raises:
        SchemaError: It has no time column.
        DataError: It has two rows for one series and time.
    """
    time = roles.time
    if roles.parts and time not in table.columns:
        table = table.with_columns(join_times(table, roles.parts, time))
    if time not in table.columns:
        raise SchemaError(
            f"the table of covariates has no column {time!r}{nearest(time, table.columns)}; name its time "
            "as the main table does"
        )
    times, _ = parse_times(table[time], zone, freq=freq)
    on = [c for c in rows.keys.columns if c in table.columns]
    right = table.select(columns).with_columns(
        pl.Series("__time", times.values), *(table[c].cast(pl.String).alias(f"__{c}") for c in on)
    )
    index = ["__time", *(f"__{c}" for c in on)]
    twice = right.select(index).is_duplicated()
    if twice.any():
        row = int(twice.arg_true()[0])
        raise DataError(
            f"the table of covariates has {int(twice.sum()):,} rows that share their series and time, the first "
            f"of them row {row + 1:,}; keep one row each"
        )
    left = pl.DataFrame(
        {
            "__time": rows.times,
            **{f"__{c}": rows.keys[c].cast(pl.String).gather(rows.codes) for c in on},
        }
    )
    joined = left.join(right, on=index, how="left", maintain_order="left").select(columns)
    absent = int(joined.select(pl.all_horizontal(pl.all().is_null())).to_series().sum())
    notes = [
        Note(kind="covariates", count=len(columns), series=0, example="",
             action=f"columns {list(columns)} come from the table of covariates, by {[*on, time]}")
    ]  # fmt: skip
    if absent:
        action = f"{absent:,} rows have no covariates in that table: missing there"
        notes.append(
            Note(
                kind="covariates",
                count=absent,
                series=0,
                example="",
                action=action,
                severity="warning",
            )
        )
    return replace(rows, rest=pl.concat([rows.rest, joined], how="horizontal")), notes


def ahead(panel: Panel, table: pl.DataFrame) -> pl.DataFrame | None:
    """The rows of a second table that lie after the last step of their series; None where there are none."""
    schema = panel.schema
    if schema.time_parts and schema.time not in table.columns:
        table = table.with_columns(join_times(table, schema.time_parts, schema.time))
    times, _ = parse_times(table[schema.time], panel.time_zone, freq=schema.freq)
    last = panel.freq.times(panel.ends())
    on = [c for c in panel.keys.columns if c in table.columns]
    if not on:
        later = times.values > last.min()
        return table.filter(pl.Series(later)) if later.any() else None
    ends = panel.keys.select(pl.col(on).cast(pl.String)).with_columns(pl.Series("__end", last))
    ends = ends.group_by(on).agg(pl.col("__end").min())
    found = table.select(pl.col(on).cast(pl.String)).join(
        ends, on=on, how="left", maintain_order="left"
    )
    stop = found["__end"].to_numpy()
    later = ~np.isnat(stop) & (times.values > stop)
    if not later.any():
        return None
    rows = table.filter(pl.Series(later))
    if set(on) == set(panel.keys.columns):
        return rows
    keys = panel.keys.with_columns(
        pl.col(on).cast(pl.String)
    )  # a row for each series of the key that is there
    return rows.with_columns(pl.col(on).cast(pl.String)).join(
        keys, on=on, how="inner", maintain_order="left"
    )
