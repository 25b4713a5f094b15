"""A table of demand as a Panel: every fault found, named, counted and treated by a stated rule."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from demandcast.errors import ConfigError, DataError, SchemaError
from demandcast.forks import check_fork
from demandcast.frames import covariates as encode
from demandcast.frames import quality, rhythm, second
from demandcast.frames.cells import read_rows
from demandcast.frames.faults import tells_all_faults
from demandcast.frames.future import FUTURE_GAPS_RULES, complete, extend
from demandcast.frames.grids import find_frequency, history_lengths, used_frequency
from demandcast.frames.numerals import DECIMALS, JUNK_RULES
from demandcast.frames.regularise import (
    lay_out,
    merge_duplicates,
    sort,
)
from demandcast.frames.roles import find_roles
from demandcast.frames.source import open_table
from demandcast.memory import check_memory
from demandcast.panel.panel import Note, Panel
from demandcast.panel.stock_outs import note_of_suspected
from demandcast.panel.store import is_store
from demandcast.schema import Frequency, Schema

CELL = 16  # bytes of a cell while the table becomes a panel, about
RULES = {
    "gaps": ("missing", "zero", "error"),
    "duplicates": ("error", "sum", "mean", "first", "last"),
    "negative": ("keep", "zero", "missing", "error"),
    "infinite": ("error", "missing"),
    "text": JUNK_RULES,
    "ended": rhythm.ENDED_RULES,
    "totals": quality.TOTALS_RULES,
    "future_gaps": FUTURE_GAPS_RULES,
}


@tells_all_faults
def read_panel(
    source: Any = None,
    *,
    sql: str | None = None,
    connect: str | None = None,
    key: str | Sequence[str] | None = None,
    time: str | Sequence[str] | None = None,
    target: str | None = None,
    freq: str | None = None,
    to: str | None = None,
    known: str | Sequence[str] = (),
    past: str | Sequence[str] = (),
    static: str | Sequence[str] = (),
    available: str | None = None,
    gaps: str = "missing",
    duplicates: str = "error",
    negative: str = "keep",
    infinite: str = "error",
    text: str = "error",
    ended: str = "skip",
    totals: str = "leave_out",
    future: Any = None,
    future_gaps: str = "last",
    covariates: Any = None,
    static_table: Any = None,
    time_zone: str | None = None,
    wide: bool | None = None,
    encoding: str | None = None,
    sheet: str | None = None,
    decimal: str | None = None,
    day_first: bool | None = None,
) -> Panel:
    """Read a table of demand; what was guessed, found and done stands in the panel's `notes`.

    Args:
        source: A path, glob, folder or web address of CSV, TSV, Excel, ODS or Parquet, a list of paths, or a
            frame of pandas, polars or pyarrow. Only the columns needed are read. Or the folder of a panel
            that `Panel.to_store` wrote: it knows its roles and rules, and its values stay in the file.
        sql: A query to read in place of a source.
        connect: Where `sql` is asked: "sqlite:///sales.db", "postgresql://user:password@host/database". Drivers of
            ADBC read it (extra `sql`). Its credentials are never printed or saved.
        key: Columns that name a series; guessed if None, [] for a table of one series.
        time: Column of dates, datetimes, text or whole steps, or the columns that make a time together, as
            ["year", "month"]; guessed if None.
        target: Column to forecast; guessed if None. Empty cells are not observed.
        freq: The step: "15min", "h", "D", "B", "D-exSUN", "W-MON", "MS", "QS", "YS", "1"; inferred if None.
        to: A coarser step, to which rows are added up: "W-MON" for weeks that begin on Monday, "MS".
        known: Covariates known ahead. Rows behind the last observed target of a series that have
            only these are the future, not history.
        past: Covariates known to the cutoff only.
        static: Columns with one value a series, in the table or in `static_table`.
        available: Column that is false where the item could not be bought.
        gaps: Steps without a row: "missing" (not observed), "zero" or "error".
        duplicates: Rows of one series and time: "error", "sum", "mean", "first" or "last".
        negative: Negative targets: "keep", "zero", "missing" or "error".
        infinite: Infinite numbers: "error" or "missing".
        text: Cells of the target that are no number, as "-": "error", "missing" or "zero".
        ended: Series that ended long before the others: "skip" leaves them out, "forecast" forecasts them from the
            common end, as not observed since, and "keep" from their own.
        totals: Series that are named as a total and are the sum of others: "leave_out" or "keep".
        future: A table of known covariates behind the last step; see `extend`. Series that only it has are new.
        future_gaps: Steps ahead without a known covariate: "last" (as the step before), "missing" or "error".
        covariates: A second table with covariates by series and time, of the past and ahead: those of `known` that
            the first table has not, or all of its columns. Without key columns it holds for every series. It may have
            a row a period, as promotions from a first to a last day, which is spread over the steps it touches.
        static_table: A table with one row a series.
        time_zone: Where the clock stood that wrote the times. Steps below a day then count in UTC.
        wide: True for a table with a column a series, False for a long one; None tells by itself.
        encoding: Of a text file: "cp1252", "gb18030"; told by itself if None.
        sheet: Of a workbook; found if None.
        decimal: The decimal sign of numbers in text, "." or ","; told by the column if None.
        day_first: Whether 01/02/2024 is the first of February; told by the column if None.

    Raises:
        SchemaError: A column is absent, ambiguous, or of a type its role cannot have.
        FrequencyError: The times are on no grid, or not on that of `freq`.
        DataError: The values cannot be used as they are and no rule given mends them.
        FileError: The source cannot be read.
        ConfigError: An option has no such value.

    Example:
        >>> table = pl.DataFrame({"item": ["a"] * 3, "date": ["2024-01-01", "2024-01-02", "2024-01-04"],
        ...                       "units": [1, 0, 2]})
        >>> read_panel(table).history(0)
        array([ 1.,  0., nan,  2.], dtype=float32)
    """
    check_fork("demandcast.read_panel")
    if is_store(source):
        return _stored(dict(locals()))
    _check_rules(
        gaps=gaps, duplicates=duplicates, negative=negative, infinite=infinite, text=text, ended=ended,
        totals=totals, future_gaps=future_gaps,
    )  # fmt: skip
    if decimal is not None and decimal not in DECIMALS:
        raise ConfigError(f"decimal is {decimal!r}; it is '.' or ','")
    table = open_table(source, encoding=encoding, sheet=sheet, decimal=decimal)
    extra = None if static_table is None else open_table(static_table)
    fixed = _listed("static", static)
    elsewhere = [c for c in fixed if c not in table.columns] if extra is not None else []
    wanted = _listed("known", known)
    beside = None if covariates is None else open_table(covariates, decimal=decimal)
    spans = None if beside is None else second.periods(beside.columns, table.columns)
    added = [] if beside is None else second.columns_of(beside, wanted, table.columns)
    if any(note.kind == "wide" for note in table.notes):
        wide = None  # it is long by now
    key = list(table.keys) or None if key is None else key
    roles, told = find_roles(
        table,
        key=None if key is None else _listed("key", key),
        time=None if time is None else _listed("time", time),
        target=_one("target", target),
        covariates={
            "known": [c for c in wanted if c not in added],
            "past": _listed("past", past),
            "static": [c for c in fixed if c not in elsewhere],
        },
        available=_one("available", available),
        wide=wide,
    )
    notes = [*table.notes, *told]
    used = set(roles.columns)
    unused = [c for c in table.columns if c not in used]
    if unused:
        listed = ", ".join(map(repr, unused[:12])) + ", ..." * (len(unused) > 12)
        action = f"columns not read: {listed}; known=..., past=... or static=... takes them"
        notes.append(Note(kind="unused", count=len(unused), series=0, example="", action=action))
    if not table.is_text and not isinstance(source, pl.LazyFrame):  # a query would run twice
        n_rows = table.frame.select(pl.len()).collect().item()
        check_memory(CELL * n_rows * len(used), f"reading {table.name}")
    rules = {"infinite": infinite, "text": text}
    rows, clock, told = read_rows(table, roles, time_zone, freq, rules, day_first=day_first)
    notes += told
    hints, is_text = table.hints, table.is_text
    del table
    later = None
    if beside is not None:
        later = beside.collect()
        rows, told = second.join(rows, roles, later, added, time_zone, freq, spans, beside.hints)
        roles = replace(roles, known=(*roles.known, *added))
        notes += told
    rows, told = sort(rows)
    notes += told
    every = rows.keys
    rows, told = quality.leave_out_totals(rows, totals)
    notes += told
    if to is not None:
        rows, told = rhythm.aggregate(rows, to, used_frequency(rows))
        freq, duplicates = to, "sum"
        notes += told
    elif duplicates != "error" and freq is not None and rows.times.dtype.kind == "M":
        rows, told = rhythm.to_day(rows, Frequency.parse(freq))
        notes += told
    try:
        rows, told = merge_duplicates(rows, duplicates, clock.zone, summed=to is not None)
    except DataError as error:
        for note in notes:
            if note.kind == "row numbers":
                raise DataError(f"{error}. {note.action}", option="key") from None
        raise
    notes += told
    notes += quality.treat_negative(rows, negative)
    grid_freq = find_frequency(rows, freq, roles.time, clock, notes)
    notes += rhythm.describe_closed(rows, grid_freq)
    grid, steps = lay_out(rows, grid_freq)
    rows, reach, told = rhythm.treat_ended(rows, steps, grid, grid_freq, ended)
    notes += told
    if reach is not None:
        grid, steps = lay_out(rows, grid_freq, reach)
    notes += rhythm.check_steps(rows, steps, grid, grid_freq, given=freq is not None)
    lengths = history_lengths(rows, grid, steps, roles.known, notes)
    flat = grid.spread(rows.target, np.float32(np.nan))
    closed, told = rhythm.closed_in_series(rows, steps, grid, grid_freq, given=freq is not None)
    notes += told
    notes += quality.fill_gaps(flat, rows, grid, lengths, gaps, steps=steps, closed=closed)
    notes += quality.describe(flat, grid, lengths, rows, grid_freq)
    known_flat, known_names, told = encode.by_step(
        rows.rest, roles.known, grid, "known covariate", infinite, hints
    )
    notes += told
    past_flat, past_names, told = encode.by_step(
        rows.rest, roles.past, grid, "past covariate", infinite, hints
    )
    notes += told
    statics = encode.static_from_rows(rows.rest, roles.static, rows.codes, rows.keys)
    if is_text:
        statics = statics.with_columns(encode.static_type(c, hints) for c in statics.iter_columns())
    if extra is not None:
        if set(roles.static) & set(extra.columns):
            both = sorted(set(roles.static) & set(extra.columns))
            raise SchemaError(
                f"static column {both[0]!r} is in the table and in the static table; drop one of them"
            )
        more, told = encode.static_from_table(extra, elsewhere, rows.keys)
        statics = pl.concat([statics, more], how="horizontal")
        notes += told
    encoded, told = encode.encode_statics(statics)
    if not statics.width:
        encoded = replace(
            encoded,
            codes=np.zeros((rows.keys.height, 0), np.int64),
            reals=np.zeros((rows.keys.height, 0), np.float32),
        )
    notes += told
    panel = Panel(
        schema=Schema(
            key=tuple(rows.keys.columns), time=roles.time, target=roles.target,
            freq=grid_freq.name, time_parts=roles.parts, known=roles.known, past=roles.past,
            static=tuple(statics.columns), available=roles.available,
        ),
        keys=rows.keys, target=flat, begins=grid.begins, extents=grid.extents, lengths=lengths,
        starts=grid.starts, known=known_flat, past=past_flat, known_names=known_names,
        past_names=past_names,
        available=encode.availability(rows.rest[roles.available], grid) if roles.available else None,
        static_codes=encoded.codes, vocabularies=encoded.vocabularies, static_reals=encoded.reals,
        static_real_names=encoded.real_names, notes=tuple(notes), time_zone=clock.zone,
        time_dtype=clock.dtype,
    )  # fmt: skip
    panel = replace(panel, notes=(*panel.notes, *note_of_suspected(panel)))
    if rows.keys.height < every.height:
        panel = replace(panel, left_out=every.join(rows.keys, on=every.columns, how="anti"))
    if later is not None:
        ahead = second.ahead(panel, later, spans, added, beside.hints if beside else None)
        future = ahead if future is None else future
    if future is None:
        return complete(panel, future_gaps)
    return extend(panel, future, future_gaps=future_gaps, new_items=True, statics=static_table)


def _stored(given: dict[str, Any]) -> Panel:
    """The panel of a store, which has all roles in it; `given` are the arguments of `read_panel`."""
    source, future = given["source"], given["future"]
    defaults = inspect.signature(read_panel).parameters
    own = [name for name in given if name not in ("source", "future", "future_gaps")]
    said = [name for name in own if not _left_alone(given[name], defaults[name].default)]
    if said:
        raise ConfigError(
            f"{source} is a panel that was read before, with its roles in it; leave {', '.join(said)} "
            "out, or read the table again"
        )
    panel = Panel.from_store(source)
    if future is None:
        return panel
    return extend(panel, future, future_gaps=given["future_gaps"], new_items=True)


def _left_alone(value: Any, default: Any) -> bool:
    """Whether an option says nothing: it is as it was, or an empty list of columns."""
    return value is default or (isinstance(value, (str, list, tuple)) and value in (default, []))


def _check_rules(**given: str) -> None:
    for option, value in given.items():
        if value not in RULES[option]:
            allowed = ", ".join(repr(rule) for rule in RULES[option])
            raise ConfigError(f"{option} is {value!r}; it is one of {allowed}")


def _listed(option: str, columns: Any) -> list[str]:
    if columns is None:
        return []
    listed = [columns] if isinstance(columns, str) or not isinstance(columns, Iterable) else columns
    names = list(listed)
    if isinstance(columns, Mapping) or not all(isinstance(c, str) for c in names):
        raise SchemaError(f"{option} is {columns!r}; give a column name, or a list of them")
    return [str(c) for c in names]


def _one(option: str, column: Any) -> str | None:
    if column is not None and not isinstance(column, str):
        raise SchemaError(f"{option} is {column!r}; give one column name, as in {option}='date'")
    return None if column is None else str(column)
