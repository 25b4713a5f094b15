"""The naive methods: what every forecast has to beat, with intervals worth beating.

Hyndman & Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed. (FPP3), sections 5.2 and 5.5.
Each method is a point forecast, in-sample errors of one innovation each, and the growth of their
variance over the horizon (FPP3, table 5.2). The quantiles follow from them (see `laws.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forecast.levels import MEAN_LEVELS, bounded_mean
from demandcast.forecaster import Forecaster, check_horizon, check_levels, check_names
from demandcast.local.base import check_panel, warn_of_empty, whole
from demandcast.local.laws import Law, drift, spread, walk, window_average
from demandcast.panel.panel import Panel

CELLS = 250_000  # numbers held at once, per array
FEWEST_STEPS = 4  # steps averaged where the grid has no season


class _Naive(Forecaster):
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

    takes: ClassVar[str] = "target"
    gives: ClassVar[str] = "paths and quantiles"

    def __init__(
        self, horizon: int | None, h: int | None, seed: int, unknown: dict[str, Any]
    ) -> None:
        check_names(self.name, unknown, self.defaults())
        self.horizon = check_horizon(horizon, h)
        self.seed = whole("seed", seed, least=0)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Every hyper-parameter but the horizon, with its default."""
        return {"seed": 0}

    def hyperparameters(self) -> dict[str, Any]:
        return {"horizon": self.horizon, **{name: getattr(self, name) for name in self.defaults()}}

    def fit(self, panel: Panel) -> Forecaster:
        """Nothing to learn: checks that it is given a panel."""
        check_panel(panel)
        return self

    @abstractmethod
    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        """The method's law for histories (n, steps), right-aligned, NaN where not observed."""

    def _season(self, panel: Panel) -> NDArray[np.int64]:
        """The period by which each series is read, (N,)."""
        return np.ones(panel.n_series, np.int64)

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
            future: Taken for the sake of the other methods; naive ones use no covariates.
            levels: Quantile levels, increasing, each in (0, 1).
            n_samples: Paths to draw, joint along the horizon; None draws none.

        Raises:
            DataError: `panel` is not a Panel.
            ConfigError: The levels do not increase inside (0, 1), or `n_samples` is below 1.
        """
        check_panel(panel)
        levels = check_levels(levels)
        n_paths = 0 if n_samples is None else whole("n_samples", n_samples, least=1)
        shape = (panel.n_series, self.horizon)
        mean = np.zeros(shape, np.float32)
        quantiles = np.zeros((*shape, len(levels)), np.float32)
        samples = np.zeros((shape[0], n_paths, shape[1]), np.float32) if n_paths else None
        draws = Draws.of(panel.keys, self.seed)
        for index, period in self._chunks(panel, n_paths):
            part = panel.select(index)
            values = part.padded_history(max(1, int(part.lengths.max()))).astype(np.float64)
            law = self._law(values, period)
            spreads = spread(law, values)
            floor = np.where(np.fmin.reduce(values, axis=1, initial=np.inf) >= 0, 0.0, -np.inf)
            floor = floor[:, None]  # (n, 1)
            around = law.point[..., None] + spreads.quantiles(law, (*levels, *MEAN_LEVELS))
            mean[index] = bounded_mean(law.point, around[..., len(levels) :], floor)
            quantiles[index] = np.maximum(around[..., : len(levels)], floor[..., None])
            if samples is not None:
                paths = law.point[:, None] + spreads.paths(
                    law, draws.select(index), n_paths
                )  # (n, S, H)
                samples[index] = np.maximum(paths, floor[..., None])
        warn_of_empty(self.name, panel)
        return Forecast.of(panel, levels, quantiles, mean, samples=samples, model=self.name)

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

    def __init__(
        self, horizon: int | None = None, *, h: int | None = None, seed: int = 0, **unknown: Any
    ) -> None:
        super().__init__(horizon, h, seed, unknown)

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return walk(values, self.horizon, 1)


class SeasonalNaive(_Naive):
    """The last observed value of the same season; the variance grows by one error a season.

    A season's place that was never observed takes the series' last value. A series with fewer steps
    than one period is forecast as by `LastValue`; one with fewer than two takes its scale from the
    differences between neighbouring steps.
    """

    name = "seasonal_naive"
    summary = "The value one season before, repeated (FPP3, section 5.2)"

    def __init__(
        self,
        horizon: int | None = None,
        *,
        h: int | None = None,
        period: int | None = None,
        seed: int = 0,
        **unknown: Any,
    ) -> None:
        super().__init__(horizon, h, seed, unknown)
        self.period = None if period is None else whole("period", period, least=1)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {"period": None, "seed": 0}

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

    def __init__(
        self, horizon: int | None = None, *, h: int | None = None, seed: int = 0, **unknown: Any
    ) -> None:
        super().__init__(horizon, h, seed, unknown)

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return drift(values, self.horizon)


class WindowAverage(_Naive):
    """The mean of what was observed in the last `window` steps; the variance does not grow.

    `window` None is one period, or 4 steps where the period is shorter. A window without an observed
    value is forecast by the last one. The errors keep their skew, less their mean.
    """

    name = "window_average"
    summary = "The mean of the last steps, one season by default (FPP3, sections 5.2 and 5.5)"

    def __init__(
        self,
        horizon: int | None = None,
        *,
        h: int | None = None,
        window: int | None = None,
        period: int | None = None,
        seed: int = 0,
        **unknown: Any,
    ) -> None:
        super().__init__(horizon, h, seed, unknown)
        self.window = None if window is None else whole("window", window, least=1)
        self.period = None if period is None else whole("period", period, least=1)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        return {"window": None, "period": None, "seed": 0}

    def _season(self, panel: Panel) -> NDArray[np.int64]:
        window = self.window or max(self.period or panel.freq.period, FEWEST_STEPS)
        return np.full(panel.n_series, window, np.int64)

    def _law(self, values: NDArray[np.float64], period: int) -> Law:
        return window_average(values, self.horizon, period)
