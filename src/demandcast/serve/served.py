"""The models of a service, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from demandcast import registry
from demandcast.automl.auto import Auto
from demandcast.errors import ConfigError
from demandcast.forecaster import Forecaster
from demandcast.panel.panel import Panel
from demandcast.saved import MODEL
from demandcast.schema import Schema
from demandcast.windows.features import SERIES, FeatureForecaster, Features

KEPT = 16  # cached horizons of a method without a fit


@dataclass(frozen=True)
class Served:
    """A model that the service forecasts with.

    Attributes:
        name: Its name in requests.
        model: Fitted, or of a method that needs no fit.
        any_horizon: Whether requests may ask for any horizon; a saved run allows none beyond its own.
    """

    name: str
    model: Forecaster
    any_horizon: bool = False

    def at(self, horizon: int | None) -> Forecaster:
        """Return the forecaster for a horizon.

        Raises:
            ConfigError: A saved run forecasts fewer steps, or neither request nor model has a horizon.
        """
        if not self.any_horizon:
            if horizon is not None and horizon > self.model.horizon:
                raise ConfigError(
                    f"horizon is {horizon}, but {self.name} was fitted to forecast {self.model.horizon} steps; "
                    "ask for fewer, or serve a run with a longer horizon",
                    option="horizon", found=horizon, expected=f"1 to {self.model.horizon}",
                )  # fmt: skip
            return self.model
        if horizon is None:
            raise ConfigError(
                f"{self.name} has no horizon of its own; say horizon=28 for 28 steps",
                option="horizon",
            )
        return _of_horizon(type(self.model), horizon)


@lru_cache(maxsize=KEPT)
def _of_horizon(kind: type[Forecaster], horizon: int) -> Forecaster:
    return registry.create(kind.name, horizon=horizon)


def find_models(words: Sequence[str]) -> dict[str, Served]:
    """Load the models named on a command line: RUN, NAME=RUN or the name of a method that needs no fit.

    Raises:
        ConfigError: Two models have one name, or a method has to be fitted first.
        CheckpointError: A folder holds no saved run.
    """
    if not words:
        raise ConfigError("no model is given; name a folder that --save wrote, or zero_shot")
    models: dict[str, Served] = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals:
            name, place = Path(word).name, word
        if name in models:
            raise ConfigError(f"two models are called {name!r}; name them: other={place}")
        if not name or "/" in name:
            raise ConfigError(f"{word!r} gives a model no name; write name={place}")
        models[name] = _find(name, place)
    return models


def _find(name: str, place: str) -> Served:
    if place in registry.names() and not (Path(place) / MODEL).exists():
        kind = registry.get(place)
        if kind.learning.learns:
            raise ConfigError(
                f"{place} learns from a table; fit it first: demandcast forecast DATA --model {place} --save RUN, "
                "then serve RUN"
            )
        return Served(name, registry.create(place, horizon=1), any_horizon=True)
    return Served(name, registry.load(place))


def warm_up(served: Served) -> None:
    """Forecast artificial series with the columns of the fit, so that the first request is fast.

    Raises:
        DemandcastError: The model cannot forecast such series.
    """
    model = served.at(7 if served.any_horizon else None)
    model.predict(_example(model))


def _example(model: Forecaster) -> Panel:
    """Return two artificial series of a few seasons, with every covariate of the model up to the horizon."""
    inputs = _inputs(model)
    known = tuple(dict.fromkeys(name for f in inputs for name in f.known))
    past = tuple(dict.fromkeys(name for f in inputs for name in f.past))
    words = {c: v for f in inputs for c, v in f.vocabularies.items() if c != SERIES}
    reals = tuple(dict.fromkeys(name for f in inputs for name in f.static_reals))
    steps = 70
    rows = 2 * (steps + model.horizon)
    columns = (*dict.fromkeys(name.partition("=")[0] for name in known),)
    past_columns = (*dict.fromkeys(name.partition("=")[0] for name in past),)
    return Panel(
        schema=Schema(
            key=("item",), time="time", target="units", freq=inputs[0].freq if inputs else "D",
            known=columns, past=past_columns, static=(*words, *reals),
        ),
        keys=pl.DataFrame({"item": ["a", "b"]}),
        target=(np.arange(rows) % 7).astype(np.float32),
        begins=np.array([0, rows // 2]),
        extents=np.full(2, rows // 2),
        lengths=np.full(2, steps),
        starts=np.zeros(2, np.int64),
        known=np.zeros((rows, len(known)), np.float32),
        past=np.zeros((rows, len(past)), np.float32),
        known_names=known,
        past_names=past,
        static_codes=np.zeros((2, len(words)), np.int64),
        vocabularies=words,
        static_reals=np.zeros((2, len(reals)), np.float32),
        static_real_names=reals,
    )  # fmt: skip


def _inputs(model: Forecaster) -> list[Features]:
    """Return the features that a model, or each member of a blend, was fitted on."""
    if isinstance(model, Auto):
        members = [] if model.ensemble is None else model.ensemble.members
        return [f for member in members for own in member.models for f in _inputs(own)]
    if isinstance(model, FeatureForecaster) and model.features is not None:
        return [model.features]
    return []
