"""Series by their keys: a value, a tuple for several key columns, or a dict of some of the columns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError


def find(keys: pl.DataFrame, key: Any) -> NDArray[np.int64]:
    """Return the rows of `keys` that a key names, (n,).

    Args:
        keys: The key columns, a row a series.
        key: A value where there is one key column, a tuple of all columns, or a dict of some, which
            names every series that agrees with it.

    Raises:
        DataError: No series has that key; the nearest is named. Or a dict names no key column.
    """
    if isinstance(key, Mapping):
        wanted = dict(key)
        for name in wanted:
            if name not in keys.columns:
                raise DataError(
                    f"{name!r} is no key column; the key columns are {', '.join(map(repr, keys.columns))}"
                )
    else:
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != keys.width:
            raise DataError(
                f"the key {key!r} has {len(values)} of {keys.width} values; give a tuple of "
                f"({', '.join(keys.columns)}), or a dict of some of them, as in "
                f"{{{keys.columns[0]!r}: {keys.row(0)[0]!r}}}"
            )
        wanted = dict(zip(keys.columns, values, strict=True))
    rows = np.ones(keys.height, bool)
    for name, value in wanted.items():
        rows &= np.fromiter((v == value for v in keys[name].to_list()), bool, keys.height)
    if not rows.any():
        raise DataError(f"no series {key!r}{_nearest(keys, wanted)}")
    return np.flatnonzero(rows)


def _nearest(keys: pl.DataFrame, wanted: Mapping[str, Any]) -> str:
    """The key that comes nearest as text, as the end of a sentence."""
    rows = keys.select(list(wanted)).unique(maintain_order=True).rows()
    words = {"/".join(map(str, row)): row for row in rows}
    near = difflib.get_close_matches("/".join(map(str, wanted.values())), words, 1, 0.0)
    row = words[near[0]]
    if not isinstance(next(iter(wanted.values())), type(row[0])) and near[0] == str(row[0]):
        return f"; the keys are of type {type(row[0]).__name__}: did you mean {row[0]!r}?"
    return f"; did you mean {row[0] if len(row) == 1 else row!r}?"
