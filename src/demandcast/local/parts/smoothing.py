"""The recursions of exponential smoothing for intermittent demand.

Each recursion yields its rate (the forecast demand per step) before each step and once more after the last: T + 1
arrays. Their shape is that of the weights broadcast against (n,), so that weights (G, n) run as one batch.

| method | source |
| --- | --- |
| ses | Brown, "Statistical Forecasting for Inventory Control", 1959 |
| croston | Croston, "Forecasting and stock control for intermittent demands", 1972 |
| sba | Syntetos and Boylan, "The accuracy of intermittent demand estimates", 2005 |
| sbj | Shale, Boylan and Johnston, "Forecasting for intermittent demand", 2006 |
| tsb | Teunter, Syntetos and Babai, "Intermittent demand: linking forecasting to obsolescence", 2011 |
| hes | Prestwich, Tarim, Rossi and Hnich, "Forecasting intermittent demand by hyperbolic-exponential smoothing", 2014 |

A demand is a value above 0. A return (a value below 0) is a period without demand, except for `ses`, which smooths all
values. The first interval starts at the first step, so it is 1 or more. Before the first demand the rate is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from demandcast.local.parts.histories import Array, Histories

Recursion = Callable[[Histories, Array, Array], Iterator[Array]]


def ses(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """Yield the level, level += alpha (y - level), starting at the first value; `beta` is not used."""
    start = past.begins
    level = np.zeros(np.broadcast_shapes(np.shape(alpha), (past.n_series,)))
    for t, y in enumerate(past.values):
        yield level
        weight = np.where(t <= start, 1.0, alpha)
        level = level + weight * (y - level)
    yield level


def croston(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """Yield size / interval, both smoothed at demands only; biased upwards by a factor of about 1 + beta / 2."""
    for size, interval, _ in _sizes_and_intervals(past, alpha, beta):
        yield size / interval


def sba(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """Yield (1 - beta / 2) size / interval: Croston's method corrected for its bias on rare demand."""
    for rate in croston(past, alpha, beta):
        yield (1 - beta / 2) * rate


def sbj(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """Yield (1 - beta / (2 - beta)) size / interval: Croston's method corrected for Poisson arrivals."""
    for rate in croston(past, alpha, beta):
        yield (1 - beta / (2 - beta)) * rate


def hes(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """Yield size / (interval + beta z / 2), with z the number of zero periods since the last demand.

    z is 0 right after a demand. Counted from 1, the method would have the bias of SBA.
    """
    for size, interval, zero_periods in _sizes_and_intervals(past, alpha, beta):
        yield size / (interval + beta * zero_periods / 2)


def tsb(past: Histories, alpha: Array, beta: Array) -> Iterator[Array]:
    """Yield probability * size: the probability is smoothed with `beta` at each step, the size at demands."""
    shape = np.broadcast_shapes(np.shape(alpha), np.shape(beta), (past.n_series,))
    start = past.begins
    size, probability = np.zeros(shape), np.zeros(shape)
    had_demand = np.zeros(past.n_series, bool)
    for t, y in enumerate(past.values):
        yield probability * size
        demand = y > 0
        size = size + _gain(alpha, demand, had_demand) * (y - size)
        probability = probability + np.where(t <= start, 1.0, beta) * (demand - probability)
        had_demand |= demand
    yield probability * size


def _sizes_and_intervals(
    past: Histories, alpha: Array, beta: Array
) -> Iterator[tuple[Array, Array, Array]]:
    """Yield Croston's smoothed size and interval before each step, and the zero periods since the last demand."""
    shape = np.broadcast_shapes(np.shape(alpha), np.shape(beta), (past.n_series,))
    size, interval = np.zeros(shape), np.ones(shape)
    zero_periods = -past.begins.astype(np.float64)  # (n,), 0 at a series' first step
    had_demand = np.zeros(past.n_series, bool)
    for y in past.values:
        yield size, interval, np.maximum(zero_periods, 0)
        demand = y > 0
        size = size + _gain(alpha, demand, had_demand) * (y - size)
        interval = interval + _gain(beta, demand, had_demand) * (zero_periods + 1 - interval)
        zero_periods = np.where(demand, 0.0, zero_periods + 1)
        had_demand |= demand
    yield size, interval, zero_periods


def _gain(weight: Array, demand: Array, had_demand: Array) -> Array:
    """Return the share of the error that moves a state: 0 without demand, 1 at the first demand, else the weight."""
    return np.asarray(np.where(had_demand, weight, 1.0) * demand)


def fit_recursion(recursion: Recursion, past: Histories, alpha: Array, beta: Array) -> Array:
    """Return the rates of a recursion before each step and after the last, (T + 1, n)."""
    return np.stack(list(recursion(past, alpha, beta)))


RECURSIONS: dict[str, Recursion] = {
    "ses": ses,
    "croston": croston,
    "sba": sba,
    "sbj": sbj,
    "tsb": tsb,
    "hes": hes,
}
