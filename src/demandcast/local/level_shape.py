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
from demandcast.local.parts.error_distributions import SINGLE_VALUE_SCALE
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import MIN_LENGTH_RATIO, SeriesTable, series_tables
from demandcast.local.parts.simulated import path_quantiles
from demandcast.local.parts.smooth import clip_to_floor, history_limits, right_align
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

CELLS = 4_000_000  # numbers held at once, per array
MAX_ROWS = 150  # newest periods used
ROW_DECAY = 0.9  # weight of a row that is one (longer) season older
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # in rows; averaged by their likelihood
MEAN_SEASONS = 4  # in the mean level that a level may return to
MIN_REGRESSION_ROWS = 5  # with fewer rows the change of the level is 0
MIN_RESAMPLED_ROWS = 30  # with fewer rows, errors are multiplied by normal numbers instead of signs
MIN_MASS = 0.01  # of a cycle's mean: a row with less, almost without level, has no shape of its own
MAX_AUTOCORRELATION = 0.98  # of the rest
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


@dataclass(frozen=True)
class Rows:
    """n series as matrices whose last row is the last whole period.

    Attributes:
        values: (n, K, m), 0 before a series' first whole period.
        begun: Mask of the rows that a series has, (n, K).
        known: Mask of the rows with an observed value, (n, K). The others are filled, and have no error.
        cycle: Rows in the longer season; 1 without one.
    """

    values: Array
    begun: NDArray[np.bool_]
    known: NDArray[np.bool_]
    cycle: int

    @classmethod
    def of(cls, history: Array, period: int, cycle: int, observed: Array | None = None) -> Rows:
        """Cut histories (n, T) into rows, right-aligned.

        Args:
            history: Filled values, NaN before the first value only.
            period: Steps in a row.
            cycle: Rows in the longer season.
            observed: Values, NaN where not observed; None if all of the history is.
        """
        observed = history if observed is None else observed
        n, steps = history.shape
        count = min(max(1, steps // period), MAX_ROWS * cycle)
        missing = max(0, count * period - steps)
        values, observed_rows = (
            np.pad(table, ((0, 0), (missing, 0)), constant_values=np.nan)[
                :, table.shape[1] + missing - count * period :
            ].reshape(n, count, period)
            for table in (history, observed)
        )
        begun = np.asarray(~np.isnan(values).any(2))
        known = begun & ~np.isnan(observed_rows).all(2)
        return cls(np.where(begun[..., None], values, 0.0), begun, known, cycle)

    @property
    def weights(self) -> Array:
        """Weights of the rows, decreasing with their age, (n, K)."""
        age = np.arange(self.values.shape[1])[::-1] / self.cycle
        return np.asarray(self.begun * ROW_DECAY**age)


@dataclass(frozen=True)
class Split:
    """Rows split into level, shape and rest.

    Attributes:
        level: Level of each row, (n, K).
        shape: Shape of each row of a cycle, starting with the first row, (n, cycle, m).
        rest: Values minus level times shape, (n, K, m).
    """

    level: Array
    shape: Array
    rest: Array

    @classmethod
    def of(cls, rows: Rows) -> Split:
        """Split rows by a singular value decomposition, and shrink shapes to a flat one and to the common one."""
        x, weight = rows.values, rows.weights[..., None]
        n, count, period = x.shape
        if period == 1:
            return cls(x[..., 0], np.ones((n, rows.cycle, 1)), np.zeros(x.shape))
        vector = np.linalg.svd(np.sqrt(weight) * x, full_matrices=False)[2][:, 0]  # (n, m)
        mean = vector.mean(1, keepdims=True)
        usable = np.abs(mean) > 0.05 * np.abs(vector).max(1, keepdims=True)
        shape = np.where(usable, vector / np.where(usable, mean, 1.0), 1.0)
        level = _fit_level(x, shape[:, None])
        mass = (weight[..., 0] * level**2).sum(1)
        mass = np.where(mass > 0, mass, 1.0)
        error = (weight * (x - level[..., None] * shape[:, None]) ** 2).sum((1, 2))
        n_rows = rows.begun.sum(1)
        error *= n_rows / np.maximum(n_rows - 1, 1)
        error /= (period - 1) * weight.sum((1, 2)).clip(1e-12)
        noise = error * ((weight[..., 0] * level) ** 2).sum(1) / mass**2  # variance of an entry
        shape = 1 + _kept_share(noise, ((shape - 1) ** 2).mean(1))[:, None] * (shape - 1)
        shapes = np.repeat(shape[:, None], rows.cycle, 1)  # (n, cycle, m)
        if rows.cycle > 1:
            place = np.arange(count) % rows.cycle
            sums, masses = np.zeros_like(shapes), np.zeros((n, rows.cycle, 1))
            for k in range(rows.cycle):
                row_weight = weight[:, place == k] * level[:, place == k, None]
                sums[:, k] = (row_weight * x[:, place == k]).sum(1)
                masses[:, k] = (row_weight * level[:, place == k, None]).sum(1)
            usable = masses > MIN_MASS * masses.mean(1, keepdims=True)
            place_shapes = np.where(usable, sums / np.where(usable, masses, 1.0), shape[:, None])
            deviation = place_shapes - shape[:, None]
            error = (weight * (x - level[..., None] * place_shapes[:, place]) ** 2).sum((1, 2))
            error *= n_rows / np.maximum(n_rows - rows.cycle, 1)
            error /= (period - 1) * weight.sum((1, 2)).clip(1e-12)
            noise = error * rows.cycle * ((weight[..., 0] * level) ** 2).sum(1) / mass**2
            kept_share = _kept_share(noise, (deviation**2).mean((1, 2)))
            shapes = shape[:, None] + kept_share[:, None, None] * deviation
        row_shapes = shapes[:, np.arange(count) % rows.cycle]  # (n, K, m)
        level = np.where(rows.begun, _fit_level(x, row_shapes), 0.0)
        rest = np.where(rows.begun[..., None], x - level[..., None] * row_shapes, 0.0)
        return cls(level, shapes, rest)


def _fit_level(x: Array, shape: Array) -> Array:
    """Return the level of least squares for values and shapes along the last axis."""
    square = (shape**2).sum(-1)
    return np.asarray((x * shape).sum(-1) / np.where(square > 0, square, 1.0))


def _kept_share(noise: Array, variance: Array) -> Array:
    """Return the share of a deviation that is kept when part of its variance is noise, in [0, 1]."""
    return np.asarray(np.clip(1 - noise / np.where(variance > 0, variance, 1.0), 0, 1))


@dataclass(frozen=True)
class Ridge:
    """Ridge regression of the levels' changes.

    Attributes:
        coefficients: Coefficients of the causes, (n, 3).
        errors: Error of each row, forecast without that row, (n, K).
        used: Mask of rows that have an error, (n, K).
    """

    coefficients: Array
    errors: Array
    used: NDArray[np.bool_]

    @classmethod
    def of(cls, level: Array, rows: Rows) -> Ridge:
        """Fit the regression to levels (n, K)."""
        r = rows.cycle
        n, count = level.shape
        change, causes = np.zeros((n, count)), np.zeros((n, count, 3))
        for i in range(r, count):
            change[:, i] = level[:, i] - level[:, i - r]
            causes[:, i] = causes_of(level[:, :i], rows.begun[:, :i], r)
        used = rows.known & np.roll(rows.begun, r, 1) & (np.arange(count) >= r)
        weight = np.where(used, rows.weights, 0.0)
        size = np.sqrt((weight[..., None] * causes**2).sum(1) / weight.sum(1)[:, None].clip(1e-12))
        size = np.where(size > 0, size, 1.0)
        scaled = causes / size[:, None]
        root = np.sqrt(weight)
        x, y = scaled * root[..., None], change * root
        values, vectors = np.linalg.eigh(x.transpose(0, 2, 1) @ x)
        rotated = x @ vectors  # (n, K, 3)
        products = (rotated * y[..., None]).sum(1)  # (n, 3)
        enough = used.sum(1) >= MIN_REGRESSION_ROWS
        coefficients, losses, errors = [], [], []
        for penalty in PENALTIES:
            divisor = values.clip(0) + penalty + 1e-9
            rotated_coefficients = products / divisor
            error = y - (rotated * rotated_coefficients[:, None]).sum(2)
            error /= (1 - (rotated**2 / divisor[:, None]).sum(2)).clip(0.05)  # leave-one-out
            coefficients.append((vectors @ rotated_coefficients[..., None])[..., 0])
            losses.append(np.where(enough | np.isinf(penalty), (error**2).sum(1), np.inf))
            errors.append(error / np.where(root > 0, root, 1.0))
        loss = np.array(losses)
        likelihood = loss.min(0) / np.where(loss > 0, loss, 1.0)
        likelihood = np.where(loss > 0, likelihood, 1.0) ** (used.sum(1) / 2)
        likelihood /= likelihood.sum(0)
        mean_coefficients = (likelihood[..., None] * np.array(coefficients)).sum(0)
        mean_errors = (likelihood[..., None] * np.array(errors)).sum(0)
        # a single row has a share of its own level as error
        single = rows.known & (rows.known.sum(1, keepdims=True) == 1)
        single_errors = SINGLE_VALUE_SCALE * level
        return cls(mean_coefficients / size, np.where(single, single_errors, mean_errors), used)


def causes_of(level: Array, begun: NDArray[np.bool_], cycle: int) -> Array:
    """Return the features that the next level's change may depend on, (n, 3) or (n, S, 3).

    They are the last change over a cycle, the distance of the level one cycle earlier from its mean, and time (a
    constant). Without a longer season only time is used: extrapolating the last change made forecasts worse.
    """
    count = level.shape[-1]
    time = np.ones_like(level[..., -1])
    if cycle == 1 or count <= cycle:
        return np.stack([0 * time, 0 * time, time], -1)
    earlier = [count - k * cycle for k in range(1, MEAN_SEASONS + 1) if count >= k * cycle]
    known = begun[..., earlier]
    mean = (level[..., earlier] * known).sum(-1) / np.maximum(known.sum(-1), 1)
    last = np.where(begun[..., -1 - cycle], level[..., -1] - level[..., -1 - cycle], 0.0)
    distance = np.where(begun[..., -cycle], mean - level[..., -cycle], 0.0)
    return np.stack([last, distance, time], -1)


@dataclass(frozen=True)
class Fitted:
    """n series cut into rows in one way, and fitted.

    Attributes:
        rows, split, ridge: The rows, their split, and the regression of their levels.
        autocorrelation: AR(1) coefficient of the rest, (n,).
    """

    rows: Rows
    split: Split
    ridge: Ridge
    autocorrelation: Array

    @classmethod
    def of(cls, history: Array, period: int, cycle: int, observed: Array | None = None) -> Fitted:
        """Fit histories (n, T); see `Rows.of`."""
        rows = Rows.of(history, period, cycle, observed)
        split = Split.of(rows)
        flat = split.rest.reshape(len(history), -1)
        square = (flat[:, :-1] ** 2).sum(1)
        correlation = (flat[:, 1:] * flat[:, :-1]).sum(1) / np.where(square > 0, square, 1.0)
        correlation = np.clip(correlation, 0, MAX_AUTOCORRELATION)
        return cls(rows, split, Ridge.of(split.level, rows), correlation)

    def point(self, horizon: int) -> Array:
        """Return the forecasts without errors, (n, H)."""
        period = self.rows.values.shape[2]
        count = -(-horizon // period)
        no_errors = np.zeros((len(self.autocorrelation), 1, count))
        return self._run(no_errors, np.zeros((*no_errors.shape, period)))[:, 0, :horizon]

    def paths(self, horizon: int, n_paths: int, draws: Draws) -> Array:
        """Draw paths whose errors are those of past rows, newer rows with larger probability, (n, S, H).

        The errors are multiplied by random signs, or with few rows by normal numbers.
        """
        n, rows, period = self.rows.values.shape
        count = -(-horizon // period)
        used = self.ridge.used
        used = np.where(used.any(1, keepdims=True), used, self.rows.known)
        weight = np.where(used, self.rows.weights, 0.0)
        cumulative = np.cumsum(weight, 1) / weight.sum(1, keepdims=True).clip(1e-12)
        uniform = draws.at("row").uniform((n, n_paths * count))
        row = np.zeros(uniform.shape, np.int64)
        for k in range(rows - 1):  # search in the cumulative weights of all series at once
            row += uniform >= cumulative[:, k : k + 1]
        factor = np.sign(draws.at("sign").uniform(uniform.shape) - 0.5)
        few = np.flatnonzero(used.sum(1) < MIN_RESAMPLED_ROWS)
        factor[few] = draws.select(few).at("size").normal((len(few), n_paths * count))
        # the rest is too small because shapes and levels are estimated from the same values
        n_rows = self.rows.begun.sum(1)
        correction = np.sqrt(n_rows / np.maximum(n_rows - 1, 1))[:, None]
        correction = correction * np.sqrt(period / max(period - 1, 1))
        flat = self.split.rest.reshape(n, -1)
        innovations = flat.copy()
        innovations[:, 1:] -= self.autocorrelation[:, None] * flat[:, :-1]
        level_errors = np.take_along_axis(self.ridge.errors, row, 1) * factor
        innovations = np.take_along_axis(innovations.reshape(n, rows, period), row[..., None], 1)
        innovations = innovations * (factor * correction)[..., None]
        shape = (n, n_paths, count)
        paths = self._run(level_errors.reshape(shape), innovations.reshape(*shape, period))
        return paths[..., :horizon]

    def _run(self, level_errors: Array, innovations: Array) -> Array:
        """Continue the levels, multiply each by its shape and add the rest, (n, S, C m).

        Args:
            level_errors: Errors of the C next levels, (n, S, C).
            innovations: Innovations of the rest at each step, (n, S, C, m).
        """
        n, n_paths, count, period = innovations.shape
        r, begun = self.rows.cycle, self.rows.begun
        keep = min(self.split.level.shape[1], MEAN_SEASONS * r + 1)
        level = np.repeat(self.split.level[:, None, -keep:], n_paths, 1)
        begun = begun[:, None, -keep:]
        start = self.split.level.shape[1]
        rest = np.repeat(self.split.rest[:, None, -1, -1], n_paths, 1)
        paths = np.zeros((n, n_paths, count, period))
        for c in range(count):
            causes = causes_of(level, np.broadcast_to(begun, level.shape), r)
            change = (causes * self.ridge.coefficients[:, None]).sum(-1)
            next_level = level[..., -r] * begun[..., -r] if level.shape[-1] >= r else level[..., -1]
            next_level = next_level + change + level_errors[..., c]
            shape = self.split.shape[:, (start + c) % r]
            for k in range(period):
                rest = self.autocorrelation[:, None] * rest + innovations[:, :, c, k]
                paths[:, :, c, k] = next_level * shape[:, None, k] + rest
            level = np.concatenate([level, next_level[..., None]], -1)
            begun = np.concatenate([begun, np.ones((n, 1, 1), bool)], -1)
        return paths.reshape(n, n_paths, -1)


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
