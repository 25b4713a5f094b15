"""A second table of covariates, by series and time, of the past and ahead: a calendar, a price list, promotions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from demandcast.errors import DataError, SchemaError
from demandcast.frames import vocabulary
from demandcast.frames.covariates import is_text
from demandcast.frames.infer_frequency import infer_frequency
from demandcast.frames.numerals import Hints
from demandcast.frames.opened import Table
from demandcast.frames.roles import Roles, near_name, suggest_column
from demandcast.frames.table_rows import Ints, Rows, numbers
from demandcast.frames.times import join_times, parse_times
from demandcast.frequency import Frequency
from demandcast.panel.panel import Note, Panel

INDICATOR = "promotion"  # the covariate of a table of periods that has no other columns


def columns_of(table: Table, known: Sequence[str], main_columns: Sequence[str]) -> list[str]:
    """Return the covariates of the second table: those of `known` that the main table lacks, else all.

    Args:
        table: The second table.
        known: Columns named as known.
        main_columns: Columns of the main table.

    Raises:
        SchemaError: A column named as known is in neither table, or in both.
    """
    outside = [c for c in known if c not in main_columns]
    spans = periods(table.columns, main_columns)
    unused = [c for c in table.columns if c not in main_columns and c not in (spans or ())]
    candidates = unused or ([INDICATOR] if spans else [])
    for column in outside:
        if column not in (candidates if spans else table.columns):
            raise SchemaError(
                f"there is no column {column!r} in the table or in the table of covariates"
                f"{suggest_column(column, table.columns)}",
                found=column,
            ).suggest(near_name(column, table.columns))
    both = [c for c in known if c in main_columns and c in table.columns]
    if both:
        raise SchemaError(
            f"column {both[0]!r} is in the table and in the table of covariates; drop one of them"
        )
    return outside or candidates


def periods(columns: Sequence[str], main_columns: Sequence[str]) -> tuple[str, str] | None:
    """Return the columns of the first and last day of a table of periods, such as promotions; None for other tables.

    Args:
        columns: Columns of the second table.
        main_columns: Columns of the main table; if both tables have the same time column, the second is no table of
            periods.
    """
    if vocabulary.columns_with_words([c for c in columns if c in main_columns], vocabulary.TIME):
        return None
    free = [c for c in columns if c not in main_columns]
    starts = vocabulary.columns_with_words(free, vocabulary.START)
    ends = [c for c in vocabulary.columns_with_words(free, vocabulary.END) if c not in starts[:1]]
    return (starts[0], ends[0]) if starts and ends else None


def _spread(
    table: pl.DataFrame,
    spans: tuple[str, str],
    columns: Sequence[str],
    time: str,
    on: Sequence[str],
    grid: Frequency,
    steps: Ints,
    zone: str | None,
) -> pl.DataFrame:
    """Spread each row over the steps that its period touches, from its first to its last day.

    Raises:
        DataError: A period ends before it begins, or two of one series overlap and differ.
    """
    first, last = (parse_times(table[c], zone)[0].values.astype("datetime64[D]") for c in spans)
    back = first > last
    if back.any():
        row = int(np.argmax(back))
        raise DataError(
            f"the table of covariates has a period that ends before it begins, {first[row]} to {last[row]} in row "
            f"{row + 1:,} ({int(back.sum()):,} such rows); mend {spans[0]!r} or {spans[1]!r}"
        )
    begins = np.array([grid.begin(int(s)) for s in (*steps, steps[-1] + 1)], "datetime64[us]")
    low = np.searchsorted(begins[1:], first.astype("datetime64[us]"), side="right")
    high = np.searchsorted(begins[:-1], (last + 1).astype("datetime64[us]"), side="left")
    count = np.maximum(high - low, 0)
    rows = np.repeat(np.arange(table.height), count)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    if INDICATOR in columns and INDICATOR not in table.columns:
        table = table.with_columns(pl.lit(1.0).alias(INDICATOR))
    spread = table.select(*on, *columns)[pl.Series(rows)].with_columns(
        pl.Series(time, grid.times(steps[low[rows] + within]))
    )
    spread = spread.unique(maintain_order=True)
    twice = spread.select(*on, time).is_duplicated()
    if twice.any():
        both = spread.filter(twice).row(0, named=True)
        name = "/".join(str(both[c]) for c in on)
        raise DataError(
            f"two periods of the table of covariates overlap and differ, first at {str(both[time])[:10]}"
            f"{f' of {name}' if name else ''}; cut one of them short, or give one row a step"
        )
    return spread


def _numbers(table: pl.DataFrame, columns: Sequence[str], hints: Hints) -> pl.DataFrame:
    """Convert the covariates of a table of periods to numbers, except categories."""
    return table.with_columns(
        pl.Series(c, numbers(table[c], "covariate", "error", hints=hints)[0])
        for c in columns
        if c in table.columns and not is_text(table[c])
    )


def join(
    rows: Rows,
    roles: Roles,
    table: pl.DataFrame,
    columns: Sequence[str],
    zone: str | None,
    freq: str | None,
    spans: tuple[str, str] | None = None,
    hints: Hints | None = None,
) -> tuple[Rows, list[Note]]:
    """Join the covariates of the second table to the rows, by series and time.

    A table without a key column holds for every series; one with some of the key columns for all series of them.
    A table of periods, with their first and last day in the columns `spans`, holds for each step that one touches;
    outside of them its numbers are 0.

    Raises:
        SchemaError: It has no time column.
        DataError: It has two rows for one series and time.
    """
    time = roles.time
    if roles.parts and time not in table.columns:
        table = table.with_columns(join_times(table, roles.parts, time))
    outside = []
    if spans is not None:
        stamps = np.unique(rows.times)
        if stamps.dtype.kind == "i":
            raise SchemaError(
                f"the table of covariates has periods, {spans[0]!r} to {spans[1]!r}, but the table has whole steps; "
                "give one row a step"
            )
        grid = Frequency.parse(freq) if freq else infer_frequency(stamps)
        table = _numbers(table, columns, hints or Hints())
        on = [c for c in rows.keys.columns if c in table.columns]
        steps_present = grid.ordinal(stamps)
        steps = np.arange(steps_present[0], steps_present[-1] + 1)
        table = _spread(table, spans, columns, time, on, grid, steps, zone)
        outside = [c for c in columns if table[c].dtype.is_numeric()]
    if time not in table.columns:
        raise SchemaError(
            f"the table of covariates has no column {time!r}{suggest_column(time, table.columns)}; name its time "
            "as the main table does",
            found=time,
        ).suggest(near_name(time, table.columns))
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
    grid_rows = pl.DataFrame(
        {
            "__time": rows.times,
            **{f"__{c}": rows.keys[c].cast(pl.String).gather(rows.codes) for c in on},
        }
    )
    joined = grid_rows.join(right, on=index, how="left", maintain_order="left").select(columns)
    if spans is not None:
        joined = joined.with_columns(pl.col(outside).fill_null(0))
        action = f"periods from {spans[0]!r} to {spans[1]!r} hold for each step that they touch; outside, numbers are 0"
        return replace(rows, rest=pl.concat([rows.rest, joined], how="horizontal")), [
            Note(kind="covariates", count=len(columns), series=0, example="", done=action)
        ]
    absent = int(joined.select(pl.all_horizontal(pl.all().is_null())).to_series().sum())
    notes = [
        Note(kind="covariates", count=len(columns), series=0, example="",
             done=f"columns {list(columns)} come from the table of covariates, by {[*on, time]}")
    ]  # fmt: skip
    if absent:
        action = f"{absent:,} rows have no covariates in that table: missing there"
        notes.append(
            Note(
                kind="covariates",
                count=absent,
                series=0,
                example="",
                done=action,
                severity="warning",
            )
        )
    return replace(rows, rest=pl.concat([rows.rest, joined], how="horizontal")), notes


def ahead(
    panel: Panel,
    table: pl.DataFrame,
    spans: tuple[str, str] | None = None,
    columns: Sequence[str] = (),
    hints: Hints | None = None,
) -> pl.DataFrame | None:
    """Return the rows of a second table after the last step of their series; None if there are none.

    A table of periods tells every step of every series up to the last day of any period.
    """
    schema = panel.schema
    if spans is not None:
        return _periods_ahead(panel, table, spans, columns, hints or Hints())
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
    matched = table.select(pl.col(on).cast(pl.String)).join(
        ends, on=on, how="left", maintain_order="left"
    )
    stop = matched["__end"].to_numpy()
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


def _periods_ahead(
    panel: Panel, table: pl.DataFrame, spans: tuple[str, str], columns: Sequence[str], hints: Hints
) -> pl.DataFrame | None:
    """Return a row for each series and step ahead, up to the last day of any period."""
    grid, time = panel.freq, panel.schema.time
    last = parse_times(table[spans[1]], panel.time_zone)[0].values.max()
    first = int(panel.ends().min()) + 1
    steps = np.arange(first, first + 1)
    while grid.begin(int(steps[-1]) + 1) <= last:
        steps = np.arange(first, 2 * steps[-1] - first + 2)
    steps = steps[[grid.begin(int(s)) <= last for s in steps]]
    if not len(steps):
        return None
    on = [c for c in panel.keys.columns if c in table.columns]
    table = _numbers(table, columns, hints).with_columns(
        pl.col(c).cast(panel.keys[c].dtype, strict=False) for c in on
    )
    spread = _spread(table, spans, columns, time, on, grid, steps, panel.time_zone)
    ends = panel.keys.with_columns(pl.Series("__end", grid.times(panel.ends())))
    all_steps = ends.join(pl.DataFrame({time: grid.times(steps)}), how="cross")
    all_steps = all_steps.filter(pl.col(time) > pl.col("__end")).drop("__end")
    filled = all_steps.join(spread, on=[*on, time], how="left", maintain_order="left")
    return filled.with_columns(
        pl.col(c).fill_null(0) for c in columns if spread[c].dtype.is_numeric()
    )
