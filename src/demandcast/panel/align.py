"""Encode a newer panel as the panel that a model was fitted on.

`fit` decides once whether a column holds numbers or categories, and which categories exist. A newer table may lack
a category, or hold numbers where the first one held text, and still mean the same values.
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
    """Return the panel with the covariates and static attributes of a fitted model, as far as it has their columns.

    A category that does not occur in the panel is 0 in every row. A column of numbers is encoded as categories, or
    the other way round, where the model needs it. Every change adds a note; without a change the panel itself is
    returned.

    Args:
        panel: The newer panel.
        known, past: Names of the model's covariates; a category is named "column=value".
        vocabularies: Static columns that the model reads as categories.
        reals: Static columns that the model reads as numbers.
    """
    actions: list[str] = []
    known_values, known_names = _add_covariates(
        panel.known, panel.known_names, panel.schema.known, known, actions
    )
    past_values, past_names = _add_covariates(
        panel.past, panel.past_names, panel.schema.past, past, actions
    )
    if actions:
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
            actions.append(
                f"static {name!r} holds numbers here, categories at the fit: taken as categories"
            )
    for name in reals:
        if name in panel.vocabularies:
            panel = _as_numbers(panel, name)
            actions.append(
                f"static {name!r} holds categories here, numbers at the fit: taken as numbers"
            )
    notes = [
        Note(kind="encoding", count=1, series=0, example="", done=action) for action in actions
    ]
    return replace(panel, notes=(*panel.notes, *notes)) if actions else panel


def _add_covariates(
    values: Floats,
    names: Sequence[str],
    columns: Sequence[str],
    required: Sequence[str],
    actions: list[str],
) -> tuple[Floats, tuple[str, ...]]:
    """Return values and names of one role's covariates, with the required ones that its columns can give."""
    present = list(names)
    added: dict[str, Floats] = {}
    for name in required:
        column, is_category, category = name.partition("=")
        if name in present or column not in columns:
            continue
        if is_category and column in present:
            added[name] = _equals_category(values[:, present.index(column)], category)
            actions.append(
                f"covariate {column!r} holds numbers here, categories at the fit: taken as categories"
            )
        elif is_category:
            added[name] = np.zeros(len(values), np.float32)
            actions.append(
                f"covariate {column!r} is never {category!r} here: that category is 0 in every row"
            )
        else:
            categories = {n: n[len(column) + 1 :] for n in present if n.startswith(f"{column}=")}
            number = np.full(len(values), np.nan, np.float32)
            for label, text in categories.items():
                number[values[:, present.index(label)] == 1] = _parse_number(text)
            added[name] = number
            actions.append(
                f"covariate {column!r} holds text here, numbers at the fit: text that is no number is missing"
            )
    if not added:
        return values, tuple(names)
    return np.column_stack([values, *added.values()]).astype(np.float32), (*names, *added)


def _equals_category(numbers: Floats, category: str) -> Floats:
    """Return 1 where a number equals the one that names a category, else 0."""
    flags = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
    value = flags.get(category.lower(), _parse_number(category))
    return np.asarray(numbers == np.float32(value), np.float32)


def _parse_number(text: str) -> float:
    """Return a text as a number, NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _as_categories(panel: Panel, name: str) -> Panel:
    """Encode a static column of numbers as categories."""
    j = panel.static_real_names.index(name)
    numbers = panel.static_reals[:, j]
    distinct = np.unique(numbers[~np.isnan(numbers)])
    categories = tuple(str(int(v)) if float(v).is_integer() else str(v) for v in distinct)
    codes = np.where(np.isnan(numbers), 0, np.searchsorted(distinct, numbers) + 1)
    return replace(
        panel,
        static_reals=np.delete(panel.static_reals, j, 1),
        static_real_names=tuple(n for n in panel.static_real_names if n != name),
        static_codes=np.column_stack([panel.static_codes, codes]).astype(np.int64),
        vocabularies={**panel.vocabularies, name: categories},
    )


def _as_numbers(panel: Panel, name: str) -> Panel:
    """Encode a static column of categories as numbers."""
    j = list(panel.vocabularies).index(name)
    values = np.array(
        [np.nan, *(_parse_number(category) for category in panel.vocabularies[name])], np.float32
    )
    numbers: Any = values[panel.static_codes[:, j]]
    return replace(
        panel,
        static_codes=np.delete(panel.static_codes, j, 1),
        vocabularies={k: v for k, v in panel.vocabularies.items() if k != name},
        static_reals=np.column_stack([panel.static_reals, numbers]).astype(np.float32),
        static_real_names=(*panel.static_real_names, name),
    )
