"""Base class of the local methods: their hyper-parameters and the order of series."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import ConfiguredForecaster, Forecaster, check_panel
from demandcast.panel.panel import Panel
from demandcast.settings import SEED, MethodSettings, setting

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
logger = logging.getLogger("demandcast")
CELLS = 8_000_000  # numbers held at once, per array


@dataclass(frozen=True, kw_only=True)
class LocalConfig(MethodSettings):
    """Hyper-parameters that all local methods share."""

    seed: int = setting(0, SEED)  # of paths, and of samples of series in large panels


L = TypeVar("L", bound=LocalConfig)


class LocalForecaster(ConfiguredForecaster[L]):
    """Base class of the methods without training: `fit` only checks the panel, `predict` reads its histories.

    A subclass lists its hyper-parameters in a `Config`, a frozen dataclass that derives from `LocalConfig`, and forecasts
    the series of a panel in `_draft`.

    Steps that were not observed are skipped: they are neither a demand nor a period without one. Mean, quantiles and
    paths are at least 0 where the history is never negative; quantiles and paths are whole numbers where the history is.
    A series without an observed value is forecast as 0, with a logged warning.
    """

    takes: ClassVar[str] = "target"
    gives: ClassVar[str] = "paths and quantiles"
    Config: type[L] = LocalConfig  # type: ignore[assignment]  # of methods that add none

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Refuse the former way to state hyper-parameters, which would be ignored."""
        super().__init_subclass__(**kwargs)
        if "settings" in vars(cls):
            raise ConfigError(
                f"{cls.__name__} states its hyper-parameters in `settings`; state them as fields of a dataclass that "
                "derives from demandcast.local.base.LocalConfig, and name it: Config = ...",
                option="settings", found=cls.__name__, expected="Config",
            )  # fmt: skip

    def fit(self, panel: Panel) -> Forecaster:
        """Check that the argument is a panel; there is nothing to learn."""
        check_panel(panel)
        return self

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast in an order that depends on the series' keys only, so that the user's order changes no number."""
        warn_of_empty(self.name, panel)
        order = Draws.of(panel.keys, self.config.seed).order()
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
