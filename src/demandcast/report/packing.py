"""Pack the numbers of a view for the page's script: as much as the page has room for."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError
from demandcast.forecast.forecast import Forecast
from demandcast.report.columns import Columns
from demandcast.report.picture import HISTORY, LONGEST
from demandcast.report.view import Doubles, Ints, View, median_of, mirrored_levels, values_at
from demandcast.report.words import span, time_labels

VALUES = 7_000_000  # numbers in the charts of a page at most, which is about 9 MB of it
PRECISE = 1_000_000  # numbers below which a page keeps one digit more
COVARIATES = 6  # known covariates that are drawn below an item
MOST_LABELS = 200_000  # steps of the calendar that a page names


def pack_view(view: View, columns: Columns, flags: NDArray[np.bool_]) -> dict[str, Any]:
    """Add the numbers of a view to the columns, and return the header that the page's script reads.

    Args:
        view: The view.
        columns: The numbers of the page.
        flags: Whether a series is in the list of items to look at, (N,).
    """
    first = view.first
    models, bands, n_drawn = _choose_content(view)
    largest = np.sort(np.argsort(-np.abs(view.total), kind="stable")[:n_drawn])
    steps = _history_steps(view)
    cutoffs = first.cutoffs[largest]
    past = values_at(view.panel, view.rows[largest], cutoffs, np.arange(1 - steps, 1))
    zone = first.time_zone
    begin, end = int(cutoffs.min()) + 1 - steps, int(cutoffs.max()) + first.horizon
    begin = max(begin, end + 1 - MOST_LABELS)
    place = np.full(first.n_series, -1, np.int64)
    place[largest] = np.arange(len(largest))
    return {
        "label": view.label,
        "models": models,
        "target": first.schema.target,
        "time": f"{first.schema.time} ({zone})"
        if zone is not None and view.grid.is_subdaily
        else first.schema.time,
        "keys": [_encode(columns, first.keys[name]) for name in first.keys.columns],
        "keyNames": first.keys.columns,
        "series": first.n_series,
        "horizon": first.horizon,
        "span": span(first.horizon, first.schema.freq),
        "bands": [round(first.levels[b] - first.levels[a], 6) for a, b in bands],
        "firstStep": begin,
        "labels": time_labels(np.arange(begin, end + 1), view.grid, zone),
        "place": columns.add(place),
        "cutoff": columns.add(first.cutoffs),
        "past": columns.add_rounded(past),
        "actual": columns.add_rounded(view.actual[largest]) if view.has_actual else None,
        "fans": {m: _pack_fan(columns, view.forecasts[m], largest, bands) for m in models},
        "known": _pack_known(view, columns, largest),
        "heldOut": None if view.held_out is None else _pack_held_out(view, columns),
        "items": {
            "total": columns.add(view.total),
            "previous": columns.add(_actual_total(view) if view.has_actual else view.previous),
            "margin": columns.add(view.margin),
            "missed": columns.add(view.missed),
            "naiveMissed": columns.add(view.naive_missed),
            "size": columns.add(view.size),
            "flag": columns.add(flags.astype(np.int64)),
        },
        "groups": {
            name: _encode(columns, pl.Series(name, values))
            for name, values in view.groups.items()
        },
        "sums": _pack_sums(view),
    }  # fmt: skip


def _history_steps(view: View) -> int:
    """Return the steps of history that are drawn."""
    if view.panel is None:
        return 0
    longest = int(view.panel.lengths.max(initial=1))
    usual = max(HISTORY * view.first.horizon, 2 * view.grid.period)
    steps = min(usual, LONGEST, longest)
    room = VALUES // view.first.n_series - 4 * view.first.horizon
    return int(min(steps, max(room, 2 * view.first.horizon)))


def _choose_content(view: View) -> tuple[list[str], list[tuple[int, int]], int]:
    """Return the models, the bands and the number of series that the page has room for."""
    models, bands = list(view.forecasts), mirrored_levels(view.first)
    n, horizon, steps = view.first.n_series, view.first.horizon, _history_steps(view)
    steps += horizon if view.has_actual else 0

    def size() -> int:
        return steps + horizon * len(models) * (2 + 2 * len(bands))

    if n * size() > VALUES:
        bands = bands[:1]
    if n * size() > VALUES:
        models = models[:2]
    return models, bands, max(1, min(n, VALUES // size()))


def _pack_known(view: View, columns: Columns, series: Ints) -> list[dict[str, Any]]:
    """Return the known covariates over history and horizon; none if the page has no room for them."""
    if view.panel is None:
        return []
    steps = np.arange(1 - _history_steps(view), view.first.horizon + 1)
    names = view.panel.known_names[:COVARIATES]
    if len(series) * len(steps) * len(names) > VALUES // 3:
        return []
    rows, cutoffs = view.rows[series], view.first.cutoffs[series]
    return [
        {
            "name": name,
            "values": columns.add_rounded(
                values_at(view.panel, rows, cutoffs, steps, of=view.panel.known[:, j])
            ),
        }
        for j, name in enumerate(names)
    ]


def _actual_total(view: View) -> Doubles:
    finite = ~np.isnan(view.actual)
    return np.where(finite.any(1), np.nansum(view.actual, 1), np.nan)


def _pack_held_out(view: View, columns: Columns) -> dict[str, Any] | None:
    """Return the last held-out forecast of each series that the search scored."""
    assert view.held_out is not None
    last_forecasts = view.held_out.last(view.first.keys)
    if last_forecasts is None:
        return None
    series, cutoffs, low, median, high = last_forecasts
    place = np.full(view.first.n_series, -1, np.int64)
    place[series] = np.arange(len(series))
    return {
        "place": columns.add(place),
        "cutoff": columns.add(cutoffs),
        "low": columns.add_rounded(low),
        "median": columns.add_rounded(median),
        "high": columns.add_rounded(high),
    }


def _pack_sums(view: View) -> dict[str, Any]:
    """Return the sums by step over the series that end at the last cutoff."""
    first = view.first
    members = np.flatnonzero(first.cutoffs == first.cutoffs.max())
    steps = _history_steps(view)
    past = np.full(steps, np.nan)
    if steps:
        values = values_at(
            view.panel, view.rows[members], first.cutoffs[members], np.arange(1 - steps, 1)
        )
        finite = ~np.isnan(values)
        past = np.where(finite.any(0), np.nansum(values, 0), np.nan)
    actual = view.actual[members]
    finite = ~np.isnan(actual)
    return {
        "series": len(members),
        "cutoff": int(first.cutoffs.max()),
        "past": _numbers(past),
        "mean": _numbers(first.mean[members].sum(0, dtype=np.float64)),
        "actual": _numbers(np.where(finite.any(0), np.nansum(actual, 0), np.nan)),
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


def _pack_fan(
    columns: Columns, forecast: Forecast, series: Ints, bands: list[tuple[int, int]]
) -> dict[str, Any]:
    try:
        median = columns.add_rounded(median_of(forecast)[series])
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
