"""Base class of the methods for smooth series, and the distribution of their forecast errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping
from demandcast.local.base import LocalConfig, LocalForecaster
from demandcast.local.parts.error_distributions import (
    MIN_NEWEST,
    NEWEST_SEASONS,
    ErrorDistribution,
    fit_innovations,
)
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import SeriesTable, series_tables
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

CELLS = 400_000  # numbers held at once, per array
MIN_FORECAST = 1e-3  # of a series' mean: errors of smaller forecasts have no relative size
PRIOR_SPANS = (
    5.0  # multi-step errors, not overlapping, that weigh as much as the recursion's own variance
)
POWERS = (
    0.0,
    0.5,
)  # of the forecast that errors may grow with; 1 gave too wide intervals on tourism
MAX_FLOAT32 = float(np.finfo(np.float32).max)
MIN_VARIANCE_RATIO = 0.05  # of the variance of multi-step errors to the recursion's own


@dataclass(frozen=True)
class SmoothForecast:
    """Forecast of a table of n series: value = shift + factor * (point + error).

    Attributes:
        errors: Point forecasts and their errors, in the table's units, without the season.
        factor: Multiplicative season, (n, H).
        shift: Additive season, (n, H).
    """

    errors: ErrorDistribution
    factor: Array
    shift: Array


def estimate_errors(
    table: SeriesTable,
    values: Array,
    forecast_ahead: Callable[[int], Array],
    counted: NDArray[np.bool_],
    point: Array,
    response: Array,
    n_estimated: int | Ints,
    season: Array | None = None,
) -> ErrorDistribution:
    """Estimate the distribution around point forecasts from the errors of the fitted method over its history.

    One-step errors give the shape and the scale. The variance at later steps is a compromise between the recursion's
    own (from `response`) and that of the errors at 2, 3, ... steps; the more such errors there are, the more they
    count. Errors grow with a power p of the forecast f: the one among `POWERS` that minimises
    n log(sum (e / f^p)^2) + 2 p sum log f.

    Args:
        table: The series.
        values: Values that the method forecasts, (T, n).
        forecast_ahead: Returns the forecasts of all rows made so many steps before, (T, n).
        counted: Rows whose errors count, (T, n).
        point: Forecasts after the end, (n, H).
        response: Share of an error that remains in the level one, two, ... steps later, (n, H).
        n_estimated: Parameters estimated per series.
        season: Factor of the level at each step, (n, H); None without a multiplicative season.
    """
    n, horizon = point.shape
    fitted = forecast_ahead(1)
    error = np.where(counted, values - fitted, np.nan)
    count = np.maximum(counted.sum(0), 1)
    positive = np.asarray(
        ((fitted > MIN_FORECAST) | ~counted).all(0) & (point > MIN_FORECAST).all(1)
    )
    size = np.where(counted & positive, fitted, 1.0)  # (T, n)
    logs = np.log(size).sum(0)
    costs = [count * _safe_log(np.nansum((error / size**p) ** 2, 0)) + 2 * p * logs for p in POWERS]
    power = np.where(positive, np.array(POWERS)[np.argmin(costs, 0)], 0.0)
    unit = np.where(positive[:, None], point, 1.0) ** power[:, None]  # (n, H), size of an error
    lag = np.arange(horizon)[:, None] - np.arange(horizon)
    remaining = np.concatenate([np.ones((n, 1)), response[:, :-1]], 1)
    weights = np.where(lag >= 0, remaining[:, np.maximum(lag, 0)], 0.0)  # (n, H, H)
    newest = counted & (np.arange(table.steps)[:, None] >= table.lengths - _n_newest(table.period))

    def errors_ahead(step: int) -> Array:
        forecasts = np.where(newest, forecast_ahead(step), np.nan)
        return np.asarray((values - forecasts) / np.maximum(forecasts, MIN_FORECAST) ** power)

    one_step_errors = errors_ahead(1)
    one_step_square = _mean_square(one_step_errors)
    for step in range(2, horizon + 1):
        errors = errors_ahead(step)
        spans = (~np.isnan(errors)).sum(0) / step  # that do not overlap
        expected = (weights[:, step - 1] ** 2).sum(1) * one_step_square
        ratio = _mean_square(errors) / np.where(expected > 0, expected, 1.0)
        ratio = np.where(expected > 0, ratio, 1.0)
        ratio = np.clip(ratio, MIN_VARIANCE_RATIO, 1 / MIN_VARIANCE_RATIO)
        weights[:, step - 1] *= (ratio ** (spans / (spans + PRIOR_SPANS) / 2))[:, None]
    if season is not None:
        weights *= season[..., None] / season[:, None]
    weights *= unit[..., None]
    variance = (weights**2).sum(2)

    def draw_scores(draws: Draws, n_samples: int) -> Array:
        normal = draws.normal((n, n_samples, horizon))
        return np.asarray(normal @ weights.transpose(0, 2, 1) / np.sqrt(variance)[:, None])

    return ErrorDistribution(
        point=point,
        errors=right_align(one_step_errors, table.lengths)[:, -_n_newest(table.period) :],
        n_estimated=n_estimated,
        variance=variance,
        n_innovations=variance**2 / (weights**4).sum(2),
        draw_scores=draw_scores,
        symmetric=False,
    )


def _n_newest(period: int) -> int:
    """Return the number of newest errors that are used."""
    return max(NEWEST_SEASONS * period, MIN_NEWEST)


def _mean_square(errors: Array) -> Array:
    """Return the mean square of errors (T, n) without NaN, (n,)."""
    known = ~np.isnan(errors)
    squares = np.where(known, errors, 0.0) ** 2
    return np.asarray(squares.sum(0) / np.maximum(known.sum(0), 1))


def history_limits(values: Array, scale: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the floor of histories and whether they are whole numbers.

    Args:
        values: Histories in units of their scale, (n, T), NaN where not observed.
        scale: Unit of each series, (n, 1).

    Returns:
        0 or the smallest float32, (n, 1), in units of the scale; and a mask, (n, 1, 1).
    """
    floor = np.where((values >= 0) | np.isnan(values), 0.0, -MAX_FLOAT32).min(1)[:, None]
    original = (values * scale).astype(np.float32)
    return floor, (np.isnan(original) | (original == np.rint(original))).all(1)[:, None, None]


def clip_to_floor(values: Array, floor: Array) -> Array:
    """Clip values at the floor and at the largest float32."""
    return np.asarray(np.clip(values, floor, MAX_FLOAT32))


def right_align(values: Array, lengths: Ints) -> Array:
    """Return left-aligned columns (T, n) as right-aligned rows (n, T), NaN before the first value."""
    row = np.arange(len(values))[:, None] - (len(values) - lengths)
    shifted = np.take_along_axis(values, np.maximum(row, 0), 0)
    return np.asarray(np.where(row < 0, np.nan, shifted).T)


def _safe_log(sums: Array) -> Array:
    """Return the logarithm, finite at 0."""
    return np.log(np.maximum(sums, 1e-300))


@dataclass(frozen=True, kw_only=True)
class SmoothConfig(LocalConfig):
    """Hyper-parameters of the methods for smooth series."""

    # steps in one season; None: by the panel's frequency
    period: int | None = setting(None, COUNT)


S = TypeVar("S", bound=SmoothConfig)


class SmoothForecaster(LocalForecaster[S]):
    """Base class of the methods that run a recursion over time, for all series at once.

    Steps that were not observed are filled from their phase for the recursion, and add no error. The scale of the errors
    is the root mean square of the newest ones; their shape is as in the naive methods (see `error_distributions`).
    """

    Config: type[S] = SmoothConfig  # type: ignore[assignment]  # of methods that add none

    def _fit(self, table: SeriesTable) -> SmoothForecast:
        """Fit the method to the series of a table and forecast them."""
        raise NotImplementedError

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        periods = np.full(panel.n_series, self.config.period or panel.freq.period)
        for index, table in series_tables(panel, periods, CELLS):
            forecast = self._fit(table)
            values = np.where(table.seen, table.filled, np.nan).T
            errors, scale = forecast.errors.without_growth(values), table.scale[:, None]
            factor, shift = forecast.factor * scale, forecast.shift * scale  # (n, H)
            innovations = fit_innovations(errors, values)
            floor, counts = history_limits(values, scale)
            around = innovations.quantiles(errors, (*levels, *MEAN_LEVELS))  # (n, H, Q + J)
            around = shift[..., None] + factor[..., None] * (errors.point[..., None] + around)
            quantiles, mean_quantiles = around[..., : len(levels)], around[..., len(levels) :]
            mean = shift + factor * errors.point
            mean = mean_after_clipping(mean, mean_quantiles, floor, counts[..., 0])
            draft.mean[index] = clip_to_floor(mean, floor)
            quantiles = clip_to_floor(quantiles, floor[..., None])
            draft.quantiles[index] = np.where(counts, np.rint(quantiles), quantiles)
            if draft.samples is not None:
                paths = innovations.paths(errors, draws.select(index), n_paths)  # (n, S, H)
                paths = shift[:, None] + factor[:, None] * (errors.point[:, None] + paths)
                paths = clip_to_floor(paths, floor[..., None])
                draft.samples[index] = np.where(counts, np.rint(paths), paths)
        return draft
