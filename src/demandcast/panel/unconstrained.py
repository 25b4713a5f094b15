"""Estimate demand at steps where the item could not be bought; the sale there is a lower bound.

Demand is negative binomial around level x season x effects of the covariates known ahead. The level of a series is a
two-sided exponential average, the season one index for each phase, shrunk towards 1, and the effects are log-linear
and shared by all series. A sale of which the table says for what share of the step
the item was there is the demand of that share. Expectation-maximisation (Dempster, Laird and Rubin, 1977) takes each unavailable step at
its expectation given that demand was at least the sale, so neither steps nor high days are lost; Nahmias (1994)
estimates demand from lost sales in the same way for Normal demand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import DataError, way
from demandcast.panel.keys import free_name
from demandcast.panel.time_column import time_column
from demandcast.settings import check_levels

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
CELLS = 1 << 21  # numbers of one array that are held at once
ROUNDS = 20  # of expectation-maximisation, at most
CLOSE = 1e-3  # change of demand, as a share of it, that ends the rounds
HALVES = (
    8.0,
    16.0,
    32.0,
    64.0,
)  # steps, or twice to sixteen times the season: half-lives of the level's weights
NEWTON = 3  # steps of the effects of covariates
RIDGE = 1e-3  # share of a column's own curvature added to it
LIMIT = 3.0  # of the logarithm of an effect
LONGEST_SEASON = 31  # phases; longer seasons are followed by the level
LATTICE = 40.0  # counts with a larger mean are computed on a lattice on which the mean is this
NEGLIGIBLE = 1e-7  # share of a distribution that is left out
MAX_SPREAD = 20.0  # of the negative binomial: variance = mean + spread mean^2
LEAST = 1e-12


@dataclass(frozen=True)
class Estimate:
    """Estimated demand of one part of the panel, before sales are taken into account as lower bounds.

    Attributes:
        series: Rows of the panel, (n,).
        values: Sales, (n, T), right-aligned, NaN where not observed.
        unavailable: Steps at which the item could not be bought, or not all of the time, (n, T).
        share: For which part of such a step it could, (n, T); NaN where the sale is only a bound.
        mean: Mean of demand, (n, T).
        spread: Variance is mean + spread mean^2, (n,).
        whole: Series of whole numbers, (n,).
    """

    series: Ints
    values: Doubles
    unavailable: Bools
    share: Doubles
    mean: Doubles
    spread: Doubles
    whole: Bools

    def condition_on_sales(self, levels: NDArray[Any]) -> tuple[Doubles, Doubles]:
        """Return means (M,) and quantiles (M, Q) of demand at the M unavailable steps.

        Args:
            levels: Quantile levels, (Q,), or of each step, (M, Q).
        """
        rows = np.nonzero(self.unavailable)[0]
        mean, _, quantiles = condition_on_sale(
            self.mean[self.unavailable], self.spread[rows], self.bounds(), self.share[self.unavailable],
            np.broadcast_to(levels, (len(rows), np.shape(levels)[-1])), self.whole[rows],
        )  # fmt: skip
        return mean, quantiles

    def bounds(self) -> Doubles:
        """Return what was sold at the unavailable steps, (M,); 0 where that was not observed."""
        return _bounds(self.values)[self.unavailable]


def estimate_blocks(panel: Panel, *, known: bool = True) -> Iterator[Estimate]:
    """Yield estimates for the series that have unavailable steps, for several series of similar length at a time."""
    effects = _effects(panel) if known and panel.known_names else np.zeros(0)
    for part in _blocks(panel):
        yield _estimate(part, effects)


def unconstrained(panel: Panel, levels: Sequence[float] | float) -> pl.DataFrame:
    """Return the demand at unavailable steps; arguments and columns as `Panel.unconstrained`."""
    levels = check_levels(levels)
    _check(panel)
    rows = panel.history_rows()
    sales = panel.target[rows].astype(np.float64)
    unavailable = ~_available(panel)[rows]
    table = np.repeat(sales[:, None], 1 + len(levels), 1)
    first = np.cumsum(panel.lengths) - panel.lengths
    for part in estimate_blocks(panel):
        mean, quantiles = part.condition_on_sales(np.array(levels))
        at = _places(part, panel.lengths, first)
        table[at, 0], table[at, 1:] = mean, quantiles
    series = np.repeat(np.arange(panel.n_series), panel.lengths)
    steps = np.arange(len(rows)) - first[series] + panel.starts[series]
    schema = panel.schema
    observed = {
        schema.time: time_column(schema, steps, panel.time_zone, panel.time_dtype),
        schema.target: pl.Series(sales).fill_nan(None),
    }
    names = ("available", "mean", *(f"{level:g}" for level in levels))
    values = (pl.Series(~unavailable), *(pl.Series(column).fill_nan(None) for column in table.T))
    used_names = (*panel.keys.columns, *observed)
    estimated = {
        free_name(name, used_names, "demand"): column
        for name, column in zip(names, values, strict=True)
    }
    columns = pl.DataFrame(observed | estimated)
    return pl.concat([panel.keys[series.tolist()], columns], how="horizontal")


def impute(panel: Panel, seed: int, *, known: bool) -> Panel:
    """Replace sales at unavailable steps by a draw of demand, as `Panel.impute_demand` documents."""
    if panel.available is None or not panel.n_unavailable().any():
        return panel
    target = np.array(panel.target)
    draws = Draws.of(panel.keys, seed)
    for part in estimate_blocks(panel, known=known):
        length = part.values.shape[1]
        level = draws.select(part.series).at().uniform((len(part.series), length))[:, ::-1]
        _, demand = part.condition_on_sales(level[part.unavailable][:, None])
        i, t = np.nonzero(part.unavailable)
        end = panel.begins[part.series] + panel.lengths[part.series]
        target[end[i] - length + t] = demand[:, 0]
    return panel.with_demand(target)


def condition_on_sale(
    mean: Doubles, spread: Doubles, sold: Doubles, share: Doubles, levels: Doubles, is_count: Bools
) -> tuple[Doubles, Doubles, Doubles]:
    """Return mean, second moment (M,) and quantiles (M, Q) of demand given what was sold in a share of the step.

    A negative binomial is a Poisson law whose mean is drawn from a gamma law of shape 1 / spread. The item was there for
    the share a, evenly over the step, and sold y. So y was the demand of that part, and the demand of the rest is
    negative binomial again, with the mean (1 - a) mean (1 + spread y) / (1 + spread a mean) and the spread
    1 / (1 / spread + y). Where the share is NaN or 0, the sale is a lower bound.

    Args:
        mean: Means of demand, (M,).
        spread: Variances are mean + spread mean^2, (M,).
        sold: Sales, (M,), 0 or more.
        share: Shares of the step, (M,), 0 to 1; NaN where it is not known.
        levels: Of the distribution given the sale, (M, Q).
        is_count: Whether demand is whole numbers, (M,).
    """
    part = np.nan_to_num(share)
    is_known = part > 0
    rest = (1 - part) * mean * (1 + spread * sold) / (1 + spread * part * mean)
    first, second, quantiles = condition_on_bound(
        np.where(is_known, rest, mean), np.where(is_known, spread / (1 + spread * sold), spread),
        np.where(is_known, 0, sold), levels, is_count,
    )  # fmt: skip
    added = np.where(is_known, sold, 0)
    return (
        first + added,
        second + 2 * added * first + added**2,
        quantiles + added[:, None],
    )


def condition_on_bound(
    mean: Doubles, spread: Doubles, least: Doubles, levels: Doubles, is_count: Bools
) -> tuple[Doubles, Doubles, Doubles]:
    """Return mean, second moment (M,) and quantiles (M, Q) of demand that is known to be at least `least`.

    Whole numbers of a moderate mean are exact sums over the negative binomial. Others are computed as
    offset + step x count, with the same mean and variance.

    Args:
        mean: Means of demand, (M,).
        spread: Variances are mean + spread mean^2, (M,).
        least: Lower bounds, (M,), 0 or more.
        levels: Of the distribution given the bound, (M, Q).
        is_count: Whether demand is whole numbers, (M,).
    """
    mean = np.maximum(mean, LEAST)
    variance = mean + spread * mean**2
    exact = is_count & (mean <= LATTICE)
    wide = variance / mean**2 >= 1 / LATTICE
    step = np.where(exact, 1, np.where(wide, mean / LATTICE, np.sqrt(variance / LATTICE)))
    offset = np.where(exact | wide, 0, mean - LATTICE * step)
    count = np.where(exact, mean, LATTICE)
    size = np.where(
        exact, spread, np.where(wide, np.maximum(variance / mean**2 - 1 / LATTICE, 0), 0)
    )
    bound = np.maximum((least - offset) / step, 0)
    first, second, quantiles = _counts_from(count, size, np.ceil(bound - 1e-9), levels)
    mean_given = np.maximum(offset + step * first, least)
    square = offset**2 + 2 * offset * step * first + step**2 * second
    quantiles = np.maximum(offset[:, None] + step[:, None] * quantiles, least[:, None])
    rounded = is_count & ~exact
    quantiles[rounded] = np.rint(quantiles[rounded])
    return mean_given, np.maximum(square, mean_given**2), quantiles


def _counts_from(
    mean: Doubles, spread: Doubles, least: Doubles, levels: Doubles
) -> tuple[Doubles, Doubles, Doubles]:
    """Return mean, second moment (M,) and quantiles (M, Q) of negative binomial counts of at least `least`.

    Masses are relative to that of `least`, so the chance of reaching it, however small, does not matter.
    """
    totals, sums, squares = np.ones(len(mean)), least.copy(), least**2
    quantiles = np.repeat(least[:, None], levels.shape[1], 1)
    for active, k, mass in _masses(mean, spread, least):
        totals[active] += mass
        sums[active] += k * mass
        squares[active] += k**2 * mass
    if levels.shape[1]:
        reached = np.ones(len(mean))
        goals = levels * totals[:, None]
        quantiles += reached[:, None] < goals
        for active, _, mass in _masses(mean, spread, least):
            reached[active] += mass
            quantiles[active] += reached[active, None] < goals[active]
    return sums / totals, squares / totals, quantiles


def _masses(
    mean: Doubles, spread: Doubles, least: Doubles
) -> Iterator[tuple[Ints, Doubles, Doubles]]:
    """Yield the next count of each distribution and its probability relative to that of `least`, until little is left."""
    ratio, share = mean / (1 + spread * mean), spread * mean / (1 + spread * mean)
    active, k, mass, total = (
        np.arange(len(mean)),
        least.copy(),
        np.ones(len(mean)),
        np.ones(len(mean)),
    )
    while len(active):
        factor = (ratio[active] + share[active] * k) / (k + 1)
        k, mass = k + 1, mass * factor
        total = total + mass
        yield active, k, mass
        # what follows is less than a geometric series of the next factor
        ahead = (ratio[active] + share[active] * k) / (k + 1)
        tail = np.where(ahead < 1, mass * ahead / np.maximum(1 - ahead, LEAST), np.inf)
        more = tail > NEGLIGIBLE * total
        active, k, mass, total = active[more], k[more], mass[more], total[more]


def _check(panel: Panel) -> None:
    if panel.available is None:
        raise DataError(
            "the panel does not say when an item could not be bought, so sales are taken for demand; name the "
            "column that does, as",
            option="available", ways=[way(available="in_stock")],
        )  # fmt: skip


def _available(panel: Panel) -> Bools:
    return np.ones(len(panel.target), np.bool_) if panel.available is None else panel.available


def _bounds(values: Doubles) -> Doubles:
    """Return sales as lower bounds: 0 where they were not observed, or were returns."""
    return np.maximum(np.nan_to_num(values), 0)


def _places(part: Estimate, lengths: Ints, first: Ints) -> Ints:
    """Return the positions of the unavailable steps of a part among all steps of history, (M,)."""
    i, t = np.nonzero(part.unavailable)
    series = part.series[i]
    return np.asarray(first[series] + lengths[series] - part.values.shape[1] + t)


@dataclass(frozen=True)
class _Block:
    """Series of similar length, right-aligned: sales and availability, (n, T); covariates (n, T, F)."""

    series: Ints
    values: Doubles
    unavailable: Bools
    share: Doubles
    phase: Ints
    n_phases: int
    known: Doubles

    @property
    def observed(self) -> Bools:
        return ~np.isnan(self.values) & ~self.unavailable


def _blocks(panel: Panel) -> Iterator[_Block]:
    """Yield the series that have unavailable steps, ordered by length, as dense arrays."""
    remaining = np.flatnonzero(panel.n_unavailable())
    remaining = remaining[np.argsort(panel.lengths[remaining], kind="stable")]
    period = panel.freq.period
    n_phases = period if 1 < period <= LONGEST_SEASON else 1
    cells = max(1, CELLS // (1 + len(panel.known_names)))
    while len(remaining):
        fits = np.searchsorted(
            panel.lengths[remaining] * np.arange(1, len(remaining) + 1), cells, "right"
        )
        series, remaining = remaining[: max(1, fits)], remaining[max(1, fits) :]
        steps = int(panel.lengths[series].max())
        step = panel.lengths[series, None] - steps + np.arange(steps)
        inside = step >= 0
        row = np.where(inside, panel.begins[series, None] + step, 0)
        values = np.where(inside, panel.target[row].astype(np.float64), np.nan)
        yield _Block(
            series, values,
            inside & ~_available(panel)[row], _shares(panel, row, values), (panel.starts[series, None] + step) % n_phases, n_phases,
            np.where(inside[..., None], panel.known[row].astype(np.float64), np.nan),
        )  # fmt: skip


def _shares(panel: Panel, row: Ints, values: Doubles) -> Doubles:
    """Return the shares of steps at rows of the flat arrays; NaN where they or the sale are not known."""
    if panel.share is None:
        return np.full(row.shape, np.nan)
    return np.where(np.isnan(values), np.nan, panel.share[row].astype(np.float64))


def _estimate(block: _Block, effects: Doubles) -> Estimate:
    """Fit level, season and spread of each series of a block by expectation-maximisation."""
    observed, unavailable = block.observed, block.unavailable
    bounds = _bounds(block.values)
    is_count = (np.where(observed, block.values % 1, 0) == 0).all(1)
    factor = _effect_of(_centre_covariates(block), effects)
    demand = np.where(observed, bounds, 0)  # returns count as no demand
    none = np.asarray(~observed.any(1))  # nothing but bounds: start from them
    demand[none] = bounds[none]
    weight = (observed | (unavailable & none[:, None])).astype(np.float64)
    variance = np.zeros_like(demand)
    rows, _ = np.nonzero(unavailable)
    bound = bounds[unavailable]
    share = block.share[unavailable]
    tells = (bound > 0) | (share > 0)  # a bound of 0 tells nothing: the expectation is the mean
    series_of_step, no_levels = rows[tells], np.zeros((int(tells.sum()), 0))
    half = _choose_half_life(block, demand, weight, factor)
    changes = np.ones(len(demand), np.bool_)  # each series for itself, whatever its company
    for _ in range(ROUNDS):
        mean = _mean(block, demand, weight, factor, half)
        spread = _spread(demand, variance, weight, mean)
        first = mean[unavailable]
        second = first + (1 + spread[rows]) * first**2
        first[tells], second[tells], _ = condition_on_sale(
            first[tells],
            spread[series_of_step],
            bound[tells],
            share[tells],
            no_levels,
            is_count[series_of_step],
        )
        moved = np.bincount(rows, np.abs(first - demand[unavailable]), len(demand))
        demand[unavailable] = np.where(changes[rows], first, demand[unavailable])
        variance[unavailable] = np.where(changes[rows], second - first**2, variance[unavailable])
        weight[unavailable] = 1
        changes &= moved > CLOSE * np.bincount(rows, first, len(demand))
        if not changes.any():
            break
    mean = _mean(block, demand, weight, factor, half)
    return Estimate(block.series, block.values, unavailable, block.share, mean, spread, is_count)


def _choose_half_life(block: _Block, demand: Doubles, weight: Doubles, factor: Doubles) -> Doubles:
    """Return the half-life, (n, 1), with which the other steps predict each step best, by Poisson quasi-likelihood."""
    period = block.n_phases if block.n_phases > 1 else HALVES[0] / 2
    halves = [period * half / (HALVES[0] / 2) for half in HALVES]
    score = []
    for half in halves:
        level, season = _level_and_season(
            block, demand, weight, factor, np.full((len(demand), 1), half)
        )
        scale = factor * season * weight
        neighbours = _two_sided(scale, half) - scale  # each step weighs 1 in its own average
        left_out = (level * (neighbours + scale) - demand * weight) / np.maximum(neighbours, LEAST)
        mean = np.maximum(left_out * factor * season, LEAST)
        score.append((weight * (demand * np.log(mean) - mean)).sum(1))
    return np.asarray(np.array(halves)[np.argmax(score, 0)][:, None])


def _level_and_season(
    block: _Block, demand: Doubles, weight: Doubles, factor: Doubles, half: Doubles
) -> tuple[Doubles, Doubles]:
    """Return the level and the season's index at each step, (n, T) each; steps of weight 0 are not read."""
    season = np.ones((len(demand), block.n_phases))
    at = np.arange(len(demand))[:, None]
    for _ in range(2 if block.n_phases > 1 else 1):
        scale = factor * season[at, block.phase] * weight
        level = _two_sided(demand * weight, half) / np.maximum(_two_sided(scale, half), LEAST)
        if block.n_phases > 1:
            season = _season(block, demand * weight, level * factor * weight)
    return level, season[at, block.phase]


def _mean(
    block: _Block, demand: Doubles, weight: Doubles, factor: Doubles, half: Doubles
) -> Doubles:
    """Return level x season x effects, (n, T)."""
    level, season = _level_and_season(block, demand, weight, factor, half)
    return level * season * factor


def _season(block: _Block, demand: Doubles, expected: Doubles) -> Doubles:
    """Return an index of each phase, (n, phases): demand over what is expected without a season, shrunk towards 1.

    As in James and Stein's estimator, the share kept is what the variance between phases exceeds that of their
    noise by.
    """
    n, phases = len(demand), block.n_phases
    place = (np.arange(n)[:, None] * phases + block.phase).ravel()
    sums = [
        np.bincount(place, values.ravel(), minlength=n * phases).reshape(n, phases)
        for values in (demand, expected, (demand - expected) ** 2)
    ]
    total, base, square = sums
    index = np.where(base > 0, total / np.maximum(base, LEAST), 1.0)
    noise = (square / np.maximum(base, LEAST) ** 2).mean(1)
    shrinkage = np.clip(1 - noise / np.maximum(((index - 1) ** 2).mean(1), LEAST), 0, 1)
    return np.asarray(1 + shrinkage[:, None] * (index - 1))


def _two_sided(values: Doubles, half: Doubles | float) -> Doubles:
    """Return exponential sums to both sides of each step along axis 1, the step itself once."""
    keep = np.broadcast_to(0.5 ** (1 / np.asarray(half)), (len(values), 1))[:, 0]
    average = np.empty((values.shape[1], len(values)))
    by_step = np.ascontiguousarray(values.T)
    carried = np.zeros(len(values))
    for t in range(len(by_step)):
        carried = keep * carried + by_step[t]
        average[t] = carried
    carried = np.zeros(len(values))
    for t in range(len(by_step) - 1, -1, -1):
        average[t] += carried
        carried = keep * (carried + by_step[t])
    return np.asarray(average.T)


def _spread(demand: Doubles, variance: Doubles, weight: Doubles, mean: Doubles) -> Doubles:
    """Return the spread of each series by moments, (n,): (E[(y - mean)^2] - mean) / mean^2, at least 0."""
    excess = (weight * ((demand - mean) ** 2 + variance - mean)).sum(1)
    spread = excess / np.maximum((weight * mean**2).sum(1), LEAST)
    return np.asarray(np.clip(spread, 0, MAX_SPREAD))


def _centre_covariates(block: _Block) -> Doubles:
    """Return covariates less their mean over the observed steps of the series, (n, T, F); 0 where missing."""
    known = np.where(block.observed[..., None], block.known, np.nan)
    count = (~np.isnan(known)).sum(1)
    centre = np.nansum(known, 1) / np.maximum(count, 1)
    return np.asarray(np.nan_to_num(block.known - centre[:, None]))


def _effect_of(centred: Doubles, effects: Doubles) -> Doubles:
    """Return the factor that covariates put on demand, (n, T)."""
    if not len(effects):
        return np.ones(centred.shape[:2])
    return np.asarray(np.exp(np.clip(centred @ effects, -LIMIT, LIMIT)))


def _effects(panel: Panel) -> Doubles:
    """Return log-linear effects that all series share, (F,): Poisson regression on steps that could be sold."""
    effects = np.zeros(len(panel.known_names))
    for _ in range(NEWTON):
        slope, curve = np.zeros_like(effects), np.zeros((len(effects), len(effects)))
        for block in _blocks(panel):
            x = _centre_covariates(block)
            weight = block.observed.astype(np.float64)
            demand = np.where(block.observed, _bounds(block.values), 0)
            factor = _effect_of(x, effects)
            half = _choose_half_life(block, demand, weight, factor)
            mean = _mean(block, demand, weight, factor, half) * weight
            total = np.maximum(demand.sum(1), LEAST)[:, None]  # each series weighs alike
            x = x.reshape(-1, x.shape[-1])
            slope += x.T @ ((demand - mean) / total).ravel()
            curve += x.T @ (x * (mean / total).ravel()[:, None])
        ridge = RIDGE * np.diag(np.diag(curve)) + LEAST * np.eye(len(effects))
        effects = effects + np.linalg.lstsq(curve + ridge, slope, rcond=None)[0]
    return effects
