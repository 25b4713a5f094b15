"""Covariates known ahead, laid behind the last step of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, FrequencyError, SchemaError
from demandcast.frames.covariates import features, is_text, says_yes_and_no
from demandcast.frames.numerals import Hints
from demandcast.frames.regularise import Ints, number_series, show
from demandcast.frames.roles import nearest
from demandcast.frames.source import open_table
from demandcast.frames.times import join_times, parse_times, to_instants
from demandcast.panel.panel import Note, Panel


def require(panel: Panel, names: Sequence[str], horizon: int) -> None:
    """Refuse known covariates that do not reach over the horizon of every series.

    Args:
        panel: As it is forecast, its future extended.
        names: Covariates that are read; where there are none, nothing must reach.
        horizon: Steps to forecast.

    Raises:
        DataError: Says how far they reach, for the first series that falls short.
    """
    short = np.flatnonzero(panel.extents - panel.lengths < horizon)
    if names and len(short):
        i = int(short[0])
        raise DataError(
            f"known covariates {', '.join(map(repr, names))} reach "
            f"{int(panel.extents[i] - panel.lengths[i])} of the {horizon} steps to forecast for series "
            f"{panel.key(i)} ({len(short):,} series fall short); give them with "
            "predict(panel, future=frame), or --future FILE"
        )


def extend(panel: Panel, future: Any) -> Panel:
    """The panel with known covariates for the steps behind its history.

    Args:
        panel: Read with known=[...].
        future: A path or frame with the key, time and known columns; other columns are ignored.
            Without any key column its rows, as of a calendar, hold for every series.

    Raises:
        SchemaError: The panel has no known covariates, or a column is absent.
        DataError: A series is absent, a step of history is repeated, or a step ahead has no row.
        FrequencyError: A time is not on the panel's grid.
    """
    schema = panel.schema
    if not schema.known:
        raise SchemaError(
            "the panel has no covariates known ahead, so a future table has no use; "
            "name them when reading: read_panel(..., known=[...])"
        )
    opened = open_table(future)
    table, hints = opened.collect(), opened.hints
    if schema.time_parts and schema.time not in table.columns:
        table = table.with_columns(join_times(table, schema.time_parts, schema.time))
    own = [c for c in schema.key if c in table.columns]
    calendar = not own
    for column in (*(() if calendar else schema.key), schema.time, *schema.known):
        if column not in table.columns:
            raise SchemaError(
                f"the future table has no column {column!r}{nearest(column, table.columns)}"
            )
    if not table.height:
        raise DataError("the future table holds no rows; give one for each series and step ahead")
    if calendar:
        codes, index, ahead, notes = _calendar(panel, table)
    else:
        codes, index, notes = _match(panel, table)
        steps, kept, told = _steps(panel, table, index, codes)
        notes += told
        index, codes = index[kept], codes[kept]
        ahead = steps - panel.starts[codes] - panel.lengths[codes]  # 0 is the first step ahead
    _check_steps(panel, codes, ahead)
    extents = panel.extents.copy()
    np.maximum.at(extents, codes, panel.lengths[codes] + ahead + 1)
    grown = _grow(panel, extents)
    values, names, told = _values(panel, table, hints)
    notes += told
    at = grown.begins[codes] + panel.lengths[codes] + ahead
    for j, name in enumerate(panel.known_names):
        grown.known[at, j] = values[names.index(name)][index]
    note = Note(
        kind="future", count=len(at), series=len(np.unique(codes)), example="",
        action="covariates of the future table are laid behind the last step",
    )  # fmt: skip
    return replace(grown, notes=(*panel.notes, *notes, note))


def _calendar(panel: Panel, table: pl.DataFrame) -> tuple[Ints, Ints, Ints, list[Note]]:
    """Each row for each series that it lies ahead of: series, row, and steps ahead."""
    taken = {panel.schema.time, *panel.schema.known}
    for column in (c for c in table.columns if c not in taken):
        for key in panel.schema.key:
            if column.strip().lower() == key.lower():
                raise SchemaError(
                    f"the future table has {column!r} where the key column is {key!r}; rename it"
                )
    rows = np.arange(table.height)
    steps, kept, notes = _steps(panel, table, rows, np.zeros(len(rows), np.int64))
    rows = rows[kept]
    late = steps > panel.ends().min()
    rows, steps = rows[late], steps[late]
    codes = np.repeat(np.arange(panel.n_series), len(rows))
    ahead = np.tile(steps, panel.n_series) - panel.ends()[codes] - 1
    index, behind = np.tile(rows, panel.n_series), ahead >= 0
    note = Note(
        kind="future", count=len(rows), series=panel.n_series, example="",
        action="the future table has no key column: its rows hold for every series",
    )  # fmt: skip
    return codes[behind], index[behind], ahead[behind], [*notes, note]


def _match(panel: Panel, table: pl.DataFrame) -> tuple[Ints, Ints, list[Note]]:
    """Series of the panel and row of the table, for every pair that belongs together."""
    n = panel.n_series
    number_series(table.select(panel.keys.columns))  # refuses absent keys
    try:
        wanted = table.select(pl.col(c).cast(panel.keys[c].dtype) for c in panel.keys.columns)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(
            f"the key columns of the future table are not of the types of the panel "
            f"({str(error).splitlines()[0]}); write the keys the same way in both"
        ) from None
    numbered = panel.keys.with_row_index("__code")
    found = wanted.join(numbered, on=panel.keys.columns, how="left", maintain_order="left")[
        "__code"
    ]
    strange, notes = found.is_null(), list[Note]()
    codes = found.drop_nulls().to_numpy().astype(np.int64)
    have = np.zeros(n, bool)
    have[codes] = True
    if not have.all():
        first = int(np.argmin(have))
        raise DataError(
            f"{int((~have).sum()):,} series of the panel are not in the future table, the first of "
            f"them {panel.key(first)}; add its rows, or leave the series out with panel.select(...)"
        )
    if strange.any():
        row = wanted.row(int(strange.arg_true()[0]))
        note = Note(
            kind="future", count=int(strange.sum()), series=wanted.filter(strange).n_unique(),
            example="series " + "/".join(map(str, row)), severity="warning",
            action="rows of series that the panel does not hold are ignored",
        )  # fmt: skip
        notes.append(note)
    return codes, (~strange).arg_true().to_numpy().astype(np.int64), notes


def _steps(
    panel: Panel, table: pl.DataFrame, index: Ints, codes: Ints
) -> tuple[Ints, NDArray[np.bool_], list[Note]]:
    """The grid step of each matched row, and which of them are times at all."""
    times, notes = parse_times(table[panel.schema.time], panel.time_zone)
    freq = panel.freq
    values, kept = times.values[index], np.ones(len(index), bool)
    if (values.dtype.kind == "i") != freq.is_integer:
        raise FrequencyError(
            f"the time column {panel.schema.time!r} of the future table holds "
            f"{table[panel.schema.time].dtype}, but the panel's steps are {freq.name!r}; "
            "write the times as in the main table"
        )
    if freq.is_subdaily and times.instants is not None:
        values = times.instants[index]
    elif freq.is_subdaily and panel.time_zone is not None:
        values, kept, told = to_instants(values, codes, panel.time_zone)
        notes += told
        values = values[kept]
    return freq.ordinal(values), kept, notes


def _check_steps(panel: Panel, codes: Ints, ahead: Ints) -> None:
    def place(code: int, step: int) -> str:
        time = panel.freq.times(panel.starts[code] + panel.lengths[code] + np.array([step]))[0]
        return f"series {panel.key(code)} at {show(time)}"

    past = ahead < 0
    if past.any():
        row = int(np.argmax(past))
        raise DataError(
            f"{int(past.sum()):,} rows of the future table lie inside the history, first "
            f"{place(int(codes[row]), int(ahead[row]))}; keep only the rows behind the last step of "
            "each series"
        )
    order = np.lexsort((ahead, codes))
    c, a = codes[order], ahead[order]
    again = (c[1:] == c[:-1]) & (a[1:] == a[:-1])
    if again.any():
        row = int(np.argmax(again))
        raise DataError(
            f"{int(again.sum()):,} rows of the future table repeat a series and time, first "
            f"{place(int(c[row]), int(a[row]))}; keep one row each"
        )
    begun = np.ones(len(c), bool)
    begun[1:] = c[1:] != c[:-1]
    before = np.where(begun, -1, np.concatenate([[-1], a[:-1]]))
    given = np.maximum(before, (panel.extents - panel.lengths)[c] - 1)
    hole = a > given + 1
    if hole.any():
        row = int(np.argmax(hole))
        raise DataError(
            f"the future table skips {place(int(c[row]), int(given[row]) + 1)} and starts or goes on at "
            f"a later step ({int(hole.sum()):,} such holes); give a row for every step ahead"
        )
    have = np.zeros(panel.n_series, bool)
    have[codes] = True
    if not have.all():
        raise DataError(
            f"the future table ends before series {panel.key(int(np.argmin(have)))} does; "
            "give rows behind its last step"
        )


def _grow(panel: Panel, extents: Ints) -> Panel:
    """The same panel in fresh arrays with room for `extents` rows a series."""
    begins = np.cumsum(extents) - extents
    total, kept = int(extents.sum()), panel.extents
    within = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
    source, goal = np.repeat(panel.begins, kept) + within, np.repeat(begins, kept) + within

    def moved(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        fresh = np.full((total, *values.shape[1:]), fill, values.dtype)
        fresh[goal] = values[source]
        return fresh

    return replace(
        panel, begins=begins, extents=extents, target=moved(panel.target, np.nan),
        known=moved(panel.known, np.nan), past=moved(panel.past, np.nan),
        available=None if panel.available is None else moved(panel.available, True),
    )  # fmt: skip


def _values(
    panel: Panel, table: pl.DataFrame, hints: Hints
) -> tuple[list[NDArray[Any]], list[str], list[Note]]:
    """The known covariates of the future table as the panel has them."""
    values: list[NDArray[Any]] = []
    names: list[str] = []
    notes: list[Note] = []
    for column in panel.schema.known:
        own = column in panel.known_names
        words = None if own else [
            name[len(column) + 1 :] for name in panel.known_names if name.startswith(f"{column}=")
        ]  # fmt: skip
        cells = table[column]
        flagged = any(n.kind == "flags" and repr(column) in n.action for n in panel.notes)
        if words is None and (is_text(cells) or (says_yes_and_no(cells) and not flagged)):
            odd = cells.drop_nulls()[0]
            raise SchemaError(
                f"the future table's {column!r} holds text ({odd!r}), but the history has numbers; write it the "
                "same way in both"
            )
        found, labels, _ = features(cells, "known covariate", "error", words, hints)
        values += found
        names += labels
        if words is not None:
            new = table[column].cast(pl.String).drop_nulls().unique().sort()
            new = new.filter(~new.is_in(words))
            if len(new):
                note = Note(
                    kind="new category", count=len(new), series=0, example=f"{column}={new[0]}",
                    action="values not seen in the history count as none of the known ones",
                    severity="warning",
                )  # fmt: skip
                notes.append(note)
    return values, names, notes
