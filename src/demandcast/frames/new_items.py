"""Add to a panel the items that only the future table has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.frames.table_rows import Ints
from demandcast.panel.panel import Note, Panel


def find_new_items(panel: Panel, row_keys: pl.DataFrame) -> Ints:
    """Return the rows of the future table whose series the panel does not have.

    Series that were left out when the table was read are not new.

    Args:
        panel: The panel.
        row_keys: The key of each row of the future table.
    """
    keys = panel.keys.columns
    new = row_keys.with_row_index("__row").join(
        panel.keys, on=keys, how="anti", maintain_order="left"
    )
    if panel.left_out is not None:
        new = new.join(panel.left_out, on=keys, how="anti", maintain_order="left")
    return new["__row"].to_numpy().astype(np.int64)


def add_new_items(
    panel: Panel, keys: pl.DataFrame, statics: Sequence[pl.DataFrame]
) -> tuple[Panel, Note]:
    """Add series without a history, which begin after the history of all others.

    Args:
        panel: The panel.
        keys: The keys of the new series.
        statics: Tables with static columns. A value is that of the first table that has it; a category that
            the panel does not have is unknown.
    """
    begin = int(panel.ends().max()) + 1
    n = keys.height
    none, places = np.zeros(n, np.int64), np.full(n, len(panel.target), np.int64)
    codes, reals = _attributes(panel, keys, statics)
    grown = replace(
        panel,
        keys=pl.concat([panel.keys, keys]),
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
    return grown, note


def _attributes(
    panel: Panel, keys: pl.DataFrame, sources: Sequence[pl.DataFrame]
) -> tuple[Ints, NDArray[np.float32]]:
    """Return static codes and numbers of new keys, each from the first of the tables that has it."""
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
