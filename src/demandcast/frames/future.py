"""Read known covariates of the steps ahead from a future table, and append them to a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, FrequencyError, SchemaError, mend, way
from demandcast.frames.covariates import features, is_text, says_yes_and_no
from demandcast.frames.new_items import add_new_items, find_new_items
from demandcast.frames.numerals import Hints
from demandcast.frames.roles import near_name, suggest_column
from demandcast.frames.source import open_table
from demandcast.frames.steps_ahead import complete, with_room
from demandcast.frames.table_rows import Ints, number_series, show
from demandcast.frames.times import Times, join_times, parse_times, to_instants
from demandcast.panel.panel import Note, Panel
from demandcast.reading import Reading


def extend(
    panel: Panel,
    future: Any,
    *,
    future_gaps: str = "last",
    new_items: bool = False,
    statics: Any = None,
) -> Panel:
    """Return the panel with known covariates for the steps after its history.

    Args:
        panel: Read with known=[...].
        future: A path or frame with the key, time and known columns; other columns are ignored.
            Without any key column its rows, as of a calendar, hold for every series.
        future_gaps: Steps ahead without a row or a value, up to the end of the table: "last" takes the value
            before them, "missing" leaves them missing, "error" refuses them.
        new_items: Whether series that only the future table has are taken, as items without a history.
        statics: A table with the static columns of such items; the future table may have them too.

    Raises:
        SchemaError: The panel has no known covariates, or a column is absent.
        DataError: A series is absent, a step of history is repeated, or a step ahead has no row and
            `future_gaps` is "error".
        FrequencyError: A time is not on the panel's grid.
        ConfigError: There is no such rule for gaps.
    """
    Reading(future_gaps=future_gaps)  # refuses what is no rule
    schema = panel.schema
    if not schema.known:
        raise SchemaError(
            "the panel has no covariates known ahead, so a future table has no use; "
            "name them when the table is read, as",
            option="known", ways=[way(known=...)],
        )  # fmt: skip
    opened = open_table(future, row="key, time and the covariates known ahead")
    table, hints = opened.collect(), opened.hints
    if schema.time_parts and schema.time not in table.columns:
        table = table.with_columns(join_times(table, schema.time_parts, schema.time))
    key_columns = [c for c in schema.key if c in table.columns]
    calendar = not key_columns
    for column in (*(() if calendar else schema.key), schema.time, *schema.known):
        if column not in table.columns:
            raise SchemaError(
                f"the future table has no column {column!r}{suggest_column(column, table.columns)}",
                found=column,
            ).suggest(near_name(column, table.columns))
    if not table.height:
        raise DataError("the future table holds no rows; give one for each series and step ahead")
    if calendar:
        _refuse_similar_keys(panel, table.columns)
        times, notes = parse_times(table[schema.time], panel.time_zone)
        codes, index, ahead, new_notes = _match_calendar(panel, times)
        notes += new_notes
    else:
        row_keys = _keys_of(panel, table)
        times, notes = parse_times(table[schema.time], panel.time_zone)
        n_old = panel.n_series
        if new_items:
            rows = find_new_items(panel, row_keys)
            steps, valid, _ = _steps(panel, times, rows, np.zeros(len(rows), np.int64))
            rows = rows[valid][steps > panel.ends().max()]
            if len(rows):
                more = () if statics is None else (open_table(statics, row="key and attributes"),)
                keys = row_keys[pl.Series(rows)].unique(maintain_order=True)
                panel, note = add_new_items(panel, keys, [table, *(t.collect() for t in more)])
                notes.append(note)
        codes, index, new_notes = _match_keys(panel, row_keys)
        notes += new_notes
        steps, valid, new_notes = _steps(panel, times, index, codes)
        notes += new_notes
        index, codes = index[valid], codes[valid]
        ahead = steps - panel.starts[codes] - panel.lengths[codes]  # 0 is the first step ahead
        usable = (ahead >= 0) | (codes < n_old)  # rows of a new item before its start are left out
        index, codes, ahead = index[usable], codes[usable], ahead[usable]
    _check_steps(panel, codes, ahead, holes=future_gaps == "error")
    extents = panel.extents.copy()
    np.maximum.at(extents, codes, panel.lengths[codes] + ahead + 1)
    grown = with_room(panel, extents)
    values, names, new_notes = _encode_known(panel, table, hints)
    notes += new_notes
    at = grown.begins[codes] + panel.lengths[codes] + ahead
    for j, name in enumerate(panel.known_names):
        grown.known[at, j] = values[names.index(name)][index]
        column = name.partition("=")[0]
        if future_gaps != "missing" and column != name:  # an empty cell is none of the categories
            empty = table[column].is_null().to_numpy()[index]
            grown.known[at[empty], j] = np.nan
    note = Note(
        kind="future", count=len(at), series=len(np.unique(codes)), example="",
        done="covariates of the future table are laid after the last step",
    )  # fmt: skip
    return complete(replace(grown, notes=(*panel.notes, *notes, note)), future_gaps)


def _keys_of(panel: Panel, table: pl.DataFrame) -> pl.DataFrame:
    """Return the keys of a table's rows, cast to the types of the panel's keys.

    Raises:
        DataError: A key is absent.
        SchemaError: They cannot be of these types.
    """
    number_series(table.select(panel.keys.columns))  # refuses absent keys
    try:
        return table.select(pl.col(c).cast(panel.keys[c].dtype) for c in panel.keys.columns)
    except pl.exceptions.PolarsError as error:
        raise SchemaError(
            f"the key columns of the future table are not of the types of the panel "
            f"({str(error).splitlines()[0]}); write the keys the same way in both"
        ) from None


def _refuse_similar_keys(panel: Panel, columns: Sequence[str]) -> None:
    """Refuse a table without key columns in which one is the panel's but for its case or spaces."""
    used = {panel.schema.time, *panel.schema.known}
    for column in (c for c in columns if c not in used):
        for key in panel.schema.key:
            if column.strip().lower() == key.lower():
                raise SchemaError(
                    f"the future table has {column!r} where the key column is {key!r}; rename it"
                )


def _match_calendar(panel: Panel, times: Times) -> tuple[Ints, Ints, Ints, list[Note]]:
    """Match each row of a table without keys to all series that it lies ahead of.

    Returns:
        Series, row, and number of steps ahead of each match; and notes.
    """
    rows = np.arange(len(times.values))
    steps, valid, notes = _steps(panel, times, rows, np.zeros(len(rows), np.int64))
    rows = rows[valid]
    late = steps > panel.ends().min()
    rows, steps = rows[late], steps[late]
    codes = np.repeat(np.arange(panel.n_series), len(rows))
    ahead = np.tile(steps, panel.n_series) - panel.ends()[codes] - 1
    index, is_ahead = np.tile(rows, panel.n_series), ahead >= 0
    note = Note(
        kind="future", count=len(rows), series=panel.n_series, example="",
        done="the future table has no key column: its rows hold for every series",
    )  # fmt: skip
    return codes[is_ahead], index[is_ahead], ahead[is_ahead], [*notes, note]


def _match_keys(panel: Panel, row_keys: pl.DataFrame) -> tuple[Ints, Ints, list[Note]]:
    """Return the series of the panel and the row of the table, for every pair of the same key."""
    n = panel.n_series
    numbered = panel.keys.with_row_index("__code")
    matches = row_keys.join(numbered, on=panel.keys.columns, how="left", maintain_order="left")[
        "__code"
    ]
    strange, notes = matches.is_null(), list[Note]()
    codes = matches.drop_nulls().to_numpy().astype(np.int64)
    have = np.zeros(n, bool)
    have[codes] = True
    if not have.all():
        first = int(np.argmin(have))
        raise DataError(
            f"{int((~have).sum()):,} series of the panel are not in the future table, the first of "
            f"them {panel.key(first)}; add its rows, or remove the series from the panel's table"
        )
    if strange.any():
        row = row_keys.row(int(strange.arg_true()[0]))
        note = Note(
            kind="future", count=int(strange.sum()), series=row_keys.filter(strange).n_unique(),
            example="series " + "/".join(map(str, row)), severity="warning",
            done="rows of series that the panel does not hold are ignored",
        )  # fmt: skip
        notes.append(note)
    return codes, (~strange).arg_true().to_numpy().astype(np.int64), notes


def _steps(
    panel: Panel, times: Times, index: Ints, codes: Ints
) -> tuple[Ints, NDArray[np.bool_], list[Note]]:
    """Return the grid step of each matched row with a valid time, and a mask of these rows.

    Args:
        panel: The panel.
        times: The time of each row of the future table.
        index: Rows of the table, (n,).
        codes: Their series, (n,).
    """
    freq, notes = panel.freq, list[Note]()
    values, valid = times.values[index], np.ones(len(index), bool)
    if (values.dtype.kind == "i") != freq.is_integer:
        raise FrequencyError(
            f"the time column {panel.schema.time!r} of the future table holds "
            f"{'whole numbers' if values.dtype.kind == 'i' else 'dates'}, but the panel's steps are {freq.name!r}; "
            "write the times as in the main table"
        )
    if freq.is_subdaily and times.instants is not None:
        values = times.instants[index]
    elif freq.is_subdaily and panel.time_zone is not None:
        values, valid, new_notes = to_instants(values, codes, panel.time_zone)
        notes += new_notes
        values = values[valid]
    return freq.ordinal(values), valid, notes


def _check_steps(panel: Panel, codes: Ints, ahead: Ints, *, holes: bool) -> None:
    """Refuse rows in the history, rows of one series and time, and, with `holes`, skipped steps."""

    def place(code: int, step: int) -> str:
        time = panel.freq.times(panel.starts[code] + panel.lengths[code] + np.array([step]))[0]
        return f"series {panel.key(code)} at {show(time)}"

    past = ahead < 0
    if past.any():
        row = int(np.argmax(past))
        raise DataError(
            f"{int(past.sum()):,} rows of the future table lie inside the history, first "
            f"{place(int(codes[row]), int(ahead[row]))}; keep only the rows after the last step of "
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
    last_known = np.maximum(before, (panel.extents - panel.lengths)[c] - 1)
    hole = a > last_known + 1
    if holes and hole.any():
        row = int(np.argmax(hole))
        raise DataError(
            f"the future table skips {place(int(c[row]), int(last_known[row]) + 1)} and starts or goes on at "
            f"a later step ({int(hole.sum()):,} such holes); give a row for every step ahead, or "
            "pass",
            option="future_gaps",
            ways=[mend("as the step before", future_gaps="last"), way(future_gaps="missing")],
        )
    have = np.zeros(panel.n_series, bool)
    have[codes] = True
    if not have.all():
        raise DataError(
            f"the future table ends before series {panel.key(int(np.argmin(have)))} does; "
            "give rows after its last step"
        )


def _encode_known(
    panel: Panel, table: pl.DataFrame, hints: Hints
) -> tuple[list[NDArray[Any]], list[str], list[Note]]:
    """Return the known covariates of the future table, encoded like those of the panel."""
    values: list[NDArray[Any]] = []
    names: list[str] = []
    notes: list[Note] = []
    for column in panel.schema.known:
        has_numbers = column in panel.known_names
        words = None if has_numbers else [
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
        features_of_column, labels, _ = features(cells, "known covariate", "error", words, hints)
        values += features_of_column
        names += labels
        if words is not None:
            new = table[column].cast(pl.String).drop_nulls().unique().sort()
            new = new.filter(~new.is_in(words))
            if len(new):
                note = Note(
                    kind="new category", count=len(new), series=0, example=f"{column}={new[0]}",
                    done="values not seen in the history count as none of the known ones",
                    severity="warning",
                )  # fmt: skip
                notes.append(note)
    return values, names, notes
