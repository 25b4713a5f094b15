"""Rules: how much to order for what an interval needs, in packs, between limits, within a shared sum of money."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from demandcast.decide.interval import Doubles, Interval
from demandcast.errors import ConfigError, way
from demandcast.settings import one_of

HALVINGS = 60  # of an interval, until it is as narrow as a double
UP_TO, FIXED_QUANTITY, UP_TO_LEVEL = "up_to", "s,Q", "s,S"
RULES = (UP_TO, FIXED_QUANTITY, UP_TO_LEVEL)
CLOSE = 1e-9  # by which a target may pass a whole pack, for rounding errors


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to order by: costs, a cycle service level, or a fill rate; and how stock behaves.

    Attributes:
        cost_under: Money lost by one unit short.
        cost_over: Money lost by one unit left at the end of the window.
        service: Probability of not running out in the window.
        fill_rate: Share of the window's demand served from stock.
        lead_time: Steps t+1 ... t+lead_time pass before an order placed after step t can be sold.
        review: Steps between orders.
        lost_sales: Whether demand that finds no stock is lost; else it waits.
        rule: "up_to" orders at every review what the window needs; "s,Q" a fixed quantity, and "s,S" up to a level,
            once the inventory position is at the reorder point s or below.
        continuous: Whether orders of (s, Q) and (s, S) are placed at any moment; else at reviews only.
        fixed_cost: Money that placing one order of an item costs, for (s, Q) and (s, S).
        quantity: Q of (s, Q), S - s of (s, S); chosen by `fixed_cost` if None.
        order_days: Weekdays ("Mon, Thu") or dates on which orders are placed; None for every review.
        delivery_days: Weekdays or dates on which goods are delivered; None for every step.
        shelf_life: Steps for which a unit can be sold, that of its delivery the first; None if it does not spoil.
        cost_spoiled: Money that a spoiled unit loses.
    """

    cost_under: float | None = None
    cost_over: float | None = None
    service: float | None = None
    fill_rate: float | None = None
    lead_time: float | None = None
    review: int = 1
    lost_sales: bool = True
    rule: str = UP_TO
    continuous: bool = False
    fixed_cost: float | None = None
    quantity: float | None = None
    order_days: Any = None
    delivery_days: Any = None
    shelf_life: int | None = None
    cost_spoiled: float | None = None

    def __post_init__(self) -> None:
        for name in ("service", "fill_rate"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < 1):
                raise ConfigError(
                    f"{name} is {value!r}; it is a share between 0 and 1, such as 0.95 (1 would need endless stock)"
                )
        if self.service is not None and self.fill_rate is not None:
            raise ConfigError("service and fill_rate are two rules; give one of them")
        for name in ("cost_under", "cost_over"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise ConfigError(f"{name} is {value!r}; it is an amount of money above 0")
        if self.lead_time is not None and not (
            _is_number(self.lead_time) and 0 <= self.lead_time < math.inf
        ):
            raise ConfigError(f"lead_time is {self.lead_time!r}; it is 0 or more steps")
        if not _is_number(self.review) or self.review < 1 or self.review != int(self.review):
            raise ConfigError(
                f"review is {self.review!r}; it is a whole number of steps, 1 or more"
            )
        self._check_reorder()
        self._check_life()

    @property
    def reorders(self) -> bool:
        """Whether orders are placed only at a reorder point."""
        return self.rule != UP_TO

    def _check_life(self) -> None:
        """Check days and shelf life, as far as they can be without the table's time grid."""
        for name in ("order_days", "delivery_days"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, (str, list, tuple)):
                raise ConfigError(
                    f"{name} is {value!r}; write weekdays, as in 'Mon, Thu', or dates"
                )
        life, money = self.shelf_life, self.cost_spoiled
        if life is not None and not (_is_number(life) and life >= 1 and life == int(life)):
            raise ConfigError(f"shelf_life is {life!r}; it is a whole number of steps, 1 or more")
        if money is not None and not (_is_number(money) and 0 <= money < math.inf):
            raise ConfigError(f"cost_spoiled is {money!r}; it is an amount of money, 0 or more")

    def _check_reorder(self) -> None:
        """Check what only (s, Q) and (s, S) have."""
        object.__setattr__(self, "rule", _rule_name(self.rule))
        one_of("rule", self.rule, RULES)
        given = {
            "continuous": self.continuous or None, "fixed_cost": self.fixed_cost,
            "quantity": self.quantity,
        }  # fmt: skip
        for name, value in given.items():
            if value is not None and not self.reorders:
                raise ConfigError(
                    f"{name} is of the rules (s, Q) and (s, S), and the rule is up_to; leave it out, or give",
                    option="rule",
                    ways=[way(rule=FIXED_QUANTITY), way(rule=UP_TO_LEVEL)],
                )
        if self.fixed_cost is not None and not (
            _is_number(self.fixed_cost) and 0 <= self.fixed_cost < math.inf
        ):
            raise ConfigError(
                f"fixed_cost is {self.fixed_cost!r}; it is an amount of money, 0 or more"
            )
        if self.quantity is not None and not (
            _is_number(self.quantity) and 0 < self.quantity < math.inf
        ):
            raise ConfigError(f"quantity is {self.quantity!r}; it is a number of units above 0")


def _rule_name(rule: Any) -> Any:
    """Return a rule as it is named here: "(s, S)" and "up-to" are read too."""
    if not isinstance(rule, str):
        return rule
    return re.sub(r"[\s()]", "", rule).replace("-", "_")


def choose_policy(policy: Policy | None, rule: Mapping[str, Any]) -> Policy:
    """Return the policy, or the one of the fields that were given as keywords.

    Raises:
        ConfigError: Both are given, there is no such field, or one is out of its range.
    """
    names = [field.name for field in fields(Policy)]
    for name in rule:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"an order rule has no {name!r}; did you mean {near!r}? There are: {', '.join(names)}",
                option=name, found=name,
            ).suggest(near)  # fmt: skip
    if policy is not None and rule:
        raise ConfigError(f"a policy and {', '.join(rule)} are given; put them into the policy")
    return policy or Policy(**rule)


def check_spend(spend: float | None, policy: Policy) -> None:
    """Refuse a sum of money that is none, and one that a rule cannot keep to.

    Raises:
        ConfigError: It is negative or no number, or the rule orders fixed quantities.
    """
    if spend is None:
        return
    if not (_is_number(spend) and 0 <= spend < math.inf):
        raise ConfigError(f"spend is {spend!r}; it is an amount of money, 0 or more")
    if policy.reorders:
        raise ConfigError(
            f"spend cuts orders pack by pack, and the rule {policy.rule} has quantities of its own; leave spend out, "
            "or give",
            option="spend",
            ways=[way(rule=UP_TO)],
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def fractile(values: Doubles, level: Doubles) -> Doubles:
    """Return a quantile of each row of (N, S) at a level of its own, (N,).

    The i-th smallest of S values is the quantile at (i + 0.5) / S, i from 0, and between them it is linear (Hazen).
    """
    ordered = np.sort(values, 1)
    s = ordered.shape[1]
    place = np.clip(level * s - 0.5, 0, s - 1)
    low = np.minimum(place.astype(np.int64), max(s - 2, 0))
    rows, weight = np.arange(len(ordered)), place - low
    return np.asarray(
        ordered[rows, low] * (1 - weight) + ordered[rows, np.minimum(low + 1, s - 1)] * weight
    )


def order_by_fill_rate(interval: Interval, share: Doubles) -> Doubles:
    """Return the least orders whose expected units short are 1 - share of the window's demand, (N,)."""
    allowed = (1 - share) * interval.window
    high = np.maximum(interval.need.max(1), 0)
    low = np.minimum(interval.need.min(1), 0)
    if interval.owed is not None:
        low = np.minimum(low, interval.owed.min(1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = interval.lost(middle).mean(1) <= allowed
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.asarray(high, np.float64)


def expected_cost(interval: Interval, order: Doubles, under: Doubles, over: Doubles) -> Doubles:
    """Return the expected cost of units short, left in the window and spoiled with an order, (N,)."""
    cost = under * interval.lost(order).mean(1) + over * interval.held(order).mean(1)
    if interval.waste is not None:
        cost = cost + np.nan_to_num(interval.waste) * interval.spoiled(order)
    return np.asarray(cost)


def order_before_it_spoils(interval: Interval, under: Doubles, over: Doubles) -> Doubles:
    """Return the orders of the least expected cost, that of spoiled units among it, (N,).

    One more unit of an order y costs over P(need <= y) - under P(need > y) + waste P(fresh <= y), which rises with y.
    """
    assert interval.fresh is not None
    assert interval.waste is not None
    low, high = np.minimum(interval.need.min(1), 0), np.maximum(interval.need.max(1), 0)
    fresh, waste = np.maximum(interval.fresh, 0), np.nan_to_num(interval.waste)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        covered = (interval.need <= middle[:, None]).mean(1)
        spoils = (fresh <= middle[:, None]).mean(1)
        enough = over * covered - under * (1 - covered) + waste * spoils >= 0
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.asarray(high, np.float64)


def in_packs(target: Doubles, pack: Doubles) -> Doubles:
    """Return the least number of whole packs that hold a target, as units, (N,); 0 for targets below."""
    return np.asarray(np.maximum(np.ceil(target / pack - CLOSE), 0) * pack)


def cheapest_packs(cost: Callable[[Doubles], Doubles], target: Doubles, pack: Doubles) -> Doubles:
    """Return the whole packs on either side of a target whose orders cost less, as units, (N,)."""
    above = in_packs(target, pack)
    below = np.maximum(above - pack, 0)
    return np.asarray(np.where(cost(below) <= cost(above), below, above))


def share_money(
    interval: Interval,
    order: Doubles,
    *,
    spend: float,
    price: Doubles,
    pack: Doubles,
    minimum: Doubles,
    under: Doubles,
    over: Doubles,
) -> Doubles:
    """Cut orders until they cost no more than a sum: the pack that returns most per unit of money stays first.

    Another unit of an item with an order of y saves under P(need > y) - over P(need <= y). One return per unit of
    money is looked for that all items are cut at; what whole packs leave of the sum goes to the best next packs.

    Args:
        interval: What the orders are for.
        order: Orders without the limit, (N,), in whole packs; none becomes larger.
        spend: Money there is.
        price: Of one unit, (N,), above 0.
        pack: Units of a pack, (N,).
        minimum: Least order, (N,); one cut below it is not placed.
        under: Cost of one unit short, (N,).
        over: Cost of one unit left, (N,).
    """
    if (price * order).sum() <= spend:
        return order
    ordered = np.sort(interval.need, 1)
    s = ordered.shape[1]

    def cut(gain: float) -> Doubles:
        level = 1 - (over + gain * price) / (under + over)
        full = np.ceil(level * s - CLOSE).astype(np.int64) - 1  # the last sample worth covering
        reached = ordered[np.arange(len(order)), np.clip(full, 0, s - 1)]
        packs = np.floor(np.maximum(reached, 0) / pack + CLOSE) * pack
        least = np.minimum(order, np.where(full >= 0, packs, 0))
        return np.where(least < minimum, 0, least)

    low, high = 0.0, float(((under + over) / price).max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if (price * cut(middle)).sum() > spend else (low, middle)
    bought = cut(high)
    while True:
        room = spend - (price * bought).sum()
        step = np.where(bought == 0, np.maximum(pack, in_packs(minimum, pack)), pack)
        more = bought + step
        fits = (more <= order + CLOSE) & (price * step <= room + CLOSE)
        if not fits.any():
            return bought
        saved = expected_cost(interval, bought, under, over) - expected_cost(
            interval, more, under, over
        )
        worth = np.where(fits, saved / (price * step), -np.inf)
        best = np.argsort(-worth, kind="stable")
        best = best[worth[best] > 0]
        if not len(best):
            return bought
        paid = (price * step)[best].cumsum() <= room + CLOSE
        chosen = best[: max(1, int(np.argmin(paid)) if not paid.all() else len(best))]
        chosen = chosen[
            worth[chosen] >= worth[best[0]] * (1 - CLOSE)
        ]  # ties; returns fall with packs
        bought = bought.copy()
        bought[chosen] += step[chosen]
