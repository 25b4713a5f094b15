"""Counts whose mean follows demand and reverts to its long-run level.

Snyder, Ord and Beaumont, "Forecasting the intermittent demand for slow-moving inventories: a modelling
approach", *International Journal of Forecasting* 28 (2012):

    m[t] = alpha y[t-1] + phi ybar + (1 - alpha - phi) m[t-1]

y[t] is negative binomial of variance m[t] / prob, Poisson, or hurdle shifted Poisson. In the last case there is demand
with probability p[t], which follows the same recursion over 1(y > 0), and y[t] - 1 is then Poisson with a mean that is
updated at demands only. Each path updates its mean with its own draws, so its variance grows with the steps ahead as far
as alpha and phi allow. The weights maximise, over a grid, the one-step quasi-likelihood sum (y log m - m) of a variance
proportional to the mean.

Departs from the paper: ybar and the start are the mean of the earlier values, with the panel's mean, kept within the
series' least and largest value, as one additional value. A mean of the whole record, as in other implementations,
includes the values whose likelihood it enters: the reversion looks better than it is, and items without further demand
are forecast to continue. The panel's mean likelihood of `PRIOR_DEMANDS` demands is added to each series' own. `prob` is
sum m / sum (y - m)^2 of the one-step errors, where `PRIOR_DISPERSION` times the panel's means are added to a series' own
sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecaster import Demand
from demandcast.local.parts.counts import check_counts
from demandcast.local.parts.histories import Array, Histories, HistoryChunks, Ints
from demandcast.local.parts.simulated import Simulate, SimulatedConfig, SimulatedForecaster
from demandcast.panel.panel import Panel
from demandcast.settings import choice, setting

LAWS = ("negative_binomial", "poisson", "hurdle_poisson")
ALPHAS, PHIS = (0.01, 0.03, 0.06, 0.1, 0.15, 0.22, 0.32, 0.45), (0.0, 0.01, 0.03, 0.1, 0.3)
PRIOR_DEMANDS = 50.0  # demands that the panel's likelihood of alpha and phi weighs as much as
PRIOR_DISPERSION = 10.0  # demands that the panel's `prob` weighs as much as
MIN_MEAN = 1e-4


@dataclass(frozen=True, kw_only=True)
class DampedCountsConfig(SimulatedConfig):
    """Hyper-parameters of the damped counts."""

    law: str = setting(LAWS[0], choice(*LAWS))  # of a count, given its mean


class DampedCounts(SimulatedForecaster[DampedCountsConfig]):
    """Counts around a damped mean that each path updates with its own draws.

    Args:
        horizon: Steps to forecast; also `h`.
        law: Distribution of the counts: "negative_binomial", "poisson" or "hurdle_poisson".
        paths: Number of paths simulated for the quantiles.
        seed: Seed of the paths.

    Raises:
        DataError: At prediction, if a value is not a count.
    """

    name = "damped_counts"
    portfolio = 100
    suits = Demand.SLOW
    summary = "Counts around a damped mean, draws fed back (Snyder, Ord and Beaumont, 2012)"
    pools = True
    Config = DampedCountsConfig

    def _prepare(self, panel: Panel) -> Callable[[Ints], Simulate]:
        check_counts(self.name, panel)
        chunks = HistoryChunks(panel, self.cells)
        laws = (
            ("bernoulli", "shifted") if self.config.law == "hurdle_poisson" else (self.config.law,)
        )
        recursions = [Recursion.fit(chunks, law) for law in laws]
        positions, has_values = chunks.positions(), panel.n_observed() > 0

        def prepare_series(index: Ints) -> Simulate:
            def simulate(selected: Ints, n_paths: int, draws: Draws) -> Array:
                series = index[selected]
                states = [recursion.select(positions[series]) for recursion in recursions]
                return self._draw_paths(states, has_values[series, None], n_paths, draws)

            return simulate

        return prepare_series

    def _draw_paths(
        self,
        states: Sequence[Recursion],
        has_values: NDArray[np.bool_],
        n_paths: int,
        draws: Draws,
    ) -> Array:
        """Draw paths (n, S, H) of series with these states; 0 for series without values, (n, 1)."""
        shape = (len(has_values), n_paths, self.horizon)
        paths = np.zeros(shape)
        if self.config.law == "hurdle_poisson":
            occurrence, excess = states
            p, mean = (np.repeat(r.last[:, None], n_paths, 1) for r in (occurrence, excess))
            for step in range(self.horizon):
                demand = (draws.at("due", step).uniform(shape[:2]) < p) & has_values
                y = np.where(demand, 1 + draws.at("size", step).poisson(mean), 0.0)
                paths[..., step] = y
                p = occurrence.next_mean(p, demand.astype(np.float64))
                mean = np.where(demand, excess.next_mean(mean, y - 1), mean)
            return paths
        (state,) = states
        mean = np.repeat(state.last[:, None], n_paths, 1)
        prob = state.prob[:, None]
        has_demand = (state.level > 0)[:, None] & has_values
        for step in range(self.horizon):
            if self.config.law == "negative_binomial":
                rate = np.maximum(mean, MIN_MEAN)
                counts = draws.at(step).negative_binomial(rate, (1 - prob) / prob / rate)
            else:
                counts = draws.at(step).poisson(mean)
            paths[..., step] = counts * has_demand
            mean = state.next_mean(mean, paths[..., step])
        return paths


class Recursion:
    """Damped means of n series, with the weights of largest likelihood among `ALPHAS` x `PHIS`."""

    def __init__(self, alpha: Array, phi: Array, level: Array, last: Array, prob: Array) -> None:
        self.alpha, self.phi, self.level = alpha, phi, level  # (n,)
        self.last = last  # mean of the first step ahead, (n,)
        self.prob = prob  # mean over variance, (n,)

    def next_mean(self, mean: Array, y: Array) -> Array:
        """Return the means of the next step, (n, S), from the means and draws y of this one."""
        alpha, phi, level = self.alpha[:, None], self.phi[:, None], self.level[:, None]
        return np.asarray(alpha * y + phi * level + (1 - alpha - phi) * mean)

    def select(self, series: Ints) -> Recursion:
        """Return the states of the selected series."""
        return Recursion(**{name: values[series] for name, values in vars(self).items()})

    @classmethod
    def fit(cls, chunks: Iterable[Histories], law: str) -> Recursion:
        """Fit the recursion to histories.

        Args:
            chunks: Histories of n series in chunks; iterated over twice.
            law: "negative_binomial" or "poisson"; "bernoulli" for whether there is demand; "shifted" for y - 1 at
                demands only.
        """
        alpha, phi = np.array(list(product(ALPHAS, PHIS))).T[..., None]  # (G, 1)
        sums = [
            (v[c].sum(), c.sum(), (v[c] > 0).sum())
            for v, c in (_modelled_values(past, law) for past in chunks)
        ]
        total, count, demands = np.array(sums).reshape(-1, 3).sum(0)
        typical = total / max(1, count)
        parts = [_filter_candidates(past, law, typical, alpha, phi) for past in chunks]
        if not parts:
            return cls(*[np.zeros(0)] * 5)
        squares, rates, log_likelihood, mean, level = (
            np.concatenate(arrays, -1) for arrays in zip(*parts, strict=True)
        )
        panel_mean = log_likelihood.sum(1, keepdims=True) / max(1, demands)  # (G, 1), a demand
        best = (log_likelihood + PRIOR_DEMANDS * panel_mean).argmax(0)
        series = np.arange(log_likelihood.shape[1])
        square, rate = squares[best, series], rates[best, series]
        dispersion = square.sum() / np.maximum(
            rate.sum(), MIN_MEAN
        )  # variance over mean, of the panel
        dispersion = (square + PRIOR_DISPERSION * dispersion) / (rate + PRIOR_DISPERSION)
        prob = 1 / np.clip(dispersion, 1.02, 100.0)
        return cls(alpha[best, 0], phi[best, 0], level, mean[best, series], prob)


def _modelled_values(past: Histories, law: str) -> tuple[Array, NDArray[np.bool_]]:
    """Return the values that a recursion follows under a law, and the mask of steps that have one, (T, n) both."""
    counted = np.arange(past.steps)[:, None] >= past.begins
    if law == "bernoulli":
        return (past.values > 0).astype(np.float64), counted
    if law == "shifted":
        return np.maximum(past.values - 1, 0), past.values > 0
    return past.values, counted


def _filter_candidates(
    past: Histories, law: str, typical: float, alpha: Array, phi: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """Run the recursion over n series with candidate weights (G, 1).

    Returns:
        Sums of squared errors, of means and of log-likelihoods, and the mean of the step ahead, (G, n) each; the
        level, (n,).
    """
    values, counted = _modelled_values(past, law)
    weight = np.full(past.n_series, 1.0)
    # start at the panel's mean, within the series' own values; whether there is demand has no size to keep
    largest = np.where(counted, values, 0.0).max(0, initial=0.0)
    least = np.where(counted, values, np.inf).min(0, initial=np.inf)
    total = np.clip(typical, 0.0 if law == "bernoulli" else least, largest)
    squares = np.zeros((len(alpha), past.n_series))
    rates, log_likelihood = np.zeros(squares.shape), np.zeros(squares.shape)
    mean = np.broadcast_to(total, squares.shape)
    for y, known in zip(values, counted, strict=True):
        rate = np.maximum(mean, MIN_MEAN)
        squares += known * (y - rate) ** 2
        rates += known * rate
        if law == "bernoulli":
            rate = np.clip(rate, MIN_MEAN, 1 - MIN_MEAN)
            log_likelihood += known * np.where(y > 0, np.log(rate), np.log1p(-rate))
        else:
            log_likelihood += known * (y * np.log(rate) - rate)
        updated = alpha * y + phi * total / weight + (1 - alpha - phi) * mean
        mean = np.where(known, updated, mean)
        weight, total = weight + known, total + known * y
    return squares, rates, log_likelihood, np.asarray(mean), total / weight
