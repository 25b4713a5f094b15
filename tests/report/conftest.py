"""A small monthly panel, a forecast of it, and a stand-in for a backtest of two models."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.panel.panel import Note, Panel
from demandcast.schema import Schema

HOSTILE = '</script><script>alert("x")</script>&$a_1$'
HORIZON, STEPS = 6, 48


def make_panel(freq: str = "MS", keys: tuple[str, ...] = ("Bern", HOSTILE, "Zug", "Chur")) -> Panel:
    n, steps = len(keys), STEPS + HORIZON
    rng = np.random.default_rng(1)
    season = 10 + 3 * np.sin(np.arange(steps) * 2 * np.pi / 12)
    level = np.linspace(1, 9, n)[:, None]
    values = (level * season + rng.normal(0, 1, (n, steps))).astype(np.float32)
    values[0, STEPS + 1] = np.nan
    return Panel(
        schema=Schema(key=("town",), time="month", target="guests", freq=freq),
        keys=pl.DataFrame({"town": list(keys)}),
        target=values.ravel(),
        begins=np.arange(n, dtype=np.int64) * steps,
        extents=np.full(n, steps, np.int64),
        lengths=np.full(n, STEPS, np.int64),
        starts=np.full(n, 360, np.int64),
        known=np.zeros((n * steps, 0), np.float32),
        past=np.zeros((n * steps, 0), np.float32),
        notes=(Note(kind="gaps", count=3, series=1, example=HOSTILE, done="left missing"),),
    )


def make_forecast(panel: Panel, model: str = "deepar", spread: float = 1.0) -> Forecast:
    rng = np.random.default_rng(2)
    base = panel.padded_history(12)[:, :HORIZON]
    paths = base[:, None] + rng.normal(0, spread, (panel.n_series, 200, HORIZON))
    return Forecast.from_samples(paths.astype(np.float32), DEFAULT_LEVELS, panel, model=model)


@pytest.fixture
def panel() -> Panel:
    return make_panel()


@pytest.fixture
def forecast(panel: Panel) -> Forecast:
    return make_forecast(panel)


@pytest.fixture
def result(panel: Panel) -> Any:
    board = pl.DataFrame(
        {
            "model": ["deepar", "seasonal_naive", "drift"],
            "wql": [0.08, 0.1, 0.2],
            "wape": [0.1, 0.12, 0.3],
            "mase": [0.8, 1.0, float("nan")],
            "vs_seasonal_naive": [0.8, 1.0, 2.0],
            "verdict": [
                "beats seasonal naive",
                "is the seasonal naive",
                "loses to seasonal naive",
            ],
        }
    )
    spreads = {"deepar": 1.0, "seasonal_naive": 2.0, "drift": 6.0}
    return SimpleNamespace(
        models=tuple(spreads),
        folds=1,
        horizon=HORIZON,
        leaderboard=lambda: board,
        forecasts={m: [make_forecast(panel, m, s)] for m, s in spreads.items()},
        actuals=[panel.future_target(HORIZON)],
        panels=[panel],
    )
