"""A panel as a plain long table: ISO dates, plain numbers, a row a series and step; and how it is read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError
from demandcast.frames.opened import SAMPLE, Table
from demandcast.frames.read import read_panel
from demandcast.frames.roles import find_roles
from demandcast.frames.sheets import write_frame
from demandcast.panel.panel import Panel
from demandcast.panel.time_column import time_column
from demandcast.reading import NamedColumns

KEYS = ("item", "store", "region", "channel", "customer", "product", "warehouse", "market")


def write_fixed(panel: Panel, path: str | Path) -> dict[str, Any]:
    """Write a panel as a table, and read it back to prove that it is the same.

    Columns have the names of the user's table. Where these do not tell what a column is, it gets one that does
    ("item", "date", "units").

    Args:
        panel: The panel.
        path: The file, by its ending: .csv, .tsv, .xlsx or .parquet.

    Returns:
        The arguments of `read_panel` that the table needs: none but for covariates, a frequency that its times do
        not tell, a time zone, and series that were kept though they ended or are named as totals.

    Raises:
        FileError: The file cannot be written.
        DataError: No such file reads back the same, as an empty key in text does.
    """
    names = _new_names(panel)
    frame = long_table(panel).rename(names)
    schema = panel.schema
    write_frame(frame, path, what="the table", keys=[names.get(c, c) for c in schema.key])
    covariates: dict[str, Any] = {
        role: list(columns)
        for role in ("known", "past", "static")
        if (columns := getattr(schema, role))
    }
    if schema.available:
        covariates["available"] = schema.available
    columns = {
        "time": names.get(schema.time, schema.time),
        "target": names.get(schema.target, schema.target),
    }
    roles = covariates | columns | {"key": [names.get(c, c) for c in schema.key], "wide": False}
    rules = {"freq": schema.freq, "ended": "keep", "totals": "keep"}
    zone = {"time_zone": panel.time_zone}
    for options in (
        covariates, covariates | {"freq": schema.freq}, roles, roles | rules, covariates | zone,
        covariates | zone | {"freq": schema.freq}, roles | rules | zone,
    ):  # fmt: skip
        if ("time_zone" in options) == (panel.time_zone is not None) and _reads_back(
            panel, path, options, names
        ):
            return options
    raise DataError(
        f"{path} does not read back as the same panel, as keys that are empty or times of another type do not; "
        "give a name that ends in .parquet, or keep the panel with panel.to_store"
    )


def long_table(panel: Panel) -> pl.DataFrame:
    """A row a series and step, those ahead among them: keys, time, target, covariates; categories as their words."""
    n = panel.n_series
    codes = np.repeat(np.arange(n), panel.extents)
    within = np.arange(len(codes)) - np.repeat(
        np.cumsum(panel.extents) - panel.extents, panel.extents
    )
    rows, schema = panel.rows(), panel.schema
    time = time_column(schema, panel.starts[codes] + within, panel.time_zone, panel.time_dtype)
    target = panel.target[rows].astype(np.float64)
    target[within >= panel.lengths[codes]] = np.nan
    columns = [
        *(panel.keys[c].gather(codes) for c in panel.keys.columns),
        _iso(time),
        _as_numbers(schema.target, target),
    ]
    for names, values, offset in (
        (schema.known, panel.known, panel.known_names), (schema.past, panel.past, panel.past_names),
    ):  # fmt: skip
        columns += [_covariate(name, values[rows], offset) for name in names]
    for name in schema.static:
        if name in panel.vocabularies:
            place = list(panel.vocabularies).index(name)
            words = pl.Series(name, [None, *panel.vocabularies[name]], dtype=pl.String)
            columns.append(words.gather(panel.static_codes[codes, place]))
        else:
            place = panel.static_real_names.index(name)
            columns.append(_as_numbers(name, panel.static_reals[codes, place].astype(np.float64)))
    if schema.available and panel.share is not None:
        columns.append(pl.Series(schema.available, panel.share[rows]))
    elif schema.available and panel.available is not None:
        columns.append(pl.Series(schema.available, panel.available[rows].astype(np.int64)))
    return pl.DataFrame(columns)


def _iso(time: pl.Series) -> pl.Series:
    """Format times: days as dates, others as text to the second or finer, with the offset of their zone if any."""
    if not isinstance(time.dtype, pl.Datetime):
        return time
    if bool((time.dt.time().cast(pl.Int64) == 0).all()) and time.dtype.time_zone is None:
        return time.dt.date()
    return time.dt.to_string("iso:strict")


def _as_numbers(name: str, values: NDArray[np.float64]) -> pl.Series:
    """Convert numbers to integers if all are whole, else to float32."""
    finite = values[~np.isnan(values)]
    column = pl.Series(name, values).fill_nan(None)
    if bool((finite % 1 == 0).all()) and bool((np.abs(finite) < 2**53).all()):
        return column.cast(pl.Int64)
    return column.cast(pl.Float32)


def _covariate(name: str, values: NDArray[np.float32], names: Sequence[str]) -> pl.Series:
    """Decode a covariate to numbers or category names."""
    if name in names:
        return _as_numbers(name, values[:, list(names).index(name)].astype(np.float64))
    labels = [
        (i, label.removeprefix(f"{name}="))
        for i, label in enumerate(names)
        if label.startswith(f"{name}=")
    ]
    words = np.full(len(values), None, object)
    for i, word in labels:
        words[values[:, i] == 1] = word
    return pl.Series(name, words.tolist(), dtype=pl.String)


def _new_names(panel: Panel) -> dict[str, str]:
    """New names for key, time and target, where the columns' own do not tell what they are."""
    schema = panel.schema
    first = panel.select(np.flatnonzero(np.cumsum(panel.extents) - panel.extents < SAMPLE))
    cells = long_table(first).head(SAMPLE).cast(pl.String)
    cells_table = Table(frame=cells.lazy(), sample=cells, is_text=True)
    covariates = NamedColumns(
        known=schema.known, past=schema.past, static=schema.static, available=schema.available
    )
    try:
        roles, _ = find_roles(cells_table, covariates)
        if (set(roles.key), roles.time, roles.target) == (
            set(schema.key),
            schema.time,
            schema.target,
        ):
            return {}
    except DataError:
        pass
    covariate_names = [
        c for c in cells.columns if c not in (*schema.key, schema.time, schema.target)
    ]
    free = [name for name in KEYS if name not in covariate_names]
    names = dict(zip(schema.key, free, strict=False)) if len(schema.key) <= len(free) else {}
    time = "step" if panel.freq.is_integer else "date"
    return (
        names | {schema.time: time, schema.target: "units"}
        if not {time, "units"} & set(covariate_names)
        else names
    )


def _reads_back(
    panel: Panel, path: str | Path, options: dict[str, Any], names: dict[str, str]
) -> bool:
    try:
        again = read_panel(path, **options)
    except DataError:
        return False
    if again.schema.freq != panel.schema.freq or again.n_series != panel.n_series:
        return False
    same = all(
        np.array_equal(getattr(again, name), getattr(panel, name))
        for name in ("starts", "extents", "lengths")
    )
    return same and _as_text(long_table(again)).equals(_as_text(long_table(panel).rename(names)))


def _as_text(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.all().cast(pl.String))
