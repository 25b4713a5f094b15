"""What every method owes its user: fit, predict and save, and nothing to call in between."""

from __future__ import annotations

import difflib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Integral
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from demandcast.errors import ConfigError
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.panel.panel import Panel
from demandcast.saved import Saved, Saving, saving

FORMAT = 2  # of saved runs


class Forecaster(ABC):
    """A method with its hyper-parameters, cheap to make; `fit` always starts fresh."""

    name: ClassVar[str]  # as on the command line: "deepar"
    summary: ClassVar[str]  # one line: what it is, with its source
    takes: ClassVar[str]  # what it uses of a panel: "target", or "target, known, past, static"
    gives: ClassVar[str]  # "quantiles", or "paths and quantiles"
    aliases: ClassVar[dict[str, str]] = {}  # other names of hyper-parameters -> their own
    pools: ClassVar[bool] = False  # `predict` learns from all series of the panel it is given
    horizon: int
    origin: dict[str, Any] | None = None  # how the command that fitted it was called; saved with it

    @classmethod
    @abstractmethod
    def defaults(cls) -> dict[str, Any]:
        """Every hyper-parameter but the horizon, with its default."""

    @abstractmethod
    def hyperparameters(self) -> dict[str, Any]:
        """Every hyper-parameter by its Python name; what makes an equal model again."""

    @abstractmethod
    def fit(self, panel: Panel) -> Forecaster:
        """Learn from the history of every series; returns itself."""

    @abstractmethod
    def predict(
        self,
        panel: Panel,
        *,
        future: Any = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        n_samples: int | None = None,
    ) -> Forecast:
        """Forecast every series of the panel from its last step.

        Args:
            panel: What is known; may hold other series or later steps than the one fitted on.
            future: Covariates known ahead, for the steps behind the panel: a path or a frame with
                the key, time and known columns. None where the panel already reaches that far.
            levels: Quantile levels, increasing, each in (0, 1).
            n_samples: Joint paths to draw and keep; None for the method's own habit.
        """

    def save(self, path: str | Path) -> None:
        """Write a folder that `demandcast.load` reads: JSON and safetensors, never a pickle.

        Over an older run the folder holds the old one or the new one whole, whenever the save is cut
        off. Other files in the folder stay.

        Args:
            path: The folder, made where it is missing.

        Raises:
            NotFittedError: There is nothing to save yet.
            FileError: It cannot be written there.
        """
        with saving(path, what=f"the fitted {self.name}") as run:
            self.save_into(run)

    def save_into(self, run: Saving) -> None:
        """Write the files of a saved run; see `save`."""
        facts = self._write(run)
        own = {"hyperparameters": self.hyperparameters(), "origin": self.origin}
        run.finish({"format": FORMAT, "model": self.name, **own, **facts})

    def _write(self, run: Saving) -> dict[str, Any]:
        """Write what was learned into files, and return what else the manifest has to hold."""
        return {}

    @classmethod
    def restore(cls, run: Saved) -> Forecaster:
        """The forecaster of a saved run; see `demandcast.load`."""
        hyper = run.facts["hyperparameters"]
        kind: Any = cls
        restored: Forecaster = kind(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in hyper.items()}
        )
        return restored

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.hyperparameters().items())})"


def check_names(method: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse hyper-parameters that a method has not, naming the nearest it has."""
    names = list(known)
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise ConfigError(
                f"{method} has no hyper-parameter {name!r}; did you mean {near!r}? "
                f"There are {', '.join(names)}"
            )


def signature_of(config: type[Any]) -> inspect.Signature:
    """The signature of a method whose hyper-parameters are a dataclass; --help and --set read it."""
    hints = get_type_hints(config)
    return inspect.Signature(
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.name == "horizon" else field.default,
                annotation=hints[field.name],
            )
            for field in sorted(fields(config), key=lambda field: field.name != "horizon")
        ]
    )


def fit(model: Any, panel: Panel, *, progress: bool) -> None:
    """Fit a method, with its bar or without; those that have none are as quick as they are quiet."""
    if "progress" in inspect.signature(model.fit).parameters:
        model.fit(panel, progress=progress)
    else:
        model.fit(panel)


def check_horizon(horizon: int | None, h: int | None) -> int:
    """The horizon under either of its names, checked."""
    if (horizon is None) == (h is None):
        raise ConfigError("give the horizon once, as horizon=28 (or h=28): steps to forecast")
    value: Any = horizon if horizon is not None else h
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"horizon is {value!r}; it is a whole number of steps, 1 or more")
    return int(value)


def as_python(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters with numpy's numbers as Python's own, as JSON and type checks need them."""
    return {
        k: v.item() if hasattr(v, "item") and not getattr(v, "ndim", 1) else v
        for k, v in values.items()
    }


def check_levels(levels: Sequence[float] | float) -> tuple[float, ...]:
    """Quantile levels, increasing and inside (0, 1); one level may stand by itself."""
    try:
        values = tuple(float(v) for v in (levels if isinstance(levels, Iterable) else [levels]))
    except (TypeError, ValueError):
        raise ConfigError(
            f"quantile levels are {levels!r}; give numbers, as in levels=[0.1, 0.5, 0.9]"
        ) from None
    if not values or any(not 0 < v < 1 for v in values) or list(values) != sorted(set(values)):
        raise ConfigError(
            f"quantile levels are {list(values)}; they increase and lie between 0 and 1, "
            "as in levels=[0.1, 0.5, 0.9]"
        )
    return values
