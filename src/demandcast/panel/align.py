"""A newer panel in the encoding of the panel that a model was fitted on.

What a column is, numbers or categories, and which categories there are, is decided once, at the fit. A newer table
may lack a category, have only numbers where there was text, or the other way round: it means the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.panel.panel import Note, Panel

Floats = NDArray[np.float32]


def align(
    panel: Panel,
    *,
    known: Sequence[str],
    past: Sequence[str],
    vocabularies: Sequence[str],
    reals: Sequence[str],
) -> Panel:
    """The panel with the covariates and static attributes that a model knows, where it has their columns.

    A category that the panel has not is 0 in all of its rows; numbers and categories of one column become each
    other. What was done is a note. The same panel where nothing is missing.

    Args:
        panel: The newer panel.
        known, past: Names of the covariates wanted; of a category "column=value".
        vocabularies: Static columns that are categories to the model.
        reals: Static columns that are numbers to it.
    """
    told: list[str] = []
    known_values, known_names = _by_step(
        panel.known, panel.known_names, panel.schema.known, known, told
    )
    past_values, past_names = _by_step(panel.past, panel.past_names, panel.schema.past, past, told)
    if told:
        panel = replace(
            panel,
            known=known_values,
            known_names=known_names,
            past=past_values,
            past_names=past_names,
        )
    for name in vocabularies:
        if name in panel.static_real_names:
            panel = _as_categories(panel, name)
            told.append(
                f"static {name!r} holds numbers here, categories at the fit: taken as categories"
            )
    for name in reals:
        if name in panel.vocabularies:
            panel = _as_numbers(panel, name)
            told.append(
                f"static {name!r} holds categories here, numbers at the fit: taken as numbers"
            )
    notes = [Note(kind="encoding", count=1, series=0, example="", action=action) for action in told]
    return replace(panel, notes=(*panel.notes, *notes)) if told else panel


def _by_step(
    values: Floats,
    names: Sequence[str],
    columns: Sequence[str],
    wanted: Sequence[str],
    told: list[str],
) -> tuple[Floats, tuple[str, ...]]:
    """The covariates of a role, with those that are wanted and follow from the columns that are there."""
    have = list(names)
    fresh: dict[str, Floats] = {}
    for name in wanted:
        column, is_category, word = name.partition("=")
        if name in have or column not in columns:
            continue
        if is_category and column in have:
            fresh[name] = _equals(values[:, have.index(column)], word)
            told.append(
                f"covariate {column!r} holds numbers here, categories at the fit: taken as categories"
            )
        elif is_category:
            fresh[name] = np.zeros(len(values), np.float32)
            told.append(
                f"covariate {column!r} is never {word!r} here: that category is 0 in every row"
            )
        else:
            words = {n: n[len(column) + 1 :] for n in have if n.startswith(f"{column}=")}
            number = np.full(len(values), np.nan, np.float32)
            for label, text in words.items():
                number[values[:, have.index(label)] == 1] = _number(text)
            fresh[name] = number
            told.append(
                f"covariate {column!r} holds text here, numbers at the fit: text that is no number is missing"
            )
    if not fresh:
        return values, tuple(names)
    return np.column_stack([values, *fresh.values()]).astype(np.float32), (*names, *fresh)


def _equals(numbers: Floats, word: str) -> Floats:
    """1 where a number is the one that a category is named by."""
    flags = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
    value = flags.get(word.lower(), _number(word))
    return np.asarray(numbers == np.float32(value), np.float32)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _as_categories(panel: Panel, name: str) -> Panel:
    j = panel.static_real_names.index(name)
    numbers = panel.static_reals[:, j]
    seen = np.unique(numbers[~np.isnan(numbers)])
    words = tuple(str(int(v)) if float(v).is_integer() else str(v) for v in seen)
    codes = np.where(np.isnan(numbers), 0, np.searchsorted(seen, numbers) + 1)
    return replace(
        panel,
        static_reals=np.delete(panel.static_reals, j, 1),
        static_real_names=tuple(n for n in panel.static_real_names if n != name),
        static_codes=np.column_stack([panel.static_codes, codes]).astype(np.int64),
        vocabularies={**panel.vocabularies, name: words},
    )


def _as_numbers(panel: Panel, name: str) -> Panel:
    j = list(panel.vocabularies).index(name)
    values = np.array([np.nan, *(_number(word) for word in panel.vocabularies[name])], np.float32)
    numbers: Any = values[panel.static_codes[:, j]]
    return replace(
        panel,
        static_codes=np.delete(panel.static_codes, j, 1),
        vocabularies={k: v for k, v in panel.vocabularies.items() if k != name},
        static_reals=np.column_stack([panel.static_reals, numbers]).astype(np.float32),
        static_real_names=(*panel.static_real_names, name),
    )
