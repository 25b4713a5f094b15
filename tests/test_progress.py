"""A listener hears of all bars, and what it raises ends the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast import registry
from demandcast.forecaster import Forecaster, fit
from demandcast.panel.panel import Panel
from demandcast.progress import Bar, Cancelled, listening

Fit = Callable[[Panel], object]
WORK: dict[str, Fit] = {
    "auto": lambda p: dc.auto(p, horizon=3, include=["ses", "tsb"], progress=False),
    "lightgbm": lambda p: fit(registry.create("lightgbm", horizon=3, trees=5), p, progress=False),
    "dlinear": lambda p: dc.models.DLinear(horizon=3, max_steps=20).fit(p, progress=False),
    "backtest": lambda p: dc.backtest("ses", p, horizon=3, progress=False),
}


@pytest.fixture(scope="module")
def panel() -> Panel:
    days = np.datetime64("2024-01-01") + np.arange(60)
    return dc.read_panel(pl.DataFrame({"date": days, "units": np.arange(60) % 7}))


@pytest.mark.parametrize("name", WORK)
def test_what_a_listener_raises_ends_the_work(panel: Panel, name: str) -> None:
    seen: list[str] = []

    def hear(bars: Any) -> None:
        seen.append(bars[0].label)
        if len(seen) == 2:
            raise Cancelled

    with pytest.raises(Cancelled), listening(hear):
        WORK[name](panel)
    assert len(seen) == 2
    assert name in seen[0].lower()


def test_an_interrupt_by_the_listener_leaves_the_best_of_auto(panel: Panel) -> None:
    heard = 0

    def hear(bars: Any) -> None:
        nonlocal heard
        heard += 1
        if heard == 4:
            raise KeyboardInterrupt

    with listening(hear):
        model = dc.auto(panel, horizon=3, include=["ses", "tsb", "croston"], progress=False)
    assert isinstance(model, Forecaster)
    assert model.predict(panel).horizon == 3


def test_bars_inside_one_another_are_heard_of_from_the_outermost() -> None:
    seen: list[list[str]] = []
    with listening(lambda bars: seen.append([bar.label for bar in bars])):
        for _ in Bar(range(1), desc="outer", disable=True):
            with Bar(total=1, desc="inner", disable=True) as bar:
                bar.update()
    assert ["outer", "inner"] in seen
    assert seen[-1] == ["outer"]


def test_without_a_listener_a_bar_is_that_of_tqdm() -> None:
    assert list(Bar(range(3), disable=True)) == [0, 1, 2]
