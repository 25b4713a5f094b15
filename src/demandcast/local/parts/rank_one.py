"""Split the periods of series into levels and a shape, and forecast the levels by ridge regression.

The parts of `demandcast.local.level_shape`, whose docstring has the model and its source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.local.parts.error_distributions import SINGLE_VALUE_SCALE
from demandcast.local.parts.histories import Array

MAX_ROWS = 150  # newest periods used
ROW_DECAY = 0.9  # weight of a row that is one (longer) season older
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # in rows; averaged by their likelihood
MEAN_SEASONS = 4  # in the mean level that a level may return to
MIN_REGRESSION_ROWS = 5  # with fewer rows the change of the level is 0
MIN_RESAMPLED_ROWS = 30  # with fewer rows, errors are multiplied by normal numbers instead of signs
MIN_MASS = 0.01  # of a cycle's mean: a row with less, almost without level, has no shape of its own
MAX_AUTOCORRELATION = 0.98  # of the rest


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
