"""Laws as weighted points: values that came elsewhere, mixed with a series' own newest ones.

A series' own values have weights that halve every `HALF_LIFE` steps; together they weigh
s / (s + `PRIOR`), s being their sum: the posterior mean of a distribution under a Dirichlet prior of
strength `PRIOR` around the values from elsewhere (Ferguson, "A Bayesian analysis of some nonparametric
problems", 1973). A law is one for all steps ahead. Paths take it at each step through a normal copula
with one correlation: the level, not known for sure, is common to all steps of a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array, Histories

OLDEST = 30  # own values used
HALF_LIFE = 10.0  # steps; measured with PRIOR on three panels, see benchmarks
GROWTH = 30.0  # points stop at so many times a series' own largest value
PRIOR = 20.0  # own values worth as much as those from elsewhere
NORMAL = NormalDist()
TABLE = np.linspace(-5, 5, 2001)
CDF = np.array([NORMAL.cdf(score) for score in TABLE])


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

    @property
    def masses(self) -> Array:
        """The probability of each point, (n, J)."""
        return np.diff(self.reached, prepend=0, axis=1)

    def mean(self) -> Array:
        """The means, (n,)."""
        return np.asarray((self.points * self.masses).sum(1))

    def paths(self, horizon: int, n_paths: int, correlation: float, draws: Draws) -> Array:
        """Paths (n, S, H) whose steps each have the law, correlated in normal scores."""
        shape = (len(self.points), n_paths, horizon)
        scores = np.sqrt(1 - correlation) * draws.at("step").normal(shape)
        scores += np.sqrt(correlation) * draws.at("path").normal((*shape[:2], 1))
        return self.at(np.asarray(np.interp(scores, TABLE, CDF)))


def mixed(points: Array, mass: Array, past: Histories, prior: float = PRIOR) -> Laws:
    """Points from elsewhere and each series' own newest values as one law a series.

    Whole where the history is whole, not below 0 where it is not, and 0 where there is none. Points
    stop at `GROWTH` times the series' own largest value: what lies beyond came from series of
    another size.

    Args:
        points: (n, J), in the target's unit, in any order.
        mass: Their weights, (n, J), of sum 1 a series.
        past: Histories of the n series.
        prior: Own values worth as much as the points.
    """
    newest = past.values[-OLDEST:].T  # (n, O)
    age = np.arange(newest.shape[1])[::-1]
    weight = 0.5 ** (age / HALF_LIFE) * (age < past.lengths[:, None])  # (n, O)
    own = weight.sum(1, keepdims=True)
    every = np.concatenate([points, newest], 1)
    every = np.where(past.counts[:, None], np.rint(every), every)
    every = np.clip(every, past.floors[:, None], past.ceilings(GROWTH)[:, None])
    every[past.lengths == 0] = 0
    return Laws.of(every, np.concatenate([mass * prior, weight], 1) / (own + prior))


def ratio_of(rate: Array, near: Array, unit: float) -> Array:
    """By what a value that followed one rate is multiplied for another; nearly 1 below the unit."""
    return np.asarray((np.maximum(rate, 0) + unit) / (np.maximum(near, 0) + unit))


def rescaled(values: Array, ratio: Array, most: float) -> Array:
    """Values that followed one rate, for another: times the ratio, but not above all that was seen.

    A value that followed next to nothing says little of how much: without the bound, one burst
    behind a rate near 0 becomes hundreds of them at the rate of the largest series.

    Args:
        values: What followed, any shape.
        ratio: See `ratio_of`; broadcasts with the values.
        most: The largest value the panel has seen.
    """
    return np.asarray(np.minimum(values * ratio, np.maximum(values, most)))


def normal_score(levels: Array) -> Array:
    """Normal scores of levels in [0, 1], those at the ends drawn in to 0.001 and 0.999."""
    return np.asarray(np.interp(np.clip(levels, 0.001, 0.999), CDF, TABLE))


def tie_of(scores: Array) -> float:
    """The one correlation r of the H steps of paths, of their normal scores (paths, H).

    The mean of H scores of variance v then has variance (1 + (H - 1) r) v / H. 0 without steps to tell.
    """
    ahead = scores.shape[1]
    if ahead < 2 or not scores.any():
        return 0.0
    excess = ahead * float((scores.mean(1) ** 2).mean()) / float((scores**2).mean()) - 1
    return float(np.clip(excess / (ahead - 1), 0.0, 0.95))
