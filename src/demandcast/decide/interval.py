"""Demand until the order after this one arrives, on joint paths: what an order has to bring.

An order placed after the last step t with lead time L can be sold from step t+L+1 on; the next one, placed R
steps later, from t+L+R+1. So this order decides steps t+L+1 ... t+L+R (its window), with the stock that steps
t+1 ... t+L leave. Each path is followed through the lead time, so sums have the correlation of the paths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
CELLS = 1 << 19  # numbers of paths followed at once, which stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Interval:
    """What the protection interval asks of an order, for N series and S paths.

    Attributes:
        need: Units that the order must bring for nothing to run out in its window, (N, S); below 0 where
            stock and open orders are more than enough.
        left: Demand of the window less what is there for it at its end, (N, S): with an order of y,
            y - left units remain, and those lost besides.
        owed: Units owed when the order arrives, less the stock there is, (N, S); with lost sales None.
        demand: Expected demand of the protection interval, (N,).
        window: Expected demand of the window, (N,).
        position: Stock and open orders that arrive before the window ends, (N,).
        fresh: Units of the order that are sold before they spoil, were it endless, (N, S); infinite for an item that
            does not spoil; None if none does.
        waste: Money that a spoiled unit loses, (N,); NaN if not known.
    """

    need: Doubles
    left: Doubles
    owed: Doubles | None
    demand: Doubles
    window: Doubles
    position: Doubles
    fresh: Doubles | None = None
    waste: Doubles | None = None

    def select(self, items: Ints) -> Interval:
        """Return some of the items, in the given order."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        return replace(self, **{name: array[items] for name, array in arrays.items()})

    def lost(self, order: Doubles) -> Doubles:
        """Return units short in the window with an order, (N, S): lost, or newly owed with backorders."""
        short = np.maximum(self.need - order[:, None], 0)
        return short if self.owed is None else short - np.maximum(self.owed - order[:, None], 0)

    def held(self, order: Doubles) -> Doubles:
        """Return units left at the end of the window with an order, (N, S)."""
        if self.owed is None:
            return order[:, None] - self.left + np.maximum(self.need - order[:, None], 0)
        return np.maximum(order[:, None] - self.need, 0)

    def spoiled(self, order: Doubles) -> Doubles:
        """Return the mean units of an order that spoil, (N,): first in, first out, so what is there is sold before."""
        if self.fresh is None:
            return np.zeros(len(order))
        left = order[:, None] - np.maximum(self.fresh, 0)
        return np.asarray(np.maximum(left, 0).mean(1))


def protect(
    paths: Array,
    on_hand: Doubles,
    arriving: Doubles,
    lead: Ints,
    review: Ints,
    *,
    lost_sales: bool = True,
) -> Interval:
    """Follow every path through lead time and window.

    Args:
        paths: Demand of steps t+1, t+2, ..., (N, S, H), 0 or more; H at least the largest lead + review.
        on_hand: Units after step t, (N,).
        arriving: Open orders at the start of each step, (N, H).
        lead: Steps of lead time, (N,), or of each path where it is random, (N, S).
        review: Steps between orders, (N,), 1 or more.
        lost_sales: Whether demand that finds no stock is lost; else it waits.
    """
    n, s, _ = paths.shape
    need, left = np.empty((n, s)), np.empty((n, s))
    owed = None if lost_sales else np.empty((n, s))
    demand, window, position = np.empty(n), np.empty(n), np.empty(n)
    came = np.pad(arriving.cumsum(1), ((0, 0), (1, 0)))
    for rows in _parts(paths):
        begin = lead[rows].reshape(-1, 1 if lead.ndim == 1 else s)
        stock = np.repeat(on_hand[rows, None], s, 1).astype(np.float64)
        total = np.zeros_like(stock)
        for step in range(int(begin.max()) + (owed is not None)):
            wanted, comes = paths[rows, :, step].astype(np.float64), arriving[rows, step, None]
            if owed is not None:
                owed[rows] = np.where(step == begin, -stock - comes, owed[rows])
            ahead = step < begin
            stock += _only(comes - wanted, ahead)
            if lost_sales:
                np.maximum(stock, 0, out=stock)
            total += _only(wanted, ahead)
        peak, net, own = window_demand(paths[rows], arriving[rows], lead[rows], review[rows])
        left[rows] = net - stock
        need[rows] = peak - stock if lost_sales else left[rows]
        demand[rows], window[rows] = (total + own).mean(1), own.mean(1)
        end = begin + review[rows, None]
        position[rows] = on_hand[rows] + np.take_along_axis(came[rows], end, 1).mean(1)
    return Interval(
        need=need, left=left, owed=owed, demand=demand, window=window, position=position
    )


def window_demand(
    paths: Array, arriving: Doubles, begin: Ints, review: Ints
) -> tuple[Doubles, Doubles, Doubles]:
    """Return the demand of every path in the `review` steps from `begin` on, three arrays (N, S).

    The first two are less what arrives in these steps: the largest sum up to any of them, which stock must
    hold for nothing to run out, and the sum of all. The third is the demand alone.
    """
    n, s, _ = paths.shape
    peak, net, own = np.full((n, s), -np.inf), np.zeros((n, s)), np.zeros((n, s))
    for rows in _parts(paths):
        first = begin[rows].reshape(-1, 1 if begin.ndim == 1 else s)
        last = first + review[rows, None]
        for step in range(int(first.min()), int(last.max())):
            wanted, comes = paths[rows, :, step].astype(np.float64), arriving[rows, step, None]
            within = (step >= first) & (step < last)
            net[rows] += _only(wanted - comes, within)
            own[rows] += _only(wanted, within)
            np.copyto(peak[rows], np.maximum(peak[rows], net[rows]), where=within)
    return peak, net, own


def _only(values: Doubles, where: NDArray[np.bool_]) -> Doubles:
    """Return values where they count and 0 elsewhere."""
    return values if where.all() else values * where


def levels(paths: Doubles, on_hand: float, arriving: Doubles, *, lost_sales: bool) -> Doubles:
    """Return the stock of one series at the end of each step, (S, H); below 0 what is owed.

    Args:
        paths: Demand, (S, H).
        on_hand: Units before the first step.
        arriving: Units at the start of each step, (H,).
        lost_sales: Whether demand that finds no stock is lost.
    """
    free = on_hand + (arriving - paths).cumsum(1)
    if not lost_sales:
        return np.asarray(free)
    return np.asarray(free - np.minimum(np.minimum.accumulate(free, 1), 0))


def _parts(paths: Array) -> Iterator[slice]:
    """Yield slices of series whose paths fit the cache."""
    at_once = max(1, CELLS // max(1, paths[0].size)) if len(paths) else 1
    for start in range(0, len(paths), at_once):
        yield slice(start, min(start + at_once, len(paths)))


def random_leads(mean: Doubles, deviation: Doubles, paths: int) -> Ints:
    """Return whole lead times of each path, (N, paths), stratified draws of a log-normal law.

    Draws of a series are its quantiles at (i + 0.5) / paths, rounded to steps, in an order that all series
    share and that has nothing to do with demand. A deviation of 0 gives the mean.
    """
    law = NormalDist()
    z = np.array([law.inv_cdf((i + 0.5) / paths) for i in range(paths)])
    z = np.random.default_rng(0).permutation(z)
    square = np.log1p((deviation / np.maximum(mean, 1e-12)) ** 2)
    middle = np.log(np.maximum(mean, 1e-12)) - square / 2
    drawn = np.exp(middle[:, None] + np.sqrt(square)[:, None] * z)
    return np.rint(np.where(deviation[:, None] > 0, drawn, mean[:, None])).astype(np.int64)


def observed_leads(observed: list[Ints], paths: int) -> Ints:
    """Return lead times of each path, (N, paths), that occur as often as in each series' observed ones."""
    order = np.random.default_rng(0).permutation(paths)
    shares = (order + 0.5) / paths
    counts = np.array([len(o) for o in observed])
    begins = np.cumsum(counts) - counts
    flat = np.concatenate([np.sort(o) for o in observed])
    return np.asarray(flat[begins[:, None] + (shares * counts[:, None]).astype(np.int64)])
