"""Classes of demand against values worked by hand, and their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.errors import ConfigError
from demandcast.panel.classes import count_classes, profile
from demandcast.panel.panel import Panel
from demandcast.schema import Schema

NAN = float("nan")


def panel_of(*histories: Any, freq: str = "MS") -> Panel:
    sizes = np.array([len(h) for h in histories], np.int64)
    return Panel(
        schema=Schema(key=("id",), time="t", target="y", freq=freq),
        keys=pl.DataFrame({"id": [f"s{i}" for i in range(len(histories))]}),
        target=np.concatenate([np.asarray(h, np.float32) for h in histories]),
        begins=np.cumsum(sizes) - sizes,
        extents=sizes,
        lengths=sizes,
        starts=np.zeros(len(sizes), np.int64),
        known=np.zeros((int(sizes.sum()), 0), np.float32),
        past=np.zeros((int(sizes.sum()), 0), np.float32),
    )


def test_figures_are_those_worked_by_hand() -> None:
    """Six demands in ten steps from the first: ADI 10/6; sizes 1 2 3 2 1 3, mean 2, variance 4/6."""
    found = profile(panel_of([0, 0, 0, 1, 0, 2, 3, NAN, 0, 2, 0, 1, 3, 0])).row(0, named=True)
    assert (found["steps"], found["demands"]) == (10, 6)
    assert found["adi"] == pytest.approx(10 / 6)
    assert found["cv2"] == pytest.approx(4 / 6 / 4)
    assert (found["class"], found["freq"]) == ("intermittent", "MS")


def test_the_four_classes_and_the_fifth() -> None:
    even, uneven = [2.0, 3] * 6, [1.0, 9] * 6
    rare = np.array([1.0, 0, 0] * 12)
    panel = panel_of(
        even, uneven, rare, rare * np.tile([1, 1, 1, 9, 9, 9], 6), [3.0, 0, 0, 4], [0.0]
    )
    kinds = profile(panel)["class"].to_list()
    assert kinds == ["smooth", "erratic", "intermittent", "lumpy", "insufficient", "insufficient"]
    assert profile(panel)["adi"].to_list()[-1] is None
    assert count_classes(panel)["insufficient"] == 2


def test_both_pairs_of_cuts() -> None:
    at_four_thirds = [1.0, 1, 1, 0] * 5  # 20 steps, 15 demands
    panel = panel_of(at_four_thirds, [*at_four_thirds, 1])  # 1.333 and 1.3125
    assert profile(panel)["class"].to_list() == ["intermittent", "smooth"]
    assert profile(panel, cuts="kostenko_hyndman")["class"].to_list() == ["intermittent", "smooth"]
    between = panel_of([1.0] * 83 + [0.0] * 27)  # 1.325
    assert profile(between)["class"].item() == "intermittent"
    assert profile(between, cuts="kostenko_hyndman")["class"].item() == "smooth"
    assert panel.profile(cuts="kostenko_hyndman")["class"].to_list() == ["intermittent", "smooth"]
    with pytest.raises(ConfigError, match="kostenko_hyndman"):
        profile(panel, cuts="exact")


def test_fading_demand_is_told_from_chance() -> None:
    rng = np.random.default_rng(0)
    steady = rng.random((2000, 60)) < 0.3
    dying = steady & (np.arange(60) < rng.integers(15, 35, (2000, 1)))
    found = profile(panel_of(*steady.astype(float), *dying.astype(float)))
    enough = (found["demands"] >= 5).to_numpy()
    fading = found["fading"].to_numpy()
    assert fading[:2000][enough[:2000]].mean() == pytest.approx(0.05, abs=0.02)
    assert fading[2000:][enough[2000:]].mean() > 0.5
    assert not fading[~enough].any()


def test_new_series_are_those_first_sold_within_a_season() -> None:
    panel = panel_of([0.0] * 20 + [1] * 12, [0.0] * 20 + [1] * 13, [0.0] * 40)
    assert profile(panel)["new"].to_list() == [True, False, False]
    assert profile(panel_of([1.0] * 4, [1.0] * 5, freq="1"))["new"].to_list() == [True, False]


def test_returns_count_by_their_size() -> None:
    found = profile(panel_of([2.0, -2, 0, 2, -2, 2])).row(0, named=True)
    assert (found["demands"], found["cv2"]) == (5, 0)
    assert found["class"] == "smooth"
    assert profile(panel_of([1.0]).select([])).height == 0
