"""Trials: never worse than the defaults where they were judged, stopped early, and gone on with."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.automl.tune import default_space
from demandcast.errors import ConfigError, DataError, FileError, MissingExtraError
from demandcast.frames.examples import retail


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    frame = retail(n_items=12, n_days=120, seed=2).frame
    return dc.read_panel(frame, key="item", time="date", target="units", freq="D")


def search(panel: dc.Panel, name: str = "tsb", **named: Any) -> Any:
    named = {"horizon": 7, "trials": 6, "progress": False} | named
    return dc.tune(name, panel, **named)


def test_the_best_is_no_worse_than_the_defaults_and_found_again(panel: dc.Panel) -> None:
    space = {"alpha": (0.02, 0.9), "beta": (0.02, 0.9)}
    found, again = search(panel, space=space), search(panel, space=space)
    assert found.loss <= 1
    assert found.trials.drop("seconds").equals(again.trials.drop("seconds"))
    assert {k: found.model.hyperparameters()[k] for k in found.best} == found.best
    complete = found.trials.filter(pl.col("state") == "complete")["loss"]
    assert min(1.0, complete.min()) == pytest.approx(found.loss)
    assert found.trials.filter(pl.col("state") == "complete")["alpha"].is_between(0.02, 0.9).all()
    assert np.isfinite(found.model.predict(panel).quantiles).all()


def test_it_finds_what_is_better(panel: dc.Panel) -> None:
    walk = np.cumsum(np.random.default_rng(0).normal(0, 1, len(panel.target))) + 100
    drifting = dc.Panel(**{**panel.__dict__, "target": walk.astype(np.float32)})
    found = search(drifting, "window_average", space={"window": [1, 3, 7, 14]}, trials=12)
    assert found.best == {"window": 1}
    assert found.loss < 0.95


def test_numbers_are_tried_to_the_figures_that_are_told(panel: dc.Panel) -> None:
    found = search(panel, trials=3, space={"alpha": (0.02, 0.9)}, refit=False)
    tried = [f"{alpha:.4g}" for alpha in found.trials["alpha"]]
    assert [float(figures) for figures in tried] == found.trials["alpha"].to_list()
    assert not found.interrupted


def test_a_range_is_of_the_type_that_the_setting_is_declared_with(panel: dc.Panel) -> None:
    tried = search(panel, trials=4, space={"alpha": (0, 1)}, refit=False).trials["alpha"]
    assert tried.dtype == pl.Float64
    assert (tried.drop_nulls() % 1 > 0).any()
    with pytest.raises(
        ConfigError, match=r"no trial of tsb.*the last one: alpha is [23]\.\d+; it must"
    ):
        search(panel, trials=2, space={"alpha": (2, 3)})
    with pytest.raises(ConfigError, match=r"space of window is \(2\.5, 9\).*whole number"):
        search(panel, "window_average", space={"window": (2.5, 9)})
    with pytest.raises(ConfigError, match=r"'horizon'.* is not searched; give horizon=28"):
        search(panel, space={"horizon": (3, 9)})


def test_poor_trials_are_stopped_after_a_quarter(
    panel: dc.Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from demandcast.trees.boosting import LightGBM

    grown: list[int] = []
    plain = LightGBM.fit

    def counted(self: Any, *args: Any, **named: Any) -> Any:
        grown.append(self.config.trees)
        return plain(self, *args, **named)

    monkeypatch.setattr(LightGBM, "fit", counted)
    found = search(
        panel,
        "lightgbm",
        trees=8,
        rows=400,
        levels=(0.1, 0.5, 0.9),
        trials=10,
        space={"least": [5, 150]},
    )
    assert "pruned" in found.trials["state"].to_list()
    whole = int((found.trials["state"] == "complete").sum())
    assert grown.count(2) == 10  # every trial has its quarter
    assert grown.count(8) == whole + 2  # the defaults, and the best on the whole history


def test_trials_in_a_file_are_gone_on_with(panel: dc.Panel, tmp_path: Any) -> None:
    space = {"alpha": (0.02, 0.9)}
    place = tmp_path / "kept" / "study.journal"
    search(panel, space=space, storage=place, trials=3)
    found = search(panel, space=space, storage=place, trials=5)
    assert found.trials.height == 5
    assert search(panel, space=space, storage=place, trials=5).trials.height == 5


def test_a_file_that_holds_no_trials_is_left_alone(panel: dc.Panel, tmp_path: Any) -> None:
    place = tmp_path / "notes.txt"
    place.write_text("mine\n")
    with pytest.raises(FileError, match=r"notes.txt is there already, and holds no trials"):
        search(panel, space={"alpha": (0.02, 0.9)}, storage=place, trials=3)
    assert place.read_text() == "mine\n"
    with pytest.raises(FileError, match=r"not saved: .*the trials was not written|NUL"):
        search(panel, space={"alpha": (0.02, 0.9)}, storage=place / "inner", trials=3)


def test_what_is_searched_where_nothing_is_said(panel: dc.Panel) -> None:
    space = default_space(dc.models.NHITS, {"dropout": 0.1}, panel, 7)
    assert space["learning_rate"] == pytest.approx((4e-4, 1e-2))
    assert space["max_steps"] == (500, 4000)
    assert None in space["context"]
    assert "dropout" not in space
    assert "trees" in default_space(dc.trees.LightGBM, {}, panel, 7)


def test_what_is_wrong_is_told(panel: dc.Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        search(panel, space={"alfa": (0, 1)})
    with pytest.raises(ConfigError, match="no hyper-parameters that are searched"):
        search(panel, "zero")
    short = panel.select([0])
    short = dc.Panel(**{**short.__dict__, "lengths": short.lengths * 0 + 2})
    with pytest.raises(DataError, match="too short"):
        search(short, space={"alpha": (0.1, 0.2)})
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"demandcast\[tune\]"):
        search(panel)


def test_defaults_that_lose_nothing_are_kept() -> None:
    days = np.datetime64("2024-01-01") + np.arange(90)
    table = pl.DataFrame({"ds": days, "y": [3, 5, 4, 6, 7, 9, 2] * 12 + [3, 5, 4, 6, 7, 9]})
    whole = dc.read_panel(table, key=[])
    found = search(whole, "seasonal_naive", trials=2, space={"period": [7, 5]})
    assert (found.loss, found.best) == (1.0, {})
    assert sorted(found.trials["loss"].drop_nulls().to_list()) in ([1.0, float("inf")], [1.0])
