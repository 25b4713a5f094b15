"""A progress bar is gone before the error that ended it is printed, and the interrupt too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from tqdm import tqdm

import demandcast as dc
from demandcast.frames.examples import retail
from demandcast.models.network import Network

HYPER: dict[str, Any] = {"context": 14, "max_steps": 2}


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    frame = retail(n_items=4, n_days=90, seed=1).frame
    return dc.read_panel(frame, key="item", time="date", target="units", freq="D")


def predict(panel: dc.Panel) -> None:
    dc.models.NHITS(horizon=7, **HYPER).fit(panel, progress=False).predict(panel, progress=True)


def fitted(panel: dc.Panel) -> None:
    model = dc.models.NHITS(horizon=7, **HYPER).fit(panel, progress=False)
    model.fitted(panel, steps=14, progress=True)


def backtest(panel: dc.Panel) -> None:
    dc.backtest(dc.models.NHITS(horizon=7, **HYPER), panel, folds=2, progress=True)


def replay(panel: dc.Panel) -> None:
    model, stock = dc.models.NHITS(horizon=3, **HYPER), panel.keys.with_columns(on_hand=pl.lit(3))
    dc.replay(model, panel, stock, rounds=2, service=0.9, lead_time=1, progress=True)


def tune(panel: dc.Panel) -> None:
    dc.tune("nhits", panel, horizon=7, trials=1, space={"dropout": [0.1]}, **HYPER)


@pytest.mark.parametrize(
    "work", [predict, fitted, backtest, replay, tune], ids=lambda w: w.__name__
)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_bar_closes_after_an_error(
    work: Callable[[dc.Panel], None],
    error: type[BaseException],
    panel: dc.Panel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    shown: list[Any] = []
    own = tqdm.__init__

    def opened(bar: Any, *args: Any, **kwargs: Any) -> None:
        own(bar, *args, **kwargs)
        shown.append(bar)

    monkeypatch.setattr(tqdm, "__init__", opened)
    monkeypatch.setattr(Network, "predict", fail)
    with pytest.raises((error, dc.errors.ConfigError)) as caught:
        work(panel)
    assert shown
    assert not [bar.desc for bar in shown if bar in tqdm._instances], caught
