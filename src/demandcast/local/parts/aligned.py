"""Histories in time, gaps kept, beside what is known of every step ahead too: calendar and covariates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.weighted_points import GROWTH
from demandcast.panel.panel import Panel


@dataclass(frozen=True)
class Footing:
    """Means and deviations of the known covariates over a panel's history, (F_known,) each."""

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, panel: Panel) -> Footing:
        within = np.arange(panel.n_steps) - np.repeat(
            np.cumsum(panel.lengths) - panel.lengths, panel.lengths
        )
        known = panel.known[np.repeat(panel.begins, panel.lengths) + within].astype(np.float64)
        seen = ~np.isnan(known)
        count = np.maximum(seen.sum(0), 1)
        mean = np.where(seen, known, 0).sum(0) / count
        deviation = np.sqrt((np.where(seen, known - mean, 0) ** 2).sum(0) / count)
        return cls(mean, np.where(deviation > 1e-8, deviation, 1.0))


@dataclass(frozen=True)
class Aligned:
    """n series over T steps of history, all ending in row T - 1, and H steps ahead.

    Attributes:
        values: (T, n); NaN where not observed or before the start.
        inputs: Calendar and standardised known covariates, (T + H, n, C); 0 where not given.
        phase: Place of each step in the period of the grid, (T + H, n).
        period: Steps in one season; 1 where the grid has none.
    """

    values: Array
    inputs: Array
    phase: Ints
    period: int

    @property
    def steps(self) -> int:
        return len(self.values)

    @property
    def n_series(self) -> int:
        return int(self.values.shape[1])

    def most(self) -> Array:
        """Return the largest mean count that a path of each series may have, (n,).

        `GROWTH` times its own largest value; 1 for a series without a demand.
        """
        own = np.nan_to_num(self.values).max(0, initial=0.0)
        return np.where(own > 0, GROWTH * own, 1.0)

    @classmethod
    def of(cls, panel: Panel, horizon: int, footing: Footing) -> Aligned:
        steps = max(1, int(panel.lengths.max(initial=1)))
        here = np.arange(-steps, horizon)[:, None]
        stamps = panel.ends() + 1 + here  # (T + H, n)
        first, last = int(stamps.min()), int(stamps.max())
        calendar = panel.freq.calendar(np.arange(first, last + 1))[stamps - first]
        place = panel.lengths + here
        inside = (place >= 0) & (place < panel.extents)
        rows = panel.known[np.where(inside, panel.begins + place, 0)]  # (T + H, n, F)
        known = (rows - footing.mean) / footing.deviation
        known = np.where(inside[..., None] & ~np.isnan(known), known, 0.0)
        return cls(
            values=np.ascontiguousarray(panel.padded_history(steps).T, np.float64),
            inputs=np.concatenate([calendar.astype(np.float64), known], 2),
            phase=stamps % panel.freq.period,
            period=panel.freq.period,
        )
