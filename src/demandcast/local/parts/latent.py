"""Each stage of a count a linear model and a level of each series that walks at random.

    f[t] = offset + x[t] w + level[t] (+ noise[t]),   level[t + 1] = level[t] + N(0, q),   level[0] ~ N(0, s)

The mode of a path is found by Newton's method, each step of which is a Kalman smoother: around the path
so far the log-likelihood is a parabola, as of values z = f + slope / information seen through noise of
variance 1 / information. There, too, stands Laplace's approximation of the likelihood of q and the
noise, and each series takes the most likely of a grid. w and s serve all series: they are found in turn
with the paths, on a part of the panel.

Departs from the paper: one w for all series; Gaussian `noise` on f2 where sizes vary more than Poisson
ones around a level that need not move for it; each series adds to its log-likelihood the mean one of
`SHARED` values of the panel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.aligned import Aligned
from demandcast.local.parts.glm import start, with_one
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.kalman import Step, kalman_filter, kalman_smoother
from demandcast.local.parts.recent import SEEN, Typical
from demandcast.local.parts.simulated import Simulate
from demandcast.local.parts.stages import Stage, drawn_counts, stage_values

WALKS = (0.0, 0.002, 0.01, 0.04, 0.15, 0.5)  # q
NOISES = (0.0, 0.2, 0.8)  # variances of the noise
SHARED = 20.0  # values' worth of the panel's evidence
NEWTON, STEEPEST = 6, 3.0  # steps of the search, and how far each may move f
ROUNDS = 3  # of weights and paths in turn
LEARNERS = 400  # series that weights are learned from


@dataclass(frozen=True)
class Path:
    """The mode of the levels of n series.

    Attributes:
        level, variance: At each step given all values, (T, n).
        last: As filtered at the last step.
        likely: Laplace's log-likelihood, (n,).
    """

    level: Array
    variance: Array
    last: Step
    likely: Array


def search(
    stage: Stage, value: Array, scale: Array | float, base: Array, q: float, noise: float, s: float
) -> Path:
    """The mode of the levels by Newton's method, begun at 0.

    Args:
        value: What the stage learns from, (T, n); NaN at other steps.
        scale: (n,) or a number.
        base: f without the level, (T, n).
        q: Variance of the level's steps.
        noise: Of f around the level.
        s: Of the level at the first step.
    """
    seen = ~np.isnan(value)
    known = np.nan_to_num(value)
    walk = np.full(value.shape[1], q)
    f = base
    for _ in range(NEWTON):
        around = f
        _, slope, information = stage.told(around, known, scale)
        variance = 1 / information
        z = np.where(seen, around + slope * variance - base, np.nan)
        steps = list(kalman_filter(z, variance + noise, walk, s))
        level, left = kalman_smoother(steps, walk)
        z = np.where(seen, z, level)
        f = base + level + noise / (noise + variance) * (z - level)
        f = around + np.clip(f - around, -STEEPEST, STEEPEST)
    likely = stage.told(around, known, scale)[0]
    likely -= _normal(z + base - around, variance)  # the parabola's own likelihood is taken off ...
    error, expected = (
        np.stack([p.error for p in steps]),
        np.stack([p.error_variance for p in steps]),
    )
    likely += _normal(error, expected)  # ... and that of all its values put in its place
    return Path(level, left, steps[-1], np.where(seen, likely, 0.0).sum(0))


def _normal(error: Array, variance: Array) -> Array:
    return np.asarray(-0.5 * (np.log(2 * np.pi * variance) + error**2 / variance))


@dataclass(frozen=True)
class Learned:
    """What a panel says of one stage: weights (F,), s, and the mean log-likelihood of each candidate."""

    stage: Stage
    offset: float
    weights: Array
    start: float
    shared: Array
    tried: tuple[tuple[float, float], ...]  # pairs of q and noise

    def base(self, past: Aligned) -> Array:
        """f without the level, (T + H, n)."""
        return np.asarray(self.offset + self.weights[0] + past.inputs @ self.weights[1:])

    @classmethod
    def of(
        cls,
        stage: Stage,
        past: Aligned,
        value: Array,
        scale: Array,
        offset: float,
        ridge: float,
        noises: tuple[float, ...],
    ) -> Learned:
        """From values (T, n): weights, then paths, then weights around the paths, `ROUNDS` times."""
        tried = tuple(product(WALKS, noises))
        q, noise = tried[len(tried) // 2]
        seen = ~np.isnan(value)
        x = with_one(past.inputs[: past.steps][seen])
        units = np.broadcast_to(scale, value.shape)[seen]
        weights = stage.weights(x, value[seen], units, offset, ridge)
        s = 1.0
        for _ in range(ROUNDS):
            learned = cls(stage, offset, weights, s, np.zeros(len(tried)), tried)
            base = learned.base(past)[: past.steps]
            path = search(stage, value, scale, base, q, noise, s)
            some = seen.any(0)
            first = path.level[0, some] ** 2 + path.variance[0, some]  # expected square
            s = float(np.clip(first.mean(), 1e-3, 25.0)) if some.any() else s
            around = offset + path.level[seen]
            weights = stage.weights(x, value[seen], units, around, ridge, weights)
        learned = cls(stage, offset, weights, s, np.zeros(len(tried)), tried)
        total = learned.paths(past, value, scale)[0].sum(1)
        return cls(stage, offset, weights, s, total / max(1, int(seen.sum())), tried)

    def paths(self, past: Aligned, value: Array, scale: Array) -> tuple[Array, Array, Array]:
        """Of each candidate: log-likelihoods, and means and variances of the last level, (G, n)."""
        base = self.base(past)[: past.steps]
        found = []
        for q, noise in self.tried:
            path = search(self.stage, value, scale, base, q, noise, self.start)
            found.append((path.likely, path.last.level, path.last.variance))
        likely, level, variance = (np.stack(part) for part in zip(*found, strict=True))
        return likely, level, variance


@dataclass(frozen=True)
class Latent:
    """What was learned of a panel, stage by stage."""

    typical: Typical
    stages: tuple[Learned, ...]

    @classmethod
    def learn(cls, past: Aligned, link: str, ridge: float, varied: bool) -> Latent:
        """From histories; `varied` lets sizes vary more than Poisson ones."""
        typical = Typical.of(past.values)
        noises = ((0.0,), (0.0,), NOISES if varied else (0.0,))
        scales = (np.ones(past.n_series), np.ones(past.n_series), _scale(past.values, typical))
        stages = (Stage(), Stage(), Stage(link))
        parts = zip(stages, stage_values(past.values), scales, start(typical), noises, strict=True)
        learned = [
            Learned.of(stage, past, value, scale, offset, ridge, noise)
            for stage, value, scale, offset, noise in parts
        ]
        return cls(typical, tuple(learned))

    def simulator(self, past: Aligned) -> Simulate:
        """What draws paths of some of the series behind their histories."""
        scale, most = _scale(past.values, self.typical), past.most()
        ends = []  # of each stage: mean and variance of the last level, q, noise, f ahead
        for k, (learned, value) in enumerate(
            zip(self.stages, stage_values(past.values), strict=True)
        ):
            units = scale if k == 2 else np.ones(past.n_series)
            likely, level, variance = learned.paths(past, value, units)
            best = (likely + SHARED * learned.shared[:, None]).argmax(0)
            series = np.arange(past.n_series)
            chosen = np.array(learned.tried)[best]  # (n, 2)
            ahead = learned.base(past)[past.steps :]  # (H, n)
            ends.append((level[best, series], variance[best, series], *chosen.T, ahead))

        def simulate(some: Ints, n_paths: int, draws: Draws) -> Array:
            shape = (len(some), n_paths)
            paths = np.zeros((*shape, len(past.inputs) - past.steps))
            levels = [
                end[0][some, None]
                + np.sqrt(end[1][some, None]) * draws.at("start", k).normal(shape)
                for k, end in enumerate(ends)
            ]
            for step in range(paths.shape[2]):
                f = []
                for k, (_, _, q, noise, ahead) in enumerate(ends):
                    move, apart = (draws.at(what, k, step) for what in ("level", "noise"))
                    levels[k] += np.sqrt(q[some, None]) * move.normal(shape)
                    around = np.sqrt(noise[some, None]) * apart.normal(shape)
                    f.append(ahead[step, some, None] + levels[k] + around)
                rate = self.stages[2].stage.rate(f[2])[0]
                mean = np.minimum(scale[some, None] * rate, most[some, None])
                paths[..., step] = drawn_counts(f, mean, draws.at(step))
            return paths

        return simulate


def _scale(values: Array, typical: Typical) -> Array:
    """The mean of y - 2 of each series where it is 0 or more, drawn to that of the panel, (n,)."""
    two = values >= 2
    return np.asarray(
        (np.where(two, values - 2, 0).sum(0) + SEEN * typical.excess) / (two.sum(0) + SEEN)
    )
