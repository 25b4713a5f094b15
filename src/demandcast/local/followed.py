"""The law of demand behind a rate: what followed in all series whenever their rate was alike.

A smoothed rate says how much is to be expected, not how it will vary. Its own history tells: every
earlier cutoff of every series has a rate and, up to H steps behind it, values that came. The law of
a series is a mixture of

- the values that followed the rates nearest its own, over the whole panel, each times the ratio of
  the two rates; so a method's bias and the ageing of items are in the law as they were in the past;
- the series' own newest values, with weights that halve every `HALF_LIFE` steps.

The own part weighs s / (s + `PRIOR`), s the sum of its weights: the posterior mean of a distribution
under a Dirichlet prior of strength `PRIOR` around the pooled one (Ferguson, "A Bayesian analysis of
some nonparametric problems", 1973). The law is one for all steps ahead. Paths take it at each step
through a normal copula with one correlation, that of the panel's past values within one horizon: the
level, not known for sure, is common to all steps of a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from demandcast.local.histories import Array, Histories, Ints

PAIRS = 400_000  # rates and what followed, kept in all
CUTOFFS = 20  # newest cutoffs looked back to, or the horizon where that is more
WINDOW, FEWEST = 3200, 200  # pairs in one law: a twentieth of all, within these
GROUPS = 256  # laws drawn up; series of nearly one rate share theirs
OLDEST = 30  # own values used
HALF_LIFE = 10.0  # steps; measured likewise
SMALL = 0.5  # of the median demand
PRIOR = 20.0  # own values worth as much as the pooled law; measured, see benchmarks
LEVELS = np.concatenate(
    [np.arange(190) / 200, 0.95 + np.arange(40) / 1000, 0.99 + np.arange(51) / 5000]
)  # edges of the pooled law's points, finer towards the tail that stock is held for
NORMAL = NormalDist()


@dataclass(frozen=True)
class Pairs:
    """Rates in increasing order and one value that followed each, (P,), (P,)."""

    rates: Array
    values: Array

    @classmethod
    def joined(cls, parts: Sequence[tuple[Array, Array]]) -> Pairs:
        rates, values = (np.concatenate(side) for side in zip(*parts, strict=True))
        order = np.argsort(rates, kind="stable")
        return cls(rates[order], values[order])


def followed(
    past: Histories, rates: Array, horizon: int, keep: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Rates of earlier cutoffs and the values up to `horizon` steps behind each, (P,), (P,).

    Args:
        past: Histories of n series.
        rates: Before each step and behind the last, (T + 1, n).
        horizon: Steps ahead.
        keep: Share of the pairs to draw.
        rng: Draws them.
    """
    steps = past.steps
    known = np.minimum(10, np.maximum(past.lengths // 2, 1))  # steps seen before a rate counts
    found_rates, found_values = [], []
    for row in range(max(1, steps - max(CUTOFFS, horizon)), steps):
        begun = np.flatnonzero(row - past.begins >= known)
        for ahead in range(min(horizon, steps - row)):
            some = begun if keep >= 1 else begun[rng.random(len(begun)) < keep]
            found_rates.append(rates[row, some])
            found_values.append(past.values[row + ahead, some])
    if not found_rates:
        return np.zeros(0), np.zeros(0)
    return np.concatenate(found_rates), np.concatenate(found_values)


def n_pairs(lengths: Ints, horizon: int) -> int:
    """About as many pairs as `followed` finds."""
    cutoffs = np.minimum(lengths, max(CUTOFFS, horizon))
    return int((cutoffs * np.minimum(horizon, (cutoffs + 1) / 2)).sum())


@dataclass(frozen=True)
class Laws:
    """Distributions of n series as weighted points, in the target's unit.

    Attributes:
        points: Values, (n, J), increasing.
        reached: Their cumulative probabilities, (n, J); the last is 1.
    """

    points: Array
    reached: Array

    @classmethod
    def of(cls, points: Array, weights: Array) -> Laws:
        """From points (n, J) in any order and weights (n, J) or (J,)."""
        order = np.argsort(points, axis=1, kind="stable")
        sums = np.cumsum(np.take_along_axis(np.broadcast_to(weights, points.shape), order, 1), 1)
        return cls(np.take_along_axis(points, order, 1), sums / sums[:, -1:])

    def at(self, levels: Array) -> Array:
        """The least points that reach levels in (0, 1), (n, ...) both."""
        n, count = self.points.shape
        rows = np.arange(n).reshape(-1, *[1] * (levels.ndim - 1))
        flat = (self.reached + 2 * np.arange(n)[:, None]).ravel()  # increasing over all rows
        place = np.searchsorted(flat, levels * (1 - 1e-9) + 2 * rows)
        return np.asarray(self.points.ravel()[np.clip(place, rows * count, (rows + 1) * count - 1)])

    def quantiles(self, levels: Sequence[float]) -> Array:
        """Values at levels, (n, Q)."""
        return self.at(np.broadcast_to(np.array(levels), (len(self.points), len(levels))))

    def paths(
        self, horizon: int, n_paths: int, correlation: float, rng: np.random.Generator
    ) -> Array:
        """Paths (n, S, H) whose steps each have the law, correlated in normal scores."""
        shape = (len(self.points), n_paths, horizon)
        scores = np.sqrt(1 - correlation) * rng.standard_normal(shape)
        scores += np.sqrt(correlation) * rng.standard_normal((*shape[:2], 1))
        return self.at(_normal_cdf(scores))


@dataclass(frozen=True)
class Pool:
    """Laws of the panel by rate: group g is of the rate `centres[g]`, its points increase."""

    centres: Array  # (G,), increasing
    points: Array  # (G, J)
    unit: float  # a rate so small that values are no longer scaled by their rates' ratio

    @classmethod
    def of(cls, pairs: Pairs, rates: Array) -> Pool:
        """The laws around the rates that are to be forecast, (n,)."""
        total = len(pairs.rates)
        if total == 0:
            return cls(np.zeros(1), np.zeros((1, len(LEVELS) - 1)), 1.0)
        demands = pairs.values[pairs.values > 0]
        unit = SMALL * float(np.median(demands)) if len(demands) else 1.0
        window = min(total, int(np.clip(total // 20, FEWEST, WINDOW)))
        ranks = np.linspace(0, 1, GROUPS)
        centres = np.unique(np.quantile(rates, ranks, method="nearest")) if len(rates) else [0.0]
        place = np.searchsorted(pairs.rates, centres)
        tied = np.searchsorted(pairs.rates, centres, side="right")
        first = np.clip((place + tied) // 2 - window // 2, 0, total - window)
        chosen = first[:, None] + np.arange(window)
        near = pairs.rates[chosen]
        centre = np.asarray(centres)[:, None]
        values = pairs.values[chosen] * _ratio(centre, near, unit)
        middle = (LEVELS[1:] + LEVELS[:-1]) / 2
        values.sort(1)
        return cls(np.asarray(centres), values[:, (middle * window).astype(np.int64)], unit)

    def near(self, rates: Array) -> tuple[Array, Array]:
        """Points of the group nearest each rate, (n, J), and the ratio to it, (n,)."""
        right = np.clip(np.searchsorted(self.centres, rates), 0, len(self.centres) - 1)
        left = np.maximum(right - 1, 0)
        lower = rates - self.centres[left] < self.centres[right] - rates
        group = np.where(lower, left, right)
        return self.points[group], _ratio(rates, self.centres[group], self.unit)

    def laws(self, rates: Array, past: Histories) -> Laws:
        """The mixture of pooled and own values for each series."""
        pooled, ratio = self.near(rates)
        newest = past.values[-OLDEST:].T  # (n, O)
        age = np.arange(newest.shape[1])[::-1]
        weight = 0.5 ** (age / HALF_LIFE) * (age < past.lengths[:, None])  # (n, O)
        own = weight.sum(1, keepdims=True)
        points = np.concatenate([pooled * ratio[:, None], newest], 1)
        points = np.where(past.counts[:, None], np.rint(points), points)
        mass = np.broadcast_to(np.diff(LEVELS) * PRIOR, pooled.shape) / (own + PRIOR)
        points = np.maximum(points, past.floors[:, None])
        points[past.lengths == 0] = 0
        return Laws.of(points, np.concatenate([mass, weight / (own + PRIOR)], 1))

    def correlation(
        self, past: Histories, rates: Array, horizon: int, rng: np.random.Generator
    ) -> float:
        """Of the normal scores of two values within one horizon, over the panel's last values.

        Under one correlation r the mean of H scores has variance (1 + (H - 1) r) / H.
        """
        ahead = min(horizon, past.steps // 2)
        row = past.steps - ahead
        some = np.flatnonzero(past.lengths >= 2 * ahead)
        if ahead < 2 or not len(some):
            return 0.0
        some = rng.choice(some, min(len(some), 4000), replace=False)
        points, ratio = self.near(rates[row, some])
        came = past.values[row:, some].T  # (n, ahead)
        points = points * ratio[:, None]
        points = np.where(past.counts[some, None], np.rint(points), points)
        weight = np.diff(LEVELS)
        below, upto = (
            np.stack([(compare(points, v[:, None]) * weight).sum(1) for v in came.T], 1)
            for compare in (np.less, np.less_equal)
        )
        level = below + (upto - below) * rng.random(came.shape)
        scores = _normal_score(np.clip(level, 0.001, 0.999))
        excess = ahead * float((scores.mean(1) ** 2).mean()) / float((scores**2).mean()) - 1
        return float(np.clip(excess / (ahead - 1), 0.0, 0.95))


def _ratio(rate: Array, near: Array, unit: float) -> Array:
    """By what a value that followed one rate is multiplied for another; nearly 1 below the unit."""
    return np.asarray((np.maximum(rate, 0) + unit) / (np.maximum(near, 0) + unit))


_TABLE = np.linspace(-5, 5, 2001)
_CDF = np.array([NORMAL.cdf(x) for x in _TABLE])


def _normal_cdf(scores: Array) -> Array:
    return np.asarray(np.interp(scores, _TABLE, _CDF))


def _normal_score(levels: Array) -> NDArray[np.float64]:
    return np.asarray(np.interp(levels, _CDF, _TABLE))
