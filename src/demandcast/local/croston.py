"""Point methods for intermittent demand, each with a distribution around its rate.

`parts/smoothing.py` and `parts/aggregation.py` compute the rates, `parts/conditional.py` the distributions. Mean,
quantiles and paths come from the values that followed similar rates in the panel, which corrects a bias of the method.
`rates` returns the method's own rate, the forecast of its paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Demand, check_panel
from demandcast.local.base import CELLS, L, LocalConfig, LocalForecaster
from demandcast.local.parts import aggregation
from demandcast.local.parts.conditional import (
    MAX_PAIRS,
    Pairs,
    Part,
    PooledDistributions,
    collect_pairs,
    count_pairs,
)
from demandcast.local.parts.histories import Array, Histories, series_chunks
from demandcast.local.parts.smoothing import RECURSIONS, fit_recursion, ses
from demandcast.local.parts.smoothing_weights import (
    OBJECTIVES,
    SharedWeights,
    optimise_weights,
    shared_weights,
)
from demandcast.panel.panel import Panel
from demandcast.settings import WEIGHT, choice, setting

BATCH = 512  # distributions computed at once; more would not fit in the processor's cache


class PointForecaster(LocalForecaster[L]):
    """Base class: a rate per series, and a distribution from the values that followed similar rates in the panel.

    Series with fewer than two observed values, or without demand, take their distribution from the other series of
    similar rate too. Alone in a panel, or where all others have demand at every step, a series of zeros is forecast
    as 0 at every level.
    """

    pools = True

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        """Return the rate forecast for each step of the history and for those ahead: (T + 1, n), or (T + H, n) if it changes."""
        raise NotImplementedError

    def _shared_weights(self, pasts: Sequence[Histories]) -> SharedWeights:
        """Return the smoothing weights of series with too few demands to optimise their own; None if not needed."""
        return None

    def _parts(self, panel: Panel) -> list[Part]:
        """Return the series in parts that fit in memory, with histories and rates; the split changes no number."""
        parts = [
            (index, Histories.from_panel(panel.select(index)))
            for index in series_chunks(panel, CELLS)
        ]
        shared = self._shared_weights([past for _, past in parts])
        return [(index, past, self._rates(past, shared)) for index, past in parts]

    def rates(self, panel: Panel) -> NDArray[np.float32]:
        """Return the method's own rate at each step ahead, (N, H), as its paper forecasts it."""
        check_panel(panel)
        forecasts = np.zeros((panel.n_series, self.horizon), np.float32)
        for index, past, rates in self._parts(panel):
            ahead = rates[past.steps :].T  # (n, 1) if the forecast is flat
            forecasts[index] = np.maximum(ahead, past.floors[:, None])
        return forecasts

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        pair_share = MAX_PAIRS / max(1, count_pairs(panel.lengths, self.horizon))  # 1 or more: all
        parts = self._parts(panel)
        pairs = [
            collect_pairs(past, rates, self.horizon, pair_share, draws.select(index))
            for index, past, rates in parts
        ]
        last_rates = np.concatenate([np.zeros(0), *(rates[past.steps] for _, past, rates in parts)])
        pool = PooledDistributions.fit(Pairs.concatenate(pairs), last_rates)
        correlation = pool.correlation(parts, self.horizon, draws) if n_paths else 0.0
        for index, past, rates in parts:
            rate = rates[past.steps]
            decay = _decay_ahead(rates[past.steps :].T, self.horizon)
            batch_size = BATCH
            if draft.samples is not None:
                batch_size = min(BATCH, max(1, CELLS // (n_paths * self.horizon)))
            for start in range(0, len(index), batch_size):
                batch = slice(start, start + batch_size)
                rows, batch_past = index[batch], past.select(batch)
                distribution = pool.distributions(rate[batch], batch_past)
                whole = batch_past.counts[:, None, None]
                quantiles = distribution.quantiles(levels)[:, None]
                draft.quantiles[rows] = _apply_decay(quantiles, decay[batch, :, None], whole)
                points = _apply_decay(distribution.points[:, None], decay[batch, :, None], whole)
                draft.mean[rows] = (points * distribution.masses[:, None]).sum(-1)
                if draft.samples is not None:
                    paths = distribution.paths(
                        self.horizon, n_paths, correlation, draws.select(rows)
                    )
                    draft.samples[rows] = _apply_decay(paths, decay[batch, None], whole)
        return draft


def _decay_ahead(rates: Array, horizon: int) -> Array:
    """Return rates (n, H), or (n, 1) if the forecast is flat, over the rate of the first step ahead; 1 where that is 0."""
    rates = np.broadcast_to(rates, (len(rates), horizon))
    first = rates[:, :1]
    return np.where(first != 0, rates / np.where(first == 0, 1, first), 1.0)


def _apply_decay(values: Array, decay: Array, whole: NDArray[np.bool_]) -> Array:
    """Multiply the values of a flat forecast by the rate's decay at each step; round where the history is whole."""
    if (decay == 1).all():
        return np.broadcast_to(values, np.broadcast_shapes(values.shape, decay.shape))
    scaled = values * decay
    return np.where(whole, np.rint(scaled), scaled)


@dataclass(frozen=True, kw_only=True)
class TwoWeightsConfig(LocalConfig):
    """Hyper-parameters of the methods with two weights."""

    # weight of the newest size; None: optimised per series
    alpha: float | None = setting(None, WEIGHT)
    # weight of the newest interval or probability; None: optimised per series
    beta: float | None = setting(None, WEIGHT)
    objective: str = setting("mse", choice(*OBJECTIVES))  # loss that optimised weights minimise


W = TypeVar("W", bound=TwoWeightsConfig)


class _TwoWeights(PointForecaster[W]):
    """Base class of the methods with two weights: one of sizes, one of intervals or probabilities."""

    Config: type[W] = TwoWeightsConfig  # type: ignore[assignment]  # of methods that add none

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        return fit_recursion(RECURSIONS[self.name], past, *self._weights(past, shared))

    def _shared_weights(self, pasts: Sequence[Histories]) -> SharedWeights:
        if self.config.alpha is not None and self.config.beta is not None:
            return None
        return shared_weights(
            RECURSIONS[self.name], pasts, self.config.alpha, self.config.beta, self.config.objective
        )

    def _weights(self, past: Histories, shared: SharedWeights) -> tuple[Array, Array]:
        """Return alpha and beta of each series, (n,) both."""
        if self.config.alpha is not None and self.config.beta is not None:
            return np.full(past.n_series, self.config.alpha), np.full(
                past.n_series, self.config.beta
            )
        return optimise_weights(
            RECURSIONS[self.name],
            past,
            self.config.alpha,
            self.config.beta,
            self.config.objective,
            shared,
        )


@dataclass(frozen=True, kw_only=True)
class SESConfig(LocalConfig):
    """Hyper-parameters of simple exponential smoothing."""

    # weight of the newest value; None: optimised per series
    alpha: float | None = setting(None, WEIGHT)
    # loss that an optimised weight minimises
    objective: str = setting("mse", choice(*OBJECTIVES[1:]))


class SES(PointForecaster[SESConfig]):
    """Simple exponential smoothing of the demand, including its zeros.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: Weight of the newest value, in (0, 1]; None to optimise it per series.
        objective: Loss that an optimised weight minimises: "mse", "mae", "msr" or "mar".
        seed: Seed of the paths, and of the sample of values in large panels.
    """

    name = "ses"
    portfolio = 50
    summary = "Simple exponential smoothing of intermittent demand (Brown, 1959)"
    Config = SESConfig

    def _shared_weights(self, pasts: Sequence[Histories]) -> SharedWeights:
        return (
            None
            if self.config.alpha
            else shared_weights(ses, pasts, None, 0.1, self.config.objective)
        )

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        if self.config.alpha is None:
            weights = optimise_weights(ses, past, None, 0.1, self.config.objective, shared)[0]
        else:
            weights = np.full(past.n_series, self.config.alpha)
        return fit_recursion(ses, past, weights, weights)


class Croston(_TwoWeights[TwoWeightsConfig]):
    """Smoothed size over smoothed interval, both updated at demands; biased upwards by about beta / 2.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: Weight of the newest size, in (0, 1]; None to optimise it per series.
        beta: Weight of the newest interval, in (0, 1]; None to optimise it per series.
        objective: Loss that optimised weights minimise, see `demandcast.local.parts.smoothing_weights`: "parts" (one-step errors
            of sizes and of intervals, separately), "mse", "mae", "msr" or "mar".
        seed: Seed of the paths, and of the sample of values in large panels.
    """

    name = "croston"
    summary = "Smoothed size over smoothed interval (Croston, 1972)"


class SBA(_TwoWeights[TwoWeightsConfig]):
    """Croston's method times 1 - beta / 2. Arguments as in `Croston`."""

    name = "sba"
    summary = "Croston's method without its bias (Syntetos and Boylan, 2005)"


class SBJ(_TwoWeights[TwoWeightsConfig]):
    """Croston's method times 1 - beta / (2 - beta). Arguments as in `Croston`."""

    name = "sbj"
    summary = "Croston's method corrected for Poisson arrivals (Shale, Boylan and Johnston, 2006)"


class TSB(_TwoWeights[TwoWeightsConfig]):
    """Smoothed probability of a demand times smoothed size; decreases while there is no demand.

    Arguments as in `Croston`; `beta` is the weight of the newest step in the probability.
    """

    name = "tsb"
    portfolio = 60
    suits = Demand.SLOW
    summary = "Smoothed probability times smoothed size, for items that die (Teunter et al., 2011)"


@dataclass(frozen=True, kw_only=True)
class HESConfig(TwoWeightsConfig):
    """Hyper-parameters of hyperbolic-exponential smoothing."""

    decay: bool = False  # whether the rate continues to decrease over the horizon


class HES(_TwoWeights[HESConfig]):
    """Croston's size and interval, with a rate that decreases hyperbolically while there is no demand.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: As in `Croston`.
        beta: As in `Croston`.
        objective: As in `Croston`.
        decay: Whether the rate continues to decrease over the horizon, as if there were no demand. The expected demand
            is flat, which is the default.
        seed: As in `Croston`.
    """

    name = "hes"
    summary = (
        "Hyperbolic-exponential smoothing: rates fall as demand stays out (Prestwich et al., 2014)"
    )
    Config = HESConfig

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        if not self.config.decay:
            return super()._rates(past, shared)
        added = self.horizon - 1
        zeros = np.zeros((added, past.n_series))
        extended = Histories(np.concatenate([past.values, zeros]), past.lengths + added)
        return fit_recursion(RECURSIONS[self.name], extended, *self._weights(past, shared))


@dataclass(frozen=True, kw_only=True)
class ADIDAConfig(LocalConfig):
    """Hyper-parameters of smoothed sums over blocks."""

    # weight of the newest block; None: that of smallest squared error in [0.1, 0.3], per series
    alpha: float | None = setting(None, WEIGHT)


class ADIDA(PointForecaster[ADIDAConfig]):
    """Smoothed sums over blocks as long as the mean interval, divided by the steps of a block.

    Args:
        horizon: Steps to forecast; also `h`.
        alpha: Weight of the newest block; None for the one of smallest squared error in [0.1, 0.3].
        seed: Seed of the paths, and of the sample of values in large panels.
    """

    name = "adida"
    summary = "Smoothed sums over blocks of the mean interval (Nikolopoulos et al., 2011)"
    Config = ADIDAConfig

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        return aggregation.adida(past, self.config.alpha)


class IMAPA(ADIDA):
    """The mean of ADIDA's rates over blocks of 1, 2, ... up to the mean interval. Arguments as `ADIDA`."""

    name = "imapa"
    portfolio = 70
    suits = Demand.SLOW
    summary = "Smoothed sums over blocks of all sizes, averaged (Petropoulos and Kourentzes, 2015)"

    def _rates(self, past: Histories, shared: SharedWeights) -> Array:
        return aggregation.imapa(past, self.config.alpha)
