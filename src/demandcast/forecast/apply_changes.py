"""Apply changes of covariates to the steps ahead of a panel.

`demandcast.forecast.changes` reads them from text.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import ConfigError, DataError, SchemaError
from demandcast.forecast.changes import COMPARE, Assignment, Change, Condition
from demandcast.panel.groups import describe
from demandcast.panel.time_column import time_column

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

Singles = NDArray[np.float32]
Bools = NDArray[np.bool_]
CALENDAR = ("step", "week", "month", "year", "day", "weekday")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
FLAG_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}


@dataclass(frozen=True)
class Changed:
    """A panel with changed covariates ahead.

    Attributes:
        panel: The panel; its other arrays are shared.
        columns: The user's names of the covariates that were changed.
        touched: Steps at which one differs from the plan, (N, H).
        notes: Warnings about the values.
    """

    panel: Panel
    columns: tuple[str, ...]
    touched: Bools
    notes: tuple[str, ...]


def apply(panel: Panel, changes: Sequence[Change], horizon: int) -> Changed:
    """Apply changes to the known covariates of the steps ahead, in order.

    Raises:
        SchemaError: A column is unknown, or not known ahead.
        ConfigError: A value is not a number, a category is not in the history, or nothing is selected.
        DataError: No value differs from the plan.
    """
    known = known_ahead(panel, horizon)
    changed, notes, columns = known.copy(), list[str](), dict[str, None]()
    for change in changes:
        where = _select(panel, known, change, horizon)
        for assignment in change.assignments:
            columns[resolve(panel, assignment.column)] = None
            notes += _assign(panel, changed, assignment, where)
    differs = ((changed != known) & ~(np.isnan(changed) & np.isnan(known))).any(2)
    if not differs.any():
        texts = "; ".join(change.text for change in changes)
        raise DataError(
            f"{texts}: every covariate has this value in the plan already, so nothing would change; choose another value",
            option="changes",
            found=texts,
        )
    return Changed(with_ahead(panel, changed), tuple(columns), differs, tuple(dict.fromkeys(notes)))


def known_ahead(panel: Panel, horizon: int) -> Singles:
    """Return the known covariates of the steps ahead, (N, H, K); NaN where the panel does not reach."""
    steps = panel.lengths[:, None] + np.arange(horizon)
    inside = steps < panel.extents[:, None]
    rows = np.where(inside, panel.begins[:, None] + steps, 0)
    return np.where(inside[..., None], panel.known[rows], np.float32(np.nan))


def with_ahead(panel: Panel, known: Singles) -> Panel:
    """Return the panel with other known covariates (N, H, K) ahead, in a new array."""
    steps = panel.lengths[:, None] + np.arange(known.shape[1])
    inside = steps < panel.extents[:, None]
    values = np.array(panel.known)
    values[(panel.begins[:, None] + steps)[inside]] = known[inside]
    return replace(panel, known=values)


def resolve(panel: Panel, column: str) -> str:
    """Return a known covariate by its name.

    Raises:
        SchemaError: There is no such column, or it is not known ahead.
    """
    schema = panel.schema
    if column in schema.known:
        return column
    roles = {"key": schema.key, "past": schema.past, "static": schema.static, "target": (schema.target,), "time": (schema.time,)}  # fmt: skip
    role = next((role for role, names in roles.items() if column in names), None)
    named = ", ".join(map(repr, schema.known)) or "none"
    if role is not None:
        raise SchemaError(
            f"{column!r} is the table's {role}, and only covariates known ahead can be changed: {named}; read the table "
            f"with known=[{column!r}] if it is planned",
            column=column,
            found=role,
            expected="a covariate known ahead",
        )
    near = difflib.get_close_matches(column, schema.known, 1, 0.0)
    hint = f"; did you mean {near[0]!r}?" if near else "; name some: read_panel(..., known=[...])"
    raise SchemaError(
        f"{column!r} is no covariate known ahead; there are {named}{hint}",
        found=column,
    ).suggest(near[0] if near else None)  # fmt: skip


def columns_of(panel: Panel, name: str) -> list[int]:
    """Return the columns of `panel.known` that hold a covariate: one, or one for each category."""
    return [
        i
        for i, known_name in enumerate(panel.known_names)
        if known_name == name or known_name.startswith(f"{name}=")
    ]


def _assign(panel: Panel, known: Singles, assignment: Assignment, where: Bools) -> list[str]:
    """Write one value into known (N, H, K) where a mask is true; return notes."""
    name = assignment.column
    at = columns_of(panel, name)
    rows = panel.history_rows()
    if panel.known_names[at[0]] != name:
        return _assign_category(panel, known, assignment, where, rows)
    past = panel.known[rows][:, at[0]]
    past = past[~np.isnan(past)]
    if not len(past):
        raise DataError(
            f"covariate {name!r} has no value in the history, so nothing is known of its effect",
            column=name,
            expected="values in the history",
        )
    is_flag = bool(np.isin(past, (0, 1)).all())
    value = _number(assignment, is_flag, where.shape)
    before = known[..., at[0]]
    after = {"=": value, "*=": before * value, "+=": before + value}[assignment.sign]
    after = np.where(where, after, before).astype(np.float32)
    if is_flag:
        past_values = set(np.unique(past).tolist())
        unseen = sorted(set(np.unique(after[where]).tolist()) - past_values)
        if unseen:
            raise ConfigError(
                f"covariate {name!r} was only ever {' or '.join(f'{v:g}' for v in sorted(past_values))} in the history, never "
                f"{unseen[0]:g}, so nothing is known of its effect; give a value that the history has",
                column=name,
                found=unseen[0],
                expected=" or ".join(f"{v:g}" for v in sorted(past_values)),
            )
    known[..., at[0]] = after
    return [] if is_flag else _beyond(panel, name, at[0], after, where)


def _beyond(panel: Panel, name: str, column: int, after: Singles, where: Bools) -> list[str]:
    """Return notes on values outside the history of all series, or of their own series."""
    rows = panel.history_rows()
    values = panel.known[rows][:, column].astype(np.float64)
    first = np.cumsum(panel.lengths) - panel.lengths
    nonempty = np.flatnonzero(panel.lengths)
    low, high = np.full(panel.n_series, np.nan), np.full(panel.n_series, np.nan)
    low[nonempty] = np.fmin.reduceat(values, first[nonempty])
    high[nonempty] = np.fmax.reduceat(values, first[nonempty])
    slack = 1e-6 * np.nanmax(np.abs([low, high]))
    chosen = np.where(where, after, np.nan)
    with np.errstate(invalid="ignore"):
        outside = (chosen < low[:, None] - slack) | (chosen > high[:, None] + slack)
        far = (chosen < np.nanmin(low) - slack) | (chosen > np.nanmax(high) + slack)
    notes = []
    if outside.any():
        i = int(np.argmax(outside.any(1)))
        odd = chosen[i][outside[i]][0]
        notes.append(
            f"{name}: {int(outside.any(1).sum()):,} of {int(where.any(1).sum()):,} series get values that their own history does "
            f"not have, such as {odd:g} for series {panel.key(i)}, whose history has {low[i]:g} to {high[i]:g}"
        )
    if far.any():
        i = int(np.argmax(far.any(1)))
        notes.append(
            f"{name}: {chosen[i][far[i]][0]:g} lies outside the history of every series ({np.nanmin(low):g} to "
            f"{np.nanmax(high):g}); the effect is extrapolated and may be far off"
        )
    return notes


def _assign_category(
    panel: Panel, known: Singles, assignment: Assignment, where: Bools, rows: NDArray[np.int64]
) -> list[str]:
    name, value = assignment.column, str(assignment.value)
    at = columns_of(panel, name)
    if assignment.sign != "=":
        raise ConfigError(
            f"covariate {name!r} holds categories, so {name}{assignment.sign} has no meaning; write {name}=...",
            column=name,
            found=assignment.sign,
            expected="=",
        )
    labels = {panel.known_names[i][len(name) + 1 :]: i for i in at}
    past_labels = [label for label, i in labels.items() if (panel.known[rows][:, i] == 1).any()]
    if value not in past_labels:
        near = difflib.get_close_matches(value, past_labels, 1, 0.0)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(
            f"covariate {name!r} never was {value!r} in the history, so nothing is known of its effect; it was "
            f"{', '.join(past_labels[:8])}{', ...' if len(past_labels) > 8 else ''}{hint}",
            found=value,
        ).suggest(near[0] if near else None)
    for i in at:
        known[where, i] = float(i == labels[value])
    return []


def _number(assignment: Assignment, is_flag: bool, shape: tuple[int, ...]) -> Any:
    """Return the value of an assignment as a finite number, or as an array (N, H)."""
    name, value = assignment.column, assignment.value
    if isinstance(value, str):
        if is_flag and value.lower() in FLAG_WORDS:
            return FLAG_WORDS[value.lower()]
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if not np.isfinite(number):
            raise ConfigError(
                f"{name}{assignment.sign}{value}: {value!r} is no finite number, and {name!r} holds numbers",
                column=name,
                found=value,
                expected="a finite number",
            )
        return number
    try:
        array = np.broadcast_to(np.asarray(value, np.float64), shape)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{name} is {np.shape(value)}; give a number, or numbers for (series, steps) {shape} or ({shape[1]},)",
            column=name,
            found=np.shape(value),
            expected=f"{shape} or ({shape[1]},)",
        ) from None
    if not np.isfinite(array).all():
        raise ConfigError(
            f"{name} has values that are no finite numbers; give one for every step",
            column=name,
            expected="finite numbers",
        )
    return array


def _select(panel: Panel, known: Singles, change: Change, horizon: int) -> Bools:
    """Return the steps at which the conditions of a change hold, (N, H)."""
    where = np.ones((panel.n_series, horizon), bool)
    for condition in change.conditions:
        values = _values(panel, known, condition, horizon)
        holds = [_compare(values, condition, text) for text in condition.values]
        matches = np.logical_or.reduce(holds)
        where &= matches
        if not matches.any():
            present = values[~_missing(values)]
            range_text = (
                f"it goes from {present.min()} to {present.max()}"
                if len(present)
                else "it has no value"
            )
            raise ConfigError(
                f"{change.text!r}: no series and step ahead has {condition.column}{condition.sign}"
                f"{'|'.join(condition.values)}; {range_text}",
                column=condition.column,
                found="|".join(condition.values),
            )
    if not where.any():
        raise ConfigError(
            f"{change.text!r} selects no series and step: its conditions never hold together",
            option="changes",
            found=change.text,
        )
    return where


def _values(panel: Panel, known: Singles, condition: Condition, horizon: int) -> NDArray[Any]:
    """Return the values of a condition's column at the steps ahead, (N, H)."""
    column, shape = condition.column, (panel.n_series, horizon)
    table = describe(panel)
    if column in table.columns:
        cells = table[column].to_numpy()
        return np.broadcast_to(cells[:, None], shape)
    if column in panel.schema.known:
        at = columns_of(panel, column)
        if panel.known_names[at[0]] == column:
            return known[..., at[0]]
        labels = np.array(
            [panel.known_names[i][len(column) + 1 :] for i in at] + [""], dtype=object
        )
        flags = np.nan_to_num(known[..., at]) == 1
        return np.asarray(labels[np.where(flags.any(2), flags.argmax(2), len(at))])
    steps = panel.ends()[:, None] + 1 + np.arange(horizon)
    if column == "step":
        return np.broadcast_to(1 + np.arange(horizon), shape)
    if column == panel.schema.time or (column in CALENDAR and not panel.freq.is_integer):
        times = time_column(panel.schema, steps.ravel(), panel.time_zone, panel.time_dtype)
        if column == panel.schema.time:
            naive = times if panel.freq.is_integer else times.cast(_naive(times))
            return naive.to_numpy().reshape(shape)
        part: Any = getattr(times.dt, column)()
        return np.asarray(part.to_numpy().reshape(shape), np.int64)
    calendar = () if panel.freq.is_integer else CALENDAR[1:]
    names = [*table.columns, *panel.schema.known, panel.schema.time, "step", *calendar]
    near = difflib.get_close_matches(column, names, 1, 0.0)
    raise SchemaError(
        f"a condition names {column!r}, which the forecast does not have; did you mean {near[0]!r}? There are {', '.join(names)}",
        found=column,
    ).suggest(near[0])  # fmt: skip


def _naive(times: Any) -> Any:
    return pl.Date if times.dtype == pl.Date else pl.Datetime("us")


def _missing(values: NDArray[Any]) -> Bools:
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values))
    if values.dtype == object:
        return np.array([[v is None for v in row] for row in values])
    return np.zeros(values.shape, bool)


def _compare(values: NDArray[Any], condition: Condition, text: str) -> Bools:
    """Compare values (N, H) with a text, converted to their type."""
    sign, column = COMPARE[condition.sign], condition.column
    if values.dtype.kind == "M":
        try:
            return np.asarray(sign(values, np.datetime64(text)))
        except ValueError:
            raise ConfigError(
                f"{column}{condition.sign}{text}: write the time as 2024-12-24",
                column=column,
                found=text,
                expected="a time, such as 2024-12-24",
            ) from None
    if values.dtype.kind in "fiu":
        if column == "weekday" and text.lower() in WEEKDAYS:
            text = str(WEEKDAYS.index(text.lower()) + 1)
        text = str(FLAG_WORDS.get(text.lower(), text))
        try:
            return np.asarray(
                sign(
                    values,
                    np.float64(text).astype(values.dtype)
                    if values.dtype.kind == "f"
                    else float(text),
                )
            )
        except ValueError:
            raise ConfigError(
                f"{column}{condition.sign}{text}: {text!r} is no number, and {column!r} holds numbers",
                column=column,
                found=text,
                expected="a number",
            ) from None
    if condition.sign not in ("=", "!="):
        raise ConfigError(
            f"{column}{condition.sign}{text}: {column!r} holds text, which is compared with = and != only",
            column=column,
            found=condition.sign,
            expected="= or !=",
        )
    same = np.array([[str(v) == text for v in row] for row in values[:, :1]]) if _is_constant(values) else np.array(
        [[str(v) == text for v in row] for row in values]
    )  # fmt: skip
    return np.broadcast_to(same if condition.sign == "=" else ~same, values.shape)


def _is_constant(values: NDArray[Any]) -> bool:
    """Return whether each row is one value broadcast over the steps, like a key column."""
    return values.strides[1] == 0
