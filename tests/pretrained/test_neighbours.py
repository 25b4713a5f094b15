"""Covariates of the steps before and after: read where held-out windows gain by them, and else not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.errors import ConfigError
from demandcast.models.zero_shot import ZeroShot
from demandcast.panel.panel import Panel
from demandcast.pretrained.inputs import Histories
from demandcast.pretrained.neighbours import with_neighbours

STEPS, AHEAD, SERIES = 140, 14, 6


def shops(effect: float) -> Panel:
    """Shops that close on random days, and sell more on the day before by `effect`."""
    rng = np.random.default_rng(0)
    shut = rng.random((SERIES, STEPS + AHEAD + 1)) < 0.15
    sales = (
        20
        * (1 + effect * shut[:, 1:])
        * ~shut[:, :-1]
        * rng.gamma(90, 1 / 90, (SERIES, STEPS + AHEAD))
    )
    sales[:, STEPS:] = np.nan
    days = np.datetime64("2024-01-01") + np.arange(STEPS + AHEAD)
    table = pl.DataFrame(
        {
            "shop": np.repeat([f"s{i}" for i in range(SERIES)], STEPS + AHEAD),
            "day": np.tile(days, SERIES),
            "sales": pl.Series(sales.ravel()).fill_nan(None),
            "shut": shut[:, :-1].ravel().astype(float),
        }
    )
    return dc.read_panel(table, key="shop", time="day", target="sales", known=["shut"])


@pytest.fixture(scope="module")
def stocking() -> Panel:
    return shops(0.8)


def test_each_step_gets_the_covariates_of_its_neighbours_and_none_beyond_the_ends() -> None:
    known = torch.arange(10.0).reshape(1, 5, 2)
    h = Histories(torch.zeros(1, 3), known, torch.tensor([[7, 0]]), torch.zeros(1, 2))
    found = with_neighbours(h).known
    torch.testing.assert_close(found[..., :2], known)
    torch.testing.assert_close(found[:, 1:, 2:4], known[:, :-1])
    torch.testing.assert_close(found[:, :-1, 4:], known[:, 1:])
    assert found[:, 0, 2:4].isnan().all()
    assert found[:, -1, 4:].isnan().all()


def test_the_day_before_a_closure_is_forecast_once_its_neighbours_are_read(
    stocking: Panel, tmp_path: Path
) -> None:
    chosen = ZeroShot(horizon=AHEAD).fit(stocking)
    assert chosen.neighbours
    shut = stocking.known[:, 0].reshape(SERIES, -1)[:, STEPS:]
    before = (shut[:, 1:] == 1) & (shut[:, :-1] == 0)
    plain = (shut[:, 1:] == 0) & (shut[:, :-1] == 0)

    def rise(model: ZeroShot) -> float:
        median = model.predict(stocking).quantile(0.5)[:, :-1]
        return float(median[before].mean() / median[plain].mean())

    assert rise(chosen) > 1.4  # 1.8 in truth
    assert rise(ZeroShot(horizon=AHEAD, neighbours=False).fit(stocking)) < 1.2
    chosen.save(tmp_path)
    back = dc.load(tmp_path)
    np.testing.assert_array_equal(
        back.predict(stocking).quantiles, chosen.predict(stocking).quantiles
    )


def test_neighbours_that_tell_nothing_change_nothing() -> None:
    panel = shops(0.0)
    fitted = ZeroShot(horizon=AHEAD).fit(panel)
    assert not fitted.neighbours
    np.testing.assert_array_equal(
        fitted.predict(panel).quantiles, ZeroShot(horizon=AHEAD).predict(panel).quantiles
    )


def test_the_choice_may_be_made_by_hand_and_a_refit_makes_it_again(stocking: Panel) -> None:
    forced = ZeroShot(horizon=AHEAD, neighbours=True)
    assert forced.neighbours
    assert not ZeroShot(horizon=AHEAD, neighbours=False).fit(stocking).neighbours
    model = ZeroShot(horizon=AHEAD).fit(stocking)
    assert not model.fit(shops(0.0)).neighbours
    with pytest.raises(ConfigError, match="neighbours is 'yes'"):
        ZeroShot(horizon=AHEAD, neighbours="yes")
