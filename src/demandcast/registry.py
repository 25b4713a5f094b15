"""Every method by its name, and the way back from a saved run."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import Any

from demandcast.errors import CheckpointError, ConfigError, DemandcastError, MissingExtraError
from demandcast.files import printable
from demandcast.forecaster import Forecaster
from demandcast.forks import check_fork
from demandcast.saved import MODEL, Saved, read_saved
from demandcast.typed import typed

TRIES = 3  # to load a run that is saved anew at the same time

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
        CheckpointError: The folder holds no saved run, a damaged or edited one, or one of another
            version.
        MissingExtraError: The method needs a package that is not installed.
    """
    check_fork("demandcast.load")
    for _ in range(TRIES):
        run = read_saved(path)
        try:
            return restore(run)
        except CheckpointError:
            if (run.folder / MODEL).stat().st_mtime_ns == run.stamp:
                raise  # else it was saved anew while it was read
    return restore(read_saved(path))


def restore(run: Saved) -> Forecaster:
    """The forecaster of a saved run whose manifest was read.

    Raises:
        CheckpointError: Its files or facts are damaged.
    """
    try:
        restored = get(run.facts["model"]).restore(run)
        restored.origin = typed(run.facts["origin"], dict[str, Any] | None, "origin")
    except (CheckpointError, MissingExtraError):
        raise
    except (
        AttributeError,
        DemandcastError,
        LookupError,
        MemoryError,
        OverflowError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # fmt: skip  facts of a wrong type or out of range, wherever they are used first
        reason = " ".join(str(error).split())[:300]
        kind = "" if isinstance(error, DemandcastError) else f"{type(error).__name__}: "
        raise CheckpointError(
            f"{printable(run.folder / MODEL)} is damaged or edited ({kind}{reason}); save the run again, or take "
            "it from a copy"
        ) from error
    return restored
