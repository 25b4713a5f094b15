"""A method whose answers are known: what-if and explanations are checked against it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

import demandcast as dc
from demandcast.draws.arrays import Draws
from demandcast.forecast.apply_changes import known_ahead
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Forecaster

DAYS, HORIZON, ITEMS = 56, 14, ("a", "b")
EFFECTS = {"price": -2.0, "promo": 5.0, "noise": 0.0, "event=fair": 3.0, "event=none": 0.0}


class Linear(Forecaster):
    """20 plus the effects, plus exponential noise that depends on the series and the seed alone."""

    name = "linear"
    summary = "for tests"
    takes = "target, known"
    gives = "paths and quantiles"

    def __init__(self, horizon: int = HORIZON, *, together: float = 0.0) -> None:
        self.horizon, self.together = horizon, together

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {"together": 0.0}

    def hyperparameters(self) -> dict[str, Any]:
        return {"horizon": self.horizon, "together": self.together}

    def fit(self, panel: dc.Panel) -> Linear:
        return self

    def _forecast(self, panel: dc.Panel, ask: Ask) -> Draft:
        known = dict(
            zip(panel.known_names, np.moveaxis(known_ahead(panel, self.horizon), 2, 0), strict=True)
        )
        mean = 20 + sum(EFFECTS[name] * values for name, values in known.items())
        mean = mean + self.together * known["price"] * known["promo"]
        size = (len(mean), ask.n_samples or 50, self.horizon)
        paths = mean[:, None] + Draws.of(panel.keys, 0).normal(size)
        return Draft(np.quantile(paths, ask.levels, axis=1).transpose(1, 2, 0), mean, paths)


def shop(**columns: Any) -> dc.Panel:
    """Two items of 56 days and 14 ahead; price 2 with a sale at 1, a promotion a week, a fair now and then."""
    day = np.arange(DAYS + HORIZON)
    rng = np.random.default_rng(0)
    promo = (day % 7 == 3).astype(float)
    parts = []
    for item in ITEMS:
        units = 20 + rng.normal(0, 1, len(day))
        units[DAYS:] = np.nan
        parts.append(
            pl.DataFrame(
                {
                    "item": [item] * len(day),
                    "date": np.datetime64("2024-01-01") + day,
                    "units": units,
                    "price": np.where(day % 10 == 5, 1.0, 2.0 + (day % 3 == 0)),
                    "promo": promo,
                    "noise": rng.normal(0, 1, len(day)),
                    "event": np.where(day % 13 == 4, "fair", "none"),
                    **{name: [value] * len(day) for name, value in columns.items()},
                }
            ).with_columns(pl.col("units").fill_nan(None))
        )
    known = ["price", "promo", "noise", "event", *columns]
    return dc.read_panel(
        pl.concat(parts), key="item", time="date", target="units", freq="D", known=known
    )
