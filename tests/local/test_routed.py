"""Each class goes where it was forecast best: known by construction here."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.errors import ConfigError
from demandcast.evaluate.metrics import wql
from demandcast.local import Empirical, Routed, SeasonalNaive
from demandcast.panel.classes import CLASSES

from .conftest import panel_of


@pytest.fixture(scope="module")
def mixed() -> Any:
    """Thirty seasonal series without zeros, thirty slow movers, three with next to no demand."""
    rng = np.random.default_rng(0)
    seasonal = np.tile(rng.integers(5, 90, (30, 12)), 6)
    slow = rng.random((30, 72)) < 0.3
    rare = np.zeros((3, 72))
    rare[:, 20] = 1
    return panel_of(*seasonal, *slow.astype(float), *rare, behind=6)


def test_classes_go_where_they_were_forecast_best(mixed: Any) -> None:
    model = Routed(h=6, methods=("empirical", "seasonal_naive"))
    routes = model.routes(mixed)
    went = dict(routes.select("class", "method").iter_rows())
    assert went["intermittent"] == "empirical"
    seasonal = {kind for kind in ("smooth", "erratic") if kind in went}
    assert {went[kind] for kind in seasonal} == {"seasonal_naive"}
    assert routes["series"].sum() == mixed.n_series
    forecast = model.predict(mixed, n_samples=7)
    for rows, method in ((range(30), SeasonalNaive), (range(30, 60), Empirical)):
        alone = method(h=6).predict(mixed)  # type: ignore[operator]
        np.testing.assert_array_equal(forecast.quantiles[rows], np.rint(alone.quantiles[rows]))
    assert forecast.samples.shape == (63, 7, 6)


def test_scores_are_those_of_a_backtest(mixed: Any) -> None:
    routes = Routed(h=6, methods=("empirical",), folds=1).routes(mixed)
    known = mixed.drop_last(6)
    kinds = known.profile()["class"].to_numpy()
    forecast = Empirical(h=6).predict(known)
    for kind, found in routes.select("class", "empirical").iter_rows():
        rows = kinds == kind
        came = known.future_target(6)[rows]
        expected = wql(came, forecast.quantiles[rows], forecast.levels)
        if found is None:
            assert np.isnan(expected)
        else:
            assert found == pytest.approx(expected, rel=1e-6)


def test_few_series_go_to_the_method_best_over_all(mixed: Any) -> None:
    routes = Routed(h=6, methods=("empirical", "seasonal_naive")).routes(mixed)
    few = routes.filter(pl.col("class") == "insufficient")
    assert few["measured"].item() < 10
    assert few["method"].item() == "seasonal_naive"  # the large series weigh most


@pytest.mark.parametrize(("gain", "taken"), [(0.02, "tsb"), (0.05, "ses")])
def test_small_gains_do_not_part_a_class_from_the_others(
    mixed: Any, monkeypatch: pytest.MonkeyPatch, gain: float, taken: str
) -> None:
    loss = np.tile([10.0, 10.5], (5, 1))  # tsb is best over all
    rare = CLASSES.index("intermittent")
    loss[rare] = 10, 10 * (1 - gain)
    measured = (loss, np.full(5, 20.0), np.full(5, 50))
    monkeypatch.setattr(Routed, "_backtest", lambda *_: measured)
    routes = Routed(h=6, methods=("tsb", "ses")).routes(mixed)
    went = dict(routes.select("class", "method").iter_rows())
    assert went.pop("intermittent") == taken
    assert set(went.values()) == {"tsb"}


def test_histories_too_short_to_measure_take_the_first_method(
    caplog: pytest.LogCaptureFixture,
) -> None:
    panel = panel_of([1.0, 0, 2])
    routes = Routed(h=4, methods=("zero", "tsb")).routes(panel)
    assert routes.row(0, named=True)["method"] == "zero"
    assert routes["tsb"].item() is None
    with caplog.at_level(logging.WARNING):
        assert (Routed(h=4, methods=("zero",)).predict(panel).mean == 0).all()


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match=r"'croton' is not known; did you mean 'croston'"):
        Routed(h=3, methods=("croton",))
    with pytest.raises(ConfigError, match="methods names no method"):
        Routed(h=3, methods=())
    with pytest.raises(ConfigError, match="folds is 0"):
        Routed(h=3, folds=0)
