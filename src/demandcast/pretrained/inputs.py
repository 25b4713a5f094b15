"""The input of the network: histories up to a cutoff, and known covariates of the steps after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demandcast.panel.panel import Panel

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """A batch of histories with the covariates known of the steps after them.

    Attributes:
        past: (batch, context), right-aligned; NaN where not observed.
        known: Covariates known ahead, (batch, context + horizon, covariates); NaN where not given.
        periods: Steps in a short and a long season, (batch, 2), int64; 0 where there is none.
        future: What came, (batch, horizon), NaN where not observed; empty in prediction.
    """

    past: Tensor
    known: Tensor
    periods: Tensor
    future: Tensor

    def __len__(self) -> int:
        return len(self.past)

    def part(self, rows: slice | Tensor) -> Histories:
        """Return some of the histories."""
        return Histories(self.past[rows], self.known[rows], self.periods[rows], self.future[rows])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Histories:
        """Return the same on another device."""
        fields = (self.past, self.known, self.periods, self.future)
        return Histories(*(part.to(device, non_blocking=non_blocking) for part in fields))


def histories(
    panel: Panel, series: Ints, cutoffs: Ints, limits: Ints, context: int, horizon: int
) -> Histories:
    """Return the network's input of some series at a cutoff; NaN where nothing may be known.

    Args:
        panel: Steps at which the item could not be bought count as not observed.
        series: Rows of the panel, (batch,).
        cutoffs: Steps of each series that are known, (batch,).
        limits: First step that may not be learned from, (batch,); the cutoff itself in prediction.
        context: Steps read at most.
        horizon: Steps ahead.
    """
    context = max(1, min(context, int(cutoffs.max())))
    step = cutoffs[:, None] + np.arange(-context, horizon)  # (batch, context + horizon)
    inside = (step >= 0) & (step < panel.extents[series][:, None])
    row = np.where(inside, panel.begins[series][:, None] + step, 0)
    learned = inside & (step < limits[:, None])
    if panel.available is not None:
        learned &= panel.available[row]
    target = torch.from_numpy(np.where(learned, panel.target[row], np.float32(np.nan)))
    known = np.where(inside[..., None], panel.known[row], np.float32(np.nan))
    periods = [p for p in panel.freq.periods if p > 1][:2]
    seasons = torch.tensor([*periods, 0, 0][:2]).expand(len(series), 2)
    return Histories(target[:, :context], torch.from_numpy(known), seasons, target[:, context:])
