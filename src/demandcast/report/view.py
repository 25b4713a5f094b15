"""Gather what a report shows of a forecast: one row for each series, and totals over all of them.

A view is a forecast of the steps ahead, or the last fold of a backtest with its actual values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError
from demandcast.forecast.forecast import Forecast
from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel
from demandcast.report.words import time_labels

if TYPE_CHECKING:
    from demandcast.automl.account import HeldOut

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
GROUPS = 60  # groups that a column may have to split the items by


@dataclass(frozen=True, kw_only=True)
class View:
    """Forecasts of N series by one or more models, with history, actual values and errors.

    Attributes:
        label: Name of the view on the page.
        forecasts: Model -> its forecast, the best first; all of the same N series in the same order.
        panel: The history, or None.
        rows: Row of each series in the panel, (N,); -1 if it has none.
        actual: Actual values of the steps ahead, (N, H); NaN where not known.
        held_out: Forecasts of held-out steps of the same series, with the actual values, or None.
        total: Sum of the means over the horizon, (N,).
        previous: Sum over as many steps before, (N,); NaN if none was observed.
        year_before: Sum over the same steps a year before, (N,); NaN if one was not observed.
        margin: Half the width of the outer band, summed over the horizon, (N,); NaN without a band.
        observed: Number of observed values in the history, (N,).
        missed: Absolute error of the median, summed over the actual or held-out values, (N,).
        naive_missed: The same of the seasonal naive, (N,).
        size: Sum of the absolute actual or held-out values, (N,).
    """

    label: str
    forecasts: dict[str, Forecast]
    panel: Panel | None
    rows: Ints
    actual: Doubles
    held_out: HeldOut | None
    total: Doubles
    previous: Doubles
    year_before: Doubles
    margin: Doubles
    observed: Ints
    missed: Doubles
    naive_missed: Doubles
    size: Doubles

    @classmethod
    def of(
        cls,
        label: str,
        forecasts: Mapping[str, Forecast],
        panel: Panel | None,
        *,
        actual: NDArray[Any] | None = None,
        naive: str | None = None,
        held_out: HeldOut | None = None,
    ) -> View:
        """Return the view of forecasts of the same series.

        Args:
            label: Name of the view on the page.
            forecasts: Model -> its forecast, the best first.
            panel: The history, and the values after it that are known.
            actual: Actual values, (N, H); in place of those of the panel.
            naive: The name of the seasonal naive among the models.
            held_out: Forecasts of held-out steps, made during the search of `auto`.
        """
        first = next(iter(forecasts.values()))
        aligned = {name: _in_order(forecast, first) for name, forecast in forecasts.items()}
        rows = _rows(panel, first)
        n, horizon = first.mean.shape
        after = 1 + np.arange(horizon)
        outcomes = (
            values_at(panel, rows, first.cutoffs, after) if actual is None else np.asarray(actual)
        )
        recent = values_at(panel, rows, first.cutoffs, after - horizon)
        n_recent = (~np.isnan(recent)).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            previous = np.nansum(recent, 1) * horizon / np.where(n_recent > 0, n_recent, np.nan)
        year = _year(first.schema.freq)
        before = np.full((n, horizon), np.nan)
        if year is not None and year >= horizon:
            before = values_at(panel, rows, first.cutoffs, after - year)
        band = mirrored_levels(first)[:1]
        margin = np.full(n, np.nan)
        for low, high in band:
            margin = (first.quantiles[..., high] - first.quantiles[..., low]).sum(1) / 2.0
        observed = np.zeros(n, np.int64)
        if panel is not None:
            observed = np.where(rows >= 0, panel.n_observed()[np.maximum(rows, 0)], 0)
        missed, naive_missed, size = (np.full(n, np.nan) for _ in range(3))
        if held_out is not None:
            missed, naive_missed, size = held_out.errors(first.keys)
        elif not np.isnan(outcomes).all():
            missed, size = _absolute_error(_point(first), outcomes), np.nansum(np.abs(outcomes), 1)
            if naive is not None:
                naive_missed = _absolute_error(_point(aligned[naive]), outcomes)
        return cls(
            label=label,
            forecasts=aligned,
            panel=panel,
            rows=rows,
            actual=outcomes.astype(np.float64),
            held_out=held_out,
            total=first.mean.sum(1, dtype=np.float64),
            previous=previous,
            year_before=before.sum(1),  # NaN where any is missing
            margin=margin.astype(np.float64),
            observed=observed,
            missed=missed,
            naive_missed=naive_missed,
            size=size,
        )

    @property
    def first(self) -> Forecast:
        return next(iter(self.forecasts.values()))

    @property
    def grid(self) -> Frequency:
        return Frequency.parse(self.first.schema.freq)

    @property
    def names(self) -> list[str]:
        return ["/".join(map(str, key)) for key in self.first.keys.iter_rows()]

    @property
    def error(self) -> Doubles:
        """Absolute error as a share of the values, (N,); NaN if their sum is 0 or none is known."""
        return self.missed / np.where(self.size > 0, self.size, np.nan)

    @property
    def naive_error(self) -> Doubles:
        return self.naive_missed / np.where(self.size > 0, self.size, np.nan)

    @property
    def has_actual(self) -> bool:
        return not bool(np.isnan(self.actual).all())

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The group of each series, for each column that splits them."""
        return _groups(self.panel, self.rows, self.first.keys)

    def courses(self, series: Ints) -> list[tuple[list[float], list[float]]]:
        """Return the last values of the history and the means of the steps ahead, for the rows `series`."""
        steps = np.arange(1 - self.first.horizon, 1)
        past = values_at(self.panel, self.rows[series], self.first.cutoffs[series], steps)
        return list(zip(past.tolist(), self.first.mean[series].tolist(), strict=True))

    def dates(self) -> tuple[str, str]:
        """Return the first and the last step forecast, over all series, as labels."""
        ends = np.array([self.first.cutoffs.min() + 1, self.first.cutoffs.max()])
        ends[1] += self.first.horizon
        first, last = time_labels(ends, self.grid, self.first.time_zone)
        return first, last


def median_of(forecast: Forecast) -> NDArray[Any]:
    if forecast.samples is not None and not np.isclose(forecast.levels, 0.5).any():
        return np.asarray(np.median(forecast.samples, axis=1))
    return forecast.median


def _point(forecast: Forecast) -> NDArray[Any]:
    try:
        return median_of(forecast)
    except DataError:
        return forecast.mean


def mirrored_levels(forecast: Forecast) -> list[tuple[int, int]]:
    """Return the outermost pair of levels symmetric around 0.5, and the one of about half its share."""
    levels = forecast.levels
    pairs = [
        (a, b)
        for a in range(len(levels))
        for b in range(len(levels))
        if levels[a] < 0.5 < levels[b] and np.isclose(levels[a] + levels[b], 1)
    ]
    if len(pairs) < 2:
        return pairs
    share = [levels[b] - levels[a] for a, b in pairs]
    inner = min(range(1, len(pairs)), key=lambda i: abs(share[i] - share[0] / 2))
    return [pairs[0], pairs[inner]]


def _in_order(forecast: Forecast, like: Forecast) -> Forecast:
    """Return a forecast with its series in the order of another's."""
    if forecast.keys.equals(like.keys):
        return forecast
    place = {key: i for i, key in enumerate(forecast.keys.iter_rows())}
    order = np.array([place[key] for key in like.keys.iter_rows()])
    return Forecast(
        schema=forecast.schema,
        keys=like.keys,
        cutoffs=forecast.cutoffs[order],
        levels=forecast.levels,
        quantiles=forecast.quantiles[order],
        mean=forecast.mean[order],
        samples=None if forecast.samples is None else forecast.samples[order],
        model=forecast.model,
        time_zone=forecast.time_zone,
        time_dtype=forecast.time_dtype,
    )


def _rows(panel: Panel | None, forecast: Forecast) -> Ints:
    if panel is None:
        return np.full(forecast.n_series, -1, np.int64)
    if panel.keys.equals(forecast.keys):
        return np.arange(forecast.n_series)
    place = {key: i for i, key in enumerate(panel.keys.iter_rows())}
    return np.array([place.get(key, -1) for key in forecast.keys.iter_rows()], np.int64)


def values_at(
    panel: Panel | None,
    rows: Ints,
    cutoffs: Ints,
    offsets: Ints,
    *,
    of: NDArray[np.float32] | None = None,
) -> Doubles:
    """Return the values of a column at given offsets from each cutoff, (N, S); NaN where the panel has none.

    Args:
        panel: The panel; None gives NaN.
        rows: Row of each series in the panel, (N,); -1 gives NaN.
        cutoffs: Cutoff of each series as a step of the grid, (N,).
        offsets: Steps from the cutoff, (S,).
        of: The column, flat as the panel's own; the target by default.
    """
    if panel is None or not len(offsets):
        return np.full((len(rows), len(offsets)), np.nan)
    panel_rows = np.maximum(rows, 0)
    at = (cutoffs - panel.starts[panel_rows])[:, None] + offsets
    inside = (at >= 0) & (at < panel.extents[panel_rows][:, None]) & (rows >= 0)[:, None]
    place = np.where(inside, panel.begins[panel_rows][:, None] + at, 0)
    column = panel.target if of is None else of
    return np.where(inside, column[place], np.nan).astype(np.float64)


def _year(freq: str) -> int | None:
    """Return the steps in a year, as 52 weeks below a month; None if they are no whole number."""
    grid = Frequency.parse(freq)
    if grid.unit == "M":
        return 12 // grid.step if 12 % grid.step == 0 else None
    week = 7 * 86400
    if grid.unit == "s" and not grid.is_subdaily and (52 * week) % grid.step == 0:
        return 52 * week // grid.step
    return None


def _absolute_error(point: NDArray[Any], actual: Doubles) -> Doubles:
    finite = ~np.isnan(actual)
    return np.where(finite.any(1), np.nansum(np.abs(actual - point), 1), np.nan)


def _groups(panel: Panel | None, rows: Ints, keys: pl.DataFrame) -> dict[str, list[str]]:
    """Return the columns that group the series, and the group of each series.

    They are static categories, the class of demand, and the columns of a key of several.
    """
    columns: dict[str, list[str]] = {}
    if panel is not None and (rows >= 0).all():
        for j, (name, words) in enumerate(panel.vocabularies.items()):
            codes = panel.static_codes[rows, j]
            columns[name] = ["unknown" if c == 0 else str(words[c - 1]) for c in codes]
        if "class" not in columns and np.isfinite(panel.target).any():
            kinds = panel.profile()["class"].to_list()
            columns["class of demand"] = [str(kinds[row]) for row in rows]
    if keys.width > 1:
        for name in keys.columns:
            columns.setdefault(name, [str(value) for value in keys[name]])
    return {name: labels for name, labels in columns.items() if 2 <= len(set(labels)) <= GROUPS}
