"""A sign constraint holds at every level, keeps the planted effect, and is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.cli.options import hyperparameters
from demandcast.errors import ConfigError

SMALL: dict[str, Any] = {
    "trees": 40,
    "least": 10,
    "rows": 4000,
    "levels": (0.1, 0.5, 0.9),
    "learning_rate": 0.1,
}
DAYS, HORIZON = 200, 7


def shop(elasticity: float) -> dc.Panel:
    """Four items whose demand follows price^elasticity, with prices that move by themselves."""
    rng, day = np.random.default_rng(0), np.arange(DAYS)
    parts = []
    for item in range(4):
        price = np.round(rng.uniform(1, 3, DAYS), 1)
        mean = 30 * price**elasticity * (1 + 0.3 * (day % 7 == 5))
        table = {
            "item": [item] * DAYS,
            "date": np.datetime64("2024-01-01") + day,
            "units": rng.poisson(mean),
            "price": price,
        }
        parts.append(pl.DataFrame(table))
    return dc.read_panel(
        pl.concat(parts), key="item", time="date", target="units", freq="D", known=["price"]
    )


def curves(model: dc.trees.LightGBM, panel: dc.Panel) -> np.ndarray[Any, Any]:
    """Quantiles at prices from low to high at every step ahead, (prices, N, H, Q)."""
    found = []
    for price in np.linspace(0.9, 3.1, 12):
        known = panel.known.copy()
        for begin, length in zip(panel.begins, panel.lengths, strict=True):
            known[begin + length : begin + length + HORIZON] = price
        found.append(model.predict(replace(panel, known=known), levels=(0.1, 0.5, 0.9)).quantiles)
    return np.stack(found)


def test_a_sign_holds_at_every_level_and_keeps_the_planted_effect(tmp_path: Path) -> None:
    panel = shop(-1.5).drop_last(HORIZON)
    model = dc.trees.LightGBM(horizon=HORIZON, monotone={"price": -1}, **SMALL).fit(panel)
    found = curves(model, panel)
    assert np.diff(found, axis=0).max() <= 1e-4
    fall = found[2:4, ..., 1].mean() / found[-3:-1, ..., 1].mean()  # at prices 1.4 and 2.8
    assert fall == pytest.approx(2**1.5, rel=0.25)
    free = dc.trees.LightGBM(horizon=HORIZON, **SMALL).fit(panel)
    assert np.diff(curves(free, panel), axis=0).max() > 0.01  # without the sign some steps go up
    model.save(tmp_path / "run")
    again = dc.load(tmp_path / "run")
    assert again.hyperparameters()["monotone"] == {"price": -1}
    np.testing.assert_array_equal(again.predict(panel).quantiles, model.predict(panel).quantiles)


def test_against_the_data_the_effect_vanishes() -> None:
    panel = shop(-1.5).drop_last(HORIZON)
    model = dc.trees.LightGBM(horizon=HORIZON, monotone={"price": 1}, **SMALL).fit(panel)
    assert np.diff(curves(model, panel), axis=0).min() >= -1e-4


def test_quantiles_of_the_smoothed_loss_are_quantiles() -> None:
    panel = shop(-0.5)
    model = dc.trees.LightGBM(horizon=HORIZON, monotone={"price": -1}, **SMALL).fit(panel)
    forecast = model.predict(panel.drop_last(HORIZON))
    actual = panel.drop_last(HORIZON).future_target(HORIZON)
    assert (
        0.55 < ((actual > forecast.quantile(0.1)) & (actual < forecast.quantile(0.9))).mean() < 0.97
    )


def test_wrong_signs_are_refused() -> None:
    for wrong in ({"price": 2}, {"price": "down"}, ["price"]):
        with pytest.raises(ConfigError, match="monotone is"):
            dc.trees.LightGBM(horizon=3, monotone=wrong)
    with pytest.raises(ConfigError, match="monotone names 'prise'"):
        dc.trees.LightGBM(horizon=3, monotone={"prise": -1}, **SMALL).fit(shop(-1))
    setting = hyperparameters(["lightgbm"], ["monotone={'price': -1}"], seed=0)
    assert setting["lightgbm"]["monotone"] == {"price": -1}
