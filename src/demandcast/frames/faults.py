"""Every fault of a table at once: what the reading would have met after the first one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from demandcast.errors import DataError, DemandcastError, SchemaError, merge_mends, way
from demandcast.frames import covariates, quality
from demandcast.frames.numerals import row_number
from demandcast.frames.opened import Table
from demandcast.frames.roles import Roles, find_roles, melt, no_column
from demandcast.frames.source import open_table
from demandcast.frames.table_rows import Rows, merge_duplicates, number_series, numbers, sort
from demandcast.frames.times import join_times, parse_times
from demandcast.reading import NamedColumns, Reading


def with_all_faults(
    error: DataError, source: Any, columns: NamedColumns, reading: Reading, future: Any
) -> DataError:
    """Return an error with all faults of the table, most severe first; the given error if it is the only one.

    Absent columns come before keys, times, targets, repeated rows and covariates, in this order: a fault may be
    the cause of those after it.

    Args:
        error: What stopped the reading.
        source, columns, reading, future: What was read, as `read_panel` takes it.
    """
    try:
        faults = _faults(source, columns, reading, future)
    except (DemandcastError, pl.exceptions.PolarsError, OSError):
        return (
            error  # the source cannot be read a second time, or not at all: the first fault stands
        )
    if all(str(error) != str(fault) for fault in faults):
        first = str(error).partition(". ")[0]
        if error.column is None or (type(error), error.column) not in [
            (type(f), f.column) for f in faults
        ]:
            faults = [error, *(fault for fault in faults if not str(fault).startswith(first))]
    if len(faults) == 1:
        return faults[0]
    kinds = {type(fault) for fault in faults}
    lines = "\n".join(f"  {i}. {fault}" for i, fault in enumerate(faults, start=1))
    kind = kinds.pop() if len(kinds) == 1 else DataError
    together = kind(f"the table has {len(faults)} faults:\n{lines}")
    together.faults = tuple(faults)
    together.mend = merge_mends(faults)
    return together


class _Found(list[DataError]):
    """Faults, in the order in which they are looked for."""

    def attempt(self, check: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Run a check and return its result, or None if it refuses the table."""
        try:
            return check(*args, **options)
        except DataError as fault:
            if str(fault) not in map(str, self):
                self.append(fault)
            return None


def _faults(
    source: Any, columns_named: NamedColumns, reading: Reading, future: Any
) -> list[DataError]:
    faults = _Found()
    table = open_table(
        source, encoding=reading.encoding, sheet=reading.sheet, decimal=reading.decimal
    )
    roles = _roles(table, columns_named, reading, future, faults)
    if roles is None:
        return faults
    frame = melt(table.select(roles.columns), roles)
    parts = roles.parts or (roles.time,)
    frame = faults.attempt(quality.set_aside, frame, roles.key, parts, roles.target)
    if frame is None or not frame[0].height:
        return faults
    frame = frame[0]
    width = frame.height // max(1, len(roles.melt or ()))

    def where(row: int) -> str:
        place = row_number(row % width if roles.melt else row)
        return f"{place} of column {roles.melt[row // width]!r}" if roles.melt else place

    numbered = faults.attempt(number_series, frame.select(roles.key)) if roles.key else None
    clock = faults.attempt(_times, frame, roles, columns_named.freq, reading)
    values = faults.attempt(
        numbers, frame[roles.target], "target", reading.infinite, text=reading.text, hints=table.hints, where=where,
    )  # fmt: skip
    if clock is not None and (numbered is not None or not roles.key):
        codes, keys = numbered or (
            np.zeros(frame.height, np.int32),
            pl.DataFrame({"series": ["all"]}),
        )
        target = np.full(frame.height, np.nan, np.float32) if values is None else values[0]
        rows = Rows(
            keys=keys, codes=codes, times=clock[0].values, target=target, rest=frame.select()
        )
        rows, _ = sort(rows)
        if reading.to is None:
            faults.attempt(merge_duplicates, rows, reading.duplicates, clock[0].zone)
        faults.attempt(quality.treat_negative, rows, reading.negative)
        for column in roles.static:
            faults.attempt(covariates.static_from_rows, frame, [column], codes, keys)
    for role, columns in (("known", roles.known), ("past", roles.past)):
        for column in columns:
            faults.attempt(
                covariates.features, frame[column], f"{role} covariate", reading.infinite, None, table.hints
            )  # fmt: skip
    if roles.available:
        faults.attempt(covariates.shares, frame[roles.available])
    return faults


def _times(frame: pl.DataFrame, roles: Roles, freq: str | None, reading: Reading) -> Any:
    column = join_times(frame, roles.parts, roles.time) if roles.parts else frame[roles.time]
    return parse_times(column, reading.time_zone, day_first=reading.day_first, freq=freq)


def _roles(
    table: Table, named: NamedColumns, reading: Reading, future: Any, faults: _Found
) -> Roles | None:
    """Return the roles; None where columns are named and absent, which all become faults."""
    elsewhere = {"known": reading.covariates, "static": reading.static_table}
    for option in ("key", "time", "known", "past", "static", "target", "available"):
        names = getattr(named, option) or ()
        for column in (names,) if isinstance(names, str) else names:
            if column not in table.columns and elsewhere.get(option) is None:
                faults.append(_absent_column(column, table.columns, (option, names), future))
    if faults:
        return None
    known, static = (
        tuple(c for c in columns if c in table.columns) for columns in (named.known, named.static)
    )
    here = replace(named, known=known, static=static)
    answer = faults.attempt(find_roles, table, here, wide=reading.wide)
    return None if answer is None else answer[0]


def _absent_column(
    column: str, columns: list[str], role: tuple[str, Any], future: Any
) -> SchemaError:
    """Return the error of an absent column; it says so if only the future table has the column."""
    if role[0] == "known" and isinstance(future, (str, Path)):
        with suppress(DataError):
            if column in open_table(future).columns:
                error = SchemaError(
                    f"there is no column {column!r} in the table, but {future} has it: pass that table, of the past "
                    "and ahead, as",
                    option="covariates", column=column, ways=[way(covariates=str(future))],
                )  # fmt: skip
                error.mend = (("covariates", str(future)), ("future", None))
                return error
    return no_column(column, columns, role=role)
