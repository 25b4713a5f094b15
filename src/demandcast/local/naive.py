"""The naive methods: what every forecast has to beat, with intervals worth beating.

Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed. (FPP3), sections 5.2 and 5.5.
Each method is a point forecast, in-sample errors of one innovation each, and the growth of their
variance over the horizon (FPP3, table 5.2). The quantiles follow from them (see `laws.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping
from demandcast.local.base import LocalForecaster
from demandcast.local.parts.error_laws import Law, drift, spread, walk, window_average
from demandcast.panel.panel import Panel
from demandcast.settings import whole

CELLS = 250_000  # numbers held at once, per array
FEWEST_STEPS = 4  # steps averaged where the grid has no season


class _Naive(LocalForecaster):
    """What the four share: nothing is learned in `fit`; `predict` reads each series' own history.

    Intervals: the scale is the root mean square of the series' own in-sample errors of the last 10
    seasons (100 errors where that is more), the shape that of those errors where there are 30 or
    more, and Student's t with as many degrees of freedom as errors where there are fewer. They grow
    as for a process that wanders; on demand that keeps its level they are wide at long horizons.
    Where a series' history is never negative, its quantiles and paths stop at 0. The mean is that of
    the paths: the point forecast, and above it where paths stop at 0. On rare demand that is well
    above; the methods for rare demand have laws of their own.

    A missing value is no error and no value: the last observed one stands in for it, and the
    interval is as much wider as that value is older. A series with one observed value takes that
    value for its scale; one with none is forecast as 0, with a logged warning.
    """

    @abstractmethod
    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        """The method's law for histories (n, steps), right-aligned, NaN where not observed."""

    def _season(self, panel: Panel) -> NDArray[np.int64]:
        """The period by which each series is read, (N,)."""
        return np.ones(panel.n_series, np.int64)

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        draws = Draws.of(panel.keys, self.seed)
        for index, period in self._chunks(panel, n_paths):
            part = panel.select(index)
            values = part.padded_history(max(1, int(part.lengths.max()))).astype(np.float64)
            law = self._law(values, period)
            spreads = spread(law, values)
            floor = np.where(np.fmin.reduce(values, axis=1, initial=np.inf) >= 0, 0.0, -np.inf)
            floor = floor[:, None]  # (n, 1)
            around = law.point[..., None] + spreads.quantiles(law, (*levels, *MEAN_LEVELS))
            draft.mean[index] = mean_after_clipping(law.point, around[..., len(levels) :], floor)
            draft.quantiles[index] = np.maximum(around[..., : len(levels)], floor[..., None])
            if draft.samples is not None:
                paths = law.point[:, None] + spreads.paths(
                    law, draws.select(index), n_paths
                )  # (n, S, H)
                draft.samples[index] = np.maximum(paths, floor[..., None])
        return draft

    def _chunks(self, panel: Panel, n_paths: int) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Series of one period and like length, few enough to fit in memory."""
        seasons = self._season(panel)
        width = np.maximum(panel.lengths, self.horizon * max(n_paths, len(MEAN_LEVELS))) + 1
        for period in np.unique(seasons):
            index = np.flatnonzero(seasons == period)
            index = index[np.argsort(panel.lengths[index], kind="stable")]
            while len(index):
                cells = np.arange(1, len(index) + 1) * width[index]  # increasing
                stop = max(1, int(np.searchsorted(cells, CELLS)))
                yield index[:stop], int(period)
                index = index[stop:]


class LastValue(_Naive):
    """The last observed value, at every step; the variance grows as h."""

    name = "last_value"
    summary = "The last observed value, repeated (FPP3, section 5.2)"

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return walk(values, self.horizon, 1)


class SeasonalNaive(_Naive):
    """The last observed value of the same season; the variance grows by one error a season.

    A season's place that was never observed takes the series' last value. A series with fewer steps
    than one period is forecast as by `LastValue`; one with fewer than two takes its scale from the
    differences between neighbouring steps.
    """

    name = "seasonal_naive"
    portfolio = 0
    summary = "The value one season before, repeated (FPP3, section 5.2)"

    settings: ClassVar[dict[str, Any]] = {"period": None}
    period: int | None

    def _check(self) -> None:
        if self.period is not None:
            whole("period", self.period, least=1)

    def _season(self, panel: Panel) -> NDArray[np.int64]:
        period = self.period or panel.freq.period
        return np.where(panel.lengths < period, 1, period).astype(np.int64)

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return walk(values, self.horizon, period)


class Drift(_Naive):
    """The last observed value and the mean step from the first to it; variance h (1 + h / (T - 1)).

    A series with one observed value has no step, and is forecast as by `LastValue`.
    """

    name = "drift"
    summary = "The line through the first and the last value (FPP3, section 5.2)"

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return drift(values, self.horizon)


class WindowAverage(_Naive):
    """The mean of what was observed in the last `window` steps; the variance does not grow.

    `window` None is one period, or 4 steps where the period is shorter. A window without an observed
    value is forecast by the last one. The errors keep their skew, less their mean.
    """

    name = "window_average"
    portfolio = 20
    summary = "The mean of the last steps, one season by default (FPP3, sections 5.2 and 5.5)"

    settings: ClassVar[dict[str, Any]] = {"window": None, "period": None}
    window: int | None
    period: int | None

    def _check(self) -> None:
        for name in ("window", "period"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=1)

    def _season(self, panel: Panel) -> NDArray[np.int64]:
        window = self.window or max(self.period or panel.freq.period, FEWEST_STEPS)
        return np.full(panel.n_series, window, np.int64)

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return window_average(values, self.horizon, period)
