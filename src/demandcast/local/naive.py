"""The naive methods, the baselines of every other method, with calibrated intervals.

Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed. (FPP3), sections 5.2 and 5.5. Each method has
a point forecast, in-sample errors of one innovation each, and a variance that grows over the horizon (FPP3, table 5.2).
`parts/error_distributions.py` derives quantiles and paths from them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping
from demandcast.local.base import L, LocalConfig, LocalForecaster
from demandcast.local.parts.error_distributions import (
    ErrorDistribution,
    fit_innovations,
    random_walk_with_drift,
    seasonal_random_walk,
    window_average,
)
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

CELLS = 250_000  # numbers held at once, per array
MIN_WINDOW = 4  # steps averaged where the frequency has no season


class _Naive(LocalForecaster[L]):
    """Base class of the four naive methods: `predict` reads each series' own history, `fit` learns nothing.

    Intervals: the scale is the root mean square of the series' own in-sample errors in the last 10 seasons (or the last
    100 errors if that is more). The shape is that of these errors where there are 30 or more; with fewer it is Student's
    t with as many degrees of freedom as errors. Intervals grow as for a random walk; for demand with a stable level they
    are wide at long horizons. Quantiles and paths are at least 0 where the history is never negative. The mean is that
    of the paths: the point forecast, or more where paths are clipped at 0. For intermittent demand it is well above;
    methods for such demand have distributions of their own.

    A missing value is replaced by the last observed one and adds no error; the interval widens with the age of that
    value. The errors of a series with one observed value have half of it as scale at every step; a series without any is
    forecast as 0, with a logged warning.
    """

    @abstractmethod
    def _forecast_errors(self, values: NDArray[np.float64], period: int) -> ErrorDistribution:
        """Return forecasts and errors for histories (n, steps), right-aligned, NaN where not observed."""

    def _periods(self, panel: Panel) -> NDArray[np.int64]:
        """Return the period (or window) of each series, (N,)."""
        return np.ones(panel.n_series, np.int64)

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        draws = Draws.of(panel.keys, self.config.seed)
        for index, period in self._chunks(panel, n_paths):
            part = panel.select(index)
            values = part.padded_history(max(1, int(part.lengths.max()))).astype(np.float64)
            errors = self._forecast_errors(values, period).without_growth(values)
            innovations = fit_innovations(errors, values)
            floor = np.where(np.fmin.reduce(values, axis=1, initial=np.inf) >= 0, 0.0, -np.inf)
            floor = floor[:, None]  # (n, 1)
            quantiles = innovations.quantiles(errors, (*levels, *MEAN_LEVELS))
            quantiles = errors.point[..., None] + quantiles  # (n, H, Q + J)
            draft.mean[index] = mean_after_clipping(
                errors.point, quantiles[..., len(levels) :], floor
            )
            draft.quantiles[index] = np.maximum(quantiles[..., : len(levels)], floor[..., None])
            if draft.samples is not None:
                paths = innovations.paths(errors, draws.select(index), n_paths)  # (n, S, H)
                paths = errors.point[:, None] + paths
                draft.samples[index] = np.maximum(paths, floor[..., None])
        return draft

    def _chunks(self, panel: Panel, n_paths: int) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Yield series of one period and similar length, as many at once as fit in memory, and their period."""
        seasons = self._periods(panel)
        width = np.maximum(panel.lengths, self.horizon * max(n_paths, len(MEAN_LEVELS))) + 1
        for period in np.unique(seasons):
            index = np.flatnonzero(seasons == period)
            index = index[np.argsort(panel.lengths[index], kind="stable")]
            while len(index):
                cells = np.arange(1, len(index) + 1) * width[index]  # increasing
                stop = max(1, int(np.searchsorted(cells, CELLS)))
                yield index[:stop], int(period)
                index = index[stop:]


class LastValue(_Naive[LocalConfig]):
    """The last observed value at every step; the variance is proportional to the steps ahead."""

    name = "last_value"
    summary = "The last observed value, repeated (FPP3, section 5.2)"

    def _forecast_errors(self, values: NDArray[np.float64], period: int) -> ErrorDistribution:
        return seasonal_random_walk(values, self.horizon, 1)


@dataclass(frozen=True, kw_only=True)
class SeasonalNaiveConfig(LocalConfig):
    """Hyper-parameters of the seasonal naive forecast."""

    # steps in one season; None: by the panel's frequency
    period: int | None = setting(None, COUNT)


class SeasonalNaive(_Naive[SeasonalNaiveConfig]):
    """The last observed value of the same phase of the season; the variance grows by one error a season.

    A phase that was never observed takes the series' last value. A series shorter than one period is forecast as by
    `LastValue`. One shorter than two periods takes its scale from the differences of neighbouring steps.
    """

    name = "seasonal_naive"
    portfolio = 0
    summary = "The value one season before, repeated (FPP3, section 5.2)"

    Config = SeasonalNaiveConfig

    def _periods(self, panel: Panel) -> NDArray[np.int64]:
        period = self.config.period or panel.freq.period
        return np.where(panel.lengths < period, 1, period).astype(np.int64)

    def _forecast_errors(self, values: NDArray[np.float64], period: int) -> ErrorDistribution:
        return seasonal_random_walk(values, self.horizon, period)


class Drift(_Naive[LocalConfig]):
    """The line through the first and the last observed value; the variance grows as h (1 + h / (T - 1)).

    A series with one observed value is forecast as by `LastValue`.
    """

    name = "drift"
    exact_alone = True
    summary = "The line through the first and the last value (FPP3, section 5.2)"

    def _forecast_errors(self, values: NDArray[np.float64], period: int) -> ErrorDistribution:
        return random_walk_with_drift(values, self.horizon)


@dataclass(frozen=True, kw_only=True)
class WindowAverageConfig(LocalConfig):
    """Hyper-parameters of the window average."""

    # steps averaged; None: one season, or 4 where it is shorter
    window: int | None = setting(None, COUNT)
    # steps in one season; None: by the panel's frequency
    period: int | None = setting(None, COUNT)


class WindowAverage(_Naive[WindowAverageConfig]):
    """The mean of the values observed in the last `window` steps; the variance does not grow.

    `window=None` is one period, or 4 steps if the period is shorter. Without an observed value in the window, the
    forecast is the last observed value. The errors keep their skewness; their mean is subtracted.
    """

    name = "window_average"
    exact_alone = True
    portfolio = 20
    summary = "The mean of the last steps, one season by default (FPP3, sections 5.2 and 5.5)"

    Config = WindowAverageConfig

    def _periods(self, panel: Panel) -> NDArray[np.int64]:
        window = self.config.window or max(self.config.period or panel.freq.period, MIN_WINDOW)
        return np.full(panel.n_series, window, np.int64)

    def _forecast_errors(self, values: NDArray[np.float64], period: int) -> ErrorDistribution:
        return window_average(values, self.horizon, period)
