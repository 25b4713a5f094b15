"""Exponential smoothing of demand that comes rarely: the recursions, one step of time after another.

Each recursion yields the rate (demand per step) it forecasts before each step, and one more behind
the last: T + 1 arrays of the shape of its weights against (n,), so that G x n weights run as a batch.

| method | source |
| --- | --- |
| ses | Brown, "Statistical Forecasting for Inventory Control", 1959 |
| croston | Croston, "Forecasting and stock control for intermittent demands", 1972 |
| sba | Syntetos and Boylan, "The accuracy of intermittent demand estimates", 2005 |
| sbj | Shale, Boylan and Johnston, "Forecasting for intermittent demand", 2006 |
| tsb | Teunter, Syntetos and Babai, "Intermittent demand: linking forecasting to obsolescence", 2011 |
| hes | Prestwich, Tarim, Rossi and Hnich, "Forecasting intermittent demand by hyperbolic-exponential smoothing", 2014 |

A demand is a value above 0: a return (below 0) is a period without demand, but for `ses`, which
smooths whatever comes. The first interval counts from the first step, so that it is 1 or more.
Before the first demand the rate is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from demandcast.local.parts.histories import Array, Histories

Recursion = Callable[[Histories, Array, Array], Iterator[Array]]


def ses(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """level += alpha (y - level), started at the first value; `beta` is not used."""
    start = past.begins
    level = np.zeros(np.broadcast_shapes(np.shape(alpha), (past.n_series,)))
    for t, y in enumerate(past.values):
        yield level
        weight = np.where(t <= start, 1.0, alpha)
        level = level + weight * (y - level)
    yield level


def croston(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """size / interval, each smoothed at a demand only; biased upwards by about beta / 2."""
    for size, interval, _ in _sizes_and_intervals(past, alpha, beta):
        yield size / interval


def sba(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """(1 - beta / 2) size / interval: Croston without its bias where demand is rare."""
    for rate in croston(past, alpha, beta):
        yield (1 - beta / 2) * rate


def sbj(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """(1 - beta / (2 - beta)) size / interval: the correction of Poisson arrivals."""
    for rate in croston(past, alpha, beta):
        yield (1 - beta / (2 - beta)) * rate


def hes(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """size / (interval + beta waited / 2), `waited` the zero periods since the last demand.

    With `waited` 0 right after a demand it is unbiased; counted from 1 it would err like SBA.
    """
    for size, interval, waited in _sizes_and_intervals(past, alpha, beta):
        yield size / (interval + beta * waited / 2)


def tsb(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """probability x size: the probability smoothed by `beta` each step, the size at a demand."""
    shape = np.broadcast_shapes(np.shape(alpha), np.shape(beta), (past.n_series,))
    start = past.begins
    size, probability = np.zeros(shape), np.zeros(shape)
    seen = np.zeros(past.n_series, bool)
    for t, y in enumerate(past.values):
        yield probability * size
        demand = y > 0
        size = size + _weight(alpha, demand, seen) * (y - size)
        probability = probability + np.where(t <= start, 1.0, beta) * (demand - probability)
        seen |= demand
    yield probability * size


def _sizes_and_intervals(
    past: Histories, alpha: Array, beta: Array
) -> Iterator[tuple[Array, Array, Array]]:
    """Croston's smoothed size and interval before each step, and the zero periods just waited."""
    shape = np.broadcast_shapes(np.shape(alpha), np.shape(beta), (past.n_series,))
    size, interval = np.zeros(shape), np.ones(shape)
    waited = -past.begins.astype(np.float64)  # (n,), 0 at a series' first step
    seen = np.zeros(past.n_series, bool)
    for y in past.values:
        yield size, interval, np.maximum(waited, 0)
        demand = y > 0
        size = size + _weight(alpha, demand, seen) * (y - size)
        interval = interval + _weight(beta, demand, seen) * (waited + 1 - interval)
        waited = np.where(demand, 0.0, waited + 1)
        seen |= demand
    yield size, interval, waited


def _weight(weight: Array, demand: Array, seen: Array) -> Array:
    """How far a state moves: not without demand, all the way at the first, else by its weight."""
    return np.asarray(np.where(seen, weight, 1.0) * demand)


def fitted(recursion: Recursion, past: Histories, alpha: Array, beta: Array) -> Array:
    """Rates before each step and behind the last, (T + 1, n)."""
    return np.stack(list(recursion(past, alpha, beta)))


RECURSIONS: dict[str, Recursion] = {
    "ses": ses,
    "croston": croston,
    "sba": sba,
    "sbj": sbj,
    "tsb": tsb,
    "hes": hes,
}
