"""Group the series of a panel by key columns and static categories, and add them up."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, FrequencyError, SchemaError
from demandcast.frequency import Frequency
from demandcast.panel.note import Note

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

Ints = NDArray[np.int64]
STEPS = {"day": "D", "week": "W-MON", "month": "MS", "quarter": "QS", "year": "YS"}
TOTAL = "series"  # the key column of a total over all series, whose value is "total"


@dataclass(frozen=True)
class Groups:
    """Groups of series that agree in some columns.

    Attributes:
        table: The columns, one row a group, in the order of their first series, (G rows).
        code: Group of each series, (N,).
    """

    table: pl.DataFrame
    code: Ints


def group(panel: Panel, by: Sequence[str]) -> Groups:
    """Group the series of a panel by key columns and static categories; all in one group for no column.

    Raises:
        SchemaError: A column is neither; the nearest is named.
        DataError: A series has no value in a static category.
    """
    table = describe(panel)
    unknown = [c for c in by if c not in table.columns]
    if unknown:
        near = difflib.get_close_matches(unknown[0], table.columns, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SchemaError(
            f"{unknown[0]!r} is neither a key column nor a static category of the table, which has "
            f"{', '.join(table.columns) or 'none'}{hint}",
            found=unknown[0],
        ).suggest(near[0] if near else None)
    if not by:
        return Groups(pl.DataFrame({TOTAL: ["total"]}), np.zeros(panel.n_series, np.int64))
    columns = list(dict.fromkeys(by))
    for column in columns:
        if column not in panel.keys.columns and (gaps := table[column].is_null()).any():
            raise DataError(
                f"series {panel.key(int(gaps.arg_true()[0]))} has no {column} ({int(gaps.sum()):,} series have none), so a "
                f"level of {column} would not add up to all; fill the column, or leave such series out with panel.select",
                column=column, option="static",
            )  # fmt: skip
    keyed = table.select(columns).with_row_index("__series")
    firsts = keyed.group_by(columns, maintain_order=True).agg(pl.len()).drop("len")
    coded = keyed.join(
        firsts.with_row_index("__group"),
        on=columns,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )
    return Groups(firsts, coded["__group"].to_numpy().astype(np.int64))


def describe(panel: Panel) -> pl.DataFrame:
    """Return the key columns and the static categories of each series, (N rows)."""
    statics = [
        pl.Series(name, [None, *values], dtype=pl.String)[panel.static_codes[:, k].tolist()]
        for k, (name, values) in enumerate(panel.vocabularies.items())
        if name not in panel.keys.columns
    ]
    return panel.keys.with_columns(statics)


def add_up(panel: Panel, by: Sequence[str]) -> Panel:
    """Add up the series of each group, as `Panel.total` documents."""
    groups = group(panel, by)
    count = groups.table.height
    starts, ends = _extremes(panel.starts, panel.starts + panel.lengths, groups.code, count)
    extents = ends - starts
    begins = np.cumsum(extents) - extents
    rows = panel.history_rows()
    series = np.repeat(np.arange(panel.n_series), panel.lengths)
    within = rows - panel.begins[series]
    at = (begins[groups.code] + panel.starts - starts[groups.code])[series] + within
    values = panel.target[rows].astype(np.float64)
    missing = np.isnan(values)
    sums = np.bincount(at, np.where(missing, 0, values), int(extents.sum()))
    n_values = np.bincount(at, minlength=len(sums))
    unknown = (np.bincount(at[missing], minlength=len(sums)) > 0) | (n_values == 0)
    sums[unknown] = np.nan
    available = None
    if panel.available is not None:
        out = at[~panel.available[rows]]
        available = np.bincount(out, minlength=len(sums)) == 0
    notes = list(panel.notes)
    if missing.any():
        notes.append(
            Note(
                kind="totals not known", count=int(unknown.sum()), series=len(set(groups.code[series[missing]])),
                example="", done="steps at which a series was not observed have no total: taken as not observed",
            )
        )  # fmt: skip
    empty = np.zeros((len(sums), 0), np.float32)
    return replace(
        panel, schema=replace(panel.schema, key=tuple(groups.table.columns), known=(), past=(), static=()),
        keys=groups.table, target=sums.astype(np.float32), begins=begins, extents=extents, lengths=extents.copy(),
        starts=starts, known=empty, past=empty, known_names=(), past_names=(), available=available, share=None,
        static_codes=np.zeros((count, 0), np.int64), vocabularies={},
        static_reals=np.zeros((count, 0), np.float32), static_real_names=(), notes=tuple(notes), left_out=None,
    )  # fmt: skip


def add_steps(panel: Panel, steps: str) -> Panel:
    """Add the steps of each series up to coarser ones, as `Panel.total` documents."""
    coarse, fine = Frequency.parse(STEPS.get(steps, steps)), panel.freq
    if fine.is_integer:
        raise FrequencyError(f"steps is {steps!r}, but the times are whole numbers; leave it out")

    def within(at: Ints) -> Ints:
        return coarse.ordinal(coarse.floor(fine.times(at)))

    first, last = within(panel.starts), within(panel.ends())
    first += within(panel.starts - 1) == first  # begun before the history
    last -= within(panel.ends() + 1) == last  # ends after it
    if (last < first).any():
        i = int((last < first).argmax())
        raise DataError(
            f"series {panel.key(i)} holds no whole step of {coarse.name!r} in its {panel.lengths[i]} steps of "
            f"{fine.name!r}; leave it out with panel.select"
        )
    lengths = last - first + 1
    begins = np.cumsum(lengths) - lengths
    rows = panel.history_rows()
    series = np.repeat(np.arange(panel.n_series), panel.lengths)
    coarse_steps = within(panel.starts[series] + rows - panel.begins[series])
    is_whole = (coarse_steps >= first[series]) & (coarse_steps <= last[series])
    rows, at = rows[is_whole], (begins[series] + coarse_steps - first[series])[is_whole]
    count = int(lengths.sum())
    sums = np.bincount(at, panel.target[rows].astype(np.float64), count)  # NaN where one is
    available = None
    if panel.available is not None:
        available = np.bincount(at[~panel.available[rows]], minlength=count) == 0
    notes = list(panel.notes)
    if n_left_out := int((~is_whole).sum()):
        notes.append(
            Note(
                kind="steps left out", count=n_left_out, series=len(set(series[~is_whole])), example="",
                done=f"they lie in steps of {coarse.name!r} that the history holds in part",
            )
        )  # fmt: skip
    empty = np.zeros((count, 0), np.float32)
    return replace(
        panel, schema=replace(panel.schema, freq=coarse.name, known=(), past=()), target=sums.astype(np.float32),
        begins=begins, extents=lengths, lengths=lengths.copy(), starts=first, known=empty, past=empty,
        known_names=(), past_names=(), available=available, share=None, notes=tuple(notes),
    )  # fmt: skip


def sum_groups(values: NDArray[Any], code: Ints) -> NDArray[Any]:
    """Add rows (N, ...) up by group, (G, ...), the groups in increasing order of their codes (N,)."""
    order = np.argsort(code, kind="stable")
    return np.add.reduceat(values[order], np.flatnonzero(np.diff(code[order], prepend=-1)), 0)


def _extremes(starts: Ints, ends: Ints, code: Ints, count: int) -> tuple[Ints, Ints]:
    """Return the first start and the last end of each group."""
    first, last = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(first, code, starts)
    np.maximum.at(last, code, ends)
    return first, last
