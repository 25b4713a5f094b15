"""Warnings of extremes go wherever a forecast goes: into its frame, the terminal, and a saved run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.cli.main import main
from demandcast.errors import DataError, ShapeError
from demandcast.forecast.draft import Draft
from demandcast.forecast.forecast import Events, Forecast
from demandcast.panel.panel import Panel


@pytest.fixture(scope="module")
def panel() -> Panel:
    frame = pl.DataFrame(
        {"item": ["b"] * 9 + ["a"] * 9, "day": [*range(9)] * 2, "units": [*range(18)]}
    )
    return dc.read_panel(frame, key="item", time="day", target="units")


@pytest.fixture
def forecast(panel: Panel) -> Forecast:
    """Two series of three steps, whose chances are told apart at sight."""
    high = np.float32([[0.1, 0.9, 0.2], [0.3, 0.4, 0.5]])
    events = Events(
        p_high=high,
        above=np.float32([8, 17]),
        p_low=high / 2 + np.float32(0.26),
        below=np.float32([1, 9]),
    )
    mean = np.arange(6, dtype=np.float32).reshape(2, 3)
    return Forecast.of(panel, (0.5,), mean[..., None], mean, events=events, model="by_hand")


def test_a_frame_holds_chances_and_thresholds(forecast: Forecast) -> None:
    frame = forecast.to_frame()
    assert frame.columns == ["item", "day", "mean", "0.5", "p_high", "above", "p_low", "below"]
    row = frame.filter(pl.col("item") == "a").row(1, named=True)
    assert row["p_high"] == pytest.approx(0.4)
    assert (row["above"], row["below"], row["mean"]) == (17, 9, 4)
    assert row["p_low"] == pytest.approx(0.46)
    assert replace(forecast, model="copied").events is forecast.events
    assert replace(forecast, events=None).to_frame().columns == ["item", "day", "mean", "0.5"]


def test_alarms_are_the_likeliest_steps_of_both_kinds(forecast: Forecast) -> None:
    alarms = forecast.alarms(3)
    assert alarms.columns == ["item", "day", "event", "threshold", "probability", "mean"]
    assert alarms.rows() == [
        ("b", 10, "above", 8.0, pytest.approx(0.9), 1.0),
        ("b", 10, "below", 1.0, pytest.approx(0.71), 1.0),
        ("a", 11, "below", 9.0, pytest.approx(0.51), 5.0),
    ]
    with pytest.raises(DataError, match=r"by_hand does not forecast .* models\.ExtremeValueMemory"):
        replace(forecast, events=None).alarms()


def test_events_of_another_shape_are_refused(forecast: Forecast) -> None:
    events = forecast.events
    assert events is not None
    with pytest.raises(ShapeError, match=r"above and below are \(2,\)"):
        replace(events, above=np.float32([1]))
    one = Events(**{name: value[:1] for name, value in vars(events).items()})
    with pytest.raises(ShapeError, match=r"events are \(1, 3\), the forecast is \(2, 3\)"):
        replace(forecast, events=one)


def test_the_command_line_prints_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = np.datetime64("2024-01-01") + np.arange(60)
    table = pl.DataFrame({"item": ["a"] * 60, "date": days, "units": np.arange(60) % 7})
    table.write_csv(tmp_path / "sales.csv")
    words = [
        "forecast",
        str(tmp_path / "sales.csv"),
        "--horizon",
        "4",
        "--model",
        "extreme_value_memory",
    ]
    words += ["--set", "max_steps=3", "--set", "context=20"]
    assert main([*words, "--out", str(tmp_path / "f.csv"), "--save", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr()
    assert "most likely to be extreme" in shown.err
    assert shown.out.splitlines()[0].split() == [
        "item",
        "date",
        "event",
        "threshold",
        "probability",
        "mean",
    ]
    assert len(shown.out.splitlines()) == 6
    frame = pl.read_csv(tmp_path / "f.csv")
    assert frame["p_high"].is_between(0, 1).all()
    assert frame["above"].n_unique() == 1
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["p_high"] == pytest.approx(frame["p_high"][0], rel=1e-4)
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "sales.csv"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [row["p_high"] for row in again] == [row["p_high"] for row in rows]


@pytest.mark.parametrize("part", ["p_low", "above", "below"])
def test_chances_and_thresholds_of_other_shapes_are_refused(forecast: Forecast, part: str) -> None:
    assert forecast.events is not None
    with pytest.raises(ShapeError, match=part):
        replace(forecast.events, **{part: getattr(forecast.events, part)[:1]})


def test_a_level_between_those_forecast_is_interpolated(panel: Panel) -> None:
    quantiles = np.float32([[[1, 5]], [[10, 30]]])
    forecast = Forecast.of(panel, (0.2, 0.6), quantiles, quantiles.mean(-1), model="by_hand")
    np.testing.assert_allclose(forecast.quantile(0.3), [[2], [15]], rtol=1e-6)
    np.testing.assert_array_equal(forecast.quantile(0.6), [[5], [30]])
    for level, said in (
        (0.1, "outside the levels"),
        (0.7, "outside the levels"),
        (0, "not between"),
    ):
        with pytest.raises(DataError, match=said):
            forecast.quantile(level)


def test_series_of_a_draft_are_reordered_with_their_events_and_paths() -> None:
    n, steps = 3, 2
    number = np.arange(float(n))
    each = np.repeat(number[:, None], steps, 1).astype(np.float32)
    limit = number.astype(np.float32)
    events = Events(p_high=each, above=limit, p_low=-each, below=-limit)
    draft = Draft(each[..., None].copy(), each.copy(), np.repeat(each[:, None], 4, 1), events)
    turned = draft.select(np.array([2, 0, 1]))
    assert turned.events is not None
    assert turned.samples is not None
    for values in (turned.mean[:, 0], turned.samples[:, 3, 1], turned.events.p_high[:, 1], turned.events.above):  # fmt: skip
        assert values.tolist() == [2, 0, 1]
    assert turned.events.below.tolist() == [-2, 0, -1]
