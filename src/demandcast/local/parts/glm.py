"""Each stage of a count a generalised linear model over all series of a panel.

The figures are those of `recent`, the log ratio of each season's mean to the level, the calendar and the
known covariates. One set of weights a stage serves every series. A path goes on from its own draws; the
seasons' means stay as they were at the last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.aligned import Aligned
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.recent import Recent, Typical
from demandcast.local.parts.simulated import Simulate
from demandcast.local.parts.stages import Stage, drawn_counts, stage_values

SEASONS = 0.7  # what a value weighs one season later
FAR = 4.0  # deviations from a figure's mean beyond which it is drawn in
SHARED = 10.0  # counts' worth of the panel's evidence on how sizes vary


@dataclass(frozen=True)
class Glm:
    """What was learned of a panel.

    Attributes:
        weights: One for each figure, of each of the stages, 3 times (F,).
        offsets: What f is without any figure: the typical share, share of ones, and scale.
        middle: Means of the figures, (F,).
        deviation: Theirs, (F,).
        spread: Variance over mean of y - 2; 1 is Poisson.
    """

    stages: tuple[Stage, Stage, Stage]
    typical: Typical
    weights: tuple[Array, Array, Array]
    offsets: tuple[float, float, float]
    middle: Array
    deviation: Array
    spread: float

    @classmethod
    def learn(cls, past: Aligned, link: str, ridge: float, varied: bool) -> Glm:
        """From histories; `varied` lets sizes vary more than Poisson ones."""
        stages = (Stage(), Stage(), Stage(link))
        typical = Typical.of(past.values)
        found, scales = [], []
        for t, recent, season in walk(past, typical):
            if t < past.steps:
                found.append(np.stack(figures(past, t, recent, season), -1))
                scales.append(recent.scale())
        seen = ~np.isnan(past.values)
        x, y, scale = np.stack(found)[seen], past.values[seen], np.stack(scales)[seen]
        middle, deviation = x.mean(0), x.std(0)
        deviation[deviation < 1e-8] = 1.0
        x = np.clip((x - middle) / deviation, -FAR, FAR)  # (R, F)
        offsets = start(typical)
        weights = []
        for stage, value, offset in zip(stages, stage_values(y), offsets, strict=True):
            some = ~np.isnan(value)
            x1, scale1 = with_one(x[some]), scale[some]
            weights.append(stage.weights(x1, value[some], scale1, offset, ridge))
        two = y >= 2
        mean = scale[two] * stages[2].rate(offsets[2] + with_one(x[two]) @ weights[2])[0]
        ratio = (y[two] - 2 - mean) ** 2 / np.maximum(mean, 1e-9)
        spread = float((ratio.sum() + SHARED) / (len(ratio) + SHARED)) if varied else 1.0
        w0, w1, w2 = weights
        return cls(stages, typical, (w0, w1, w2), offsets, middle, deviation, spread)

    def latent(self, told: list[Array]) -> list[Array]:
        """f0, f1, f2 from figures, each broadcast against the others."""
        x = [
            np.clip((part - middle) / deviation, -FAR, FAR)
            for part, middle, deviation in zip(told, self.middle, self.deviation, strict=True)
        ]
        found = []
        for offset, weights in zip(self.offsets, self.weights, strict=True):
            f = np.asarray(offset + weights[0] + weights[1] * x[0])
            for weight, part in zip(weights[2:], x[1:], strict=True):
                f = f + weight * part
            found.append(f)
        return found

    def simulator(self, past: Aligned) -> Simulate:
        """What draws paths of some of the series behind their histories."""
        squares, count = np.zeros(past.n_series), np.zeros(past.n_series)
        for t, recent, season in walk(past, self.typical):
            if t == past.steps:
                break
            y = past.values[t]
            f2 = self.latent(figures(past, t, recent, season))[2]
            mean = np.maximum(recent.scale() * self.stages[2].rate(f2)[0], 1e-9)
            squares += np.where(y >= 2, (y - 2 - mean) ** 2 / mean, 0.0)
            count += y >= 2
        over = (squares + SHARED * self.spread) / (count + SHARED) - 1  # above Poisson, (n,)
        end, at_end, most = recent, season, past.most()

        def simulate(some: Ints, n_paths: int, draws: Draws) -> Array:
            steps = range(past.steps, len(past.inputs))
            paths = np.zeros((len(some), n_paths, len(steps)))
            state = end.repeated(some, n_paths)  # (some, paths)
            level = end.level()
            for step, t in enumerate(steps):
                fixed = [part[some, None] for part in given(past, t, at_end, level)]
                f = self.latent([*state.figures(), *fixed])
                mean = np.minimum(state.scale() * self.stages[2].rate(f[2])[0], most[some, None])
                if self.spread > 1:
                    wide = np.maximum(over[some, None], 1e-3)
                    mean = draws.at("wide", step).gamma(mean / wide) * wide
                paths[..., step] = drawn_counts(f, mean, draws.at(step))
                state = state.behind(paths[..., step])
            return paths

        return simulate


def start(typical: Typical) -> tuple[float, float, float]:
    """f0, f1, f2 of a series of which nothing is known; g is 1 at log(e - 1)."""
    return (
        float(np.log((1 - typical.share) / typical.share)),
        float(np.log((1 - typical.many) / typical.many)),
        float(np.log(np.e - 1)),
    )


def with_one(x: Array) -> Array:
    """A column of ones before the figures."""
    return np.concatenate([np.ones((len(x), 1)), x], 1)


def walk(past: Aligned, typical: Typical) -> Iterator[tuple[int, Recent, Array]]:
    """Before each step and behind the last: the step, the recent past, the seasons' sums.

    Sums are weights and values at each place of the season, (2, period, n).
    """
    recent = Recent.begun(typical, (past.n_series,))
    season = np.zeros((2, past.period, past.n_series))
    series = np.arange(past.n_series)
    for t, y in enumerate(past.values):
        yield t, recent, season
        recent = recent.behind(y)
        known, place = ~np.isnan(y), past.phase[t]
        season = season.copy()
        before = season[:, place, series]
        after = SEASONS * before + np.stack([np.ones(len(y)), np.nan_to_num(y)])
        season[:, place, series] = np.where(known, after, before)
    yield past.steps, recent, season


def figures(past: Aligned, t: int, recent: Recent, season: Array) -> list[Array]:
    """All that is known before step t, F times (n,)."""
    return [*recent.figures(), *given(past, t, season, recent.level())]


def given(past: Aligned, t: int, season: Array, level: Array) -> list[Array]:
    """What does not follow from the draws of a path: season, calendar and covariates, each (n,)."""
    inputs = list(np.moveaxis(past.inputs[t], -1, 0))
    if past.period == 1:
        return inputs
    weight, total = season[:, past.phase[t], np.arange(past.n_series)]
    ratio = np.log((total + level) / (weight + 1) + 0.01) - np.log(level + 0.01)
    return [ratio, *inputs]
