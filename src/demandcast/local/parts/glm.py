"""Model each stage of a count by a generalised linear model over all series of a panel.

The features are those of `recent`, the log ratio of the season's mean to the level, the calendar and the known
covariates. All series share one set of weights a stage. A path updates its features with its own draws; the means of the
seasons stay as they were at the last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.aligned import AlignedHistories
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.recent import PanelAverages, RecentDemand
from demandcast.local.parts.simulated import Simulate
from demandcast.local.parts.stages import Stage, draw_counts, stage_values

SEASON_DECAY = 0.7  # weight of a value after one more season
MAX_DEVIATIONS = 4.0  # standard deviations from a feature's mean at which it is clipped
PRIOR_COUNTS = 10.0  # counts that the panel's overdispersion weighs as much as


@dataclass(frozen=True)
class Glm:
    """Three generalised linear models, fitted to a panel.

    Attributes:
        stages: The three stages.
        averages: The panel's averages.
        weights: Intercept and weight of each feature, (1 + F,) a stage.
        offsets: f of each stage without features: from the share of demand, the share of ones, and the scale.
        center: Means of the features, (F,).
        deviation: Standard deviations of the features, (F,).
        dispersion: Variance over mean of y - 2; 1 for Poisson.
    """

    stages: tuple[Stage, Stage, Stage]
    averages: PanelAverages
    weights: tuple[Array, Array, Array]
    offsets: tuple[float, float, float]
    center: Array
    deviation: Array
    dispersion: float

    @classmethod
    def fit(cls, past: AlignedHistories, link: str, ridge: float, varied: bool) -> Glm:
        """Fit the models to histories; `varied` allows sizes a variance above their mean (overdispersion)."""
        stages = (Stage(), Stage(), Stage(link))
        averages = PanelAverages.of(past.values)
        features, scales = [], []
        no_limit = np.full(past.n_series, np.inf)
        for t, recent, season in iterate_states(past, averages, no_limit):
            if t < past.steps:
                features.append(np.stack(features_at(past, t, recent, season), -1))
                scales.append(recent.scale())
        observed = ~np.isnan(past.values)
        x, y, scale = (
            np.stack(features)[observed],
            past.values[observed],
            np.stack(scales)[observed],
        )
        center, deviation = x.mean(0), x.std(0)
        deviation[deviation < 1e-8] = 1.0
        x = np.clip((x - center) / deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)  # (R, F)
        offsets = initial_values(averages)
        weights = []
        for stage, value, offset in zip(stages, stage_values(y), offsets, strict=True):
            rows = ~np.isnan(value)
            stage_x = add_intercept(x[rows])
            weights.append(stage.fit_weights(stage_x, value[rows], scale[rows], offset, ridge))
        two = y >= 2
        mean = scale[two] * stages[2].rate(offsets[2] + add_intercept(x[two]) @ weights[2])[0]
        ratio = (y[two] - 2 - mean) ** 2 / np.maximum(mean, 1e-9)
        dispersion = (ratio.sum() + PRIOR_COUNTS) / (len(ratio) + PRIOR_COUNTS) if varied else 1.0
        w0, w1, w2 = weights
        return cls(stages, averages, (w0, w1, w2), offsets, center, deviation, float(dispersion))

    def predictors(self, features: list[Array]) -> list[Array]:
        """Return f0, f1, f2 of features, which broadcast against each other."""
        x = [
            np.clip((feature - center) / deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
            for feature, center, deviation in zip(
                features, self.center, self.deviation, strict=True
            )
        ]
        predictors = []
        for offset, weights in zip(self.offsets, self.weights, strict=True):
            f = np.asarray(offset + weights[0] + weights[1] * x[0])
            for weight, column in zip(weights[2:], x[1:], strict=True):
                f = f + weight * column
            predictors.append(f)
        return predictors

    def simulator(self, past: AlignedHistories) -> Simulate:
        """Return a function that draws paths of the selected series after their histories."""
        squares, count = np.zeros(past.n_series), np.zeros(past.n_series)
        largest = np.nan_to_num(past.values).max(0, initial=0.0)
        for t, recent, season in iterate_states(past, self.averages, largest):
            if t == past.steps:
                break
            y = past.values[t]
            f2 = self.predictors(features_at(past, t, recent, season))[2]
            mean = np.maximum(recent.scale() * self.stages[2].rate(f2)[0], 1e-9)
            squares += np.where(y >= 2, (y - 2 - mean) ** 2 / mean, 0.0)
            count += y >= 2
        dispersion = (squares + PRIOR_COUNTS * self.dispersion) / (count + PRIOR_COUNTS)  # (n,)
        extra_dispersion = dispersion - 1
        last, last_season, max_mean = recent, season, past.max_means()

        def simulate(index: Ints, n_paths: int, draws: Draws) -> Array:
            steps = range(past.steps, len(past.inputs))
            paths = np.zeros((len(index), n_paths, len(steps)))
            state = last.repeat(index, n_paths)  # (selected, paths)
            level = last.level()
            for step, t in enumerate(steps):
                known = [
                    feature[index, None] for feature in known_features(past, t, last_season, level)
                ]
                f = self.predictors([*state.features(), *known])
                mean = state.scale() * self.stages[2].rate(f[2])[0]
                mean = np.minimum(mean, max_mean[index, None])
                if self.dispersion > 1:
                    gamma_scale = np.maximum(extra_dispersion[index, None], 1e-3)
                    mean = draws.at("wide", step).gamma(mean / gamma_scale) * gamma_scale
                paths[..., step] = draw_counts(f, mean, draws.at(step))
                state = state.update(paths[..., step])
            return paths

        return simulate


def initial_values(averages: PanelAverages) -> tuple[float, float, float]:
    """Return f0, f1, f2 of a series with the panel's averages; g is 1 at log(e - 1)."""
    return (
        float(np.log((1 - averages.share) / averages.share)),
        float(np.log((1 - averages.many) / averages.many)),
        float(np.log(np.e - 1)),
    )


def add_intercept(x: Array) -> Array:
    """Put a column of ones before the features."""
    return np.concatenate([np.ones((len(x), 1)), x], 1)


def iterate_states(
    past: AlignedHistories, averages: PanelAverages, largest: Array
) -> Iterator[tuple[int, RecentDemand, Array]]:
    """Yield the step, the recent demand and the sums of the seasons, before each step and after the last.

    The sums are of weights and of weighted values at each phase of the season, (2, period, n). The panel's averages are
    limited by `largest`, (n,), see `RecentDemand`.
    """
    recent = RecentDemand.start(averages, largest)
    season = np.zeros((2, past.period, past.n_series))
    series = np.arange(past.n_series)
    for t, y in enumerate(past.values):
        yield t, recent, season
        recent = recent.update(y)
        known, phase = ~np.isnan(y), past.phase[t]
        season = season.copy()
        before = season[:, phase, series]
        after = SEASON_DECAY * before + np.stack([np.ones(len(y)), np.nan_to_num(y)])
        season[:, phase, series] = np.where(known, after, before)
    yield past.steps, recent, season


def features_at(past: AlignedHistories, t: int, recent: RecentDemand, season: Array) -> list[Array]:
    """Return the features known before step t, F times (n,)."""
    return [*recent.features(), *known_features(past, t, season, recent.level())]


def known_features(past: AlignedHistories, t: int, season: Array, level: Array) -> list[Array]:
    """Return the features that the draws of a path do not change: season, calendar and covariates, each (n,)."""
    inputs = list(np.moveaxis(past.inputs[t], -1, 0))
    if past.period == 1:
        return inputs
    weight, total = season[:, past.phase[t], np.arange(past.n_series)]
    ratio = np.log((total + level) / (weight + 1) + 0.01) - np.log(level + 0.01)
    return [ratio, *inputs]
