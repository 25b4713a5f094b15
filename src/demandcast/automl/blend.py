"""Weights of a blend, from losses in validation: shared, by class of demand, by series.

Two rules. Forward selection (Caruana et al., "Ensemble selection from libraries of models", ICML 2004): members
are added one at a time, with replacement, whichever lowers the loss of their average most. Exponential
weights (Littlestone and Warmuth, "The weighted majority algorithm", 1994): each member by its own loss, which
trusts the windows less. Quantiles are averaged level by level (Vincent), which keeps the shape of the
members; or the distributions are mixed, whose quantiles are wider where members disagree. What is taken is
what forecasts windows best that it was not chosen on: series of one window share its fortunes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.evaluate.stock_metrics import spec

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
ROUNDS = 25  # members added at most
SHARP = 20.0  # a member that loses 5 % more than the best has 1/e of its weight
MOSTLY = 0.5  # share of zeros from which the spread over series tells how sure a loss is
ADDITIVE = ("wql", "sql", "mase")  # metrics whose loss is a sum over rows
SHARED = 200.0  # series' worth of the shared weights in those of a class
FEWEST_SERIES = 40  # series from which a class has weights of its own
OWN = 60.0  # values' worth of the weights of its class in those of a series
STRENGTHS = (1.0, 3.0)  # by which series may go their own way
EVEN = 100.0  # values' worth of even weights in those chosen
LEAST = 0.03  # weights below are none
MOST = 40_000  # rows that weights are chosen on
SPEC = 400  # series and folds that they are chosen on by a metric that looks at whole horizons
BLOCK = 20_000  # rows mixed at once
GAIN = 0.002  # of the loss, cross-fitted, from which a refinement is taken
MIXED = 0.01  # from which distributions are mixed


@dataclass(frozen=True)
class Evidence:
    """Forecasts of M members in validation and the observed values, over all folds.

    Attributes:
        quantiles: (M, R, Q), R rows of series and fold times steps.
        means: (M, R).
        actual: (R,); all observed.
        levels: (Q,).
        metric: What weights are chosen by: "wql", "sql", "mase", "rmsse" or "spec".
        weight: What a row's loss counts, (R,); 1 for losses that are summed.
        group: Class of demand of each row, (R,).
        series: A number for the series of each row, (R,).
        cell: A number for the series and fold of each row, (R,), never decreasing.
        step: Steps ahead of each row, from 0, (R,).
        fold: Number of the cutoff of each row, (R,).
    """

    quantiles: Floats
    means: Floats
    actual: Doubles
    levels: tuple[float, ...]
    metric: str
    weight: Doubles
    group: Ints
    series: Ints
    cell: Ints
    step: Ints
    fold: Ints

    def select(self, rows: Any) -> Evidence:
        """Return some of the rows."""
        cut = {
            k: getattr(self, k)[rows]
            for k in ("actual", "weight", "group", "series", "cell", "step", "fold")
        }
        return replace(self, quantiles=self.quantiles[:, rows], means=self.means[:, rows], **cut)

    def loss(self, quantiles: Floats, means: Floats) -> float:
        """Return the metric of forecasts (R, Q) with means (R,), up to a common factor."""
        if self.metric == "rmsse":
            squares = (self.actual - means) ** 2 * self.weight**2
            count = np.maximum(np.bincount(self.cell), 1)
            return float(np.sqrt(np.bincount(self.cell, squares) / count).sum())
        if self.metric == "spec":
            _, row = np.unique(self.cell, return_inverse=True)
            came = np.full(
                (int(row.max(initial=-1)) + 1, int(self.step.max(initial=-1)) + 1), np.nan
            )
            median = np.zeros(came.shape)
            came[row, self.step] = np.maximum(self.actual, 0)
            median[row, self.step] = np.maximum(quantiles[:, self.levels.index(0.5)], 0)
            return float(np.nansum(spec(came, median)))
        return float((self.pinball(quantiles) * self.weight).sum())

    def pinball(self, quantiles: Floats) -> Doubles:
        """Return the pinball loss of each row over the deciles, (R,); for mase that of the median."""
        wanted = (0.5,) if self.metric == "mase" else DECILES
        columns = [self.levels.index(level) for level in wanted]
        levels = np.array(wanted, np.float32)
        error = self.actual[:, None].astype(np.float32) - quantiles[:, columns]
        return np.asarray(np.maximum(levels * error, (levels - 1) * error).sum(-1), np.float64)


@dataclass(frozen=True)
class Blend:
    """How the forecasts of members are combined.

    Attributes:
        shared: Weights of all series, (M,), of sum 1.
        by_group: Class of demand -> weights of its own.
        mixed: Whether distributions are mixed rather than quantiles averaged.
        tilts: What the weights of series 0, 1, ... are multiplied by, (S, M); 1 where nothing is
            known of a series. None where series have no weights of their own.
    """

    shared: Doubles
    by_group: dict[int, Doubles]
    mixed: bool
    tilts: Doubles | None = None

    def weights(self, group: Ints, series: Ints | None = None) -> Doubles:
        """Return the weights of series by class, (n, M), and by number where given; -1 for new series."""
        weights = np.tile(self.shared, (len(group), 1))
        for code, class_weights in self.by_group.items():
            weights[group == code] = class_weights
        if self.tilts is None or series is None:
            return weights
        tilted = weights * np.where((series >= 0)[:, None], self.tilts[np.maximum(series, 0)], 1.0)
        return np.asarray(tilted / tilted.sum(1, keepdims=True))

    def combine(self, quantiles: Floats, weights: Doubles, levels: Sequence[float]) -> Floats:
        """Combine quantiles (M, R, Q) of members with weights (R, M), (R, Q)."""
        if self.mixed:
            cuts = range(0, len(weights), BLOCK)
            parts = [
                mixture(quantiles[:, i : i + BLOCK], weights[i : i + BLOCK], levels) for i in cuts
            ]
            return np.concatenate([np.zeros((0, len(levels)), np.float32), *parts])
        return np.asarray(np.einsum("mrq,rm->rq", quantiles, weights.astype(np.float32)))

    def mean(self, means: Floats, weights: Doubles) -> Floats:
        """Combine means (M, R) of members with weights (R, M), (R,)."""
        return np.asarray(np.einsum("mr,rm->r", means, weights.astype(np.float32)))


def choose(evidence: Evidence, allowed: NDArray[np.bool_]) -> Blend:
    """Choose the blend of least loss among the allowed members; refine it only where that cross-validates."""
    rule = better_rule(evidence, allowed)
    shared = rule(evidence, allowed)
    groups = {}
    if _gain(evidence, allowed, rule) > GAIN:
        groups = _by_group(evidence, allowed, shared, rule)
    blends = [Blend(shared, groups, how) for how in (False, True)]  # averaged, mixed
    averaged, mixed = (_loss(evidence, blend) for blend in blends)
    best = blends[mixed < (1 - MIXED) * averaged]
    strength = _strength(evidence, best)
    return replace(best, tilts=tilts(evidence, best, strength)) if strength else best


def tilts(evidence: Evidence, blend: Blend, strength: float) -> Doubles:
    """Return factors of each series' weights, (S, M), from its own losses.

    exp(-strength * r * n / (n + OWN)), with r by how much a member's loss lies above that of the
    weighted members, as a share, and n the values of the series that speak for it: few leave the
    weights of the class as they are.
    """
    count = int(evidence.series.max(initial=-1)) + 1
    values = np.bincount(evidence.series, minlength=count)
    losses = np.stack(
        [np.bincount(evidence.series, evidence.pinball(q), count) for q in evidence.quantiles], 1
    )  # (S, M)
    group = np.zeros(count, np.int64)
    group[evidence.series] = evidence.group
    usual = (losses * blend.weights(group)).sum(1, keepdims=True)
    above = np.where(usual > 0, losses / np.where(usual > 0, usual, 1) - 1, 0)
    trust = (values / (values + OWN))[:, None]
    return np.asarray(np.exp(-strength * trust * np.clip(above, -1, 2)))


def _strength(evidence: Evidence, blend: Blend) -> float:
    """Return how far series get weights of their own: what helps most in the other folds, 0 for not at all."""
    if len(np.unique(evidence.fold)) < 2:
        return 0.0
    best, best_strength = 1 - GAIN, 0.0
    folds = validation_folds(evidence)
    plain = sum(_loss(evidence.select(fold), blend) for fold in folds)
    for strength in STRENGTHS:
        total = 0.0
        for fold in folds:
            factors = tilts(evidence.select(~fold), blend, strength)
            validated = evidence.select(fold)
            missing = int(validated.series.max(initial=-1)) + 1 - len(factors)
            if missing > 0:
                factors = np.concatenate([factors, np.ones((missing, factors.shape[1]))])
            total += _loss(validated, replace(blend, tilts=factors))
        if plain and total / plain < best:
            best, best_strength = total / plain, strength
    return best_strength


def select(evidence: Evidence, allowed: NDArray[np.bool_]) -> Doubles:
    """Return weights by forward selection, (M,).

    Few values tell little of who is best: then they are drawn towards the same for all.
    """
    count = len(evidence.actual)
    evidence = _sample(evidence)
    members = np.flatnonzero(allowed)
    counts = np.zeros(len(allowed))
    total, mean = np.zeros_like(evidence.quantiles[0]), np.zeros_like(evidence.means[0])
    best, best_counts = np.inf, counts
    for size in range(1, ROUNDS + 1):
        losses = [
            evidence.loss((total + evidence.quantiles[m]) / size, (mean + evidence.means[m]) / size)
            for m in members
        ]
        chosen = members[int(np.argmin(losses))]
        counts = counts.copy()
        counts[chosen] += 1
        total, mean = total + evidence.quantiles[chosen], mean + evidence.means[chosen]
        if min(losses) < best:
            best, best_counts = min(losses), counts
    return _shrink_weights(best_counts / best_counts.sum(), allowed, count)


def exponential(evidence: Evidence, allowed: NDArray[np.bool_]) -> Doubles:
    """Return weights by each member's own loss, (M,): exp(-SHARP * loss / least loss).

    Where most values are 0, methods differ by 1 or 2 % of the loss at most, and series are independent of each
    other: there a member has the weight exp(-z^2 / 2), its loss z standard errors over series above the least.
    """
    slow = evidence.metric in ADDITIVE and (evidence.actual == 0).mean() > MOSTLY
    if slow and len(np.unique(evidence.series)) >= FEWEST_SERIES:
        weights = np.exp(-0.5 * _standard_errors_above(evidence, allowed) ** 2)
        return _shrink_weights(weights / weights.sum(), allowed, len(evidence.actual))
    losses = np.array(
        [evidence.loss(q, m) for q, m in zip(evidence.quantiles, evidence.means, strict=True)]
    )
    least = losses[allowed].min()
    above = losses / least - 1 if least > 0 else (losses > least).astype(float)
    weights = np.where(allowed, np.exp(-SHARP * np.maximum(above, 0)), 0)
    return _shrink_weights(weights / weights.sum(), allowed, len(evidence.actual))


def _standard_errors_above(evidence: Evidence, allowed: NDArray[np.bool_]) -> Doubles:
    """Return how far each member's loss lies above the least allowed one, in standard errors over series, (M,)."""
    _, series = np.unique(evidence.series, return_inverse=True)
    losses = np.stack(
        [np.bincount(series, evidence.pinball(q) * evidence.weight) for q in evidence.quantiles]
    )  # (M, series)
    best = int(np.where(allowed, losses.sum(1), np.inf).argmin())
    above = losses - losses[best]
    error = np.sqrt(losses.shape[1]) * above.std(1)
    surplus = np.maximum(above.sum(1), 0)
    apart = np.divide(surplus, error, out=np.where(surplus > 0, np.inf, 0.0), where=error > 0)
    return np.where(allowed, apart, np.inf)


Rule = Callable[[Evidence, NDArray[np.bool_]], Doubles]


def both(evidence: Evidence, allowed: NDArray[np.bool_]) -> Doubles:
    """Return the mean of the weights by forward selection and by each member's own loss, (M,)."""
    return (select(evidence, allowed) + exponential(evidence, allowed)) / 2


def better_rule(evidence: Evidence, allowed: NDArray[np.bool_]) -> Rule:
    """Return the rule for weights: `both` where forward selection wins in each window, else `exponential`.

    Forward selection is made on the other windows. With a single window the rule is `exponential`, which relies less on it.
    """
    if len(np.unique(evidence.fold)) < 2:
        return exponential
    evidence = _sample(evidence)
    for fold in validation_folds(evidence):
        chosen, validated = evidence.select(~fold), evidence.select(fold)
        selected, plain = (
            _loss(validated, Blend(rule(chosen, allowed), {}, False))
            for rule in (select, exponential)
        )
        if selected > (1 - GAIN) * plain:
            return exponential
    return both


def validation_folds(evidence: Evidence) -> list[NDArray[np.bool_]]:
    """Return masks of rows for cross-validation: one per window, or two halves of the series of a single window."""
    number = evidence.fold if len(np.unique(evidence.fold)) > 1 else evidence.series % 2
    kinds = np.unique(number)
    return [number == kind for kind in kinds] if len(kinds) > 1 else []


def _sample(evidence: Evidence) -> Evidence:
    """Sample whole series and folds, spread over the panel, if all would take long."""
    count = len(evidence.actual)
    if evidence.metric != "spec" and count <= MOST:
        return evidence
    cells = np.unique(evidence.cell)
    room = SPEC if evidence.metric == "spec" else max(1, MOST * len(cells) // max(1, count))
    return evidence.select(np.isin(evidence.cell, cells[:: max(1, len(cells) // room)]))


def _shrink_weights(weights: Doubles, allowed: NDArray[np.bool_], count: int) -> Doubles:
    """Shrink weights towards equal ones where `count` values are few, and drop the smallest."""
    even = allowed / allowed.sum()
    weights = (count * weights + EVEN * even) / (count + EVEN)
    weights = np.where(weights < LEAST, 0, weights)
    return np.asarray(weights / weights.sum())


def _by_group(
    evidence: Evidence, allowed: NDArray[np.bool_], shared: Doubles, rule: Rule
) -> dict[int, Doubles]:
    """Return the weights of each class with enough series, shrunk towards the shared ones."""
    by_group = {}
    for code in np.unique(evidence.group):
        in_group = evidence.group == code
        count = len(np.unique(evidence.series[in_group]))
        if count >= FEWEST_SERIES:
            weights = rule(evidence.select(in_group), allowed)
            by_group[int(code)] = (count * weights + SHARED * shared) / (count + SHARED)
    return by_group


def _gain(evidence: Evidence, allowed: NDArray[np.bool_], rule: Rule) -> float:
    """Return the share by which weights by class lower the loss of rows they were not chosen on."""
    plain = refined = 0.0
    for fold in validation_folds(evidence):
        chosen, validated = evidence.select(~fold), evidence.select(fold)
        shared = rule(chosen, allowed)
        groups = _by_group(chosen, allowed, shared, rule)
        if not groups:
            return 0.0
        plain += _loss(validated, Blend(shared, {}, False))
        refined += _loss(validated, Blend(shared, groups, False))
    return 1 - refined / plain if plain else 0.0


def _loss(evidence: Evidence, blend: Blend) -> float:
    weights = blend.weights(evidence.group, evidence.series)
    blended = blend.combine(evidence.quantiles, weights, evidence.levels)
    return evidence.loss(blended, blend.mean(evidence.means, weights))


def mixture(quantiles: Floats, weights: Doubles, levels: Sequence[float]) -> Floats:
    """Return quantiles (R, Q) of the mixture of M distributions, known by their quantiles (M, R, Q).

    Each quantile stands for the probability nearest its level; between the pooled points the
    distribution is linear.
    """
    at = np.array(levels)
    points = quantiles.transpose(1, 0, 2).reshape(quantiles.shape[1], -1)  # (R, M Q)
    mass = (weights[:, :, None] * masses(levels)).reshape(points.shape)
    order = np.argsort(points, axis=1, kind="stable")
    points = np.take_along_axis(points, order, 1)
    mass = np.take_along_axis(mass, order, 1)
    middle = np.cumsum(mass, 1) - mass / 2  # probability at each point
    mixed = np.empty((len(points), len(at)), np.float32)
    for q, level in enumerate(at):
        right = np.clip((middle < level).sum(1), 1, points.shape[1] - 1)[:, None]
        low, high = (np.take_along_axis(middle, right - k, 1) for k in (1, 0))
        left_value, right_value = (np.take_along_axis(points, right - k, 1) for k in (1, 0))
        share = np.clip((level - low) / np.maximum(high - low, 1e-12), 0, 1)
        mixed[:, q] = (left_value + share * (right_value - left_value))[:, 0]
    return mixed


def masses(levels: Sequence[float]) -> Doubles:
    """Return the probability nearest each level, (Q,), 1 in sum."""
    at = np.array(levels)
    return np.diff(np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]]))
