"""The components of synthetic series: noise, trends, seasons, events, prices, steps with demand.

Each function draws a component for a whole batch at once, (batch, steps), with running sums, table look-ups or Fourier
transforms. `g` is the source of all random numbers. Every series has its own probabilities and sizes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Generator = torch.Generator


def uniform(g: Generator, batch: int, low: float, high: float) -> Tensor:
    """Draw one uniform number a series, (batch, 1)."""
    return torch.rand(batch, 1, generator=g) * (high - low) + low


def log_uniform(g: Generator, batch: int, low: float, high: float) -> Tensor:
    """Draw one number a series whose logarithm is uniform, (batch, 1)."""
    return uniform(g, batch, math.log(low), math.log(high)).exp()


def bernoulli(g: Generator, batch: int, p: float) -> Tensor:
    """Draw one bool a series, true with probability p, (batch, 1)."""
    return torch.rand(batch, 1, generator=g) < p


def normal(g: Generator, *shape: int) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(*shape, generator=g)


def standardise(x: Tensor) -> Tensor:
    """Scale each series to mean 0 and standard deviation 1."""
    x = x - x.mean(1, keepdim=True)
    return x / x.square().mean(1, keepdim=True).sqrt().clamp(min=1e-6)


def coloured_noise(g: Generator, batch: int, steps: int) -> Tensor:
    """Draw Gaussian processes from their spectra, standardised: mean-reverting, wandering, smooth or cyclic.

    White noise is filtered with |H(f)| = (f^2 + f0^2)^(-b/2), times a peak at a random frequency. This approximates
    Matern kernels, random walks and their integrals, and AR(2) cycles. Twice the steps are drawn and half of them kept,
    so that the end is independent of the beginning.
    """
    n = 2 ** math.ceil(math.log2(2 * steps))
    f = torch.fft.rfftfreq(n)[None]  # (1, frequencies)
    noise = torch.fft.rfft(normal(g, batch, n))
    slope = uniform(g, batch, 0.4, 2.2)
    corner = log_uniform(g, batch, 0.5 / n, 0.1)
    gain = (f.square() + corner.square()) ** (-slope / 2)
    peak = log_uniform(g, batch, 3.0 / n, 0.3)
    width = log_uniform(g, batch, 0.02, 0.5) * peak
    height = bernoulli(g, batch, 0.3) * log_uniform(g, batch, 2, 30)
    gain = gain * (1 + height / (1 + ((f - peak) / width).square()))
    gain[:, 0] = 0
    return standardise(torch.fft.irfft(noise * gain, n=n)[:, :steps])


def autocorrelated_noise(g: Generator, batch: int, steps: int, memory: Tensor) -> Tensor:
    """Draw Ornstein-Uhlenbeck noise whose autocorrelation lasts about `memory` steps, standardised."""
    n = 2 ** math.ceil(math.log2(2 * steps))
    f = torch.fft.rfftfreq(n)[None]
    corner = 1 / (2 * math.pi * memory.clamp(min=0.2, max=steps))
    gain = (f.square() + corner.square()) ** -0.5
    return standardise(torch.fft.irfft(torch.fft.rfft(normal(g, batch, n)) * gain, n=n)[:, :steps])


def random_walk(g: Generator, batch: int, steps: int) -> Tensor:
    """Draw random walks with unit shocks, at every step or rarely; some have a slope that is a random walk too."""
    shock_rate = torch.where(
        bernoulli(g, batch, 0.3), log_uniform(g, batch, 0.01, 0.3), torch.ones(batch, 1)
    )
    shocks = normal(g, batch, steps) * (torch.rand(batch, steps, generator=g) < shock_rate)
    level = shocks.cumsum(1)
    slope = (normal(g, batch, steps) * 0.05).cumsum(1) * bernoulli(g, batch, 0.3)
    return level + slope.cumsum(1) * 0.2


def trend(g: Generator, batch: int, steps: int) -> Tensor:
    """Draw straight, damped or broken lines that rise or fall by about 1 over all steps."""
    t = torch.arange(steps)[None] / steps
    bend = uniform(g, batch, 0, 1)
    rate = log_uniform(g, batch, 1, 20)
    line = torch.where(bernoulli(g, batch, 0.5), t, (1 - torch.exp(-rate * t)))
    change = (t - bend).clamp(min=0) * normal(g, batch, 1) * 2 * bernoulli(g, batch, 0.4)
    return line * normal(g, batch, 1) + change


def level_shifts(g: Generator, batch: int, steps: int, rate: float) -> Tensor:
    """Draw levels that shift at random steps by standard normal sizes; `rate` is the largest share of shifts."""
    shift_rate = log_uniform(g, batch, rate / 10, rate)
    sizes = normal(g, batch, steps)
    return (sizes * (torch.rand(batch, steps, generator=g) < shift_rate)).cumsum(1)


def pulses(g: Generator, batch: int, steps: int, rate: float) -> Tensor:
    """Draw spikes at random steps, of about unit size, upwards for 70 % of the series."""
    spike_rate = log_uniform(g, batch, rate / 20, rate)
    sign = torch.where(bernoulli(g, batch, 0.7), 1.0, -1.0)
    sizes = normal(g, batch, steps).abs() * sign
    return sizes * (torch.rand(batch, steps, generator=g) < spike_rate)


PATTERN_SIZE = 192  # values that a seasonal pattern is tabulated at


def seasonal_pattern(g: Generator, batch: int, steps: int, period: Tensor, start: Tensor) -> Tensor:
    """Draw a seasonal pattern of unit standard deviation; 0 where the period is 0 or 1.

    Patterns are smooth (few harmonics), jagged (a value for each of up to 24 phases), or pointed. Some change slowly
    into another pattern, and some swell and shrink.

    Args:
        g: Source of all random numbers.
        batch: Number of series.
        steps: Steps of each series.
        period: Steps in one season, (batch, 1).
        start: Grid step of the first step, (batch, 1).
    """
    waves = normal(g, 2, batch, 24, 2)
    k = torch.arange(1, 25)
    decay = uniform(g, batch, 0.3, 2.5)
    amplitude = k ** (-decay) * (k <= log_uniform(g, batch, 1, 24).clamp(max=1e9))
    spectrum = torch.zeros(2, batch, PATTERN_SIZE // 2 + 1, dtype=torch.complex64)
    spectrum[:, :, 1:25] = torch.view_as_complex(waves.contiguous()) * amplitude
    smooth = torch.fft.irfft(spectrum, n=PATTERN_SIZE).flatten(0, 1)  # (2 * batch, PATTERN_SIZE)
    phases = torch.minimum(period, torch.tensor(24.0)).clamp(min=1)  # (batch, 1)
    index = (torch.arange(PATTERN_SIZE)[None] / PATTERN_SIZE * phases).long()
    jagged = normal(g, 2, batch, 24).gather(2, index.expand(2, -1, -1)).flatten(0, 1)
    share = torch.where(bernoulli(g, batch, 0.5), uniform(g, batch, 0, 1), torch.zeros(batch, 1))
    table = standardise(smooth) * (1 - share).repeat(2, 1) + jagged * share.repeat(2, 1)
    pointed = bernoulli(g, batch, 0.2).repeat(2, 1)
    table = standardise(torch.where(pointed, table.clamp(min=0.3, max=3).square(), table))
    # in some patterns one or two phases stand out and all others are equal
    has_peaks = (bernoulli(g, batch, 0.08) & (phases >= 6)).repeat(2, 1)
    peaks = (jagged - 1.3).clamp(min=0)
    table = standardise(torch.where(has_peaks, peaks, table)).view(2, batch, PATTERN_SIZE)
    phase = ((torch.arange(steps)[None] + start) / period.clamp(min=1)) % 1  # (batch, steps)
    index = (phase * PATTERN_SIZE + 1e-3).long().clamp(max=PATTERN_SIZE - 1)
    first, second = table[0].gather(1, index), table[1].gather(1, index)
    turn = uniform(g, batch, 0, 2) * bernoulli(g, batch, 0.3) * torch.arange(steps)[None] / steps
    wander = autocorrelated_noise(
        g, batch, steps, period.clamp(min=4) * log_uniform(g, batch, 0.3, 8)
    )
    swelling = 1 + bernoulli(g, batch, 0.4) * log_uniform(g, batch, 0.03, 0.5) * wander
    return (first * turn.cos() + second * turn.sin()) * swelling * (period > 1)


def event_flags(g: Generator, batch: int, steps: int, period: Tensor, start: Tensor) -> Tensor:
    """Draw flags of 0 and 1, (batch, steps): promotions in runs, events of a season, or single steps."""
    u = torch.rand(batch, steps, generator=g)
    length = log_uniform(g, batch, 1, 14)
    share = log_uniform(g, batch, 0.01, 0.5)
    changes = u < 1 / length
    state = torch.rand(batch, steps, generator=g) < share
    last_change = torch.where(changes, torch.arange(steps)[None], 0).cummax(1).values
    runs = state.gather(1, last_change)
    cycle = torch.where(period > 1, period, torch.full_like(period, 12.0)) * torch.where(
        bernoulli(g, batch, 0.5), 1.0, 2.0
    )
    phase = ((torch.arange(steps)[None] + start) / cycle) % 1
    first, width = uniform(g, batch, 0, 1), log_uniform(g, batch, 0.005, 0.3)
    seasonal = ((phase - first) % 1) < torch.maximum(width, 1 / cycle)
    single = u < log_uniform(g, batch, 0.005, 0.1)
    kind = torch.rand(batch, 1, generator=g)
    return torch.where(kind < 0.5, runs, torch.where(kind < 0.8, seasonal, single)).float()


def log_prices(g: Generator, batch: int, steps: int) -> Tensor:
    """Draw the logarithm of prices relative to the usual price: rare changes and short discounts."""
    regular = level_shifts(g, batch, steps, 0.03) * log_uniform(g, batch, 0.01, 0.15)
    u = torch.rand(batch, steps, generator=g)
    changes = u < 1 / log_uniform(g, batch, 2, 20)
    last_change = torch.where(changes, torch.arange(steps)[None], 0).cummax(1).values
    is_discount = (u.gather(1, last_change) * 1e4 % 1) < uniform(g, batch, 0, 0.3)
    discount = log_uniform(g, batch, 0.05, 0.5)
    return regular - is_discount * discount


def demand_steps(g: Generator, batch: int, steps: int, interval: Tensor) -> Tensor:
    """Draw the steps with demand, bool (batch, steps), about `interval` (batch, 1) steps apart.

    A renewal process with gamma gaps, of shape 0.3 (clusters) to 20 (almost regular); shape 1 is a Bernoulli process.
    """
    shape = torch.where(
        bernoulli(g, batch, 0.4), log_uniform(g, batch, 0.3, 20), torch.ones(batch, 1)
    )
    gaps = gamma(g, shape.expand(batch, steps)) / shape
    times = (gaps * (interval - 0.5).clamp(min=0.5)).cumsum(1) + uniform(g, batch, -1, 0) * interval
    times = times.long().clamp(-1, steps)
    has_demand = torch.zeros(batch, steps + 2)
    has_demand.scatter_(1, times + 1, 1.0)
    return has_demand[:, 1:-1] > 0


def gamma(g: Generator, shape: Tensor) -> Tensor:
    """Draw a gamma variable of scale 1 for each of the shape parameters."""
    return torch._standard_gamma(shape.contiguous(), generator=g)


def poisson(g: Generator, rate: Tensor) -> Tensor:
    """Draw Poisson counts; the normal approximation is used for rates above 1,000."""
    is_large = rate > 1000
    counts = torch.poisson(torch.where(is_large, 0.0, rate).clamp(min=0), generator=g)
    large_counts = (
        (rate + rate.clamp(min=0).sqrt() * torch.randn(rate.shape, generator=g))
        .round()
        .clamp(min=0)
    )
    return torch.where(is_large, large_counts, counts)
