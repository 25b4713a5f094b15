"""Overrides scale whole distributions, are kept apart and scored, and refuse what cannot be meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import DataError, SchemaError

from .linear_method import HORIZON, Linear, shop

WHO = {"author": "anna", "reason": "fair"}


@pytest.fixture(scope="module")
def forecast() -> dc.Forecast:
    return Linear().predict(shop())  # from 2024-02-26 on


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{**WHO, **row} for row in rows])


def test_a_factor_scales_the_whole_distribution_and_nothing_else(forecast: dc.Forecast) -> None:
    found = forecast.override(
        table({"item": "b", "from": "2024-02-27", "to": "2024-02-28", "factor": 1.5})
    )
    ratio = np.ones((2, HORIZON))
    ratio[1, 1:3] = 1.5
    after = found.forecast
    np.testing.assert_allclose(after.mean, forecast.mean * ratio, rtol=1e-6)
    np.testing.assert_allclose(after.quantiles, forecast.quantiles * ratio[..., None], rtol=1e-6)
    assert after.samples is not None
    np.testing.assert_allclose(after.samples, forecast.samples * ratio[:, None], rtol=1e-6)
    assert found.baseline is forecast
    assert found.to_frame().select("item", "author").rows() == [("b", "anna")] * 2
    with pytest.raises(DataError, match="does not know the model"):
        after.what_if(promo=1)


def test_a_level_is_the_new_mean_and_an_empty_key_means_all(forecast: dc.Forecast) -> None:
    after = forecast.override(table({"level": 7.0})).forecast
    np.testing.assert_allclose(after.mean, 7.0, rtol=1e-6)
    assert (np.diff(after.quantiles, axis=2) >= 0).all()
    nothing = forecast.override(table({"factor": 0})).forecast
    some = nothing.override(table({"level": 3})).forecast  # a mean of 0 is shifted
    np.testing.assert_allclose(some.quantiles, 3.0)


def test_a_level_shifts_a_series_that_was_negative() -> None:
    panel = shop()
    target = panel.target.copy()
    target[panel.begins[1]] = -1.0  # of item b; item a is scaled
    forecast = Linear().predict(dc.Panel(**{**panel.__dict__, "target": target}))
    after = forecast.override(table({"level": 7.0})).forecast
    np.testing.assert_allclose(after.mean, 7.0, rtol=1e-6)
    ratio, shift = 7 / forecast.mean[0], 7 - forecast.mean[1]
    for name, axis in (("quantiles", 2), ("samples", 1)):
        old, new = (np.moveaxis(getattr(f, name), axis, -1) for f in (forecast, after))
        np.testing.assert_allclose(new[0], old[0] * ratio[:, None], rtol=1e-5)
        np.testing.assert_allclose(new[1], old[1] + shift[:, None], rtol=1e-5, atol=1e-5)
    bare = dc.Forecast(**{**forecast.__dict__, "samples": None})
    assert bare.override(table({"factor": 2.0})).forecast.samples is None


def test_spans_include_both_ends_and_rows_are_told_apart(forecast: dc.Forecast) -> None:
    found = forecast.override(
        table(
            {"item": "a", "to": "2024-02-27", "factor": 2.0},
            {"item": "a", "from": "2024-03-09", "factor": 3.0, "author": "ben"},
            {"item": "b", "from": "2024-03-01", "to": "2024-03-01", "level": 4.0},
        )
    )
    ratio = found.forecast.mean / forecast.mean
    np.testing.assert_allclose(ratio[0], [2, 2, *[1] * 10, 3, 3], rtol=1e-6)
    assert found.forecast.mean[1, 4] == pytest.approx(4)
    assert np.flatnonzero(np.abs(ratio[1] - 1) > 1e-6).tolist() == [4]
    frame = found.to_frame()
    assert frame["author"].to_list() == ["anna"] * 2 + ["ben"] * 2 + ["anna"]
    grown = (frame["mean"] / frame["baseline"]).to_list()
    assert grown == pytest.approx([2, 2, 3, 3, ratio[1, 4]])
    assert "3 overrides change 5 steps" in found.forecast.notes[-1]


def test_times_may_be_whole_numbers_or_hours() -> None:
    for times in (np.arange(40), np.datetime64("2024-01-01T00") + np.arange(40)):
        stamps = times if times.dtype.kind == "i" else times.astype("datetime64[us]")
        rows = pl.DataFrame({"time": stamps, "units": np.arange(40) % 7 + 1.0})
        panel = dc.read_panel(rows, time="time", target="units")
        plain = dc.local.LastValue(horizon=4).predict(panel)
        begin, end = ("41", "42") if times.dtype.kind == "i" else ("2024-01-02 17:00", "2024-01-02T18:00")  # fmt: skip
        after = plain.override(table({"from": begin, "to": end, "factor": 2.0})).forecast
        np.testing.assert_allclose(after.mean / plain.mean, [[1, 2, 2, 1]])
        for wrong, words in (("soon", "write a time as|whole numbers here"), (stamps[39], "in the past")):  # fmt: skip
            with pytest.raises(DataError, match=words):
                plain.override(table({"from": str(wrong), "factor": 2.0}))


def test_value_added_is_by_author_and_reason() -> None:
    panel = shop()
    target = panel.target.copy()
    target[np.isnan(target)] = 30.0
    known = dc.Panel(**{**panel.__dict__, "target": target})
    forecast = Linear().predict(known)
    rows = [
        {"item": "a", "level": 30.0},
        {"item": "b", "factor": 0.5, "author": "ben", "reason": "fear"},
    ]
    score = forecast.override(table(*rows)).value_added()
    assert score["author"].to_list() == ["anna", "ben"]
    assert score["steps"].to_list() == [HORIZON] * 2
    assert score["value_added"][0] > 0 > score["value_added"][1]
    np.testing.assert_allclose(score["value_added"], score["error_before"] - score["error_after"])
    # the pinball loss of each step, mean over the levels, by hand, and the share of steps that came nearer
    costs = []
    for name, made in (("error_before", forecast), ("error_after", forecast.override(table(*rows)).forecast)):  # fmt: skip
        error, level = 30 - made.quantiles.astype(np.float64), np.array(made.levels)
        costs.append(np.where(error >= 0, level * error, (1 - level) * -error).mean(2))
        np.testing.assert_allclose(score[name], costs[-1].sum(1), rtol=1e-5)
    np.testing.assert_allclose(score["share"], (costs[1] < costs[0]).mean(1))
    with pytest.raises(DataError, match="no value came"):
        Linear().predict(panel).override(table({"factor": 2})).value_added()


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{"item": "c", "factor": 2}], DataError, "row 1 of the overrides names item 'c'"),
        (
            [{"from": "2024-02-20", "factor": 2}],
            DataError,
            "in the past: the forecast begins at 2024-02-26",
        ),
        ([{"to": "2024-02-20", "factor": 2}], DataError, "covers no step of the forecast"),
        ([{"from": "2024-03-02", "to": "2024-03-01", "factor": 2}], DataError, "before it begins"),
        ([{"from": "soon", "factor": 2}], DataError, "write a time as"),
        ([{"factor": 2, "level": 3}], DataError, "both a factor and a level"),
        ([{"factor": None}], DataError, "neither a factor nor a level"),
        ([{"factor": -1}], DataError, "a number, 0 or more"),
        ([{"factor": 2, "author": ""}], DataError, "has no author"),
        (
            [{"factor": 2}, {"item": "a", "factor": 2}],
            DataError,
            "rows 1 and 2 of the overrides both change series a",
        ),
        ([{"factor": 2, "reason": ""}], DataError, "has no reason"),
        ([{"factor": "much"}], DataError, "a number, 0 or more"),
        ([{"from": "2024-03-11", "factor": 2}], DataError, "goes from 2024-02-26.* to 2024-03-10"),
        ([{"itm": "a", "factor": 2}], SchemaError, "did you mean 'item'"),
        ([{"item": "a"}], SchemaError, "factor or level"),
    ],
)
def test_what_cannot_be_meant_is_an_error(
    forecast: dc.Forecast, rows: list[dict[str, Any]], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        forecast.override(table(*rows))
