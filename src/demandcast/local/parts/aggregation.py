"""Smooth sums of demand over blocks of steps (ADIDA, IMAPA): sums have fewer zeros than the demand itself.

ADIDA: Nikolopoulos, Syntetos, Boylan, Petropoulos and Assimakopoulos, "An aggregate-disaggregate intermittent demand
approach", 2011. IMAPA: Petropoulos and Kourentzes, "Forecast combinations for intermittent demand", 2015. Blocks end at
the last step; steps at the start that do not fill a block are not used.
"""

from __future__ import annotations

import numpy as np

from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.smoothing import fit_recursion, ses
from demandcast.local.parts.smoothing_weights import ses_weight


def mean_interval(past: Histories) -> Ints:
    """Return the mean number of steps between values other than 0, rounded, (n,); 1 without such a value.

    The first interval starts at the first step.
    """
    demand = past.values != 0
    last = np.where(demand.any(0), past.steps - demand[::-1].argmax(0), 0) - past.begins
    count = demand.sum(0)
    return np.where(count > 0, np.rint(last / np.maximum(count, 1)), 1).astype(np.int64)


def adida(past: Histories, alpha: float | None = None) -> Array:
    """Return ADIDA's rate before each step and after the last, (T + 1, n), in demand per step.

    A block is as long as the mean interval. Sums over blocks are smoothed and divided by the steps of a block.

    Args:
        past: Histories of n series.
        alpha: Smoothing weight; None for the one of smallest squared error in [0.1, 0.3], per series.
    """
    block_sizes = mean_interval(past)
    rates = np.zeros((past.steps + 1, past.n_series))
    for size in np.unique(block_sizes):
        index = np.flatnonzero(block_sizes == size)
        rates[:, index] = _block_rates(past, index, int(size), alpha)
    return rates


def imapa(past: Histories, alpha: float | None = None) -> Array:
    """Return the mean of the rates from blocks of 1, 2, ... up to the mean interval, (T + 1, n)."""
    block_sizes = mean_interval(past)
    rates = np.zeros((past.steps + 1, past.n_series))
    for size in range(1, int(block_sizes.max(initial=1)) + 1):
        index = np.flatnonzero(block_sizes >= size)
        rates[:, index] += _block_rates(past, index, size, alpha)
    return rates / block_sizes


def _block_rates(past: Histories, index: Ints, size: int, alpha: float | None) -> Array:
    """Return the rates (T + 1, n) from blocks of one size; all steps of a block have the rate known before it."""
    selected = past.select(index)
    blocks = selected.steps // size
    sums = selected.values[selected.steps - blocks * size :].reshape(blocks, size, -1).sum(1)
    lengths = selected.lengths // size  # in full blocks; 0 for a series shorter than one
    inside = np.arange(blocks)[:, None] >= blocks - lengths
    block_sums = Histories(np.where(inside, sums, 0.0), lengths)
    weight = ses_weight(block_sums) if alpha is None else np.full(len(index), alpha)
    rates = fit_recursion(ses, block_sums, weight, weight) / size  # (blocks + 1, n)
    step_rates = np.repeat(rates[:-1], size, axis=0)
    lead = np.zeros((past.steps - len(step_rates), len(index)))
    return np.concatenate([lead, step_rates, rates[-1:]])
