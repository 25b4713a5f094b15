"""Conformal adjustment of quantiles, per class of demand and stretch of the horizon.

Romano et al., "Conformalized quantile regression", NeurIPS 2019, one level at a time so that skewed
demand keeps its skew: the level's quantile of how far validation values lay above the forecast, in units
of the forecast's own width, is added to it. The adjustment of a cell is shrunk towards none where few
values speak for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.automatic.blend import Evidence

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
        """From forecasts (R, Q) in validation, some rows of them."""
        shifts = np.zeros((groups, STRETCHES, quantiles.shape[1]), np.float32)
        off = (evidence.actual[:, None] - quantiles) / width(quantiles)[:, None]
        for group in range(groups):
            for part in range(STRETCHES):
                cell = rows & (evidence.group == group) & (stretch == part)
                count = int(cell.sum())
                if count:
                    found = [np.quantile(off[cell, q], v) for q, v in enumerate(evidence.levels)]
                    shifts[group, part] = np.array(found) * count / (count + PRIOR)
        return cls(shifts)

    def apply(self, quantiles: Floats, group: Ints, stretch: Ints) -> Floats:
        """Quantiles (R, Q) adjusted, in order."""
        moved = quantiles + self.shifts[group, stretch] * width(quantiles)[:, None]
        return np.asarray(np.sort(moved, -1), np.float32)


def width(quantiles: Floats) -> Floats:
    """Between the outermost quantiles, (R,); the size of the forecast where they are one."""
    spread = quantiles[:, -1] - quantiles[:, 0]
    size = np.abs(quantiles).max(-1)
    return np.asarray(np.where(spread > 0, spread, np.where(size > 0, size, 1)), np.float32)


def stretches(horizon: int) -> Ints:
    """Which part of the horizon each step lies in, (H,)."""
    return np.arange(horizon) * STRETCHES // horizon


def pays(evidence: Evidence, quantiles: Floats, stretch: Ints, groups: int, gain: float) -> bool:
    """Whether adjustments found on one half of the series lower the loss of the other by `gain`."""
    half = evidence.series % 2 == 0
    before = after = 0.0
    for rows in (half, ~half):
        found = Adjustment.of(evidence, quantiles, stretch, groups, rows)
        judged = evidence.some(~rows)
        moved = found.apply(quantiles[~rows], judged.group, stretch[~rows])
        before += float((judged.pinball(quantiles[~rows]) * judged.weight).sum())
        after += float((judged.pinball(moved) * judged.weight).sum())
    return after < (1 - gain) * before
