"""Every method has the estimator protocol of scikit-learn: `get_params`, `set_params`, and `sklearn.base.clone`."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.forecaster import Forecaster

pytestmark = pytest.mark.parametrize("name", registry.names())
# scikit-learn itself is no package of development: lightgbm imports it where it is, which takes .8 s in each process


def other(model: Forecaster) -> dict[str, Any]:
    """A change of a hyper-parameter that every value of its type allows, besides the horizon."""
    return {"horizon": 5, **({"seed": 7} if "seed" in model.defaults() else {})}


def test_parameters_are_those_of_the_constructor(name: str) -> None:
    model = registry.create(name, horizon=3)
    params = model.get_params()
    assert params == model.get_params(deep=False) == model.hyperparameters()
    assert set(params) == set(inspect.signature(type(model)).parameters) - {"h"}
    again = type(model)(**params)
    assert again.get_params() == params


def test_set_parameters_are_those_of_a_new_model(name: str) -> None:
    model = registry.create(name, horizon=3)
    change = other(model)
    assert model.set_params(**change) is model
    expected = registry.create(name, **change)
    assert model.get_params() == expected.get_params()
    assert model.horizon == 5
    assert model.set_params(h=4).horizon == 4


def test_an_unknown_parameter_changes_nothing(name: str) -> None:
    model = registry.create(name, horizon=3)
    before = model.get_params()
    with pytest.raises(ConfigError):
        model.set_params(horizon=4, horizn=5)
    with pytest.raises(ConfigError):
        model.set_params(horizon=0)
    assert model.get_params() == before
    assert model.horizon == 3


def test_a_clone_has_equal_parameters(name: str) -> None:
    model = registry.create(name, horizon=3)
    model.set_params(**other(model))
    copy = model.__sklearn_clone__()  # what `sklearn.base.clone` calls
    assert type(copy) is type(model)
    assert copy is not model
    assert copy.get_params() == model.get_params()
