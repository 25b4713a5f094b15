"""Distributions as weighted points: values of other series, mixed with a series' own newest values.

The weights of a series' own values halve every `HALF_LIFE` steps. If their sum is s, they get the share s / (s + `PRIOR`)
of the probability: the posterior mean under a Dirichlet prior of strength `PRIOR` around the other values (Ferguson, "A
Bayesian analysis of some nonparametric problems", 1973). All steps ahead have the same distribution. The steps of a path
are joined by a normal copula with one correlation: the level is uncertain, and common to all steps of a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array, Histories

N_OWN_VALUES = 30  # own values used, the newest
HALF_LIFE = 10.0  # steps; measured together with PRIOR on three panels, see benchmarks
MAX_GROWTH = 30.0  # points are at most so many times a series' own largest value
PRIOR = 20.0  # own values that weigh as much as the values of other series
NORMAL = NormalDist()
SCORES = np.linspace(-5, 5, 2001)
CDF = np.array([NORMAL.cdf(score) for score in SCORES])


@dataclass(frozen=True)
class WeightedPoints:
    """Distributions of n series as weighted points, in the target's unit.

    Attributes:
        points: Values, (n, J), increasing.
        cumulative: Their cumulative probabilities, (n, J); the last is 1.
    """

    points: Array
    cumulative: Array

    @classmethod
    def from_points(cls, points: Array, weights: Array) -> WeightedPoints:
        """Return the distributions of points (n, J), in any order, with weights (n, J) or (J,)."""
        order = np.argsort(points, axis=1, kind="stable")
        sums = np.cumsum(np.take_along_axis(np.broadcast_to(weights, points.shape), order, 1), 1)
        return cls(np.take_along_axis(points, order, 1), sums / sums[:, -1:])

    def at_levels(self, levels: Array) -> Array:
        """Return the smallest points whose cumulative probability reaches levels in (0, 1), (n, ...) both."""
        n, count = self.points.shape
        rows = np.arange(n).reshape(-1, *[1] * (levels.ndim - 1))
        flat = (self.cumulative + 2 * np.arange(n)[:, None]).ravel()  # increasing over all rows
        position = np.searchsorted(flat, levels * (1 - 1e-9) + 2 * rows)
        position = np.clip(position, rows * count, (rows + 1) * count - 1)
        return np.asarray(self.points.ravel()[position])

    def quantiles(self, levels: Sequence[float]) -> Array:
        """Return the quantiles at levels, (n, Q)."""
        return self.at_levels(np.broadcast_to(np.array(levels), (len(self.points), len(levels))))

    @property
    def masses(self) -> Array:
        """The probability of each point, (n, J)."""
        return np.diff(self.cumulative, prepend=0, axis=1)

    def mean(self) -> Array:
        """Return the means, (n,)."""
        return np.asarray((self.points * self.masses).sum(1))

    def paths(self, horizon: int, n_paths: int, correlation: float, draws: Draws) -> Array:
        """Draw paths (n, S, H); each step has the distribution, and the normal scores of two steps this correlation."""
        shape = (len(self.points), n_paths, horizon)
        scores = np.sqrt(1 - correlation) * draws.at("step").normal(shape)
        scores += np.sqrt(correlation) * draws.at("path").normal((*shape[:2], 1))
        return self.at_levels(np.asarray(np.interp(scores, SCORES, CDF)))


def mix_with_own_values(
    points: Array, mass: Array, past: Histories, prior: float = PRIOR
) -> WeightedPoints:
    """Mix points of other series with each series' own newest values.

    Points are whole where the history is, at least 0 where it is never negative, and 0 without a history. They are at
    most `MAX_GROWTH` times the series' own largest value: larger ones belong to series of another size.

    Args:
        points: (n, J), in the target's unit, in any order.
        mass: Their weights, (n, J), with sum 1 for each series.
        past: Histories of the n series.
        prior: Number of own values that weigh as much as the points.
    """
    newest = past.values[-N_OWN_VALUES:].T  # (n, O)
    age = np.arange(newest.shape[1])[::-1]
    weight = 0.5 ** (age / HALF_LIFE) * (age < past.lengths[:, None])  # (n, O)
    own_weight = weight.sum(1, keepdims=True)
    values = np.concatenate([points, newest], 1)
    values = np.where(past.counts[:, None], np.rint(values), values)
    values = np.clip(values, past.floors[:, None], past.ceilings(MAX_GROWTH)[:, None])
    values[past.lengths == 0] = 0
    return WeightedPoints.from_points(
        values, np.concatenate([mass * prior, weight], 1) / (own_weight + prior)
    )


def points_of_rate(rates: Array, levels: Array) -> Array:
    """Return quantiles, (n, J), around rates that no value of the panel has followed yet.

    Exponential with the rate as mean: of all distributions of demand with this mean, the one that assumes least.

    Args:
        rates: (n,).
        levels: (J,), in (0, 1).
    """
    return np.asarray(rates[:, None] * -np.log1p(-levels))


def rate_ratio(rate: Array, near: Array, unit: float) -> Array:
    """Return the factor that scales a value that followed the rate `near` to `rate`.

    It is the ratio of the rates where `near` is the unit or more. Below the unit few steps have demand, and a different
    rate means more or fewer demands, not other sizes.
    """
    near = np.maximum(near, 0)
    return np.asarray((np.maximum(rate, 0) + np.maximum(unit - near, 0)) / np.maximum(near, unit))


def scale_values(values: Array, ratio: Array, most: float) -> Array:
    """Scale values that followed one rate to another rate, up to the largest value of the panel.

    Without the limit, one large value after a rate near 0 would become hundreds of times as large at the rate of the
    largest series.

    Args:
        values: Values that followed the rate, of any shape.
        ratio: Factors of `rate_ratio`; broadcast with the values.
        most: The largest value in the panel.
    """
    return np.asarray(np.minimum(values * ratio, np.maximum(values, most)))


def normal_scores(levels: Array) -> Array:
    """Return the normal scores of levels in [0, 1], clipped at 0.001 and 0.999."""
    return np.asarray(np.interp(np.clip(levels, 0.001, 0.999), CDF, SCORES))


def path_correlation(scores: Array) -> float:
    """Return the common correlation r of any two of the H steps of paths, from their normal scores (paths, H).

    The mean of H scores of variance v has the variance (1 + (H - 1) r) v / H. 0 with fewer than two steps.
    """
    ahead = scores.shape[1]
    if ahead < 2 or not scores.any():
        return 0.0
    excess = ahead * float((scores.mean(1) ** 2).mean()) / float((scores**2).mean()) - 1
    return float(np.clip(excess / (ahead - 1), 0.0, 0.95))
