"""Draw synthetic series: a frequency, a mean that moves, covariates that affect it, and demand around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from demandcast.synthetic.components import (
    Generator,
    autocorrelated_noise,
    bernoulli,
    coloured_noise,
    demand_steps,
    event_flags,
    gamma,
    level_shifts,
    log_prices,
    log_uniform,
    normal,
    poisson,
    pulses,
    random_walk,
    seasonal_pattern,
    standardise,
    trend,
    uniform,
)  # fmt: skip

COVARIATES = 3
# steps in a short season -> steps in a year
STEPS_PER_YEAR = {24: 8766.0, 48: 17532.0, 96: 35064.0, 7: 365.0, 5: 261.0, 52: 52.0, 12: 12.0, 4: 4.0}  # fmt: skip
# steps in a short and a long season, share of the series, fewest and most steps of history
FREQUENCIES = (
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
    """A batch of synthetic series.

    Attributes:
        target: Values, (batch, steps); NaN where not observed.
        known: Covariates known ahead, (batch, steps, covariates); NaN for covariates that a series does not have.
        periods: Steps in the short and the long season as a calendar gives them, (batch, 2), int64; 0 for none.
        history: Length of a history of this frequency in steps, (batch,), int64.
    """

    target: Tensor
    known: Tensor
    periods: Tensor
    history: Tensor


def draw(g: Generator, batch: int, steps: int, *, horizon: int, covariates: bool = True) -> Demand:
    """Draw a batch of series of `steps` steps, the last `horizon` of which are to be forecast.

    Args:
        g: Source of all random numbers.
        batch: Number of series.
        steps: Steps of each series; steps before a series' own history are drawn too, and may be masked.
        horizon: Steps at the end that no history reaches into; products are launched before them.
        covariates: Whether some series have covariates known ahead; otherwise `known` has no columns.
    """
    periods, history = _draw_frequencies(g, batch, steps - horizon)
    short, long = periods[:, :1], periods[:, 1:]
    start = torch.floor(uniform(g, batch, 0, 1) * 10_000)
    irregular = bernoulli(g, batch, 0.1) & (short <= 12)  # a season that no calendar knows
    true_short = torch.where(irregular, log_uniform(g, batch, 4, 40).floor(), short.float())
    true_short = torch.where(true_short == 1, 0.0, true_short)
    level, noise_size = _draw_level(g, batch, steps, true_short, long.float(), start)
    known, effect, closed = _draw_covariates(
        g, batch, steps, short.float(), long.float(), start, covariates
    )
    growth = _draw_growth(g, batch, steps, short)
    slower_than_hourly = ((short < 24) | (short == 52)).squeeze(1)
    total = level + effect
    noise = _draw_noise(g, total, noise_size)
    target = _draw_demand(
        g, total, noise, closed, growth, horizon, slower_than_hourly, _steps_per_year(short)
    )
    target = _remove_values(g, target, horizon)
    # some series do not know their calendar
    given_periods = periods * ~bernoulli(g, batch, 0.08)
    return Demand(target, known, given_periods, history)


def _draw_frequencies(g: Generator, batch: int, max_history: int) -> tuple[Tensor, Tensor]:
    """Draw a row of `FREQUENCIES` for each series: periods (batch, 2) and steps of history (batch,)."""
    table = torch.tensor(list(FREQUENCIES))
    kind = torch.multinomial(table[:, 2], batch, replacement=True, generator=g)
    row = table[kind]
    fewest, most = row[:, 3:4].clamp(max=max_history), row[:, 4:5].clamp(max=max_history)
    u = torch.rand(batch, 1, generator=g)
    history = (fewest.log() + u.sqrt() * (most / fewest).log()).exp()  # long ones more often
    is_new = bernoulli(g, batch, 0.06)
    history = torch.where(is_new, 1 + (u * 12).floor(), history.floor())
    return row[:, :2].long(), history.long().squeeze(1).clamp(1, max_history)


def _draw_level(
    g: Generator, batch: int, steps: int, short: Tensor, long: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Draw the level without noise, as a sum without a unit, (batch, steps), and the size of the noise, (batch, 1)."""
    trends = bernoulli(g, batch, 0.5) * log_uniform(g, batch, 0.1, 4) * trend(g, batch, steps)
    smooth = (
        bernoulli(g, batch, 0.5) * log_uniform(g, batch, 0.1, 3) * coloured_noise(g, batch, steps)
    )
    walk_size = log_uniform(g, batch, 0.006, 0.5)
    walk = bernoulli(g, batch, 0.65) * walk_size * random_walk(g, batch, steps)
    shifts = (
        bernoulli(g, batch, 0.2)
        * log_uniform(g, batch, 0.3, 3)
        * level_shifts(g, batch, steps, 0.01)
    )
    short_season = (
        bernoulli(g, batch, 0.85)
        * log_uniform(g, batch, 0.3, 5)
        * seasonal_pattern(g, batch, steps, short, start)
    )
    long_season = seasonal_pattern(g, batch, steps, long, start)
    long_season = bernoulli(g, batch, 0.7) * log_uniform(g, batch, 0.1, 2) * long_season
    # the hours of a weekend differ from those of a working day: some days have another short season
    other_days = seasonal_pattern(g, batch, steps, long, start) > 0.6
    other = log_uniform(g, batch, 0.2, 3) * seasonal_pattern(g, batch, steps, short, start)
    short_season = torch.where(
        other_days & bernoulli(g, batch, 0.4) & (long > 0), other, short_season
    )
    memory = short.clamp(min=4) * log_uniform(g, batch, 0.2, 5)
    rough_size = bernoulli(g, batch, 0.5) * log_uniform(g, batch, 0.05, 1.2)
    smooth = smooth + rough_size * autocorrelated_noise(g, batch, steps, memory)
    smooth = smooth + bernoulli(g, batch, 0.5) * log_uniform(
        g, batch, 0.2, 2
    ) * _temperature_effect(g, batch, steps, short, start)
    # hours are similar from day to day: everything else is small beside their season
    hourly = short >= 24
    size = torch.where(hourly, log_uniform(g, batch, 0.1, 1), torch.ones(batch, 1))
    flat = short_season.abs().amax(1, keepdim=True) == 0
    short_season = torch.where(hourly & flat, other, short_season)
    quiet = torch.where(hourly, bernoulli(g, batch, 0.85), bernoulli(g, batch, 0.3))
    noise_size = torch.where(
        quiet, log_uniform(g, batch, 0.02, 0.4), log_uniform(g, batch, 0.05, 1.2)
    )
    noise_size = noise_size * torch.where(hourly, 0.6, 1.0)
    return size * (trends + smooth + walk + shifts + long_season) + short_season, noise_size


def _steps_per_year(short: Tensor) -> Tensor:
    """Return the steps in a year for the steps in a short season, (batch, 1) both."""
    return torch.tensor([STEPS_PER_YEAR.get(int(p), 12.0) for p in short[:, 0]])[:, None]


def _temperature_effect(
    g: Generator, batch: int, steps: int, short: Tensor, start: Tensor
) -> Tensor:
    """Draw the demand for heating and cooling, (batch, steps); 0 for frequencies below hourly.

    The year, the hour of the day and weather that lasts some days add up to a temperature that is not among the
    covariates. Demand rises below one temperature and above another.
    """
    year = _steps_per_year(short)
    t = torch.arange(steps)[None] + start

    def cycle(period: Tensor) -> Tensor:
        return torch.cos(2 * torch.pi * (t / period + uniform(g, batch, 0, 1)))

    memory = short.clamp(min=4) * log_uniform(g, batch, 0.7, 6)
    temperature = cycle(year) + uniform(g, batch, 0.2, 0.9) * cycle(short.clamp(min=4))
    temperature = temperature + uniform(g, batch, 0.2, 1) * autocorrelated_noise(
        g, batch, steps, memory
    )
    cooling = (temperature - uniform(g, batch, -0.5, 1.5)).clamp(min=0) * bernoulli(g, batch, 0.7)
    heating = (uniform(g, batch, -1.5, 0.5) - temperature).clamp(min=0) * bernoulli(g, batch, 0.7)
    return (cooling + heating) * (short >= 24)


def _draw_growth(g: Generator, batch: int, steps: int, short: Tensor) -> Tensor:
    """Draw growth factors, (batch, steps), 1 in the middle; a third of the series grow or shrink by a yearly rate."""
    rate = 0.15 * normal(g, batch, 1) * bernoulli(g, batch, 0.35)
    years = (torch.arange(steps)[None] - steps / 2) / _steps_per_year(short)
    linear = bernoulli(g, batch, 0.4)
    return torch.where(linear, (1 + rate * years).clamp(0.2, 5), (rate * years).clamp(-2, 2).exp())


def _draw_covariates(
    g: Generator,
    batch: int,
    steps: int,
    short: Tensor,
    long: Tensor,
    start: Tensor,
    with_columns: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw covariates (batch, steps, C), their effect on the level, and the steps at which sales are closed."""
    effect = torch.zeros(batch, steps)
    closed = torch.zeros(batch, steps, dtype=torch.bool)
    year = torch.where(long > 0, long, short)
    columns = []
    for place in range(COVARIATES):
        if not with_columns:  # events that no column shows
            events = event_flags(g, batch, steps, year, start)
            events = events * bernoulli(g, batch, 0.1 / (place + 1))
            effect = effect + events * normal(g, batch, 1)
            continue
        kind = torch.rand(batch, 1, generator=g)
        flag = event_flags(g, batch, steps, year, start)
        price = log_prices(g, batch, steps)
        seasonal = standardise(
            coloured_noise(g, batch, steps) + seasonal_pattern(g, batch, steps, year, start)
        )
        unrelated = standardise(random_walk(g, batch, steps))  # must not be taken for a trend
        column = torch.where(kind < 0.82, price, torch.where(kind < 0.92, seasonal, unrelated))
        column = torch.where(kind < 0.6, flag, column)
        matters = bernoulli(g, batch, 0.8) & (kind < 0.6) | bernoulli(g, batch, 0.55) & (
            kind < 0.92
        )
        size = log_uniform(g, batch, 0.15, 4)
        sign = torch.where(bernoulli(g, batch, 0.8), 1.0, -1.0)
        gain = torch.where(kind < 0.82, -size * 3, normal(g, batch, 1))
        gain = torch.where(kind < 0.6, size * sign, gain)
        # the effect varies from step to step, and with the season
        varied = 1 + 0.25 * normal(g, batch, steps) * bernoulli(g, batch, 0.3)
        own_effect = column * gain * varied
        own_effect = torch.where(
            bernoulli(g, batch, 0.15),
            own_effect * (1 + seasonal_pattern(g, batch, steps, short, start)).clamp(0, 3),
            own_effect,
        )
        closes = matters & (kind < 0.12) & (flag.mean(1, keepdim=True) < 0.4)
        closed |= closes & (flag > 0)
        # the column says "open" or "closed"
        column = torch.where(closes & bernoulli(g, batch, 0.7), 1 - flag, column)
        effect = effect + torch.where(closes, 0.0, own_effect * matters)
        has_column = bernoulli(g, batch, 0.75 - 0.2 * place)
        columns.append(torch.where(has_column, column, torch.nan))
    if not with_columns:
        return torch.zeros(batch, steps, 0), effect, closed
    net_price = bernoulli(g, batch, 0.1)  # price, discount and the difference of both
    columns[2] = torch.where(net_price, columns[0] - columns[1], columns[2])
    return torch.stack(columns, -1), effect, closed


def _draw_noise(g: Generator, total: Tensor, size: Tensor) -> Tensor:
    """Draw noise around the mean, (batch, steps): autocorrelated, heavy-tailed, of changing size, with spikes."""
    batch, steps = total.shape
    tails = 1 + bernoulli(g, batch, 0.25) * normal(g, batch, steps).abs() * log_uniform(
        g, batch, 0.2, 2
    )
    swelling = 1 + bernoulli(g, batch, 0.15) * coloured_noise(g, batch, steps).clamp(-0.9, 3)
    spikes = (
        pulses(g, batch, steps, 0.03) * bernoulli(g, batch, 0.25) * log_uniform(g, batch, 0.5, 5)
    )
    memory = bernoulli(g, batch, 0.4) * uniform(g, batch, 0.2, 1)  # share of an error that lasts
    white = normal(g, batch, steps) * (1 - memory.square()).sqrt()
    noise = white + memory * coloured_noise(g, batch, steps)
    return noise * tails * swelling * size + spikes


def _draw_demand(
    g: Generator,
    total: Tensor,
    noise: Tensor,
    closed: Tensor,
    growth: Tensor,
    horizon: int,
    slower_than_hourly: Tensor,
    year: Tensor,
) -> Tensor:
    """Draw demand around a mean, (batch, steps): measured amounts, counts, or lumpy demand, on any scale."""
    batch = len(total)
    # effects are ratios (for most series) or sums
    deviation = total.std(1, keepdim=True).clamp(min=0.3)
    swing = torch.minimum(log_uniform(g, batch, 0.05, 0.7), 1.5 / deviation)
    as_ratio = bernoulli(g, batch, 0.6)
    mean = torch.where(
        as_ratio,
        (total * swing).clamp(-6, 4).exp(),
        1 + total * swing * 0.7,
    )  # about 1
    non_negative = bernoulli(g, batch, 0.85) | as_ratio
    mean = torch.where(non_negative, mean.clamp(min=0), mean)
    mean = _launch_and_discontinue(g, mean * growth, horizon)
    mean = torch.where(closed, 0.0, mean)
    # measured amounts
    multiplied = mean * (1 + swing * noise).clamp(min=0.0, max=50)
    offset = torch.where(
        non_negative, 0.0, log_uniform(g, batch, 0.1, 30) * bernoulli(g, batch, 0.5)
    )
    added = mean + swing * noise + offset
    added = torch.where(non_negative, added.clamp(min=0), added)
    target = torch.where(bernoulli(g, batch, 0.6) | closed, multiplied, added)
    target = target * log_uniform(g, batch, 0.01, 1e5)
    # counts and lumpy demand, about half of all series; fewer of the hourly ones
    kind = torch.rand(batch, generator=g)
    kind = torch.where(slower_than_hourly, kind, 0.3 + 0.7 * kind)
    is_count, is_lumpy = kind < 0.36, (kind >= 0.36) & (kind < 0.47)
    for mask, draw_values in ((is_count, _draw_counts), (is_lumpy, _draw_lumpy)):
        index = mask.nonzero().squeeze(1)
        if len(index):
            target = target.index_copy(0, index, draw_values(g, mean[index], year[index]))
    measured = ~(is_count | is_lumpy)[:, None]
    return _round_values(g, *_add_neighbours(g, target, measured), measured)


def _launch_and_discontinue(g: Generator, mean: Tensor, horizon: int) -> Tensor:
    """Let the demand for some items fade out (4 %), and that of others begin within the steps before the horizon."""
    batch, steps = mean.shape
    t = torch.arange(steps)[None]
    last = uniform(g, batch, 0.2, 1.05) * steps
    fading = torch.exp(-((t - last).clamp(min=0)) / log_uniform(g, batch, 0.5, steps / 4))
    mean = torch.where(bernoulli(g, batch, 0.04), mean * fading, mean)
    first = uniform(g, batch, 0, 0.95) * (steps - horizon)
    growing = (1 - torch.exp(-((t - first).clamp(min=0)) / log_uniform(g, batch, 0.3, 60))) * (
        t >= first
    )
    return torch.where(bernoulli(g, batch, 0.06), mean * growing, mean)


def _draw_counts(g: Generator, mean: Tensor, year: Tensor) -> Tensor:
    """Draw negative binomial or Poisson counts around a mean that may be small, (n, steps)."""
    n, steps = mean.shape
    mean = mean.clamp(min=0, max=60)
    mean = _reduce_variation(g, mean / mean.mean(1, keepdim=True).clamp(min=1e-3))
    mean = mean * _draw_life_cycle(g, steps, year)
    slow = bernoulli(g, n, 0.4)
    mean = mean * torch.where(slow, log_uniform(g, n, 0.05, 4), log_uniform(g, n, 0.03, 200))
    shape = log_uniform(g, n, 0.25, 60).expand(-1, steps)
    overdispersion = torch.where(
        bernoulli(g, n, 0.75), gamma(g, shape) / shape, torch.ones_like(mean)
    )
    counts = poisson(g, mean * overdispersion)
    pack_size = torch.where(
        bernoulli(g, n, 0.08), (log_uniform(g, n, 2, 24)).round(), torch.ones(n, 1)
    )
    return counts * pack_size


def _draw_lumpy(g: Generator, mean: Tensor, year: Tensor) -> Tensor:
    """Draw demand of uneven sizes at steps far apart, (n, steps)."""
    n, steps = mean.shape
    has_demand = demand_steps(g, n, steps, log_uniform(g, n, 1.05, 30))
    mean = mean.clamp(min=0, max=30)
    mean = _reduce_variation(g, mean / mean.mean(1, keepdim=True).clamp(min=1e-3))
    mean = mean * _draw_life_cycle(g, steps, year)
    keeps_demand = torch.rand(n, steps, generator=g) < mean.clamp(max=1)
    spread = log_uniform(g, n, 0.05, 1.2)
    usual = torch.where(bernoulli(g, n, 0.6), log_uniform(g, n, 0.7, 5), log_uniform(g, n, 1, 100))
    sizes = (normal(g, n, steps) * spread).exp() * usual
    sizes = torch.where(bernoulli(g, n, 0.3), torch.ones_like(sizes), sizes)
    sizes = torch.where(bernoulli(g, n, 0.8), sizes.round().clamp(min=1), sizes)
    return sizes * (has_demand & keeps_demand)


def _add_neighbours(g: Generator, target: Tensor, measured: Tensor) -> tuple[Tensor, Tensor]:
    """Add to some measured series (5 %) the series before it; return the target and the mean size (batch, 1)."""
    batch = len(target)
    is_sum = bernoulli(g, batch, 0.05) & measured
    size = target.abs().mean(1, keepdim=True).clamp(min=1e-9)
    weight = uniform(g, batch, 0.2, 0.8)
    blend = (target / size) * weight + (target / size).roll(1, 0) * (1 - weight)
    return torch.where(is_sum, blend * size, target), size


def _round_values(g: Generator, target: Tensor, size: Tensor, measured: Tensor) -> Tensor:
    """Round some measured series to whole numbers or to another unit below half of their mean size."""
    batch = len(target)
    other_unit = torch.where(
        bernoulli(g, batch, 0.5), size / log_uniform(g, batch, 3, 1000), size * 0
    )
    unit = torch.where(bernoulli(g, batch, 0.5), torch.ones_like(size), other_unit)
    unit = torch.where(unit < size * 0.5, unit, other_unit)
    rounds = (unit > 0) & measured
    return torch.where(rounds, (target / unit.clamp(min=1e-12)).round() * unit, target)


def _reduce_variation(g: Generator, mean: Tensor) -> Tensor:
    """Draw a power in (0, 1) of the mean for two of three series: slow movers vary less than fast ones."""
    power = torch.where(
        bernoulli(g, len(mean), 0.65), uniform(g, len(mean), 0, 1), torch.ones(len(mean), 1)
    )
    return torch.where(mean > 0, mean.clamp(min=1e-6) ** power, 0.0)


def _draw_life_cycle(g: Generator, steps: int, year: Tensor) -> Tensor:
    """Draw the demand for an item over its life, with mean 1, (n, steps).

    The time scale is the calendar's, whatever the frequency. The logarithm of demand wanders over months or years
    (seven of ten series); one in seven rises to a peak and falls from it.

    Args:
        g: Source of all random numbers.
        steps: Steps of each series.
        year: Steps in a year, (n, 1).
    """
    n = len(year)
    spread = bernoulli(g, n, 0.7) * log_uniform(g, n, 0.1, 1)
    memory = (log_uniform(g, n, 0.12, 2) * year).clamp(min=1.5)
    wander = autocorrelated_noise(g, n, steps, memory)
    life = (spread * wander - spread.square() / 2).exp()
    t = torch.arange(steps)[None]
    peak = uniform(g, n, -0.3, 1.2) * steps
    rise = (log_uniform(g, n, 0.1, 2) * year).clamp(min=1)
    fall = (log_uniform(g, n, 0.3, 4) * year).clamp(min=2)
    bump = torch.exp(-(peak - t).clamp(min=0) / rise - (t - peak).clamp(min=0) / fall)
    life = torch.where(bernoulli(g, n, 0.15), life * bump.clamp(min=1e-3), life)
    return life / life.mean(1, keepdim=True).clamp(min=1e-6)


def _remove_values(g: Generator, target: Tensor, horizon: int) -> Tensor:
    """Set single steps and blocks of steps to NaN, and some blocks before the horizon to 0, as stock-outs do."""
    batch, steps = target.shape
    missing = torch.rand(batch, steps, generator=g) < bernoulli(g, batch, 0.12) * log_uniform(
        g, batch, 0.005, 0.4
    )
    t = torch.arange(steps)[None]
    first = uniform(g, batch, 0, 1) * steps
    block = (t >= first) & (t < first + log_uniform(g, batch, 2, steps / 4))
    block = block & bernoulli(g, batch, 0.1)
    reads_zero = block & bernoulli(g, batch, 0.2) & (t < steps - horizon)
    target = torch.where(reads_zero, 0.0, target)
    return torch.where((missing | block) & ~reads_zero, torch.nan, target)
