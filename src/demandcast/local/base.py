"""What local methods share: settings, saving, and every series' history as rows of one table."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forecaster import Forecaster, as_python, check_horizon, check_levels, check_names
from demandcast.panel.panel import Panel

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
logger = logging.getLogger("demandcast")
CELLS = 8_000_000  # numbers held at once, per array


class LocalForecaster(Forecaster):
    """A method without a training: `predict` reads the histories it is given, `fit` only checks.

    A subclass states its hyper-parameters with their defaults in `settings`, checks them in
    `_check`, and says in `_forecast` what follows a table of histories.

    A step that was not observed is no step: it is neither a demand nor a period without one. Where a
    series' history is never negative, its mean, quantiles and paths stop at 0; where it holds whole
    numbers only, quantiles and paths do too. A series without an observed value is forecast as 0,
    with a logged warning.
    """

    takes: ClassVar[str] = "target"
    gives: ClassVar[str] = "paths and quantiles"
    settings: ClassVar[
        dict[str, Any]
    ] = {}  # hyper-parameter -> default; horizon and seed are all's

    seed: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class the signature of its settings, which help and the command line read."""
        super().__init_subclass__(**kwargs)
        kinds = get_type_hints(cls)
        steps = inspect.Parameter(
            "horizon",
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None,
            annotation=int | None,
        )
        others = [("h", None, int | None)]
        others += [(name, value, kinds[name]) for name, value in cls.defaults().items()]
        named = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kind)
            for name, value, kind in others
        ]
        cls.__signature__ = inspect.Signature([steps, *named])  # type: ignore[attr-defined]

    def __init__(self, horizon: int | None = None, *, h: int | None = None, **hyper: Any) -> None:
        self.horizon = check_horizon(horizon, h)
        known = self.defaults()
        check_names(self.name, hyper, known)
        hyper = as_python(hyper)
        for name, default in known.items():
            setattr(self, name, hyper.get(name, default))
        whole("seed", self.seed, least=0)
        self._check()

    def _check(self) -> None:
        """Refuse hyper-parameters out of their range."""

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Every hyper-parameter but the horizon, with its default."""
        return {**cls.settings, "seed": 0}

    def hyperparameters(self) -> dict[str, Any]:
        return {"horizon": self.horizon, **{name: getattr(self, name) for name in self.defaults()}}

    def fit(self, panel: Panel) -> Forecaster:
        """Nothing to learn beforehand: checks that it is given a panel."""
        check_panel(panel)
        return self

    def predict(
        self,
        panel: Panel,
        *,
        future: Any = None,
        levels: Sequence[float] = DEFAULT_LEVELS,
        n_samples: int | None = None,
    ) -> Forecast:
        """Forecast every series from its last step; `future` is not looked at.

        Args:
            panel: Any panel; it need not be the one fitted on.
            future: Taken for the sake of other methods; local ones use no covariates.
            levels: Quantile levels, increasing, each in (0, 1).
            n_samples: Paths to draw, joint along the horizon; None keeps none.

        Raises:
            DataError: `panel` is not a Panel.
            ConfigError: The levels do not increase inside (0, 1), or `n_samples` is below 1.
        """
        check_panel(panel)
        levels = check_levels(levels)
        n_paths = 0 if n_samples is None else whole("n_samples", n_samples, least=1)
        warn_of_empty(self.name, panel)
        order = Draws.of(panel.keys, self.seed).order()
        forecast = self._forecast(panel.select(order), levels, n_paths)
        place = np.argsort(order)
        if forecast.samples is not None:
            for path in np.moveaxis(forecast.samples, 1, 0):  # many: in place
                path[:] = path[place]
        return Forecast.of(
            panel,
            levels,
            forecast.quantiles[place],
            forecast.mean[place],
            samples=forecast.samples,
            model=self.name,
        )

    def _forecast(self, panel: Panel, levels: tuple[float, ...], n_paths: int) -> Forecast:
        """Forecast a panel whose series come in an order of their keys, whatever the user's is."""
        raise NotImplementedError


def warn_of_empty(name: str, panel: Panel) -> None:
    """Log how many series have no observed value."""
    empty = np.flatnonzero(panel.n_observed() == 0)
    if len(empty):
        logger.warning(
            "%s: %d series have no observed value (e.g. %s) and are forecast as 0; leave them "
            "out with panel.select(panel.n_observed() > 0)",
            name,
            len(empty),
            panel.key(int(empty[0])),
        )


def check_panel(panel: object) -> None:
    if not isinstance(panel, Panel):
        raise DataError(
            f"a panel is wanted, not {type(panel).__name__}; make one with "
            "demandcast.read_panel(table, key=..., time=..., target=...)"
        )


def whole(name: str, value: object, *, least: int) -> int:
    """A whole number of at least `least`, or a named error."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ConfigError(f"{name} is {value!r}; it is a whole number, {least} or more")
    return int(value)


def share(name: str, value: object, *, optional: bool = False) -> float | None:
    """A smoothing weight in (0, 1], or None where that asks for an optimised one."""
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        what = ", or None to have it optimised per series" if optional else ""
        raise ConfigError(f"{name} is {value!r}; it is above 0 and at most 1{what}")
    return float(value)


def flag(name: str, value: object) -> bool:
    """True or False, or a named error."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; it is True or False")
    return value


def one_of(name: str, value: object, choices: Sequence[str]) -> None:
    """A word among those known, or an error naming the nearest."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"{name} is {value!r}; did you mean {near!r}? There are {', '.join(choices)}"
        )
