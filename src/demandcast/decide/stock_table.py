"""The stock table: a row an item, matched to the forecast's series by key, every cell checked by name."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.decide.calendar import Now, read_days, step_of
from demandcast.decide.interval import Doubles, Ints
from demandcast.decide.rules import Policy
from demandcast.decide.stock import Stock
from demandcast.decide.stock_cells import Cells, key_columns, match_rows, name_of
from demandcast.errors import ConfigError, DataError, SchemaError, Way, way
from demandcast.frames.source import open_table
from demandcast.frequency import Frequency
from demandcast.panel.panel import Note, Panel
from demandcast.panel.successors import give_histories, predecessors

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
    on = key_columns(keys, table, "the stock table")
    rows = match_rows(keys, table, on)
    table = table[rows.tolist()]
    cells = Cells(table, opened, [name_of(keys, i) for i in range(keys.height)])
    arriving = _arriving_columns(table, on)
    unused = _unread_columns(table, [*on, *arriving.values()], policy)
    if unused:
        cells.notes.append(f"columns of the stock table not read: {', '.join(map(repr, unused))}")
    on_hand = cells.numbers("on_hand", least=-math.inf if not policy.lost_sales else 0)
    lead, deviation = _lead_times(cells, policy, observed=leads is not None)
    observed = None if leads is None else _read_lead_times(leads, keys)
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
        names=np.array(cells.names, object), until=np.full(len(cells.names), np.inf), **days, succeeds=any(_names_predecessor(c) for c in table.columns if c not in on), notes=tuple(cells.notes),
    )  # fmt: skip
    if now is None:
        return stock
    placed = stock.at(now)
    return replace(placed, notes=(*placed.notes, *_note_on_closed_days(placed, now)))


def take_histories(
    panel: Panel, source: Any, *, decimal: str | None = None
) -> tuple[Panel, list[Note]]:
    """Return the panel in which new items have the histories of those that a stock table says they replace.

    Args:
        panel: The history of all items.
        source: As `read_stock` takes it.
        decimal: The same.
    """
    rows = open_table(source, decimal=decimal, row=ROW).collect()
    pairs = predecessors(rows, panel.keys.columns)
    return give_histories(panel, rows) if pairs is not None and pairs.height else (panel, [])


def _names_predecessor(column: str) -> bool:
    return PREDECESSOR.match(column) is not None


def _arriving_columns(table: pl.DataFrame, on: list[str]) -> dict[int, str]:
    """Return the columns of open orders by their step of arrival.

    Raises:
        DataError: A step is before the first one ahead.
    """
    columns: dict[int, str] = {}
    for column in table.columns:
        if (match := ARRIVING.fullmatch(column)) and column not in on:
            step = int(match[1])
            if step < 1:
                raise DataError(
                    f"the stock table's {column!r} arrives before the first step ahead; units that are "
                    "there already belong to on_hand, and arriving_1 arrives at the start of the next step"
                )
            columns[step] = column
    return columns


def _unread_columns(table: pl.DataFrame, read: list[str], policy: Policy) -> list[str]:
    """Return the columns that are neither among `read` nor known.

    Raises:
        SchemaError: One is nearly named as a column that is absent.
    """
    known = {*read, *COLUMNS, *filter(_names_predecessor, table.columns)}
    known -= set() if policy.reorders else set(REORDER)
    unread = [c for c in table.columns if c not in known]
    for column in unread:
        near = difflib.get_close_matches(
            column.lower().replace(" ", "_"), [*COLUMNS, "arriving_1"], 1, 0.8
        )
        if near and near[0] not in table.columns:
            raise SchemaError(
                f"the stock table has no column {near[0]!r} but {column!r}; rename it to {near[0]!r}, or "
                "drop it if it is something else"
            )
    return unread


def _days(cells: Cells, name: str, policy: Policy, freq: Frequency | None) -> NDArray[Any]:
    """Return the order days or delivery days of each item, (N,); None where it has none."""
    values, own = cells.texts(name, getattr(policy, name)), name in cells.table.columns
    days = np.empty(len(values), object)
    if freq is not None:
        for i, (value, item) in enumerate(zip(values, cells.names, strict=True)):
            days[i] = read_days(value, freq, f"{name} of item {item}" if own else name)
    return days


def _last(cells: Cells, freq: Frequency | None) -> Doubles:
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


def _note_on_closed_days(stock: Stock, now: Now) -> list[str]:
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


def _no_waste(cells: Cells, unknown: NDArray[np.bool_]) -> DataError:
    i = int(np.argmax(unknown))
    return DataError(
        f"item {cells.names[i]} has a shelf_life, but no cost_spoiled ({int(unknown.sum()):,} items lack it), which the "
        "order of the least cost needs; add that column, what a spoiled unit loses, to the stock table, or give",
        option="cost_spoiled", series=cells.names[i], ways=[way(cost_spoiled=2)],
    )  # fmt: skip


def _reorder_columns(
    cells: Cells, policy: Policy, service: Doubles, fill_rate: Doubles, over: Doubles
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


def _no_rule(cells: Cells, name: str, short: NDArray[np.bool_]) -> DataError | ConfigError:
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


def _lead_times(cells: Cells, policy: Policy, *, observed: bool) -> tuple[Doubles, Doubles]:
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


def _read_lead_times(source: Any, keys: pl.DataFrame) -> list[Ints]:
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
    values = Cells(
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
            f"item {name_of(keys, i)} has no observed lead time ({int(absent.sum()):,} items have none); add rows of it, "
            "or leave the key columns out so that all items share the lead times"
        )
    return [np.asarray(v, np.int64) for v in joined["lead_time"].to_list()]
