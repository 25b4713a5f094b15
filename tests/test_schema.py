"""Grids: what pandas counts, ordinal and times count too, and inference finds them with gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demandcast.errors import FrequencyError, SchemaError
from demandcast.frames.infer_frequency import infer_frequency
from demandcast.frequency import Frequency
from demandcast.schema import Schema

NAMES = [
    "min", "5min", "15min", "30min", "h", "2h", "6h", "D", "B", "W-SUN", "W-MON", "W-FRI", "2W-TUE",
    "MS", "ME", "QS-JAN", "QS-FEB", "QE-DEC", "QE-NOV", "YS-JAN", "YS-JUL", "YE-DEC", "YE-JUN",
    "SMS", "SMS-16", "SME",
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


@pytest.mark.parametrize("name", ["SMS", "SMS-16", "SME"])
def test_each_day_lies_in_its_half_of_a_month(name: str) -> None:
    grid = Frequency.parse(name)
    days = np.arange("2023-02-01", "2024-04-01", dtype="datetime64[D]").astype("datetime64[us]")
    steps = grid.ordinal(grid.floor(days))
    assert all(
        grid.begin(int(s)) <= d < grid.begin(int(s) + 1) for s, d in zip(steps, days, strict=True)
    )
    assert np.unique(steps, return_counts=True)[1][1:-1].min() >= 13


def test_steps_of_two_weeks_are_no_half_months() -> None:
    days = np.array(["2023-02-01", "2023-02-15", "2023-03-01"], "M8[D]")
    assert infer_frequency(days).name.startswith("2W-WED")


def test_whole_number_steps() -> None:
    grid = infer_frequency(np.array([3, 5, 9]))
    assert (grid.name, grid.is_integer, grid.period) == ("2+1", True, 1)
    assert grid.ordinal(np.array([3, 5, 9])).tolist() == [1, 2, 4]
    assert grid.times(np.array([1, 2, 4])).tolist() == [3, 5, 9]
    assert Frequency.parse(grid.name) == grid


@pytest.mark.parametrize(
    ("name", "period"),
    [
        ("h", 24),
        ("15min", 96),
        ("D", 7),
        ("W-SUN", 52),
        ("MS", 12),
        ("SMS", 2),
        ("QS", 4),
        ("YE", 1),
    ],
)
def test_periods(name: str, period: int) -> None:
    assert Frequency.parse(name).period == period


def test_lags_are_those_of_the_paper_trail() -> None:
    assert len(Frequency.parse("h").lags()) == 40
    assert len(Frequency.parse("D").lags()) == 30
    assert len(Frequency.parse("W").lags()) == 18
    assert len(Frequency.parse("MS").lags()) == 16
    assert len(Frequency.parse("QS").lags()) == 12
    days = [96 * k + d for k in range(1, 8) for d in (-1, 0, 1)]
    assert Frequency.parse("15min").lags() == (*range(1, 15), *days)
    assert Frequency.parse("min").lags() == (
        *range(1, 8), *range(58, 63), *range(118, 123), *range(178, 183)
    )  # fmt: skip


@pytest.mark.parametrize("name", [*NAMES, "s", "20s", "36h", "2D", "10D", "3W-MON", "2YS", "7"])
def test_lags_increase_and_are_bounded(name: str) -> None:
    lags = Frequency.parse(name).lags()
    assert lags[:6] == (1, 2, 3, 4, 5, 6)
    assert list(lags) == sorted(set(lags))
    assert lags[-1] <= 1200


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


def process_group(*series: object) -> tuple[np.ndarray, np.ndarray]:
    """Times of several series as infer_frequency wants them, and their labels a, b, ..."""
    arrays = [np.asarray(s) for s in series]
    if arrays[0].dtype.kind != "i":
        arrays = [a.astype("datetime64[us]") for a in arrays]
    labels = np.repeat(list("abcdef")[: len(arrays)], [len(a) for a in arrays])
    return np.concatenate(arrays), labels


def dates(start: str, periods: int, freq: str) -> np.ndarray:
    return pd.date_range(start, periods=periods, freq=freq).to_numpy()


@pytest.mark.parametrize(
    ("series", "name"),
    [
        (([1, 3, 5], [2, 4, 6]), "1"),
        (([0, 10, 20], [5, 15]), "5"),
        (([3, 5, 9], [7, 11]), "2+1"),
        ((dates("2020-01-01", 9, "2D"), dates("2020-01-02", 9, "2D")), "D"),
        ((dates("2020-01-01", 9, "3D"), dates("2020-01-02", 9, "3D")), "D"),
        ((dates("2020-01-01", 9, "2h"), dates("2020-01-01 03:00", 9, "2h")), "h"),
        ((dates("2020-01-01", 9, "30min"), dates("2020-01-01 00:15", 9, "30min")), "15min"),
        ((dates("2020-01-06", 9, "2W-MON"), dates("2020-01-13", 9, "2W-MON")), "W-MON"),
        ((dates("2020-01-01", 9, "QS-JAN"), dates("2020-02-01", 9, "QS-FEB")), "MS"),
        ((dates("2020-01-01", 9, "QE-JAN"), dates("2020-01-31", 1, "ME")), "QE-OCT"),
    ],
)
def test_series_out_of_phase_share_a_finer_grid(series: tuple[object, ...], name: str) -> None:
    times, labels = process_group(*series)
    grid = infer_frequency(times, labels)
    assert grid.name == name
    np.testing.assert_array_equal(grid.times(grid.ordinal(times)), times)


@pytest.mark.parametrize(
    ("series", "named", "mend"),
    [
        (
            (dates("2020-01-06", 9, "W-MON"), dates("2020-01-06", 9, "W-MON"), dates("2020-01-08", 9, "W-WED")),
            "2020-01-08 of series c",
            "freq='D'",
        ),
        ((dates("2020-01-01 08:00", 9, "D"), dates("2020-01-01 08:00", 9, "D"), dates("2020-01-01 09:00", 9, "D")),
            "2020-01-01T09:00 of series c", "freq='h'"),
        ((dates("2020-01-01", 9, "YS-JAN"), dates("2020-02-01", 9, "YS-FEB"), dates("2020-01-01", 9, "YS-JAN")),
            "2020-02-01 of series b", "freq='MS'"),
        ((dates("2020-01-01", 9, "h"), dates("2020-01-01", 9, "h"), dates("2020-01-01 00:30", 9, "h")),
            "2020-01-01T00:30 of series c", "freq='30min'"),
        (([0, 10, 20], [0, 10], [3, 13]), "3 of series c", "freq='1'"),
    ],
)  # fmt: skip
def test_series_on_other_grids_are_named(series: tuple[object, ...], named: str, mend: str) -> None:
    times, labels = process_group(*series)
    with pytest.raises(FrequencyError, match=named) as error:
        infer_frequency(times, labels)
    assert mend in str(error.value)
    assert "dt.truncate" in str(error.value)


def test_series_are_called_what_the_caller_calls_them() -> None:
    times, _ = process_group(dates("2020-01-06", 9, "W-MON"), dates("2020-01-08", 9, "W-WED"))
    codes = np.repeat([0, 1], 9)
    with pytest.raises(FrequencyError, match="series shop/two"):
        infer_frequency(times, codes, name=lambda code: ["shop/one", "shop/two"][code])


def test_the_odd_month_is_blamed_not_the_short_one() -> None:
    odd = dates("2020-01-01", 12, "MS").copy()
    odd[7] += np.timedelta64(1, "D")  # August; February is no multiple of 31 days either
    times, labels = process_group(dates("2020-01-01", 12, "MS"), odd)
    with pytest.raises(FrequencyError, match="2020-08-02 of series b"):
        infer_frequency(times, labels)
    ends = dates("2020-01-31", 12, "ME").copy()
    ends[4] -= np.timedelta64(3, "D")
    with pytest.raises(FrequencyError, match=r"last day of a month, but 2020-05-28"):
        infer_frequency(ends)
    years = dates("2010-01-01", 9, "YS").copy()
    years[3] += np.timedelta64(2, "D")
    with pytest.raises(FrequencyError, match="2013-01-03"):
        infer_frequency(years)


@pytest.mark.parametrize("shift", [np.timedelta64(8, "h"), np.timedelta64(14, "D")])
def test_months_stamped_inside_are_to_be_truncated(shift: np.timedelta64) -> None:
    with pytest.raises(FrequencyError, match=r"truncate.*1mo"):
        infer_frequency(dates("2020-01-01", 12, "MS") + shift)


@pytest.mark.parametrize(
    ("times", "name"),
    [
        (["2001-01-01", "2003-01-01", "2005-01-01"], "2YS-JAN+1"),
        (["2001-12-31", "2003-12-31", "2007-12-31"], "2YE-DEC+1"),
        (["2001-04-01", "2006-04-01", "2011-04-01"], "5YS-APR+1"),
        (["2001-07-01", "2002-07-01", "2003-07-01"], "YS-JUL"),
        (["2001-04-01", "2001-10-01", "2002-04-01"], "6MS+3"),
        (["2001-02-01", "2001-04-01", "2001-06-01"], "2MS+1"),
    ],
)
def test_months_of_any_phase_have_a_name(times: list[str], name: str) -> None:
    stamps = np.array(times, "datetime64[us]")
    grid = infer_frequency(stamps)
    assert grid.name == name
    assert Frequency.parse(name) == grid
    np.testing.assert_array_equal(grid.times(grid.ordinal(stamps)), stamps)


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 60), st.integers(0, 59), st.booleans(), st.integers(-300, 300))
def test_every_grid_of_months_is_parsed_from_its_name(
    step: int, phase: int, end: bool, ordinal: int
) -> None:
    letter = "E" if end else "S"
    grid = Frequency.parse(f"{step}M{letter}+{phase % step}")
    assert Frequency.parse(grid.name) == grid
    assert grid.ordinal(grid.times(np.array([ordinal]))).tolist() == [ordinal]


def test_large_tables_are_inferred_like_small_ones() -> None:
    days = np.arange("2015-01-01", "2016-01-01", dtype="datetime64[D]").astype("datetime64[us]")
    times, series = np.tile(days, 400), np.repeat(np.arange(400), len(days))
    assert infer_frequency(times, series).name == "D"
    weekdays = np.is_busday(times.astype("datetime64[D]"))
    assert infer_frequency(times[weekdays], series[weekdays]).name == "B"


def test_missing_and_unsorted_times_are_refused() -> None:
    times = dates("2020-01-01", 5, "D").astype("datetime64[us]")
    times[3] = np.datetime64("NaT")
    with pytest.raises(FrequencyError, match=r"NaT.*row 4"):
        infer_frequency(times)
    for name in ("h", "D", "B", "W", "MS", "ME"):
        with pytest.raises(FrequencyError, match="NaT"):
            Frequency.parse(name).ordinal(times[3:4])
    with pytest.raises(FrequencyError, match="2020-01-01 does not come after"):
        infer_frequency(times[[1, 0]])
    with pytest.raises(FrequencyError, match="one whole second"):
        infer_frequency(np.arange(5).astype("datetime64[ms]"))


def test_steps_that_are_no_whole_days_follow_the_clock() -> None:
    clock = {
        n: Frequency.parse(n).is_subdaily for n in ("h", "36h", "D", "48h", "W", "MS", "B", "1")
    }
    assert [n for n, sub in clock.items() if sub] == ["h", "36h"]


@pytest.mark.parametrize(
    ("name", "time", "expected"),
    [
        ("W-MON", "2020-01-08", "2020-01-06 and 2020-01-13"),
        ("ME", "2020-02-10", "2020-01-31 and 2020-02-29"),
        ("MS", "2020-02-10", "2020-02-01 and 2020-03-01"),
        ("B", "2020-01-04", "2020-01-03 and 2020-01-06"),
        ("B", "2020-01-03T08:00", "2020-01-03 and 2020-01-06"),
        ("15min", "2020-01-01T00:20", "2020-01-01T00:15 and 2020-01-01T00:30"),
        ("2YS-JAN+1", "2020-01-01", "2019-01-01 and 2021-01-01"),
    ],
)
def test_off_grid_times_are_told_the_steps_around_them(name: str, time: str, expected: str) -> None:
    with pytest.raises(FrequencyError, match=expected):
        Frequency.parse(name).ordinal(np.array([time], "datetime64[us]"))


def test_off_grid_numbers_are_told_the_steps_around_them() -> None:
    with pytest.raises(FrequencyError, match=r"time 4 .* are 3 and 5"):
        Frequency.parse("2+1").ordinal(np.array([3, 4]))


def test_a_schema_gives_each_column_one_role() -> None:
    with pytest.raises(SchemaError, match="'price' is named as known and as past"):
        Schema(key=("a",), time="t", target="y", freq="D", known=("price",), past=("price",))
    with pytest.raises(SchemaError, match="'y'"):
        Schema(key=("y",), time="t", target="y", freq="D")
    with pytest.raises(SchemaError, match="'y' is named as target and as available"):
        Schema(key=(), time="t", target="y", freq="D", available="y")


def test_a_schema_holds_tuples() -> None:
    schema = Schema(key=["a"], time="t", target="y", freq="D", known=["p", "q"])  # type: ignore[arg-type]
    assert (schema.key, schema.known) == (("a",), ("p", "q"))
    assert hash(schema) == hash(
        Schema(key=("a",), time="t", target="y", freq="D", known=("p", "q"))
    )


def test_a_schema_of_other_roles_is_refused() -> None:
    values = {"key": ["a"], "time": "t", "target": "y", "freq": "D"}
    assert Schema.from_dict(values).key == ("a",)
    with pytest.raises(SchemaError, match="'weight'"):
        Schema.from_dict(values | {"weight": "w"})
    with pytest.raises(SchemaError, match="lacks 'time'"):
        Schema.from_dict({"key": ["a"]})


def test_schema_round_trip() -> None:
    schema = Schema(key=("a", "b"), time="t", target="y", freq="D", known=("p",))
    assert Schema.from_dict(schema.to_dict()) == schema
