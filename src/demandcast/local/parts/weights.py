"""Smoothing weights, one pair a series, chosen by what they would have forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.smoothing import Recursion

OBJECTIVES = ("parts", "mse", "mae", "msr", "mar")
GRID = (0.03, 0.1, 0.2, 0.35)  # first candidates of each weight; then nearer ones, twice
LOWEST, HIGHEST = 0.01, 0.5  # weights looked at; above, a rate is hardly more than its last demand
FEW = 20  # demands below which a series' weights are those that suit all such series best
GOLDEN = (np.sqrt(5) - 1) / 2
BATCH = 4096  # series at once, so that the states of all candidates stay in the cache
Pair = Array | None  # two weights for all series of few demands, (2, 1)


def loss(recursion: Recursion, past: Histories, alpha: Array, beta: Array, objective: str) -> Array:
    """What weights (G, n) cost each series over its history, (G, n).

    Args:
        recursion: A method of `smoothing`.
        past: Histories of n series.
        alpha: Weights of the level or size.
        beta: Weights of the interval or probability.
        objective: "mse" and "mae" are mean errors of the one-step rate against the value. Both
            mislead where most values are 0: the best absolute error is that of forecasting 0. "msr"
            and "mar" hold the rate against the mean of all demand so far, Kourentzes, "On
            intermittent demand model optimisation and selection", 2014.

    Returns:
        Mean errors, in the target's unit or its square. The first step counts nowhere.
    """
    power = 2 if objective in ("mse", "msr") else 1
    rate_error = objective in ("msr", "mar")
    begins = past.begins
    total: Array = np.zeros(np.broadcast_shapes(np.shape(alpha), np.shape(beta), begins.shape))
    sums = np.zeros(past.n_series)
    for t, rate in enumerate(recursion(past, alpha, beta)):
        if t == past.steps:
            break
        y = past.values[t]
        sums += y
        aim = sums / np.maximum(t - begins + 1, 1) if rate_error else y
        error = np.abs(rate - aim)
        total += np.where(t > begins, error**power, 0.0)
    return np.asarray(total / np.maximum(past.lengths - 1, 1))


def optimise(
    recursion: Recursion,
    past: Histories,
    alpha: float | None,
    beta: float | None,
    objective: str,
    shared: Pair = None,
) -> tuple[Array, Array]:
    """The weights (n,), (n,) of least loss per series; a weight that is given stays.

    A grid first, then around the best twice, in halved steps of the logarithm. Series with fewer than
    `FEW` demands take the pair `shared`, if given.
    The objective "parts" chooses the two apart from each other, as `part_weights`.
    """
    if objective == "parts":
        parts = part_weights(past)
        return tuple(  # type: ignore[return-value]
            part if given is None else np.full(past.n_series, given)
            for part, given in zip(parts, (alpha, beta), strict=True)
        )
    weights = np.full((2, past.n_series), 0.1)
    for start in range(0, past.n_series, BATCH):
        part = slice(start, start + BATCH)
        weights[:, part] = _search(
            recursion, past.select(np.arange(past.n_series)[part]), alpha, beta, objective
        )
    if shared is not None:
        weights[:, _few(past)] = shared
    return weights[0], weights[1]


def _search(
    recursion: Recursion, past: Histories, alpha: float | None, beta: float | None, objective: str
) -> Array:
    """The best pair of each series, (2, n)."""
    best = np.log(np.full((2, past.n_series), 0.1))
    least = np.full(past.n_series, np.inf)
    step = np.log(2.0)
    for pairs in (_grid(alpha, beta), None, None):
        if pairs is None:
            step /= 2
            moves = np.array([m for m in product((-step, 0, step), repeat=2) if any(m)])
            moves *= [alpha is None, beta is None]
            tried = best + np.unique(moves, axis=0)[..., None]  # (G, 2, n)
        else:
            tried = np.repeat(np.log(pairs)[..., None], past.n_series, axis=2)
        tried = np.clip(tried, np.log(LOWEST), np.log(HIGHEST)) if pairs is None else tried
        if alpha is not None:
            tried[:, 0] = np.log(alpha)
        if beta is not None:
            tried[:, 1] = np.log(beta)
        cost = loss(recursion, past, np.exp(tried[:, 0]), np.exp(tried[:, 1]), objective)
        winner = cost.argmin(0)
        found = cost[winner, np.arange(past.n_series)]
        better = found < least
        chosen = tried[winner, :, np.arange(past.n_series)].T
        best, least = np.where(better, chosen, best), np.where(better, found, least)
    return np.asarray(np.exp(best))


def shared_pair(
    recursion: Recursion,
    pasts: Sequence[Histories],
    alpha: float | None,
    beta: float | None,
    objective: str,
) -> Pair:
    """The pair of least loss summed over the series of few demands in all parts, each scaled by its own least."""
    if objective == "parts":
        return None
    pairs = _grid(alpha, beta)
    total, found = np.zeros(len(pairs)), 0
    for past in pasts:
        few = _few(past)
        found += len(few)
        for start in range(0, len(few), BATCH):
            part = past.select(few[start : start + BATCH])
            cost = loss(recursion, part, pairs[:, :1], pairs[:, 1:], objective)
            total += (cost / np.maximum(cost.min(0), 1e-12)).clip(max=10).sum(1)
    return np.asarray(pairs[total.argmin()][:, None]) if found else None


def _few(past: Histories) -> Ints:
    """Series with values, but fewer than `FEW` demands."""
    return np.flatnonzero(((past.values > 0).sum(0) < FEW) & (past.lengths > 0))


def _grid(alpha: float | None, beta: float | None) -> Array:
    """Pairs of candidates, (G, 2)."""
    firsts = GRID if alpha is None else (alpha,)
    seconds = GRID if beta is None else (beta,)
    return np.array(list(product(firsts, seconds)))


def golden(cost: Callable[[Array], Array], n: int, low: float, high: float, rounds: int) -> Array:
    """Golden-section search for n minima at once, (n,); the middle where it is no worse.

    Args:
        cost: Of one weight a series, (n,), the loss of each, (n,).
        n: Series.
        low: The least weight.
        high: The largest.
        rounds: Steps; each leaves 0.618 of the range.
    """
    a, b = np.full(n, low), np.full(n, high)
    left, right = b - GOLDEN * (b - a), a + GOLDEN * (b - a)
    at_left, at_right = cost(left), cost(right)
    for _ in range(rounds):
        down = at_left < at_right
        a, b = np.where(down, a, left), np.where(down, right, b)
        fresh = np.where(down, b - GOLDEN * (b - a), a + GOLDEN * (b - a))
        value = cost(fresh)
        left, right = np.where(down, fresh, right), np.where(down, left, fresh)
        at_left, at_right = np.where(down, value, at_right), np.where(down, at_left, value)
    found, middle = (a + b) / 2, np.full(n, (low + high) / 2)
    return np.where(cost(found) < cost(middle) * (1 - 1e-12), found, middle)


def ses_weight(past: Histories, low: float = 0.1, high: float = 0.3, rounds: int = 40) -> Array:
    """The weight of least squared one-step error of simple exponential smoothing, (n,).

    Over [0.1, 0.3], as implementations of ADIDA and IMAPA have it.
    """
    begins = past.begins
    first = past.values[np.minimum(begins, past.steps - 1), np.arange(past.n_series)]
    rows = np.where(np.arange(past.steps)[:, None] < begins, first, past.values)  # errors 0 there

    def cost(alpha: Array) -> Array:
        level, total = first.copy(), np.zeros(past.n_series)
        for y in rows[1:]:
            error = y - level
            total += error * error
            level += alpha * error
        return total

    return golden(cost, past.n_series, low, high, rounds)


def part_weights(past: Histories) -> tuple[Array, Array]:
    """Weights of sizes and of intervals, each of least squared one-step error of its own, (n,), (n,)."""
    demand = past.values > 0
    steps = np.arange(past.steps)[:, None] + 1 - past.begins
    last = np.maximum.accumulate(np.where(demand, steps, 0))
    before = np.concatenate([np.zeros((1, past.n_series), np.int64), last[:-1]])
    sizes, intervals = (
        Histories.from_rows(np.where(demand, part, np.nan).T)
        for part in (past.values, steps - before)
    )
    return ses_weight(sizes), ses_weight(intervals)
