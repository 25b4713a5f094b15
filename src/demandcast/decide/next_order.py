"""Orders by cost that reckon with the order after them, where demand without stock is lost.

The critical fractile makes one window cheapest. With lost sales and a lead time it orders too much in the long run: the
next order is placed before this window shows whether units are left, so it can take back only a part of them. The
order here makes two windows cheapest together: its own, and that of the next order, which has the critical fractile.
With a lead time of 0, or with demand that waits, one window is enough (Morton 1971; Zipkin, "Old and new methods for
lost-sales inventory systems", Operations Research 56, 2008, the second myopic policy). There the next order also knows
the demand until it is placed; here it is the same on all paths, which costs no more (benchmarks/LOG.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demandcast.decide.interval import Array, Doubles, Interval, Ints, window_demand
from demandcast.decide.rules import Policy, fractile, in_packs
from demandcast.decide.stock import Stock

SHARES = np.linspace(1, 0.6, 9)  # of the critical fractile: levels that are compared


def reckons(stock: Stock, policy: Policy) -> NDArray[np.bool_]:
    """Mask of items whose order reckons with the next one, (N,).

    They are ordered up to a level, by cost, at every review, with a lead time, and what is unsold or short does not
    spoil or wait.
    """
    lost = policy.lost_sales and not policy.reorders and stock.schedule is None
    return stock.by_cost & (stock.longest_lead > 0) & np.isinf(stock.life) & lost


def _steps(stock: Stock) -> Ints:
    """Return the steps until the window of the next order ends, (N,)."""
    return stock.longest_lead + 2 * stock.review


def horizon(stock: Stock, policy: Policy) -> int:
    """Return the steps of a forecast that let every order reckon with the next one."""
    return int(np.where(reckons(stock, policy), _steps(stock), stock.steps).max())


def look_further(
    paths: Array, leads: Ints, interval: Interval, stock: Stock, policy: Policy
) -> TwoWindows | None:
    """Return the costs of orders that reckon with the next one; None if the paths, (N, S, H), are too short for all.

    Args:
        paths: Demand of steps t+1, t+2, ...
        leads: Steps of lead time, (N,) or (N, S).
        interval: The paths, followed through the window of each order.
        stock: Of the items.
        policy: The rule.
    """
    items = np.flatnonzero(reckons(stock, policy) & (_steps(stock) <= paths.shape[2]))
    if not len(items):
        return None
    if len(items) < len(paths):
        paths, leads = paths[items], leads[items]
        interval, stock = interval.select(items), stock.select(items)
    return TwoWindows(paths, leads, interval, stock, items)


def note_on_steps(steps: int, stock: Stock, policy: Policy) -> tuple[str, ...]:
    """Return a note on the orders that cannot reckon with the next one, as too few steps are forecast."""
    needed = _steps(stock)
    short = reckons(stock, policy) & (needed > steps)
    if not short.any():
        return ()
    return (
        f"{int(short.sum()):,} orders by cost do not reckon with the next one, which would need a forecast of "
        f"{int(needed[short].max())} steps",
    )


class TwoWindows:
    """Expected cost of orders in their own window and in that of the order after them."""

    def __init__(
        self, paths: Array, leads: Ints, interval: Interval, stock: Stock, items: Ints
    ) -> None:
        """Follow the paths through the window of the next order; see `look_further`.

        Args:
            items: Numbers of the items among all that are ordered, (N,).
        """
        begin = leads + (stock.review if leads.ndim == 1 else stock.review[:, None])
        arriving = stock.open_orders(paths.shape[2])
        self._peak, self._net, _ = window_demand(paths, arriving, begin, stock.review)
        self._interval, self._stock, self.items = interval, stock, items

    def cost(self, order: Doubles) -> Doubles:
        """Return the expected cost of each item's order, (N,), in both windows."""
        return self._cost(order, np.arange(len(order)))

    def targets(self) -> Doubles:
        """Return what each order should bring at lowest cost, (N,), searched from the critical fractile down."""
        stock = self._stock
        best, least, tried = (np.full(len(self.items), start) for start in (np.nan, np.inf, np.nan))
        for share in SHARES:
            level = fractile(self._interval.need, share * stock.critical)
            order = in_packs(level, stock.pack)
            new = np.flatnonzero(order != tried)
            cost = self._cost(order[new], new)
            cheaper = cost < least[new]
            best[new[cheaper]], least[new[cheaper]] = level[new[cheaper]], cost[cheaper]
            tried = order
        return best

    def _cost(self, order: Doubles, rows: Ints) -> Doubles:
        stock, interval = self._stock.select(rows), self._interval.select(rows)
        lost, held = interval.lost(order), interval.held(order)
        own = stock.under * lost.mean(1) + stock.over * held.mean(1)
        need, left = self._peak[rows] - held, self._net[rows] - held
        following = in_packs(fractile(need, stock.critical), stock.pack)[:, None]
        short = np.maximum(need - following, 0)
        later = stock.under * short.mean(1) + stock.over * (following - left + short).mean(1)
        return np.asarray(own + later)
