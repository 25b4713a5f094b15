"""Point methods for intermittent demand, each with a distribution around its rate.

The rates are those of `smoothing` and `aggregation`, the distributions those of `followed`. Mean, quantiles
and paths are those of what followed such rates over the panel, so that they make up for a bias of the method.
The method's own rate, which its paper forecasts, is `rates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Demand, check_panel
from demandcast.local.base import CELLS, LocalForecaster
from demandcast.local.parts import aggregation
from demandcast.local.parts.conditional import PAIRS, Pairs, Part, Pool, followed, n_pairs
from demandcast.local.parts.histories import Array, Histories, chunks
from demandcast.local.parts.smoothing import RECURSIONS, fit_recursion, ses
from demandcast.local.parts.weights import (
    OBJECTIVES,
    SharedWeights,
    optimise_weights,
    shared_weights,
)
from demandcast.panel.panel import Panel
from demandcast.settings import one_of, share

LAWS = 512  # drawn up at once: so many stay in the processor's cache


class PointForecaster(LocalForecaster):
    """A rate per series, and a law around it drawn from what followed such rates over the panel.

    Series with fewer than two observed values, or no demand at all, take their law from the other
    series of like rate too; alone in a panel, an all-zero series is forecast as 0 at every level.
    """

    pools = True

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        """Before each step and behind the last, (T + 1, n); (T + H, n) where it is not flat ahead."""
        raise NotImplementedError

    def _shared(self, pasts: Sequence[Histories]) -> SharedWeights:
        """The weights of all series of the panel that have too few demands for their own."""
        return None

    def _parts(self, panel: Panel) -> list[Part]:
        """Series at once, their histories and rates; which ones stand together changes no number."""
        pieces = [(i, Histories.of(panel.select(i))) for i in chunks(panel, CELLS)]
        shared = self._shared([past for _, past in pieces])
        return [(index, past, self._rates(past, shared)) for index, past in pieces]

    def rates(self, panel: Panel) -> NDArray[np.float32]:
        """Return what the method's paper forecasts, (N, H): its rate, without a law around it."""
        check_panel(panel)
        found = np.zeros((panel.n_series, self.horizon), np.float32)
        for index, past, rates in self._parts(panel):
            ahead = rates[past.steps :].T  # (n, 1) where it is flat
            found[index] = np.maximum(ahead, past.floors[:, None])
        return found

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        keep = PAIRS / max(1, n_pairs(panel.lengths, self.horizon))
        parts = self._parts(panel)
        pairs = [
            followed(past, rates, self.horizon, keep, draws.select(index))
            for index, past, rates in parts
        ]
        ends = np.concatenate([np.zeros(0), *(rates[past.steps] for _, past, rates in parts)])
        pool = Pool.of(Pairs.joined(pairs), ends)
        tied = pool.correlation(parts, self.horizon, draws) if n_paths else 0.0
        for index, past, rates in parts:
            rate = rates[past.steps]
            ahead = np.broadcast_to(rates[past.steps :].T, (len(index), self.horizon))
            falls = np.where(rate[:, None] != 0, ahead / np.where(rate == 0, 1, rate)[:, None], 1.0)
            room = (
                LAWS
                if draft.samples is None
                else min(LAWS, max(1, CELLS // (n_paths * self.horizon)))
            )
            for start in range(0, len(index), room):
                some = slice(start, start + room)
                part = past.select(some)
                law = pool.laws(rate[some], part)
                whole = part.counts[:, None, None]
                found = law.quantiles(levels)[:, None]
                draft.quantiles[index[some]] = _scaled(found, falls[some, :, None], whole)
                points = _scaled(law.points[:, None], falls[some, :, None], whole)
                draft.mean[index[some]] = (points * law.masses[:, None]).sum(-1)
                if draft.samples is not None:
                    drawn = law.paths(self.horizon, n_paths, tied, draws.select(index[some]))
                    draft.samples[index[some]] = _scaled(drawn, falls[some, None], whole)
        return draft


def _scaled(values: Array, falls: Array, whole: NDArray[np.bool_]) -> Array:
    """Values of a flat law times how each step's rate has fallen; whole where they were."""
    if (falls == 1).all():
        return np.broadcast_to(values, np.broadcast_shapes(values.shape, falls.shape))
    scaled = values * falls
    return np.where(whole, np.rint(scaled), scaled)


class _Smoothed(PointForecaster):
    """A method of two weights: of sizes, and of intervals or probabilities."""

    settings: ClassVar[dict[str, Any]] = {"alpha": None, "beta": None, "objective": "mse"}
    alpha: float | None
    beta: float | None
    objective: str

    def _check(self) -> None:
        share("alpha", self.alpha, optional=True)
        share("beta", self.beta, optional=True)
        one_of("objective", self.objective, OBJECTIVES)

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        return fit_recursion(RECURSIONS[self.name], past, *self._weights(past, shared))

    def _shared(self, pasts: Sequence[Histories]) -> SharedWeights:
        if self.alpha is not None and self.beta is not None:
            return None
        return shared_weights(RECURSIONS[self.name], pasts, self.alpha, self.beta, self.objective)

    def _weights(self, past: Histories, shared: SharedWeights) -> tuple[Array, Array]:
        if self.alpha is not None and self.beta is not None:
            return np.full(past.n_series, self.alpha), np.full(past.n_series, self.beta)
        return optimise_weights(
            RECURSIONS[self.name], past, self.alpha, self.beta, self.objective, shared
        )


class SES(PointForecaster):
    """Simple exponential smoothing of the demand, zeros and all.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: Weight of the newest value, in (0, 1]; None has it optimised per series.
        objective: What an optimised weight minimises: "mse", "mae", "msr" or "mar".
        seed: Of the paths, and of the draw of what followed in large panels.
    """

    name = "ses"
    portfolio = 50
    summary = "Simple exponential smoothing of intermittent demand (Brown, 1959)"
    settings: ClassVar[dict[str, Any]] = {"alpha": None, "objective": "mse"}
    alpha: float | None
    objective: str

    def _check(self) -> None:
        share("alpha", self.alpha, optional=True)
        one_of("objective", self.objective, OBJECTIVES[1:])

    def _shared(self, pasts: Sequence[Histories]) -> SharedWeights:
        return None if self.alpha else shared_weights(ses, pasts, None, 0.1, self.objective)

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        if self.alpha is None:
            weights = optimise_weights(ses, past, None, 0.1, self.objective, shared)[0]
        else:
            weights = np.full(past.n_series, self.alpha)
        return fit_recursion(ses, past, weights, weights)


class Croston(_Smoothed):
    """Size over interval, each smoothed at demands; too high by about beta / 2.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: Weight of the newest size, in (0, 1]; None has it optimised per series.
        beta: Weight of the newest interval, likewise.
        objective: What optimised weights minimise, see `demandcast.local.parts.weights`: "parts" (the
            one-step errors of sizes and intervals apart), "mse", "mae", "msr" or "mar".
        seed: Of the paths, and of the draw of what followed in large panels.
    """

    name = "croston"
    summary = "Smoothed size over smoothed interval (Croston, 1972)"


class SBA(_Smoothed):
    """Croston's method times 1 - beta / 2. Arguments as in `Croston`."""

    name = "sba"
    summary = "Croston's method without its bias (Syntetos and Boylan, 2005)"


class SBJ(_Smoothed):
    """Croston's method times 1 - beta / (2 - beta). Arguments as in `Croston`."""

    name = "sbj"
    summary = "Croston's method corrected for Poisson arrivals (Shale, Boylan and Johnston, 2006)"


class TSB(_Smoothed):
    """Smoothed probability of a demand times smoothed size; falls while no demand comes.

    Arguments as in `Croston`; `beta` is the weight of the newest step in the probability.
    """

    name = "tsb"
    portfolio = 60
    suits = Demand.SLOW
    summary = "Smoothed probability times smoothed size, for items that die (Teunter et al., 2011)"


class HES(_Smoothed):
    """Croston's size and interval, and a rate that falls hyperbolically while no demand comes.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: As in `Croston`.
        beta: As in `Croston`.
        objective: As in `Croston`.
        decay: Let the rate go on falling over the horizon, as if no demand came. The expected demand,
            and the default, is flat.
        seed: As in `Croston`.
    """

    name = "hes"
    summary = (
        "Hyperbolic-exponential smoothing: rates fall as demand stays out (Prestwich et al., 2014)"
    )
    settings: ClassVar[dict[str, Any]] = {**_Smoothed.settings, "decay": False}
    decay: bool

    def _check(self) -> None:
        super()._check()
        if not isinstance(self.decay, bool):
            raise ConfigError(f"decay is {self.decay!r}; it is True or False")

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        if not self.decay:
            return super()._rates(past, shared)
        more = self.horizon - 1
        zeros = np.zeros((more, past.n_series))
        later = Histories(np.concatenate([past.values, zeros]), past.lengths + more)
        return fit_recursion(RECURSIONS[self.name], later, *self._weights(past, shared))


class ADIDA(PointForecaster):
    """Sums over blocks of the mean interval, smoothed, divided by the block's steps.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: Weight of the newest block; None for that of least squared error in [0.1, 0.3].
        seed: Of the paths, and of the draw of what followed in large panels.
    """

    name = "adida"
    summary = "Smoothed sums over blocks of the mean interval (Nikolopoulos et al., 2011)"
    settings: ClassVar[dict[str, Any]] = {"alpha": None}
    alpha: float | None

    def _check(self) -> None:
        share("alpha", self.alpha, optional=True)

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        return aggregation.adida(past, self.alpha)


class IMAPA(ADIDA):
    """The mean of ADIDA's rates over blocks of 1, 2, ... up to the mean interval. Arguments as there."""

    name = "imapa"
    portfolio = 70
    suits = Demand.SLOW
    summary = "Smoothed sums over blocks of all sizes, averaged (Petropoulos and Kourentzes, 2015)"

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        return aggregation.imapa(past, self.alpha)
