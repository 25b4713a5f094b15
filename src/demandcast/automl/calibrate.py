"""Conformal adjustment of quantiles, per class of demand and stretch of the horizon.

Romano et al., "Conformalized quantile regression", NeurIPS 2019, applied to each level separately so that skewed demand
keeps its skew. The errors of a level in validation are divided by the width of the forecast; their quantile at the level
is added to the forecast. The adjustment of a cell with few values is shrunk towards 0. An adjustment that helps in one
window need not help in the next, so deciles are adjusted only if that lowers the loss across windows. The tails beyond
the deciles, on which a window has few values, are always adjusted. An adjustment may move or widen a forecast but never
narrows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.automl.blend import DECILES, GAIN, Evidence, validation_folds

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
STRETCHES = 3  # parts of the horizon
PRIOR = 150.0  # values' worth of no adjustment


@dataclass(frozen=True)
class Adjustment:
    """Shifts in units of the forecast's width, (classes, STRETCHES, Q)."""

    shifts: Floats

    @classmethod
    def of(
        cls, evidence: Evidence, quantiles: Floats, stretch: Ints, groups: int, rows: NDArray[np.bool_]
    ) -> Adjustment:  # fmt: skip
        """Estimate the adjustment from forecasts (R, Q) in validation."""
        shifts = np.zeros((groups, STRETCHES, quantiles.shape[1]), np.float32)
        off = (evidence.actual[:, None] - quantiles) / width(quantiles)[:, None]
        for group in range(groups):
            for part in range(STRETCHES):
                cell = rows & (evidence.group == group) & (stretch == part)
                count = int(cell.sum())
                if count:
                    errors = [np.quantile(off[cell, q], v) for q, v in enumerate(evidence.levels)]
                    shifts[group, part] = np.array(errors) * count / (count + PRIOR)
        middle = quantiles.shape[1] // 2
        low, mid, high = (
            shifts[..., :middle],
            shifts[..., middle : middle + 1],
            shifts[..., middle:],
        )
        wider = np.concatenate([np.minimum(low, mid), np.maximum(high, mid)], -1)
        return cls(wider.astype(np.float32))

    def describe(self) -> str:
        """Return what it does, in words for the verdict."""
        if self.shifts[..., self.shifts.shape[-1] // 2].any():
            return ", quantiles adjusted to what came"
        return ", outer quantiles widened to what came" if self.shifts.any() else ""

    def apply(self, quantiles: Floats, group: Ints, stretch: Ints) -> Floats:
        """Adjust quantiles (R, Q), and sort them."""
        moved = quantiles + self.shifts[group, stretch] * width(quantiles)[:, None]
        return np.asarray(np.sort(moved, -1), np.float32)


def width(quantiles: Floats) -> Floats:
    """Return the distance between the outermost quantiles, (R,); the forecast's size where they are equal."""
    spread = quantiles[:, -1] - quantiles[:, 0]
    size = np.abs(quantiles).max(-1)
    return np.asarray(np.where(spread > 0, spread, np.where(size > 0, size, 1)), np.float32)


def stretches(horizon: int) -> Ints:
    """Return the part of the horizon that each step lies in, (H,)."""
    return np.arange(horizon) * STRETCHES // horizon


def calibration(evidence: Evidence, quantiles: Floats, stretch: Ints, groups: int) -> Adjustment:
    """Return the adjustment of a blend's quantiles (R, Q) in validation, where it can be expected to hold."""
    every = np.ones(len(quantiles), np.bool_)
    adjustment = Adjustment.of(evidence, quantiles, stretch, groups, every)
    if lowers_loss(evidence, quantiles, stretch, groups):
        return adjustment
    levels = np.array(evidence.levels)
    tail = (levels < DECILES[0]) | (levels > DECILES[-1])
    outwards = np.where(
        levels < 0.5, np.minimum(adjustment.shifts, 0), np.maximum(adjustment.shifts, 0)
    )
    return Adjustment(np.where(tail, outwards, 0).astype(np.float32))


def lowers_loss(evidence: Evidence, quantiles: Floats, stretch: Ints, groups: int) -> bool:
    """Return whether adjustments lower the loss of other windows than they were estimated on, by `GAIN`."""
    before = after = 0.0
    for fold in validation_folds(evidence):
        adjustment = Adjustment.of(evidence, quantiles, stretch, groups, ~fold)
        validated = evidence.select(fold)
        adjusted = adjustment.apply(quantiles[fold], validated.group, stretch[fold])
        before += float((validated.pinball(quantiles[fold]) * validated.weight).sum())
        after += float((validated.pinball(adjusted) * validated.weight).sum())
    return after < (1 - GAIN) * before
