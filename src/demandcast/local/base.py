"""Base class of the local methods: settings, signature and the order of series."""

from __future__ import annotations

import inspect
import logging
from typing import Any, ClassVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Forecaster, check_panel
from demandcast.panel.panel import Panel
from demandcast.settings import as_python, check_horizon, check_names, whole

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
logger = logging.getLogger("demandcast")
CELLS = 8_000_000  # numbers held at once, per array


class LocalForecaster(Forecaster):
    """Base class of the methods without training: `fit` only checks the panel, `predict` reads its histories.

    A subclass lists its hyper-parameters and their defaults in `settings`, checks them in `_check`, and forecasts the
    series of a panel in `_draft`.

    Steps that were not observed are skipped: they are neither a demand nor a period without one. Mean, quantiles and
    paths are at least 0 where the history is never negative; quantiles and paths are whole numbers where the history is.
    A series without an observed value is forecast as 0, with a logged warning.
    """

    takes: ClassVar[str] = "target"
    gives: ClassVar[str] = "paths and quantiles"
    settings: ClassVar[
        dict[str, Any]
    ] = {}  # hyper-parameter -> default; all methods have horizon and seed

    seed: int

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Give the class a signature with its settings; help and the command line read it."""
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
        """Refuse hyper-parameters that are out of range."""

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return every hyper-parameter except the horizon, with its default."""
        return {**cls.settings, "seed": 0}

    def hyperparameters(self) -> dict[str, Any]:
        return {"horizon": self.horizon, **{name: getattr(self, name) for name in self.defaults()}}

    def fit(self, panel: Panel) -> Forecaster:
        """Check that the argument is a panel; there is nothing to learn."""
        check_panel(panel)
        return self

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast in an order that depends on the series' keys only, so that the user's order changes no number."""
        warn_of_empty(self.name, panel)
        order = Draws.of(panel.keys, self.seed).order()
        return self._draft(panel.select(order), ask).select(np.argsort(order))

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast the series of a panel; their order depends on their keys only."""
        raise NotImplementedError


def warn_of_empty(name: str, panel: Panel) -> None:
    """Log a warning with the number of series that have no observed value."""
    empty = np.flatnonzero(panel.n_observed() == 0)
    if len(empty):
        logger.warning(
            "%s: %d series have no observed value (e.g. %s) and are forecast as 0; leave them "
            "out with panel.select(panel.n_observed() > 0)",
            name,
            len(empty),
            panel.key(int(empty[0])),
        )
