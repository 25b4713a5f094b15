"""What synthetic series are put together from: wandering, seasons, events, demands far apart.

Every part is drawn for a whole batch at once, (batch, steps), by running sums, table look-ups and Fourier
transforms; `g` is the caller's generator. Odds and sizes are drawn anew for each series.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Generator = torch.Generator


def uniform(g: Generator, batch: int, low: float, high: float) -> Tensor:
    """One number a series, (batch, 1)."""
    return torch.rand(batch, 1, generator=g) * (high - low) + low


def log_uniform(g: Generator, batch: int, low: float, high: float) -> Tensor:
    """One number a series, evenly spread by its logarithm, (batch, 1)."""
    return uniform(g, batch, math.log(low), math.log(high)).exp()


def chance(g: Generator, batch: int, p: float) -> Tensor:
    """Which series have something, (batch, 1), bool."""
    return torch.rand(batch, 1, generator=g) < p


def normal(g: Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g)


def standard(x: Tensor) -> Tensor:
    """Each series to mean 0 and deviation 1."""
    x = x - x.mean(1, keepdim=True)
    return x / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)


def coloured(g: Generator, batch: int, steps: int) -> Tensor:
    """Gaussian processes by their spectra: reverting, wandering, smooth, with a cycle or two.

    White noise through |H(f)| = (f^2 + f0^2)^(-b/2), times peaks at random frequencies; kernels of Matern
    type, random walks and their integrals, AR(2) cycles are all near one of these. Drawn over twice
    the steps, so that the end does not join the beginning.
    """
    n = 2 ** math.ceil(math.log2(2 * steps))
    f = torch.fft.rfftfreq(n)[None]  # (1, frequencies)
    noise = torch.fft.rfft(normal(g, batch, n))
    slope = uniform(g, batch, 0.4, 2.2)
    corner = log_uniform(g, batch, 0.5 / n, 0.1)
    size = (f.square() + corner.square()) ** (-slope / 2)
    peak = log_uniform(g, batch, 3.0 / n, 0.3)
    narrow = log_uniform(g, batch, 0.02, 0.5) * peak
    high = chance(g, batch, 0.3) * log_uniform(g, batch, 2, 30)
    size = size * (1 + high / (1 + ((f - peak) / narrow).square()))
    size[:, 0] = 0
    return standard(torch.fft.irfft(noise * size, n=n)[:, :steps])


def weather(g: Generator, batch: int, steps: int, lasting: Tensor) -> Tensor:
    """Rough noise that is forgotten over about `lasting` steps (Ornstein-Uhlenbeck), of unit deviation."""
    n = 2 ** math.ceil(math.log2(2 * steps))
    f = torch.fft.rfftfreq(n)[None]
    corner = 1 / (2 * math.pi * lasting.clamp(min=0.2, max=steps))
    size = (f.square() + corner.square()) ** -0.5
    return standard(torch.fft.irfft(torch.fft.rfft(normal(g, batch, n)) * size, n=n)[:, :steps])


def walk(g: Generator, batch: int, steps: int) -> Tensor:
    """Local levels and local trends: running sums of shocks, some rare and large. Unit shocks."""
    rare = torch.where(
        chance(g, batch, 0.3), log_uniform(g, batch, 0.01, 0.3), torch.ones(batch, 1)
    )
    shocks = normal(g, batch, steps) * (torch.rand(batch, steps, generator=g) < rare)
    x = shocks.cumsum(1)
    drifting = (normal(g, batch, steps) * 0.05).cumsum(1) * chance(g, batch, 0.3)
    return x + drifting.cumsum(1) * 0.2


def trend(g: Generator, batch: int, steps: int) -> Tensor:
    """Straight, damped or broken lines that rise or fall by about 1 over all steps."""
    t = torch.arange(steps)[None] / steps
    bend = uniform(g, batch, 0, 1)
    rate = log_uniform(g, batch, 1, 20)
    line = torch.where(chance(g, batch, 0.5), t, (1 - torch.exp(-rate * t)))
    change = (t - bend).clamp(min=0) * normal(g, batch, 1) * 2 * chance(g, batch, 0.4)
    return line * normal(g, batch, 1) + change


def levels(g: Generator, batch: int, steps: int, rate: float) -> Tensor:
    """Steps up and down at random times, of unit size."""
    often = log_uniform(g, batch, rate / 10, rate)
    return (normal(g, batch, steps) * (torch.rand(batch, steps, generator=g) < often)).cumsum(1)


def pulses(g: Generator, batch: int, steps: int, rate: float) -> Tensor:
    """Spikes at random times, of about unit size, most of them upwards."""
    often = log_uniform(g, batch, rate / 20, rate)
    sign = torch.where(chance(g, batch, 0.7), 1.0, -1.0)
    sizes = normal(g, batch, steps).abs() * sign
    return sizes * (torch.rand(batch, steps, generator=g) < often)


TABLE = 192


def season(g: Generator, batch: int, steps: int, period: Tensor, begin: Tensor) -> Tensor:
    """A pattern that repeats with each period, of unit deviation; 0 where the period is 0.

    Smooth (few harmonics), jagged (a value for each of up to 24 parts), or pointed; some patterns slowly
    become another one.
    """
    waves = normal(g, 2, batch, 24, 2)
    k = torch.arange(1, 25)
    decay = uniform(g, batch, 0.3, 2.5)
    amplitude = k ** (-decay) * (k <= log_uniform(g, batch, 1, 24).clamp(max=1e9))
    full = torch.zeros(2, batch, TABLE // 2 + 1, dtype=torch.complex64)
    full[:, :, 1:25] = torch.view_as_complex(waves.contiguous()) * amplitude
    smooth = torch.fft.irfft(full, n=TABLE)  # (2, batch, TABLE)
    parts = torch.minimum(period, torch.tensor(24.0)).clamp(min=1)  # (batch, 1)
    place = (torch.arange(TABLE)[None] / TABLE * parts).long()  # (batch, TABLE)
    jagged = normal(g, 2, batch, 24).gather(2, place.expand(2, -1, -1))
    mix = torch.where(chance(g, batch, 0.5), uniform(g, batch, 0, 1), torch.zeros(batch, 1))
    table = standard(smooth.flatten(0, 1)) * (1 - mix).repeat(2, 1) + jagged.flatten(
        0, 1
    ) * mix.repeat(2, 1)
    pointed = chance(g, batch, 0.2).repeat(2, 1)
    table = standard(torch.where(pointed, table.clamp(min=0.3, max=3).square(), table))
    few = (chance(g, batch, 0.08) & (parts >= 6)).repeat(
        2, 1
    )  # one or two phases unlike the others
    rare = (jagged.flatten(0, 1) - 1.3).clamp(min=0)
    table = standard(torch.where(few, rare, table)).view(2, batch, TABLE)
    phase = ((torch.arange(steps)[None] + begin) / period.clamp(min=1)) % 1  # (batch, steps)
    index = (phase * TABLE + 1e-3).long().clamp(max=TABLE - 1)
    now, later = table[0].gather(1, index), table[1].gather(1, index)
    turn = uniform(g, batch, 0, 2) * chance(g, batch, 0.3) * torch.arange(steps)[None] / steps
    often = weather(g, batch, steps, period.clamp(min=4) * log_uniform(g, batch, 0.3, 8))
    swell = 1 + chance(g, batch, 0.4) * log_uniform(g, batch, 0.03, 0.5) * often
    return (now * turn.cos() + later * turn.sin()) * swell * (period > 1)


def flags(g: Generator, batch: int, steps: int, period: Tensor, begin: Tensor) -> Tensor:
    """0 and 1: promotions in runs, events of a season, single days, shares of phases; (batch, steps)."""
    u = torch.rand(batch, steps, generator=g)
    length = log_uniform(g, batch, 1, 14)
    share = log_uniform(g, batch, 0.01, 0.5)
    change = u < 1 / length
    fresh = torch.rand(batch, steps, generator=g) < share
    last = torch.where(change, torch.arange(steps)[None], 0).cummax(1).values
    runs = fresh.gather(1, last)
    cycle = torch.where(period > 1, period, torch.full_like(period, 12.0)) * torch.where(
        chance(g, batch, 0.5), 1.0, 2.0
    )
    phase = ((torch.arange(steps)[None] + begin) / cycle) % 1
    where, wide = uniform(g, batch, 0, 1), log_uniform(g, batch, 0.005, 0.3)
    yearly = ((phase - where) % 1) < torch.maximum(wide, 1 / cycle)
    single = u < log_uniform(g, batch, 0.005, 0.1)
    kind = torch.rand(batch, 1, generator=g)
    return torch.where(kind < 0.5, runs, torch.where(kind < 0.8, yearly, single)).float()


def prices(g: Generator, batch: int, steps: int) -> Tensor:
    """Log prices against the usual one: seldom changed, with short discounts."""
    regular = levels(g, batch, steps, 0.03) * log_uniform(g, batch, 0.01, 0.15)
    u = torch.rand(batch, steps, generator=g)
    change = u < 1 / log_uniform(g, batch, 2, 20)
    last = torch.where(change, torch.arange(steps)[None], 0).cummax(1).values
    cut = (u.gather(1, last) * 1e4 % 1) < uniform(g, batch, 0, 0.3)
    deep = log_uniform(g, batch, 0.05, 0.5)
    return regular - cut * deep


def occurrences(g: Generator, batch: int, steps: int, interval: Tensor) -> Tensor:
    """Steps at which something is wanted, bool: gaps around `interval`, regular or in clusters.

    A renewal process whose gaps are gamma with shapes from .3 (clusters) to 20 (clockwork); 1 is Bernoulli's.
    """
    n = steps
    shape = torch.where(chance(g, batch, 0.4), log_uniform(g, batch, 0.3, 20), torch.ones(batch, 1))
    gaps = torch._standard_gamma(shape.expand(batch, n).contiguous(), generator=g) / shape
    times = (gaps * (interval - 0.5).clamp(min=0.5)).cumsum(1) + uniform(g, batch, -1, 0) * interval
    times = (times.long() + torch.arange(n)[None] * 0).clamp(-1, steps)
    hit = torch.zeros(batch, steps + 2)
    hit.scatter_(1, times + 1, 1.0)
    return hit[:, 1:-1] > 0


def gamma(g: Generator, shape: Tensor) -> Tensor:
    return torch._standard_gamma(shape.contiguous(), generator=g)


def poisson(g: Generator, rate: Tensor) -> Tensor:
    """Counts; above 1,000 by the normal distribution."""
    large = rate > 1000
    few = torch.poisson(torch.where(large, 0.0, rate).clamp(min=0), generator=g)
    many = (
        (rate + rate.clamp(min=0).sqrt() * torch.randn(rate.shape, generator=g))
        .round()
        .clamp(min=0)
    )
    return torch.where(large, many, few)
