"""Counts whose mean moves with demand and is drawn back to its long-run level.

Snyder, Ord and Beaumont, "Forecasting the intermittent demand for slow-moving inventories: a modelling
approach", *International Journal of Forecasting* 28 (2012):

    m[t] = alpha y[t-1] + phi ybar + (1 - alpha - phi) m[t-1]

with y[t] negative binomial of variance m[t] / prob, Poisson, or hurdle shifted Poisson: demand comes
with probability p[t], which follows the same recursion over 1(y > 0), and y[t] - 1 is then Poisson of a
mean that is updated at demands only. Each path feeds its own draws back, so that spread grows as far
as alpha and phi let it. Weights maximise, over a grid, the one-step quasi-likelihood sum (y log m - m)
of a variance in proportion to the mean.

Departs from the paper: ybar is the mean of what came before, with the panel's mean as one value more, and
so is the start. A mean of the whole record, as others have it, has seen the values whose likelihood it
enters: it makes the pull look better than it is, and what dies is forecast to live on. Each series adds
the panel's mean likelihood of `ALIKE` demands to its own. `prob` follows from the one-step errors,
sum m / sum (y - m)^2, a series' own sums added to `SHARED` times the panel's mean ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecaster import Demand
from demandcast.local.parts.counts import check_counts
from demandcast.local.parts.histories import Array, Histories, Ints, Pieces
from demandcast.local.parts.simulated import Simulate, SimulatedForecaster
from demandcast.local.parts.weighted_points import GROWTH
from demandcast.panel.panel import Panel
from demandcast.settings import one_of

LAWS = ("negative_binomial", "poisson", "hurdle_poisson")
ALPHAS, PHIS = (0.01, 0.03, 0.06, 0.1, 0.15, 0.22, 0.32, 0.45), (0.0, 0.01, 0.03, 0.1, 0.3)
ALIKE = 50.0  # demands' worth of the panel's evidence on alpha and phi
SHARED = 10.0  # demands' worth of the panel's evidence on `prob`
LEAST = 1e-4  # means below are as good as none


class DampedCounts(SimulatedForecaster):
    """Counts around a damped mean, with paths that feed their draws back.

    Args:
        horizon: Steps to forecast; also `h`.
        law: "negative_binomial", "poisson" or "hurdle_poisson".
        paths: Paths simulated for the quantiles.
        seed: Of the paths.

    Raises:
        DataError: At prediction, for a series with values that are no counts.
    """

    name = "damped_counts"
    portfolio = 100
    suits = Demand.SLOW
    summary = "Counts around a damped mean, draws fed back (Snyder, Ord and Beaumont, 2012)"
    pools = True
    settings: ClassVar[dict[str, Any]] = {**SimulatedForecaster.settings, "law": LAWS[0]}
    law: str

    def _check(self) -> None:
        super()._check()
        one_of("law", self.law, LAWS)

    def _prepare(self, panel: Panel) -> Callable[[Ints], Simulate]:
        check_counts(self.name, panel)
        pieces = Pieces(panel, self.cells)
        laws = ("bernoulli", "shifted") if self.law == "hurdle_poisson" else (self.law,)
        learned = [Recursion.of(pieces, law) for law in laws]
        places, seen = pieces.places(), panel.n_observed() > 0

        def reader(index: Ints) -> Simulate:
            def simulate(some: Ints, n_paths: int, draws: Draws) -> Array:
                own = index[some]
                states = [state.select(places[own]) for state in learned]
                return self._paths(states, seen[own, None], n_paths, draws)

            return simulate

        return reader

    def _paths(
        self, states: Sequence[Recursion], seen: NDArray[np.bool_], n_paths: int, draws: Draws
    ) -> Array:
        """Paths (n, S, H) of series with these states; 0 where nothing was `seen`, (n, 1)."""
        shape = (len(seen), n_paths, self.horizon)
        paths = np.zeros(shape)
        if self.law == "hurdle_poisson":
            chance, extra = states
            p, size = (np.repeat(r.last[:, None], n_paths, 1) for r in (chance, extra))
            for step in range(self.horizon):
                due = (draws.at("due", step).uniform(shape[:2]) < p) & seen
                y = np.where(due, 1 + draws.at("size", step).poisson(size), 0.0)
                paths[..., step] = y
                p = chance.next(p, due.astype(np.float64))
                size = np.where(due, extra.next(size, y - 1), size)
            return paths
        (state,) = states
        mean = np.repeat(state.last[:, None], n_paths, 1)
        prob = state.prob[:, None]
        alive = (state.level > 0)[:, None] & seen
        for step in range(self.horizon):
            if self.law == "negative_binomial":
                rate = np.maximum(mean, LEAST)
                counts = draws.at(step).negative_binomial(rate, (1 - prob) / prob / rate)
            else:
                counts = draws.at(step).poisson(mean)
            paths[..., step] = counts * alive
            mean = state.next(mean, paths[..., step])
        return paths


class Recursion:
    """Damped means of n series, their weights those of the largest likelihood of `ALPHAS` x `PHIS`."""

    def __init__(self, alpha: Array, phi: Array, level: Array, last: Array, prob: Array) -> None:
        self.alpha, self.phi, self.level = alpha, phi, level  # (n,)
        self.last = last  # the mean of the first step ahead, (n,)
        self.prob = prob  # mean over variance, (n,)

    def next(self, mean: Array, y: Array) -> Array:
        """Means (n, S) of the step behind draws y, (n, S)."""
        alpha, phi, level = self.alpha[:, None], self.phi[:, None], self.level[:, None]
        return np.asarray(alpha * y + phi * level + (1 - alpha - phi) * mean)

    def select(self, some: Ints) -> Recursion:
        """The states of some of the series."""
        return Recursion(**{name: part[some] for name, part in vars(self).items()})

    @classmethod
    def of(cls, pieces: Iterable[Histories], law: str) -> Recursion:
        """Fitted to histories under "negative_binomial", "poisson", "bernoulli" or "shifted".

        Args:
            pieces: The histories of n series, some at once; gone over twice.
            law: "bernoulli" follows whether there is demand, "shifted" y - 1 at demands only.
        """
        alpha, phi = np.array(list(product(ALPHAS, PHIS))).T[..., None]  # (G, 1)
        sums = [
            (v[c].sum(), c.sum(), (v[c] > 0).sum()) for v, c in (_followed(p, law) for p in pieces)
        ]
        total, count, demands = np.array(sums).reshape(-1, 3).sum(0)
        typical = total / max(1, count)
        parts = [_tried(past, law, typical, alpha, phi) for past in pieces]
        if not parts:
            return cls(*[np.zeros(0)] * 5)
        squares, rates, likely, mean, level = (
            np.concatenate(side, -1) for side in zip(*parts, strict=True)
        )
        shared = likely.sum(1, keepdims=True) / max(1, demands)  # (G, 1), of one demand
        best, series = (likely + ALIKE * shared).argmax(0), np.arange(likely.shape[1])
        own, rate = squares[best, series], rates[best, series]
        over = own.sum() / np.maximum(rate.sum(), LEAST)  # variance over mean, over the panel
        over = (own + SHARED * over) / (rate + SHARED)
        return cls(
            alpha[best, 0], phi[best, 0], level, mean[best, series], 1 / np.clip(over, 1.02, 100.0)
        )


def _followed(past: Histories, law: str) -> tuple[Array, NDArray[np.bool_]]:
    """What is followed under a law, (T, n), and where it was there to be followed."""
    counted = np.arange(past.steps)[:, None] >= past.begins
    if law == "bernoulli":
        return (past.values > 0).astype(np.float64), counted
    if law == "shifted":
        return np.maximum(past.values - 1, 0), past.values > 0
    return past.values, counted


def _tried(
    past: Histories, law: str, typical: float, alpha: Array, phi: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """What weights (G, 1) leave of n series.

    Returns:
        Squared errors, rates and log-likelihoods, summed, and means of the step ahead, (G, n); the level, (n,).
    """
    values, counted = _followed(past, law)
    ceilings = (
        Histories(values, past.lengths).ceilings(GROWTH)
        if law == "bernoulli"
        else past.ceilings(GROWTH)
    )
    seen = np.full(past.n_series, 1.0)
    total = np.minimum(typical, ceilings)  # a start of the series' own size
    squares = np.zeros((len(alpha), past.n_series))
    rates, likely = np.zeros(squares.shape), np.zeros(squares.shape)
    mean = np.broadcast_to(total, squares.shape)
    for y, known in zip(values, counted, strict=True):
        at = np.maximum(mean, LEAST)
        squares += known * (y - at) ** 2
        rates += known * at
        if law == "bernoulli":
            at = np.clip(at, LEAST, 1 - LEAST)
            likely += known * np.where(y > 0, np.log(at), np.log1p(-at))
        else:
            likely += known * (y * np.log(at) - at)
        moved = alpha * y + phi * total / seen + (1 - alpha - phi) * mean
        mean = np.where(known, moved, mean)
        seen, total = seen + known, total + known * y
    return squares, rates, likely, np.asarray(mean), total / seen
