"""Multi-stage counts: no demand, one, or more, each stage a regression, with or without a latent path.

Seeger, Salinas and Flunkert, "Bayesian intermittent demand forecasting for large inventories", NIPS 2016.
The likelihood and its links are in `stages`; `glm` has the figures of history, calendar and covariates
and one set of weights for the panel, `latent` a level of each series that walks at random, fitted by
Laplace's approximation. Both sample exactly: a stage after the other, a step after the other.

Departs from the paper in what the heads of these files say, above all: sizes may vary more than Poisson
ones (`varied`), by a Gamma variable in the one, by Gaussian noise in the other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError
from demandcast.forecaster import Demand
from demandcast.local.base import CELLS
from demandcast.local.parts.aligned import Aligned, Footing
from demandcast.local.parts.counts import check_counts
from demandcast.local.parts.glm import Glm
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.latent import LEARNERS, Latent
from demandcast.local.parts.simulated import Simulate, SimulatedForecaster
from demandcast.local.parts.stages import LINKS
from demandcast.panel.panel import Panel
from demandcast.settings import flag, one_of

ROWS = 400_000  # steps in the table of histories that weights are learned from


class MultiStage(SimulatedForecaster):
    """Is there a demand, is it more than one, how much more: three regressions over the whole panel.

    Weights are learned at prediction, from the panel that is forecast; of a large one from series
    drawn by lot. A series that was never observed, and all in a panel without one demand, are forecast
    as 0. Needs the known covariates over the horizon, where the panel has any.

    Args:
        horizon: Steps to forecast; also `h`.
        latent: False for figures of the history, with draws fed back; True for a latent level of each
            series, and calendar and covariates only.
        link: "twice_logistic" or "logistic", of the mean of sizes above 2.
        varied: Let sizes vary more than Poisson ones; False is the paper.
        ridge: What squared weights cost.
        paths: Paths simulated for the quantiles.
        seed: Of the paths, and of the draw of series.

    Raises:
        DataError: At prediction, for a series with values that are no counts.
    """

    name = "multi_stage"
    portfolio = 110
    suits = Demand.SLOW
    summary = "No demand, one, or more: a regression each (Seeger, Salinas and Flunkert, 2016)"
    takes: ClassVar[str] = "target, known"
    cells: ClassVar[int] = CELLS // 16  # there are many numbers to a step
    pools = True
    settings: ClassVar[dict[str, Any]] = {
        **SimulatedForecaster.settings,
        "latent": False,
        "link": LINKS[1],
        "varied": True,
        "ridge": 10.0,
    }
    latent: bool
    link: str
    varied: bool
    ridge: float

    def _check(self) -> None:
        super()._check()
        flag("latent", self.latent)
        flag("varied", self.varied)
        one_of("link", self.link, LINKS)
        if isinstance(self.ridge, bool) or not 0 < self.ridge < np.inf:
            raise ConfigError(f"ridge is {self.ridge!r}; it is above 0")

    def _reader(self, panel: Panel) -> Callable[[Ints], Simulate]:
        check_counts(self.name, panel)
        demands = panel.padded_history(max(1, int(panel.lengths.max(initial=1)))) > 0
        if not demands.any():
            return lambda index: (
                lambda some, n_paths, _: np.zeros((len(some), n_paths, self.horizon))
            )
        footing = Footing.of(panel)
        order = Draws.of(panel.keys, self.seed).at("learners").order()
        table = np.arange(1, len(order) + 1) * np.maximum.accumulate(panel.lengths[order])
        enough = max(1, int(np.searchsorted(table, ROWS, side="right")))
        if self.latent:
            enough = min(enough, LEARNERS)
        chosen = np.sort(order[:enough])
        if not demands[chosen].any():
            chosen = np.arange(panel.n_series)
        kind: type[Glm] | type[Latent] = Latent if self.latent else Glm
        past = Aligned.of(panel.select(chosen), 0, footing)
        learned = kind.learn(past, self.link, self.ridge, self.varied)

        def reader(index: Ints) -> Simulate:
            ahead = Aligned.of(panel.select(index), self.horizon, footing)
            simulate = learned.simulator(ahead)
            seen = (~np.isnan(ahead.values)).sum(0) > 0

            def simulated(some: Any, n_paths: int, draws: Draws) -> Array:
                return np.where(seen[some][:, None, None], simulate(some, n_paths, draws), 0.0)

            return simulated

        return reader
