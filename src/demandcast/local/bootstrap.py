"""Bootstrap methods: paths made of the intervals and sizes of a series' own demands.

A series without demand is forecast as 0. Departs from Zhou and Viswanathan: each path draws by the Bayesian bootstrap
(a value drawn becomes more likely later in the path), so that sums over a path include the uncertainty of the
distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.simulated import (
    SimulatedConfig,
    SimulatedForecaster,
    draw_from_urn,
    sizes_and_intervals,
    take_rows,
    zero_periods_since_demand,
)

PRIOR_INTERVALS = 1  # intervals longer than the age that forgetting the age weighs as much as


@dataclass(frozen=True, kw_only=True)
class WillemainConfig(SimulatedConfig):
    """Hyper-parameters of Willemain's bootstrap."""

    jitter: bool = True  # whether drawn sizes are jittered


class Willemain(SimulatedForecaster[WillemainConfig]):
    """A two-state Markov chain of steps with and without demand; sizes are drawn from the past.

    Transition probabilities are estimated as (count + 1/2) / (total + 1), so none is 0. Sizes of counts are jittered to
    1 + int(X + Z sqrt(X)), or stay X where that is 0 or less. Sizes that are not whole numbers are smoothed with a normal
    kernel, X + h Z, with h by Silverman's rule.

    Args:
        horizon: Steps to forecast; also `h`.
        paths: Number of paths simulated for the quantiles.
        jitter: Whether sizes are jittered, as in the paper; it raises their mean by about one half.
        seed: Seed of the paths.
    """

    name = "willemain"
    exact_alone = True
    summary = (
        "Markov chain of zeros and demands, sizes jittered (Willemain, Smart and Schwarz, 2004)"
    )
    Config = WillemainConfig

    def _simulate(self, past: Histories, n_paths: int, draws: Draws) -> Array:
        sizes, _, count = sizes_and_intervals(past)
        width = bandwidth(sizes, count)
        after_zero, after_demand = demand_probabilities(past)[..., None]
        state = np.repeat(past.values[-1][:, None] > 0, n_paths, 1)  # (n, S)
        paths = np.zeros((past.n_series, n_paths, self.horizon))
        for step in range(self.horizon):
            probability = np.where(state, after_demand, after_zero)
            uniform = draws.at("come", step).uniform(state.shape)
            state = (uniform < probability) & (count > 0)[:, None]
            index = draws.at("size", step).below(count[:, None], state.shape)
            size = take_rows(sizes, index)
            if self.config.jitter:
                size = jitter_sizes(size, past.counts[:, None], width, draws.at("jitter", step))
            paths[..., step] = np.where(state, size, 0.0)
        return paths


def demand_probabilities(past: Histories) -> Array:
    """Return the probabilities of a demand after a step without demand and after one with demand, (2, n)."""
    demand = past.values > 0
    inside = np.arange(1, past.steps)[:, None] > past.begins
    probabilities = []
    for before in (~demand[:-1] & inside, demand[:-1] & inside):
        probabilities.append(((before & demand[1:]).sum(0) + 0.5) / (before.sum(0) + 1))
    return np.stack(probabilities)


def bandwidth(sizes: Array, count: Ints) -> Array:
    """Return the width of a normal kernel for each series' sizes, (n, 1).

    0.9 s count^(-1/5), with s the standard deviation; Silverman, "Density Estimation", 1986, equation 3.31.

    Args:
        sizes: Sizes, left-aligned, (n, D).
        count: Number of sizes of each series, (n,).
    """
    n = np.maximum(count, 1)[:, None]
    inside = np.arange(sizes.shape[1]) < count[:, None]
    error = np.where(inside, sizes - sizes.sum(1, keepdims=True) / n, 0.0)
    return np.asarray(0.9 * np.sqrt((error**2).sum(1, keepdims=True) / n) * n**-0.2)


def jitter_sizes(size: Array, whole: NDArray[np.bool_], width: Array, draws: Draws) -> Array:
    """Return 1 + int(X + Z sqrt(X)) for counts, X + width Z for other sizes; X itself where that is not above 0."""
    noise = draws.normal(size.shape)
    jittered = np.where(whole, 1 + np.trunc(size + noise * np.sqrt(size)), size + noise * width)
    return np.where(jittered > 0, jittered, size)


@dataclass(frozen=True, kw_only=True)
class ViswanathanZhouConfig(SimulatedConfig):
    """Hyper-parameters of the bootstrap of intervals and sizes."""

    # whether the first interval is drawn from those longer than the time since the last demand
    condition_on_age: bool = True
    jitter: bool = False  # whether drawn sizes are jittered


class ViswanathanZhou(SimulatedForecaster[ViswanathanZhouConfig]):
    """Draws past intervals between demands, one after another, and a past size for each demand.

    The first interval, from the start of the record to the first demand, is incomplete; it is left out for series with 3
    demands or more.

    Args:
        horizon: Steps to forecast; also `h`.
        paths: Number of paths simulated for the quantiles.
        condition_on_age: Whether the first interval is drawn from those longer than the time since the last demand.
            If False, and for a share 1 / (1 + k) of the paths with k such intervals, a path starts as if the last
            step had a demand.
        jitter: Whether sizes are jittered, as in `Willemain`.
        seed: Seed of the paths.
    """

    name = "viswanathan_zhou"
    exact_alone = True
    summary = "Bootstrap of intervals and of sizes apart (Zhou and Viswanathan, 2011)"
    Config = ViswanathanZhouConfig

    together: ClassVar[bool] = False

    def _simulate(self, past: Histories, n_paths: int, draws: Draws) -> Array:
        sizes, intervals, count = sizes_and_intervals(past)
        width = bandwidth(sizes, count)
        n_incomplete = (count >= 3).astype(np.int64)  # the incomplete first interval
        column = np.arange(intervals.shape[1])
        usable = (column >= n_incomplete[:, None]) & (column < count[:, None])
        # longest first, so that the intervals longer than an age are the first columns
        order = np.argsort(np.where(usable, intervals, -1), axis=1, kind="stable")[:, ::-1]
        intervals = np.take_along_axis(intervals, order, 1)
        paired_sizes = np.take_along_axis(sizes, order, 1)
        n_usable = count - n_incomplete
        age = (
            zero_periods_since_demand(past)
            if self.config.condition_on_age
            else np.zeros_like(count)
        )
        n_longer = ((intervals > age[:, None]) & (column < n_usable[:, None])).sum(1)
        age = np.where(n_longer > 0, age, 0)
        n_longer = np.where(n_longer > 0, n_longer, n_usable)
        paths = np.zeros((past.n_series, n_paths, self.horizon))
        series, path = np.indices(paths.shape[:2])
        # few intervals longer than the age tell little: some paths start as if the last step had a demand
        drawn_numbers = draws.at("forget").below(
            (n_longer + PRIOR_INTERVALS)[:, None], paths.shape[:2]
        )
        forgets = drawn_numbers >= n_longer[:, None]
        last_demand = np.where(forgets, 0, -age[:, None])  # (n, S), in steps after the cutoff
        drawn_intervals = np.zeros((past.n_series, n_paths, 0), np.int64)  # their indices
        drawn_sizes = drawn_intervals
        for demand in range(self.horizon):
            n_intervals = n_usable[:, None]
            if not demand:
                n_intervals = np.where(forgets, n_intervals, n_longer[:, None])
            index = draw_from_urn(drawn_intervals, n_intervals, draws.at("interval", demand))
            drawn_intervals = np.concatenate([drawn_intervals, index[..., None]], 2)
            last_demand = last_demand + np.maximum(take_rows(intervals, index), 1)
            inside = (last_demand <= self.horizon) & (count > 0)[:, None]
            if not inside.any():
                break
            if self.together:
                size = take_rows(paired_sizes, index)
            else:
                index = draw_from_urn(drawn_sizes, count[:, None], draws.at("size", demand))
                drawn_sizes = np.concatenate([drawn_sizes, index[..., None]], 2)
                size = take_rows(sizes, index)
            if self.config.jitter:
                size = jitter_sizes(size, past.counts[:, None], width, draws.at("jitter", demand))
            paths[series[inside], path[inside], last_demand[inside] - 1] = size[inside]
        return paths


class Renewal(ViswanathanZhou):
    """Draws pairs of an interval and the size of the demand that ended it.

    Arguments as in `ViswanathanZhou`.
    """

    name = "renewal"
    exact_alone = True
    summary = "Bootstrap of intervals together with their sizes: an empirical renewal process"
    together = True
