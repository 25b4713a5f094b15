"""Optimise the smoothing weights of each series by the errors of its one-step forecasts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.smoothing import Recursion

OBJECTIVES = ("parts", "mse", "mae", "msr", "mar")
GRID = (0.03, 0.1, 0.2, 0.35)  # first candidates of each weight; the search is refined twice
MIN_WEIGHT, MAX_WEIGHT = 0.01, 0.5  # with larger weights a rate is hardly more than the last demand
MIN_DEMANDS = 20  # series with fewer share one pair of weights
GOLDEN_RATIO = (np.sqrt(5) - 1) / 2
BATCH = 4096  # series at once, so that the states of all candidates stay in the cache
SharedWeights = Array | None  # two weights, shared by all series with few demands, (2, 1)


def weight_losses(
    recursion: Recursion, past: Histories, alpha: Array, beta: Array, objective: str
) -> Array:
    """Return the loss of weights (G, n) over each series' history, (G, n).

    Args:
        recursion: A recursion of `smoothing`.
        past: Histories of n series.
        alpha: Weights of the level or size.
        beta: Weights of the interval or probability.
        objective: "mse" and "mae" are mean errors of the one-step rate against the value. Both are misleading where
            most values are 0, since 0 has the smallest absolute error. "msr" and "mar" compare the rate to the mean
            of all demand so far: Kourentzes, "On intermittent demand model optimisation and selection", 2014.

    Returns:
        Mean errors, in the target's unit or its square. The first step does not count.
    """
    power = 2 if objective in ("mse", "msr") else 1
    against_mean = objective in ("msr", "mar")
    begins = past.begins
    total: Array = np.zeros(np.broadcast_shapes(np.shape(alpha), np.shape(beta), begins.shape))
    sums = np.zeros(past.n_series)
    for t, rate in enumerate(recursion(past, alpha, beta)):
        if t == past.steps:
            break
        y = past.values[t]
        sums += y
        reference = sums / np.maximum(t - begins + 1, 1) if against_mean else y
        error = np.abs(rate - reference)
        total += np.where(t > begins, error**power, 0.0)
    return np.asarray(total / np.maximum(past.lengths - 1, 1))


def optimise_weights(
    recursion: Recursion,
    past: Histories,
    alpha: float | None,
    beta: float | None,
    objective: str,
    shared: SharedWeights = None,
) -> tuple[Array, Array]:
    """Return the weights alpha and beta of smallest loss for each series, (n,) both; a given weight is kept.

    A grid is searched first, then twice the neighbourhood of the best pair, with halved steps of the logarithm. Series
    with fewer than `MIN_DEMANDS` demands take the pair `shared`, if given. The objective "parts" chooses the two
    weights separately, see `part_weights`.
    """
    if objective == "parts":
        optimised = part_weights(past)
        return tuple(  # type: ignore[return-value]
            weight if fixed is None else np.full(past.n_series, fixed)
            for weight, fixed in zip(optimised, (alpha, beta), strict=True)
        )
    weights = np.full((2, past.n_series), 0.1)
    for start in range(0, past.n_series, BATCH):
        part = slice(start, start + BATCH)
        weights[:, part] = _search(
            recursion, past.select(np.arange(past.n_series)[part]), alpha, beta, objective
        )
    if shared is not None:
        weights[:, _series_with_few_demands(past)] = shared
    return weights[0], weights[1]


def _search(
    recursion: Recursion, past: Histories, alpha: float | None, beta: float | None, objective: str
) -> Array:
    """Return the best pair of weights of each series, (2, n)."""
    series = np.arange(past.n_series)
    best = np.log(np.full((2, past.n_series), 0.1))
    best_loss = np.full(past.n_series, np.inf)
    step = np.log(2.0)
    for pairs in (_grid(alpha, beta), None, None):
        if pairs is None:  # refine around the best pair
            step /= 2
            moves = np.array([m for m in product((-step, 0, step), repeat=2) if any(m)])
            moves *= [alpha is None, beta is None]
            candidates = best + np.unique(moves, axis=0)[..., None]  # (G, 2, n)
            candidates = np.clip(candidates, np.log(MIN_WEIGHT), np.log(MAX_WEIGHT))
        else:
            candidates = np.repeat(np.log(pairs)[..., None], past.n_series, axis=2)
        if alpha is not None:
            candidates[:, 0] = np.log(alpha)
        if beta is not None:
            candidates[:, 1] = np.log(beta)
        losses = weight_losses(
            recursion, past, np.exp(candidates[:, 0]), np.exp(candidates[:, 1]), objective
        )
        winner = losses.argmin(0)
        better = losses[winner, series] < best_loss
        best = np.where(better, candidates[winner, :, series].T, best)
        best_loss = np.where(better, losses[winner, series], best_loss)
    return np.asarray(np.exp(best))


def shared_weights(
    recursion: Recursion,
    pasts: Sequence[Histories],
    alpha: float | None,
    beta: float | None,
    objective: str,
) -> SharedWeights:
    """Return the pair of weights of smallest total loss over the series with few demands, of all parts of a panel.

    Each series' loss is scaled by its smallest one. None without such a series, and for the objective "parts".
    """
    if objective == "parts":
        return None
    pairs = _grid(alpha, beta)
    total, n_series = np.zeros(len(pairs)), 0
    for past in pasts:
        few = _series_with_few_demands(past)
        n_series += len(few)
        for start in range(0, len(few), BATCH):
            batch = past.select(few[start : start + BATCH])
            losses = weight_losses(recursion, batch, pairs[:, :1], pairs[:, 1:], objective)
            total += (losses / np.maximum(losses.min(0), 1e-12)).clip(max=10).sum(1)
    return np.asarray(pairs[total.argmin()][:, None]) if n_series else None


def _series_with_few_demands(past: Histories) -> Ints:
    """Return the series that have values, but fewer than `MIN_DEMANDS` demands."""
    return np.flatnonzero(((past.values > 0).sum(0) < MIN_DEMANDS) & (past.lengths > 0))


def _grid(alpha: float | None, beta: float | None) -> Array:
    """Return candidate pairs of weights, (G, 2)."""
    alphas = GRID if alpha is None else (alpha,)
    betas = GRID if beta is None else (beta,)
    return np.array(list(product(alphas, betas)))


def golden_section_search(
    cost: Callable[[Array], Array], n: int, low: float, high: float, rounds: int
) -> Array:
    """Search n minima at once by golden sections, (n,); the middle of the range unless a minimum is lower.

    Args:
        cost: Returns the losses, (n,), of one weight a series, (n,).
        n: Number of series.
        low: Smallest weight.
        high: Largest weight.
        rounds: Number of sections; each leaves 0.618 of the range.
    """
    a, b = np.full(n, low), np.full(n, high)
    left, right = b - GOLDEN_RATIO * (b - a), a + GOLDEN_RATIO * (b - a)
    left_cost, right_cost = cost(left), cost(right)
    for _ in range(rounds):
        down = left_cost < right_cost
        a, b = np.where(down, a, left), np.where(down, right, b)
        candidate = np.where(down, b - GOLDEN_RATIO * (b - a), a + GOLDEN_RATIO * (b - a))
        new_cost = cost(candidate)
        left, right = np.where(down, candidate, right), np.where(down, left, candidate)
        left_cost, right_cost = (
            np.where(down, new_cost, right_cost),
            np.where(down, left_cost, new_cost),
        )
    minimum, middle = (a + b) / 2, np.full(n, (low + high) / 2)
    return np.where(cost(minimum) < cost(middle) * (1 - 1e-12), minimum, middle)


def ses_weight(past: Histories, low: float = 0.1, high: float = 0.3, rounds: int = 40) -> Array:
    """Return the weight of simple exponential smoothing with the smallest squared one-step error, (n,).

    Searched in [0.1, 0.3], as in implementations of ADIDA and IMAPA.
    """
    begins = past.begins
    first = past.values[np.minimum(begins, past.steps - 1), np.arange(past.n_series)]
    # steps before the first value take that value, so that their errors are 0
    rows = np.where(np.arange(past.steps)[:, None] < begins, first, past.values)

    def cost(alpha: Array) -> Array:
        level, total = first.copy(), np.zeros(past.n_series)
        for y in rows[1:]:
            error = y - level
            total += error * error
            level += alpha * error
        return total

    return golden_section_search(cost, past.n_series, low, high, rounds)


def part_weights(past: Histories) -> tuple[Array, Array]:
    """Return the weights of sizes and of intervals, each with the smallest squared error of its own series, (n,) both."""
    demand = past.values > 0
    steps = np.arange(past.steps)[:, None] + 1 - past.begins
    last_demand = np.maximum.accumulate(np.where(demand, steps, 0))
    previous_demand = np.concatenate([np.zeros((1, past.n_series), np.int64), last_demand[:-1]])
    sizes, intervals = (
        Histories.from_rows(np.where(demand, values, np.nan).T)
        for values in (past.values, steps - previous_demand)
    )
    return ses_weight(sizes), ses_weight(intervals)
