"""Estimate the scale of an item without history from similar items.

The logarithm of a series' scale is taken as the sum of an effect for each of its static categories and one for
all of them together, each drawn towards zero where few series speak for it, as in a random-effects model; Henderson, "Best linear unbiased
estimation and prediction under a selection model", Biometrics 31 (1975), has the idea. Effects are found by
going over the categories a few times. The estimate that trees read in training leaves the series itself out, so
that they learn how far off such a guess is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
SHRINK = 2.0  # series' worth of no effect
TURNS = 8  # over all categories


@dataclass(frozen=True)
class Likeness:
    """Effects of static categories on the logarithm of the scale.

    Attributes:
        level: Of all series.
        effects: Of each category, by code, one array a static column; code 0, unknown, has none.
        together: Codes of all columns -> the effect of having just these; empty for fewer than two columns.
        leaving_out: The scale of each series estimated from the others, (N,).
    """

    level: float
    effects: tuple[Doubles, ...]
    together: dict[tuple[int, ...], float]
    leaving_out: Doubles

    @classmethod
    def of(cls, scale: Doubles, codes: Ints, observed: NDArray[np.bool_]) -> Likeness:
        """Estimate effects from the scales of series, (N,), and their codes, (N, K), of frequent categories."""
        observed = observed & (scale > 0)
        columns, rows = codes.shape[1], np.zeros((0, 0), np.int64)
        if columns > 1:
            rows, which = np.unique(codes, axis=0, return_inverse=True)
            codes = np.concatenate([codes, np.reshape(which, (-1, 1)) + 1], 1)
        logs = np.log(np.where(observed, scale, 1.0))
        if not observed.any():
            none = tuple(np.zeros(int(c.max(initial=0)) + 1) for c in codes.T)
            return cls(0.0, none[:columns], {}, np.ones(len(scale)))
        level = float(np.log(scale[observed].mean()))  # of sums, in which large items count most
        rest = np.where(observed, logs - level, 0.0)
        sizes = [int(column.max(initial=0)) + 1 for column in codes.T]
        counts = [
            np.bincount(column[observed], minlength=size)
            for column, size in zip(codes.T, sizes, strict=True)
        ]
        effects = [np.zeros(size) for size in sizes]
        level_shift = float(rest[observed].mean()) if sizes else 0.0
        rest = np.where(observed, rest - level_shift, 0.0)

        def total_effect(of: list[Doubles]) -> Doubles:
            parts = [effect[column] for effect, column in zip(of, codes.T, strict=True)]
            return np.sum(parts, axis=0) if parts else np.zeros(len(scale))

        for _ in range(TURNS):
            for k, column in enumerate(codes.T):
                alone = rest - (total_effect(effects) - effects[k][column])
                total = np.bincount(column[observed], alone[observed], sizes[k])
                effects[k] = total / (counts[k] + SHRINK)
                effects[k][0] = 0.0
        effect = np.zeros(len(scale))
        for k, column in enumerate(codes.T):
            alone = rest - (total_effect(effects) - effects[k][column])
            count = counts[k][column] - observed
            total = effects[k][column] * (counts[k][column] + SHRINK) - np.where(observed, alone, 0)
            effect += np.where(column > 0, total / (count + SHRINK), 0.0)
        # the mean of what the logarithms leave over, so that scales are right in the mean
        miss = np.where(observed, rest - effect, 0)[observed]
        lift = float(np.log(np.exp(np.clip(miss, -4, 4)).mean())) if sizes else 0.0
        level += level_shift + lift
        together = (
            {tuple(map(int, r)): float(e) for r, e in zip(rows, effects[-1][1:], strict=True)}
            if columns > 1
            else {}
        )
        return cls(level, tuple(effects[:columns]), together, np.exp(level + effect))

    def scale(self, codes: Ints) -> Doubles:
        """Estimate the scale of series from their codes alone, (N,)."""
        log_scale = np.full(len(codes), self.level)
        for effect, column in zip(self.effects, codes.T, strict=True):
            log_scale += np.where(
                column < len(effect), effect[np.minimum(column, len(effect) - 1)], 0.0
            )
        if self.together:
            log_scale += [self.together.get(tuple(row), 0.0) for row in codes.tolist()]
        return np.asarray(np.exp(log_scale))
