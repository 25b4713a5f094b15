"""Level times shape: the matrix of a series' periods is nearly of rank one, and only the levels need a forecast.

After Honda, "Don't learn the shape: forecasting periodic time series by rank-1 decomposition" (FLAIR), arXiv:2605.07222,
2026. The last values form a matrix with one period a row, and

    value[row, phase] = level[row] * shape[phase] + rest

The shape is the first right singular vector, with larger weights on newer rows. It is shrunk towards a flat shape by the
ratio of its noise to its variance. Levels are forecast by a ridge regression on their own past; the penalty is chosen by
leave-one-out. Paths resample whole rows, so that the level's error and the rest of a row stay together.

Departs from the paper: where the frequency has a longer season (a week, with hourly data), each row of that season has its
own shape, shrunk towards the common one. The regression forecasts the change since one season earlier, so that a large
penalty repeats the last season. The rest is an AR(1) process from step to step. Among the frequency's periods and 1, the
method takes the one that would have forecast the last values best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.local.base import LocalConfig, LocalForecaster
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.rank_one import Fitted
from demandcast.local.parts.seasonal import MIN_LENGTH_RATIO, SeriesTable, series_tables
from demandcast.local.parts.simulated import path_quantiles
from demandcast.local.parts.smooth import clip_to_floor, history_limits, right_align
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

CELLS = 4_000_000  # numbers held at once, per array
MAX_LONG_SEASON = 1000  # steps: a week of hours, but not a year of days
MAX_CHECKED, PRIOR_CHECKED = (
    300,
    5,
)  # series that intervals are checked on, and the weight of factor 1
FACTOR_RANGE = (0.5, 2.5)  # of the width of intervals
# another cut must be better by 1 + MARGIN / sqrt(cycles), at most by MAX_MARGIN
MARGIN, MAX_MARGIN = 2.0, 1.6
MIN_CYCLES = 2  # of the longer season, for each of its rows to have a shape
HELD_OUT = 2  # horizons that the period is chosen on


@dataclass(frozen=True, kw_only=True)
class LevelShapeConfig(LocalConfig):
    """Hyper-parameters of the level times a shape."""

    # steps in a row; None: chosen among the periods of the panel's frequency and 1
    period: int | None = setting(None, COUNT)
    paths: int = setting(500, COUNT)  # simulated for the quantiles


class LevelShape(LocalForecaster[LevelShapeConfig]):
    """Levels of whole periods, forecast by ridge regression, times the shape of a period.

    Args:
        horizon: Steps to forecast; also `h`.
        period: Steps in a row; None to choose among the periods of the panel's frequency and 1.
        paths: Number of paths simulated for the quantiles.
        seed: Seed of the paths.
    """

    name = "level_shape"
    portfolio = 40
    summary = "Level of each period times a seasonal shape, of rank one (after FLAIR, Honda, 2026)"
    pools = True
    Config = LevelShapeConfig

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        n_simulated = max(self.config.paths, n_paths)
        ways = self._ways(panel)
        chosen, steps = self._choose_all(panel, ways)
        min_steps = np.array([MIN_CYCLES * p * c for p, c in ways])[chosen]
        long_enough = steps - self.horizon >= min_steps
        factors = self._interval_factors(
            panel, ways, chosen, group_of(chosen, steps), long_enough, draws.at("past")
        )
        for index, table in self._tables(panel):
            history, observed = rows_of(table)
            scale = table.scale[:, None]
            floor, counts = history_limits(observed, scale)
            for way in np.unique(chosen[index]):
                period, cycle = ways[way]
                selected = np.flatnonzero(chosen[index] == way)
                batch_size = max(1, CELLS // (n_simulated * (self.horizon + period)))
                for start in range(0, len(selected), batch_size):
                    batch = selected[start : start + batch_size]
                    rows, unit = index[batch], scale[batch]
                    fitted = Fitted.of(history[batch], period, cycle, observed[batch])
                    point = fitted.point(self.horizon)
                    paths = fitted.paths(self.horizon, n_simulated, draws.select(rows))
                    error = paths - paths.mean(1, keepdims=True)
                    paths = point[:, None] + factors[rows, None, None] * error
                    paths = clip_to_floor(paths * unit[..., None], floor[batch, None])
                    paths = np.where(counts[batch], np.rint(paths), paths)
                    draft.mean[rows] = paths.mean(1)
                    draft.quantiles[rows] = path_quantiles(paths, levels)
                    if draft.samples is not None:
                        draft.samples[rows] = paths[:, :n_paths]
        return draft

    def _tables(self, panel: Panel) -> Iterator[tuple[Ints, SeriesTable]]:
        """Yield tables of series of similar length, each after the series' rows in the panel."""
        period = self.config.period or panel.freq.period
        return series_tables(panel, np.full(panel.n_series, period), CELLS // period)

    def _ways(self, panel: Panel) -> list[tuple[int, int]]:
        """Return the ways to cut series, richest first: steps in a row, and rows in the longer season."""
        main = self.config.period or panel.freq.period
        longer = [p // main for p in panel.freq.periods if p > main and p % main == 0]
        ways = [(main, 1)]
        if longer and longer[0] * main <= MAX_LONG_SEASON:
            ways.insert(0, (main, longer[0]))
        return ways + ([(1, main)] if main > 1 else []) + ([(1, 1)] if main > 1 else [])

    def _choose_all(self, panel: Panel, ways: list[tuple[int, int]]) -> tuple[Ints, Ints]:
        """Return the way that each series is cut, and its steps since the first value, (N,) both."""
        chosen, steps = np.zeros((2, panel.n_series), np.int64)
        for index, table in self._tables(panel):
            chosen[index] = self._choose(*rows_of(table), ways)
            steps[index] = table.lengths
        return chosen, steps

    def _choose(self, history: Array, observed: Array, ways: list[tuple[int, int]]) -> Ints:
        """Return the way of smallest error over the last horizons, (n,); the first that is possible without a test."""
        n, steps = history.shape
        lengths = (~np.isnan(history)).sum(1)
        min_steps = np.array([MIN_CYCLES * p * c for p, c in ways])
        possible = lengths >= min_steps[:, None]  # (ways, n)
        needed = np.where(possible, min_steps[:, None], 0).max(0)
        error = np.zeros((len(ways), n))
        for cut in range(steps - self.horizon, 0, -self.horizon)[:HELD_OUT]:
            testable = lengths - (steps - cut) >= needed
            actual = observed[:, cut : cut + self.horizon]
            for w, (period, cycle) in enumerate(ways):
                fitted = Fitted.of(history[:, :cut], period, cycle, observed[:, :cut])
                point = fitted.point(self.horizon)
                error[w] += np.where(testable, np.nansum(np.abs(point - actual), 1), 0.0)
        first = np.where(possible.any(0), possible.argmax(0), 0)
        cycles = np.maximum(lengths / min_steps[first], 1)
        margin = np.minimum(
            1 + MARGIN / np.sqrt(cycles), MAX_MARGIN
        )  # for all ways after the first
        error *= np.where(np.arange(len(ways))[:, None] > first, margin, 1.0)
        error = np.where(possible, error, np.inf)
        return np.asarray(np.where(possible.any(0), error.argmin(0), len(ways) - 1), np.int64)

    def _interval_factors(
        self,
        panel: Panel,
        ways: list[tuple[int, int]],
        chosen: Ints,
        group: Ints,
        long_enough: NDArray[np.bool_],
        draws: Draws,
    ) -> Array:
        """Return the factor by which the intervals of each series are widened, (N,).

        The half-width of the 80 % interval, forecast without the last horizon, is compared with the errors there, on
        `MAX_CHECKED` series of a group. With few series the factor stays near 1.

        Args:
            panel: N series.
            ways: Ways to cut series.
            chosen: Index of the way of each series, (N,).
            group: Group of each series, (N,); the series of a group share their factor.
            long_enough: Series that can be checked, (N,).
            draws: Random numbers of the N series.
        """
        order = draws.at("checked").order()
        order = order[long_enough[order]]
        checked = np.zeros(panel.n_series, bool)
        for one in np.unique(group[order]):
            checked[order[group[order] == one][:MAX_CHECKED]] = True
        ratios = [(np.zeros(0), np.zeros(0, np.int64))]  # each with its group
        for index, table in self._tables(panel):
            history, observed = rows_of(table)
            cut = history.shape[1] - self.horizon
            for way in np.unique(chosen[index[checked[index]]]):
                selected = np.flatnonzero(checked[index] & (chosen[index] == way))
                period, cycle = ways[way]
                fitted = Fitted.of(history[selected, :cut], period, cycle, observed[selected, :cut])
                point = fitted.point(self.horizon)
                paths = fitted.paths(self.horizon, 100, draws.select(index[selected]))
                low, high = np.quantile(paths - paths.mean(1, keepdims=True), [0.1, 0.9], axis=1)
                half = (high - low) / 2
                error = np.abs(observed[selected, cut:] - point)
                usable = ~np.isnan(error) & (half > 0)
                groups = group[index[selected[np.nonzero(usable)[0]]]]
                ratios.append((error[usable] / half[usable], groups))
        ratio, ratio_group = (np.concatenate(column) for column in zip(*ratios, strict=True))
        factors = np.ones(panel.n_series)
        for one in np.unique(ratio_group):
            n = (checked & (group == one)).sum()
            factor = np.clip(np.quantile(ratio[ratio_group == one], 0.8), *FACTOR_RANGE)
            factors[group == one] = factor ** (n / (n + PRIOR_CHECKED))
        return factors


def group_of(way: Ints, steps: Ints) -> Ints:
    """Return a group number for each series, the same for series of one way and similar length, (N,)."""
    length = np.log(np.maximum(steps, 1)) / np.log(1 / MIN_LENGTH_RATIO)
    return np.asarray(way * 1000 + length.astype(np.int64))


def rows_of(table: SeriesTable) -> tuple[Array, Array]:
    """Return the histories of a table, filled and as observed, (n, T) both, right-aligned, NaN elsewhere."""
    history = right_align(np.where(table.inside, table.filled, np.nan), table.lengths)
    observed = right_align(np.where(table.seen, table.filled, np.nan), table.lengths)
    return history, observed
