"""Histories with their gaps, aligned at the cutoff, with calendar and known covariates of past and future steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.weighted_points import MAX_GROWTH
from demandcast.panel.panel import Panel


@dataclass(frozen=True)
class CovariateScale:
    """Means and standard deviations of the known covariates over a panel's history, (F_known,) each."""

    mean: Array
    deviation: Array

    @classmethod
    def from_panel(cls, panel: Panel) -> CovariateScale:
        """Compute means and deviations of a panel's covariates; a constant covariate gets the deviation 1."""
        within = np.arange(panel.n_steps) - np.repeat(
            np.cumsum(panel.lengths) - panel.lengths, panel.lengths
        )
        known = panel.known[np.repeat(panel.begins, panel.lengths) + within].astype(np.float64)
        has_value = ~np.isnan(known)
        count = np.maximum(has_value.sum(0), 1)
        mean = np.where(has_value, known, 0).sum(0) / count
        deviation = np.sqrt((np.where(has_value, known - mean, 0) ** 2).sum(0) / count)
        return cls(mean, np.where(deviation > 1e-8, deviation, 1.0))


@dataclass(frozen=True)
class AlignedHistories:
    """n series over T steps of history, all ending in row T - 1, and H steps ahead.

    Attributes:
        values: (T, n); NaN where not observed or before the start.
        inputs: Calendar and standardised known covariates, (T + H, n, C); 0 where not given.
        phase: Phase of each step in the season, (T + H, n).
        period: Steps in one season; 1 without a season.
    """

    values: Array
    inputs: Array
    phase: Ints
    period: int

    @property
    def steps(self) -> int:
        """Number of steps of history, T."""
        return len(self.values)

    @property
    def n_series(self) -> int:
        """Number of series, n."""
        return int(self.values.shape[1])

    def max_means(self) -> Array:
        """Return the largest mean count allowed in a path of each series, (n,).

        `MAX_GROWTH` times its own largest value; 1 for a series without a demand.
        """
        largest = np.nan_to_num(self.values).max(0, initial=0.0)
        return np.where(largest > 0, MAX_GROWTH * largest, 1.0)

    @classmethod
    def from_panel(cls, panel: Panel, horizon: int, scale: CovariateScale) -> AlignedHistories:
        """Align the series of a panel, with covariates standardised by `scale`."""
        steps = max(1, int(panel.lengths.max(initial=1)))
        offsets = np.arange(-steps, horizon)[:, None]
        grid_steps = panel.ends() + 1 + offsets  # (T + H, n)
        first, last = int(grid_steps.min()), int(grid_steps.max())
        calendar = panel.freq.calendar(np.arange(first, last + 1))[grid_steps - first]
        own_steps = panel.lengths + offsets
        inside = (own_steps >= 0) & (own_steps < panel.extents)
        rows = panel.known[np.where(inside, panel.begins + own_steps, 0)]  # (T + H, n, F)
        known = (rows - scale.mean) / scale.deviation
        known = np.where(inside[..., None] & ~np.isnan(known), known, 0.0)
        return cls(
            values=np.ascontiguousarray(panel.padded_history(steps).T, np.float64),
            inputs=np.concatenate([calendar.astype(np.float64), known], 2),
            phase=grid_steps % panel.freq.period,
            period=panel.freq.period,
        )
