"""Demand added up into blocks before it is smoothed: fewer zeros, steadier rates.

ADIDA: Nikolopoulos, Syntetos, Boylan, Petropoulos and Assimakopoulos, "An aggregate-disaggregate
intermittent demand approach", 2011. IMAPA: Petropoulos and Kourentzes, "Forecast combinations for
intermittent demand", 2015. Blocks end at the last step; what is left over at the start is not used.
"""

from __future__ import annotations

import numpy as np

from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.smoothing import fitted, ses
from demandcast.local.parts.weights import ses_weight


def mean_interval(past: Histories) -> Ints:
    """Steps between values other than 0, rounded, (n,); the first counts from the start. 1 without any."""
    seen = past.values != 0
    last = np.where(seen.any(0), past.steps - seen[::-1].argmax(0), 0) - past.begins
    count = seen.sum(0)
    return np.where(count > 0, np.rint(last / np.maximum(count, 1)), 1).astype(np.int64)


def adida(past: Histories, alpha: float | None = None) -> Array:
    """Rates before each step and behind the last, (T + 1, n), in demand per step.

    Sums over blocks of the mean interval are smoothed, by `alpha` or by the weight of least squared
    error in [0.1, 0.3], and divided by the block's steps.
    """
    levels = mean_interval(past)
    rates = np.zeros((past.steps + 1, past.n_series))
    for level in np.unique(levels):
        index = np.flatnonzero(levels == level)
        rates[:, index] = _smoothed(past, index, int(level), alpha)
    return rates


def imapa(past: Histories, alpha: float | None = None) -> Array:
    """The mean of the rates that blocks of 1, 2, ... up to the mean interval give, (T + 1, n)."""
    levels = mean_interval(past)
    rates = np.zeros((past.steps + 1, past.n_series))
    for level in range(1, int(levels.max(initial=1)) + 1):
        index = np.flatnonzero(levels >= level)
        rates[:, index] += _smoothed(past, index, level, alpha)
    return rates / levels


def _smoothed(past: Histories, index: Ints, level: int, alpha: float | None) -> Array:
    """Rates (T + 1, n) of blocks of one size; within a block that known before it."""
    some = past.select(index)
    blocks = some.steps // level
    sums = some.values[some.steps - blocks * level :].reshape(blocks, level, -1).sum(1)
    lengths = some.lengths // level  # whole blocks; a series shorter than one has none
    begun = np.arange(blocks)[:, None] >= blocks - lengths
    table = Histories(np.where(begun, sums, 0.0), lengths)
    weight = ses_weight(table) if alpha is None else np.full(len(index), alpha)
    rates = fitted(ses, table, weight, weight) / level  # (blocks + 1, n)
    steps = np.repeat(rates[:-1], level, axis=0)
    lead = np.zeros((past.steps - len(steps), len(index)))
    return np.concatenate([lead, steps, rates[-1:]])
