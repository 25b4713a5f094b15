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
from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.weighted_points import (
    Laws,
    mixed,
    normal_score,
    ratio_of,
    rescaled,
    tie_of,
)

PAIRS = 400_000  # rates and what followed, kept in all
CUTOFFS = 20  # newest cutoffs looked back to, or the horizon where that is more
WINDOW, FEWEST = 3200, 200  # pairs in one law: a twentieth of all, within these
GROUPS = 256  # laws drawn up; series of nearly one rate share theirs
SMALL = 0.5  # of the median demand
LOOKED_AT = 4000  # series that the correlation of paths is told by
LEVELS = np.concatenate(
    [np.arange(190) / 200, 0.95 + np.arange(40) / 1000, 0.99 + np.arange(51) / 5000]
)  # edges of the pooled law's points, finer towards the tail that stock is held for

Part = tuple[Ints, Histories, Array]  # some series of a panel, what is known of them, their rates


@dataclass(frozen=True)
class Pairs:
    """Rates in increasing order and one value that followed each, (P,), (P,)."""

    rates: Array
    values: Array

    @classmethod
    def joined(cls, parts: Sequence[tuple[Array, Array, Array]]) -> Pairs:
        """Of all parts of a panel; pairs of one rate come in the order of their draws."""
        none = (np.zeros(0), np.zeros(0), np.zeros(0))
        rates, values, drawn = (np.concatenate(side) for side in zip(none, *parts, strict=True))
        order = np.lexsort((drawn, rates))
        return cls(rates[order], values[order])


def followed(
    past: Histories, rates: Array, horizon: int, keep: float, draws: Draws
) -> tuple[Array, Array, Array]:
    """Rates of earlier cutoffs, the values up to `horizon` steps behind each, and a draw of each, (P,).

    Args:
        past: Histories of n series.
        rates: Before each step and behind the last, (T + 1, n).
        horizon: Steps ahead.
        keep: Share of the pairs to draw.
        draws: Of the n series.
    """
    steps = past.steps
    known = np.minimum(10, np.maximum(past.lengths // 2, 1))  # steps seen before a rate counts
    found: list[tuple[Array, Array, Array]] = [(np.zeros(0), np.zeros(0), np.zeros(0))]
    for row in range(max(1, steps - max(CUTOFFS, horizon)), steps):
        begun = np.flatnonzero(row - past.begins >= known)
        for ahead in range(min(horizon, steps - row)):
            drawn = draws.at("pair", steps - row, ahead).uniform((past.n_series,))
            some = begun[drawn[begun] < keep]
            found.append((rates[row, some], past.values[row + ahead, some], drawn[some]))
    rate, value, drawn = (np.concatenate(side) for side in zip(*found, strict=True))
    return rate, value, drawn


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

    def correlation(self, parts: Sequence[Part], horizon: int, draws: Draws) -> float:
        """Of the normal scores of two values within one horizon, over the panel's last values."""
        ahead = min(horizon, max((past.steps for _, past, _ in parts), default=0) // 2)
        long = [index[past.lengths >= 2 * ahead] for index, past, _ in parts]
        able = np.concatenate([np.zeros(0, np.int64), *long])
        if ahead < 2 or not len(able):
            return 0.0
        told = able[draws.select(able).at("tie").order()[:LOOKED_AT]]
        scores = [
            self._scores(past, rates, np.flatnonzero(np.isin(index, told)), ahead, draws, index)
            for index, past, rates in parts
        ]
        return tie_of(np.concatenate(scores))

    def _scores(
        self, past: Histories, rates: Array, some: Ints, ahead: int, draws: Draws, index: Ints
    ) -> Array:
        """Normal scores of the last values of some series of a part, (s, ahead)."""
        if not len(some):
            return np.zeros((0, ahead))
        row = past.steps - ahead
        points = self.near(rates[row, some])
        came = past.values[row:, some].T  # (n, ahead)
        points = np.where(past.counts[some, None], np.rint(points), points)
        weight = np.diff(LEVELS)
        below, upto = (
            np.stack([(compare(points, v[:, None]) * weight).sum(1) for v in came.T], 1)
            for compare in (np.less, np.less_equal)
        )
        level = below + (upto - below) * draws.select(index[some]).at("level").uniform(came.shape)
        return normal_score(level)
