"""Columns beside the target: numbers and categories by step, and one value a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, way
from demandcast.frames.grids import Grid
from demandcast.frames.numerals import MISSING, Hints, parse_numbers
from demandcast.frames.opened import Table
from demandcast.frames.roles import near_name, suggest_column
from demandcast.frames.table_rows import Floats, Ints, holds_flags, numbers, series_name
from demandcast.panel.panel import Note

MOST_WORDS = 50  # a text covariate with more distinct values is refused: one column each
MOST_CODES = 100  # whole static numbers with at most so many values, all below 1,000: categories


@dataclass(frozen=True, kw_only=True)
class Statics:
    """One value a series: categories as codes (0 unknown), numbers as they are."""

    codes: Ints  # (N, K)
    vocabularies: dict[str, tuple[str, ...]]
    reals: Floats  # (N, R)
    real_names: tuple[str, ...]


def by_step(
    table: pl.DataFrame,
    columns: Sequence[str],
    grid: Grid,
    role: str,
    infinite: str,
    hints: Hints | None = None,
) -> tuple[Floats, tuple[str, ...], list[Note]]:
    """Return covariates on the grid, (T_total, features), their names, and notes.

    Numbers and booleans are one feature each. Text is one feature per value, named column=value.
    """
    parts: list[NDArray[Any]] = []
    names: list[str] = []
    notes: list[Note] = []
    for column in columns:
        arrays, labels, new_notes = features(table[column], role, infinite, None, hints)
        parts += arrays
        names += labels
        notes += new_notes
    flat = np.full((grid.total, len(parts)), np.nan, np.float32)
    where = slice(None) if grid.at is None else grid.at
    for j, part in enumerate(parts):
        flat[where, j] = part
    for j, column in enumerate(names):
        absent = int(np.isnan(parts[j]).sum())
        if absent:
            action = f"{role} {column!r} is empty in {absent:,} rows: kept as missing"
            notes.append(
                Note(kind="missing covariate", count=absent, series=0, example="", done=action)
            )
    return flat, tuple(names), notes


def features(
    column: pl.Series,
    role: str,
    infinite: str,
    words: Sequence[str] | None,
    hints: Hints | None = None,
) -> tuple[list[NDArray[Any]], list[str], list[Note]]:
    """Encode one column as features; `words` are the known values of a text column."""
    name = column.name
    if words is None and not is_text(column):
        values, notes = numbers(column, role, infinite, hints=hints)
        return [values], [name], notes
    text = column.cast(pl.String)
    known = sorted(text.drop_nulls().unique()) if words is None else list(words)
    if len(known) > MOST_WORDS:
        raise SchemaError(
            f"{role} {name!r} is text with {len(known):,} distinct values, more than {MOST_WORDS}; "
            "turn it into numbers, or leave it out"
        )
    indicators = [(text == word).fill_null(False).cast(pl.Float32).to_numpy() for word in known]
    action = f"{role} {name!r} is text: one 0/1 covariate for each of its {len(known)} values"
    note = Note(kind="categories", count=len(known), series=0, example="", done=action)
    return indicators, [f"{name}={word}" for word in known], [note]


def is_text(column: pl.Series) -> bool:
    """Return whether a covariate is categories: text that is neither numbers nor yes and no."""
    if column.dtype != pl.String:
        return column.dtype == pl.Categorical or column.dtype == pl.Enum
    cells = column.drop_nulls()
    if not cells.cast(pl.Float64, strict=False).null_count():
        return False
    if holds_flags(cells):
        return False  # yes and no are one covariate
    words = cells.unique().str.strip_chars().str.to_lowercase()
    signed = words.str.contains(r"^[^\p{L}]*\d[^\p{L}]*$") | words.is_in(
        pl.Series([w.lower() for w in MISSING]).implode()
    )
    return not signed.all()  # 1,5 and $2 are numbers, decided when they are read


def says_yes_and_no(column: pl.Series) -> bool:
    """Return whether a covariate is text for yes and no, which is read as 1 and 0."""
    return column.dtype == pl.String and holds_flags(column)


def availability(
    column: pl.Series, grid: Grid
) -> tuple[NDArray[np.bool_], NDArray[np.float32] | None]:
    """Return whether the item could be bought all of the step, and for which share of it, (T_total,) each.

    Both are true and 1 where the table does not say. The shares are None of a column of flags: then 0 says that the item
    was not there for some of the step or all of it.
    """
    values = shares(column)
    flags: NDArray[np.bool_] = grid.spread(values == 1, True)
    if ((values == 0) | (values == 1)).all():
        return flags, None
    spread: NDArray[np.float32] = grid.spread(values.astype(np.float32), 1)
    return flags, spread


def shares(column: pl.Series) -> NDArray[np.float64]:
    """Return the share of each row's step for which the item could be bought, (rows,); 1 where the table does not say.

    Raises:
        SchemaError: The column holds neither yes and no, nor numbers from 0 to 1.
    """
    values = column
    if column.dtype == pl.String:
        words = {"true": "1", "false": "0", "yes": "1", "no": "0"}
        text = column.str.to_lowercase().str.strip_chars().replace(words)
        values = text.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        unread = column.filter(values.is_null() & column.is_not_null() & (text != ""))
        values = values if not len(unread) else unread  # text, which the check below refuses
    strange = column.drop_nulls().head(0)
    if values.dtype.is_numeric():
        outside = ((values < 0) | (values > 1)).fill_null(False)
        strange = column.filter(outside)
    elif values.dtype not in (pl.Boolean, pl.Null):
        strange = values.drop_nulls()
    if len(strange):
        raise SchemaError(
            f"available column {column.name!r} must hold true/false, 1/0 or the share of the step for which the item was "
            f"there, 0 to 1, found {column.dtype} like {strange[0]!r}; turn it into booleans: col > 0, or divide "
            "percentages by 100"
        )
    shares = values.cast(pl.Float64).fill_nan(None).fill_null(1.0).to_numpy(writable=True)
    return np.asarray(shares, np.float64)


def _check_static(column: pl.Series) -> None:
    kind = column.dtype
    if kind.is_nested() or kind.is_temporal() or kind in (pl.Object, pl.Binary):
        raise SchemaError(
            f"static column {column.name!r} holds {kind}; it must hold numbers or text: "
            "turn it into one, or leave it out"
        )


def static_from_rows(
    rest: pl.DataFrame, columns: Sequence[str], codes: NDArray[Any], keys: pl.DataFrame
) -> pl.DataFrame:
    """Return the static columns of a long table, one row for each series.

    Raises:
        SchemaError: A column changes inside a series.
    """
    statics = pl.DataFrame({"__series": np.arange(keys.height, dtype=np.int32)})
    for column in columns:
        _check_static(rest[column])
        pairs = pl.DataFrame({"__series": codes, column: rest[column]}).drop_nulls().unique()
        twice = pairs.filter(pairs["__series"].is_duplicated()).sort("__series", column)
        if twice.height:
            code = int(twice["__series"][0])
            raise SchemaError(
                f"static column {column!r} changes inside series {series_name(keys, code)}: "
                f"{twice[column][0]!r} and {twice[column][1]!r}; name it as another kind of covariate:",
                option="static", column=column, series=series_name(keys, code), ways=[way(past=...), way(known=...)],
            )  # fmt: skip
        statics = statics.join(pairs, on="__series", how="left", maintain_order="left")
    return statics.drop("__series")


def static_from_table(
    opened: Table, columns: Sequence[str], keys: pl.DataFrame
) -> tuple[pl.DataFrame, list[Note]]:
    """Return the static columns of a separate table, one row for each series of the panel.

    Raises:
        SchemaError: A column is absent, no key column is there, or a key has two rows.
    """
    table = opened.collect()
    on = [c for c in keys.columns if c in table.columns]
    if not on:
        raise SchemaError(
            f"the static table has none of the key columns {keys.columns}; its columns are "
            f"{table.columns}: rename its key column"
        )
    for column in columns:
        if column not in table.columns:
            raise SchemaError(
                f"the static table has no column {column!r}{suggest_column(column, table.columns)}",
                found=column,
            ).suggest(near_name(column, table.columns))
    names = list(columns) or [c for c in table.columns if c not in on]
    table = table.select(*on, *names)
    twice = table.filter(table.select(on).is_duplicated())
    if twice.height:
        name = "/".join(str(v) for v in twice.select(on).row(0))
        raise SchemaError(
            f"the static table has more than one row for series {name} ({twice.height:,} such rows); "
            f"keep one row a key: .unique({on})"
        )
    table = table.with_columns(pl.lit(True).alias("__found"))
    try:
        joined = keys.join(
            table.cast({c: keys[c].dtype for c in on}), on=on, how="left", maintain_order="left"
        )
    except pl.exceptions.PolarsError as error:
        raise SchemaError(
            f"the key columns {on} of the static table are not of the types "
            f"{[str(keys[c].dtype) for c in on]} of the main table ({str(error).splitlines()[0]})"
        ) from None
    absent = joined["__found"].is_null().arg_true()
    notes = []
    if len(absent):
        if len(absent) == keys.height:
            raise SchemaError(
                f"no series of the panel is in the static table (first: {series_name(keys, 0)}); "
                "check that both write the keys the same way"
            )
        note = Note(
            kind="static", count=len(absent), series=len(absent), severity="warning",
            example=f"series {series_name(keys, int(absent[0]))}",
            done="series without a row in the static table: their static values are unknown",
        )  # fmt: skip
        notes.append(note)
    return _convert_text(joined.select(names), opened), notes


def _convert_text(table: pl.DataFrame, opened: Table) -> pl.DataFrame:
    """Static columns of a text file with the types that all of their rows have."""
    if not opened.is_text:
        return table
    return table.with_columns(static_type(table[c], opened.hints) for c in table.columns)


def static_type(column: pl.Series, hints: Hints) -> pl.Series:
    """Convert a static column of text to whole numbers or floats if every cell is one; else leave it."""
    cells = column.drop_nulls()
    if column.dtype != pl.String or not len(cells) or cells.str.contains(r"^0\d").any():
        return column
    integers = cells.cast(pl.Int64, strict=False)
    if not integers.null_count():
        return column.cast(pl.Int64)
    try:
        values, _ = parse_numbers(column, "static", hints=hints)
    except DataError:
        return column
    return values


def encode_statics(table: pl.DataFrame) -> tuple[Statics, list[Note]]:
    """Text and small whole numbers as categories, other numbers as they are."""
    vocabularies: dict[str, tuple[str, ...]] = {}
    codes: list[NDArray[Any]] = []
    reals: list[NDArray[Any]] = []
    names: list[str] = []
    notes: list[Note] = []
    for column in table.iter_columns():
        _check_static(column)
        kind = column.dtype
        values = column.drop_nulls().unique().sort()
        small = kind.is_integer() and len(values) <= MOST_CODES and len(values) > 0
        small = small and int(values[0]) >= 0 and int(values[-1]) < 1000
        if not kind.is_numeric() or small:
            words = values.cast(pl.String).to_list()
            words = words if small else sorted(words)
            mapping = {word: i + 1 for i, word in enumerate(words)}
            code = column.cast(pl.String).replace_strict(mapping, default=0, return_dtype=pl.Int64)
            codes.append(code.fill_null(0).to_numpy())
            vocabularies[column.name] = tuple(words)
            if small:
                action = f"static {column.name!r} holds {len(words)} small whole numbers: taken as categories; cast it to float for a number"
                notes.append(
                    Note(kind="categories", count=len(words), series=0, example="", done=action)
                )
            continue
        reals.append(column.cast(pl.Float32).fill_null(float("nan")).to_numpy())
        names.append(column.name)
        if np.isinf(reals[-1]).any():
            raise DataError(f"static column {column.name!r} holds an infinite value; mend it")
    n = table.height
    statics = Statics(
        codes=np.stack(codes, 1).astype(np.int64) if codes else np.zeros((n, 0), np.int64),
        vocabularies=vocabularies,
        reals=np.stack(reals, 1).astype(np.float32) if reals else np.zeros((n, 0), np.float32),
        real_names=tuple(names),
    )
    return statics, notes
