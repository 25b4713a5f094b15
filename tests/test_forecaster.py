"""Names of hyper-parameters that people bring from other libraries lead to ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast import registry
from demandcast.errors import ConfigError, DataError, FileError, NotFittedError, SchemaError
from demandcast.forecaster import Forecaster
from demandcast.frames.read import read_panel
from demandcast.panel.panel import Panel
from demandcast.settings import ELSEWHERE, FOREIGN

BROUGHT = {
    "input_size": "context", "context_length": "context", "lr": "learning_rate",
    "max_epochs": "epochs", "hidden_size": "hidden", "n_estimators": "trees",
    "num_leaves": "leaves", "random_state": "seed", "season_length": "period",
}  # fmt: skip


@pytest.mark.parametrize("model", registry.names())
def test_a_foreign_name_leads_to_that_of_the_method(model: str) -> None:
    defaults = registry.get(model).defaults()
    for foreign, ours in FOREIGN.items():
        own = [name for name in ours if name in defaults]
        if foreign in defaults or not own:
            continue
        with pytest.raises(ConfigError) as error:
            registry.create(model, horizon=7, **{foreign: 1})
        assert f"did you mean {own[0]!r}" in str(error.value), foreign
    for foreign in ("prediction_length", "output_chunk_length"):
        with pytest.raises(ConfigError, match="did you mean 'horizon'"):
            registry.create(model, horizon=7, **{foreign: 1})
    with pytest.raises(ConfigError, match=r"read_panel\(\.\.\., known="):
        registry.create(model, horizon=7, futr_exog_list=["price"])
    with pytest.raises(
        ConfigError, match=r"the step is the panel's: read_panel\(\.\.\., freq='D'\)\. "
    ):
        registry.create(model, horizon=7, freq="D")
    names = {"horizon", *defaults}
    lacking = next(foreign for foreign, ours in FOREIGN.items() if not names & {foreign, *ours})
    for nothing in ("zzqqx", lacking):
        with pytest.raises(ConfigError, match=r"; nothing there is like it\. There are "):
            registry.create(model, horizon=7, **{nothing: 1})


def test_the_names_that_people_bring_are_in_the_table() -> None:
    every = {name for kind in registry.classes().values() for name in kind.defaults()} | {"horizon"}
    for foreign, ours in BROUGHT.items():
        assert ours in FOREIGN[foreign]
    assert set().union(*FOREIGN.values()) <= every, "a name that no method has"
    assert "freq" in ELSEWHERE


@pytest.fixture(scope="module")
def panel() -> Panel:
    """Two series of counts, one of them shorter, in an order that is not that of their keys."""
    rows = [("b", t, float(t % 3)) for t in range(30)] + [("a", t, 2.0) for t in range(18, 30)]
    return read_panel(pl.DataFrame(rows, schema=["item", "t", "y"], orient="row"), key=["item"])


INSTANT = [n for n in registry.names() if registry.get(n).takes == "target" and n != "auto"]
UNFITTED = [n for n in registry.names() if "max_steps" in registry.get(n).defaults()]


@pytest.mark.parametrize("name", registry.names())
def test_every_method_has_the_one_door(name: str, panel: Panel) -> None:
    """What is asked for is checked alike, before anything else is looked at."""
    kind = registry.get(name)
    assert kind.predict is Forecaster.predict
    model: Any = registry.create(name, horizon=3)
    for wrong in (0, -3, 2.5, True, "many"):
        with pytest.raises(ConfigError, match="n_samples is"):
            model.predict(panel, n_samples=wrong)
    for levels in ([0.9, 0.1], [0.5, 0.5], [], [1.0], ["half"], 2.0):
        with pytest.raises(ConfigError, match="quantile levels are"):
            model.predict(panel, levels=levels)
    for thing in (panel.keys, None, "table.csv"):
        with pytest.raises(DataError, match=r"a panel is wanted.*read_panel"):
            model.predict(thing)
    if "paths" not in kind.gives:
        with pytest.raises(ConfigError, match="draws no paths"):
            model.predict(panel, n_samples=10)
    if name in UNFITTED:
        with pytest.raises(NotFittedError, match=r"model\.fit\(panel\)"):
            model.predict(panel)


@pytest.mark.parametrize("name", [*INSTANT, "zero_shot", "multi_stage"])
def test_a_future_is_looked_at_by_every_method(name: str, panel: Panel) -> None:
    model = registry.create(name, horizon=3)
    with pytest.raises((FileError, SchemaError, DataError)):
        model.predict(panel, future="nowhere.csv")
    with pytest.raises(SchemaError, match="no covariates known ahead"):
        model.predict(panel, future=pl.DataFrame({"item": ["a"], "t": [30], "price": [1.0]}))
    assert model.predict(panel, levels=0.5).levels == (0.5,)


@pytest.mark.parametrize(("steps", "horizon"), [(None, 4), (7, 3), (6, 3), (100, 5), (2, 3)])
def test_fitted_values_are_forecasts_of_the_past(panel: Panel, steps: Any, horizon: int) -> None:
    model = registry.create("last_value", horizon=horizon).fit(panel)
    found = model.fitted(panel, steps=steps, levels=0.5, progress=False)
    covered = min(steps or 99, 29)
    assert found.columns == ["item", "t", "ahead", "actual", "mean", "0.5"]
    assert found["item"].to_list() == ["b"] * covered + ["a"] * min(covered, 11)
    for key, last in (("b", [float(t % 3) for t in range(30)]), ("a", [2.0] * 12)):
        own = found.filter(item=key)
        times, ahead = own["t"].to_numpy(), own["ahead"].to_numpy()
        assert times.tolist() == list(range(30 - len(own), 30))  # each step once, up to the last
        assert ((ahead >= 1) & (ahead <= horizon)).all()
        begin = 30 - len(last)
        np.testing.assert_array_equal(own["actual"], [last[t - begin] for t in times])
        wanted = [last[t - h - begin] for t, h in zip(times, ahead, strict=True)]
        np.testing.assert_allclose(own["0.5"], wanted, atol=1e-9)


def test_fitted_values_need_a_step_before_them(panel: Panel) -> None:
    model = registry.create("last_value", horizon=3)
    with pytest.raises(DataError, match="more than one step"):
        model.fitted(panel.drop_last(29))
    with pytest.raises(ConfigError, match="steps is 0"):
        model.fitted(panel, steps=0)
