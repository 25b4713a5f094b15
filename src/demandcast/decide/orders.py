"""`order`: a forecast and a stock table in, a row an item out: how much to order, and what it will do."""

from __future__ import annotations

import html
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.decide.calendar import Now
from demandcast.decide.interval import (
    Array,
    Doubles,
    Interval,
    Ints,
    levels,
    observed_leads,
    protect,
    random_leads,
)
from demandcast.decide.next_order import TwoWindows, look_further, note_on_steps
from demandcast.decide.reorder import Reorder, reorder_levels
from demandcast.decide.rules import (
    CLOSE,
    FIXED_QUANTITY,
    Policy,
    cheapest_packs,
    check_spend,
    choose_policy,
    expected_cost,
    fractile,
    in_packs,
    order_before_it_spoils,
    order_by_fill_rate,
    share_money,
)
from demandcast.decide.stock import Stock
from demandcast.decide.stock_table import read_stock
from demandcast.errors import DataError, way
from demandcast.forecast.forecast import Forecast
from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("demandcast")
COLUMNS = (
    "order", "order_up_to", "expected_demand", "safety_stock", "p_stock_out", "fill_rate",
    "expected_held", "expected_lost", "cost", "why",
)  # fmt: skip
DIGITS = 12  # of a number in a table: 1.6 and not 1.5999999999999996
REORDER_COLUMNS = ("reorder_point", "quantity")  # of the rules (s, Q) and (s, S)


NOTED = {  # reasons that a planner should look at
    "limit": "cut by a maximum or the budget",
    "minimum": "set by a minimum order",
    "no history": "without history",
    "calendar": "without an order day now",
    "shelf life": "cut by the shelf life",
    "phase-out": "phased out",
}


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What to order of N items, and what is expected of it in the window that the order decides.

    Attributes:
        forecast: What the orders rest on.
        stock: The stock they add to.
        policy: The rule.
        gap: Steps from each item's last value to now, (N,): the forecast's first steps, which have passed.
        order: Units to order now, (N,).
        order_up_to: Stock and open orders that the rule asks for, before packs and limits, (N,): s + Q of (s, Q), S of
            (s, S).
        expected_demand: Mean demand over lead time and review period, (N,).
        window_demand: Mean demand of the window, (N,).
        p_stock_out: Probability that the item runs out in the window, (N,).
        fill_rate: Expected share of the window's demand served from stock, (N,).
        expected_held: Units expected in stock at the end of the window, (N,).
        expected_lost: Units expected short in the window, (N,).
        cost: Money expected: cost_under x units short + cost_over x units held, and the cost of placing an order
            where one is placed, (N,); NaN without both costs.
        why: What decided, (N,): enough, cost, service, pack, minimum, limit, no history; calendar (no order day),
            shelf life (more would spoil), phase-out (no demand after that date).
        reorder: Reorder points and quantities; None of the rule "up_to".
        expected_spoiled: Units of the order that spoil, (N,); None if no item has a shelf life.
        notes: What else was decided, for the planner.
    """

    forecast: Forecast
    stock: Stock
    policy: Policy
    gap: Ints
    order: Doubles
    order_up_to: Doubles
    expected_demand: Doubles
    window_demand: Doubles
    p_stock_out: Doubles
    fill_rate: Doubles
    expected_held: Doubles
    expected_lost: Doubles
    cost: Doubles
    why: NDArray[np.str_]
    reorder: Reorder | None = None
    expected_spoiled: Doubles | None = None
    notes: tuple[str, ...] = ()

    @property
    def safety_stock(self) -> Doubles:
        """Stock that the rule needs beyond the expected demand, (N,): of a reorder point, beyond the demand until
        the next order arrives.
        """
        if self.reorder is not None:
            return self.reorder.point - self.reorder.demand
        return self.order_up_to - self.expected_demand

    def to_frame(self) -> pl.DataFrame:
        """Return one row an item, in the forecast's order: the key columns, then `order` ... `why`.

        With a rule of reorder points, `reorder_point` and `quantity` follow, and with a shelf life
        `expected_spoiled`. Orders are whole numbers where every pack is. A key column of such a name keeps it, and ours is called
        "forecast_order" and so on.
        """
        whole = bool((self.stock.pack == np.floor(self.stock.pack)).all())
        columns = [pl.Series(name, getattr(self, name)) for name in COLUMNS]
        if whole:
            columns[0] = columns[0].cast(pl.Int64)
        if self.reorder is not None:
            values = (self.reorder.point, self.reorder.quantity)
            columns += [pl.Series(n, v) for n, v in zip(REORDER_COLUMNS, values, strict=True)]
        if self.expected_spoiled is not None:
            columns.append(pl.Series("expected_spoiled", self.expected_spoiled))
        columns = [
            c.fill_nan(None).round_sig_figs(DIGITS) if c.dtype.is_float() else c for c in columns
        ]
        return self.forecast.keys.with_columns(
            c.rename(self.forecast.column(c.name)) for c in columns
        )

    def plot(self, key: Any = None) -> Figure:
        """Draw the stock of one item from now to the end of its window, with the order and without it.

        Args:
            key: A value, a tuple for several key columns, or a dict of them; the first item if None.
        """
        from demandcast.report.stock_charts import stock_chart

        i = 0 if key is None else self.forecast.index(key)
        ordered, without = (stock_ahead(self, i, order=order) for order in (True, False))
        return stock_chart(self, i, ordered=ordered, without=without)

    def summary(self) -> str:
        """Return one line for a planner: what is ordered, and what is expected in the windows that it decides."""
        n, demand = len(self.order), float(self.window_demand.sum())
        parts = [
            f"order {self.order.sum():,.10g} units of {int((self.order > 0).sum()):,} of {n:,} items by "
            f"{self.forecast.model or 'the forecast'}"
        ]
        lost = self.expected_lost.sum()
        served = f"{1 - lost / demand:.1%} of demand served, " if demand > 0 else ""
        cost = "" if np.isnan(self.cost).any() else f", cost {self.cost.sum():,.2f}"
        parts.append(
            f"expected until the next order arrives: {served}{lost:,.1f} units short, "
            f"{self.expected_held.sum():,.1f} left{cost}"
        )
        for reason, words in NOTED.items():
            if count := int((self.why == reason).sum()):
                parts.append(f"{count:,} {words}")
        parts += self.notes
        return "; ".join(parts)

    def __repr__(self) -> str:
        ordered = int((self.order > 0).sum())
        cost = "" if np.isnan(self.cost).all() else f", expected cost {np.nansum(self.cost):,.2f}"
        return (
            f"Orders({self.forecast.model}: {len(self.order):,} items, {ordered:,} ordered, "
            f"{self.order.sum():,.10g} units{cost})"
        )

    def _repr_html_(self) -> str:
        head: str = self.to_frame().head(10)._repr_html_()
        return f"<b>{html.escape(repr(self))}</b>{head}"


def order(
    forecast: Forecast,
    stock: Any,
    policy: Policy | None = None,
    *,
    lead_times: Any = None,
    spend: float | None = None,
    decimal: str | None = None,
    panel: Panel | None = None,
    **rule: Any,
) -> Orders:
    """Decide what to order of every item after the last step of all items.

    An order placed after the last step t with lead time L can be sold from step t+L+1 on; it decides the steps to
    t+L+review, its window. By cost, the order-up-to level is the quantile of what the window needs at
    cost_under / (cost_under + cost_over); by service, the quantile at `service`; by fill rate, the least level
    whose expected units short are 1 - fill_rate of the window's demand. Needs are of the joint sample paths.

    Args:
        forecast: With sample paths of at least lead time + review steps; of an item whose history ends before
            that of others, so many more steps.
        stock: A path or frame with a row an item; its columns replace the values here for an item. See
            `demandcast.decide.stock_table.read_stock`.
        policy: The rule; or give its parts as keywords, see below.
        lead_times: A path or frame of observed lead times, drawn from in place of a fixed one: `lead_time`, and
            the key columns unless all items share it.
        spend: Money for all orders together, at the stock table's `price` a unit (1 without that column). The
            units that save most per unit of money are bought first.
        decimal: The decimal sign of numbers in a stock table of text, "." or ","; told by the column if None.
        panel: What was forecast; marks items without any observed value as "no history".
        **rule: Fields of `Policy`: `lead_time=2`, `review=1`, what to order by (`cost_under=3, cost_over=1` or
            `service=0.95` or `fill_rate=0.98`), and `lost_sales=False` where demand that finds no stock waits.
            `lead_time` is a mean where the stock table has the column `lead_time_deviation`.

    Raises:
        ConfigError: An option is out of its range, or nothing says what to order by.
        SchemaError: A column is absent from the stock table.
        DataError: The stock does not fit the forecast, a cell is out of its range, or the forecast has no paths or
            too few steps.

    Example:
        >>> import demandcast as dc
        >>> import polars as pl
        >>> sales = {"item": ["a"] * 60, "day": range(60), "units": [4, 5, 6] * 20}
        >>> panel = dc.read_panel(pl.DataFrame(sales), key="item")
        >>> forecast = dc.local.SeasonalNaive(horizon=3).predict(panel, n_samples=200)
        >>> stock = pl.DataFrame({"item": ["a"], "on_hand": [10]})
        >>> dc.order(forecast, stock, lead_time=2, service=0.95).to_frame().columns[:3]
        ['item', 'order', 'order_up_to']
    """
    policy = choose_policy(policy, rule)
    if not isinstance(forecast, Forecast):
        raise DataError(
            f"order needs a Forecast, not {type(forecast).__name__}; give model.predict(panel)"
        )
    if not isinstance(stock, Stock):
        now = Now(int(forecast.cutoffs.max()), Frequency.parse(forecast.schema.freq))
        stock = read_stock(stock, forecast.keys, policy, leads=lead_times, decimal=decimal, now=now)
        for note in stock.notes:
            log.warning("%s", note)
        if stock.succeeds:
            log.warning(
                "order takes the forecast as it is: give new items the history of their predecessors before, with "
                "panel.with_successors(stock)"
            )
    check_spend(spend, policy)
    orders = decide(forecast, stock, policy, spend=spend, panel=panel)
    for note in orders.notes:
        log.warning("%s", note)
    return orders


def decide(
    forecast: Forecast,
    stock: Stock,
    policy: Policy,
    *,
    spend: float | None = None,
    panel: Panel | None = None,
    now: Ints | None = None,
) -> Orders:
    """Decide orders from a stock that is read and a policy that is checked; see `order`.

    Args:
        now: The step that the stock of each item is of, (N,); None for the last step of all items.
    """
    now = forecast.cutoffs.max(keepdims=True) if now is None else now
    gap = np.broadcast_to(now - forecast.cutoffs, forecast.cutoffs.shape)
    paths = paths_ahead(forecast, stock, gap)
    leads = lead_times(stock, paths.shape[1])
    interval = follow(paths, leads, stock, policy)
    reorder = reorder_levels(paths, leads, stock, policy) if policy.reorders else None
    notes: tuple[str, ...] = ()
    if reorder is None:
        target = _targets(interval, stock)
        further = look_further(paths, leads, interval, stock, policy)
        notes = note_on_steps(paths.shape[2], stock, policy)
        if further is not None:
            target[further.items] = further.targets()
        amount, why = _in_whole_packs(interval, stock, target, further)
        level = interval.position + target
    else:
        level = reorder.point + reorder.quantity
        amount, why = _order_at_points(reorder, stock, fixed=policy.rule == FIXED_QUANTITY)
    amount, why = _apply_limits(amount, why, interval, stock)
    if policy.reorders or interval.fresh is not None:
        amount, why = _kept_useful(amount, why, interval, stock, reorders=policy.reorders)
    amount, why = _in_time(amount, why, stock)
    if spend is not None:
        under = np.where(np.isnan(stock.under), 1.0, stock.under)
        over = np.where(np.isnan(stock.over), 0.0, stock.over)
        paid = share_money(
            interval, amount, spend=spend, price=stock.price, pack=stock.pack,
            minimum=stock.minimum, under=under, over=over,
        )  # fmt: skip
        why = np.where(paid < amount, "limit", why)
        amount = paid
    if panel is not None:
        why = np.where(panel.n_observed() == 0, "no history", why)
    lost = interval.lost(amount)
    share = np.divide(
        lost.mean(1), interval.window, out=np.zeros(len(amount)), where=interval.window > 0
    )
    cost = expected_cost(interval, amount, stock.under, stock.over)
    return Orders(
        forecast=forecast, stock=stock, policy=policy, gap=gap, order=amount,
        order_up_to=level, expected_demand=interval.demand,
        window_demand=interval.window,
        p_stock_out=(interval.need > amount[:, None]).mean(1), fill_rate=1 - share,
        expected_held=interval.held(amount).mean(1), expected_lost=lost.mean(1),
        cost=cost + np.where(amount > 0, np.nan_to_num(stock.fixed), 0), why=why, reorder=reorder,
        expected_spoiled=None if interval.fresh is None else interval.spoiled(amount),
        notes=notes,
    )  # fmt: skip


def look_ahead(forecast: Forecast, stock: Stock, policy: Policy, gap: Ints) -> Interval:
    """Follow the forecast's paths through lead time and window of every item; arguments as of `paths_ahead`."""
    paths = paths_ahead(forecast, stock, gap)
    return follow(paths, lead_times(stock, paths.shape[1]), stock, policy)


def follow(paths: Array, leads: Ints, stock: Stock, policy: Policy) -> Interval:
    """Follow paths (N, S, H) through lead times, (N,) or (N, S), and windows, from the stock there is."""
    arriving = stock.open_orders(paths.shape[2])
    for step, units in stock.arriving.items():
        if step > paths.shape[2] and units.any():
            log.warning(
                "arriving_%d comes after the %d steps forecast: not counted", step, paths.shape[2]
            )
    interval = protect(
        paths, stock.on_hand, arriving, leads, stock.review, lost_sales=policy.lost_sales
    )
    if not np.isfinite(stock.life).any():
        return interval
    return replace(
        interval, fresh=_sold_fresh(paths, arriving, leads, stock, policy), waste=stock.waste
    )


def _sold_fresh(
    paths: Array, arriving: Doubles, leads: Ints, stock: Stock, policy: Policy
) -> Doubles:
    """Return the units of an endless order that would be sold before they spoil, (N, S).

    First in, first out: what is there when the order arrives is sold before it, what arrives later after it. Of a random
    lead time, that is what arrives up to its longest draw.
    """
    left = np.full(paths.shape[:2], np.inf)
    items = np.flatnonzero(np.isfinite(stock.life))
    own = leads[items]
    by_then = np.arange(arriving.shape[1]) <= own.reshape(len(items), -1).max(1)[:, None]
    left[items] = protect(
        paths[items], stock.on_hand[items], np.where(by_then, arriving[items], 0), own,
        stock.life[items].astype(np.int64), lost_sales=policy.lost_sales,
    ).left  # fmt: skip
    return left


def lead_times(stock: Stock, paths: int) -> Ints:
    """Return the lead time of every item, (N,), or of each of its paths where it is random, (N, paths)."""
    if stock.observed is not None:
        return stock.delivered(observed_leads(stock.observed, paths))
    if (stock.deviation > 0).any():
        drawn = random_leads(stock.lead, stock.deviation, paths)
        return stock.delivered(np.minimum(drawn, stock.longest[:, None]))
    return stock.delivered(np.asarray(stock.lead, np.int64))


def paths_ahead(forecast: Forecast, stock: Stock, gap: Ints) -> Array:
    """Return the forecast's paths from now on, (N, S, H).

    Args:
        forecast: Of every item, from its own last value.
        stock: What there is now.
        gap: Steps from each item's last value to now, (N,); those of its paths are left out.

    Raises:
        DataError: There are no paths, or they end before an order's window does.
    """
    if forecast.samples is None:
        raise DataError(
            f"the forecast of {forecast.model or 'this model'} has no sample paths, and sums over the lead time need "
            "them; ask for them:",
            ways=[way(n_samples=200, call="model.predict(panel, n_samples=200)")],
        )
    need = gap + stock.steps
    short = np.flatnonzero(need > forecast.horizon)
    if len(short):
        i = int(short[0])
        ages = np.isfinite(stock.life[i]) and stock.life[i] > stock.review[i]
        beyond = f"shelf life of {stock.life[i]:g}" if ages else f"review of {stock.review[i]}"
        late = f", {gap[i]} steps after its own last value" if gap[i] else ""
        raise DataError(
            f"the lead time of item {'/'.join(map(str, forecast.keys.row(i)))} is up to {stock.longest_lead[i]} "
            f"steps, and with a {beyond} its order, placed after the last step of all items{late}, "
            f"needs {need[i]} steps, but the forecast has {forecast.horizon}; forecast {need.max()} steps "
            f"(horizon={need.max()}), or mend the lead time"
        )
    paths = forecast.samples
    if gap.any():
        steps = gap[:, None, None] + np.arange(forecast.horizon - gap.max())
        paths = np.take_along_axis(paths, steps, 2)
    if np.isfinite(stock.until).any():
        paths = np.where(np.arange(paths.shape[2]) < stock.until[:, None, None], paths, 0)
    return paths


def stock_ahead(orders: Orders, i: int, *, order: bool) -> Doubles:
    """Return the stock of item `i` at the end of each step of its window, (S, steps), with its order or without."""
    assert orders.forecast.samples is not None
    at = int(orders.stock.arrival[i])
    steps = at + int(orders.stock.review[i])
    arriving = orders.stock.open_orders(steps + 1)[i, :steps]
    if order:
        arriving[at] += orders.order[i]
    begin = int(orders.gap[i])
    paths = orders.forecast.samples[i, :, begin : begin + steps].astype(np.float64)
    paths = np.where(np.arange(steps) < orders.stock.until[i], paths, 0)
    return levels(paths, orders.stock.on_hand[i], arriving, lost_sales=orders.policy.lost_sales)


def _targets(interval: Interval, stock: Stock) -> Doubles:
    """Return what each item's rule needs beyond stock and open orders, (N,); below 0 where they are more."""
    level = np.where(stock.by_cost, stock.critical, stock.service)
    target = fractile(interval.need, np.where(np.isnan(level), 0.5, level))
    if interval.fresh is not None:
        spoils = stock.by_cost & np.isfinite(stock.life)
        cheapest = order_before_it_spoils(interval, stock.under, stock.over)
        target = np.where(spoils, cheapest, target)
    filled = ~np.isnan(stock.fill_rate)
    if filled.any():
        target = np.where(filled, order_by_fill_rate(interval, stock.fill_rate), target)
    return target


def _in_whole_packs(
    interval: Interval, stock: Stock, target: Doubles, further: TwoWindows | None
) -> tuple[Doubles, NDArray[np.str_]]:
    """Return targets as orders in whole packs of the least size or more, and the reason of each."""
    by_cost = stock.by_cost
    under, over = np.nan_to_num(stock.under), np.nan_to_num(stock.over)

    def cost(order: Doubles) -> Doubles:
        money = expected_cost(interval, order, under, over)
        if further is not None:
            money[further.items] = further.cost(order[further.items])
        return money

    packs = in_packs(target, stock.pack)
    cheapest = cheapest_packs(cost, target, stock.pack)
    amount = np.where(by_cost, cheapest, packs)
    why = np.where(amount <= 0, "enough", np.where(by_cost, "cost", "service")).astype("U10")
    why = np.where((stock.pack != 1) & (target > 0) & (abs(amount - target) > 1e-6), "pack", why)
    least = in_packs(stock.minimum, stock.pack)
    small = (amount > 0) & (amount < least)
    if small.any():
        worth = cost(least) <= cost(np.zeros(len(least)))
        amount = np.where(small, np.where(~by_cost | worth, least, 0), amount)
        why = np.where(small, "minimum", why)
    return amount, why


def _order_at_points(
    reorder: Reorder, stock: Stock, *, fixed: bool
) -> tuple[Doubles, NDArray[np.str_]]:
    """Return the orders of items at their reorder point or below, and the reason of each."""
    amount = reorder.amount(stock.position, stock.pack, fixed=fixed)
    why = np.where(amount <= 0, "enough", np.where(stock.by_cost, "cost", "service")).astype("U10")
    least = in_packs(stock.minimum, stock.pack)
    small = (amount > 0) & (amount < least)
    return np.where(small, least, amount), np.where(small, "minimum", why)


def _kept_useful(
    amount: Doubles,
    why: NDArray[np.str_],
    interval: Interval,
    stock: Stock,
    *,
    reorders: bool,
) -> tuple[Doubles, NDArray[np.str_]]:
    """Return orders of a service, fill rate or reorder point without units that are of no use.

    Those are units that more likely spoil than sell, and, of fixed quantities, units that the last window before a
    phase-out date does not need. The least cost of a window has weighed both.
    """
    fixed = np.full(len(amount), reorders)
    if interval.fresh is not None:
        sold = np.maximum(np.median(interval.fresh, 1), 0)
        most = _packs_within(sold, stock)
        cut = (amount > most) & (~stock.by_cost | fixed)
        amount, why = np.where(cut, most, amount), np.where(cut, "shelf life", why)
    ending = fixed & (stock.until < stock.arrival + stock.review)
    if ending.any():
        needed = in_packs(_targets(interval, stock), stock.pack)
        amount = np.where(ending, np.minimum(amount, needed), amount)
    return amount, why


def _in_time(
    amount: Doubles, why: NDArray[np.str_], stock: Stock
) -> tuple[Doubles, NDArray[np.str_]]:
    """Return orders of items that may be ordered now, and the reason of those that a date decides."""
    ending = stock.until < stock.arrival + stock.review
    why = np.where(ending & (why != "limit"), "phase-out", why)
    may = stock.may_order
    return np.where(may, amount, 0), np.where(may, why, "calendar")


def _apply_limits(
    amount: Doubles, why: NDArray[np.str_], interval: Interval, stock: Stock
) -> tuple[Doubles, NDArray[np.str_]]:
    """Return orders that keep stock on hand and on order at the maximum or below, and the reason of each."""
    most = _packs_within(np.maximum(stock.maximum - interval.position, 0), stock)
    why = np.where(amount > most, "limit", why)
    return np.minimum(amount, most), why


def _packs_within(room: Doubles, stock: Stock) -> Doubles:
    """Return the whole packs that units have room for, (N,); 0 where a minimum order does not fit."""
    packs = np.floor(room / stock.pack + CLOSE) * stock.pack
    return np.where(packs < in_packs(stock.minimum, stock.pack), 0, packs)
