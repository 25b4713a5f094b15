"""Every fault of a table at once: what the reading would have met after the first one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import polars as pl

from demandcast.errors import DataError, DemandcastError, FileError, SchemaError, merge_mends
from demandcast.frames import covariates, quality
from demandcast.frames.numerals import row_number
from demandcast.frames.opened import Table
from demandcast.frames.regularise import Rows, merge_duplicates, number_series, numbers, sort
from demandcast.frames.roles import Roles, find_roles, melt, no_column
from demandcast.frames.source import open_table
from demandcast.frames.sql import as_source
from demandcast.frames.times import join_times, parse_times
from demandcast.panel.panel import Panel
from demandcast.panel.store import is_store

Given = ParamSpec("Given")


def tells_all_faults(reading: Callable[Given, Panel]) -> Callable[Given, Panel]:
    """Make a reading that stops at its first fault tell all faults of the table; for `read_panel`."""
    signature = inspect.signature(reading)

    @functools.wraps(reading)
    def read(*args: Given.args, **options: Given.kwargs) -> Panel:
        bound = signature.bind(*args, **options)
        bound.apply_defaults()
        given = bound.arguments
        given["source"] = as_source(given["source"], given["sql"], given["connect"])
        given["sql"] = given["connect"] = None  # the query is the source, so that it runs once
        try:
            return reading(*bound.args, **bound.kwargs)
        except FileError:
            raise
        except DataError as error:
            every = error if is_store(given["source"]) else with_all_faults(error, given)
            if every is error:
                raise
            raise every from None

    return read


def with_all_faults(error: DataError, given: dict[str, Any]) -> DataError:
    """The error that stopped a reading, together with all others of the table, most severe first.

    Absent columns come before keys, times, targets, repeated rows and covariates, in this order: a fault may be
    the cause of those behind it. The error itself where there is no other.

    Args:
        error: What stopped the reading.
        given: The arguments of `read_panel`.
    """
    try:
        found = _faults(given)
    except (DemandcastError, pl.exceptions.PolarsError, OSError):
        return (
            error  # the source cannot be read a second time, or not at all: the first fault stands
        )
    if all(str(error) != str(fault) for fault in found):
        first = str(error).partition(". ")[0]
        if error.column is None or (type(error), error.column) not in [
            (type(f), f.column) for f in found
        ]:
            found = [error, *(fault for fault in found if not str(fault).startswith(first))]
    if len(found) == 1:
        return found[0]
    kinds = {type(fault) for fault in found}
    lines = "\n".join(f"  {i}. {fault}" for i, fault in enumerate(found, start=1))
    kind = kinds.pop() if len(kinds) == 1 else DataError
    together = kind(f"the table has {len(found)} faults:\n{lines}")
    together.faults = tuple(found)
    together.mend = merge_mends(found)
    return together


class _Found(list[DataError]):
    """Faults, in the order in which they are looked for."""

    def attempt(self, check: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """What a check returns, or None where it refuses the table."""
        try:
            return check(*args, **options)
        except DataError as fault:
            if str(fault) not in map(str, self):
                self.append(fault)
            return None


def _faults(given: dict[str, Any]) -> list[DataError]:
    found = _Found()
    opened = {name: given[name] for name in ("encoding", "sheet", "decimal")}
    table = open_table(given["source"], **opened)
    roles = _roles(table, given, found)
    if roles is None:
        return found
    frame = melt(table.select(roles.columns), roles)
    parts = roles.parts or (roles.time,)
    frame = found.attempt(quality.set_aside, frame, roles.key, parts, roles.target)
    if frame is None or not frame[0].height:
        return found
    frame = frame[0]
    width = frame.height // max(1, len(roles.melt or ()))

    def where(row: int) -> str:
        place = row_number(row % width if roles.melt else row)
        return f"{place} of column {roles.melt[row // width]!r}" if roles.melt else place

    numbered = found.attempt(number_series, frame.select(roles.key)) if roles.key else None
    clock = found.attempt(_times, frame, roles, given)
    values = found.attempt(
        numbers, frame[roles.target], "target", given["infinite"], text=given["text"], hints=table.hints, where=where,
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
        if given["to"] is None:
            found.attempt(merge_duplicates, rows, given["duplicates"], clock[0].zone)
        found.attempt(quality.treat_negative, rows, given["negative"])
        for column in roles.static:
            found.attempt(covariates.static_from_rows, frame, [column], codes, keys)
    for role, columns in (("known", roles.known), ("past", roles.past)):
        for column in columns:
            found.attempt(
                covariates.features, frame[column], f"{role} covariate", given["infinite"], None, table.hints
            )  # fmt: skip
    if roles.available:
        found.attempt(covariates.flags, frame[roles.available])
    return found


def _times(frame: pl.DataFrame, roles: Roles, given: dict[str, Any]) -> Any:
    column = join_times(frame, roles.parts, roles.time) if roles.parts else frame[roles.time]
    return parse_times(column, given["time_zone"], day_first=given["day_first"], freq=given["freq"])


def _roles(table: Table, given: dict[str, Any], found: _Found) -> Roles | None:
    """The roles, or every column that is named and absent."""
    named = {role: _columns(given[role]) for role in ("key", "time", "known", "past", "static")}
    named |= {
        role: _columns([given[role]] if given[role] else []) for role in ("target", "available")
    }
    elsewhere = {"known": given["covariates"], "static": given["static_table"]}
    for role, columns in named.items():
        for column in columns:
            if column not in table.columns and elsewhere.get(role) is None:
                found.append(_absent(column, table.columns, (role, given[role]), given["future"]))
    if found:
        return None
    own = {role: [c for c in columns if c in table.columns] for role, columns in named.items()}
    answer = found.attempt(
        find_roles, table, wide=given["wide"],
        covariates={role: own[role] for role in ("known", "past", "static")},
        key=(list(table.keys) or None) if given["key"] is None else own["key"], time=own["time"] or None,
        target=given["target"], available=given["available"],
    )  # fmt: skip
    return None if answer is None else answer[0]


def _absent(column: str, columns: list[str], role: tuple[str, Any], future: Any) -> SchemaError:
    """That a column is not there; where the table of the future has it, that is one for the past too."""
    if role[0] == "known" and isinstance(future, (str, Path)):
        with suppress(DataError):
            if column in open_table(future).columns:
                return SchemaError(
                    f"there is no column {column!r} in the table, but {future} has it: pass that table, of the past "
                    f"and ahead, as covariates={str(future)!r}",
                    option="covariates", column=column, mend=(("covariates", str(future)), ("future", None)),
                )  # fmt: skip
    return no_column(column, columns, role=role)


def _columns(given: Any) -> list[str]:
    listed = (
        [given] if isinstance(given, str) else [*given] if isinstance(given, Iterable) else [given]
    )
    if given is None:
        return []
    if not all(isinstance(column, str) for column in listed):
        raise SchemaError(f"{given!r} names no columns; give a name, or a list of them")
    return listed
