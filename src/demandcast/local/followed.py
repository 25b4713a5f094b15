"""The law of demand behind a rate: what followed in all series whenever their rate was alike.

A smoothed rate says how much is to be expected, not how it will vary. Its own history tells: every
earlier cutoff of every series has a rate and, up to H steps behind it, values that came. The values
that followed the rates nearest to a series' own, anywhere in the panel, each times the ratio of the two
rates, are its pooled law; so a method's bias and the ageing of items are in it as they were in the past.
Mixed with the series' own newest values (see `mixtures`) it is the law of every step ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.histories import Array, Histories, Ints
from demandcast.local.mixtures import Laws, mixed, normal_score, ratio_of, rescaled, tie_of

PAIRS = 400_000  # rates and what followed, kept in all
CUTOFFS = 20  # newest cutoffs looked back to, or the horizon where that is more
WINDOW, FEWEST = 3200, 200  # pairs in one law: a twentieth of all, within these
GROUPS = 256  # laws drawn up; series of nearly one rate share theirs
SMALL = 0.5  # of the median demand
LEVELS = np.concatenate(
    [np.arange(190) / 200, 0.95 + np.arange(40) / 1000, 0.99 + np.arange(51) / 5000]
)  # edges of the pooled law's points, finer towards the tail that stock is held for


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
    past: Histories, rates: Array, horizon: int, keep: float, draws: Draws
) -> tuple[Array, Array]:
    """Rates of earlier cutoffs and the values up to `horizon` steps behind each, (P,), (P,).

    Args:
        past: Histories of n series.
        rates: Before each step and behind the last, (T + 1, n).
        horizon: Steps ahead.
        keep: Share of the pairs to draw.
        draws: Of the n series.
    """
    steps = past.steps
    known = np.minimum(10, np.maximum(past.lengths // 2, 1))  # steps seen before a rate counts
    found_rates, found_values = [], []
    for row in range(max(1, steps - max(CUTOFFS, horizon)), steps):
        begun = np.flatnonzero(row - past.begins >= known)
        for ahead in range(min(horizon, steps - row)):
            some = begun
            if keep < 1:
                kept = draws.at("pair", steps - row, ahead).uniform((past.n_series,)) < keep
                some = begun[kept[begun]]
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
class Pool:
    """Laws of the panel by rate: group g is of the rate `centres[g]`, its points increase."""

    centres: Array  # (G,), increasing
    points: Array  # (G, J)
    unit: float  # a rate so small that values are no longer scaled by their rates' ratio
    most: float  # the largest value that followed any rate

    @classmethod
    def of(cls, pairs: Pairs, rates: Array) -> Pool:
        """The laws around the rates that are to be forecast, (n,)."""
        total = len(pairs.rates)
        if total == 0:
            return cls(np.zeros(1), np.zeros((1, len(LEVELS) - 1)), 1.0, 0.0)
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
        most = float(pairs.values.max())
        values = rescaled(pairs.values[chosen], ratio_of(centre, near, unit), most)
        middle = (LEVELS[1:] + LEVELS[:-1]) / 2
        values.sort(1)
        return cls(np.asarray(centres), values[:, (middle * window).astype(np.int64)], unit, most)

    def near(self, rates: Array) -> Array:
        """Points of the group nearest each rate, scaled to it, (n, J)."""
        right = np.clip(np.searchsorted(self.centres, rates), 0, len(self.centres) - 1)
        left = np.maximum(right - 1, 0)
        lower = rates - self.centres[left] < self.centres[right] - rates
        group = np.where(lower, left, right)
        ratio = ratio_of(rates, self.centres[group], self.unit)
        return rescaled(self.points[group], ratio[:, None], self.most)

    def laws(self, rates: Array, past: Histories) -> Laws:
        """The mixture of pooled and own values for each series."""
        pooled = self.near(rates)
        mass = np.broadcast_to(np.diff(LEVELS), pooled.shape)
        return mixed(pooled, mass, past)

    def correlation(self, past: Histories, rates: Array, horizon: int, draws: Draws) -> float:
        """Of the normal scores of two values within one horizon, over the panel's last values."""
        ahead = min(horizon, past.steps // 2)
        row = past.steps - ahead
        some = np.flatnonzero(past.lengths >= 2 * ahead)
        if ahead < 2 or not len(some):
            return 0.0
        some = some[draws.select(some).at("tie").order()[:4000]]
        points = self.near(rates[row, some])
        came = past.values[row:, some].T  # (n, ahead)
        points = np.where(past.counts[some, None], np.rint(points), points)
        weight = np.diff(LEVELS)
        below, upto = (
            np.stack([(compare(points, v[:, None]) * weight).sum(1) for v in came.T], 1)
            for compare in (np.less, np.less_equal)
        )
        level = below + (upto - below) * draws.select(some).at("level").uniform(came.shape)
        return tie_of(normal_score(level))
