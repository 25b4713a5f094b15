"""Textbook results for demand of a known distribution: what the rules on sample paths are tested against.

Snyder and Shen, "Fundamentals of Supply Chain Theory", 2nd edition, 2019, has all of them; the algorithms for
(r, Q) and (s, S) are those of the papers named below. A law of whole units is its probabilities of 0, 1, 2, ...
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ConfigError

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Continuous:
    """A continuous (r, Q) rule: order `quantity` when the position falls to `reorder_point`."""

    reorder_point: int
    quantity: int
    cost: float  # per unit of time


@dataclass(frozen=True)
class Periodic:
    """A periodic (s, S) rule: at a position of `reorder_point` or below, order up to `order_up_to`."""

    reorder_point: int
    order_up_to: int
    cost: float  # per period


def newsvendor_normal(mean: float, deviation: float, under: float, over: float) -> float:
    """Return the stock that costs least for Normal demand: mean + z deviation, z at under / (under + over).

    Args:
        mean: Of demand.
        deviation: Standard deviation of demand.
        under: Cost of one unit too few.
        over: Cost of one unit too many.

    Example:
        >>> round(newsvendor_normal(50, 8, 0.70, 0.18), 3)
        56.604
    """
    return mean + deviation * NormalDist().inv_cdf(critical_fractile(under, over))


def critical_fractile(under: float, over: float) -> float:
    """Return under / (under + over), the share of outcomes that the cheapest stock covers.

    Raises:
        ConfigError: A cost is not above 0.
    """
    if not (under > 0 and over > 0 and math.isfinite(under + over)):
        raise ConfigError(
            f"costs are {under} of one too few and {over} of one too many; both are above 0"
        )
    return under / (under + over)


def normal_loss(stock: float, mean: float, deviation: float) -> float:
    """Return E[(D - stock)+] of Normal demand: deviation (pdf(z) - z (1 - cdf(z)))."""
    law = NormalDist()
    z = (stock - mean) / deviation
    return deviation * (law.pdf(z) - z * law.cdf(-z))


def poisson(mean: float, most: int | None = None) -> Doubles:
    """Return the Poisson probabilities of 0 ... `most`; to where less than 1e-16 is left if None."""
    if most is None:
        most = math.ceil(mean + 12 * math.sqrt(mean) + 40)
    k = np.arange(most + 1)
    if mean == 0:
        return np.asarray(k == 0, np.float64)
    return np.asarray(np.exp(k * math.log(mean) - mean - _log_factorial(k)))


def negative_binomial(n: float, p: float, most: int | None = None) -> Doubles:
    """Return the probabilities of 0 ... `most` failures before the n-th success of probability p.

    The mean is n (1 - p) / p, the variance the mean over p.
    """
    mean = n * (1 - p) / p
    if most is None:
        most = math.ceil(mean + 12 * math.sqrt(mean / p) + 45 / -math.log1p(-p))
    k = np.arange(most + 1)
    log_choose = np.array([math.lgamma(i + n) - math.lgamma(n) for i in k]) - _log_factorial(k)
    return np.asarray(np.exp(log_choose + n * math.log(p) + k * math.log1p(-p)))


def _log_factorial(k: NDArray[Any]) -> Doubles:
    return np.array([math.lgamma(i + 1) for i in k])


def loss(law: Doubles, stock: int) -> float:
    """Return E[(D - stock)+] of a law of whole units: E[D] - stock + sum_{k < stock} (stock - k) p_k."""
    k = np.arange(len(law))
    below = k < stock
    return float((k * law).sum() - stock + ((stock - k[below]) * law[below]).sum())


def fill_rate_periodic(lead: Doubles, protection: Doubles, order_up_to: int) -> float:
    """Return the share of demand that (R, S) with backorders serves from the shelf.

    1 - (E[(D_{L+R} - S)+] - E[(D_L - S)+]) / E[D_R]; Silver, Pyke and Thomas, 2017, section 7.

    Args:
        lead: Law of demand over the lead time.
        protection: Law of demand over lead time and review period.
        order_up_to: S.
    """
    short = loss(protection, order_up_to) - loss(lead, order_up_to)
    review = loss(protection, 0) - loss(lead, 0)
    return 1 - short / review


def _holding(law: Doubles, over: float, under: float, stock: int) -> float:
    """Return the expected cost of one period with a stock, which may be below 0."""
    k = np.arange(len(law))
    return float((law * np.where(k < stock, over * (stock - k), under * (k - stock))).sum())


def best_reorder_quantity(
    law: Doubles, rate: float, *, over: float, under: float, fixed: float
) -> Continuous:
    """Return the (r, Q) of least cost where demand comes in single units.

    Federgruen and Zheng, "An efficient algorithm for computing an optimal (r, Q) policy in continuous review
    stochastic inventory systems", Operations Research 40(4), 1992.

    Args:
        law: Demand over the lead time.
        rate: Mean demand per unit of time.
        over: Cost of one unit held for one unit of time.
        under: Cost of one unit owed for one unit of time.
        fixed: Cost of placing an order.

    Example:
        >>> best = best_reorder_quantity(poisson(3), 1.5, over=20, under=150, fixed=100)
        >>> best.reorder_point, best.quantity, round(best.cost, 2)
        (3, 5, 107.92)
    """
    at = _cheapest(law, over, under)
    low, high = at - 1, at + 1  # the next position on either side of those used
    total = fixed * rate + _holding(law, over, under, at)
    quantity = 1
    while True:
        below, above = (_holding(law, over, under, y) for y in (low, high))
        if min(below, above) >= total / quantity:
            return Continuous(low, quantity, total / quantity)
        total += min(below, above)
        quantity += 1
        if below <= above:
            low -= 1
        else:
            high += 1


def best_reorder_level(law: Doubles, *, over: float, under: float, fixed: float) -> Periodic:
    """Return the (s, S) of least cost per period.

    Zheng and Federgruen, "Finding optimal (s, S) policies is about as simple as evaluating a single policy",
    Operations Research 39(4), 1991.

    Args:
        law: Demand of one period; an order arrives before it.
        over: Cost of one unit held at the end of a period.
        under: Cost of one unit owed there.
        fixed: Cost of placing an order.

    Example:
        >>> best = best_reorder_level(poisson(6), over=1, under=4, fixed=5)
        >>> best.reorder_point, best.order_up_to, round(best.cost, 3)
        (4, 10, 8.034)
    """
    visits = [float(1 / (1 - law[0]))]  # expected periods at each position below S, by renewal

    def visited(n: int) -> list[float]:
        while len(visits) < n:
            j = len(visits)
            steps = law[1 : j + 1]
            back = np.array(visits[::-1][: len(steps)])
            visits.append(float((steps * back).sum()) / (1 - law[0]))
        return visits[:n]

    def holding(y: int) -> float:
        return _holding(law, over, under, y)

    def cost(s: int, top: int) -> float:
        m = visited(top - s)
        return (fixed + sum(w * holding(top - j) for j, w in enumerate(m))) / sum(m)

    best = _cheapest(law, over, under)
    s = best - 1
    while cost(s, best) > holding(s):
        s -= 1
    least, top = float(cost(s, best)), best + 1
    while holding(top) <= least:
        if cost(s, top) < least:
            best = top
            while cost(s, best) <= holding(s + 1):
                s += 1
            least = float(cost(s, best))
        top += 1
    return Periodic(s, best, least)


def _cheapest(law: Doubles, over: float, under: float) -> int:
    """Return the stock of lowest holding cost: the smallest whose probability reaches the critical fractile."""
    return int(np.searchsorted(law.cumsum(), critical_fractile(under, over)))
