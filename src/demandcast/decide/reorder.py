"""Reorder rules on sample paths: (s, Q) and (s, S), with reorder point and quantity of each item.

The inventory position is stock on hand and on order less units owed. When it is at s or below, (s, Q) orders the least
multiple of Q that lifts it above s, and (s, S) orders up to S. The next order can only be sold one lead time after the
next review, so s protects against demand over lead time + review; where an order is placed at any moment (continuous
review), against demand over the lead time alone.

By cost, with K the cost of placing an order, demand of mean m in a review period, D the demand that s protects against
and G(y) = over E[(y - D)+] + under E[(D - y)+]:

- (s, Q): least (K m + sum of G(s+1) ... G(s+Q)) / Q, as in Federgruen and Zheng, Operations Research 40(4), 1992;
- (s, S): least (K + sum of m(j) G(S - j)) / (sum of m(j)) over j = 0 ... S-s-1, with m(j) the expected periods at
  position S - j before the next order, as in Zheng and Federgruen, Operations Research 39(4), 1991.

By service or fill rate, s is the quantile of D, or the least at which units short in a cycle are the share allowed, and
Q is given or sqrt(2 K m / over) (Harris, 1913). Silver, Pyke and Thomas, 2017, section 6 has all of these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demandcast.decide.interval import Array, Doubles, Ints
from demandcast.decide.rules import FIXED_QUANTITY, Policy
from demandcast.decide.stock import Stock

POINTS = 4_000  # of the grid on which (s, Q) is searched
PAIRS = 400  # points of the grid of (s, S), whose pairs are compared
CLOSE = 1e-9


@dataclass(frozen=True, kw_only=True)
class Reorder:
    """Reorder points of N items, and how much an order brings.

    Attributes:
        point: s, (N,): at this position or below an order is placed.
        quantity: Q of (s, Q); S - s of (s, S), (N,).
        demand: Expected demand that s protects against, (N,).
    """

    point: Doubles
    quantity: Doubles
    demand: Doubles

    def amount(self, position: Doubles, pack: Doubles, *, fixed: bool) -> Doubles:
        """Return the units to order at a position, (N,); 0 above the reorder point.

        Args:
            position: Stock on hand and on order less units owed, (N,).
            pack: Units of a pack, (N,).
            fixed: Whether whole quantities are ordered, as (s, Q) does; else up to S, in whole packs.
        """
        due = (position <= self.point + CLOSE) & (self.quantity > 0)
        size = np.where(self.quantity > 0, self.quantity, 1.0)
        times = np.floor((self.point - position) / size + CLOSE) + 1
        missing = self.point + self.quantity - position
        units = times * size if fixed else np.ceil(missing / pack - CLOSE) * pack
        return np.asarray(np.where(due, units, 0.0))


@dataclass(frozen=True, kw_only=True)
class Item:
    """What the reorder point of one item is computed from.

    Attributes:
        demand: Demand that s protects against, sorted, (S,).
        period: Demand of review periods, (P,).
        pack: Units of a pack; quantities are whole packs.
        minimum: Least quantity.
        under, over: Cost of a unit short, and of a unit left at the end of a review period; NaN if not known.
        fixed: Cost of placing an order; NaN if not known.
        lost_sales: Whether demand without stock is lost.
    """

    demand: Doubles
    period: Doubles
    pack: float
    minimum: float
    under: float
    over: float
    fixed: float
    lost_sales: bool

    @property
    def rate(self) -> float:
        """Mean demand of a review period."""
        return float(self.period.mean())

    @property
    def unit(self) -> float:
        """Units in which s is counted: single ones, or packs where packs are parts of a unit."""
        return 1.0 if self.pack == math.floor(self.pack) else self.pack

    @property
    def middle(self) -> float:
        """The position of the least G: the critical fractile of demand."""
        return float(np.quantile(self.demand, self.under / (self.under + self.over)))

    @property
    def highest(self) -> float:
        """Highest s that covers all demand."""
        return _up(float(self.demand[-1]), self.unit)

    def in_packs(self, quantity: float) -> float:
        """Return a quantity as whole packs, one at least, and not below the minimum."""
        return max(1, math.ceil(max(quantity, self.minimum) / self.pack - CLOSE)) * self.pack


def reorder_levels(paths: Array, leads: Ints, stock: Stock, policy: Policy) -> Reorder:
    """Return the reorder point and quantity of every item, those that the stock table gives as they are.

    Args:
        paths: Demand after now, (N, S, H).
        leads: Lead times, (N,), or of each path, (N, S).
        stock: Of the same items.
        policy: With the rule "s,Q" or "s,S".
    """
    count = len(paths)
    ahead = leads.reshape(count, -1) + (0 if policy.continuous else stock.review[:, None])
    point, quantity, demand = np.zeros(count), np.zeros(count), np.zeros(count)
    for i in range(count):
        total = demand_until(paths[i : i + 1], ahead[i : i + 1])[0]
        demand[i] = total.mean()
        if paths[i].any():
            item = _item(stock, i, policy, np.sort(total), paths[i])
            point[i], quantity[i] = _reorder(item, stock, i, policy)
    given = np.where(np.isnan(stock.reorder_point), point, stock.reorder_point)
    return Reorder(point=given, quantity=quantity, demand=demand)


def _item(stock: Stock, i: int, policy: Policy, demand: Doubles, paths: Array) -> Item:
    period = review_periods(paths, int(stock.arrival[i]), int(stock.review[i]))
    return Item(
        demand=demand, period=period,
        pack=float(stock.pack[i]), minimum=float(stock.minimum[i]), under=float(stock.under[i]),
        over=float(stock.over[i]), fixed=float(stock.fixed[i]), lost_sales=policy.lost_sales,
    )  # fmt: skip


def _reorder(item: Item, stock: Stock, i: int, policy: Policy) -> tuple[float, float]:
    """Return s and Q, or s and S - s; s is 0 or more where demand without stock is lost."""
    given = None if np.isnan(stock.quantity[i]) else float(stock.quantity[i])
    if not stock.by_cost[i]:
        quantity = economic_quantity(item) if given is None else item.in_packs(given)
        if np.isnan(stock.fill_rate[i]):
            point = point_by_service(item, float(stock.service[i]))
        else:
            point = point_by_fill_rate(item, float(stock.fill_rate[i]), quantity)
    elif policy.rule == FIXED_QUANTITY or given is not None or item.rate == 0:
        point, quantity = best_fixed(item, given)
    else:
        point, level = best_level(item)
        point = max(point, 0.0) if policy.lost_sales else point
        quantity = max(level - point, 0.0)
    return (max(point, 0.0) if policy.lost_sales else point), quantity


def demand_until(paths: Array, steps: Ints) -> Doubles:
    """Return the demand of the first steps of each path, (N, S).

    Args:
        paths: Demand, (N, S, H).
        steps: How many of its steps, (N,), or of each path, (N, S); at most H.
    """
    counted = np.arange(paths.shape[2]) < steps.reshape(len(paths), -1, 1)
    return np.asarray(np.where(counted, paths, 0).sum(2, dtype=np.float64))


def review_periods(paths: Array, lead: int, review: int) -> Doubles:
    """Return the demand of each whole review period up to lead + review steps, of all paths, (P,).

    Args:
        paths: Demand of one item, (S, H).
        lead: Its lead time.
        review: Steps of a period.
    """
    count = (lead + review) // review
    used = paths[:, lead + review - count * review : lead + review].astype(np.float64)
    sums = used.reshape(len(used), count, review).sum(2).ravel()
    return np.asarray(np.maximum(sums, 0))  # returns count as no demand


def expected_losses(demand: Doubles, stock: Doubles) -> Doubles:
    """Return E[(D - y)+] at each stock y.

    Args:
        demand: D, sorted, (S,).
        stock: (M,).
    """
    sums = np.concatenate([[0.0], demand.cumsum()])
    at = np.searchsorted(demand, stock, side="right")
    return np.asarray((sums[-1] - sums[at] - (len(demand) - at) * stock) / len(demand))


def holding_costs(item: Item, stock: Doubles) -> Doubles:
    """Return G(y) = over E[(y - D)+] + under E[(D - y)+] at each stock y, (M,)."""
    short = expected_losses(item.demand, stock)
    left = stock - item.demand.mean() + short
    return np.asarray(item.under * short + item.over * left)


def best_fixed(item: Item, quantity: float | None = None) -> tuple[float, float]:
    """Return s and Q of the least cost; of a given Q, the s of the least cost.

    Args:
        item: With costs; of `fixed` NaN, 0 is taken where Q is given.
        quantity: Q, or None to choose it.
    """
    setup = item.rate * float(np.nan_to_num(item.fixed))
    least = item.in_packs(item.pack if quantity is None else quantity)
    reach = max(least, math.sqrt(2 * setup * (1 / item.over + 1 / item.under)), item.unit)
    around = item.middle + np.array([-reach, reach])
    y, unit = _grid(item, setup / reach + float(holding_costs(item, around).max()), POINTS)
    cost = holding_costs(item, y - (unit - item.unit) / 2)  # of the middle of each cell
    pack, first = max(1, round(item.pack / unit)), max(1, math.ceil(least / unit - CLOSE))
    sizes = np.arange(first, len(y) + 1, pack)[: 1 if quantity is not None else None]
    cheapest = np.sort(cost).cumsum()  # G is convex, so the n cheapest positions are neighbours
    size = int(sizes[np.argmin((setup / unit + cheapest[sizes - 1]) / sizes)])
    sums = np.concatenate([[0.0], cost.cumsum()])
    begin = int(np.argmin(sums[size:] - sums[:-size]))
    return float(y[begin] - unit), least if quantity is not None else size * unit


def best_level(item: Item) -> tuple[float, float]:
    """Return s and S of the least cost per period."""
    daily = item.fixed + float(holding_costs(item, np.array([item.middle]))[0])
    y, unit = _grid(item, daily, PAIRS)
    cost = holding_costs(item, y)
    visits = _visits(_law(item.period / unit), len(y))
    periods = visits.cumsum()
    least, point, level = math.inf, 0.0, 0.0
    for top in range(len(y)):
        total = item.fixed + (visits[: top + 1] * cost[top::-1]).cumsum()
        costs = total / periods[: top + 1]
        n = int(np.argmin(costs))  # the position n below S is the last above s
        if costs[n] < least - CLOSE:
            least, point, level = float(costs[n]), float(y[top] - (n + 1) * unit), float(y[top])
    return point, level


def economic_quantity(item: Item) -> float:
    """Return sqrt(2 K m / over) in whole packs."""
    return item.in_packs(math.sqrt(2 * item.fixed * item.rate / item.over))


def point_by_service(item: Item, level: float) -> float:
    """Return the least s that covers demand with a probability."""
    at = math.ceil(level * len(item.demand) - CLOSE) - 1
    return _up(float(item.demand[at]), item.unit)


def point_by_fill_rate(item: Item, share: float, quantity: float) -> float:
    """Return the least s at which units short in a cycle, in which Q are sold, are 1 - share of its demand."""
    allowed = quantity * (1 - share) / (share if item.lost_sales else 1)

    def short(s: float) -> float:
        at = np.array([s] if item.lost_sales else [s, s + quantity])
        lost = expected_losses(item.demand, at)
        return float(lost[0] if item.lost_sales else lost[0] - lost[1])

    low, high = math.floor(-quantity / item.unit), round(item.highest / item.unit)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if short(middle * item.unit) <= allowed else (middle + 1, high)
    return float(low * item.unit)


def _up(value: float, unit: float) -> float:
    """Return the least whole number of units at a value or above."""
    return math.ceil(value / unit - CLOSE) * unit


def _grid(item: Item, cost: float, points: int) -> tuple[Doubles, float]:
    """Return every position whose G is at most a cost, and their distance.

    G(y) is at least over (y - E[D]) and under (E[D] - y), which bounds them. The distance is a unit, or where these
    are more than `points` a multiple of a pack.
    """
    mean, unit = float(item.demand.mean()), item.unit
    low, high = mean - cost / item.under, mean + cost / item.over
    if (high - low) / unit > points:
        unit = item.pack * math.ceil((high - low) / points / item.pack)
    steps = np.arange(math.floor(low / unit) - 1, math.ceil(high / unit) + 2)
    return np.asarray(steps * unit, np.float64), unit


def _law(values: Doubles) -> Doubles:
    """Return the probabilities of 0, 1, 2, ...; a value between two of them counts for both, so the mean stays."""
    low = np.floor(values).astype(np.int64)
    share = values - low
    law = np.bincount(low, 1 - share, int(low.max()) + 2) + np.bincount(low + 1, share)
    return np.asarray(law / len(values))


def _visits(law: Doubles, n: int) -> Doubles:
    """Return the expected periods spent at each position below S, 0 ... n - 1 units of the grid, (n,)."""
    visits = np.zeros(n)
    visits[0] = 1 / (1 - law[0])
    steps = np.zeros(n)
    ahead = law[1 : n + 1]
    steps[: len(ahead)] = ahead
    for j in range(1, n):
        visits[j] = (steps[:j] * visits[j - 1 :: -1]).sum() * visits[0]
    return visits
