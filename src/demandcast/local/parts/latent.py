"""Model each stage of a count by a linear model plus a level of each series that is a random walk.

    f[t] = offset + x[t] w + level[t] (+ noise[t]),   level[t + 1] = level[t] + N(0, q),   level[0] ~ N(0, s)

The mode of the levels is found by Newton's method; each step is a Kalman smoother. Around the current path the
log-likelihood is a parabola, like that of values z = f + slope / information observed with noise of variance
1 / information. At the mode, Laplace's approximation gives the likelihood of q and of the noise, and each series takes
the pair of largest likelihood from a grid. All series share w and s, which are fitted on a part of the panel, in
alternation with the paths.

Departs from the paper: one w for all series; Gaussian `noise` on f2 for sizes that vary more than Poisson ones while the
level stays; each series' log-likelihood is added to the mean one of `PRIOR_VALUES` values of the panel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.aligned import AlignedHistories
from demandcast.local.parts.glm import add_intercept, initial_values
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.kalman import Step, kalman_filter, kalman_smoother
from demandcast.local.parts.recent import PRIOR_STEPS, PanelAverages, limit_average
from demandcast.local.parts.simulated import Simulate
from demandcast.local.parts.stages import Stage, draw_counts, stage_values

STEP_VARIANCES = (0.0, 0.002, 0.01, 0.04, 0.15, 0.5)  # candidates of q
NOISE_VARIANCES = (0.0, 0.2, 0.8)  # candidates
PRIOR_VALUES = 20.0  # values that the panel's mean log-likelihood weighs as much as
NEWTON_STEPS, MAX_MOVE = 6, 3.0  # number of steps, and the largest change of f in one
ROUNDS = 3  # of fitting weights and paths in alternation
MAX_TRAINING_SERIES = 400  # series that weights are fitted on


@dataclass(frozen=True)
class Mode:
    """The mode of the levels of n series.

    Attributes:
        level, variance: Mean and variance at each step given all values, (T, n).
        last: State of the filter at the last step.
        log_likelihood: Laplace's approximation, (n,).
    """

    level: Array
    variance: Array
    last: Step
    log_likelihood: Array


def find_mode(
    stage: Stage, value: Array, scale: Array | float, base: Array, q: float, noise: float, s: float
) -> Mode:
    """Find the mode of the levels by Newton's method, starting at 0.

    Args:
        stage: The stage.
        value: Values of the stage, (T, n); NaN at other steps.
        scale: Unit of the Poisson mean, (n,) or a number.
        base: f without the level, (T, n).
        q: Variance of the level's steps.
        noise: Variance of f around the level.
        s: Variance of the level at the first step.
    """
    observed = ~np.isnan(value)
    known = np.nan_to_num(value)
    step_variance = np.full(value.shape[1], q)
    f = base
    for _ in range(NEWTON_STEPS):
        previous = f
        _, slope, information = stage.likelihood(previous, known, scale)
        variance = 1 / information
        z = np.where(observed, previous + slope * variance - base, np.nan)
        steps = list(kalman_filter(z, variance + noise, step_variance, s))
        level, level_variance = kalman_smoother(steps, step_variance)
        z = np.where(observed, z, level)
        f = base + level + noise / (noise + variance) * (z - level)
        f = previous + np.clip(f - previous, -MAX_MOVE, MAX_MOVE)
    log_likelihood = stage.likelihood(previous, known, scale)[0]
    # replace the likelihood of each z alone by that of all z together
    log_likelihood -= _log_normal(z + base - previous, variance)
    errors = np.stack([step.error for step in steps])
    error_variances = np.stack([step.error_variance for step in steps])
    log_likelihood += _log_normal(errors, error_variances)
    return Mode(level, level_variance, steps[-1], np.where(observed, log_likelihood, 0.0).sum(0))


def _log_normal(error: Array, variance: Array) -> Array:
    """Return the log density of a normal variable of mean 0."""
    return np.asarray(-0.5 * (np.log(2 * np.pi * variance) + error**2 / variance))


@dataclass(frozen=True)
class FittedStage:
    """One stage, fitted to a panel.

    Attributes:
        stage: The stage.
        offset: f without inputs and level.
        weights: Intercept and weights of the inputs, (1 + C,).
        start: Variance s of the level at the first step.
        mean_likelihood: Mean log-likelihood of a value under each candidate, (G,).
        candidates: Pairs of q and noise variance.
    """

    stage: Stage
    offset: float
    weights: Array
    start: float
    mean_likelihood: Array
    candidates: tuple[tuple[float, float], ...]

    def base(self, past: AlignedHistories) -> Array:
        """Return f without the level, (T + H, n)."""
        return np.asarray(self.offset + self.weights[0] + past.inputs @ self.weights[1:])

    @classmethod
    def fit(
        cls,
        stage: Stage,
        past: AlignedHistories,
        value: Array,
        scale: Array,
        offset: float,
        ridge: float,
        noises: tuple[float, ...],
    ) -> FittedStage:
        """Fit a stage to values (T, n): weights, then `ROUNDS` times the levels and the weights given the levels."""
        candidates = tuple(product(STEP_VARIANCES, noises))
        q, noise = candidates[len(candidates) // 2]
        observed = ~np.isnan(value)
        x = add_intercept(past.inputs[: past.steps][observed])
        scales = np.broadcast_to(scale, value.shape)[observed]
        weights = stage.fit_weights(x, value[observed], scales, offset, ridge)
        s = 1.0
        for _ in range(ROUNDS):
            fitted = cls(stage, offset, weights, s, np.zeros(len(candidates)), candidates)
            base = fitted.base(past)[: past.steps]
            mode = find_mode(stage, value, scale, base, q, noise, s)
            series = observed.any(0)
            first = mode.level[0, series] ** 2 + mode.variance[0, series]  # expected square
            s = float(np.clip(first.mean(), 1e-3, 25.0)) if series.any() else s
            offsets = offset + mode.level[observed]
            weights = stage.fit_weights(x, value[observed], scales, offsets, ridge, weights)
        fitted = cls(stage, offset, weights, s, np.zeros(len(candidates)), candidates)
        total = fitted.modes(past, value, scale)[0].sum(1)
        mean = total / max(1, int(observed.sum()))
        return cls(stage, offset, weights, s, mean, candidates)

    def modes(
        self, past: AlignedHistories, value: Array, scale: Array
    ) -> tuple[Array, Array, Array]:
        """Return log-likelihood, and mean and variance of the last level, for each candidate, (G, n) each."""
        base = self.base(past)[: past.steps]
        results = []
        for q, noise in self.candidates:
            mode = find_mode(self.stage, value, scale, base, q, noise, self.start)
            results.append((mode.log_likelihood, mode.last.level, mode.last.variance))
        log_likelihood, level, variance = (
            np.stack(columns) for columns in zip(*results, strict=True)
        )
        return log_likelihood, level, variance


@dataclass(frozen=True)
class Latent:
    """Three stages with latent levels, fitted to a panel."""

    averages: PanelAverages
    stages: tuple[FittedStage, ...]

    @classmethod
    def fit(cls, past: AlignedHistories, link: str, ridge: float, varied: bool) -> Latent:
        """Fit the stages to histories; `varied` allows sizes a variance above their mean (overdispersion)."""
        averages = PanelAverages.of(past.values)
        noises = ((0.0,), (0.0,), NOISE_VARIANCES if varied else (0.0,))
        scales = (np.ones(past.n_series), np.ones(past.n_series), _scale(past.values, averages))
        stages = (Stage(), Stage(), Stage(link))
        offsets = initial_values(averages)
        arguments = zip(stages, stage_values(past.values), scales, offsets, noises, strict=True)
        fitted = [
            FittedStage.fit(stage, past, value, scale, offset, ridge, noise)
            for stage, value, scale, offset, noise in arguments
        ]
        return cls(averages, tuple(fitted))

    def simulator(self, past: AlignedHistories) -> Simulate:
        """Return a function that draws paths of the selected series after their histories."""
        scale, max_mean = _scale(past.values, self.averages), past.max_means()
        ends = []  # of each stage: mean and variance of the last level, q, noise, f ahead
        for k, (fitted, value) in enumerate(
            zip(self.stages, stage_values(past.values), strict=True)
        ):
            scales = scale if k == 2 else np.ones(past.n_series)
            log_likelihood, level, variance = fitted.modes(past, value, scales)
            prior = PRIOR_VALUES * fitted.mean_likelihood[:, None]
            best = (log_likelihood + prior).argmax(0)
            series = np.arange(past.n_series)
            chosen = np.array(fitted.candidates)[best]  # (n, 2)
            ahead = fitted.base(past)[past.steps :]  # (H, n)
            ends.append((level[best, series], variance[best, series], *chosen.T, ahead))

        def simulate(index: Ints, n_paths: int, draws: Draws) -> Array:
            shape = (len(index), n_paths)
            paths = np.zeros((*shape, len(past.inputs) - past.steps))
            levels = [
                end[0][index, None]
                + np.sqrt(end[1][index, None]) * draws.at("start", k).normal(shape)
                for k, end in enumerate(ends)
            ]
            for step in range(paths.shape[2]):
                f = []
                for k, (_, _, q, noise, ahead) in enumerate(ends):
                    level_draws, noise_draws = (
                        draws.at(purpose, k, step) for purpose in ("level", "noise")
                    )
                    levels[k] += np.sqrt(q[index, None]) * level_draws.normal(shape)
                    deviation = np.sqrt(noise[index, None]) * noise_draws.normal(shape)
                    f.append(ahead[step, index, None] + levels[k] + deviation)
                rate = self.stages[2].stage.rate(f[2])[0]
                mean = np.minimum(scale[index, None] * rate, max_mean[index, None])
                paths[..., step] = draw_counts(f, mean, draws.at(step))
            return paths

        return simulate


def _scale(values: Array, averages: PanelAverages) -> Array:
    """Return the mean of y - 2 over each series' values of 2 or more, shrunk towards the panel's, (n,)."""
    two = values >= 2
    largest = np.nan_to_num(values).max(0, initial=0.0)
    typical = limit_average(averages.excess, largest)
    excess = np.where(two, values - 2, 0).sum(0) + PRIOR_STEPS * typical
    return np.asarray(excess / (two.sum(0) + PRIOR_STEPS))
