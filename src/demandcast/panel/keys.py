"""Find series by their keys: a value, a tuple of all key columns, or a dict of some of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError


def find_rows(keys: pl.DataFrame, key: Any) -> NDArray[np.int64]:
    """Return the row numbers of the series that a key names, (n,).

    Args:
        keys: The key columns, one row a series.
        key: A value where there is one key column, a tuple of all key columns, or a dict of some of them, which
            names every series with these values.

    Raises:
        DataError: No series has that key (the message names the nearest), or the dict names a column that is no
            key column.
    """
    if isinstance(key, Mapping):
        values_by_column = dict(key)
        for name in values_by_column:
            if name not in keys.columns:
                raise DataError(
                    f"{name!r} is not a key column; the key columns are {', '.join(map(repr, keys.columns))}"
                )
    else:
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != keys.width:
            raise DataError(
                f"the key {key!r} has {len(values)} of {keys.width} values; give a tuple of "
                f"({', '.join(keys.columns)}), or a dict of some of them, as in "
                f"{{{keys.columns[0]!r}: {keys.row(0)[0]!r}}}"
            )
        values_by_column = dict(zip(keys.columns, values, strict=True))
    rows = np.ones(keys.height, bool)
    for name, value in values_by_column.items():
        rows &= np.fromiter((v == value for v in keys[name].to_list()), bool, keys.height)
    if not rows.any():
        raise _unknown_key(key, keys, values_by_column)
    return np.flatnonzero(rows)


def _unknown_key(key: Any, keys: pl.DataFrame, values_by_column: Mapping[str, Any]) -> DataError:
    """Return the error of a key that no series has; it suggests the key nearest as text."""
    rows = keys.select(list(values_by_column)).unique(maintain_order=True).rows()
    rows_by_text = {"/".join(map(str, row)): row for row in rows}
    nearest = difflib.get_close_matches(
        "/".join(map(str, values_by_column.values())), rows_by_text, 1, 0.0
    )
    row = rows_by_text[nearest[0]]
    if not isinstance(next(iter(values_by_column.values())), type(row[0])) and nearest[0] == str(
        row[0]
    ):
        hint = f"the keys are of type {type(row[0]).__name__}: did you mean {row[0]!r}?"
    else:
        hint = f"did you mean {row[0] if len(row) == 1 else row!r}?"
    return DataError(
        f"no series {key!r}; {hint}",
        found=key,
    ).suggest(row[0] if len(row) == 1 and isinstance(row[0], str) else None)


def free_name(name: str, taken: Collection[str], prefix: str) -> str:
    """Return the name of a column beside the user's own, with the prefix as often as one of theirs has the name."""
    while name in taken:
        name = f"{prefix}_{name}"
    return name
