"""Gather what a report shows of a forecast: one row a series, and totals over all of them.

A view is a forecast of the steps ahead, or the last fold of a backtest with the values that came.
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
from demandcast.report.columns import Columns
from demandcast.report.picture import HISTORY, LONGEST
from demandcast.report.words import span, time_labels

if TYPE_CHECKING:
    from demandcast.automl.account import HeldOut

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
VALUES = 7_000_000  # numbers in the charts of a page at most, which is about 9 MB of it
PRECISE = 1_000_000  # numbers below which a page keeps one digit more
GROUPS = 60  # groups that a column may have to split the items by
COVARIATES = 6  # known covariates that are drawn below an item
MOST_LABELS = 200_000  # steps of the calendar that a page names


@dataclass(frozen=True, kw_only=True)
class View:
    """Forecasts of N series by one or more models, and what is known beside them.

    Attributes:
        label: Its name in the page's choice of views.
        forecasts: By model, the best first; all of the same N series, in the order of the first.
        panel: The history, or None.
        rows: Row of each series in the panel, (N,); -1 where it has none.
        came: Values of the steps forecast, (N, H), NaN where not known.
        held_out: Earlier forecasts of the same series and what came, or None.
        total: Sum of the means over the horizon, (N,).
        previous: Sum over as many steps before, (N,); NaN where none was observed.
        year_before: Sum over the same steps a year before, (N,); NaN where they were not observed.
        margin: Half the width of the outer band, summed over the horizon, (N,); NaN without a band.
        observed: Observed values in the history, (N,).
        missed: Absolute error of the median, summed over the values that came or were held out, (N,).
        naive_missed: The same of the seasonal naive, (N,).
        size: Sum of the absolute values that came or were held out, (N,).
    """

    label: str
    forecasts: dict[str, Forecast]
    panel: Panel | None
    rows: Ints
    came: Doubles
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
        """Gather the view of some forecasts.

        Args:
            label: Its name.
            forecasts: By model, the best first.
            panel: The history, and values after it where they are known.
            actual: Values that came, (N, H); overrides those of the panel.
            naive: The model that is the seasonal naive, if one is.
            held_out: What a search forecast of the end of the history, if one did.
        """
        first = next(iter(forecasts.values()))
        same = {name: _in_order(forecast, first) for name, forecast in forecasts.items()}
        rows = _rows(panel, first)
        n, horizon = first.mean.shape
        after = 1 + np.arange(horizon)
        came = _values(panel, rows, first.cutoffs, after) if actual is None else np.asarray(actual)
        recent = _values(panel, rows, first.cutoffs, after - horizon)
        seen = (~np.isnan(recent)).sum(1)
        with np.errstate(invalid="ignore", divide="ignore"):
            previous = np.nansum(recent, 1) * horizon / np.where(seen > 0, seen, np.nan)
        year = _year(first.schema.freq)
        before = np.full((n, horizon), np.nan)
        if year is not None and year >= horizon:
            before = _values(panel, rows, first.cutoffs, after - year)
        band = _bands(first)[:1]
        margin = np.full(n, np.nan)
        for low, high in band:
            margin = (first.quantiles[..., high] - first.quantiles[..., low]).sum(1) / 2.0
        observed = np.zeros(n, np.int64)
        if panel is not None:
            observed = np.where(rows >= 0, panel.n_observed()[np.maximum(rows, 0)], 0)
        missed, naive_missed, size = (np.full(n, np.nan) for _ in range(3))
        if held_out is not None:
            missed, naive_missed, size = held_out.errors(first.keys)
        elif not np.isnan(came).all():
            missed, size = _missed(_point(first), came), np.nansum(np.abs(came), 1)
            if naive is not None:
                naive_missed = _missed(_point(same[naive]), came)
        return cls(
            label=label,
            forecasts=same,
            panel=panel,
            rows=rows,
            came=came.astype(np.float64),
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
        """Absolute error as a share of the values, (N,); NaN without any."""
        return self.missed / np.where(self.size > 0, self.size, np.nan)

    @property
    def naive_error(self) -> Doubles:
        return self.naive_missed / np.where(self.size > 0, self.size, np.nan)

    @property
    def has_come(self) -> bool:
        return not bool(np.isnan(self.came).all())

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """The group of each series, for each column that splits them."""
        return _groups(self.panel, self.rows, self.first.keys)

    def courses(self, series: Ints) -> list[tuple[list[float], list[float]]]:
        """Return the last horizon of history and the mean ahead of some series."""
        steps = np.arange(1 - self.first.horizon, 1)
        past = _values(self.panel, self.rows[series], self.first.cutoffs[series], steps)
        return list(zip(past.tolist(), self.first.mean[series].tolist(), strict=True))

    def dates(self) -> tuple[str, str]:
        """Return the first and the last step forecast, over all series, as labels."""
        ends = np.array([self.first.cutoffs.min() + 1, self.first.cutoffs.max()])
        ends[1] += self.first.horizon
        first, last = time_labels(ends, self.grid, self.first.time_zone)
        return first, last

    def pack(self, columns: Columns, flags: NDArray[np.bool_]) -> dict[str, Any]:
        """Add the view's numbers to the columns and return what the page's script needs of it.

        Args:
            columns: Where the numbers go.
            flags: Series that stand in the list of items to look at, (N,).
        """
        first = self.first
        models, bands, kept = self._fits()
        largest = np.sort(np.argsort(-np.abs(self.total), kind="stable")[:kept])
        steps = self.history_steps
        cutoffs = first.cutoffs[largest]
        past = _values(self.panel, self.rows[largest], cutoffs, np.arange(1 - steps, 1))
        zone = first.time_zone
        begin, end = int(cutoffs.min()) + 1 - steps, int(cutoffs.max()) + first.horizon
        begin = max(begin, end + 1 - MOST_LABELS)
        place = np.full(first.n_series, -1, np.int64)
        place[largest] = np.arange(len(largest))
        return {
            "label": self.label,
            "models": models,
            "target": first.schema.target,
            "time": f"{first.schema.time} ({zone})"
            if zone is not None and self.grid.is_subdaily
            else first.schema.time,
            "keys": [_encode(columns, first.keys[name]) for name in first.keys.columns],
            "keyNames": first.keys.columns,
            "series": first.n_series,
            "horizon": first.horizon,
            "span": span(first.horizon, first.schema.freq),
            "bands": [round(first.levels[b] - first.levels[a], 6) for a, b in bands],
            "firstStep": begin,
            "labels": time_labels(np.arange(begin, end + 1), self.grid, zone),
            "place": columns.add(place),
            "cutoff": columns.add(first.cutoffs),
            "past": columns.add_rounded(past),
            "came": columns.add_rounded(self.came[largest]) if self.has_come else None,
            "fans": {m: _fan(columns, self.forecasts[m], largest, bands) for m in models},
            "known": self._known(columns, largest),
            "heldOut": None if self.held_out is None else self._held_out(columns),
            "items": {
                "total": columns.add(self.total),
                "previous": columns.add(self._came_total() if self.has_come else self.previous),
                "margin": columns.add(self.margin),
                "missed": columns.add(self.missed),
                "naiveMissed": columns.add(self.naive_missed),
                "size": columns.add(self.size),
                "flag": columns.add(flags.astype(np.int64)),
            },
            "groups": {
                name: _encode(columns, pl.Series(name, values))
                for name, values in self.groups.items()
            },
            "sums": self._sums(),
        }  # fmt: skip

    @property
    def history_steps(self) -> int:
        """Steps of history that are drawn."""
        if self.panel is None:
            return 0
        longest = int(self.panel.lengths.max(initial=1))
        usual = max(HISTORY * self.first.horizon, 2 * self.grid.period)
        steps = min(usual, LONGEST, longest)
        room = VALUES // self.first.n_series - 4 * self.first.horizon
        return int(min(steps, max(room, 2 * self.first.horizon)))

    def _fits(self) -> tuple[list[str], list[tuple[int, int]], int]:
        """Return the models, the bands and the number of series that the page has room for."""
        models, bands = list(self.forecasts), _bands(self.first)
        n, horizon, steps = self.first.n_series, self.first.horizon, self.history_steps
        steps += horizon if self.has_come else 0

        def size() -> int:
            return steps + horizon * len(models) * (2 + 2 * len(bands))

        if n * size() > VALUES:
            bands = bands[:1]
        if n * size() > VALUES:
            models = models[:2]
        return models, bands, max(1, min(n, VALUES // size()))

    def _known(self, columns: Columns, series: Ints) -> list[dict[str, Any]]:
        """Return the covariates known ahead, over history and horizon, where the page has room for them."""
        if self.panel is None:
            return []
        steps = np.arange(1 - self.history_steps, self.first.horizon + 1)
        names = self.panel.known_names[:COVARIATES]
        if len(series) * len(steps) * len(names) > VALUES // 3:
            return []
        rows, cutoffs = self.rows[series], self.first.cutoffs[series]
        return [
            {
                "name": name,
                "values": columns.add_rounded(
                    _values(self.panel, rows, cutoffs, steps, of=self.panel.known[:, j])
                ),
            }
            for j, name in enumerate(names)
        ]

    def _came_total(self) -> Doubles:
        known = ~np.isnan(self.came)
        return np.where(known.any(1), np.nansum(self.came, 1), np.nan)

    def _held_out(self, columns: Columns) -> dict[str, Any] | None:
        """Return the last forecast of the search for each series that was scored."""
        assert self.held_out is not None
        found = self.held_out.last(self.first.keys)
        if found is None:
            return None
        series, cutoffs, low, median, high = found
        place = np.full(self.first.n_series, -1, np.int64)
        place[series] = np.arange(len(series))
        return {
            "place": columns.add(place),
            "cutoff": columns.add(cutoffs),
            "low": columns.add_rounded(low),
            "median": columns.add_rounded(median),
            "high": columns.add_rounded(high),
        }

    def _sums(self) -> dict[str, Any]:
        """Return sums over the series that end at the last cutoff, step by step."""
        first = self.first
        own = np.flatnonzero(first.cutoffs == first.cutoffs.max())
        steps = self.history_steps
        past = np.full(steps, np.nan)
        if steps:
            values = _values(
                self.panel, self.rows[own], first.cutoffs[own], np.arange(1 - steps, 1)
            )
            known = ~np.isnan(values)
            past = np.where(known.any(0), np.nansum(values, 0), np.nan)
        came = self.came[own]
        known = ~np.isnan(came)
        return {
            "series": len(own),
            "cutoff": int(first.cutoffs.max()),
            "past": _numbers(past),
            "mean": _numbers(first.mean[own].sum(0, dtype=np.float64)),
            "came": _numbers(np.where(known.any(0), np.nansum(came, 0), np.nan)),
        }


def _numbers(values: Doubles) -> list[float | None]:
    return [float(f"{v:.6g}") if np.isfinite(v) else None for v in values]


def _encode(columns: Columns, values: pl.Series) -> dict[str, Any]:
    """Return a column of names as its distinct names and a code for each row."""
    text = values.cast(pl.String).fill_null("none")
    names = text.unique(maintain_order=True)
    codes = {name: code for code, name in enumerate(names)}
    if len(names) == len(text):
        return {"names": names.to_list(), "codes": None}
    return {
        "names": names.to_list(),
        "codes": columns.add(np.array([codes[name] for name in text], np.int64)),
    }


def _fan(
    columns: Columns, forecast: Forecast, series: Ints, bands: list[tuple[int, int]]
) -> dict[str, Any]:
    try:
        median = columns.add_rounded(_median(forecast)[series])
    except DataError:  # the levels lie on one side of it
        median = None
    return {
        "mean": columns.add_rounded(forecast.mean[series]),
        "median": median,
        "bands": [
            [columns.add_rounded(forecast.quantiles[series, :, level]) for level in band]
            for band in bands
        ],
    }


def _median(forecast: Forecast) -> NDArray[Any]:
    if forecast.samples is not None and not np.isclose(forecast.levels, 0.5).any():
        return np.asarray(np.median(forecast.samples, axis=1))
    return forecast.median


def _point(forecast: Forecast) -> NDArray[Any]:
    try:
        return _median(forecast)
    except DataError:
        return forecast.mean


def _bands(forecast: Forecast) -> list[tuple[int, int]]:
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


def _values(
    panel: Panel | None,
    rows: Ints,
    cutoffs: Ints,
    offsets: Ints,
    *,
    of: NDArray[np.float32] | None = None,
) -> Doubles:
    """Return the values at some steps from each cutoff, (N, S); NaN where the panel holds none.

    Args:
        panel: Where they are.
        rows: Of the series in it, (N,).
        cutoffs: Grid steps, (N,).
        offsets: Steps from the cutoff, (S,).
        of: A column of the panel in place of the target.
    """
    if panel is None or not len(offsets):
        return np.full((len(rows), len(offsets)), np.nan)
    known = np.maximum(rows, 0)
    at = (cutoffs - panel.starts[known])[:, None] + offsets
    inside = (at >= 0) & (at < panel.extents[known][:, None]) & (rows >= 0)[:, None]
    place = np.where(inside, panel.begins[known][:, None] + at, 0)
    column = panel.target if of is None else of
    return np.where(inside, column[place], np.nan).astype(np.float64)


def _year(freq: str) -> int | None:
    """Return the steps in a year, in whole weeks for days; None where years are not counted."""
    grid = Frequency.parse(freq)
    if grid.unit == "M":
        return 12 // grid.step if 12 % grid.step == 0 else None
    week = 7 * 86400
    if grid.unit == "s" and not grid.is_subdaily and (52 * week) % grid.step == 0:
        return 52 * week // grid.step
    return None


def _missed(point: NDArray[Any], came: Doubles) -> Doubles:
    known = ~np.isnan(came)
    return np.where(known.any(1), np.nansum(np.abs(came - point), 1), np.nan)


def _groups(panel: Panel | None, rows: Ints, keys: pl.DataFrame) -> dict[str, list[str]]:
    """Return the columns by which the series can be split: class of demand, categories, parts of the key."""
    found: dict[str, list[str]] = {}
    if panel is not None and (rows >= 0).all():
        for j, (name, words) in enumerate(panel.vocabularies.items()):
            codes = panel.static_codes[rows, j]
            found[name] = ["unknown" if c == 0 else str(words[c - 1]) for c in codes]
        if "class" not in found and np.isfinite(panel.target).any():
            kinds = panel.profile()["class"].to_list()
            found["class of demand"] = [str(kinds[row]) for row in rows]
    if keys.width > 1:
        for name in keys.columns:
            found.setdefault(name, [str(value) for value in keys[name]])
    return {name: own for name, own in found.items() if 2 <= len(set(own)) <= GROUPS}
