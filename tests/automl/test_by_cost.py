"""`auto(metric="cost")`: the candidate whose orders cost least on windows that no fit has seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.automl import by_cost
from demandcast.automl.by_cost import Rounds, cheapest
from demandcast.automl.validation import Validation
from demandcast.decide.rules import Policy
from demandcast.errors import ConfigError, NotFittedError
from demandcast.frames.examples import retail

QUICK: dict[str, Any] = {"budget": "5 steps", "include": ("tsb", "ses")}
COSTS: dict[str, Any] = {"lead_time": 2, "review": 3, "cost_under": 4, "cost_over": 0.2}


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    frame = retail(n_items=5, n_days=120, seed=2).frame
    return dc.read_panel(frame, key="item", time="date", target="units", freq="D")


def test_the_cheapest_forecasts_alone_and_says_what_it_cost(panel: dc.Panel) -> None:
    best = dc.auto(panel, 7, metric="cost", progress=False, **QUICK, **COSTS)
    board = best.costs()
    costs = dict(board.select("model", "cost").rows())
    assert set(costs) == {
        "auto", "tsb", "ses", "mean_plus_sigma", "steps_of_cover", "perfect_foresight",
    }  # fmt: skip
    names = [name for name in ("auto", "tsb", "ses") if name in costs]
    least = min(names, key=lambda name: costs[name])
    kept = [m.name for m in best.members]
    assert kept == [least] if costs[least] < 0.99 * costs["auto"] else len(kept) > 1
    assert f"would have cost {costs[least]:,.2f}" in best.verdict()
    assert best.predict(panel, n_samples=60).samples.shape == (5, 60, 7)  # type: ignore[union-attr]


def test_a_member_replaces_the_blend_where_it_saves_enough() -> None:
    def board(auto: float, tsb: float) -> pl.DataFrame:
        return pl.DataFrame({"model": ["tsb", "auto", "steps_of_cover"], "cost": [tsb, auto, 1.0]})

    assert cheapest(board(100.0, 98.0), ["auto", "tsb"]) == "tsb"
    assert cheapest(board(100.0, 99.5), ["auto", "tsb"]) == "auto"
    assert cheapest(board(100.0, 120.0), ["auto", "tsb"]) == "auto"


def test_the_member_that_was_chosen_is_the_one_that_forecasts(
    panel: dc.Panel, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(by_cost, "cheapest", lambda board, names: "ses")
    best = dc.auto(panel, 7, metric="cost", progress=False, **QUICK, **COSTS)
    assert [m.name for m in best.members] == ["ses"]
    best.save(tmp_path / "run")
    again = dc.load(tmp_path / "run")
    assert (again.predict(panel).quantiles == best.predict(panel).quantiles).all()
    with pytest.raises(NotFittedError, match="no orders were replayed"):
        again.costs()


def test_rounds_lie_in_the_windows_that_were_held_out(panel: dc.Panel) -> None:
    validation = Validation.of(panel, 7, 3, "wql", 0)
    rounds = Rounds.of(panel, validation, Policy(**COSTS)).panels
    assert len(rounds) == (3 * 7 - 2) // 3
    ends = [int(part.ends().max()) for part in rounds]
    assert min(ends) >= int(validation.first.ends().max())
    assert np.diff(ends).tolist() == [3] * (len(ends) - 1)
    assert ends[-1] + 2 + 3 == int(panel.ends().max())


def test_too_short_a_history_keeps_the_blend_and_says_so(panel: dc.Panel, caplog: Any) -> None:
    short = panel.drop_last(104)
    rule = COSTS | {"lead_time": 4, "review": 3}
    best = dc.auto(short, 7, metric="cost", progress=False, **QUICK, **rule)
    assert "too short for an order" in best.skipped["cost"]
    assert "too short for an order" in caplog.text
    assert best.predict(short).quantiles.shape[0] == short.n_series


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"metric": "cost"}, "lead_time is not given; give lead_time=2, cost_under=1, cost_over=0.2"),
        ({"metric": "cost", "lead_time": 2, "cost_under": 1}, "cost_over is not given"),
        ({"lead_time": 2}, "lead_time is of orders, and the metric is wql.*metric='cost'"),
        ({"metric": "cost", **COSTS, "review": 6}, "are 8 steps, and the horizon is 7.*horizon=8"),
        ({"metric": "cost", **COSTS, "cost_over": 0}, "cost_over is 0; it must be above 0"),
        ({"metric": "cost", **COSTS, "lead_time": -1}, "lead_time is -1"),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_replayed_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dc.automl.Auto(7, **given)
