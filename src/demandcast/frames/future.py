"""Covariates known ahead, laid after the last step of a panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, FrequencyError, SchemaError, Way, mend, way
from demandcast.frames.covariates import features, is_text, says_yes_and_no
from demandcast.frames.numerals import Hints
from demandcast.frames.regularise import Ints, number_series, show
from demandcast.frames.roles import near_name, nearest
from demandcast.frames.source import open_table
from demandcast.frames.times import join_times, parse_times, to_instants
from demandcast.panel.panel import Note, Panel
from demandcast.reading import Reading


def require_known(panel: Panel, names: Sequence[str], horizon: int) -> None:
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
            f"{panel.key(i)} ({len(short):,} series fall short); give them with",
            option="future", series=panel.key(i), ways=[way(future=..., call="predict(panel, future=frame)")],
        )  # fmt: skip


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
                f"the future table has no column {column!r}{nearest(column, table.columns)}",
                found=column,
            ).suggest(near_name(column, table.columns))
    if not table.height:
        raise DataError("the future table holds no rows; give one for each series and step ahead")
    if calendar:
        codes, index, ahead, notes = _calendar(panel, table)
    else:
        old_series, told_new = panel.n_series, list[Note]()
        if new_items:
            more = (
                [] if statics is None else [open_table(statics, row="key and attributes").collect()]
            )
            panel, told_new = _with_new(panel, table, [table, *more])
        codes, index, notes = _match(panel, table)
        notes += told_new
        steps, ahead_or_new, new_notes = _steps(panel, table, index, codes)
        notes += new_notes
        index, codes = index[ahead_or_new], codes[ahead_or_new]
        ahead = steps - panel.starts[codes] - panel.lengths[codes]  # 0 is the first step ahead
        ahead_or_new = (ahead >= 0) | (
            codes < old_series
        )  # of a new item no row lies in its history
        index, codes, ahead = index[ahead_or_new], codes[ahead_or_new], ahead[ahead_or_new]
    _check_steps(panel, codes, ahead, holes=future_gaps == "error")
    extents = panel.extents.copy()
    np.maximum.at(extents, codes, panel.lengths[codes] + ahead + 1)
    grown = _grow(panel, extents)
    values, names, new_notes = _values(panel, table, hints)
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


def complete(panel: Panel, rule: str) -> Panel:
    """Treat the steps ahead that lack a covariate, up to the last step that the table has of any series.

    Args:
        panel: With covariates of the steps ahead; a series that has none of them is left alone.
        rule: "last" carries the value before a step on to it (or the one after it, where there is none
            before), "missing" only makes room for it, "error" refuses it.

    Raises:
        DataError: A step lacks a covariate, and the rule is "error".
    """
    ahead = panel.extents - panel.lengths
    if not panel.known.shape[1] or not ahead.any():
        return panel
    ends = panel.ends()
    last = int((ends + ahead)[ahead > 0].max())
    reach = np.where(ahead > 0, np.maximum(ahead, np.minimum(last - ends, ahead.max())), 0)
    short = reach > ahead
    grown = _grow(panel, panel.lengths + reach) if short.any() else panel
    codes = np.repeat(np.arange(panel.n_series), reach)
    within = np.arange(int(reach.sum())) - np.repeat(np.cumsum(reach) - reach, reach)
    rows = (grown.begins + grown.lengths)[codes] + within
    lacking = np.isnan(grown.known[rows]).any(1)
    if not lacking.any():
        return grown
    row = int(np.argmax(lacking))
    step = grown.starts[codes[row]] + grown.lengths[codes[row]] + within[row]
    example = (
        f"series {grown.key(int(codes[row]))} at {show(grown.freq.times(np.array([step]))[0])}"
    )
    series = np.unique(codes[lacking])
    if rule == "error":
        raise DataError(
            f"{int(lacking.sum()):,} steps ahead of {len(series):,} series have no row, or an empty cell, among the "
            f"known covariates, first {example}; give them, or pass",
            option="future_gaps",
            ways=[mend("as the step before", future_gaps="last"), way(future_gaps="missing")],
        )
    if rule == "last":
        known = _carried_on(grown, rows, series)
        grown = replace(grown, known=known)
        action = "steps ahead without a row or a value have the known covariates of the step before; to change it, pass"
        ways: tuple[Way, ...] = (
            way("refuses them", future_gaps="error"),
            way("leaves them missing", future_gaps="missing"),
        )
    else:
        action = "steps ahead without a row or a value: their known covariates are missing"
        ways = ()
    note = Note(
        kind="future gaps", count=int(lacking.sum()), series=len(series), example=example, done=action,
        ways=ways, severity="warning",
    )  # fmt: skip
    return replace(grown, notes=(*grown.notes, note))


def _carried_on(panel: Panel, ahead: Ints, series: Ints) -> NDArray[np.float32]:
    """Return the known covariates, with gaps in the rows `ahead` filled from the step before."""
    known = np.array(panel.known)
    extents = panel.extents[series]
    heads = np.cumsum(extents) - extents
    span = np.arange(int(extents.sum())) + np.repeat(panel.begins[series] - heads, extents)
    is_ahead = np.zeros(len(known), bool)
    is_ahead[ahead] = True
    tails = heads + extents - 1
    for j in range(known.shape[1]):
        values = known[span, j]
        is_known = ~np.isnan(values)
        before = np.where(is_known, np.arange(len(values)), 0)
        before[heads] = heads
        values = values[np.maximum.accumulate(before)]
        after = np.where(~np.isnan(values), np.arange(len(values)), len(values))
        after[tails] = tails
        values = values[np.minimum.accumulate(after[::-1])[::-1]]
        open_rows = is_ahead[span] & ~is_known
        known[span[open_rows], j] = values[open_rows]
    return known


def _with_new(
    panel: Panel, table: pl.DataFrame, statics: Sequence[pl.DataFrame]
) -> tuple[Panel, list[Note]]:
    """Add the series that only the future table has, as items that begin after the history of all others.

    Series that were left out when the table was read stay out. Static values are those of
    the first table of `statics` that has them; a category that the panel has not is unknown.
    """
    keys = panel.keys.columns
    row_keys = _keys_of(panel, table)
    strange = row_keys.with_row_index("__row").join(
        panel.keys, on=keys, how="anti", maintain_order="left"
    )
    if panel.left_out is not None:
        strange = strange.join(panel.left_out, on=keys, how="anti", maintain_order="left")
    rows = strange["__row"].to_numpy().astype(np.int64)
    if not len(rows):
        return panel, []
    steps, valid, _ = _steps(panel, table, rows, np.zeros(len(rows), np.int64))
    begin = int(panel.ends().max()) + 1
    rows = rows[valid][steps >= begin]
    if not len(rows):
        return panel, []
    fresh = row_keys[pl.Series(rows)].unique(maintain_order=True)
    n = fresh.height
    none, places = np.zeros(n, np.int64), np.full(n, len(panel.target), np.int64)
    codes, reals = _attributes(panel, fresh, statics)
    grown = replace(
        panel,
        keys=pl.concat([panel.keys, fresh]),
        begins=np.append(panel.begins, places),
        extents=np.append(panel.extents, none),
        lengths=np.append(panel.lengths, none),
        starts=np.append(panel.starts, np.full(n, begin)),
        static_codes=np.concatenate([panel.static_codes, codes]),
        static_reals=np.concatenate([panel.static_reals, reals]),
    )
    note = Note(
        kind="new items", count=n, series=n, example=f"series {grown.key(panel.n_series)}", severity="warning",
        done="series that only the future table has are forecast as new items, from the common end",
    )  # fmt: skip
    return grown, [note]


def _attributes(
    panel: Panel, keys: pl.DataFrame, sources: Sequence[pl.DataFrame]
) -> tuple[Ints, NDArray[np.float32]]:
    """Static codes and numbers of new keys, from the first of the tables that has them."""
    columns: dict[str, pl.Series] = {}
    for source in sources:
        on = [c for c in keys.columns if c in source.columns]
        for name in (*panel.vocabularies, *panel.static_real_names):
            if on and name in source.columns and name not in columns:
                statics = source.select(
                    *(pl.col(c).cast(keys[c].dtype, strict=False) for c in on), name
                )
                statics = statics.drop_nulls().unique(on, keep="first", maintain_order=True)
                columns[name] = keys.join(statics, on=on, how="left", maintain_order="left")[name]
    codes = np.zeros((keys.height, len(panel.vocabularies)), np.int64)
    reals = np.full((keys.height, len(panel.static_real_names)), np.nan, np.float32)
    for k, (name, words) in enumerate(panel.vocabularies.items()):
        if name in columns:
            place = {word: i + 1 for i, word in enumerate(words)}
            labels = columns[name].cast(pl.String)
            codes[:, k] = labels.replace_strict(place, default=0, return_dtype=pl.Int64).fill_null(
                0
            )
    for k, name in enumerate(panel.static_real_names):
        if name in columns:
            numbers = columns[name].cast(pl.Float32, strict=False)
            reals[:, k] = numbers.fill_null(float("nan")).to_numpy()
    return codes, reals


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


def _calendar(panel: Panel, table: pl.DataFrame) -> tuple[Ints, Ints, Ints, list[Note]]:
    """Match rows to the series they lie ahead of: series, row, and number of steps ahead of each match."""
    used = {panel.schema.time, *panel.schema.known}
    for column in (c for c in table.columns if c not in used):
        for key in panel.schema.key:
            if column.strip().lower() == key.lower():
                raise SchemaError(
                    f"the future table has {column!r} where the key column is {key!r}; rename it"
                )
    rows = np.arange(table.height)
    steps, valid, notes = _steps(panel, table, rows, np.zeros(len(rows), np.int64))
    rows = rows[valid]
    late = steps > panel.ends().min()
    rows, steps = rows[late], steps[late]
    codes = np.repeat(np.arange(panel.n_series), len(rows))
    ahead = np.tile(steps, panel.n_series) - panel.ends()[codes] - 1
    index, behind = np.tile(rows, panel.n_series), ahead >= 0
    note = Note(
        kind="future", count=len(rows), series=panel.n_series, example="",
        done="the future table has no key column: its rows hold for every series",
    )  # fmt: skip
    return codes[behind], index[behind], ahead[behind], [*notes, note]


def _match(panel: Panel, table: pl.DataFrame) -> tuple[Ints, Ints, list[Note]]:
    """Series of the panel and row of the table, for every pair that belongs together."""
    n = panel.n_series
    row_keys = _keys_of(panel, table)
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
    panel: Panel, table: pl.DataFrame, index: Ints, codes: Ints
) -> tuple[Ints, NDArray[np.bool_], list[Note]]:
    """Return the grid step of each matched row, and a mask of rows with a valid time."""
    times, notes = parse_times(table[panel.schema.time], panel.time_zone)
    freq = panel.freq
    values, valid = times.values[index], np.ones(len(index), bool)
    if (values.dtype.kind == "i") != freq.is_integer:
        raise FrequencyError(
            f"the time column {panel.schema.time!r} of the future table holds "
            f"{table[panel.schema.time].dtype}, but the panel's steps are {freq.name!r}; "
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


def _grow(panel: Panel, extents: Ints) -> Panel:
    """Copy the panel to new arrays with room for `extents` rows of each series."""
    begins = np.cumsum(extents) - extents
    total, old_extents = int(extents.sum()), panel.extents
    within = np.arange(int(old_extents.sum())) - np.repeat(
        np.cumsum(old_extents) - old_extents, old_extents
    )
    source, goal = (
        np.repeat(panel.begins, old_extents) + within,
        np.repeat(begins, old_extents) + within,
    )

    def moved(values: NDArray[Any], fill: Any) -> NDArray[Any]:
        fresh = np.full((total, *values.shape[1:]), fill, values.dtype)
        fresh[goal] = values[source]
        return fresh

    return replace(
        panel, begins=begins, extents=extents, target=moved(panel.target, np.nan),
        known=moved(panel.known, np.nan), past=moved(panel.past, np.nan),
        available=None if panel.available is None else moved(panel.available, True),
        share=None if panel.share is None else moved(panel.share, 1),
    )  # fmt: skip


def _values(
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
