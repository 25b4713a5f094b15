"""The two forecasts that any other of rare demand has to beat: nothing at all, and what came lately."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Demand
from demandcast.local.base import CELLS, LocalForecaster
from demandcast.local.parts.histories import Histories, chunks
from demandcast.local.parts.simulated import drawn, from_urn
from demandcast.panel.panel import Panel
from demandcast.settings import whole

SHORT, STEPS = (
    12,
    30,
)  # steps read where a season is shorter: of 7 values, all levels above 0.86 are the largest


class Zero(LocalForecaster):
    """Nothing is wanted: 0 at every level. What it scores says how much a score is worth.

    Where more than half of all values are 0 it has the least absolute error of all, and its wQL over
    levels around one half is 1.

    Args:
        horizon: Steps to forecast; also `h`.
        seed: Taken for the sake of the other methods.
    """

    name = "zero"
    summary = "Nothing at all: the yardstick of scores where most values are 0"

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        return Draft.zeros(panel.n_series, self.horizon, ask)


class Empirical(LocalForecaster):
    """The values of the last steps, each as likely as the other, at every step ahead.

    A quantile is the least of them that reaches its level, so that counts stay counts. Levels above
    n / (n + 1), of n values, are not told apart: they are the largest. Paths draw from an urn, in which
    each value drawn is put back with another like it: the Bayesian bootstrap (Rubin, 1981). Each step is
    as likely as the values are, and sums vary as much more as the level is not known.

    Args:
        horizon: Steps to forecast; also `h`.
        window: Observed values read; None for one period of the grid, or 30 where that is below 12 steps.
        seed: Of the paths.
    """

    name = "empirical"
    portfolio = 30
    suits = Demand.SLOW
    summary = "The quantiles of the last steps' values, 30 or one season by default"
    settings: ClassVar[dict[str, Any]] = {"window": None}
    window: int | None

    def _check(self) -> None:
        if self.window is not None:
            whole("window", self.window, least=1)

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.seed)
        period = panel.freq.period
        window = self.window or (period if period >= SHORT else STEPS)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        for index in chunks(panel, CELLS // max(1, n_paths)):
            past = Histories.of(panel.select(index))
            newest = past.values[-window:]  # (W, n)
            count = np.minimum(past.lengths, len(newest))
            draft.mean[index] = (newest.sum(0) / np.maximum(count, 1))[:, None]
            unseen = np.arange(len(newest))[:, None] < len(newest) - count
            ordered = np.sort(np.where(unseen, np.inf, newest), axis=0)
            ordered[:, count == 0] = 0
            rank = np.ceil(np.array(levels) * count[:, None] * (1 - 1e-12)).astype(np.int64)
            at = np.take_along_axis(ordered.T, np.maximum(rank - 1, 0), 1)  # (n, Q)
            draft.quantiles[index] = at[:, None]
            if draft.samples is not None:
                own = draws.select(index)
                which = np.zeros((len(index), n_paths, 0), np.int64)
                for step in range(self.horizon):
                    place = from_urn(which, count[:, None], own.at(step))
                    which = np.concatenate([which, place[..., None]], 2)
                draft.samples[index] = drawn(ordered.T, which)
        return draft
