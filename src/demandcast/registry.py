"""Every method by its name, and the way back from a saved run."""

from __future__ import annotations

import difflib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from demandcast.errors import CheckpointError, ConfigError
from demandcast.forecaster import Forecaster

_HOMES = {
    "auto": ("demandcast.automatic.auto", "Auto"),
    "deepar": ("demandcast.models.deepar", "DeepAR"),
    "mqrnn": ("demandcast.models.mqrnn", "MQRNN"),
    "mqcnn": ("demandcast.models.mqrnn", "MQCNN"),
    "lstnet": ("demandcast.models.lstnet", "LSTNet"),
    "tpa_lstm": ("demandcast.models.tpa_lstm", "TPALSTM"),
    "deep_factors": ("demandcast.models.deep_factors", "DeepFactors"),
    "dlinear": ("demandcast.models.dlinear", "DLinear"),
    "nlinear": ("demandcast.models.dlinear", "NLinear"),
    "nhits": ("demandcast.models.nhits", "NHITS"),
    "tide": ("demandcast.models.tide", "TiDE"),
    "tsmixer": ("demandcast.models.tsmixer", "TSMixer"),
    "patchtst": ("demandcast.models.patchtst", "PatchTST"),
    "tft": ("demandcast.models.tft", "TFT"),
    "neural_ode": ("demandcast.models.neural_ode", "NeuralODE"),
    "zero_shot": ("demandcast.models.zero_shot", "ZeroShot"),
    "uber_lstm": ("demandcast.models.uber_lstm", "UberLSTM"),
    "extreme_value_memory": ("demandcast.models.extreme_value_memory", "ExtremeValueMemory"),
    "lightgbm": ("demandcast.trees.boosting", "LightGBM"),
    "last_value": ("demandcast.local.naive", "LastValue"),
    "seasonal_naive": ("demandcast.local.naive", "SeasonalNaive"),
    "drift": ("demandcast.local.naive", "Drift"),
    "window_average": ("demandcast.local.naive", "WindowAverage"),
    "zero": ("demandcast.local.empirical", "Zero"),
    "empirical": ("demandcast.local.empirical", "Empirical"),
    "ses": ("demandcast.local.point", "SES"),
    "croston": ("demandcast.local.point", "Croston"),
    "sba": ("demandcast.local.point", "SBA"),
    "sbj": ("demandcast.local.point", "SBJ"),
    "tsb": ("demandcast.local.point", "TSB"),
    "hes": ("demandcast.local.point", "HES"),
    "adida": ("demandcast.local.point", "ADIDA"),
    "imapa": ("demandcast.local.point", "IMAPA"),
    "theta": ("demandcast.local.theta", "Theta"),
    "optimised_theta": ("demandcast.local.theta", "OptimisedTheta"),
    "auto_theta": ("demandcast.local.theta", "AutoTheta"),
    "ets": ("demandcast.local.ets", "ETS"),
    "level_shape": ("demandcast.local.level_shape", "LevelShape"),
    "analogues": ("demandcast.local.analogues", "Analogues"),
    "willemain": ("demandcast.local.bootstrap", "Willemain"),
    "viswanathan_zhou": ("demandcast.local.bootstrap", "ViswanathanZhou"),
    "renewal": ("demandcast.local.bootstrap", "Renewal"),
    "damped_counts": ("demandcast.local.damped", "DampedCounts"),
    "gamma_poisson": ("demandcast.local.gamma_poisson", "GammaPoisson"),
    "local_level": ("demandcast.local.local_level", "LocalLevel"),
    "multi_stage": ("demandcast.local.multi_stage", "MultiStage"),
    "routed": ("demandcast.local.routed", "Routed"),
}


def names() -> tuple[str, ...]:
    """Every method's name; imports none of them."""
    return tuple(_HOMES)


def get(name: str) -> type[Forecaster]:
    """The class of a method.

    Raises:
        ConfigError: The name is not known; the nearest is told.
    """
    if name not in _HOMES:
        near = difflib.get_close_matches(name, _HOMES, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"model {name!r} is not known; did you mean {near!r}? There are {', '.join(_HOMES)}"
        )
    module, kind = _HOMES[name]
    found: type[Forecaster] = getattr(import_module(module), kind)
    return found


def classes() -> dict[str, type[Forecaster]]:
    """Every method's class, by name."""
    return {name: get(name) for name in _HOMES}


def create(name: str, *, horizon: int, **hyper: Any) -> Forecaster:
    """A forecaster by its name, with hyper-parameters."""
    kind: Any = get(name)
    made: Forecaster = kind(horizon=horizon, **hyper)
    return made


def load(path: str | Path) -> Forecaster:
    """A forecaster as `save` wrote it.

    Raises:
        CheckpointError: The folder holds no saved run, or a damaged one.
    """
    file = Path(path) / "model.json"
    try:
        facts = json.loads(file.read_text())
        name, version = facts["model"], facts["format"]
        hyper = facts["hyperparameters"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} holds no saved forecaster ({error}); name the folder given to model.save or --save"
        ) from error
    if version != 1:
        raise CheckpointError(
            f"{path} has format {version}, this package reads 1; update demandcast"
        )
    kind: Any = get(name)
    if hasattr(kind, "restore"):
        restored: Forecaster = kind.restore(Path(path), facts)
        return restored
    made: Forecaster = kind(**hyper)
    return made
