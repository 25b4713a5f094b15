"""Whole synthetic series: a frequency, a mean that moves, covariates that move it, and demand around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from demandcast.synthetic.parts import (
    Generator,
    chance,
    coloured,
    flags,
    gamma,
    levels,
    log_uniform,
    normal,
    occurrences,
    poisson,
    prices,
    pulses,
    season,
    standard,
    trend,
    uniform,
    walk,
    weather,
)  # fmt: skip

COVARIATES = 3
YEARS = {24: 8766.0, 48: 17532.0, 96: 35064.0, 7: 365.0, 5: 261.0, 52: 52.0, 12: 12.0, 4: 4.0}
# steps in a year, by those in a short season
# steps in a short and a long season, share of the series, fewest and most steps of history
GRIDS = (
    (24, 168, 0.17, 60, 2048),
    (48, 336, 0.03, 96, 2048),
    (96, 672, 0.01, 192, 2048),
    (7, 364, 0.27, 10, 1500),
    (5, 260, 0.03, 10, 1500),
    (52, 0, 0.17, 8, 1000),
    (12, 0, 0.23, 8, 400),
    (4, 0, 0.05, 6, 120),
    (1, 0, 0.04, 6, 512),
)


@dataclass(frozen=True)
class Demand:
    """A batch of series.

    Attributes:
        target: (batch, steps); NaN where nothing was observed.
        known: Covariates known ahead, (batch, steps, covariates); NaN where a series has fewer.
        periods: Steps in its short and long season as a calendar would tell, (batch, 2), int64; 0 for none.
        history: Steps that a history of this frequency has, (batch,), int64.
    """

    target: Tensor
    known: Tensor
    periods: Tensor
    history: Tensor


def draw(g: Generator, batch: int, steps: int, *, horizon: int, covariates: bool = True) -> Demand:
    """Series of `steps` steps, the last `horizon` of them to be forecast.

    Args:
        g: Where all chance comes from.
        batch: How many series.
        steps: Steps of each; those before a series' own history are there too, and may be masked.
        horizon: Steps at the end that histories do not reach into; launches happen before.
        covariates: Whether some series have covariates known ahead; else `known` has none.
    """
    periods, history = _grids(g, batch, steps - horizon)
    short, long = periods[:, :1], periods[:, 1:]
    begin = torch.floor(uniform(g, batch, 0, 1) * 10_000)
    hidden = chance(g, batch, 0.1) & (short <= 12)  # a season that no calendar tells of
    true_short = torch.where(hidden, log_uniform(g, batch, 4, 40).floor(), short.float())
    true_short = torch.where(true_short == 1, 0.0, true_short)
    moved, rate = _mean(g, batch, steps, true_short, long.float(), begin)
    known, effect, shut = _covariates(
        g, batch, steps, short.float(), long.float(), begin, covariates
    )
    grown = _growth(g, batch, steps, short)
    daily = ((short < 24) | (short == 52)).squeeze(1)
    year = _year(short)
    target = _observe(g, moved, rate, effect, shut, grown, horizon, daily, year)
    target = _damage(g, target, horizon)
    # a calendar tells most periods; some series have none of them
    told = periods * ~chance(g, batch, 0.08)
    return Demand(target, known, told, history)


def _grids(g: Generator, batch: int, most: int) -> tuple[Tensor, Tensor]:
    table = torch.tensor(list(GRIDS))
    kind = torch.multinomial(table[:, 2], batch, replacement=True, generator=g)
    row = table[kind]
    low, high = row[:, 3:4].clamp(max=most), row[:, 4:5].clamp(max=most)
    u = torch.rand(batch, 1, generator=g)
    history = (low.log() + u.sqrt() * (high / low).log()).exp()  # the longer half more often
    brief = chance(g, batch, 0.06)
    history = torch.where(brief, 1 + (u * 12).floor(), history.floor())
    return row[:, :2].long(), history.long().squeeze(1).clamp(1, most)


def _mean(
    g: Generator, batch: int, steps: int, short: Tensor, long: Tensor, begin: Tensor
) -> tuple[Tensor, Tensor]:
    """What moves the level, as a sum without a unit, and its noise: (batch, steps), (batch, 1)."""
    t = chance(g, batch, 0.5) * log_uniform(g, batch, 0.1, 4) * trend(g, batch, steps)
    c = chance(g, batch, 0.5) * log_uniform(g, batch, 0.1, 3) * coloured(g, batch, steps)
    pace = log_uniform(g, batch, 0.006, 0.5)
    w = chance(g, batch, 0.65) * pace * walk(g, batch, steps)
    j = chance(g, batch, 0.2) * log_uniform(g, batch, 0.3, 3) * levels(g, batch, steps, 0.01)
    s1 = (
        chance(g, batch, 0.85)
        * log_uniform(g, batch, 0.3, 5)
        * season(g, batch, steps, short, begin)
    )
    s2 = season(g, batch, steps, long, begin)
    s2 = chance(g, batch, 0.7) * log_uniform(g, batch, 0.1, 2) * s2
    # hours of a weekend are unlike those of a week: the short season goes by the long one's days
    days = season(g, batch, steps, long, begin) > 0.6
    other = log_uniform(g, batch, 0.2, 3) * season(g, batch, steps, short, begin)
    s1 = torch.where(days & chance(g, batch, 0.4) & (long > 0), other, s1)
    lasting = short.clamp(min=4) * log_uniform(g, batch, 0.2, 5)
    days_apart = chance(g, batch, 0.5) * log_uniform(g, batch, 0.05, 1.2)
    c = c + days_apart * weather(g, batch, steps, lasting)
    c = c + chance(g, batch, 0.5) * log_uniform(g, batch, 0.2, 2) * _warmth(
        g, batch, steps, short, begin
    )
    # hours are alike from day to day: what wanders is small beside them
    fine = short >= 24
    beside = torch.where(fine, log_uniform(g, batch, 0.1, 1), torch.ones(batch, 1))
    s1 = torch.where(fine & (s1.abs().amax(1, keepdim=True) == 0), other, s1)
    clear = torch.where(fine, chance(g, batch, 0.85), chance(g, batch, 0.3))
    rate = torch.where(clear, log_uniform(g, batch, 0.02, 0.4), log_uniform(g, batch, 0.05, 1.2))
    rate = rate * torch.where(fine, 0.6, 1.0)
    return beside * (t + c + w + j + s2) + s1, rate


def _year(short: Tensor) -> Tensor:
    """Steps in a year, (batch, 1), by those in a short season, (batch, 1)."""
    return torch.tensor([YEARS.get(int(p), 12.0) for p in short[:, 0]])[:, None]


def _warmth(g: Generator, batch: int, steps: int, short: Tensor, begin: Tensor) -> Tensor:
    """What heating and cooling ask of the hour, (batch, steps): bent in a warmth that no column tells.

    The year, the hour and a weather of some days add up; below one point and above another, demand rises.
    0 where a season is shorter than a day of hours.
    """
    year = _year(short)
    t = torch.arange(steps)[None] + begin

    def turn(period: Tensor) -> Tensor:
        return torch.cos(2 * torch.pi * (t / period + uniform(g, batch, 0, 1)))

    lasting = short.clamp(min=4) * log_uniform(g, batch, 0.7, 6)
    warmth = turn(year) + uniform(g, batch, 0.2, 0.9) * turn(short.clamp(min=4))
    warmth = warmth + uniform(g, batch, 0.2, 1) * weather(g, batch, steps, lasting)
    above = (warmth - uniform(g, batch, -0.5, 1.5)).clamp(min=0) * chance(g, batch, 0.7)
    below = (uniform(g, batch, -1.5, 0.5) - warmth).clamp(min=0) * chance(g, batch, 0.7)
    return (above + below) * (short >= 24)


def _growth(g: Generator, batch: int, steps: int, short: Tensor) -> Tensor:
    """A third of the series grow or shrink by so many percent a year, (batch, steps), 1 in the middle."""
    years = _year(short)
    rate = 0.15 * normal(g, batch, 1) * chance(g, batch, 0.35)
    t = (torch.arange(steps)[None] - steps / 2) / years
    straight = chance(g, batch, 0.4)
    return torch.where(straight, (1 + rate * t).clamp(0.2, 5), (rate * t).clamp(-2, 2).exp())


def _covariates(
    g: Generator, batch: int, steps: int, short: Tensor, long: Tensor, begin: Tensor, wanted: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Covariates, their effect on the mean (in its own units) and where all is shut."""
    effect = torch.zeros(batch, steps)
    shut = torch.zeros(batch, steps, dtype=torch.bool)
    year = torch.where(long > 0, long, short)
    columns = []
    for place in range(COVARIATES):
        if not wanted:
            # events that no column tells of
            hidden = flags(g, batch, steps, year, begin) * chance(g, batch, 0.1 / (place + 1))
            effect = effect + hidden * normal(g, batch, 1)
            continue
        kind = torch.rand(batch, 1, generator=g)
        flag = flags(g, batch, steps, year, begin)
        price = prices(g, batch, steps)
        drift = standard(coloured(g, batch, steps) + season(g, batch, steps, year, begin))
        lasting = standard(walk(g, batch, steps))  # of no use but to be taken for a trend
        column = torch.where(kind < 0.82, price, torch.where(kind < 0.92, drift, lasting))
        column = torch.where(kind < 0.6, flag, column)
        matters = chance(g, batch, 0.8) & (kind < 0.6) | chance(g, batch, 0.55) & (kind < 0.92)
        size = log_uniform(g, batch, 0.15, 4)
        sign = torch.where(chance(g, batch, 0.8), 1.0, -1.0)
        gain = torch.where(kind < 0.82, -size * 3, normal(g, batch, 1))
        gain = torch.where(kind < 0.6, size * sign, gain)
        # each time a little different, and stronger in some seasons
        varied = 1 + 0.25 * normal(g, batch, steps) * chance(g, batch, 0.3)
        part = column * gain * varied
        part = torch.where(
            chance(g, batch, 0.15),
            part * (1 + season(g, batch, steps, short, begin)).clamp(0, 3),
            part,
        )
        closing = matters & (kind < 0.12) & (flag.mean(1, keepdim=True) < 0.4)
        shut |= closing & (flag > 0)
        column = torch.where(closing & chance(g, batch, 0.7), 1 - flag, column)  # open, not closed
        effect = effect + torch.where(closing, 0.0, part * matters)
        there = chance(g, batch, 0.75 - 0.2 * place)
        columns.append(torch.where(there, column, torch.nan))
    if wanted:  # a price, its discount and what is left of it
        tied = chance(g, batch, 0.1)
        columns[2] = torch.where(tied, columns[0] - columns[1], columns[2])
    known = torch.stack(columns, -1) if wanted else torch.zeros(batch, steps, 0)
    return known, effect, shut


def _observe(
    g: Generator,
    moved: Tensor,
    rate: Tensor,
    effect: Tensor,
    shut: Tensor,
    grown_by: Tensor,
    horizon: int,
    daily: Tensor,
    year: Tensor,
) -> Tensor:
    """Demand around the mean: measured, counted, or far apart; in whatever unit."""
    batch, steps = moved.shape
    total = moved + effect
    heavy = 1 + chance(g, batch, 0.25) * normal(g, batch, steps).abs() * log_uniform(
        g, batch, 0.2, 2
    )
    unrest = 1 + chance(g, batch, 0.15) * coloured(g, batch, steps).clamp(-0.9, 3)
    spikes = pulses(g, batch, steps, 0.03) * chance(g, batch, 0.25) * log_uniform(g, batch, 0.5, 5)
    linked = chance(g, batch, 0.4) * uniform(g, batch, 0.2, 1)  # how much of an error lasts
    white = normal(g, batch, steps) * (1 - linked.square()).sqrt()
    noise = (white + linked * coloured(g, batch, steps)) * heavy * unrest * rate + spikes
    # by ratio (most demand) or by sum
    deviation = total.std(1, keepdim=True).clamp(min=0.3)
    swing = torch.minimum(log_uniform(g, batch, 0.05, 0.7), 1.5 / deviation)
    ratio = chance(g, batch, 0.6)
    mean = torch.where(
        ratio,
        (total * swing).clamp(-6, 4).exp(),
        1 + total * swing * 0.7,
    )  # about 1
    silent = chance(g, batch, 0.85) | ratio
    mean = torch.where(silent, mean.clamp(min=0), mean)
    mean = mean * grown_by
    # ends and beginnings
    t = torch.arange(steps)[None]
    dies = uniform(g, batch, 0.2, 1.05) * steps
    fading = torch.exp(-((t - dies).clamp(min=0)) / log_uniform(g, batch, 0.5, steps / 4))
    mean = torch.where(chance(g, batch, 0.04), mean * fading, mean)
    born = uniform(g, batch, 0, 0.95) * (steps - horizon)
    grown = (1 - torch.exp(-((t - born).clamp(min=0)) / log_uniform(g, batch, 0.3, 60))) * (
        t >= born
    )
    mean = torch.where(chance(g, batch, 0.06), mean * grown, mean)
    mean = torch.where(shut, 0.0, mean)
    # measured
    multiplied = mean * (1 + swing * noise).clamp(min=0.0, max=50)
    offset = torch.where(silent, 0.0, log_uniform(g, batch, 0.1, 30) * chance(g, batch, 0.5))
    added = mean + swing * noise + offset
    added = torch.where(silent, added.clamp(min=0), added)
    measured = torch.where(chance(g, batch, 0.6) | shut, multiplied, added)
    measured = measured * log_uniform(g, batch, 0.01, 1e5)
    # counted, half of all: negative binomial around a mean that may be small
    kind = torch.rand(batch, generator=g)
    kind = torch.where(daily, kind, 0.3 + 0.7 * kind)  # counts by the hour are rarer
    counted, lumpy = kind < 0.36, (kind >= 0.36) & (kind < 0.47)
    out = measured
    index = counted.nonzero().squeeze(1)
    if len(index):
        n = len(index)
        part = mean[index].clamp(min=0, max=60)
        part = _calm(g, part / part.mean(1, keepdim=True).clamp(min=1e-3))
        part = part * _life(g, steps, year[index])
        slow = chance(g, n, 0.4)
        part = part * torch.where(slow, log_uniform(g, n, 0.05, 4), log_uniform(g, n, 0.03, 200))
        shape = log_uniform(g, n, 0.25, 60).expand(-1, steps)
        over = torch.where(chance(g, n, 0.75), gamma(g, shape) / shape, torch.ones_like(part))
        counts = poisson(g, part * over)
        lots = torch.where(chance(g, n, 0.08), (log_uniform(g, n, 2, 24)).round(), torch.ones(n, 1))
        out = out.index_copy(0, index, counts * lots)
    index = lumpy.nonzero().squeeze(1)
    if len(index):
        n = len(index)
        hits = occurrences(g, n, steps, log_uniform(g, n, 1.05, 30))
        part = mean[index].clamp(min=0, max=30)
        part = _calm(g, part / part.mean(1, keepdim=True).clamp(min=1e-3))
        part = part * _life(g, steps, year[index])
        thin = torch.rand(n, steps, generator=g) < part.clamp(max=1)
        spread = log_uniform(g, n, 0.05, 1.2)
        usual = torch.where(chance(g, n, 0.6), log_uniform(g, n, 0.7, 5), log_uniform(g, n, 1, 100))
        sizes = (normal(g, n, steps) * spread).exp() * usual
        sizes = torch.where(chance(g, n, 0.3), torch.ones_like(sizes), sizes)
        sizes = torch.where(chance(g, n, 0.8), sizes.round().clamp(min=1), sizes)
        out = out.index_copy(0, index, sizes * (hits & thin))
    # two series that add up
    mixed = chance(g, batch, 0.05) & ~(counted | lumpy)[:, None]
    size = out.abs().mean(1, keepdim=True).clamp(min=1e-9)
    weight = uniform(g, batch, 0.2, 0.8)
    blend = (out / size) * weight + (out / size).roll(1, 0) * (1 - weight)
    out = torch.where(mixed, blend * size, out)
    # rounded
    digits = torch.where(chance(g, batch, 0.5), size / log_uniform(g, batch, 3, 1000), size * 0)
    unit = torch.where(chance(g, batch, 0.5), torch.ones_like(size), digits)
    unit = torch.where(unit < size * 0.5, unit, digits)
    whole = (unit > 0) & ~(counted | lumpy)[:, None]
    return torch.where(whole, (out / unit.clamp(min=1e-12)).round() * unit, out)


def _calm(g: Generator, part: Tensor) -> Tensor:
    """What is sold seldom moves less than what is sold often, for two of three series."""
    power = torch.where(
        chance(g, len(part), 0.65), uniform(g, len(part), 0, 1), torch.ones(len(part), 1)
    )
    return torch.where(part > 0, part.clamp(min=1e-6) ** power, 0.0)


def _life(g: Generator, steps: int, year: Tensor) -> Tensor:
    """How much an item is asked for in the course of its life, about 1 in the mean, (n, steps).

    Lives run by the calendar, not by the grid: what is wanted wanders over months or years by its logarithm
    (seven of ten), or rises to a peak and falls from it (one in seven).

    Args:
        g: Where all chance comes from.
        steps: Of each series.
        year: Steps in a year, (n, 1).
    """
    n = len(year)
    spread = chance(g, n, 0.7) * log_uniform(g, n, 0.1, 1)
    wander = weather(g, n, steps, (log_uniform(g, n, 0.12, 2) * year).clamp(min=1.5))
    life = (spread * wander - spread.square() / 2).exp()
    t = torch.arange(steps)[None]
    peak = uniform(g, n, -0.3, 1.2) * steps
    rise = (log_uniform(g, n, 0.1, 2) * year).clamp(min=1)
    fall = (log_uniform(g, n, 0.3, 4) * year).clamp(min=2)
    bump = torch.exp(-(peak - t).clamp(min=0) / rise - (t - peak).clamp(min=0) / fall)
    life = torch.where(chance(g, n, 0.15), life * bump.clamp(min=1e-3), life)
    return life / life.mean(1, keepdim=True).clamp(min=1e-6)


def _damage(g: Generator, target: Tensor, horizon: int) -> Tensor:
    """Steps missing one by one or in blocks; stock-outs that read as 0 or are not told."""
    batch, steps = target.shape
    gone = torch.rand(batch, steps, generator=g) < chance(g, batch, 0.12) * log_uniform(
        g, batch, 0.005, 0.4
    )
    t = torch.arange(steps)[None]
    begin = uniform(g, batch, 0, 1) * steps
    block = (t >= begin) & (t < begin + log_uniform(g, batch, 2, steps / 4))
    out = block & chance(g, batch, 0.1)
    empty = out & chance(g, batch, 0.2) & (t < steps - horizon)
    target = torch.where(empty, 0.0, target)
    return torch.where((gone | out) & ~empty, torch.nan, target)
