"""The orders of a report: a table to search, sort and download, each with its reason and its risk."""

from __future__ import annotations

from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from demandcast.report.columns import Columns

if TYPE_CHECKING:
    from demandcast.decide.orders import Orders

MOST_UNITS = 2**31  # from which orders are no longer exact in the page
TITLES = {  # column of `Orders.to_frame` -> its title, and what it means
    "on_hand": ("On hand", "stock after the last step"),
    "order": ("Order", "units to order now"),
    "order_up_to": (
        "Up to",
        "stock on hand and on order that the rule asks for, before packs and limits",
    ),
    "expected_demand": ("Demand", "mean demand over lead time and review period"),
    "p_stock_out": (
        "Risk",
        "probability that the item runs out between this delivery and the next one",
    ),
    "fill_rate": ("Served", "share of that demand expected to be served from stock"),
    "expected_held": ("Left", "units expected in stock before the next delivery"),
    "expected_lost": ("Short", "units expected to be missing"),
    "cost": ("Cost", "expected cost of units left and short, and of placing the order"),
    "reorder_point": ("Order at", "stock on hand and on order at which an order is placed"),
    "quantity": ("Quantity", "what one order brings"),
    "expected_spoiled": ("Spoiled", "units of this order expected to spoil"),
    "why": ("Why", "what decided"),
}
REASONS = {
    "enough": "stock is sufficient",
    "cost": "the least expected cost",
    "service": "the service level or fill rate",
    "pack": "rounded to packs",
    "minimum": "the smallest order allowed",
    "limit": "cut by a maximum or the budget",
    "no history": "no demand was observed; forecast from similar items",
    "calendar": "no order day now",
    "shelf life": "more would spoil",
    "phase-out": "no demand after a date",
}
SHARES = ("p_stock_out", "fill_rate")


def pack_orders(orders: Orders, columns: Columns) -> dict[str, Any]:
    """Add the numbers of orders to the columns, and return the header that the page's script reads."""
    frame = orders.to_frame().rename(
        {orders.forecast.column(name): name for name in TITLES if name not in ("on_hand",)},
        strict=False,
    )
    values = {"on_hand": orders.stock.on_hand} | {
        name: frame[name].to_numpy() for name in TITLES if name in frame.columns and name != "why"
    }
    listed = []
    for name in TITLES:
        if name in values and not _is_empty(values[name]):
            exact = values[name].astype(np.float64)
            whole = (exact == np.rint(exact)).all() and np.abs(exact).max(initial=0) < MOST_UNITS
            packed = columns.add(exact.astype(np.int64) if whole else exact)
            listed.append(
                {"id": name, "title": TITLES[name][0], "share": name in SHARES, "values": packed}
            )
    reasons, codes = np.unique(orders.why, return_inverse=True)
    why = {"names": [str(r) for r in reasons], "codes": columns.add(codes.astype(np.int64))}
    return {"columns": listed, "why": why}


def orders_section(orders: Orders, template: str) -> str:
    """Return the section of the page: a summary, the place of the table, and what its columns mean."""
    parts = [part[:1].upper() + part[1:] for part in orders.summary().split("; ")]
    summary = f"<p>{escape('. '.join(parts))}.</p>"
    shown = [name for name in TITLES if name in ("on_hand", *orders.to_frame().columns)]
    words = [f"<dt>{TITLES[name][0]}</dt><dd>{TITLES[name][1]}</dd>" for name in shown]
    reasons = [
        f"<dt>{escape(reason)}</dt><dd>{REASONS[reason]}</dd>" for reason in REASONS if reason in orders.why
    ]  # fmt: skip
    return Template(template).substitute(summary=summary, words="".join([*words, *reasons]))


def _is_empty(values: Any) -> bool:
    """Return whether nothing is known, as of costs where the rule is a service."""
    return bool(np.isnan(np.asarray(values, np.float64)).all())
