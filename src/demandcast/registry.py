"""Every method by its name, and the way back from a saved run."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from demandcast.errors import CheckpointError, ConfigError, DemandcastError, MissingExtraError
from demandcast.files import printable
from demandcast.forecaster import Forecaster
from demandcast.forks import check_fork
from demandcast.saved import MODEL, Saved, read_saved
from demandcast.typed import convert

TRIES = 3  # to load a run that is saved anew at the same time

_HOMES = {
    "auto": ("demandcast.automl.auto", "Auto"),
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
    "ses": ("demandcast.local.croston", "SES"),
    "croston": ("demandcast.local.croston", "Croston"),
    "sba": ("demandcast.local.croston", "SBA"),
    "sbj": ("demandcast.local.croston", "SBJ"),
    "tsb": ("demandcast.local.croston", "TSB"),
    "hes": ("demandcast.local.croston", "HES"),
    "adida": ("demandcast.local.croston", "ADIDA"),
    "imapa": ("demandcast.local.croston", "IMAPA"),
    "theta": ("demandcast.local.theta", "Theta"),
    "optimised_theta": ("demandcast.local.theta", "OptimisedTheta"),
    "auto_theta": ("demandcast.local.theta", "AutoTheta"),
    "ets": ("demandcast.local.ets", "ETS"),
    "level_shape": ("demandcast.local.level_shape", "LevelShape"),
    "analogues": ("demandcast.local.analogues", "Analogues"),
    "willemain": ("demandcast.local.bootstrap", "Willemain"),
    "viswanathan_zhou": ("demandcast.local.bootstrap", "ViswanathanZhou"),
    "renewal": ("demandcast.local.bootstrap", "Renewal"),
    "damped_counts": ("demandcast.local.damped_counts", "DampedCounts"),
    "gamma_poisson": ("demandcast.local.gamma_poisson", "GammaPoisson"),
    "local_level": ("demandcast.local.local_level", "LocalLevel"),
    "multi_stage": ("demandcast.local.multi_stage", "MultiStage"),
    "routed": ("demandcast.local.routed", "Routed"),
}


GROUP = "demandcast.models"  # of entry points: name = "module:Class"
_registered: dict[str, type[Forecaster]] = {}
Kind = TypeVar("Kind", bound=type[Forecaster])


def register(kind: Kind) -> Kind:
    """Make a method of your own known by its `name`, in this process; also a class decorator.

    From then on it is a method like any other: `create`, `backtest`, `auto(include=[...])`, `tune` and
    `load` know it. An installed package is known to the command line too, without an import, by an entry
    point in its pyproject.toml: under `[project.entry-points."demandcast.models"]`, a line
    `my_method = "my_package.my_module:MyMethod"`.

    Args:
        kind: A class that follows `demandcast.forecaster.Forecaster`.

    Returns:
        The class itself.

    Raises:
        ConfigError: It is no such class, lacks what every method says of itself, or its name is taken.
    """
    _check_kind(kind, f"{getattr(kind, '__module__', '?')}:{getattr(kind, '__qualname__', kind)}")
    before = _registered.get(kind.name)
    again = before is not None and _place(before) == _place(kind)  # a notebook's cell, run again
    if kind.name in _HOMES or kind.name in _entries() or (before is not None and not again):
        raise ConfigError(
            f"the name {kind.name!r} is taken by another method; give {kind.__qualname__} another `name`",
            option="name",
            found=kind.name,
            expected="an unused name",
        )
    _registered[kind.name] = kind
    return kind


def _place(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _check_kind(kind: object, what: str) -> None:
    """Refuse a class that is no method, or lacks what a method must state."""
    if not (isinstance(kind, type) and issubclass(kind, Forecaster)):
        raise ConfigError(
            f"{what} is no class of a method; derive it from demandcast.forecaster.Forecaster"
        )
    missing = [n for n in ("name", "summary", "takes", "gives") if not getattr(kind, n, None)]
    unwritten = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing or unwritten:
        raise ConfigError(
            f'{what} lacks {", ".join([*missing, *unwritten])}; see the guide "Your own model"'
        )
    if not kind.name.isidentifier():
        raise ConfigError(
            f"{what} has the name {kind.name!r}; letters, digits and _ make a name",
            option="name",
            found=kind.name,
            expected="letters, digits and _",
        )


@cache
def _entries() -> dict[str, EntryPoint]:
    """Return the entry points of other installed packages, by name; none of them is imported."""
    entries: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = entries.get(entry.name)
        if entry.name in _HOMES or (other is not None and other.value != entry.value):
            owner = "demandcast" if other is None else repr(other.value)
            raise ConfigError(
                f"the name {entry.name!r} of {entry.value!r} is taken by {owner}; uninstall one of the two packages"
            )
        entries[entry.name] = entry
    return entries


def names(folder: str | None = None) -> tuple[str, ...]:
    """Return the names of methods, without importing one.

    Args:
        folder: Only those of a folder of this package, "local" or "models"; None for all: ours, those of
            other packages, and those registered.
    """
    if folder is not None:
        return tuple(name for name, home in _HOMES.items() if home[0].split(".")[1] == folder)
    return (*_HOMES, *_entries(), *_registered)


def get(name: str) -> type[Forecaster]:
    """Return the class of a method.

    Raises:
        ConfigError: The name is not known, and the nearest is told; or another package's class of this
            name is no method.
    """
    if name in _registered:
        return _registered[name]
    if name in _HOMES:
        module, kind = _HOMES[name]
        ours: type[Forecaster] = getattr(import_module(module), kind)
        return ours
    if name in _entries():
        return _import_class(_entries()[name])
    known = names()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    raise ConfigError(
        f"model {name!r} is not known; did you mean {near!r}? There are {', '.join(known)}. One of your own "
        "is made known by demandcast.register",
        found=name,
    ).suggest(near)


def _import_class(entry: EntryPoint) -> type[Forecaster]:
    """Import the class that an entry point of another package names."""
    try:
        kind: type[Forecaster] = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model {entry.name!r} of {entry.value!r} cannot be imported: {error}; mend or uninstall that package"
        ) from error
    _check_kind(kind, entry.value)
    if kind.name != entry.name:
        raise ConfigError(
            f"{entry.value} has the name {kind.name!r}, but its entry point says {entry.name!r}; make them one"
        )
    return kind


def classes() -> dict[str, type[Forecaster]]:
    """Return every method's class, by name."""
    return {name: get(name) for name in names()}


def create(name: str, *, horizon: int, **hyper: Any) -> Forecaster:
    """Create a forecaster by its name, with hyper-parameters."""
    kind: Any = get(name)
    model: Forecaster = kind(horizon=horizon, **hyper)
    return model


def load(path: str | Path) -> Forecaster:
    """Load a forecaster that `save` wrote.

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
    """Restore the forecaster of a saved run whose manifest was read.

    Raises:
        CheckpointError: Its files or facts are damaged.
    """
    method = run.facts.get("model")
    if isinstance(method, str) and method not in names():
        near = difflib.get_close_matches(method, names(), n=1, cutoff=0.8)
        raise CheckpointError(
            f"{printable(run.folder / MODEL)} was saved by the method {printable(method)}, which is not known here"
            f"{f' (edited, from {near[0]}?)' if near else ''}; install the package that has it, or import the "
            "module that calls demandcast.register before demandcast.load"
        )
    try:
        restored = get(run.facts["model"]).restore(run)
        restored.origin = convert(run.facts["origin"], dict[str, Any] | None, "origin")
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
