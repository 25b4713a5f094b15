"""How naive forecasts err: errors of one innovation, their growth, quantiles and paths from both.

A law is stated in normal scores: 1.2816 stands for the level 0.9. A table per series turns a score
into an error, so that one table gives quantiles at any level, and gives paths from correlated
normal scores whose quantiles are the very same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
ENOUGH = 30  # errors from which their own shape is used
OUTSIDE = 2  # errors that must lie beyond a score for it to be read off them
NEWEST_SEASONS, NEWEST = (
    10,
    100,
)  # errors used: those of the last seasons, or more where seasons are short
FEWEST_DF = 3  # of Student's t: below, one error would make paths without a mean
SCORES = np.linspace(-5, 5, 101)  # normal scores of the tables; beyond them the ends hold
MASSES = np.exp(-(SCORES**2) / 2) / np.exp(-(SCORES**2) / 2).sum()  # the normal's around each


@dataclass(frozen=True, kw_only=True)
class Law:
    """What a method says of n series.

    Attributes:
        point: Point forecasts, (n, H); 0 where nothing is observed.
        errors: In-sample errors, each scaled to one innovation, (n, E); NaN where there is none.
        lost: Degrees of freedom the method's own estimates cost, of all series alike or of each.
        variance: Of each step ahead, in innovations, (n, H).
        innovations: Summed up in each step ahead, (n, H); their sum nears the normal.
        scores: Draws standard normal scores with the law's correlation, (n, S, H).
        symmetric: Whether the errors are as likely with the other sign.
    """

    point: Array
    errors: Array
    lost: int | Ints
    variance: Array
    innovations: Array
    scores: Callable[[Draws, int], Array]
    symmetric: bool


@dataclass(frozen=True)
class Spread:
    """Errors of one innovation at `SCORES`: as observed, and as Student's t, (n, J) each."""

    observed: Array
    student: Array

    def quantiles(self, law: Law, levels: Sequence[float]) -> Array:
        """Errors at levels, (n, H, Q)."""
        scores = np.array([NormalDist().inv_cdf(level) for level in levels])
        left, weight = _place(scores)
        student, observed = (
            table[:, left] * (1 - weight) + table[:, left + 1] * weight
            for table in (self.student, self.observed)
        )  # (n, Q)
        own = (observed - student)[:, None] / law.innovations[..., None]
        return np.sqrt(law.variance)[..., None] * (student[:, None] + own)

    def paths(self, law: Law, draws: Draws, n_samples: int) -> Array:
        """Errors of paths joint along the horizon, (n, S, H)."""
        scores = law.scores(draws, n_samples)
        left, weight = _place(scores)
        flat = left.reshape(len(left), -1)

        def read(table: Array) -> Array:
            low = np.take_along_axis(table, flat, 1).reshape(left.shape)
            high = np.take_along_axis(table, flat + 1, 1).reshape(left.shape)
            return low + (high - low) * weight

        student = read(self.student)
        own = (read(self.observed) - student) / law.innovations[:, None]
        return np.sqrt(law.variance)[:, None] * (student + own)


def spread(law: Law, values: Array) -> Spread:
    """The distribution of one innovation of each series.

    The scale is sqrt(sum e^2 / (errors - lost)), FPP3 section 5.5. Without errors enough for that,
    the differences of neighbouring values serve; with one value only, that value.
    """
    errors, lost = law.errors, np.full(len(values), law.lost)
    without = np.flatnonzero((~np.isnan(errors)).sum(1) <= lost)
    if len(without):
        steps = walk(values[without], 1, 1).errors
        width = max(errors.shape[1], steps.shape[1])
        errors = np.pad(errors, ((0, 0), (0, width - errors.shape[1])), constant_values=np.nan)
        errors[without] = np.nan
        errors[without, : steps.shape[1]] = steps
        lost[without] = 0
    count = (~np.isnan(errors)).sum(1)
    scale = np.sqrt(np.nansum(errors**2, 1) / np.maximum(count - lost, 1))
    scale = np.where(count > 0, scale, np.abs(_last_value(values)))
    freedom = np.clip(count - lost, FEWEST_DF, ENOUGH)
    student = scale[:, None] * _student_scores()[freedom - FEWEST_DF]  # (n, J)
    observed = student.copy()
    enough = np.flatnonzero(count >= ENOUGH)
    if len(enough):
        seen = errors[enough].astype(np.float32)
        seen = np.concatenate([seen, -seen], 1) if law.symmetric else seen
        shape = _observed(seen, student[enough])
        observed[enough] = shape - (shape @ MASSES)[:, None]  # the law's mean is the point forecast
    return Spread(observed, student)


def _observed(errors: NDArray[np.float32], student: Array) -> Array:
    """Quantiles of errors (n, E) at `SCORES`; beyond the last that errors tell, Student's t goes on."""
    count = (~np.isnan(errors)).sum(1)[:, None]
    ordered = np.sort(errors, 1)  # NaN last
    level = np.array([NormalDist().cdf(score) for score in SCORES])
    place = np.clip(level * count - 0.5, 0, count - 1)  # (n, J)
    left = place.astype(np.int64)
    right = np.minimum(left + 1, count - 1)
    low, high = (np.take_along_axis(ordered, i, 1).astype(np.float64) for i in (left, right))
    found = low + (high - low) * (place - left)
    told = count * np.minimum(level, 1 - level) >= OUTSIDE  # (n, J), a run around the middle
    first = np.argmax(told, 1)[:, None]
    last = len(SCORES) - 1 - first
    near = np.clip(np.arange(len(SCORES)), first, last)
    return np.take_along_axis(found, near, 1) + student - np.take_along_axis(student, near, 1)


def walk(values: Array, horizon: int, period: int) -> Law:
    """The last value of each season's place: one random walk a place.

    Args:
        values: Histories, (n, steps), right-aligned; NaN where not observed.
        horizon: Steps ahead, H.
        period: Steps in one season; 1 for the last value of all.
    """
    n, steps = values.shape
    seasons = -(-steps // period)
    table = np.full((n, seasons * period), np.nan)
    table[:, table.shape[1] - steps :] = values
    table = table.reshape(n, seasons, period)
    seen = _last_seen(table)  # (n, seasons, period)
    filled = np.take_along_axis(table, np.maximum(seen, 0), 1)
    age = np.arange(1, seasons)[:, None] - seen[:, :-1]  # seasons since the value one forecasts by
    errors = (table[:, 1:] - filled[:, :-1]) / np.sqrt(age)
    place, season = np.arange(horizon) % period, np.arange(horizon) // period
    point = filled[:, -1][:, place]
    point = np.where(np.isnan(point), _last_value(values)[:, None], point)
    missed = (seasons - 1 - seen[:, -1]).astype(np.float64)  # (n, period)
    variance = season + 1 + missed[:, place]

    def scores(draws: Draws, n_samples: int) -> Array:
        shape = (n, n_samples, -(-horizon // period), period)
        walks = draws.at("walk").normal(shape).cumsum(2)
        if missed.any():
            start = draws.at("start").normal((n, n_samples, 1, period))
            walks += start * np.sqrt(missed)[:, None, None]
        sums = walks.reshape(n, n_samples, -1)[..., :horizon]
        return np.asarray(sums / np.sqrt(variance)[:, None])

    return Law(
        point=point,
        errors=_newest(errors.reshape(n, -1), period),
        lost=0,
        variance=variance,
        innovations=variance,
        scores=scores,
        symmetric=True,
    )


def drift(values: Array, horizon: int) -> Law:
    """The last value plus the mean step; its variance adds that of the step's estimate.

    (h + h^2 / (T - 1)) sigma^2, FPP3 table 5.2, with T - 1 the steps from first to last value.
    """
    n, steps = values.shape
    table = values[..., None]
    seen = _last_seen(table)[..., 0]
    observed = ~np.isnan(values)
    first = np.where(observed.any(1), observed.argmax(1), 0)
    last = np.maximum(seen[:, -1], 0)
    span = np.maximum(last - first, 1).astype(np.float64)
    end = _last_value(values)
    slope = (end - np.where(observed.any(1), values[np.arange(n), first], 0)) / span
    filled = np.take_along_axis(values, np.maximum(seen, 0), 1)
    age = np.arange(1, steps) - seen[:, :-1]
    errors = (values[:, 1:] - filled[:, :-1] - slope[:, None] * age) / np.sqrt(age)
    ahead = np.arange(1, horizon + 1) + (steps - 1 - last)[:, None].astype(np.float64)  # (n, H)
    variance = ahead + ahead**2 / span[:, None]

    def scores(draws: Draws, n_samples: int) -> Array:
        walks = draws.at("walk").normal((n, n_samples, horizon)).cumsum(2)
        start = draws.at("start").normal((n, n_samples, 1)) * np.sqrt(ahead[:, :1] - 1)[:, None]
        tilt = (
            draws.at("tilt").normal((n, n_samples, 1)) * (ahead / np.sqrt(span)[:, None])[:, None]
        )
        return np.asarray((walks + start + tilt) / np.sqrt(variance)[:, None])

    return Law(
        point=end[:, None] + slope[:, None] * ahead,
        errors=_newest(errors, 1),
        lost=1,
        variance=variance,
        innovations=ahead,
        scores=scores,
        symmetric=True,
    )


def window_average(values: Array, horizon: int, window: int) -> Law:
    """The mean of the last steps: a level, and noise around it; variance 1 + 1 / values averaged."""
    n, steps = values.shape
    observed = ~np.isnan(values)
    sums, counts = (
        np.pad(np.cumsum(x, 1, dtype=np.float64), ((0, 0), (1, 0)))
        for x in (np.where(observed, values, 0), observed)
    )
    start = np.maximum(np.arange(steps + 1) - window, 0)
    count = counts - counts[:, start]  # (n, steps + 1), before each step and behind the last
    level = (sums - sums[:, start]) / np.where(count > 0, count, np.nan)
    errors = (values - level[:, :-1]) / np.sqrt(1 + 1 / np.where(count > 0, count, 1))[:, :-1]
    errors = _newest(errors, window)
    known = ~np.isnan(errors)
    errors = errors - (np.nansum(errors, 1) / np.maximum(known.sum(1), 1))[:, None]
    end = np.where(count[:, -1] > 0, level[:, -1], _last_value(values))
    share = 1 / np.maximum(count[:, -1:], 1)  # (n, 1), of the level's own error

    def scores(draws: Draws, n_samples: int) -> Array:
        noise = draws.at("noise").normal((n, n_samples, horizon))
        shared = draws.at("level").normal((n, n_samples, 1)) * np.sqrt(share)[:, None]
        return np.asarray((noise + shared) / np.sqrt(1 + share)[:, None])

    return Law(
        point=np.repeat(end[:, None], horizon, 1),
        errors=errors,
        lost=1,
        variance=np.repeat(1 + share, horizon, 1),
        innovations=np.ones((n, horizon)),
        scores=scores,
        symmetric=False,
    )


def _newest(errors: Array, period: int) -> Array:
    """The newest errors of (n, E): the scale of demand grows and shrinks with the years."""
    return errors[:, -max(NEWEST_SEASONS * period, NEWEST) :]


def _last_seen(table: Array) -> Ints:
    """Row of the last observed value up to each row, along axis 1; -1 before the first."""
    rows = np.arange(table.shape[1]).reshape(1, -1, 1)
    return np.maximum.accumulate(np.where(np.isnan(table), -1, rows), axis=1)


def _last_value(values: Array) -> Array:
    """The last observed value of each history, (n,); 0 where there is none."""
    observed = ~np.isnan(values)
    back = observed[:, ::-1].argmax(1)
    last = values[np.arange(len(values)), values.shape[1] - 1 - back]
    return np.where(observed.any(1), last, 0.0)


def _place(scores: Array) -> tuple[Ints, Array]:
    """Left neighbours among `SCORES` and weights of the right ones, same shape."""
    place = np.clip((scores - SCORES[0]) / (SCORES[1] - SCORES[0]), 0, len(SCORES) - 1.000001)
    left = place.astype(np.int64)
    return left, place - left


@lru_cache(maxsize=1)
def _student_scores() -> Array:
    """Student's t at the levels of `SCORES`, by degrees of freedom from `FEWEST_DF` to `ENOUGH`.

    With t = sqrt(df) tan(angle) the density is proportional to cos(angle)^(df - 1), over a bounded
    range. `ENOUGH` itself is the normal.
    """
    angle = np.linspace(np.pi / 2, 0, 50_001)
    tail = np.array([1 - NormalDist().cdf(score) for score in SCORES[SCORES > 1e-9]])
    rows = []
    for df in range(FEWEST_DF, ENOUGH):
        density = np.cos(angle) ** (df - 1)
        beyond = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
        t = np.sqrt(df) * np.tan(np.interp(2 * tail, beyond / beyond[-1], angle))
        rows.append(np.concatenate([-t[::-1], [0], t]))
    return np.array([*rows, SCORES])
