"""The distribution of demand given a rate: the values that followed similar rates in all series of the panel.

A smoothed rate is a point forecast without a distribution. The panel's history provides one: every earlier cutoff of
every series has a rate, and values at up to H steps after it. The pooled distribution of a series consists of the values
that followed the rates nearest to its own, each scaled by the ratio of the two rates. It therefore includes a method's
bias and the ageing of items as they were in the past. Mixed with the series' own newest values (see `weighted_points`),
it is the distribution at every step ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.weighted_points import (
    WeightedPoints,
    mix_with_own_values,
    normal_scores,
    path_correlation,
    points_of_rate,
    rate_ratio,
    scale_values,
)

MAX_PAIRS = 400_000  # of a rate and a value, kept from the whole panel
CUTOFFS = 20  # newest cutoffs used, or as many as the horizon if that is more
MIN_WINDOW, MAX_WINDOW = 200, 3200  # pairs in one distribution: a twentieth of all, within these
GROUPS = 256  # distributions computed; series with nearly the same rate share one
UNIT_SHARE = 0.5  # of the median demand
CORRELATION_SERIES = 4000  # series that the correlation of paths is estimated from
LEVEL_EDGES = np.concatenate(
    [np.arange(190) / 200, 0.95 + np.arange(40) / 1000, 0.99 + np.arange(51) / 5000]
)  # around the points of the pooled distribution, finer in the tail that determines stock
POINT_LEVELS = (LEVEL_EDGES[1:] + LEVEL_EDGES[:-1]) / 2

Part = tuple[Ints, Histories, Array]  # rows of series in the panel, their histories and rates


@dataclass(frozen=True)
class Pairs:
    """Rates in increasing order, and one value that followed each, (P,) both."""

    rates: Array
    values: Array

    @classmethod
    def concatenate(cls, parts: Sequence[tuple[Array, Array, Array]]) -> Pairs:
        """Join the pairs of all parts of a panel; pairs with the same rate are ordered by their random numbers."""
        none = (np.zeros(0), np.zeros(0), np.zeros(0))
        rates, values, uniform = (
            np.concatenate(column) for column in zip(none, *parts, strict=True)
        )
        order = np.lexsort((uniform, rates))
        return cls(rates[order], values[order])


def collect_pairs(
    past: Histories, rates: Array, horizon: int, keep: float, draws: Draws
) -> tuple[Array, Array, Array]:
    """Return rates at earlier cutoffs, the values at up to `horizon` steps after each, and a random number each, (P,).

    Args:
        past: Histories of n series.
        rates: Rates before each step and after the last, (T + 1, n).
        horizon: Steps ahead.
        keep: Share of the pairs to keep, drawn at random.
        draws: Random numbers of the n series.
    """
    steps = past.steps
    min_steps = np.minimum(10, np.maximum(past.lengths // 2, 1))  # of history before a rate counts
    pairs: list[tuple[Array, Array, Array]] = [(np.zeros(0), np.zeros(0), np.zeros(0))]
    for row in range(max(1, steps - max(CUTOFFS, horizon)), steps):
        series = np.flatnonzero(row - past.begins >= min_steps)
        for ahead in range(min(horizon, steps - row)):
            uniform = draws.at("pair", steps - row, ahead).uniform((past.n_series,))
            sampled = series[uniform[series] < keep]
            pairs.append((rates[row, sampled], past.values[row + ahead, sampled], uniform[sampled]))
    rate, value, uniform = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return rate, value, uniform


def count_pairs(lengths: Ints, horizon: int) -> int:
    """Return about the number of pairs that `collect_pairs` finds in histories of these lengths."""
    cutoffs = np.minimum(lengths, max(CUTOFFS, horizon))
    return int((cutoffs * np.minimum(horizon, (cutoffs + 1) / 2)).sum())


@dataclass(frozen=True)
class PooledDistributions:
    """Pooled distributions of a panel, one for each of a number of rates.

    Attributes:
        centres: Rate of each group, (G,), increasing.
        points: Equally probable values within each level interval, (G, J), increasing along J; without a group
            (G = 0) where no value of the panel followed another.
        unit: Values are scaled by the ratio of the rates from this rate on, see `rate_ratio`.
        max_value: The largest value that followed any rate.
    """

    centres: Array
    points: Array
    unit: float
    max_value: float

    @classmethod
    def fit(cls, pairs: Pairs, rates: Array) -> PooledDistributions:
        """Compute the distributions around the rates to be forecast, (n,)."""
        total = len(pairs.rates)
        if total == 0:
            return cls(np.zeros(0), np.zeros((0, len(POINT_LEVELS))), 1.0, 0.0)
        demands = pairs.values[pairs.values > 0]
        unit = UNIT_SHARE * float(np.median(demands)) if len(demands) else 1.0
        window = min(total, int(np.clip(total // 20, MIN_WINDOW, MAX_WINDOW)))
        ranks = np.linspace(0, 1, GROUPS)
        centres = np.unique(np.quantile(rates, ranks, method="nearest")) if len(rates) else [0.0]
        left = np.searchsorted(pairs.rates, centres)
        right = np.searchsorted(pairs.rates, centres, side="right")
        first = np.clip((left + right) // 2 - window // 2, 0, total - window)
        chosen = first[:, None] + np.arange(window)
        centre = np.asarray(centres)[:, None]
        max_value = float(pairs.values.max())
        ratio = rate_ratio(centre, pairs.rates[chosen], unit)
        values = scale_values(pairs.values[chosen], ratio, max_value)
        values.sort(1)
        return cls(
            np.asarray(centres),
            values[:, (POINT_LEVELS * window).astype(np.int64)],
            unit,
            max_value,
        )

    def nearest_points(self, rates: Array) -> Array:
        """Return the points of the group nearest to each rate, scaled to that rate, (n, J)."""
        if not len(self.centres):
            return points_of_rate(rates, POINT_LEVELS)
        right = np.clip(np.searchsorted(self.centres, rates), 0, len(self.centres) - 1)
        left = np.maximum(right - 1, 0)
        lower = rates - self.centres[left] < self.centres[right] - rates
        group = np.where(lower, left, right)
        ratio = rate_ratio(rates, self.centres[group], self.unit)
        return scale_values(self.points[group], ratio[:, None], self.max_value)

    def distributions(self, rates: Array, past: Histories) -> WeightedPoints:
        """Return each series' distribution, a mixture of the pooled and of its own values."""
        pooled = self.nearest_points(rates)
        mass = np.broadcast_to(np.diff(LEVEL_EDGES), pooled.shape)
        return mix_with_own_values(pooled, mass, past)

    def correlation(self, parts: Sequence[Part], horizon: int, draws: Draws) -> float:
        """Estimate the correlation of the normal scores of two steps of one path, from the panel's last values."""
        ahead = min(horizon, max((past.steps for _, past, _ in parts), default=0) // 2)
        long_enough = [index[past.lengths >= 2 * ahead] for index, past, _ in parts]
        series = np.concatenate([np.zeros(0, np.int64), *long_enough])
        if ahead < 2 or not len(series):
            return 0.0
        chosen = series[draws.select(series).at("tie").order()[:CORRELATION_SERIES]]
        scores = [
            self._scores(past, rates, np.flatnonzero(np.isin(index, chosen)), ahead, draws, index)
            for index, past, rates in parts
        ]
        return path_correlation(np.concatenate(scores))

    def _scores(
        self, past: Histories, rates: Array, series: Ints, ahead: int, draws: Draws, index: Ints
    ) -> Array:
        """Return the normal scores of the last values of the selected series of a part, (s, ahead)."""
        if not len(series):
            return np.zeros((0, ahead))
        row = past.steps - ahead
        points = self.nearest_points(rates[row, series])
        actual = past.values[row:, series].T  # (s, ahead)
        points = np.where(past.counts[series, None], np.rint(points), points)
        weight = np.diff(LEVEL_EDGES)
        below, at_or_below = (
            np.stack([(compare(points, v[:, None]) * weight).sum(1) for v in actual.T], 1)
            for compare in (np.less, np.less_equal)
        )
        uniform = draws.select(index[series]).at("level").uniform(actual.shape)
        return normal_scores(below + (at_or_below - below) * uniform)
