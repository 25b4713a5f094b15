"""The stock table: a row an item, matched to the forecast's series by key, every cell checked by name."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.decide.calendar import Now, Schedule, plan, read_days, step_of
from demandcast.decide.interval import Doubles, Ints
from demandcast.decide.rules import Policy
from demandcast.errors import ConfigError, DataError, SchemaError, Way, way
from demandcast.frames.numerals import OR_A_RULE, parse_numbers
from demandcast.frames.opened import Table
from demandcast.frames.source import open_table
from demandcast.frequency import Frequency

PREDECESSOR = re.compile(r"predecessor(_|$)")  # read by `demandcast.panel.successors`
ARRIVING = re.compile(r"arriving_(-?\d+)")
MONEY = ("cost_under", "cost_over", "price")
SHARES = ("service", "fill_rate")
REORDER = ("reorder_point", "quantity", "fixed_cost")  # read by the rules (s, Q) and (s, S) only
CALENDAR = ("order_days", "delivery_days", "phase_out")
COLUMNS = (
    "on_hand", "on_order", "lead_time", "lead_time_deviation", "review", "pack", "minimum",
    "maximum", *MONEY, *SHARES, *REORDER, *CALENDAR,
    "shelf_life", "cost_spoiled",
)  # fmt: skip
ROW = "the key columns and on_hand, for each item"
LONGEST = 10_000  # steps of lead time and review that a forecast can have


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
        kept: dict[str, Any] = {
            name: value[items]
            for name, value in vars(self).items()
            if isinstance(value, np.ndarray)
        }
        arriving = {step: units[items] for step, units in self.arriving.items()}
        observed = None if self.observed is None else [self.observed[i] for i in items]
        schedule = None if self.schedule is None else self.schedule.select(items)
        return replace(self, **kept, arriving=arriving, observed=observed, schedule=schedule)

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
    def longest_lead(self) -> Ints:
        """Longest likely lead time, (N,): the longest observed, or the mean plus three deviations."""
        return self.delivered(_longest(self.lead, self.deviation, self.observed))

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
        found = plan(
            self.order_days.tolist(), self.delivery_days.tolist(), now, np.ceil(self.lead).astype(np.int64),
            _longest(self.lead, self.deviation, self.observed), self.review, lambda i: str(self.names[i]),
        )  # fmt: skip
        return replace(placed, schedule=found, review=found.review)

    def delivered(self, leads: Ints) -> Ints:
        """Return lead times until the delivery day that follows, (N,) or (N, S)."""
        if self.schedule is None:
            return leads
        found = np.take_along_axis(self.schedule.delivery, leads.reshape(len(leads), -1), 1)
        return found.reshape(leads.shape)

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


def read_stock(
    source: Any,
    keys: pl.DataFrame,
    policy: Policy,
    *,
    leads: Any = None,
    decimal: str | None = None,
    now: Now | None = None,
    freq: Frequency | None = None,
) -> Stock:
    """Read a stock table for the series of a forecast or panel, in their order.

    Args:
        source: A path or frame: the key columns, `on_hand`, and any of `on_order`, `arriving_1`, `arriving_2`,
            ..., and of the columns that replace the policy's value for an item: `lead_time`, `review`,
            `cost_under`, `cost_over`, `service`, `fill_rate`, `order_days`, `delivery_days`, `shelf_life`,
            `cost_spoiled`; `lead_time_deviation`, `pack`, `minimum`, `maximum`, `price` and `phase_out`. Empty cells take the policy's value, or none. Keys are compared as text,
            letter for letter. Other columns are not read, and a note says so.
        keys: The key columns of the series.
        policy: What holds where the table says nothing.
        leads: A path or frame of observed lead times: key columns (or none, for all items) and `lead_time`.
        decimal: The decimal sign of numbers in text, "." or ","; told by the column if None.
        now: When orders are placed; None where that is at several times, as in a replay: see `Stock.at`.
        freq: The grid of the demand, where `now` is None.

    Raises:
        SchemaError: A column is absent.
        DataError: An item has no row or two, an item is unknown, or a cell is out of its range. The item, the
            value and what would do are named.
    """
    opened = open_table(source, decimal=decimal, row=ROW)
    table = opened.collect()
    if not table.height:
        raise DataError("the stock table holds no rows; give one for each item, with on_hand")
    on = _key_columns(keys, table, "the stock table")
    rows = _match(keys, table, on)
    table = table[rows.tolist()]
    cells = _Cells(table, opened, [_name(keys, i) for i in range(keys.height)])
    arriving: dict[int, str] = {}
    for column in table.columns:
        if (found := ARRIVING.fullmatch(column)) and column not in on:
            step = int(found[1])
            if step < 1:
                raise DataError(
                    f"the stock table's {column!r} arrives before the first step ahead; units that are "
                    "there already belong to on_hand, and arriving_1 arrives at the start of the next step"
                )
            arriving[step] = column
    before = [c for c in table.columns if PREDECESSOR.match(c) and c not in on]
    known = {*on, *COLUMNS, *arriving.values(), *before}
    known -= set() if policy.reorders else set(REORDER)
    unused = [c for c in table.columns if c not in known]
    for column in unused:
        near = difflib.get_close_matches(
            column.lower().replace(" ", "_"), [*COLUMNS, "arriving_1"], 1, 0.8
        )
        if near and near[0] not in table.columns:
            raise SchemaError(
                f"the stock table has no column {near[0]!r} but {column!r}; rename it to {near[0]!r}, or "
                "drop it if it is something else"
            )
    if unused:
        cells.notes.append(f"columns of the stock table not read: {', '.join(map(repr, unused))}")
    on_hand = cells.numbers("on_hand", least=-math.inf if not policy.lost_sales else 0)
    lead, deviation = _lead_times(cells, policy, observed=leads is not None)
    observed = None if leads is None else _observed(leads, keys)
    if observed is not None:
        lead = np.array([o.mean() for o in observed])
    review = cells.numbers("review", policy.review, least=1, whole=True, most=LONGEST)
    pack = cells.numbers("pack", 1.0, above=0)
    minimum = cells.numbers("minimum", 0.0, least=0)
    maximum = cells.numbers("maximum", math.inf, least=0)
    under = cells.numbers("cost_under", policy.cost_under, above=0, needed=False)
    over = cells.numbers("cost_over", policy.cost_over, above=0, needed=False)
    price = cells.numbers("price", 1.0, above=0)
    shares = {
        name: cells.numbers(name, getattr(policy, name), above=0, below=1, needed=False)
        for name in SHARES
    }
    service, fill_rate = _one_rule(shares, table, cells.names)
    ruled = ~np.isnan(service) | ~np.isnan(fill_rate)
    for name, values in (("cost_under", under), ("cost_over", over)):
        short = np.isnan(values) & ~ruled
        if short.any():
            raise _no_rule(cells, name, short)
    point, quantity, fixed = _reorder_columns(cells, policy, service, fill_rate, over)
    life = cells.numbers(
        "shelf_life", math.inf if policy.shelf_life is None else policy.shelf_life, least=1, whole=True, most=LONGEST
    )  # fmt: skip
    waste = cells.numbers("cost_spoiled", policy.cost_spoiled, least=0, needed=False)
    unknown = np.isfinite(life) & np.isnan(waste) & ~ruled & (not policy.reorders)
    if unknown.any():
        raise _no_waste(cells, unknown)
    freq = freq if now is None else now.freq
    if freq is None and any(
        value is not None
        for name in CALENDAR
        for value in cells.texts(name, getattr(policy, name, None))
    ):
        raise DataError(
            f"{', '.join(CALENDAR)} are days of the demand's time grid, which is not known here; give now or freq"
        )
    days: dict[str, Any] = {
        name: _days(cells, name, policy, freq) for name in ("order_days", "delivery_days")
    }
    stock = Stock(
        on_hand=on_hand,
        on_order=cells.numbers("on_order", 0.0, least=0),
        arriving={s: cells.numbers(c, 0.0, least=0) for s, c in sorted(arriving.items())},
        lead=lead, deviation=deviation, observed=observed, review=review.astype(np.int64),
        pack=pack, minimum=minimum, maximum=maximum, under=under, over=over, price=price,
        service=service, fill_rate=fill_rate, reorder_point=point, quantity=quantity, fixed=fixed,
        life=life, waste=waste, last=_last(cells, freq),
        names=np.array(cells.names, object), until=np.full(len(cells.names), np.inf), **days, succeeds=bool(before), notes=tuple(cells.notes),
    )  # fmt: skip
    if now is None:
        return stock
    placed = stock.at(now)
    return replace(placed, notes=(*placed.notes, *_closed(placed, now)))


def _longest(lead: Doubles, deviation: Doubles, observed: list[Ints] | None) -> Ints:
    """Return the longest likely lead times, (N,), delivery days aside."""
    if observed is not None:
        return np.array([o.max() for o in observed], np.int64)
    return np.ceil(lead + 3 * deviation - 1e-9).astype(np.int64)


def _days(cells: _Cells, name: str, policy: Policy, freq: Frequency | None) -> NDArray[Any]:
    """Return the order days or delivery days of each item, (N,); None where it has none."""
    values, own = cells.texts(name, getattr(policy, name)), name in cells.table.columns
    days = np.empty(len(values), object)
    if freq is not None:
        for i, (value, item) in enumerate(zip(values, cells.names, strict=True)):
            days[i] = read_days(value, freq, f"{name} of item {item}" if own else name)
    return days


def _last(cells: _Cells, freq: Frequency | None) -> Doubles:
    """Return the step of each item's phase-out date, (N,)."""
    return np.array(
        [
            math.inf
            if freq is None or value is None
            else step_of(value, freq, f"phase_out of item {item}")
            for value, item in zip(cells.texts("phase_out", None), cells.names, strict=True)
        ],
        np.float64,
    )


def _closed(stock: Stock, now: Now) -> list[str]:
    """Return a note on the items that have no order day now."""
    if stock.schedule is None or stock.schedule.may_order.all():
        return []
    closed = np.flatnonzero(~stock.schedule.may_order)
    i = int(closed[0])
    later = now.text(int(stock.schedule.next_order[i]))
    return [
        f"{len(closed):,} items have no order day on {now.text()}, the last step of the table, and are not ordered "
        f"(calendar), e.g. {stock.names[i]}, whose next one is {later}"
    ]


def _no_waste(cells: _Cells, unknown: NDArray[np.bool_]) -> DataError:
    i = int(np.argmax(unknown))
    return DataError(
        f"item {cells.names[i]} has a shelf_life, but no cost_spoiled ({int(unknown.sum()):,} items lack it), which the "
        "order of the least cost needs; add that column, what a spoiled unit loses, to the stock table, or give",
        option="cost_spoiled", series=cells.names[i], ways=[way(cost_spoiled=2)],
    )  # fmt: skip


def _reorder_columns(
    cells: _Cells, policy: Policy, service: Doubles, fill_rate: Doubles, over: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    """Return reorder points, quantities and costs of an order, as far as they are given; all NaN without such a rule."""
    if not policy.reorders:
        nothing = np.full(len(service), np.nan)
        return nothing, nothing, nothing
    point = cells.numbers("reorder_point", needed=False)
    quantity = cells.numbers("quantity", policy.quantity, above=0, needed=False)
    fixed = cells.numbers("fixed_cost", policy.fixed_cost, least=0, needed=False)
    ruled = ~np.isnan(service) | ~np.isnan(fill_rate)
    open_ended = np.isnan(quantity) & (np.isnan(fixed) | (ruled & np.isnan(over)))
    if open_ended.any():
        i = int(np.argmax(open_ended))
        known = "cost_over" if not np.isnan(fixed[i]) else "fixed_cost"
        raise DataError(
            f"the rule {policy.rule} has no quantity for item {cells.names[i]} ({int(open_ended.sum()):,} items lack it), "
            f"and no {known} to choose it by; add the columns of that name to the stock table, or give",
            option=known, series=cells.names[i],
            ways=[way(quantity=12), way("of placing one order", fixed_cost=5) if known == "fixed_cost" else way(cost_over=1)],
        )  # fmt: skip
    return point, quantity, fixed


def _no_rule(cells: _Cells, name: str, short: NDArray[np.bool_]) -> DataError | ConfigError:
    if name in cells.table.columns:
        i = int(np.argmax(short))
        return DataError(
            f"the stock table has no {name} for item {cells.names[i]} ({int(short.sum()):,} items lack it); fill "
            "the cell, or give one value for all that have none:",
            option=name, series=cells.names[i], ways=[Way(((name, ...),))],
        )  # fmt: skip
    return ConfigError(
        f"nothing says what to order by: there is no {name}; add the columns of that name "
        "to the stock table, or give",
        option=name,
        ways=[
            way("costs of a unit", cost_under=3, cost_over=1),
            way(service=0.95),
            way(fill_rate=0.98),
        ],
    )


def _one_rule(
    shares: Mapping[str, Doubles], table: pl.DataFrame, names: list[str]
) -> tuple[Doubles, Doubles]:
    """Return service and fill rate, of which one holds: a column of the table overrides the policy's value."""
    service, fill = shares["service"].copy(), shares["fill_rate"].copy()
    own = {name: name in table.columns for name in SHARES}
    both = ~np.isnan(service) & ~np.isnan(fill)
    if all(own.values()) and both.any():
        i = int(np.argmax(both))
        raise DataError(
            f"item {names[i]} has both a service and a fill_rate; leave one of the two cells empty"
        )
    if own["service"]:
        fill[both] = np.nan
    elif own["fill_rate"]:
        service[both] = np.nan
    return service, fill


def _lead_times(cells: _Cells, policy: Policy, *, observed: bool) -> tuple[Doubles, Doubles]:
    """Return mean and standard deviation of the lead time of each item."""
    deviation = cells.numbers("lead_time_deviation", 0.0, least=0, most=LONGEST)
    if observed:
        return np.zeros(len(deviation)), np.zeros(len(deviation))
    lead = cells.numbers("lead_time", policy.lead_time, least=0, most=LONGEST)
    part = (deviation == 0) & (lead != np.floor(lead))
    if part.any() and "lead_time" not in cells.table.columns:
        raise ConfigError(
            f"lead_time is {policy.lead_time}; it is a whole number of steps, or a mean where the stock table has "
            "the column lead_time_deviation"
        )
    if part.any():
        raise cells.wrong(
            "lead_time", lead, part, "a whole number of steps, or a mean with lead_time_deviation"
        )
    return lead, deviation


def _observed(source: Any, keys: pl.DataFrame) -> list[Ints]:
    """Return the observed lead times of each series."""
    opened = open_table(source, row="lead_time, for each delivery observed")
    table = opened.collect()
    if "lead_time" not in table.columns:
        raise SchemaError(
            f"the table of lead times has no column 'lead_time'; its columns are {table.columns}"
        )
    if not table.height:
        raise DataError(
            "the table of lead times holds no rows; give a row for each delivery observed"
        )
    on = [c for c in keys.columns if c in table.columns]
    values = _Cells(
        table, opened, [f"in row {i + 1:,}" for i in range(table.height)], "the table of lead times"
    ).numbers("lead_time", least=0, most=LONGEST, whole=True)
    taken = values.astype(np.int64)
    if not on:
        return [taken] * keys.height
    text = table.select(pl.col(on).cast(pl.String)).with_columns(lead_time=pl.Series(taken))
    grouped = text.group_by(on, maintain_order=True).agg("lead_time")
    joined = keys.select(pl.col(on).cast(pl.String)).join(
        grouped, on=on, how="left", maintain_order="left"
    )
    absent = joined["lead_time"].is_null()
    if absent.any():
        i = int(absent.arg_true()[0])
        raise DataError(
            f"item {_name(keys, i)} has no observed lead time ({int(absent.sum()):,} items have none); add rows of it, "
            "or leave the key columns out so that all items share the lead times"
        )
    return [np.asarray(v, np.int64) for v in joined["lead_time"].to_list()]


def _name(keys: pl.DataFrame, i: int) -> str:
    return "/".join(map(str, keys.row(i)))


def _key_columns(keys: pl.DataFrame, table: pl.DataFrame, what: str) -> list[str]:
    """Return the key columns, all of which a stock table needs; none for a single series without a name."""
    if keys.rows() == [("all",)] and keys.columns == ["series"] and "series" not in table.columns:
        if table.height > 1:
            raise DataError(
                f"{what} has {table.height} rows, but there is one series; keep one row"
            )
        return []
    for column in keys.columns:
        if column not in table.columns:
            near = difflib.get_close_matches(column, table.columns, 1, 0.6)
            hint = f"; rename {near[0]!r} to it" if near else f"; its columns are {table.columns}"
            raise SchemaError(f"{what} has no key column {column!r}{hint}")
    return list(keys.columns)


def _match(keys: pl.DataFrame, table: pl.DataFrame, on: list[str]) -> Ints:
    """Return the row of the stock table of each series, (N,)."""
    if not on:
        return np.zeros(1, np.int64)
    own = table.select(pl.col(on).cast(pl.String))
    wanted = keys.select(pl.col(on).cast(pl.String))
    empty = own.select(pl.any_horizontal(pl.all().is_null()).alias("empty"))["empty"]
    if empty.any():
        raise DataError(
            f"row {int(empty.arg_true()[0]) + 1:,} of the stock table has no key; fill it, or drop the row"
        )
    twice = own.is_duplicated()
    if twice.any():
        first = own.row(int(twice.arg_true()[0]))
        rows = own.with_row_index("__row").filter(
            pl.all_horizontal(pl.col(c) == v for c, v in zip(on, first, strict=True))
        )["__row"]
        raise DataError(
            f"the stock table has {len(rows)} rows for item {'/'.join(first)}, among them rows "
            f"{rows[0] + 1:,} and {rows[1] + 1:,}; keep one row an item"
        )
    strange = own.join(wanted, on=on, how="anti", maintain_order="left")
    found = wanted.join(
        own.with_row_index("__row"), on=on, how="left", maintain_order="left"
    )["__row"]  # fmt: skip
    absent = found.is_null()
    names = ["/".join(row) for row in wanted.filter(absent).rows()]
    if strange.height:
        name = "/".join(strange.row(0))
        near = difflib.get_close_matches(
            name, names or ["/".join(r) for r in wanted.head(20_000).rows()], 1, 0.7
        )
        hint = f" (the nearest is {near[0]!r})" if near else ""
        raise DataError(
            f"the stock table has item {name!r}, of which there is no forecast{hint}; {strange.height:,} such rows. Write "
            "its key as in the table of demand, drop the row, or read the table of demand with",
            series=name, ways=[way("the item ended long before the others", ended="forecast")],
        )  # fmt: skip
    if absent.any():
        raise DataError(
            f"item {names[0]!r} has no row in the stock table ({len(names):,} items have none); add a row for each, with "
            "on_hand 0 where there is no stock"
        )
    return found.to_numpy().astype(np.int64)


class _Cells:
    """The columns of a table, item by item, as checked numbers."""

    def __init__(
        self, table: pl.DataFrame, opened: Table, names: list[str], what: str = "the stock table"
    ) -> None:
        self.table, self.opened, self.names, self.what = table, opened, names, what
        self.notes: list[str] = []

    def numbers(
        self,
        column: str,
        default: float | None = None,
        *,
        least: float = -math.inf,
        above: float = -math.inf,
        most: float = math.inf,
        below: float = math.inf,
        whole: bool = False,
        needed: bool = True,
    ) -> Doubles:
        """Return one column, (N,); empty cells and an absent column get the default."""
        n = self.table.height
        missing = np.nan if default is None else float(default)
        if column not in self.table.columns:
            if default is None and needed:
                raise self._absent(column)
            return np.full(n, missing)
        values = self._parsed(column)
        strange = ~np.isfinite(values) & ~np.isnan(values)
        if strange.any():
            raise self.wrong(column, values, strange, "a number")
        empty = np.isnan(values)
        if empty.any() and default is None and needed:
            i = int(np.argmax(empty))
            held = column == "on_hand"
            fill = "with 0 where there is none" if held else "with a number, or give one for all:"
            raise DataError(
                f"item {self.names[i]} has no {column} in {self.what} ({int(empty.sum()):,} cells are empty or NaN); fill "
                f"the cell {fill}",
                column=column, series=self.names[i], ways=[] if held else [Way(((column, ...),))],
            )  # fmt: skip
        bad = ~empty & ((values < least) | (values <= above) | (values > most) | (values >= below))
        if bad.any():
            raise self.wrong(column, values, bad, _range(least, above, most, below))
        if whole and (part := ~empty & (values != np.floor(values))).any():
            raise self.wrong(column, values, part, "a whole number of steps")
        return np.where(empty, missing, values)

    def texts(self, column: str, default: Any = None) -> list[Any]:
        """Return one column as text or lists, one entry an item; the default, or None, where a cell is empty."""
        if column not in self.table.columns:
            return [default] * self.table.height
        cells = self.table[column]
        if isinstance(cells.dtype, pl.Datetime):
            cells = cells.cast(pl.Date)
        if not isinstance(cells.dtype, pl.List):
            cells = cells.cast(pl.String)
        values = (None if isinstance(v, str) and not v.strip() else v for v in cells.to_list())
        return [default if value is None else value for value in values]

    def wrong(self, column: str, values: Doubles, bad: NDArray[np.bool_], wanted: str) -> DataError:
        i = int(np.argmax(bad))
        negative = column == "on_hand" and values[i] < 0
        hint = ", or say that demand waits:" if negative else ""
        return DataError(
            f"{column} of item {self.names[i]} is {values[i]:g} in {self.what} ({int(bad.sum()):,} such cells); it is "
            f"{wanted}: mend the cell{hint}",
            column=column, series=self.names[i], found=float(values[i]), expected=wanted,
            ways=[way(lost_sales=False)] if negative else [],
        )  # fmt: skip

    def _absent(self, column: str) -> SchemaError | ConfigError:
        if column == "lead_time":
            return ConfigError(
                "the lead time, the steps that pass before an order can be sold, is not known; add a column "
                "lead_time to the stock table, or give",
                option="lead_time",
                ways=[way(lead_time=2)],
            )
        near = difflib.get_close_matches(column, self.table.columns, 1, 0.5)
        hint = (
            f"; is it {near[0]!r}? rename it" if near else f"; its columns are {self.table.columns}"
        )
        return SchemaError(f"{self.what} has no column {column!r}{hint}")

    def _parsed(self, column: str) -> Doubles:
        cells = self.table[column]
        if cells.dtype in (pl.Categorical, pl.Enum):
            cells = cells.cast(pl.String)
        if cells.dtype == pl.String:

            def item(row: int) -> str:
                return f"item {self.names[row]}"

            try:
                cells, notes = parse_numbers(
                    cells, f"{self.what}'s", hints=self.opened.hints, where=item
                )
            except DataError as error:
                message = error.message.removesuffix(OR_A_RULE)
                raise DataError(message, column=error.column, found=error.found) from None
            self.notes += [note.action for note in notes]
        if cells.dtype == pl.Boolean or not (
            cells.dtype.is_numeric() or cells.dtype.is_decimal() or cells.dtype == pl.Null
        ):
            raise SchemaError(f"{self.what}'s {column!r} holds {cells.dtype}; it must hold numbers")
        return np.asarray(cells.cast(pl.Float64).fill_null(np.nan).to_numpy(), np.float64)


def _range(least: float, above: float, most: float, below: float) -> str:
    if below == 1:
        return "a share between 0 and 1, such as 0.95 (1 would need endless stock)"
    said = (
        f"above {above:g}"
        if above > -math.inf
        else f"{least:g} or more"
        if least > -math.inf
        else ""
    )
    return f"{said}, and at most {most:g}" if most < math.inf else said
