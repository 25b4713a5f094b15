"""Masks cut from one table, as floats, say what comparing every step would."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import torch

import demandcast as dc
from demandcast.windows.features import Features
from demandcast.windows.window_source import WindowSource, observed_mask


def test_given_is_one_where_a_number_is() -> None:
    found = observed_mask(torch.tensor([1.0, float("nan"), 0.0, float("inf")]))
    assert found.tolist() == [1, 0, 1, 1]


def test_windows_show_exactly_the_steps_within_series_and_limit() -> None:
    rng, context, horizon = np.random.default_rng(0), 6, 4
    rows = [
        (key, datetime(2024, 1, 1) + timedelta(days=day), float(rng.integers(1, 9)))
        for key, length in (("a", 20), ("b", 9), ("c", 15))
        for day in range(length)
        if day == 0 or day == length - 1 or rng.random() > 0.2
    ]
    frame = pl.DataFrame(rows, schema=["item", "time", "sold"], orient="row")
    panel = dc.read_panel(frame, key="item", time="time", target="sold", gaps="missing")
    features = Features.of(panel, (2, 5), takes=())
    source = WindowSource(panel, features, context=context, horizon=horizon, scaling="standard")
    series = torch.tensor([0, 0, 1, 1, 2, 2, 2])
    cutoffs = torch.tensor([1, 16, 3, 9, 0, 15, 8])
    limits = torch.tensor([20, 18, 5, 9, 15, 15, 10])
    window = source.gather(series, cutoffs, limits)
    for i, (row, cutoff, limit) in enumerate(zip(series, cutoffs, limits, strict=True)):
        begin, length = int(panel.begins[row]), int(panel.extents[row])
        for place in range(context + horizon):
            step = int(cutoff) - context + place
            inside = 0 <= step < min(int(limit), length)
            value = float(panel.target[begin + step]) if inside else float("nan")
            part = "past" if place < context else "future"
            at = place if place < context else place - context
            assert bool(getattr(window, f"{part}_observed")[i, at]) == (value == value)
            if value == value:
                assert float(getattr(window, f"{part}_target")[i, at]) == value
            elif part == "past":
                assert window.past_target[i, at] == window.level[i, 0]
            else:
                assert window.future_target[i, at] == 0
