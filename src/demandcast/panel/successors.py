"""Give a new item the history of the item that it replaces, up to the new item's own first step."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, way
from demandcast.panel.note import Note

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

Ints = NDArray[np.int64]
COLUMN = "predecessor"  # of one key column; of several, predecessor_<column> for those that differ
MISSING = -1  # in place of a row of the flat arrays


def predecessors(table: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame | None:
    """Return the pairs of a table: each key column as text, and the same columns of the item replaced.

    Args:
        table: A row an item: its key columns, and `predecessor` (of one key column) or `predecessor_<column>` for each
            key column in which the predecessor differs. Rows without a value have none.
        keys: The key columns.

    Raises:
        SchemaError: A key column or column of predecessors is not known.
        DataError: An item has two rows with a predecessor.
    """
    named = {c: c.removeprefix(f"{COLUMN}_") for c in table.columns if c.startswith(f"{COLUMN}_")}
    if COLUMN in table.columns:
        if len(keys) != 1:
            raise SchemaError(
                f"{COLUMN!r} does not say of which key column it is; name it {COLUMN}_{keys[-1]}, with the value that "
                f"{keys[-1]} has in the predecessor"
            )
        named[COLUMN] = keys[0]
    if not named:
        return None
    for column, key in named.items():
        if key not in keys:
            raise SchemaError(
                f"{column!r} is of no key column; the key columns are {', '.join(map(repr, keys))}"
            )
    if absent := [key for key in keys if key not in table.columns]:
        raise SchemaError(f"the table of predecessors has no key column {absent[0]!r}; add it")
    text = table.select(pl.col([*keys, *named]).cast(pl.String)).with_columns(
        pl.when(pl.col(c).str.strip_chars() != "").then(c).alias(c) for c in named
    )
    given = text.filter(pl.any_horizontal(pl.col(c).is_not_null() for c in named))
    twice = given.filter(given.select(keys).is_duplicated())
    if twice.height:
        raise DataError(
            f"item {'/'.join(map(str, twice.row(0)[: len(keys)]))} has two rows with a predecessor; keep one of them"
        )
    own = {key: column for column, key in named.items()}
    return given.select(
        *keys, *(pl.coalesce(own.get(key, key), key).alias(f"__{key}") for key in keys)
    )


def with_successors(panel: Panel, table: pl.DataFrame) -> Panel:
    """Return the panel with the history of predecessors, as `Panel.with_successors` documents."""
    keys = panel.keys.columns
    pairs = predecessors(table, keys)
    if pairs is None:
        raise SchemaError(
            f"the table has no column {COLUMN!r}, which names the item that a new one replaces; its columns are "
            f"{table.columns}"
        )
    if not pairs.height:
        return panel
    place = {row: i for i, row in enumerate(_text(panel.keys).rows())}
    replaced = {row[: len(keys)]: row[len(keys) :] for row in pairs.rows()}
    _check(replaced, place)
    order = [*place, *(new for new in replaced if new not in place)]
    histories = {key: _history(panel, key, replaced, place) for key in order}
    extended = _assemble(panel, order, histories, replaced, place)
    return replace(extended, notes=(*panel.notes, _note(replaced, histories, place, panel)))


def give_histories(panel: Panel, stock: pl.DataFrame) -> tuple[Panel, list[Note]]:
    """Return the panel with successors, without predecessors that have no row of stock, and notes on both."""
    extended = with_successors(panel, stock)
    pairs = predecessors(stock, panel.keys.columns)
    assert pairs is not None
    on = panel.keys.columns
    old = {row[len(on) :] for row in pairs.rows()} - set(
        stock.select(pl.col(on).cast(pl.String)).rows()
    )
    remains = np.array([row not in old for row in _text(extended.keys).rows()])
    notes = [extended.notes[-1]]
    if not remains.all():
        left = extended.keys.filter(~remains)
        notes.append(
            Note(
                kind="replaced", count=left.height, series=left.height,
                example="/".join(map(str, left.row(0))),
                done="these predecessors have no row in the stock table: not ordered",
            )
        )  # fmt: skip
    return extended.select(remains), notes


def _text(keys: pl.DataFrame) -> pl.DataFrame:
    return keys.select(pl.all().cast(pl.String))


def _check(replaced: dict[Any, Any], place: dict[Any, int]) -> None:
    """Refuse predecessors that are not in the panel, and items that replace each other."""
    for new, old in replaced.items():
        if old not in place and old not in replaced:
            names = ["/".join(map(str, key)) for key in place]
            near = difflib.get_close_matches("/".join(map(str, old)), names, 1, 0.6)
            hint = f" (the nearest is {near[0]!r})" if near else ""
            raise DataError(
                f"item {'/'.join(map(str, new))} has the predecessor {'/'.join(map(str, old))}, of which the table of demand "
                f"has no history{hint}; mend its name, or if it ended long before the others read the table with",
                series="/".join(map(str, new)), found="/".join(map(str, old)), ways=[way(ended="keep")],
            )  # fmt: skip
        seen, at = [new], old
        while at in replaced:
            if at in seen:
                chain = " <- ".join("/".join(map(str, key)) for key in [*seen, at])
                raise DataError(
                    f"items replace each other: {chain}; keep the oldest without a predecessor"
                )
            seen.append(at)
            at = replaced[at]


def _history(
    panel: Panel, key: Any, replaced: dict[Any, Any], place: dict[Any, int]
) -> tuple[int, Ints, int]:
    """Return first step, rows of the flat arrays (`MISSING` where there are none) and length of a series' history."""
    if key in place:
        i = place[key]
        start, length = int(panel.starts[i]), int(panel.lengths[i])
        rows = panel.begins[i] + np.arange(panel.extents[i])
    if key not in replaced:
        return start, rows, length
    first, before, known = _history(panel, replaced[key], replaced, place)
    if key not in place:
        return first, before, known
    used = before[: min(known, max(start - first, 0))]
    if not len(used):
        return start, rows, length
    gap = np.full(start - first - len(used), MISSING)
    return first, np.concatenate([used, gap, rows]), length + start - first


def _assemble(
    panel: Panel,
    order: list[Any],
    histories: dict[Any, Any],
    replaced: dict[Any, Any],
    place: dict[Any, int],
) -> Panel:
    """Return the panel of these series, with new arrays."""

    def origin(key: Any) -> int:
        while key not in place:
            key = replaced[key]
        return place[key]

    rows = np.concatenate([histories[key][1] for key in order])
    extents = np.array([len(histories[key][1]) for key in order], np.int64)
    absent = rows == MISSING
    flat: dict[str, Any] = {}
    for name, values in panel.flat.items():
        taken = np.array(values[np.where(absent, 0, rows)])
        taken[absent] = True if taken.dtype == bool else np.nan
        flat[name] = taken
    like = [origin(key) for key in order]
    keys = panel.keys
    fresh = [key for key in order if key not in place]
    if fresh:
        own = pl.DataFrame(
            {c: [key[j] for key in fresh] for j, c in enumerate(keys.columns)},
            schema=dict.fromkeys(keys.columns, pl.String),
        )
        keys = pl.concat([keys, own.cast(dict(keys.schema))])  # type: ignore[arg-type]
    return replace(
        panel, keys=keys, extents=extents, begins=np.cumsum(extents) - extents,
        lengths=np.array([histories[key][2] for key in order], np.int64),
        starts=np.array([histories[key][0] for key in order], np.int64),
        static_codes=panel.static_codes[like], static_reals=panel.static_reals[like], **flat,
    )  # fmt: skip


def _note(
    replaced: dict[Any, Any], histories: dict[Any, Any], place: dict[Any, int], panel: Panel
) -> Note:
    """Return what was taken from predecessors."""
    steps = {
        key: histories[key][2] - (int(panel.lengths[place[key]]) if key in place else 0) for key in replaced
    }  # fmt: skip
    key = max(steps, key=lambda key: steps[key])
    return Note(
        kind="successors", count=sum(steps.values()), series=len(replaced),
        example=f"{'/'.join(map(str, key))} after {'/'.join(map(str, replaced[key]))}",
        done="steps before an item's own first one are those of the item it replaces",
    )  # fmt: skip
