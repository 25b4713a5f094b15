"""Names of hyper-parameters that people bring from other libraries lead to ours."""

from __future__ import annotations

import pytest

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.forecaster import ELSEWHERE, FOREIGN

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


def test_the_names_that_people_bring_are_in_the_table() -> None:
    every = {name for kind in registry.classes().values() for name in kind.defaults()} | {"horizon"}
    for foreign, ours in BROUGHT.items():
        assert ours in FOREIGN[foreign]
    assert set().union(*FOREIGN.values()) <= every, "a name that no method has"
    assert "freq" in ELSEWHERE
