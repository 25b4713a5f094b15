"""Multi-stage counts: no demand, one, or more; each stage is a regression, with or without a latent level.

Seeger, Salinas and Flunkert, "Bayesian intermittent demand forecasting for large inventories", NIPS 2016.
`parts/stages.py` has the likelihood and its links. `parts/glm.py` has features of history, calendar and covariates and
one set of weights for the panel. `parts/latent.py` has a level of each series that is a random walk, fitted with
Laplace's approximation. Both draw paths exactly, one stage after the other and one step after the other.

Departs from the paper as these three files say. Above all, sizes may be overdispersed (`varied`): by a Gamma variable in
`glm`, by Gaussian noise in `latent`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.forecaster import Demand
from demandcast.local.base import CELLS
from demandcast.local.parts.aligned import AlignedHistories, CovariateScale
from demandcast.local.parts.counts import check_counts
from demandcast.local.parts.glm import Glm
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.latent import MAX_TRAINING_SERIES, Latent
from demandcast.local.parts.simulated import Simulate, SimulatedConfig, SimulatedForecaster
from demandcast.local.parts.stages import LINKS
from demandcast.panel.panel import Panel
from demandcast.settings import choice, number, setting

MAX_ROWS = 400_000  # steps of history that weights are fitted on


@dataclass(frozen=True, kw_only=True)
class MultiStageConfig(SimulatedConfig):
    """Hyper-parameters of the stages."""

    latent: bool = False  # whether each series has a level that is a random walk
    link: str = setting(
        LINKS[1], choice(*LINKS)
    )  # from the linear model to the mean of large sizes
    varied: bool = True  # whether sizes may be overdispersed
    ridge: float = setting(
        10.0, number("above 0", lambda value: 0 < value < np.inf)
    )  # penalty of squared weights


class MultiStage(SimulatedForecaster[MultiStageConfig]):
    """Three regressions over the whole panel: is there a demand, is it more than one, and how much more.

    Weights are fitted at prediction, on the panel that is forecast; of a large panel, on a random sample of its series. A
    series without an observed value, and every series of a panel without demand, is forecast as 0. The panel's known
    covariates are needed over the horizon.

    Args:
        horizon: Steps to forecast; also `h`.
        latent: False for features of the history that each path updates with its own draws; True for a latent level of
            each series, with calendar and covariates as only features.
        link: "twice_logistic" or "logistic", for the mean of sizes above 2.
        varied: Whether sizes may be overdispersed; False is the paper.
        ridge: Penalty of squared weights.
        paths: Number of paths simulated for the quantiles.
        seed: Seed of the paths, and of the sample of series.

    Raises:
        DataError: At prediction, if a value is not a count.
    """

    name = "multi_stage"
    portfolio = 110
    suits = Demand.SLOW
    summary = "No demand, one, or more: a regression each (Seeger, Salinas and Flunkert, 2016)"
    takes: ClassVar[str] = "target, known"
    cells: ClassVar[int] = CELLS // 16  # there are many numbers to a step
    pools = True
    Config = MultiStageConfig

    def _prepare(self, panel: Panel) -> Callable[[Ints], Simulate]:
        check_counts(self.name, panel)
        demands = panel.padded_history(max(1, int(panel.lengths.max(initial=1)))) > 0
        if not demands.any():
            return lambda index: (
                lambda selected, n_paths, _: np.zeros((len(selected), n_paths, self.horizon))
            )
        scale = CovariateScale.from_panel(panel)
        order = Draws.of(panel.keys, self.config.seed).at("learners").order()
        rows = np.arange(1, len(order) + 1) * np.maximum.accumulate(panel.lengths[order])
        n_series = max(1, int(np.searchsorted(rows, MAX_ROWS, side="right")))
        if self.config.latent:
            n_series = min(n_series, MAX_TRAINING_SERIES)
        chosen = np.sort(order[:n_series])
        if not demands[chosen].any():
            chosen = np.arange(panel.n_series)
        model: type[Glm] | type[Latent] = Latent if self.config.latent else Glm
        past = AlignedHistories.from_panel(panel.select(chosen), 0, scale)
        fitted = model.fit(past, self.config.link, self.config.ridge, self.config.varied)

        def prepare_series(index: Ints) -> Simulate:
            ahead = AlignedHistories.from_panel(panel.select(index), self.horizon, scale)
            simulate = fitted.simulator(ahead)
            has_values = (~np.isnan(ahead.values)).sum(0) > 0

            def simulate_observed(selected: Any, n_paths: int, draws: Draws) -> Array:
                paths = simulate(selected, n_paths, draws)
                return np.where(has_values[selected][:, None, None], paths, 0.0)

            return simulate_observed

        return prepare_series
