"""Weights of a blend: forward selection on quantile losses, shared or by class of demand.

Caruana et al., "Ensemble selection from libraries of models", ICML 2004: members are added one at a
time, with replacement, whichever lowers the loss of their average most. Quantiles are averaged level by
level (Vincent), which keeps the shape of the members; or the distributions are mixed, whose quantiles are
wider where members disagree. Both are measured, and so are weights by class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
ROUNDS = 25  # members added at most
SHARED = 200.0  # series' worth of the shared weights in those of a class
FEWEST = 40  # series from which a class has weights of its own
EVEN = 100.0  # values' worth of even weights in those chosen
LEAST = 0.01  # weights below are none
BLOCK = 20_000  # rows mixed at once
GAIN = 0.002  # of the loss, cross-fitted, from which a refinement is taken


@dataclass(frozen=True)
class Evidence:
    """Forecasts of M members in validation and what came, over all folds.

    Attributes:
        quantiles: (M, R, Q), R rows of series and fold times steps.
        actual: (R,); all observed.
        levels: (Q,).
        weight: What a row's loss counts, (R,); 1 for losses that are summed.
        scored: Which levels the loss is of, (Q,).
        group: Class of demand of each row, (R,).
        series: A number for the series of each row, (R,).
    """

    quantiles: Floats
    actual: Doubles
    levels: tuple[float, ...]
    weight: Doubles
    scored: NDArray[np.bool_]
    group: Ints
    series: Ints

    def loss(self, quantiles: Floats, rows: NDArray[np.bool_] | slice = slice(None)) -> float:
        """Weighted pinball loss of forecasts (R, Q), over some rows."""
        levels = np.array(self.levels, np.float32)[self.scored]
        error = self.actual[rows, None].astype(np.float32) - quantiles[..., self.scored]
        each = np.maximum(levels * error, (levels - 1) * error).sum(-1)
        return float((each * self.weight[rows]).sum())


@dataclass(frozen=True)
class Blend:
    """How members are put together.

    Attributes:
        shared: Weights of all series, (M,), of sum 1.
        by_group: Class of demand -> weights of its own.
        mixed: Whether distributions are mixed rather than quantiles averaged.
    """

    shared: Doubles
    by_group: dict[int, Doubles]
    mixed: bool

    def weights(self, group: Ints) -> Doubles:
        """Of series of these classes, (n, M)."""
        found = np.tile(self.shared, (len(group), 1))
        for code, own in self.by_group.items():
            found[group == code] = own
        return found

    def combine(self, quantiles: Floats, weights: Doubles, levels: Sequence[float]) -> Floats:
        """Quantiles (M, R, Q) of members with weights (R, M) as one, (R, Q)."""
        if self.mixed:
            cuts = range(0, len(weights), BLOCK)
            parts = [
                mixture(quantiles[:, i : i + BLOCK], weights[i : i + BLOCK], levels) for i in cuts
            ]
            return np.concatenate([np.zeros((0, len(levels)), np.float32), *parts])
        return np.asarray(np.einsum("mrq,rm->rq", quantiles, weights.astype(np.float32)))


def choose(evidence: Evidence, allowed: NDArray[np.bool_]) -> Blend:
    """The blend of least loss among the members allowed; refinements only where they cross-validate."""
    everywhere = np.ones(len(evidence.actual), np.bool_)
    shared = select(evidence, everywhere, allowed)
    groups = {}
    if _gain(evidence, allowed) > GAIN:
        groups = _by_group(evidence, everywhere, allowed, shared)
    blends = [Blend(shared, groups, how) for how in (False, True)]  # averaged, mixed
    weights = blends[0].weights(evidence.group)
    averaged, mixed = (
        evidence.loss(blend.combine(evidence.quantiles, weights, evidence.levels))
        for blend in blends
    )
    return blends[mixed < (1 - GAIN) * averaged]


def select(evidence: Evidence, rows: NDArray[np.bool_], allowed: NDArray[np.bool_]) -> Doubles:
    """Weights by forward selection on some rows, (M,).

    Few values tell little of who is best: then they are drawn towards the same for all.
    """
    members = np.flatnonzero(allowed)
    part = evidence.quantiles[:, rows]
    counts = np.zeros(len(allowed))
    total = np.zeros(part.shape[1:], np.float32)
    best, kept = np.inf, counts
    for size in range(1, ROUNDS + 1):
        losses = [evidence.loss((total + part[m]) / size, rows) for m in members]
        chosen = members[int(np.argmin(losses))]
        counts = counts.copy()
        counts[chosen] += 1
        total = total + part[chosen]
        if min(losses) < best:
            best, kept = min(losses), counts
    count = int(rows.sum())
    even = allowed / allowed.sum()
    weights = (count * kept / kept.sum() + EVEN * even) / (count + EVEN)
    weights = np.where(weights < LEAST, 0, weights)
    return np.asarray(weights / weights.sum())


def _by_group(
    evidence: Evidence,
    rows: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    shared: Doubles,
) -> dict[int, Doubles]:
    """Weights of each class with series enough, drawn towards the shared ones."""
    found = {}
    for code in np.unique(evidence.group):
        own = rows & (evidence.group == code)
        count = len(np.unique(evidence.series[own]))
        if count >= FEWEST:
            weights = select(evidence, own, allowed)
            found[int(code)] = (count * weights + SHARED * shared) / (count + SHARED)
    return found


def _gain(evidence: Evidence, allowed: NDArray[np.bool_]) -> float:
    """By how much weights by class lower the loss of series they were not chosen on, as a share."""
    half = evidence.series % 2 == 0
    plain = refined = 0.0
    for rows, others in ((half, ~half), (~half, half)):
        if not rows.any() or not others.any():
            return 0.0
        shared = select(evidence, rows, allowed)
        groups = _by_group(evidence, rows, allowed, shared)
        if not groups:
            return 0.0
        for blend in (Blend(shared, {}, False), Blend(shared, groups, False)):
            weights = blend.weights(evidence.group[others])
            part = evidence.quantiles[:, others]
            loss = evidence.loss(blend.combine(part, weights, evidence.levels), others)
            if blend.by_group:
                refined += loss
            else:
                plain += loss
    return 1 - refined / plain if plain else 0.0


def mixture(quantiles: Floats, weights: Doubles, levels: Sequence[float]) -> Floats:
    """Quantiles (R, Q) of the mixture of M distributions, known by their quantiles (M, R, Q).

    Each quantile stands for the probability nearest its level; between the pooled points the
    distribution is linear.
    """
    at = np.array(levels)
    edges = np.concatenate([[0.0], (at[1:] + at[:-1]) / 2, [1.0]])
    points = quantiles.transpose(1, 0, 2).reshape(quantiles.shape[1], -1)  # (R, M Q)
    mass = (weights[:, :, None] * np.diff(edges)).reshape(points.shape)
    order = np.argsort(points, axis=1, kind="stable")
    points = np.take_along_axis(points, order, 1)
    mass = np.take_along_axis(mass, order, 1)
    middle = np.cumsum(mass, 1) - mass / 2  # probability at each point
    found = np.empty((len(points), len(at)), np.float32)
    for q, level in enumerate(at):
        right = np.clip((middle < level).sum(1), 1, points.shape[1] - 1)[:, None]
        low, high = (np.take_along_axis(middle, right - k, 1) for k in (1, 0))
        left_value, right_value = (np.take_along_axis(points, right - k, 1) for k in (1, 0))
        share = np.clip((level - low) / np.maximum(high - low, 1e-12), 0, 1)
        found[:, q] = (left_value + share * (right_value - left_value))[:, 0]
    return found
