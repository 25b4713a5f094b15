"""A `Forecast` made by hand: what its quantiles, times, frame and warnings say."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DataError, ShapeError
from demandcast.forecast.bounds import MAX_RATIO
from demandcast.forecast.forecast import Forecast

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    """Three series of ten days that sold at most 9, 8 and 7."""
    parts = [
        pl.DataFrame({"item": key, "day": np.datetime64("2024-03-01") + np.arange(10), "units": np.arange(10.0) - i})
        for i, key in enumerate(("=a", "b", "c"))
    ]  # fmt: skip
    return dc.read_panel(
        pl.concat(parts).with_columns(pl.col("units").clip(0)),
        key="item",
        time="day",
        target="units",
    )


@pytest.fixture(scope="module")
def paths() -> np.ndarray:
    return np.random.default_rng(0).gamma(2, 2, (3, 40, 5)).astype(np.float32)


@pytest.fixture(scope="module")
def forecast(panel: dc.Panel, paths: np.ndarray) -> Forecast:
    return Forecast.from_samples(paths, LEVELS, panel, model="by_hand")


def test_quantiles_and_means_are_those_of_the_paths(forecast: Forecast, paths: np.ndarray) -> None:
    for i, level in enumerate(LEVELS):
        expected = np.quantile(paths, level, axis=1)
        np.testing.assert_allclose(forecast.quantiles[..., i], expected, rtol=1e-6)
        np.testing.assert_allclose(forecast.quantile(level), expected, rtol=1e-6)
    np.testing.assert_allclose(forecast.mean, paths.mean(1), rtol=1e-6)
    np.testing.assert_array_equal(forecast.median, forecast.quantiles[..., 1])
    np.testing.assert_allclose(forecast.quantile(0.99), np.quantile(paths, 0.99, axis=1))
    assert repr(forecast) == "Forecast(by_hand: 3 series x 5 steps, 40 paths)"


def test_without_paths_a_level_lies_on_the_line_between_its_neighbours(forecast: Forecast) -> None:
    bare = replace(forecast, samples=None)
    low, middle, high = np.moveaxis(forecast.quantiles, 2, 0)
    np.testing.assert_allclose(bare.quantile(0.2), 0.75 * low + 0.25 * middle, rtol=1e-6)
    np.testing.assert_allclose(bare.quantile(0.8), 0.25 * middle + 0.75 * high, rtol=1e-6)
    for level in (0.05, 0.95):
        with pytest.raises(DataError, match=r"outside the levels forecast, 0\.1 to 0\.9"):
            bare.quantile(level)
    for level in (0.0, 1.0):
        with pytest.raises(DataError, match="is not between 0 and 1"):
            forecast.quantile(level)
    assert repr(bare) == "Forecast(by_hand: 3 series x 5 steps)"


def test_the_first_step_follows_the_last_of_the_history(forecast: Forecast) -> None:
    expected = np.datetime64("2024-03-11") + np.arange(5)
    assert (forecast.times() == expected).all()
    frame = forecast.to_frame()
    assert frame.columns == ["item", "day", "mean", "0.1", "0.5", "0.9"]
    assert frame["item"].to_list() == ["=a"] * 5 + ["b"] * 5 + ["c"] * 5
    np.testing.assert_array_equal(frame["day"].cast(pl.Date).to_numpy(), np.tile(expected, 3))
    np.testing.assert_array_equal(frame["0.9"], forecast.quantiles[..., 2].ravel())
    assert forecast.to_frame(safe_text=True)["item"][0] == "'=a"
    assert forecast.index("c") == 2


def test_one_series_beyond_its_bounds_is_clipped_and_named(
    panel: dc.Panel, forecast: Forecast, caplog: pytest.LogCaptureFixture
) -> None:
    assert not forecast.notes
    far = forecast.mean.copy()
    far[1, 2] = 1e6
    for quantiles, mean, samples in (
        (forecast.quantiles, far, None),
        (np.maximum(forecast.quantiles, far[..., None]), forecast.mean, None),
        (forecast.quantiles, forecast.mean, np.maximum(forecast.samples, far[:, None])),
    ):
        with caplog.at_level(logging.WARNING, "demandcast"):
            found = Forecast.of(panel, LEVELS, quantiles, mean, samples=samples, model="by_hand")
        assert f"1 of 3 series had forecasts beyond {MAX_RATIO:,.0f}" in found.notes[0]
        assert "(e.g. b, clipped at 8000)" in found.notes[0]
        clipped = [v.max() for v in (found.quantiles, found.mean, found.samples) if v is not None]
        assert max(clipped) == 8000
    assert len(caplog.records) == 3


def test_quantiles_out_of_order_are_sorted(panel: dc.Panel, forecast: Forecast) -> None:
    found = Forecast.of(panel, LEVELS, forecast.quantiles[..., ::-1], forecast.mean, model="x")
    np.testing.assert_array_equal(found.quantiles, forecast.quantiles)


def test_arrays_that_do_not_fit_and_values_that_are_no_numbers_are_refused(
    forecast: Forecast,
) -> None:
    for change in ({"mean": forecast.mean[:, :4]}, {"levels": (0.1, 0.5)}, {"cutoffs": np.zeros(2, np.int64)}):  # fmt: skip
        with pytest.raises(ShapeError, match=r"quantiles are \(3, 5, 3\)"):
            replace(forecast, **change)
    for name in ("quantiles", "mean", "samples"):
        spoiled = getattr(forecast, name).copy()
        spoiled[2, 0] = np.nan
        with pytest.raises(DataError, match=rf"not finite in the {name} of series \('c',\)"):
            replace(forecast, **{name: spoiled})


def test_an_incomplete_key_is_refused_with_two_that_match() -> None:
    days = np.datetime64("2024-03-01") + np.arange(9)
    table = [
        pl.DataFrame({"store": s, "item": i, "day": days, "units": 1.0})
        for s in ("n", "s")
        for i in ("a", "b")
    ]
    panel = dc.read_panel(pl.concat(table), key=["store", "item"], time="day", target="units")
    forecast = Forecast.from_samples(np.ones((4, 2, 1), np.float32), (0.5,), panel, model="x")
    assert forecast.index(("s", "b")) == 3
    with pytest.raises(
        DataError, match=r"2 series match .* such as \('s', 'a'\) and \('s', 'b'\); give all"
    ):
        forecast.index({"store": "s"})
