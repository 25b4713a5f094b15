"""What methods for smooth series share: tables of one period, and from a law to quantiles and paths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping
from demandcast.local.base import LocalForecaster
from demandcast.local.parts.error_laws import NEWEST, NEWEST_SEASONS, Law, spread
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import Table, tables
from demandcast.panel.panel import Panel
from demandcast.settings import whole

CELLS = 400_000  # numbers held at once, per array
SMALL = 1e-3  # of a series' mean: forecasts below are none that errors could be a share of
SPANS = 5.0  # errors of many steps, not overlapping, that weigh as much as the recursion's word
POWERS = (0.0, 0.5)  # of the forecast, that errors may grow with; 1 made bands too wide on tourism
LARGEST = float(np.finfo(np.float32).max)
LEAST_RATIO = 0.05  # of their variance to the recursion's


@dataclass(frozen=True)
class Smooth:
    """What a method says of a table: value = shift + factor (law's point + its error).

    Attributes:
        law: In the table's units, without the season.
        factor: The season that multiplies, (n, H).
        shift: The season that is added, (n, H).
    """

    law: Law
    factor: Array
    shift: Array


def law_of(
    table: Table,
    values: Array,
    ahead: Callable[[int], Array],
    counted: NDArray[np.bool_],
    point: Array,
    moved: Array,
    lost: int | Ints,
    season: Array | None = None,
) -> Law:
    """The law around point forecasts, from the errors that the fitted method made over its history.

    One-step errors give its shape and scale. How it widens is between what the recursion says
    (`moved`) and what errors of 2, 3, ... steps were, the more so the more there are. Errors grow with a
    power p of the forecast f: of `POWERS`, the one of least n log(sum (e / f^p)^2) + 2 p sum log f.

    Args:
        table: The series.
        values: What was forecast, (T, n).
        ahead: Forecasts of each row made so many steps before, (T, n).
        counted: Rows whose errors count, (T, n).
        point: Forecasts behind the end, (n, H).
        moved: What is left of an error one step later, two steps later, ..., (n, H).
        lost: Parameters estimated per series.
        season: What multiplies the level that an error has moved, at each step, (n, H).
    """
    n, horizon = point.shape
    fitted = ahead(1)
    error = np.where(counted, values - fitted, np.nan)
    count = np.maximum(counted.sum(0), 1)
    able = np.asarray(((fitted > SMALL) | ~counted).all(0) & (point > SMALL).all(1))
    size = np.where(counted & able, fitted, 1.0)  # (T, n)
    logs = np.log(size).sum(0)
    costs = [count * _log(np.nansum((error / size**p) ** 2, 0)) + 2 * p * logs for p in POWERS]
    power = np.where(able, np.array(POWERS)[np.argmin(costs, 0)], 0.0)
    unit = np.where(able[:, None], point, 1.0) ** power[:, None]  # (n, H), of an error at each step
    lag = np.arange(horizon)[:, None] - np.arange(horizon)
    kept = np.concatenate([np.ones((n, 1)), moved[:, :-1]], 1)
    response = np.where(lag >= 0, kept[:, np.maximum(lag, 0)], 0.0)  # (n, H, H)
    newest = counted & (np.arange(table.steps)[:, None] >= table.lengths - _newest(table.period))

    def errors(step: int) -> Array:
        made = np.where(newest, ahead(step), np.nan)
        return np.asarray((values - made) / np.maximum(made, SMALL) ** power)

    one = errors(1)
    squares = _mean_square(one)
    for step in range(2, horizon + 1):
        found = errors(step)
        seen = (~np.isnan(found)).sum(0) / step  # spans that do not overlap
        told = (response[:, step - 1] ** 2).sum(1) * squares
        ratio = _mean_square(found) / np.where(told > 0, told, 1.0)
        ratio = np.clip(np.where(told > 0, ratio, 1.0), LEAST_RATIO, 1 / LEAST_RATIO)
        response[:, step - 1] *= (ratio ** (seen / (seen + SPANS) / 2))[:, None]
    if season is not None:
        response *= season[..., None] / season[:, None]
    response *= unit[..., None]
    variance = (response**2).sum(2)

    def scores(draws: Draws, n_samples: int) -> Array:
        drawn = draws.normal((n, n_samples, horizon))
        return np.asarray(drawn @ response.transpose(0, 2, 1) / np.sqrt(variance)[:, None])

    return Law(
        point=point,
        errors=ended(one, table.lengths)[:, -_newest(table.period) :],
        lost=lost,
        variance=variance,
        innovations=variance**2 / (response**4).sum(2),
        scores=scores,
        symmetric=False,
    )


def _newest(period: int) -> int:
    return max(NEWEST_SEASONS * period, NEWEST)


def _mean_square(errors: Array) -> Array:
    seen = ~np.isnan(errors)
    squares = np.where(seen, errors, 0.0) ** 2
    return np.asarray(squares.sum(0) / np.maximum(seen.sum(0), 1))


def limits(values: Array, scale: Array) -> tuple[Array, NDArray[np.bool_]]:
    """The floor (n, 1) of histories (n, T) in units of their scale (n, 1), and which are whole, (n, 1, 1)."""
    floor = np.where((values >= 0) | np.isnan(values), 0.0, -LARGEST).min(1)[:, None]
    exact = (values * scale).astype(np.float32)  # as they came
    return floor, (np.isnan(exact) | (exact == np.rint(exact))).all(1)[:, None, None]


def bounded(values: Array, floor: Array) -> Array:
    """Not below the floor, nor larger than a float32 can be."""
    return np.asarray(np.clip(values, floor, LARGEST))


def ended(values: Array, lengths: Ints) -> Array:
    """Columns that begin together, (T, n), as rows that end together, (n, T), NaN before the first."""
    place = np.arange(len(values))[:, None] - (len(values) - lengths)
    moved = np.take_along_axis(values, np.maximum(place, 0), 0)
    return np.asarray(np.where(place < 0, np.nan, moved).T)


def _log(sums: Array) -> Array:
    return np.log(np.maximum(sums, 1e-300))


class SmoothForecaster(LocalForecaster):
    """A recursion over time for all series at once, and the law of its own errors around it.

    Steps not observed are filled from their phase for the recursion, and count in no error. The
    scale is the root mean square of the newest errors, their shape as in the naive methods (see
    `laws`).
    """

    settings: ClassVar[dict[str, Any]] = {"period": None}
    period: int | None

    def _check(self) -> None:
        if self.period is not None:
            whole("period", self.period, least=1)

    def _fit(self, table: Table) -> Smooth:
        raise NotImplementedError

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        periods = np.full(panel.n_series, self.period or panel.freq.period)
        for index, table in tables(panel, periods, CELLS):
            found = self._fit(table)
            law, scale = found.law, table.scale[:, None]
            factor, shift = found.factor * scale, found.shift * scale  # (n, H)
            values = np.where(table.seen, table.filled, np.nan).T
            spreads = spread(law, values)
            floor, counts = limits(values, scale)
            around = law.point[..., None] + spreads.quantiles(law, (*levels, *MEAN_LEVELS))
            drawn = shift[..., None] + factor[..., None] * around  # (n, H, Q + J)
            asked, nodes = drawn[..., : len(levels)], drawn[..., len(levels) :]
            draft.mean[index] = bounded(
                mean_after_clipping(shift + factor * law.point, nodes, floor, counts[..., 0]), floor
            )
            asked = bounded(asked, floor[..., None])
            draft.quantiles[index] = np.where(counts, np.rint(asked), asked)
            if draft.samples is not None:
                around = law.point[:, None] + spreads.paths(
                    law, draws.select(index), n_paths
                )  # (n, S, H)
                drawn = bounded(shift[:, None] + factor[:, None] * around, floor[..., None])
                draft.samples[index] = np.where(counts, np.rint(drawn), drawn)
        return draft
