"""The forecasting tasks that models are scored on: real data, a horizon, and cutoffs to forecast from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import demandcast as dc


def read(frame: Any, **roles: Any) -> dc.Panel:
    """Read a table with every series, those that end before the others too: competitions score them."""
    return dc.read_panel(frame, ended="keep", **roles)


@dataclass(frozen=True)
class Task:
    """One line of a table: what is forecast, how far, and from how many cutoffs."""

    horizon: int
    load: Callable[[Path], dc.Panel]  # the whole panel; the backtest holds out its last folds
    folds: int = 1  # cutoffs, one horizon apart; models are fitted at the first


def _long(
    name: str, *, static: list[str] | None = None, **roles: Any
) -> Callable[[Path], dc.Panel]:
    """A long table with its static attributes, where some are wanted."""

    def load(data: Path) -> dc.Panel:
        if static:
            roles.update(static=static, static_table=data / f"{name}_static.parquet")
        return read(data / f"{name}.parquet", **roles)

    return load


def _wide(name: str, columns: str, known: str | None = None) -> Callable[[Path], dc.Panel]:
    """A table of one column a series; other columns, known ahead, are shared by all of them."""

    def load(data: Path) -> dc.Panel:
        frame = pl.read_parquet(data / f"{name}.parquet")
        shared = frame.select(pl.col(known)).columns if known else []
        frame = frame.select("ds", *shared, pl.col(columns))
        long = frame.unpivot(index=["ds", *shared], variable_name="unique_id", value_name="y")
        return read(long, known=shared)

    return load


def _nominal(name: str, every: str) -> Callable[[Path], dc.Panel]:
    """A competition's table without a calendar: steps are counted from 2000-01-01."""

    def load(data: Path) -> dc.Panel:
        frame = pl.read_parquet(data / f"{name}.parquet").drop("is_test")
        steps = pl.concat_str(pl.col("ds"), pl.lit(every))
        frame = frame.with_columns(ds=pl.lit(datetime(2000, 1, 1)).dt.offset_by(steps))
        return read(frame)

    return load


HOLIDAYS = {"super_bowl": 2, "labor_day": 9, "thanksgiving": 11, "christmas": 12}  # month of each


def _walmart(data: Path) -> dc.Panel:
    """Weekly sales with a flag for each holiday: the four differ in what they do to sales."""
    frame = pl.read_parquet(data / "walmart_weekly.parquet")
    month = pl.col("ds").dt.month()
    flags = [
        (pl.col("is_holiday") * (month == number)).cast(pl.Int8).alias(name)
        for name, number in HOLIDAYS.items()
    ]
    return read(
        frame.with_columns(flags),
        known=list(HOLIDAYS),
        static=["dept", "store_type", "store_size"],
        static_table=data / "walmart_weekly_static.parquet",
    )


def _m5(data: Path) -> dc.Panel:
    """Unit sales, with department and store; no prices, which the source does not give."""
    return read(
        data / "m5_daily.parquet",
        static=["dept_id", "store_id"],
        static_table=data / "m5_daily_static.parquet",
    )


def _m5_sample(data: Path) -> dc.Panel:
    """3,000 of its series, always the same ones."""
    panel = _m5(data)
    chosen = np.random.default_rng(0).choice(panel.n_series, 3000, replace=False)
    return panel.select(np.sort(chosen))


TASKS = {
    "tourism_monthly": Task(24, _nominal("tourism_monthly", "mo")),
    "m3_monthly": Task(18, _nominal("m3_monthly", "mo")),
    "m4_weekly": Task(13, _nominal("m4_weekly", "w")),
    "m4_hourly": Task(48, _nominal("m4_hourly", "h")),
    "m4_hourly_24h": Task(24, _nominal("m4_hourly", "h"), folds=7),
    "electricity_10clients_2014": Task(
        24, _wide("electricity_10clients_2014", "^client.*$"), folds=28
    ),
    "gefcom2012_load": Task(24, _wide("gefcom2012_load", "^zone.*$"), folds=28),
    "electricity_168h": Task(168, _wide("electricity_10clients_2014", "^client.*$"), folds=4),
    "gefcom2012_168h": Task(168, _wide("gefcom2012_load", "^zone.*$"), folds=4),
    # the temperatures that came, as the competition gives them for its backcasts: forecasts of
    # the weather that are never wrong
    "gefcom2012_weather": Task(
        24, _wide("gefcom2012_load", "^zone.*$", known="^temp.*$"), folds=28
    ),
    "gefcom2012_weather_168h": Task(
        168, _wide("gefcom2012_load", "^zone.*$", known="^temp.*$"), folds=4
    ),
    "rossmann_top100": Task(
        48,
        _long(
            "rossmann_top100",
            known=["open", "promo", "school_holiday"],
            static=["store_type", "assortment", "state"],
        ),
    ),
    "walmart_weekly": Task(
        8,
        _long("walmart_weekly", known=["is_holiday"], static=["dept", "store_type", "store_size"]),
    ),
    "walmart_holidays": Task(8, _walmart),
    "stallion_monthly": Task(
        6,
        _long(
            "stallion_monthly",
            known=["price_regular", "price_actual", "discount"],
            past=["industry_volume", "soda_volume", "avg_max_temp"],
            static=["agency", "sku"],
        ),
    ),
    "carparts_monthly": Task(12, _long("carparts_monthly")),
    "auto_parts_monthly": Task(6, _long("auto_parts_monthly")),
    "m5_daily": Task(28, _m5),
    "m5_daily_3000": Task(28, _m5_sample),
    "montevideo_bus": Task(24, _wide("montevideo_bus", "^stop_.*$"), folds=7),
}
