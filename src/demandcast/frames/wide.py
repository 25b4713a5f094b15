"""A panel from arrays or frames with a column a series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from demandcast.errors import ShapeError
from demandcast.frames.read import read_panel
from demandcast.panel.panel import Panel


def from_wide(
    values: Any,
    *,
    times: Any = None,
    keys: Sequence[Any] | Mapping[str, Sequence[Any]] | None = None,
    **options: Any,
) -> Panel:
    """Read a panel from an array or a frame with a row a time and a column a series.

    Args:
        values: An array, (steps, series), NaN where not observed; or a frame of pandas, polars or pyarrow.
        times: For an array the times of its rows; for a frame the name of its column of times, None where it is
            the index or is found.
        keys: For an array, names of the series, or several key columns as {"store": [...], "item": [...]}; numbers
            from 0 if None.
        options: As in `read_panel`.

    Raises:
        ShapeError: The array has another shape than times and keys have.
        DataError: As `read_panel`.

    Example:
        >>> panel = from_wide(np.array([[1.0, 5.0], [2.0, np.nan], [3.0, 7.0]]), keys=["a", "b"],
        ...                   times=["2024-01-01", "2024-01-02", "2024-01-03"])
        >>> panel.history(1)
        array([ 5., nan,  7.], dtype=float32)
    """
    if not isinstance(values, np.ndarray):
        return read_panel(values, time=times, wide=True, **options)
    if values.ndim != 2:
        raise ShapeError(f"values have the shape {values.shape}; give (steps, series)")
    steps, n = values.shape
    columns = (
        dict(keys) if isinstance(keys, Mapping) else {"series": range(n) if keys is None else keys}
    )
    wrong = [name for name, column in columns.items() if len(column) != n]
    if times is None or len(times) != steps or wrong or not columns:
        times_text = "no times" if times is None else f"{len(times)} times"
        counts = ", ".join(f"{len(column)} of {name}" for name, column in columns.items())
        raise ShapeError(
            f"values are {steps} steps of {n} series, with {times_text} and keys {counts}; give one time a row and one "
            "key a column"
        )
    time = "time" if "time" not in columns else "time of step"
    target = options.pop("target", None) or "value"
    table = pl.DataFrame(
        {
            **{name: np.repeat(np.asarray(column), steps) for name, column in columns.items()},
            time: _times(times)[np.tile(np.arange(steps), n)],
            target: values.T.ravel(),
        }
    )
    return read_panel(table, key=[*columns], time=time, target=target, wide=False, **options)


def _times(times: Any) -> pl.Series:
    """Return times as a column; months, years and hours of NumPy as dates and datetimes, which Polars has."""
    stamps = np.asarray(times) if not isinstance(times, pl.Series) else None
    if stamps is None or stamps.dtype.kind != "M":
        return pl.Series(times)
    unit = np.datetime_data(stamps.dtype)[0]
    return pl.Series(stamps.astype("datetime64[D]" if unit in "YMWD" else "datetime64[us]"))
