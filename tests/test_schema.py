"""Grids: what pandas counts, ordinal and times count too, and inference finds them with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demandcast.errors import FrequencyError
from demandcast.schema import Frequency, Schema, infer_frequency

NAMES = [
    "min", "5min", "15min", "30min", "h", "2h", "6h", "D", "B", "W-SUN", "W-MON", "W-FRI", "2W-TUE",
    "MS", "ME", "QS-JAN", "QS-FEB", "QE-DEC", "QE-NOV", "YS-JAN", "YS-JUL", "YE-DEC", "YE-JUN",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_pandas(name: str) -> None:
    times = pd.date_range("2019-11-04 00:00", periods=90, freq=name).to_numpy()
    if name == "2W-TUE":
        times = times[(Frequency.parse("W-TUE").ordinal(times) % 2 == 0)]
        times = np.arange("2019-11-05", "2021-01-01", 14, dtype="datetime64[D]")
        grid = infer_frequency(times)
        assert grid.name.startswith("2W-TUE")
    else:
        grid = Frequency.parse(name)
    steps = grid.ordinal(times)
    assert (np.diff(steps) == 1).all()
    np.testing.assert_array_equal(grid.times(steps), times.astype("datetime64[us]"))


@pytest.mark.parametrize("name", [n for n in NAMES if n != "2W-TUE"])
def test_the_grid_is_found_with_gaps(name: str) -> None:
    times = pd.date_range("2018-01-01", periods=60, freq=name).to_numpy()
    kept = np.delete(times, [5, 6, 20])
    assert infer_frequency(kept) == Frequency.parse(name)
    both = np.concatenate([kept, times])
    series = np.repeat([0, 1], [len(kept), len(times)])
    assert infer_frequency(both, series) == Frequency.parse(name)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from([n for n in NAMES if n != "2W-TUE"]), st.integers(-20_000, 20_000))
def test_times_and_ordinals_are_inverse(name: str, step: int) -> None:
    grid = Frequency.parse(name)
    steps = np.array([step, step + 1])
    np.testing.assert_array_equal(grid.ordinal(grid.times(steps)), steps)


def test_names_survive_parsing() -> None:
    for name in NAMES:
        assert Frequency.parse(Frequency.parse(name).name) == Frequency.parse(name)


def test_whole_number_steps() -> None:
    grid = infer_frequency(np.array([3, 5, 9]))
    assert (grid.name, grid.is_integer, grid.period) == ("2+1", True, 1)
    assert grid.ordinal(np.array([3, 5, 9])).tolist() == [1, 2, 4]
    assert grid.times(np.array([1, 2, 4])).tolist() == [3, 5, 9]
    assert Frequency.parse(grid.name) == grid


@pytest.mark.parametrize(
    ("name", "period"),
    [("h", 24), ("15min", 96), ("D", 7), ("W-SUN", 52), ("MS", 12), ("QS", 4), ("YE", 1)],
)
def test_periods(name: str, period: int) -> None:
    assert Frequency.parse(name).period == period


def test_lags_are_those_of_the_paper_trail() -> None:
    assert len(Frequency.parse("h").lags()) == 40
    assert len(Frequency.parse("D").lags()) == 30
    assert len(Frequency.parse("W").lags()) == 18
    assert len(Frequency.parse("MS").lags()) == 16
    assert len(Frequency.parse("QS").lags()) == 12


@pytest.mark.parametrize("name", NAMES)
def test_calendar_is_bounded_and_repeats(name: str) -> None:
    grid = Frequency.parse(name)
    values = grid.calendar(np.arange(200))
    assert values.shape == (200, len(grid.calendar_names))
    assert np.abs(values).max(initial=0) <= 1


@pytest.mark.parametrize("bad", ["", "fortnight", "0D", "W-XYZ", "-1", "0"])
def test_unknown_names_are_refused(bad: str) -> None:
    with pytest.raises(FrequencyError, match="not known"):
        Frequency.parse(bad)


def test_off_grid_times_are_named() -> None:
    with pytest.raises(FrequencyError, match="2020-01-02T00:30"):
        Frequency.parse("h").ordinal(np.array(["2020-01-01", "2020-01-02T00:30"], "datetime64[us]"))


def test_irregular_times_are_named() -> None:
    hours = np.arange("2020-01-01", "2020-01-03", dtype="datetime64[h]").astype("datetime64[us]")
    hours[30] += np.timedelta64(7, "s")
    with pytest.raises(FrequencyError, match="2020-01-02T06:00:07"):
        infer_frequency(hours)
    with pytest.raises(FrequencyError, match="name it"):
        infer_frequency(hours[:1])


def test_schema_round_trip() -> None:
    schema = Schema(key=("a", "b"), time="t", target="y", freq="D", known=("p",))
    assert Schema.from_dict(schema.to_dict()) == schema
