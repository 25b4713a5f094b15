"""What is known of items beside their demand: stock, open orders, lead times, costs, limits, and their dates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.decide.calendar import Now, Schedule, plan
from demandcast.decide.interval import Doubles, Ints


@dataclass(frozen=True, kw_only=True)
class Stock:
    """What is known of N items beside their demand; NaN where a rule or limit does not hold for one.

    Attributes:
        on_hand: Units after the last step, (N,).
        on_order: Units that arrive when an order placed now would, (N,).
        arriving: Step of arrival -> units, (N,); 1 is the step after the last.
        lead: Lead time, (N,): the mean where it is random.
        deviation: Standard deviation of the lead time, (N,); 0 where it is fixed.
        observed: Observed lead times of each item, where they were given.
        review: Steps between orders, (N,).
        pack, minimum, maximum: Units, (N,).
        under, over, price: Money, (N,).
        service, fill_rate: Targets, (N,).
        reorder_point, quantity: Of the rules (s, Q) and (s, S), where they are given, (N,).
        fixed: Money that placing one order costs, (N,).
        life: Steps for which a unit can be sold, (N,); infinite where it does not spoil.
        waste: Money that a spoiled unit loses, (N,).
        last: The last step with demand, (N,); infinite without a phase-out date.
        names: Of the items, for errors, (N,).
        order_days, delivery_days: Of each item, (N,); None for every review, and for every step.
        until: Steps from now to the last one with demand, (N,); infinite if there is none, or now is not known.
        schedule: When orders can be placed and arrive; None where they can at every review, or now is not known.
        succeeds: Whether the table names predecessors, which `Panel.with_successors` reads.
        notes: What was done to the table.
    """

    on_hand: Doubles
    on_order: Doubles
    arriving: dict[int, Doubles]
    lead: Doubles
    deviation: Doubles
    observed: list[Ints] | None
    review: Ints
    pack: Doubles
    minimum: Doubles
    maximum: Doubles
    under: Doubles
    over: Doubles
    price: Doubles
    service: Doubles
    fill_rate: Doubles
    reorder_point: Doubles
    quantity: Doubles
    fixed: Doubles
    life: Doubles
    waste: Doubles
    last: Doubles
    names: NDArray[Any]
    order_days: NDArray[Any]
    delivery_days: NDArray[Any]
    until: Doubles
    schedule: Schedule | None = None
    succeeds: bool = False
    notes: tuple[str, ...] = field(default=())

    def select(self, items: Ints) -> Stock:
        """Return some of the items, in the given order."""
        arrays: dict[str, Any] = {
            name: value[items]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        arriving = {step: units[items] for step, units in self.arriving.items()}
        observed = None if self.observed is None else [self.observed[i] for i in items]
        schedule = None if self.schedule is None else self.schedule.select(items)
        return replace(self, **arrays, arriving=arriving, observed=observed, schedule=schedule)

    @property
    def by_cost(self) -> NDArray[np.bool_]:
        """Mask of items without a service or fill rate, which are ordered at lowest cost, (N,)."""
        return np.isnan(self.service) & np.isnan(self.fill_rate)

    @property
    def critical(self) -> Doubles:
        """Critical fractile: the share of outcomes that the cheapest order covers, (N,)."""
        return self.under / (self.under + self.over)

    @property
    def arrival(self) -> Ints:
        """Expected lead time of an order placed now, delivery days considered, (N,)."""
        return self.delivered(np.ceil(self.lead).astype(np.int64))

    @property
    def may_order(self) -> NDArray[np.bool_]:
        """Mask of items of which now is an order day, (N,)."""
        every = np.ones(len(self.on_hand), np.bool_)
        return every if self.schedule is None else self.schedule.may_order

    @property
    def longest(self) -> Ints:
        """Longest likely lead time, (N,), delivery days aside: the longest observed, or the mean plus three deviations."""
        if self.observed is not None:
            return np.array([o.max() for o in self.observed], np.int64)
        return np.ceil(self.lead + 3 * self.deviation - 1e-9).astype(np.int64)

    @property
    def longest_lead(self) -> Ints:
        """Longest likely lead time, (N,), delivery days considered."""
        return self.delivered(self.longest)

    @property
    def steps(self) -> Ints:
        """Steps that a forecast must have for the order of each item, (N,)."""
        life = np.where(np.isfinite(self.life), self.life, 0).astype(np.int64)
        return self.longest_lead + np.maximum(self.review, life)

    @property
    def horizon(self) -> int:
        """Steps that a forecast must have for every order."""
        return int(self.steps.max())

    @property
    def dated(self) -> bool:
        """Whether order days, delivery days or phase-out dates make orders depend on when they are placed."""
        return self.has_days or bool(np.isfinite(self.last).any())

    @property
    def has_days(self) -> bool:
        """Whether an item has order days or delivery days."""
        days = (*self.order_days, *self.delivery_days)
        return any(day is not None for day in days)

    def at(self, now: Now) -> Stock:
        """Return the stock with lead times, review periods and phase-outs as they are now.

        Raises:
            DataError: The dates of an item end before its next order arrives.
        """
        placed = replace(self, until=self.last - now.step)
        if not self.has_days:
            return placed
        schedule = plan(
            self.order_days.tolist(), self.delivery_days.tolist(), now, np.ceil(self.lead).astype(np.int64),
            self.longest, self.review, lambda i: str(self.names[i]),
        )  # fmt: skip
        return replace(placed, schedule=schedule, review=schedule.review)

    def delivered(self, leads: Ints) -> Ints:
        """Return lead times until the delivery day that follows, (N,) or (N, S)."""
        if self.schedule is None:
            return leads
        leads_delivered = np.take_along_axis(
            self.schedule.delivery, leads.reshape(len(leads), -1), 1
        )
        return leads_delivered.reshape(leads.shape)

    def open_orders(self, steps: int) -> Doubles:
        """Return the units that arrive at the start of each step ahead, (N, steps)."""
        arriving = np.zeros((len(self.on_hand), steps))
        for step, units in self.arriving.items():
            if step <= steps:
                arriving[:, step - 1] += units
        arriving[np.arange(len(arriving)), self.arrival] += self.on_order
        return arriving

    @property
    def position(self) -> Doubles:
        """Stock on hand and on order less units owed, (N,)."""
        return self.on_hand + self.on_order + sum(self.arriving.values(), np.zeros(1))
