"""Point methods and the law around them: calibrated, whole where demand is, finite whatever comes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from demandcast import local
from demandcast.errors import ConfigError, DataError
from demandcast.local import (
    ADIDA,
    HES,
    IMAPA,
    SBA,
    SBJ,
    SES,
    TSB,
    Analogues,
    Croston,
    DampedCounts,
    Empirical,
    GammaPoisson,
    MultiStage,
    Willemain,
    Zero,
)
from demandcast.local.base import LocalForecaster
from demandcast.local.naive import _Naive
from demandcast.local.parts.conditional import Pairs, PooledDistributions
from demandcast.local.parts.histories import Histories
from demandcast.local.parts.weighted_points import WeightedPoints

from .conftest import panel_of

Make = Callable[..., Any]
LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99)
METHODS = [
    kind
    for kind in (getattr(local, name) for name in local.__all__)
    if isinstance(kind, type) and issubclass(kind, LocalForecaster) and not issubclass(kind, _Naive)
]

BOUNDED = (SES, Croston, SBA, SBJ, TSB, HES, ADIDA, IMAPA, Analogues, Empirical, Zero)


@pytest.fixture(scope="module")
def panel() -> Any:
    rng = np.random.default_rng(0)
    rates = rng.gamma(1, 0.7, (400, 1))
    return panel_of(*rng.negative_binomial(0.8, 0.8 / (0.8 + rates), (400, 60)), behind=6)


EDGES = {
    "all_zero": [0.0] * 12,
    "one_demand": [0.0] * 6 + [3.0] + [0.0] * 5,
    "first_only": [4.0] + [0.0] * 11,
    "last_only": [0.0] * 11 + [4.0],
    "fractions": [0.0, 0.5, 0, 0, 1.25, 0, 0, 0.75, 0, 0, 0, 2.5],
    "returns": [0.0, 3, 0, -2, 0, 0, 5, 0, 0, -1, 0, 0],
    "three": [0.0, 2, 0],
    "one": [3.0],
    "gaps": [float("nan"), 2, 0, float("nan"), 0, 1, float("nan")],
    "unseen": [float("nan")] * 4,
}
COUNT_LAWS = (DampedCounts, GammaPoisson, MultiStage)
COUNTED = set(EDGES) - {"fractions", "returns"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("together", [True, False])
def test_odd_histories_give_finite_forecasts(kind: Any, together: bool) -> None:
    edges = {name: y for name, y in EDGES.items() if kind not in COUNT_LAWS or name in COUNTED}
    panels = [panel_of(*edges.values())] if together else [panel_of(y) for y in edges.values()]
    forecasts = [kind(horizon=4).predict(p, levels=LEVELS, n_samples=20) for p in panels]
    quantiles, mean, samples = (
        np.concatenate([getattr(f, part) for f in forecasts])
        for part in ("quantiles", "mean", "samples")
    )
    assert np.isfinite(mean).all()
    assert np.isfinite(samples).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    rest = np.array(list(edges)) != "returns"
    for values in (quantiles[rest], mean[rest], samples[rest]):
        assert (values >= 0).all()
    counts = [i for i, y in enumerate(edges.values()) if not (np.nan_to_num(y) % 1).any()]
    np.testing.assert_array_equal(quantiles[counts], np.rint(quantiles[counts]))
    np.testing.assert_array_equal(samples[counts], np.rint(samples[counts]))
    assert np.abs(quantiles).max() < 50
    if not together:
        assert (quantiles[0] == 0).all()
        assert (mean[0] == 0).all()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", METHODS)
@settings(deadline=None, max_examples=4)
@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 20)),
        elements=st.one_of(st.just(0.0), st.integers(0, 500).map(float)),
    ),
    st.integers(1, 9),
)
def test_any_counts_give_ordered_whole_quantiles(kind: Any, table: Any, horizon: int) -> None:
    forecast = kind(horizon=horizon).predict(panel_of(*table), levels=LEVELS)
    quantiles = forecast.quantiles
    assert quantiles.shape == (len(table), horizon, len(LEVELS))
    assert np.isfinite(forecast.mean).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert (quantiles >= 0).all()
    np.testing.assert_array_equal(quantiles, np.rint(quantiles))
    # with one value a series, no value tells what follows another
    bounded = kind in BOUNDED and table.shape[1] > 1
    assert quantiles.max() <= (table.max() if bounded else 40 * table.max() + 50)


@pytest.mark.parametrize("kind", METHODS)
def test_a_panel_of_single_values_is_forecast_about_them(kind: Any) -> None:
    nan = math.nan
    forecast = kind(horizon=4).predict(panel_of([3.0], [40.0], [nan, 8.0, nan, nan]))
    value = np.array([[3], [40], [8]])
    # these three weigh one value no more than what the panel or a flat prior says of it
    leans = kind in (DampedCounts, MultiStage, Willemain)
    if kind is not Zero:
        assert (forecast.mean > (0.1 if leans else 0.75) * value).all()
    assert (forecast.mean < (4.5 if leans else 1.35) * value).all()


VALUES = st.one_of(
    st.just(0.0),
    st.just(float("nan")),
    st.integers(-20, 500).map(float),
    st.floats(-20, 500, width=32),
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", METHODS)
@settings(deadline=None, max_examples=4)
@given(st.lists(st.lists(VALUES, min_size=1, max_size=14), min_size=1, max_size=5))
def test_any_values_give_finite_quantiles_or_a_named_error(kind: Any, series: Any) -> None:
    """Fractions, returns, gaps, series of all lengths: no count law takes the first two."""
    values = np.concatenate([np.float32(y) for y in series])
    values = values[~np.isnan(values)]
    counts = bool(((values >= 0) & (values == np.rint(values))).all())
    panel = panel_of(*series)
    if kind in COUNT_LAWS and not counts:
        with pytest.raises(DataError, match=rf"{kind.name} forecasts counts, but series s\d holds"):
            kind(horizon=3).predict(panel)
        return
    forecast = kind(horizon=3).predict(panel, levels=LEVELS, n_samples=5)
    for part in (forecast.mean, forecast.quantiles, forecast.samples):
        assert np.isfinite(part).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()
    for i, y in enumerate(series):
        if np.nanmin([0.0, *y]) >= 0:
            assert forecast.quantiles[i].min() >= 0
            assert forecast.samples[i].min() >= 0


CALIBRATED = [*(SES, Croston, SBA, SBJ, TSB, HES, ADIDA, IMAPA, Analogues), *COUNT_LAWS]


@pytest.mark.parametrize("kind", CALIBRATED)
def test_quantiles_are_reached_as_often_as_they_say(kind: Any, panel: Any) -> None:
    """Counts cover at least their level, and one less than the quantile at most."""
    forecast = kind(horizon=6).predict(panel, levels=LEVELS)
    came = panel.future_target(6)
    for i, level in enumerate(LEVELS):
        upto = (came <= forecast.quantiles[..., i]).mean()
        below = (came < forecast.quantiles[..., i]).mean()
        # 2,400 values, of series whose rate is not known: 0.03 is three standard errors
        assert below - 0.03 <= level <= upto + 0.03, (level, below, upto)


@pytest.mark.parametrize("kind", CALIBRATED)
def test_sums_over_the_horizon_are_calibrated_too(kind: Any, panel: Any) -> None:
    paths = kind(horizon=6).predict(panel, n_samples=200).samples.sum(-1)  # (n, S)
    came = panel.future_target(6).sum(-1)
    for level in (0.5, 0.8, 0.95):
        bound = np.quantile(paths, level, axis=1, method="inverted_cdf")
        assert (came < bound).mean() - 0.06 <= level <= (came <= bound).mean() + 0.06, level


@pytest.mark.parametrize("kind", METHODS)
def test_paths_have_the_quantiles_and_the_seed(kind: Any, panel: Any) -> None:
    some = panel.select(np.arange(20))
    first, again, other = (
        kind(horizon=5, seed=seed).predict(some, levels=LEVELS, n_samples=800) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.samples, again.samples)
    if kind is not Zero:
        assert (first.samples != other.samples).any()
    below = (first.samples[..., None] < first.quantiles[:, None]).mean(1)
    upto = (first.samples[..., None] <= first.quantiles[:, None]).mean(1)
    # 5 standard errors of 800 draws
    assert (below <= np.array(LEVELS) + 0.09).all()
    assert (upto >= np.array(LEVELS) - 0.09).all()


def test_rates_are_the_methods_own() -> None:
    y = [0.0, 4, 0, 0, 2, 0, 3]
    panel = panel_of(y, y)
    croston = Croston(h=3, alpha=0.1, beta=0.1).rates(panel)
    size, gap = 4 * 0.81 + 2 * 0.09 + 3 * 0.1, 2 * 0.81 + 3 * 0.09 + 2 * 0.1
    np.testing.assert_allclose(croston, np.full((2, 3), size / gap), rtol=1e-6)
    falling = HES(h=3, alpha=0.1, beta=0.1, decay=True).rates(panel_of([*y, 0.0]))
    expected = size / (gap + 0.1 * (1 + np.arange(3)) / 2)
    np.testing.assert_allclose(falling[0], expected, rtol=1e-6)
    flat = HES(h=3, alpha=0.1, beta=0.1).rates(panel_of([*y, 0.0]))
    np.testing.assert_allclose(flat[0], expected[0], rtol=1e-6)


def test_empirical_quantiles_are_the_newest_values_in_order() -> None:
    panel = panel_of([9.0, 9, 9, 0, 0, 4, 1], [np.nan, 2, 7], freq="1")
    forecast = Empirical(h=2, window=4).predict(panel, levels=[0.25, 0.5, 0.51, 0.75, 0.99])
    np.testing.assert_array_equal(forecast.quantiles[0, 0], [0, 0, 1, 1, 4])
    np.testing.assert_array_equal(forecast.quantiles[1, 1], [2, 2, 7, 7, 7])
    np.testing.assert_allclose(forecast.mean[:, 0], [1.25, 4.5])
    assert Empirical(h=2, window=1).predict(panel).quantiles.max() == 2 * 3.5


def test_laws_read_levels_off_their_points() -> None:
    law = WeightedPoints.from_points(
        np.array([[3.0, 1, 2], [5, 5, 9]]), np.array([0.25, 0.5, 0.25])
    )
    np.testing.assert_array_equal(
        law.quantiles([0.5, 0.51, 0.75, 0.76]), [[1, 2, 2, 3], [5, 5, 5, 9]]
    )


def test_what_followed_like_rates_is_the_law() -> None:
    """Two kinds of series: what came behind rates near 1 says nothing of those near 10."""
    rng = np.random.default_rng(4)
    rates = np.repeat([1.0, 10.0], 5000)
    values = rng.poisson(rates) * 1.0
    order = np.argsort(rates + rng.random(10_000) * 1e-6)
    pool = PooledDistributions.fit(Pairs(rates[order], values[order]), np.array([1.0, 10.0]))
    past = Histories(np.array([[1.0, 10.0]]), np.array([1, 1]))
    law = pool.distributions(np.array([1.0, 10.0]), past).quantiles([0.5, 0.95])
    np.testing.assert_array_equal(law, [[1, 3], [10, 15]])


def test_ageing_of_items_is_in_the_law_and_not_in_the_rates() -> None:
    """All series die after step 40: the law knows, as it saw others die."""
    rng = np.random.default_rng(5)
    alive = np.arange(60) < rng.integers(20, 60, (500, 1))
    panel = panel_of(*(rng.poisson(2, (500, 60)) * alive), behind=10)
    method = Croston(h=10, alpha=0.1, beta=0.1)
    forecast = method.predict(panel, n_samples=50)
    came = panel.future_target(10).mean()
    excess, mean, paths = (
        values.mean() / came - 1
        for values in (method.rates(panel), forecast.mean, forecast.samples)
    )
    assert excess > 1.5
    assert mean < excess / 2
    assert mean == pytest.approx(paths, abs=0.05)


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match="'alpha'"):
        SES(h=2, alhpa=0.2)
    with pytest.raises(ConfigError, match=r"alpha is 2; it must be above 0.*None"):
        SES(h=2, alpha=2)
    with pytest.raises(ConfigError, match=r"objective is 'rmse'; did you mean 'mse'"):
        TSB(h=2, objective="rmse")
    with pytest.raises(ConfigError, match="window is 0"):
        Empirical(h=2, window=0)
    with pytest.raises(ConfigError, match="seed"):
        Zero(h=2, seed=-1)
    with pytest.raises(DataError, match="read_panel"):
        TSB(h=2).fit([1, 2, 3])  # type: ignore[arg-type]
    panel = panel_of([1.0, 0, 2])
    assert TSB(h=2).fit(panel).predict(panel.select([])).n_series == 0


def test_pieces_give_the_same_as_the_whole(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which series are looked at together is a matter of memory, and moves no number."""
    whole = TSB(h=4, objective="mse").predict(panel, n_samples=5)
    monkeypatch.setattr("demandcast.local.croston.CELLS", 2000)
    pieces = TSB(h=4, objective="mse").predict(panel, n_samples=5)
    np.testing.assert_allclose(pieces.mean, whole.mean, rtol=1e-6)
    np.testing.assert_allclose(pieces.quantiles, whole.quantiles, rtol=1e-6)
    np.testing.assert_allclose(pieces.samples, whole.samples, rtol=1e-6)
