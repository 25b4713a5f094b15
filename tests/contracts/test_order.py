"""A series' forecast is its own: not the order of the series, their company nor the batches change it.

Where a method learns from all series of the panel (`pools`), the company counts, but never the order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from demandcast import registry
from demandcast.forecast.forecast import Forecast
from demandcast.frames import read_panel
from demandcast.frames.examples import retail
from demandcast.models.base import NeuralForecaster
from demandcast.models.multivariate import MultivariateForecaster
from demandcast.panel.panel import Panel

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LEVELS = (0.1, 0.5, 0.9)
ORDER = np.random.default_rng(5).permutation(10)
SOME = np.array([7, 2, 4])
NETWORKS = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
ALONE = [
    n
    for n, kind in registry.classes().items()
    if not kind.pools and not issubclass(kind, MultivariateForecaster)
]


@pytest.fixture(scope="module")
def panel() -> Panel:
    frame = retail(n_items=10, n_days=90, seed=2).frame
    return read_panel(
        frame, key="item", time="date", target="units", freq="D", known=["price", "promo"]
    ).drop_last(7)


_fitted: dict[str, Any] = {}


def fitted(name: str, panel: Panel) -> Any:
    if name not in _fitted:
        hyper: dict[str, Any] = {}
        if name in NETWORKS:
            hyper = {"max_steps": 3, "batch_size": 8, "context": 28, "seed": 3}
        if name == "lightgbm":
            hyper = {"trees": 8}
        if name == "auto":
            hyper = {"budget": "4 steps", "include": ("seasonal_naive", "tsb", "nlinear")}
        _fitted[name] = registry.create(name, horizon=7, **hyper).fit(panel)
    return _fitted[name]


def forecast(name: str, model: Any, panel: Panel) -> Forecast:
    paths = {"n_samples": 60} if "paths" in registry.get(name).gives else {}
    made: Forecast = model.predict(panel, levels=LEVELS, **paths)
    return made


_wholes: dict[str, Forecast] = {}


def whole_of(name: str, panel: Panel) -> Forecast:
    """The forecast of all series at once, made once."""
    if name not in _wholes:
        _wholes[name] = forecast(name, fitted(name, panel), panel)
    return _wholes[name]


def assert_same(one: Forecast, other: Forecast, series: Any) -> None:
    """The forecasts of some series by `one` are those of `other`."""
    assert one.keys[series.tolist()].equals(other.keys)
    np.testing.assert_allclose(other.mean, one.mean[series], **CLOSE)
    np.testing.assert_allclose(other.quantiles, one.quantiles[series], **CLOSE)
    if one.samples is not None:
        assert other.samples is not None
        np.testing.assert_allclose(other.samples, one.samples[series], **CLOSE)


@pytest.mark.parametrize("name", registry.names())
def test_order_does_not_matter(name: str, panel: Panel) -> None:
    model = fitted(name, panel)
    assert_same(whole_of(name, panel), forecast(name, model, panel.select(ORDER)), ORDER)


@pytest.mark.parametrize("name", [n for n in registry.names() if n not in NETWORKS])
def test_order_does_not_matter_to_what_is_learned(name: str, panel: Panel) -> None:
    first = whole_of(name, panel)
    known = dict(_fitted)
    _fitted.pop(name, None)
    other = forecast(name, fitted(name, panel.select(ORDER)), panel.select(ORDER))
    _fitted.update(known)
    assert_same(first, other, ORDER)


@pytest.mark.parametrize("name", ALONE)
def test_company_does_not_matter(name: str, panel: Panel) -> None:
    model = fitted(name, panel)
    whole = whole_of(name, panel)
    assert_same(whole, forecast(name, model, panel.select(SOME)), SOME)
    assert_same(whole, forecast(name, model, panel.select(SOME[:1])), SOME[:1])


@pytest.mark.parametrize("name", [n for n, k in registry.classes().items() if k.exact_alone])
def test_panels_forecast_together_and_one_by_one_are_equal_to_the_bit(
    name: str, panel: Panel
) -> None:
    model = fitted(name, panel)
    shorter = panel.select(SOME).drop_last(31)
    panels = [panel.select(ORDER[:3]), shorter, panel.select(ORDER[2:4])]
    paths = {"n_samples": 20} if "paths" in registry.get(name).gives else {}
    for own, made in zip(panels, model.predict_each(panels, levels=LEVELS, **paths), strict=True):
        alone: Forecast = model.predict(own, levels=LEVELS, **paths)
        assert made.keys.equals(alone.keys)
        for values in ("cutoffs", "quantiles", "mean", "samples"):
            np.testing.assert_array_equal(getattr(made, values), getattr(alone, values))


@pytest.mark.parametrize("name", [n for n in NETWORKS if n in ALONE])
def test_batches_do_not_matter(name: str, panel: Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(name, panel)
    whole = whole_of(name, panel)
    monkeypatch.setattr(type(model), "rows", 180 if model.samples_paths else 3)
    assert_same(whole, forecast(name, model, panel), np.arange(10))


@pytest.mark.parametrize("name", [n for n in registry.names() if "paths" in registry.get(n).gives])
def test_series_alike_draw_paths_of_their_own(name: str, panel: Panel) -> None:
    """Two series of one history get different paths, of one distribution."""
    if issubclass(registry.get(name), MultivariateForecaster) or name == "zero":
        pytest.skip("draws nothing, or knows its series")
    model = fitted(name, panel)
    if getattr(getattr(model, "config", None), "series_embedding", False):
        pytest.skip("knows its series by a vector")
    twice = panel.select(np.array([0, 0]))
    keys = twice.keys.with_columns(twice.keys["item"].scatter(1, "another"))
    made: Forecast = model.predict(
        Panel(**{**vars(twice), "keys": keys}), levels=LEVELS, n_samples=2000
    )
    assert made.samples is not None
    one, other = made.samples.astype(np.float64)
    assert (one != other).mean() > 0.05
    assert np.unique(one[:, 0]).size > 1
    first, second = one[:, 0], other[:, 0]
    assert scipy.stats.ks_2samp(first, second).pvalue > 1e-5
    if first.std() and second.std():  # ranks, for some paths are far out
        assert abs(scipy.stats.spearmanr(first, second).statistic) < 0.12
