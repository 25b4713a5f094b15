"""Paths put together from what a series' own past shows: runs without demand, and sizes of demands.

A series without a demand is forecast as 0. Departs from Zhou and Viswanathan: each path puts back what it
draws with another like it (the Bayesian bootstrap), so that the paths' sums vary as much more as little is known
of the distribution.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.simulated import SimulatedForecaster, demands, drawn, from_urn, waited
from demandcast.settings import flag


class Willemain(SimulatedForecaster):
    """A two-state Markov chain says when demand comes, past sizes say how much.

    Each transition is estimated by (count + 1/2) / (total + 1), so that one never seen may happen.
    Sizes are jittered to 1 + int(X + Z sqrt(X)), or X where that is 0 or less. Amounts have no unit of
    their own as counts have: they are smoothed by a normal kernel, X + h Z, h by Silverman's rule.

    Args:
        horizon: Steps to forecast; also `h`.
        paths: Paths simulated for the quantiles.
        jitter: Jitter the sizes, as in the paper; it raises their mean by about one half.
        seed: Of the paths.
    """

    name = "willemain"
    summary = (
        "Markov chain of zeros and demands, sizes jittered (Willemain, Smart and Schwarz, 2004)"
    )
    settings: ClassVar[dict[str, Any]] = {**SimulatedForecaster.settings, "jitter": True}
    jitter: bool

    def _check(self) -> None:
        super()._check()
        flag("jitter", self.jitter)

    def _simulate(self, past: Histories, n_paths: int, draws: Draws) -> Array:
        sizes, _, count = demands(past)
        width = bandwidth(sizes, count)
        arrive = arrivals(past)
        state = np.repeat(past.values[-1][:, None] > 0, n_paths, 1)  # (n, S)
        paths = np.zeros((past.n_series, n_paths, self.horizon))
        for step in range(self.horizon):
            chance = np.where(state, arrive[1][:, None], arrive[0][:, None])
            come = draws.at("come", step).uniform(state.shape)
            state = (come < chance) & (count > 0)[:, None]
            which = draws.at("size", step).below(count[:, None], state.shape)
            size = drawn(sizes, which)
            if self.jitter:
                size = jittered(size, past.counts[:, None], width, draws.at("jitter", step))
            paths[..., step] = np.where(state, size, 0.0)
        return paths


def arrivals(past: Histories) -> Array:
    """Chances of a demand after a step without and after one with, (2, n)."""
    demand = past.values > 0
    inside = np.arange(1, past.steps)[:, None] > past.begins
    chances = []
    for before in (~demand[:-1] & inside, demand[:-1] & inside):
        chances.append(((before & demand[1:]).sum(0) + 0.5) / (before.sum(0) + 1))
    return np.stack(chances)


def bandwidth(sizes: Array, count: Ints) -> Array:
    """Width of a normal kernel for each series' sizes (n, D), the first `count` of them: (n, 1).

    0.9 s count^(-1/5), s the deviation; Silverman, "Density Estimation", 1986, equation 3.31.
    """
    n = np.maximum(count, 1)[:, None]
    kept = np.arange(sizes.shape[1]) < count[:, None]
    error = np.where(kept, sizes - sizes.sum(1, keepdims=True) / n, 0.0)
    return np.asarray(0.9 * np.sqrt((error**2).sum(1, keepdims=True) / n) * n**-0.2)


def jittered(size: Array, whole: NDArray[np.bool_], width: Array, draws: Draws) -> Array:
    """1 + int(X + Z sqrt(X)) of counts, X + width Z of amounts; X where that is not above 0."""
    noise = draws.normal(size.shape)
    moved = np.where(whole, 1 + np.trunc(size + noise * np.sqrt(size)), size + noise * width)
    return np.where(moved > 0, moved, size)


class ViswanathanZhou(SimulatedForecaster):
    """Intervals between demands drawn from those seen, one after another, and a size at each.

    The first interval, from the start of the record to the first demand, is cut off and is left out
    where there are 3 demands or more.

    Args:
        horizon: Steps to forecast; also `h`.
        paths: Paths simulated for the quantiles.
        condition_on_age: Draw the first interval among those longer than the steps already waited;
            where there is none such, and if False, as if a demand had just come.
        jitter: Jitter the sizes as in `Willemain`.
        seed: Of the paths.
    """

    name = "viswanathan_zhou"
    summary = "Bootstrap of intervals and of sizes apart (Zhou and Viswanathan, 2011)"
    settings: ClassVar[dict[str, Any]] = {
        **SimulatedForecaster.settings,
        "condition_on_age": True,
        "jitter": False,
    }
    condition_on_age: bool
    jitter: bool
    together: ClassVar[bool] = False

    def _check(self) -> None:
        super()._check()
        flag("condition_on_age", self.condition_on_age)
        flag("jitter", self.jitter)

    def _simulate(self, past: Histories, n_paths: int, draws: Draws) -> Array:
        sizes, intervals, count = demands(past)
        width = bandwidth(sizes, count)
        cut = (count >= 3).astype(np.int64)  # leave the first out
        order = np.argsort(
            np.where(_kept(intervals, cut, count), intervals, -1), axis=1, kind="stable"
        )[:, ::-1]  # longest first, so that those above an age are a run
        intervals = np.take_along_axis(intervals, order, 1)
        paired = np.take_along_axis(sizes, order, 1)
        usable = count - cut
        age = waited(past) if self.condition_on_age else np.zeros_like(count)
        longer = (
            (intervals > age[:, None]) & (np.arange(intervals.shape[1]) < usable[:, None])
        ).sum(1)
        age, longer = np.where(longer > 0, age, 0), np.where(longer > 0, longer, usable)
        paths = np.zeros((past.n_series, n_paths, self.horizon))
        series, path = np.indices(paths.shape[:2])
        clock = -np.repeat(age[:, None], n_paths, 1)  # (n, S), step of the last demand
        gaps = np.zeros((past.n_series, n_paths, 0), np.int64)  # places of the intervals drawn
        places = gaps  # and of the sizes
        for demand in range(self.horizon):
            which = from_urn(
                gaps, usable[:, None] if demand else longer[:, None], draws.at("interval", demand)
            )
            gaps = np.concatenate([gaps, which[..., None]], 2)
            clock = clock + np.maximum(drawn(intervals, which), 1)
            due = (clock <= self.horizon) & (count > 0)[:, None]
            if not due.any():
                break
            if self.together:
                size = drawn(paired, which)
            else:
                place = from_urn(places, count[:, None], draws.at("size", demand))
                places = np.concatenate([places, place[..., None]], 2)
                size = drawn(sizes, place)
            if self.jitter:
                size = jittered(size, past.counts[:, None], width, draws.at("jitter", demand))
            paths[series[due], path[due], clock[due] - 1] = size[due]
        return paths


class Renewal(ViswanathanZhou):
    """Pairs of an interval and the size that ended it, drawn together: long waits with their sizes.

    Arguments as in `ViswanathanZhou`.
    """

    name = "renewal"
    summary = "Bootstrap of intervals together with their sizes: an empirical renewal process"
    together = True


def _kept(intervals: Ints, cut: Ints, count: Ints) -> NDArray[np.bool_]:
    place = np.arange(intervals.shape[1])
    return (place >= cut[:, None]) & (place < count[:, None])
