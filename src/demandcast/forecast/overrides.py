"""Planners' changes on top of a forecast: checked, applied to whole distributions, kept apart, and scored.

A table of overrides has a row for each change: key columns and static categories that name the series (an empty cell
names all), `from` and `to` (the first and the last time; empty for the first and last step), `factor` or `level`,
`author` and `reason`.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError
from demandcast.panel.groups import describe
from demandcast.panel.time_column import time_column

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
OWN = ("from", "to", "factor", "level", "author", "reason")


@dataclass(frozen=True)
class Override:
    """One row of the table, checked.

    Attributes:
        row: Its number in the table, from 1.
        where: Mask of the series and steps that it changes, (N, H).
        factor, level: The change; one of them is None.
        author, reason: Who made it, and why.
    """

    row: int
    where: NDArray[np.bool_]
    factor: float | None
    level: float | None
    author: str
    reason: str


@dataclass(frozen=True)
class Overridden:
    """A forecast with overrides and the same forecast without.

    Attributes:
        forecast: With the overrides.
        baseline: Without them.
        overrides: The rows, in the order of the table.
    """

    forecast: Forecast
    baseline: Forecast
    overrides: tuple[Override, ...]

    def to_frame(self) -> pl.DataFrame:
        """Return one row for each series and step that was changed: key, time, author, reason, `baseline`, "mean"."""
        code = self._codes()
        rows = np.flatnonzero(code.ravel() >= 0)
        of = code.ravel()[rows]
        steps: pl.DataFrame = self.forecast._steps()[rows.tolist()]
        named: dict[str, Any] = {
            "author": [self.overrides[i].author for i in of],
            "reason": [self.overrides[i].reason for i in of],
            "baseline": self.baseline.mean.ravel()[rows],
            "mean": self.forecast.mean.ravel()[rows],
        }
        return steps.with_columns(pl.Series(self.forecast.column(k), v) for k, v in named.items())

    def value_added(self) -> pl.DataFrame:
        """Score the overrides on the observed values, by author and reason.

        The forecast was made of a panel whose later steps are known, such as `panel.drop_last(28)`.

        Returns:
            `author`, `reason`, observed `steps`, `error_before` and `error_after` (the sum of the quantile
            loss, mean over the levels), `value_added` (the difference, above 0 where the overrides helped) and `share`
            of the steps that they made better.

        Raises:
            DataError: No changed step was observed.
        """
        panel = self.baseline.panel
        if panel is None:
            raise DataError(
                "this forecast does not know the panel it was made from; override what predict returned",
                option="forecast",
                expected="what model.predict returned",
            )
        actual = panel.future_target(self.baseline.horizon, available=True).astype(np.float64)
        code = np.where(np.isnan(actual), -1, self._codes())
        if not (code >= 0).any():
            raise DataError(
                "no value came at a step that was overridden, so nothing can be scored; forecast from an earlier time, "
                "as in model.predict(panel.drop_last(28))"
            )
        before, after = (_loss(f, actual) for f in (self.baseline, self.forecast))
        names: dict[tuple[str, str], None] = dict.fromkeys(
            (o.author, o.reason) for o in self.overrides
        )
        rows = []
        for author, reason in names:
            numbers = [
                i for i, o in enumerate(self.overrides) if (o.author, o.reason) == (author, reason)
            ]
            overridden = np.isin(code, numbers)
            count = int(overridden.sum())
            if count:
                old, new = float(before[overridden].sum()), float(after[overridden].sum())
                rows.append(
                    (
                        author,
                        reason,
                        count,
                        old,
                        new,
                        old - new,
                        float((after < before)[overridden].mean()),
                    )
                )
        return pl.DataFrame(
            rows, orient="row",
            schema={"author": pl.String, "reason": pl.String, "steps": pl.Int64, "error_before": pl.Float64,
                    "error_after": pl.Float64, "value_added": pl.Float64, "share": pl.Float64},
        )  # fmt: skip

    def _codes(self) -> Ints:
        """Return the index of the override of each series and step, (N, H); -1 for none."""
        code = np.full(self.forecast.mean.shape, -1)
        for i, override in enumerate(self.overrides):
            code[override.where] = i
        return code


def override(forecast: Forecast, table: Any) -> Overridden:
    """Apply a table of overrides, as `Forecast.override` documents."""
    overrides = read_overrides(forecast, table)
    mean = forecast.mean.astype(np.float64)
    ratio, shift = np.ones_like(mean), np.zeros_like(mean)
    negative = np.zeros(len(mean), bool) if forecast.panel is None else forecast.panel.floors() < 0
    for one in overrides:
        if one.factor is not None:
            ratio[one.where] = one.factor
            continue
        assert one.level is not None
        scales = one.where & (mean > 0) & ~negative[:, None]
        ratio[scales] = one.level / mean[scales]
        shift[one.where & ~scales] = one.level - mean[one.where & ~scales]
    scale, add = ratio.astype(np.float32), shift.astype(np.float32)
    samples = forecast.samples
    changed = replace(
        forecast, quantiles=forecast.quantiles * scale[..., None] + add[..., None],
        mean=(mean * ratio + shift).astype(np.float32),
        samples=None if samples is None else samples * scale[:, None] + add[:, None],
        events=None, forecaster=None,
        notes=(*forecast.notes, f"{len(overrides)} overrides change {int(sum(o.where.sum() for o in overrides)):,} steps"),
    )  # fmt: skip
    return Overridden(changed, forecast, overrides)


def check_columns(columns: Collection[str]) -> None:
    """Refuse a table of overrides without the columns that it needs.

    Raises:
        SchemaError: `author`, `reason`, or both of `factor` and `level` are missing.
    """
    absent = [c for c in ("author", "reason") if c not in columns]
    if absent or not {"factor", "level"} & {*columns}:
        raise SchemaError(
            f"the table of overrides has no column {absent[0] if absent else 'factor or level'!r}; it needs author, reason, "
            "and factor or level",
            column=absent[0] if absent else "factor",
            found=columns,
        )


def read_overrides(forecast: Forecast, table: Any) -> tuple[Override, ...]:
    """Check a table of overrides against the series and steps of a forecast.

    Raises:
        SchemaError: A column is unknown, or one that is needed is absent.
        DataError: A row names no series or no step ahead, begins in the past, has no change or two, or changes a step
            that another row changes.
    """
    frame: pl.DataFrame = nw.from_native(table, eager_only=True).to_polars()
    names = forecast.keys if forecast.panel is None else describe(forecast.panel)
    known = [*names.columns, *OWN]
    for column in frame.columns:
        if column not in known:
            near = difflib.get_close_matches(column, known, 1, 0.0)[0]
            raise SchemaError(
                f"the table of overrides has a column {column!r}; did you mean {near!r}? There may be {', '.join(known)}",
                found=column,
            ).suggest(near)  # fmt: skip
    check_columns(frame.columns)
    if not frame.height:
        raise DataError(
            "the table of overrides holds no rows; leave it out if nothing is changed",
            option="overrides",
            found=0,
            expected="one row or more",
        )
    n, horizon = forecast.mean.shape
    steps = (forecast.cutoffs[:, None] + 1 + np.arange(horizon)).ravel()
    times = time_column(forecast.schema, steps, forecast.time_zone, forecast.time_dtype)
    if times.dtype.is_temporal():
        times = (
            times.cast(pl.Datetime("us"))
            if times.dtype == pl.Date
            else times.dt.replace_time_zone(None)
        )
    stamps = times.to_numpy().reshape(n, horizon)
    overrides = list[Override]()
    row_of = np.zeros((n, horizon), np.int64)
    for number, row in enumerate(frame.iter_rows(named=True), 1):
        one = _check_row(number, row, names, stamps)
        clash = one.where & (row_of > 0)
        if clash.any():
            i, h = np.argwhere(clash)[0]
            raise DataError(
                f"rows {row_of[i, h]} and {number} of the overrides both change series {_name(forecast.keys, int(i))} at "
                f"{stamps[i, h]!s:.19}; keep one of them"
            )
        row_of[one.where] = number
        overrides.append(one)
    return tuple(overrides)


def _check_row(
    number: int, row: dict[str, Any], names: pl.DataFrame, stamps: NDArray[Any]
) -> Override:
    place = f"row {number} of the overrides"
    series = np.ones(len(stamps), bool)
    for column in names.columns:
        value = row.get(column)
        if value is None or value == "":
            continue
        matches = np.array([str(v) == str(value) for v in names[column].to_list()])
        if not matches.any():
            texts = list(dict.fromkeys(map(str, names[column].to_list())))
            near = difflib.get_close_matches(str(value), texts, 1, 0.0)
            raise DataError(
                f"{place} names {column} {value!r}, which is not forecast; did you mean {near[0]!r}?",
                found=value,
            ).suggest(near[0])  # fmt: skip
        series &= matches
    if not series.any():
        raise DataError(f"{place}: no series has these values together; name one that is forecast")
    begin, end = (_time(row.get(c), stamps.dtype, f"{place}, {c}") for c in ("from", "to"))
    first, last = stamps[series].min(), stamps[series].max()
    if begin is not None and begin < first:
        raise DataError(
            f"{place} begins at {begin!s:.19}, in the past: the forecast begins at {first!s:.19}; begin there, or leave "
            "from empty"
        )
    if begin is not None and end is not None and end < begin:
        raise DataError(
            f"{place} ends at {end!s:.19}, before it begins at {begin!s:.19}; swap them"
        )
    where = np.broadcast_to(series[:, None], stamps.shape).copy()
    if begin is not None:
        where &= stamps >= begin
    if end is not None:
        where &= stamps <= end
    if not where.any():
        raise DataError(
            f"{place} covers no step of the forecast, which goes from {first!s:.19} to {last!s:.19}"
        )
    factor, level = (_number(row.get(c), f"{place}, {c}") for c in ("factor", "level"))
    if (factor is None) == (level is None):
        both = "both a factor and a level" if factor is not None else "neither a factor nor a level"
        raise DataError(f"{place} has {both}; give one of them")
    author, reason = (str(row.get(c) or "").strip() for c in ("author", "reason"))
    if not author or not reason:
        raise DataError(
            f"{place} has no {'reason' if author else 'author'}; give it: overrides are scored by both"
        )
    return Override(number, where, factor, level, author, reason)


def _number(value: Any, place: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if not np.isfinite(number) or number < 0:
        raise DataError(f"{place} is {value!r}; it is a number, 0 or more")
    return number


def _time(value: Any, dtype: np.dtype[Any], place: str) -> Any:
    if value is None or value == "":
        return None
    if dtype.kind == "M":
        try:
            return np.datetime64(str(value).replace("+00:00", "").strip().replace(" ", "T"), "us")
        except ValueError:
            raise DataError(f"{place} is {value!r}; write a time as 2024-12-24") from None
    try:
        return dtype.type(value)
    except (TypeError, ValueError):
        raise DataError(f"{place} is {value!r}; times are whole numbers here") from None


def _name(keys: pl.DataFrame, row: int) -> str:
    return "/".join(map(str, keys.row(row)))


def _loss(forecast: Forecast, actual: Doubles) -> Doubles:
    """Return the quantile loss of each series and step, mean over the levels, (N, H)."""
    levels = np.array(forecast.levels)
    apart = actual[..., None] - forecast.quantiles
    return np.asarray(np.maximum(levels * apart, (levels - 1) * apart).mean(2))
