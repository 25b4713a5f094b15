"""A table of demand as a Panel: every fault found, named, counted and treated by a stated rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import polars as pl

from demandcast.errors import ConfigError, DataError, FileError, SchemaError, way
from demandcast.forks import check_fork
from demandcast.frames import covariates as encode
from demandcast.frames import quality, rhythm, second
from demandcast.frames.cells import read_rows
from demandcast.frames.faults import with_all_faults
from demandcast.frames.future import extend
from demandcast.frames.grids import find_frequency, history_lengths, lay_out, used_frequency
from demandcast.frames.roles import find_roles
from demandcast.frames.source import open_table
from demandcast.frames.sql import as_source
from demandcast.frames.steps_ahead import complete
from demandcast.frames.table_rows import merge_duplicates, sort
from demandcast.frequency import Frequency
from demandcast.memory import check_memory
from demandcast.panel.panel import Note, Panel
from demandcast.panel.stock_outs import note_of_suspected
from demandcast.panel.store import is_store
from demandcast.reading import NamedColumns, Reading
from demandcast.schema import Schema

CELL = 16  # bytes of a cell while the table becomes a panel, about


def read_panel(
    source: Any = None,
    *,
    key: str | Sequence[str] | None = None,
    time: str | Sequence[str] | None = None,
    target: str | None = None,
    freq: str | None = None,
    known: str | Sequence[str] = (),
    past: str | Sequence[str] = (),
    static: str | Sequence[str] = (),
    available: str | None = None,
    future: Any = None,
    reading: Reading | None = None,
    **options: Any,
) -> Panel:
    """Read a table of demand; what was guessed, found and done stands in the panel's `notes`.

    All faults of a table are raised together.

    Args:
        source: A path, glob, folder or web address of CSV, TSV, Excel, ODS or Parquet, a list of paths, or a
            frame of pandas, polars or pyarrow. Only the columns needed are read. Or the folder of a panel
            that `Panel.to_store` wrote: it knows its roles and rules, and its values stay in the file.
        key: Columns that name a series; guessed if None, [] for a table of one series.
        time: Column of dates, datetimes, text or whole steps, or the columns that make a time together, as
            ["year", "month"]; guessed if None.
        target: Column to forecast; guessed if None. Empty cells are not observed.
        freq: The step: "15min", "h", "D", "B", "D-exSUN", "W-MON", "MS", "QS", "YS", "1"; inferred if None.
        known: Covariates known ahead. Rows after the last observed target of a series that have
            only these are the future, not history.
        past: Covariates known to the cutoff only.
        static: Columns with one value a series, in the table or in `static_table`.
        available: Column that is false where the item could not be bought, or the share of the step for which it could, 0 to 1.
        future: A table of known covariates after the last step; see `extend`. Series that only it has are new.
        reading: How the table is read, as one object for several tables.
        **options: Fields of `Reading`, which override those of `reading`: `gaps="zero"`, `to="W-MON"`,
            `duplicates="sum"`, `covariates="calendar.csv"`, `sql="select ..."`.

    Raises:
        SchemaError: A column is absent, ambiguous, or of a type its role cannot have.
        FrequencyError: The times are on no grid, or not on that of `freq`.
        DataError: The values cannot be used as they are and no rule given mends them.
        FileError: The source cannot be read.
        ConfigError: There is no such option, or it has no such value.

    Example:
        >>> table = pl.DataFrame({"item": ["a"] * 3, "date": ["2024-01-01", "2024-01-02", "2024-01-04"],
        ...                       "units": [1, 0, 2]})
        >>> read_panel(table).history(0)
        array([ 1.,  0., nan,  2.], dtype=float32)
        >>> read_panel(table, gaps="zero").history(0)
        array([1., 0., 0., 2.], dtype=float32)
    """
    reading = (reading or Reading()).override(options)
    check_fork("demandcast.read_panel")
    source = as_source(source, reading.sql, reading.connect)
    columns = NamedColumns.check(
        key=key, time=time, target=target, freq=freq, known=known, past=past, static=static,
        available=available,
    )  # fmt: skip
    if is_store(source):
        return _open_store(source, columns, reading, future)
    try:
        return _read(source, columns, reading, future)
    except FileError:
        raise
    except DataError as error:
        all_faults = with_all_faults(error, source, columns, reading, future)
        if all_faults is error:
            raise
        raise all_faults from None


def _read(source: Any, columns: NamedColumns, reading: Reading, future: Any) -> Panel:
    """Read a table; stop at its first fault."""
    freq, duplicates = columns.freq, reading.duplicates
    table = open_table(
        source, encoding=reading.encoding, sheet=reading.sheet, decimal=reading.decimal
    )
    extra = (
        None
        if reading.static_table is None
        else open_table(reading.static_table, row="key and attributes")
    )
    elsewhere = [c for c in columns.static if c not in table.columns] if extra is not None else []
    beside = None
    if reading.covariates is not None:
        beside = open_table(reading.covariates, decimal=reading.decimal, row="time and covariates")
    spans = None if beside is None else second.periods(beside.columns, table.columns)
    added = [] if beside is None else second.columns_of(beside, columns.known, table.columns)
    is_long = any(note.kind == "wide" for note in table.notes)  # it was wide, and is long by now
    here = replace(
        columns,
        known=tuple(c for c in columns.known if c not in added),
        static=tuple(c for c in columns.static if c not in elsewhere),
    )
    roles, new_notes = find_roles(table, here, wide=None if is_long else reading.wide)
    notes = [*table.notes, *new_notes]
    used = set(roles.columns)
    unused = [c for c in table.columns if c not in used]
    if unused:
        listed = ", ".join(map(repr, unused[:12])) + ", ..." * (len(unused) > 12)
        action = f"columns not read: {listed}; to use them, pass"
        ways = (way(known=...), way(past=...), way(static=...))
        notes.append(
            Note(kind="unused", count=len(unused), series=0, example="", done=action, ways=ways)
        )
    if not table.is_text and not isinstance(source, pl.LazyFrame):  # a query would run twice
        n_rows = table.frame.select(pl.len()).collect().item()
        check_memory(CELL * n_rows * len(used), f"reading {table.name}")
    rows, clock, new_notes = read_rows(table, roles, freq, reading)
    notes += new_notes
    hints, is_text = table.hints, table.is_text
    del table
    later = None
    if beside is not None:
        later = beside.collect()
        rows, new_notes = second.join(
            rows, roles, later, added, reading.time_zone, freq, spans, beside.hints
        )
        roles = replace(roles, known=(*roles.known, *added))
        notes += new_notes
    rows, new_notes = sort(rows)
    notes += new_notes
    all_keys = rows.keys
    rows, new_notes = quality.leave_out_totals(rows, reading.totals)
    notes += new_notes
    if reading.to is not None:
        rows, new_notes = rhythm.aggregate(rows, reading.to, used_frequency(rows))
        freq, duplicates = reading.to, "sum"
        notes += new_notes
    elif duplicates != "error" and freq is not None and rows.times.dtype.kind == "M":
        rows, new_notes = rhythm.to_day(rows, Frequency.parse(freq))
        notes += new_notes
    try:
        rows, new_notes = merge_duplicates(
            rows, duplicates, clock.zone, summed=reading.to is not None
        )
    except DataError as error:
        for note in notes:
            if note.kind == "row numbers":
                why = note.done.partition(";")[0]
                message = f"{error.message.removesuffix(', or pass')}. {why.capitalize()}; pass"
                raise DataError(message, option="key", ways=error.ways) from None
        raise
    notes += new_notes
    notes += quality.treat_negative(rows, reading.negative)
    grid_freq = find_frequency(rows, freq, roles.time, clock, notes)
    grid, steps = lay_out(rows, grid_freq)
    notes += rhythm.describe_closed(rows, grid_freq)
    rows, reach, new_notes = rhythm.treat_ended(rows, steps, grid, grid_freq, reading.ended)
    notes += new_notes
    if reach is not None:
        grid, steps = lay_out(rows, grid_freq, reach)
    notes += rhythm.check_steps(rows, steps, grid, grid_freq, given=freq is not None)
    closed, new_notes = rhythm.find_closed_days(
        rows, steps, grid, grid_freq, given=freq is not None
    )
    notes += new_notes
    lengths = history_lengths(rows, grid, steps, roles.known, notes)
    flat = grid.spread(rows.target, np.float32(np.nan))
    notes += quality.fill_gaps(flat, rows, grid, lengths, reading.gaps, steps=steps, closed=closed)
    notes += quality.describe(flat, grid, lengths, rows, grid_freq)
    known_flat, known_names, new_notes = encode.by_step(
        rows.rest, roles.known, grid, "known covariate", reading.infinite, hints
    )
    notes += new_notes
    past_flat, past_names, new_notes = encode.by_step(
        rows.rest, roles.past, grid, "past covariate", reading.infinite, hints
    )
    notes += new_notes
    statics = encode.static_from_rows(rows.rest, roles.static, rows.codes, rows.keys)
    if is_text:
        statics = statics.with_columns(encode.static_type(c, hints) for c in statics.iter_columns())
    if extra is not None:
        if set(roles.static) & set(extra.columns):
            both = sorted(set(roles.static) & set(extra.columns))
            raise SchemaError(
                f"static column {both[0]!r} is in the table and in the static table; drop one of them"
            )
        more, new_notes = encode.static_from_table(extra, elsewhere, rows.keys)
        statics = pl.concat([statics, more], how="horizontal")
        notes += new_notes
    encoded, new_notes = encode.encode_statics(statics)
    if not statics.width:
        encoded = replace(
            encoded,
            codes=np.zeros((rows.keys.height, 0), np.int64),
            reals=np.zeros((rows.keys.height, 0), np.float32),
        )
    notes += new_notes
    available, share = (
        encode.availability(rows.rest[roles.available], grid) if roles.available else (None, None)
    )
    panel = Panel(
        schema=Schema(
            key=tuple(rows.keys.columns), time=roles.time, target=roles.target,
            freq=grid_freq.name, time_parts=roles.parts, known=roles.known, past=roles.past,
            static=tuple(statics.columns), available=roles.available,
        ),
        keys=rows.keys, target=flat, begins=grid.begins, extents=grid.extents, lengths=lengths,
        starts=grid.starts, known=known_flat, past=past_flat, known_names=known_names,
        past_names=past_names,
        available=available, share=share,
        static_codes=encoded.codes, vocabularies=encoded.vocabularies, static_reals=encoded.reals,
        static_real_names=encoded.real_names, notes=tuple(notes), time_zone=clock.zone,
        time_dtype=clock.dtype,
    )  # fmt: skip
    panel = replace(panel, notes=(*panel.notes, *note_of_suspected(panel)))
    if rows.keys.height < all_keys.height:
        panel = replace(panel, left_out=all_keys.join(rows.keys, on=all_keys.columns, how="anti"))
    if later is not None:
        ahead = second.ahead(panel, later, spans, added, beside.hints if beside else None)
        future = ahead if future is None else future
    if future is None:
        return complete(panel, reading.future_gaps)
    return extend(
        panel, future, future_gaps=reading.future_gaps, new_items=True, statics=reading.static_table
    )


def _open_store(source: Any, columns: NamedColumns, reading: Reading, future: Any) -> Panel:
    """Open the panel of a store, which has all roles in it; only the steps ahead may be given."""
    usual = Reading(future_gaps=reading.future_gaps)
    changed = [*_changed_options(columns, NamedColumns()), *_changed_options(reading, usual)]
    if changed:
        raise ConfigError(
            f"{source} is a panel that was read before, with its roles in it; leave {', '.join(changed)} "
            "out, or read the table again",
            option=changed[0],
        )
    panel = Panel.from_store(source)
    if future is None:
        return panel
    return extend(panel, future, future_gaps=reading.future_gaps, new_items=True)


def _changed_options(options: Any, defaults: Any) -> list[str]:
    """Return the names of the options that differ from the usual; an empty list of columns says nothing."""
    names = [option.name for option in fields(options)]
    return [name for name in names if getattr(options, name) not in (getattr(defaults, name), ())]
