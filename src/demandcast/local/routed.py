"""Routed: forecast each class of demand by the method that was best for it in a backtest on the panel's history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast import registry
from demandcast.errors import ConfigError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.forecast import DEFAULT_LEVELS
from demandcast.forecaster import Forecaster, check_panel
from demandcast.local.base import LocalConfig, LocalForecaster
from demandcast.panel.classes import CLASSES, profile
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

METHODS = (
    *("tsb", "ses", "sba", "imapa", "analogues", "empirical", "seasonal_naive"),
    *("level_shape", "theta"),
)
MIN_GAIN = 0.03  # in a class over the method best for all classes; smaller gains rarely persist
MIN_SERIES = 10  # in a class, measured, for a method of its own


@dataclass(frozen=True, kw_only=True)
class RoutedConfig(LocalConfig):
    """Hyper-parameters of the routing."""

    methods: tuple[str, ...] = (
        METHODS  # candidates; the first is used where the history is too short
    )
    folds: int = setting(2, COUNT)  # cutoffs of the backtest

    def __post_init__(self) -> None:
        """Refuse methods that are not fitted series by series."""
        super().__post_init__()
        if not self.methods:
            raise ConfigError(
                f"methods names no method; name one or more, such as {METHODS}", option="methods"
            )
        for method in self.methods:
            kind = registry.get(method)
            if not issubclass(kind, LocalForecaster) or issubclass(kind, Routed):
                raise ConfigError(
                    f"methods has {method!r}, which is not fitted series by series; name methods such as {METHODS}",
                    option="methods", found=method,
                )  # fmt: skip


class Routed(LocalForecaster[RoutedConfig]):
    """Forecasts each class of `panel.profile()` with the method of smallest wQL in a backtest on the history.

    The backtest forecasts one horizon (at most a quarter of the longest history) from each of `folds` cutoffs. A class
    takes the method that is best over all classes, unless the class has 10 series in the backtest and another method is
    at least 3 % better: smaller gains rarely persist. If the history is too short for a backtest, the first method
    forecasts all series. Every method reads the whole panel, since some learn from all series.

    Args:
        horizon: Steps to forecast; also `h`.
        methods: Names of the candidates, any that are fitted series by series, your own too; the first is the default without a backtest.
        folds: Number of cutoffs of the backtest.
        seed: Seed of every method.
    """

    name = "routed"
    summary = "Each class of demand by the method that forecast it best on this very history"
    pools = True
    Config = RoutedConfig

    def routes(self, panel: Panel) -> pl.DataFrame:
        """Return the method of each class, and its scores.

        Returns:
            One row a class in the panel: `class`, `series` (now), `method`, `measured` (series in the backtest, summed
            over the folds), and the wQL of each candidate; null without a backtest.
        """
        check_panel(panel)
        loss, demand, count = self._backtest(panel)
        wql = loss / np.where(demand > 0, demand, np.nan)[:, None]
        best = int(np.argmin(loss.sum(0)))
        rows = []
        kinds = profile(panel)["class"].to_numpy()
        for place, kind in enumerate(CLASSES):
            series = int((kinds == kind).sum())
            if series:
                best_here = int(np.argmin(loss[place]))
                takes_best_here = (
                    count[place] >= MIN_SERIES
                    and loss[place, best_here] < (1 - MIN_GAIN) * loss[place, best]
                )
                chosen = self.config.methods[best_here if takes_best_here else best]
                scores = [None if np.isnan(s) else float(s) for s in wql[place]]
                rows.append((kind, series, chosen, int(count[place]), *scores))
        columns = {
            "class": pl.String,
            "series": pl.Int64,
            "method": pl.String,
            "measured": pl.Int64,
        }
        return pl.DataFrame(
            rows, schema=columns | dict.fromkeys(self.config.methods, pl.Float64), orient="row"
        )

    def _backtest(self, panel: Panel) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return pinball losses (classes, methods), absolute demand (classes,) and numbers of series (classes,)."""
        loss = np.zeros((len(CLASSES), len(self.config.methods)))
        demand, count = np.zeros(len(CLASSES)), np.zeros(len(CLASSES), np.int64)
        longest = int(panel.lengths.max(initial=0))
        ahead = min(self.horizon, longest // 4)
        for fold in range(min(self.config.folds, longest // (4 * ahead)) if ahead else 0):
            past = panel.drop_last(ahead * (fold + 1))
            actual = past.future_target(ahead)  # (n, ahead)
            codes = np.array([CLASSES.index(kind) for kind in profile(past)["class"]])
            np.add.at(demand, codes, np.abs(np.where(np.isnan(actual), 0, actual)).sum(1))
            np.add.at(count, codes, (~np.isnan(actual)).any(1))
            for i, method in enumerate(self._create_methods(ahead)):
                quantiles = method.predict(past).quantiles
                error = actual[..., None].astype(np.float64) - quantiles
                levels = np.array(DEFAULT_LEVELS)
                pinball = 2 * np.maximum(levels * error, (levels - 1) * error).mean(-1)
                np.add.at(loss[:, i], codes, np.nansum(pinball, 1))
        return loss, demand, count

    def _create_methods(self, horizon: int) -> list[Forecaster]:
        """Return a forecaster of each candidate."""
        return [
            registry.create(name, horizon=horizon, seed=self.config.seed)
            for name in self.config.methods
        ]

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        if panel.n_series:
            routes = dict(self.routes(panel).select("class", "method").iter_rows())
            kinds = profile(panel)["class"].to_list()
            chosen = np.array([self.config.methods.index(routes[kind]) for kind in kinds])
            for i, method in enumerate(self._create_methods(self.horizon)):
                rows = np.flatnonzero(chosen == i)
                if len(rows):
                    forecast = method.predict(panel, levels=ask.levels, n_samples=ask.n_samples)
                    draft.mean[rows] = forecast.mean[rows]
                    draft.quantiles[rows] = forecast.quantiles[rows]
                    if draft.samples is not None and forecast.samples is not None:
                        draft.samples[rows] = forecast.samples[rows]
            rows = np.flatnonzero(panel.whole_numbers())  # the naive methods do not round
            draft.quantiles[rows] = np.rint(draft.quantiles[rows])
            if draft.samples is not None:
                draft.samples[rows] = np.rint(draft.samples[rows])
        return draft
