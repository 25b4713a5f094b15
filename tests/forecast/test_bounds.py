"""Bounds of a forecast follow from the history of its own series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demandcast.forecast.bounds import MAX_FLOAT32, MAX_RATIO, clip_to_bounds, forecast_bounds
from demandcast.frames import from_wide

ZEROS, ONES = np.zeros(20), np.ones(20)


def upper_bound_of_the_first(*series: np.ndarray) -> float:
    times = np.arange("2024-01-01", "2024-01-21", dtype="datetime64[D]")
    return float(forecast_bounds(from_wide(np.stack(series, 1), times=times))[1][0])


def test_a_series_of_zeros_has_the_same_room_alone_and_among_others() -> None:
    assert upper_bound_of_the_first(ZEROS) == MAX_RATIO
    assert upper_bound_of_the_first(ZEROS, ONES, 300 * ONES) == MAX_RATIO


def test_a_series_of_zeros_has_less_room_where_others_are_tiny() -> None:
    assert upper_bound_of_the_first(ZEROS, 1e-6 * ONES) <= MAX_RATIO * 1e-6


def test_series_beyond_their_bounds_are_told_from_those_within() -> None:
    low, high = np.array([0.0, -5.0, 0.0]), np.array([10.0, 5.0, 7.0])
    values = np.zeros((3, 2, 4))
    values[0, 1, 3], values[1, 0, 0], values[2, 1, 1] = 10, -6, -1
    clipped, exceeded = clip_to_bounds(values, low, high)
    assert exceeded.tolist() == [False, True, False]  # what is below 0 is clipped without a word
    assert [clipped[0, 1, 3], clipped[1, 0, 0], clipped[2, 1, 1]] == [10, -5, 0]
    assert clip_to_bounds(values[:, 0, 0], low, high)[1].tolist() == [False, True, False]


def test_a_bound_follows_the_largest_size_of_the_own_history() -> None:
    times = np.arange("2024-01-01", "2024-01-21", dtype="datetime64[D]")
    values = np.stack([7.5 * ONES, -3 * ONES, 3 * ONES, 0.0015 * ONES], 1)
    values[0, 0], values[1, 3] = np.nan, 0
    panel = from_wide(values, times=times)
    low, high = forecast_bounds(panel)
    np.testing.assert_allclose(high, MAX_RATIO * np.array([7.5, 3, 3, 0.0015]))
    np.testing.assert_allclose(low, [0, -MAX_RATIO * 3, 0, 0])
    # a series without a value is bound by the numbers themselves; whole numbers by a whole number
    unseen = np.where(np.arange(len(panel.target)) < 20, np.nan, panel.target)
    low, high = forecast_bounds(replace(panel, target=unseen.astype(np.float32)))
    assert (low[0], high[0]) == (0, np.floor(MAX_FLOAT32))
    _, high = forecast_bounds(from_wide(np.stack([ZEROS, 0.0025 * ONES], 1), times=times))
    assert high[0] == 2  # 2.5 would be the room of zeros here
