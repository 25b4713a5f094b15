"""The two baselines for intermittent demand: 0, and the empirical distribution of the last values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Demand
from demandcast.local.base import CELLS, LocalConfig, LocalForecaster
from demandcast.local.parts.histories import Histories, series_chunks
from demandcast.local.parts.simulated import draw_from_urn, take_rows
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

MIN_PERIOD = (
    12  # seasons with fewer steps have too few values: of 7, the largest is every level above 0.86
)
DEFAULT_WINDOW = 30  # values read where the season is shorter than `MIN_PERIOD`


class Zero(LocalForecaster[LocalConfig]):
    """Forecasts 0 at every level, as a reference for scores.

    Where more than half of all values are 0, no forecast has a smaller absolute error; its wQL over levels around one
    half is 1.

    Args:
        horizon: Steps to forecast; also `h`.
        seed: Not used; accepted as by all methods.
    """

    name = "zero"
    exact_alone = True
    summary = "Nothing at all: the yardstick of scores where most values are 0"

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        return Draft.zeros(panel.n_series, self.horizon, ask)


@dataclass(frozen=True, kw_only=True)
class EmpiricalConfig(LocalConfig):
    """Hyper-parameters of the empirical distribution."""

    window: int | None = setting(None, COUNT)  # steps; None: by the panel's frequency


class Empirical(LocalForecaster[EmpiricalConfig]):
    """The empirical distribution of the last values, the same at every step ahead.

    A quantile is the smallest value that reaches its level, so quantiles of counts are counts. With n values, all levels
    above 1 - 1 / n have the largest value. Paths are drawn by the Bayesian bootstrap (Rubin, 1981): each value drawn
    becomes more likely at later steps of the path. The distribution at each step stays the same, and sums over steps
    include the uncertainty of the level.

    Args:
        horizon: Steps to forecast; also `h`.
        window: Number of observed values; None for one season, or 30 if the season is shorter than 12 steps.
        seed: Seed of the paths.
    """

    name = "empirical"
    exact_alone = True
    portfolio = 30
    suits = Demand.SLOW
    summary = "The quantiles of the last steps' values, 30 or one season by default"
    Config = EmpiricalConfig

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        period = panel.freq.period
        window = self.config.window or (period if period >= MIN_PERIOD else DEFAULT_WINDOW)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        for index in series_chunks(panel, CELLS // max(1, n_paths)):
            past = Histories.from_panel(panel.select(index))
            newest = past.values[-window:]  # (W, n)
            count = np.minimum(past.lengths, len(newest))
            draft.mean[index] = (newest.sum(0) / np.maximum(count, 1))[:, None]
            before_start = np.arange(len(newest))[:, None] < len(newest) - count
            ordered = np.sort(np.where(before_start, np.inf, newest), axis=0)
            ordered[:, count == 0] = 0
            rank = np.ceil(np.array(levels) * count[:, None] * (1 - 1e-12)).astype(np.int64)
            quantiles = np.take_along_axis(ordered.T, np.maximum(rank - 1, 0), 1)  # (n, Q)
            draft.quantiles[index] = quantiles[:, None]
            if draft.samples is not None:
                part_draws = draws.select(index)
                path_ranks = np.zeros((len(index), n_paths, 0), np.int64)
                for step in range(self.horizon):
                    step_ranks = draw_from_urn(path_ranks, count[:, None], part_draws.at(step))
                    path_ranks = np.concatenate([path_ranks, step_ranks[..., None]], 2)
                draft.samples[index] = take_rows(ordered.T, path_ranks)
        return draft
