"""Distributions of forecast errors: errors of one innovation, their growth over the horizon, quantiles and paths.

Levels are expressed as normal scores: 1.2816 stands for the level 0.9. A table for each series maps a score to an
error. The same table gives quantiles at any level, and paths from correlated normal scores; the quantiles of the paths
are the same quantiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
MIN_ERRORS = 30  # from which the errors' own shape is used
MIN_ERRORS_BEYOND = 2  # a quantile is read off the errors only where so many lie beyond it
NEWEST_SEASONS, MIN_NEWEST = (
    10,
    100,
)  # errors of the last seasons are used, or more if these are few
SINGLE_VALUE_SCALE = (
    0.5  # of the errors of a series with one value; benchmarks/accuracy/first_value.py
)
MIN_DEGREES = 3  # of freedom, of Student's t: with fewer, paths from one error have no mean
SCORES = np.linspace(-5, 5, 101)  # normal scores of the tables; the ends stand for scores beyond
MASSES = (
    np.exp(-(SCORES**2) / 2) / np.exp(-(SCORES**2) / 2).sum()
)  # normal probability at each score


@dataclass(frozen=True, kw_only=True)
class ErrorDistribution:
    """Point forecasts of n series, and what determines the distribution of their errors.

    Attributes:
        point: Point forecasts, (n, H); 0 where nothing is observed.
        errors: In-sample errors, each scaled to one innovation, (n, E); NaN where there is none.
        n_estimated: Parameters that the method estimates, for all series or for each, (n,).
        variance: Variance at each step ahead, in units of one innovation's, (n, H).
        n_innovations: Innovations summed up to each step ahead, (n, H); their sum approaches a normal.
        draw_scores: Draws standard normal scores with the correlation of the steps, (n, S, H).
        symmetric: Whether errors with the other sign are equally likely.
    """

    point: Array
    errors: Array
    n_estimated: int | Ints
    variance: Array
    n_innovations: Array
    draw_scores: Callable[[Draws, int], Array]
    symmetric: bool

    def without_growth(self, values: Array) -> ErrorDistribution:
        """Return the distribution with one variance at all steps ahead where one value is observed.

        Nothing tells how the errors of such a series grow. `values` are the histories, (n, steps), NaN where not
        observed.
        """
        single = ((~np.isnan(values)).sum(1) == 1)[:, None]
        return replace(
            self,
            variance=np.where(single, 1.0, self.variance),
            n_innovations=np.where(single, 1.0, self.n_innovations),
        )


@dataclass(frozen=True)
class Innovations:
    """Quantiles of one innovation at `SCORES`: from the errors, and of Student's t, (n, J) both."""

    empirical: Array
    student: Array

    def quantiles(self, distribution: ErrorDistribution, levels: Sequence[float]) -> Array:
        """Return the quantiles of the errors at each step ahead, (n, H, Q)."""
        scores = np.array([NormalDist().inv_cdf(level) for level in levels])
        left, weight = _neighbours(scores)
        student, empirical = (
            table[:, left] * (1 - weight) + table[:, left + 1] * weight
            for table in (self.student, self.empirical)
        )  # (n, Q)
        # the own shape of the errors fades as more innovations are summed
        own_shape = (empirical - student)[:, None] / distribution.n_innovations[..., None]
        return np.sqrt(distribution.variance)[..., None] * (student[:, None] + own_shape)

    def paths(self, distribution: ErrorDistribution, draws: Draws, n_samples: int) -> Array:
        """Draw paths of errors, joint along the horizon, (n, S, H)."""
        scores = distribution.draw_scores(draws, n_samples)
        left, weight = _neighbours(scores)
        flat = left.reshape(len(left), -1)

        def interpolate(table: Array) -> Array:
            low = np.take_along_axis(table, flat, 1).reshape(left.shape)
            high = np.take_along_axis(table, flat + 1, 1).reshape(left.shape)
            return low + (high - low) * weight

        student = interpolate(self.student)
        own_shape = (interpolate(self.empirical) - student) / distribution.n_innovations[:, None]
        return np.sqrt(distribution.variance)[:, None] * (student + own_shape)


def fit_innovations(distribution: ErrorDistribution, values: Array) -> Innovations:
    """Fit the distribution of one innovation of each series to its in-sample errors.

    The scale is sqrt(sum e^2 / (errors - estimated parameters)), FPP3 section 5.5. A series with too few errors takes
    the differences of neighbouring values as errors; a series with one value takes `SINGLE_VALUE_SCALE` of that value.

    Args:
        distribution: The errors of n series.
        values: Their histories, (n, steps), NaN where not observed.
    """
    errors = distribution.errors
    n_estimated = np.full(len(values), distribution.n_estimated)
    too_few = np.flatnonzero((~np.isnan(errors)).sum(1) <= n_estimated)
    if len(too_few):
        differences = seasonal_random_walk(values[too_few], 1, 1).errors
        width = max(errors.shape[1], differences.shape[1])
        errors = np.pad(errors, ((0, 0), (0, width - errors.shape[1])), constant_values=np.nan)
        errors[too_few] = np.nan
        errors[too_few, : differences.shape[1]] = differences
        n_estimated[too_few] = 0
    count = (~np.isnan(errors)).sum(1)
    scale = np.sqrt(np.nansum(errors**2, 1) / np.maximum(count - n_estimated, 1))
    scale = np.where(count > 0, scale, SINGLE_VALUE_SCALE * np.abs(_last_value(values)))
    degrees = np.clip(count - n_estimated, MIN_DEGREES, MIN_ERRORS)
    student = scale[:, None] * _student_scores()[degrees - MIN_DEGREES]  # (n, J)
    empirical = student.copy()
    enough = np.flatnonzero(count >= MIN_ERRORS)
    if len(enough):
        series_errors = errors[enough].astype(np.float32)
        series_errors = (
            np.concatenate([series_errors, -series_errors], 1)
            if distribution.symmetric
            else series_errors
        )
        quantiles = _empirical_quantiles(series_errors, student[enough])
        empirical[enough] = quantiles - (quantiles @ MASSES)[:, None]  # errors of mean 0
    return Innovations(empirical, student)


def _empirical_quantiles(errors: NDArray[np.float32], student: Array) -> Array:
    """Return quantiles of errors (n, E) at `SCORES`, continued by Student's t where too few errors lie beyond."""
    count = (~np.isnan(errors)).sum(1)[:, None]
    ordered = np.sort(errors, 1)  # NaN last
    level = np.array([NormalDist().cdf(score) for score in SCORES])
    rank = np.clip(level * count - 0.5, 0, count - 1)  # (n, J)
    left = rank.astype(np.int64)
    right = np.minimum(left + 1, count - 1)
    low, high = (np.take_along_axis(ordered, i, 1).astype(np.float64) for i in (left, right))
    quantiles = low + (high - low) * (rank - left)
    reliable = count * np.minimum(level, 1 - level) >= MIN_ERRORS_BEYOND  # (n, J), in the middle
    first = np.argmax(reliable, 1)[:, None]
    last = len(SCORES) - 1 - first
    nearest = np.clip(np.arange(len(SCORES)), first, last)
    quantiles = np.take_along_axis(quantiles, nearest, 1)
    return quantiles + student - np.take_along_axis(student, nearest, 1)


def seasonal_random_walk(values: Array, horizon: int, period: int) -> ErrorDistribution:
    """Forecast the last value of each phase of the season: one random walk a phase.

    Args:
        values: Histories, (n, steps), right-aligned; NaN where not observed.
        horizon: Steps ahead, H.
        period: Steps in one season; 1 for the last value.
    """
    n, steps = values.shape
    seasons = -(-steps // period)
    table = np.full((n, seasons * period), np.nan)
    table[:, table.shape[1] - steps :] = values
    table = table.reshape(n, seasons, period)
    last = _last_observed(table)  # (n, seasons, period)
    filled = np.take_along_axis(table, np.maximum(last, 0), 1)
    age = np.arange(1, seasons)[:, None] - last[:, :-1]  # seasons since the value that is forecast
    errors = (table[:, 1:] - filled[:, :-1]) / np.sqrt(age)
    phase, season = np.arange(horizon) % period, np.arange(horizon) // period
    point = filled[:, -1][:, phase]
    point = np.where(np.isnan(point), _last_value(values)[:, None], point)
    missed = (seasons - 1 - last[:, -1]).astype(np.float64)  # (n, period)
    variance = season + 1 + missed[:, phase]

    def draw_scores(draws: Draws, n_samples: int) -> Array:
        shape = (n, n_samples, -(-horizon // period), period)
        walks = draws.at("walk").normal(shape).cumsum(2)
        if missed.any():
            start = draws.at("start").normal((n, n_samples, 1, period))
            walks += start * np.sqrt(missed)[:, None, None]
        sums = walks.reshape(n, n_samples, -1)[..., :horizon]
        return np.asarray(sums / np.sqrt(variance)[:, None])

    return ErrorDistribution(
        point=point,
        errors=_newest_errors(errors.reshape(n, -1), period),
        n_estimated=0,
        variance=variance,
        n_innovations=variance,
        draw_scores=draw_scores,
        symmetric=True,
    )


def random_walk_with_drift(values: Array, horizon: int) -> ErrorDistribution:
    """Forecast the last value plus the mean step from the first value to the last.

    The variance (h + h^2 / (T - 1)) sigma^2 includes that of the estimated step, with T - 1 the steps from the first
    value to the last; FPP3 table 5.2.

    Args:
        values: Histories, (n, steps), right-aligned; NaN where not observed.
        horizon: Steps ahead, H.
    """
    n, steps = values.shape
    last_rows = _last_observed(values[..., None])[..., 0]
    observed = ~np.isnan(values)
    first = np.where(observed.any(1), observed.argmax(1), 0)
    last = np.maximum(last_rows[:, -1], 0)
    span = np.maximum(last - first, 1).astype(np.float64)
    end = _last_value(values)
    slope = (end - np.where(observed.any(1), values[np.arange(n), first], 0)) / span
    filled = np.take_along_axis(values, np.maximum(last_rows, 0), 1)
    age = np.arange(1, steps) - last_rows[:, :-1]
    errors = (values[:, 1:] - filled[:, :-1] - slope[:, None] * age) / np.sqrt(age)
    ahead = np.arange(1, horizon + 1) + (steps - 1 - last)[:, None].astype(np.float64)  # (n, H)
    variance = ahead + ahead**2 / span[:, None]

    def draw_scores(draws: Draws, n_samples: int) -> Array:
        walks = draws.at("walk").normal((n, n_samples, horizon)).cumsum(2)
        start = draws.at("start").normal((n, n_samples, 1)) * np.sqrt(ahead[:, :1] - 1)[:, None]
        tilt = (
            draws.at("tilt").normal((n, n_samples, 1)) * (ahead / np.sqrt(span)[:, None])[:, None]
        )
        return np.asarray((walks + start + tilt) / np.sqrt(variance)[:, None])

    return ErrorDistribution(
        point=end[:, None] + slope[:, None] * ahead,
        errors=_newest_errors(errors, 1),
        n_estimated=1,
        variance=variance,
        n_innovations=ahead,
        draw_scores=draw_scores,
        symmetric=True,
    )


def window_average(values: Array, horizon: int, window: int) -> ErrorDistribution:
    """Forecast the mean of the last steps; the variance is 1 + 1 / (number of values averaged).

    Args:
        values: Histories, (n, steps), right-aligned; NaN where not observed.
        horizon: Steps ahead, H.
        window: Steps averaged.
    """
    n, steps = values.shape
    observed = ~np.isnan(values)
    sums, counts = (
        np.pad(np.cumsum(x, 1, dtype=np.float64), ((0, 0), (1, 0)))
        for x in (np.where(observed, values, 0), observed)
    )
    start = np.maximum(np.arange(steps + 1) - window, 0)
    count = counts - counts[:, start]  # (n, steps + 1), before each step and after the last
    level = (sums - sums[:, start]) / np.where(count > 0, count, np.nan)
    errors = (values - level[:, :-1]) / np.sqrt(1 + 1 / np.where(count > 0, count, 1))[:, :-1]
    errors = _newest_errors(errors, window)
    known = ~np.isnan(errors)
    errors = errors - (np.nansum(errors, 1) / np.maximum(known.sum(1), 1))[:, None]
    end = np.where(count[:, -1] > 0, level[:, -1], _last_value(values))
    share = 1 / np.maximum(count[:, -1:], 1)  # (n, 1), variance of the level's own error

    def draw_scores(draws: Draws, n_samples: int) -> Array:
        noise = draws.at("noise").normal((n, n_samples, horizon))
        shared = draws.at("level").normal((n, n_samples, 1)) * np.sqrt(share)[:, None]
        return np.asarray((noise + shared) / np.sqrt(1 + share)[:, None])

    return ErrorDistribution(
        point=np.repeat(end[:, None], horizon, 1),
        errors=errors,
        n_estimated=1,
        variance=np.repeat(1 + share, horizon, 1),
        n_innovations=np.ones((n, horizon)),
        draw_scores=draw_scores,
        symmetric=False,
    )


def _newest_errors(errors: Array, period: int) -> Array:
    """Return the newest of the errors (n, E): the scale of demand changes over the years."""
    return errors[:, -max(NEWEST_SEASONS * period, MIN_NEWEST) :]


def _last_observed(table: Array) -> Ints:
    """Return the row of the last observed value up to each row, along axis 1; -1 before the first."""
    rows = np.arange(table.shape[1]).reshape(1, -1, 1)
    return np.maximum.accumulate(np.where(np.isnan(table), -1, rows), axis=1)


def _last_value(values: Array) -> Array:
    """Return the last observed value of each history, (n,); 0 where there is none."""
    observed = ~np.isnan(values)
    back = observed[:, ::-1].argmax(1)
    last = values[np.arange(len(values)), values.shape[1] - 1 - back]
    return np.where(observed.any(1), last, 0.0)


def _neighbours(scores: Array) -> tuple[Ints, Array]:
    """Return the index of the left neighbour of each score among `SCORES`, and the weight of the right neighbour."""
    position = np.clip((scores - SCORES[0]) / (SCORES[1] - SCORES[0]), 0, len(SCORES) - 1.000001)
    left = position.astype(np.int64)
    return left, position - left


@lru_cache(maxsize=1)
def _student_scores() -> Array:
    """Return quantiles of Student's t at `SCORES`, one row for each degree from `MIN_DEGREES` to `MIN_ERRORS`.

    With t = sqrt(df) tan(angle), the density is proportional to cos(angle)^(df - 1) over a bounded range. The last row
    is the normal distribution.
    """
    angle = np.linspace(np.pi / 2, 0, 50_001)
    tail = np.array([1 - NormalDist().cdf(score) for score in SCORES[SCORES > 1e-9]])
    rows = []
    for df in range(MIN_DEGREES, MIN_ERRORS):
        density = np.cos(angle) ** (df - 1)
        beyond = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
        t = np.sqrt(df) * np.tan(np.interp(2 * tail, beyond / beyond[-1], angle))
        rows.append(np.concatenate([-t[::-1], [0], t]))
    return np.array([*rows, SCORES])
