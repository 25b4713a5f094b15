"""What a history says without a weight learned: levels, seasons, errors, quantiles of the past.

All take (batch, context) arrays that end at the cutoff, a mask of what was observed, and the periods of
each row as whole steps. Sums over windows come from running sums, those over phases from one scatter, so that
nothing loops over series or steps.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(x: Tensor, observed: Tensor) -> Tensor:
    """Return the mean of each row over the steps that were observed, (batch, 1, ...); x is 0 at the others."""
    return x.sum(1, keepdim=True) / observed.sum(1, keepdim=True).clamp(min=1)


def window_means(x: Tensor, observed: Tensor, width: Tensor, *, trailing: bool) -> Tensor:
    """Return means of the observed values in a window around each step, (batch, context).

    Args:
        x: Values, (batch, context); 0 where not observed.
        observed: (batch, context), bool.
        width: Steps in the window of each row, (batch, 1), int64, 1 or more.
        trailing: Whether the window ends right before its step; else it is centred on it, and moved
            inside where it would reach past the last step.

    Returns:
        The means; where nothing in the window was observed, that of the whole row.
    """
    batch, context = x.shape
    sums = torch.nn.functional.pad(x.cumsum(1), (1, 0))  # (batch, context + 1)
    counts = torch.nn.functional.pad(observed.to(x.dtype).cumsum(1), (1, 0))
    step = torch.arange(context, device=x.device).expand(batch, context)
    stop = step if trailing else (step + width // 2 + 1).clamp(max=context)
    start = (stop - width).clamp(min=0)
    total = sums.gather(1, stop) - sums.gather(1, start)
    count = counts.gather(1, stop) - counts.gather(1, start)
    mean = sums[:, -1:] / counts[:, -1:].clamp(min=1)
    return torch.where(count > 0.5, total / count.clamp(min=1), mean)


def phase_means(x: Tensor, observed: Tensor, period: Tensor, horizon: int, shrink: float) -> Tensor:
    """Return the mean of each phase of a season, repeated over context and horizon: (batch, context +
    horizon).

    Args:
        x: Values around 0, (batch, context); 0 where not observed.
        observed: (batch, context), bool.
        period: Steps in a season, (batch, 1), int64; rows where it is below 2 are 0.
        horizon: Steps after the context.
        shrink: Values of 0 that each phase is given beside its own.
    """
    batch, context = x.shape
    step = torch.arange(context + horizon, device=x.device).expand(batch, -1) - context
    phase = step % period.clamp(min=1)  # (batch, context + horizon); counted from the cutoff
    bins = int(period.max().clamp(min=1))
    past = phase[:, :context]
    total = x.new_zeros(batch, bins).scatter_add(1, past, x)
    count = x.new_zeros(batch, bins).scatter_add(1, past, observed.to(x.dtype))
    mean = total / (count + shrink)
    return mean.gather(1, phase) * (period > 1)


def value_at(x: Tensor, observed: Tensor, index: Tensor, fallback: Tensor) -> tuple[Tensor, Tensor]:
    """Return values at steps of the context, (batch, k), and whether they exist; the fallback where they do
    not.
    """
    inside = (index >= 0) & (index < x.shape[1])
    place = index.clamp(0, x.shape[1] - 1)
    there = inside & observed.gather(1, place)
    return torch.where(there, x.gather(1, place), fallback), there


def mean_change(x: Tensor, observed: Tensor, lag: int) -> Tensor:
    """Return mean|x[t] - x[t - lag]| of the steps where both were observed, (batch, 1); 0 where none."""
    if lag >= x.shape[1]:
        return x.new_zeros(len(x), 1)
    both = observed[:, lag:] & observed[:, :-lag]
    size = ((x[:, lag:] - x[:, :-lag]).abs() * both).sum(1, keepdim=True)
    return size / both.sum(1, keepdim=True).clamp(min=1)


def empirical_quantiles(x: Tensor, observed: Tensor, levels: Tensor) -> Tensor:
    """Return quantiles of the observed values, (batch, levels), linear between them; 0 where there are none."""
    ordered = torch.where(observed, x, 1e9).sort(1).values  # finite: gradients pass here
    count = observed.sum(1, keepdim=True)
    place = levels * (count - 1).clamp(min=0)  # (batch, levels)
    low = place.floor().long()
    high = torch.minimum(low + 1, (count - 1).clamp(min=0))
    weight = place - low
    interpolated = ordered.gather(1, low) * (1 - weight) + ordered.gather(1, high) * weight
    return torch.where(count > 0, interpolated, 0.0)


def quantiles_of(cdf: Tensor, at_knots: Tensor, levels: Tensor, ramp: Tensor) -> Tensor:
    """Return quantiles of distributions given at knots, linear between them.

    Args:
        cdf: Probability of a value up to each knot, (..., knots), increasing.
        at_knots: The knots, (..., knots), increasing.
        levels: (levels,).
        ramp: Share of the way between two knots' probabilities within which the quantile goes from
            one to the other: 1 for values without gaps, less for whole numbers; same shape as the
            knots but for a last axis of 1.

    Returns:
        (..., levels), within the outermost knots.
    """
    wanted = levels.expand(*cdf.shape[:-1], -1).contiguous()
    high = torch.searchsorted(cdf.detach().contiguous(), wanted).clamp(1, cdf.shape[-1] - 1)
    below, above = cdf.gather(-1, high - 1), cdf.gather(-1, high)  # (..., levels)
    share = ((levels - below) / ((above - below) * ramp).clamp(min=1e-4)).clamp(0, 1)
    at_knots = at_knots.expand_as(cdf)
    low = at_knots.gather(-1, high - 1)
    return low + share * (at_knots.gather(-1, high) - low)


def main_period(x: Tensor, observed: Tensor) -> Tensor:
    """Return the period at which a history repeats itself best, (batch, 1), int64; 0 if none stands out.

    The first peak of the autocorrelation after it fell below .1 that is nearly as high as the highest peak, if the
    highest is above .3.
    """
    context = x.shape[1]
    if context < 4:  # too short to dip and rise again
        return torch.zeros(len(x), 1, dtype=torch.int64, device=x.device)
    spectrum = torch.fft.rfft(x * observed, n=2 * context)
    pairs = torch.fft.rfft(observed.to(x.dtype), n=2 * context)
    product = torch.fft.irfft(spectrum.abs().square(), n=2 * context)[:, : context // 2]
    count = torch.fft.irfft(pairs.abs().square(), n=2 * context)[:, : context // 2]
    mean = product / count.clamp(min=3)
    correlation = mean / mean[:, :1].clamp(min=1e-9)
    dipped = (correlation < 0.1).cumsum(1) > 0
    after_dip = torch.where(dipped, correlation, -1.0)
    peak = after_dip.amax(1, keepdim=True)
    before = torch.nn.functional.pad(after_dip, (1, 0), value=-1.0)[:, :-1]
    after = torch.nn.functional.pad(after_dip, (0, 1), value=-1.0)[:, 1:]
    tops = (
        (after_dip >= 0.85 * peak) & (after_dip >= before) & (after_dip >= after)
    )  # multiples are as high
    period = tops.to(x.dtype).argmax(1, keepdim=True)
    return torch.where((peak > 0.3) & (period > 1), period, 0)
