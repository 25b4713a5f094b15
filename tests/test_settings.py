"""Hyper-parameters: types and rules stand once, in the fields of the settings."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.forecaster import ConfiguredForecaster
from demandcast.settings import COUNT, FLAG, PART, MethodSettings, choice, setting
from demandcast.train import Training

CONFIGS: list[Any] = [
    Training,
    *(k.Config for k in registry.classes().values() if issubclass(k, ConfiguredForecaster)),
]


@dataclass(frozen=True, kw_only=True)
class Wide(MethodSettings):
    width: int = setting(3, COUNT)
    lags: tuple[int, ...] | None = setting(None, COUNT)
    batch: int | str = setting("auto", COUNT, auto=True)
    share: float = setting(0.5, PART)
    kind: str = setting("plain", choice("plain", "twisted"))
    bare: bool = False


@dataclass(frozen=True, kw_only=True)
class Wider(Wide):
    width: int = 30


@pytest.mark.parametrize(
    ("hyper", "said"),
    [
        ({"width": 0}, "width is 0; it must be a whole number, 1 or more"),
        ({"width": 2.5}, "width is 2.5; it must be a whole number, 1 or more"),
        ({"width": True}, "width is True; it must be a whole number, 1 or more"),
        ({"lags": (7, 0)}, "lags is 0; it must be a whole number, 1 or more"),
        ({"lags": 7}, "lags is 7; it must be a whole number, 1 or more, or None"),
        ({"batch": "large"}, "batch is 'large'; it must be a whole number, 1 or more, or 'auto'"),
        ({"share": float("nan")}, "share is nan; it must be 0 or more and below 1"),
        ({"kind": "twistd"}, "kind is 'twistd'; did you mean 'twisted'? It must be one of plain, twisted"),
        ({"bare": 1}, "bare is 1; it must be True or False"),
        ({"horizon": 0}, "horizon is 0; it must be a whole number, 1 or more"),
    ],
)  # fmt: skip
def test_a_refused_value_is_named_with_its_rule(hyper: dict[str, Any], said: str) -> None:
    for config in (Wide, Wider):  # another default keeps the rule
        with pytest.raises(ConfigError) as error:
            config(**{"horizon": 1} | hyper)
        assert str(error.value) == said


def test_what_follows_the_rules_is_kept_as_it_is() -> None:
    config = Wider(horizon=2, lags=(1, 7), batch=4, share=0, width=np.int64(5))
    assert (config.lags, config.batch, config.share, config.width) == ((1, 7), 4, 0, 5)
    assert Wider(horizon=2).width == 30
    FLAG.check("flag", False)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_setting_of_every_method_has_a_type_that_is_checked(config: Any) -> None:
    horizon = {"horizon": 1} if issubclass(config, MethodSettings) else {}
    config(**horizon)
    for field in fields(config):
        if field.name in ("include", "exclude", "levels"):
            continue  # read from words or one number, too
        with pytest.raises(ConfigError, match=field.name):
            config(**horizon | {field.name: b"neither"})


def test_a_log_scaler_of_other_libraries_is_a_likelihood_here() -> None:
    for words in ({"scaling": "log"}, {"scaling": "log1p"}):
        with pytest.raises(ConfigError, match=r"is no scaling.*likelihood='log_normal'"):
            registry.create("deepar", horizon=7, **words)
