"""Each class of demand by the method that forecast it best, measured on the history at hand.

Which method suits which class is folklore as often as fact: here it is decided by a backtest inside
the history, and told.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.forecast import DEFAULT_LEVELS
from demandcast.forecaster import Forecaster, check_panel
from demandcast.local.analogues import Analogues
from demandcast.local.base import LocalForecaster
from demandcast.local.croston import ADIDA, HES, IMAPA, SBA, SBJ, SES, TSB, Croston
from demandcast.local.empirical import Empirical, Zero
from demandcast.local.ets import ETS
from demandcast.local.level_shape import LevelShape
from demandcast.local.naive import LastValue, SeasonalNaive, WindowAverage
from demandcast.local.theta import AutoTheta, OptimisedTheta, Theta
from demandcast.panel.classes import CLASSES, profile
from demandcast.panel.panel import Panel
from demandcast.settings import one_of, whole

KNOWN: dict[str, Any] = {
    kind.name: kind
    for kind in (
        *(SES, Croston, SBA, SBJ, TSB, HES, ADIDA, IMAPA, Analogues),
        *(Empirical, Zero, LastValue, SeasonalNaive, WindowAverage),
        *(Theta, OptimisedTheta, AutoTheta, ETS, LevelShape),
    )
}
GAIN = 0.03  # by how much a method must be better in a class than the one best over all
FEWEST = 10  # series of a class from which it has a method of its own


class Routed(LocalForecaster):
    """Sends each class of `panel.profile()` to the method of least wQL on the last steps of the history.

    The backtest holds out the horizon, or a quarter of the longest history where that is less, from
    each of `folds` cutoffs. A class goes to the method best over all, unless it has 10 series there and
    another method is 3 % better: smaller gains are seldom there again on the next horizon. A history
    too short for a backtest goes to the first method. Every method forecasts from the whole panel, for
    some learn from all its series.

    Args:
        horizon: Steps to forecast; also `h`.
        methods: Names of the candidates, the first the one for lack of evidence.
        folds: Cutoffs of the backtest.
        seed: Of every method.
    """

    name = "routed"
    summary = "Each class of demand by the method that forecast it best on this very history"
    pools = True
    settings: ClassVar[dict[str, Any]] = {
        "methods": (
            *("tsb", "ses", "sba", "imapa", "analogues", "empirical", "seasonal_naive"),
            *("level_shape", "theta"),
        ),
        "folds": 2,
    }
    methods: tuple[str, ...]
    folds: int

    def _check(self) -> None:
        whole("folds", self.folds, least=1)
        self.methods = tuple(self.methods)  # a saved run holds a list
        for method in self.methods or ("",):
            one_of("a method", method, list(KNOWN))

    def routes(self, panel: Panel) -> pl.DataFrame:
        """Where each class goes, and why.

        Returns:
            A row for each class in the panel: `class`, `series` now, `method`, `measured` (series
            in the backtests, over all folds), and the wQL of each candidate in them; null where
            nothing was measured.
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
                least = int(np.argmin(loss[place]))
                told = (
                    count[place] >= FEWEST and loss[place, least] < (1 - GAIN) * loss[place, best]
                )
                chosen = self.methods[least if told else best]
                scores = [None if np.isnan(s) else float(s) for s in wql[place]]
                rows.append((kind, series, chosen, int(count[place]), *scores))
        columns = {
            "class": pl.String,
            "series": pl.Int64,
            "method": pl.String,
            "measured": pl.Int64,
        }
        return pl.DataFrame(
            rows, schema=columns | dict.fromkeys(self.methods, pl.Float64), orient="row"
        )

    def _backtest(self, panel: Panel) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Pinball losses (classes, methods), absolute demand (classes,) and series (classes,)."""
        loss = np.zeros((len(CLASSES), len(self.methods)))
        demand, count = np.zeros(len(CLASSES)), np.zeros(len(CLASSES), np.int64)
        longest = int(panel.lengths.max(initial=0))
        ahead = min(self.horizon, longest // 4)
        for fold in range(min(self.folds, longest // (4 * ahead)) if ahead else 0):
            known = panel.drop_last(ahead * (fold + 1))
            came = known.future_target(ahead)  # (n, ahead)
            codes = np.array([CLASSES.index(kind) for kind in profile(known)["class"]])
            seen = np.where(np.isnan(came), 0, came)
            np.add.at(demand, codes, np.abs(seen).sum(1))
            np.add.at(count, codes, (~np.isnan(came)).any(1))
            for i, method in enumerate(self._made(ahead)):
                quantiles = method.predict(known).quantiles
                error = came[..., None].astype(np.float64) - quantiles
                levels = np.array(DEFAULT_LEVELS)
                pinball = 2 * np.maximum(levels * error, (levels - 1) * error).mean(-1)
                np.add.at(loss[:, i], codes, np.nansum(pinball, 1))
        return loss, demand, count

    def _made(self, horizon: int) -> list[Forecaster]:
        return [KNOWN[name](horizon=horizon, seed=self.seed) for name in self.methods]

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        if panel.n_series:
            routes = dict(self.routes(panel).select("class", "method").iter_rows())
            kinds = profile(panel)["class"].to_list()
            taken = np.array([self.methods.index(routes[kind]) for kind in kinds])
            for i, method in enumerate(self._made(self.horizon)):
                rows = np.flatnonzero(taken == i)
                if len(rows):
                    found = method.predict(panel, levels=ask.levels, n_samples=ask.n_samples)
                    draft.mean[rows] = found.mean[rows]
                    draft.quantiles[rows] = found.quantiles[rows]
                    if draft.samples is not None and found.samples is not None:
                        draft.samples[rows] = found.samples[rows]
            rows = np.flatnonzero(panel.whole_numbers())  # the naive methods do not round
            draft.quantiles[rows] = np.rint(draft.quantiles[rows])
            if draft.samples is not None:
                draft.samples[rows] = np.rint(draft.samples[rows])
        return draft
