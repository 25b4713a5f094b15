"""Draw training windows: series by a power of their scale, cutoffs uniformly.

Salinas et al. (2020), section 3.4, draw a window of series i with P ~ scale_i; uniform draws suit
errors that are averaged over series instead. `rho` goes from one (1) to the other (0).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from demandcast.errors import DataError
from demandcast.panel.panel import Panel
from demandcast.windows.features import mean_sizes


class WindowSampler:
    """Draws (series, cutoff) pairs, all in one go, from a generator of its own.

    Cutoffs lie between `min_history` steps (fewer, where so many leave no whole horizon) and
    `horizon` steps before the end of what may be learned from. With a short `min_history` a window
    may begin before its series (the rest is masked). A series no longer than that has its one cutoff
    at the earliest place, with a horizon that is masked where it ends.
    """

    def __init__(
        self, panel: Panel, *, horizon: int, held_out: int, rho: float, min_history: int = 1
    ) -> None:
        ends = np.maximum(panel.lengths - held_out, 0)
        self.first = np.minimum(min_history, np.maximum(ends - horizon, 1))
        self.last = np.maximum(ends - horizon, self.first)  # included
        self.limits = ends
        usable = ends > self.first
        if not usable.any():
            raise DataError(
                f"no series has more than {held_out + 1} steps, and {held_out} are held out for "
                "validation; use validation=0, a shorter horizon, or longer histories"
            )
        counts = (self.last - self.first + 1) * usable
        self.before = np.concatenate(
            [[0], np.cumsum(counts)]
        )  # windows of the series before, (N + 1,)
        self.n_windows = int(self.before[-1])
        weights = counts * _sizes(panel, ends) ** rho if rho else counts
        self.cumulative = np.cumsum(weights / weights.sum())

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw series, cutoffs and limits of a batch, (batch,) each, int64."""
        uniform = torch.rand(2, batch, generator=generator, dtype=torch.float64).numpy()
        series = np.searchsorted(self.cumulative, uniform[0] * self.cumulative[-1], side="right")
        first, last = self.first[series], self.last[series]
        cutoffs = first + (uniform[1] * (last - first + 1)).astype(np.int64)
        return (
            torch.from_numpy(series.astype(np.int64)),
            torch.from_numpy(np.minimum(cutoffs, last)),
            torch.from_numpy(self.limits[series]),
        )

    def at(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return series, cutoffs and limits of windows by number, from 0 to `n_windows`, (batch,) each."""
        positions = numbers.numpy()
        series = np.searchsorted(self.before, positions, side="right") - 1
        cutoffs = self.first[series] + positions - self.before[series]
        return (
            torch.from_numpy(series.astype(np.int64)),
            torch.from_numpy(cutoffs),
            torch.from_numpy(self.limits[series]),
        )


def _sizes(
    panel: Panel, ends: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return mean|z| of the training values of each series, at least a thousandth of the median, (N,)."""
    size = mean_sizes(panel, ends)
    positive = size[size > 0]
    floor = float(np.median(positive)) * 1e-3 if len(positive) else 1.0
    return np.asarray(np.maximum(size, floor))
