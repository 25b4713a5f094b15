"""Analogues find what followed histories like one's own, and the trend of the keys beside."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from demandcast.errors import ConfigError
from demandcast.local import Analogues
from demandcast.local.analogues import _iterate_features, _sibling_trend
from demandcast.local.parts.histories import Histories

from .conftest import panel_of


def test_figures_are_those_of_a_plain_loop() -> None:
    y = [0.0, 3, 0, 0, 2, 0]
    past = Histories.from_rows(np.array([[np.nan, np.nan, *y], [1.0, 0, 0, 0, 0, 0, 0, 5]]))
    row, told, level = list(_iterate_features(past, 1.0, None, 3))[-1]
    assert row == 8
    weight = 0.85 ** np.arange(5, -1, -1)
    expected = (weight * y).sum() / weight.sum()
    assert level[0] == pytest.approx(expected)
    assert told[0, 0] == pytest.approx(np.sqrt(expected), rel=1e-6)
    assert told[0, 3] == pytest.approx(1.5 * (weight * (np.array(y) > 0)).sum() / weight.sum())
    np.testing.assert_allclose(told[:, 6], 0.3 * np.log1p([1, 0]), rtol=1e-6)


def test_heading_is_the_trend_of_the_neighbours_not_of_oneself() -> None:
    order = np.array([2, 0, 1])  # series 2 stands first, then 0, then 1
    newer, older = np.array([0.1, 0.4, 0.9]), np.array([0.5, 0.4, 0.3])
    found = _sibling_trend(np.stack([newer, older]), order)
    near, far = np.exp(-0.25), np.exp(-0.5)
    beside = [  # of 0: both at one step; of 1: 0 at one, 2 at two; of 2: 0 at one, 1 at two
        ((newer[2] + newer[1]) / 2, (older[2] + older[1]) / 2),
        *(((near * newer[0] + far * newer[i]) / (near + far),
           (near * older[0] + far * older[i]) / (near + far)) for i in (2, 1)),
    ]  # fmt: skip
    np.testing.assert_allclose(found, [np.log((a + 0.03) / (b + 0.03)) for a, b in beside])


def test_what_followed_alike_histories_is_forecast() -> None:
    """Half of the series double after five steps without demand, half stop; their past tells which."""
    rng = np.random.default_rng(0)
    pulses = np.tile([0.0, 0, 0, 2], (200, 15))
    fading = rng.poisson(3, (200, 60)) * (np.arange(60) < rng.integers(25, 50, (200, 1)))
    panel = panel_of(*pulses, *fading, behind=4)
    forecast = Analogues(h=4, neighbours=60).predict(panel, levels=[0.5, 0.9])
    assert (forecast.quantile(0.9)[:200] == 2).mean() > 0.9
    dead = fading[:, 46:56].sum(1) == 0
    assert (forecast.quantile(0.9)[200:][dead] == 0).all()


def test_rows_in_another_order_change_nothing() -> None:
    rng = np.random.default_rng(1)
    panel = panel_of(*rng.poisson(1, (60, 30)))
    mixed = rng.permutation(60)
    straight = Analogues(h=3, neighbours=20).predict(panel)
    other = Analogues(h=3, neighbours=20).predict(panel.select(mixed))
    # neighbours at one distance are taken as they come, so that a few laws differ a little
    close = np.isclose(straight.mean[mixed], other.mean, atol=1e-5).all(1)
    assert close.mean() > 0.7
    np.testing.assert_allclose(straight.mean[mixed], other.mean, atol=0.15)


def test_keys_of_several_columns_have_an_order() -> None:
    rng = np.random.default_rng(2)
    panel = panel_of(*rng.poisson(1, (6, 30)))
    keys = pl.DataFrame({"store": [2, 1, 2, 1, 2, 1], "item": list("ccbbaa")})
    object.__setattr__(panel, "keys", keys)
    assert np.isfinite(Analogues(h=3).predict(panel).mean).all()


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match="neighbours is 0"):
        Analogues(h=2, neighbours=0)
    with pytest.raises(ConfigError, match="siblings is 'yes'"):
        Analogues(h=2, siblings="yes")
