"""Negative binomial distributions of counts around the levels that attention finds, for slow movers.

A history of a few dozen steps has few sizes of demand, and its empirical quantiles jump between them. A distribution
with the same two moments fills the gaps between them and the tail. Its mean is shrunk a little to the slowest level,
and has a variance of its own, which is larger the fewer steps it rests on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from demandcast.layers.readings import quantiles_of
from demandcast.pretrained.level_and_seasons import Reading

DRAWN = 1.0  # steps of the slowest level that each level is drawn by
KNOTS = 40  # values at which a law is known
REACH = 5.0  # deviations above the mean that they cover
COARSE = 8  # most counts between two knots
GRAINS = 4  # units between two knots where values are not whole


def count_distributions(
    r: Reading, by_age: Tensor, attended: Tensor, count: Tensor, levels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return count distributions around each head's level, in units of `r`: by age, (batch, heads, levels),
    and by likeness.

    Args:
        r: What the history says.
        by_age: Weights by age alone, (batch, heads, context); the last head is the slowest.
        found: Means of like values, then of others, then of their squares at the fourth place,
            (batch, s, heads, 4 or more).
        count: Steps that those rest on, (batch, s, heads).
        levels: (levels,).
    """
    y = (r.x - r.zero) * r.observed  # no unit is left: squares of tiny values would be 0
    mean, square = (by_age.detach() @ torch.stack([y, y.square()], -1)).unbind(-1)
    steps = 1 / by_age.detach().square().sum(-1).clamp(min=1e-6)  # (batch, heads)
    share = steps / (steps + DRAWN)
    mean, square = (m * share + m[:, -1:] * (1 - share) for m in (mean, square))
    one = r.whole / r.scale  # 1 in units of x, 0 where values are not whole
    aged = count_laws(mean, square - mean.square(), steps + DRAWN, one, levels)
    x, xx, zero = attended[..., 0].detach(), attended[..., 3].detach(), r.zero[..., None]
    phased = count_laws(x - zero, xx - x.square(), count, one[..., None], levels)
    return aged + zero, phased + zero[..., None]


def count_laws(
    mean: Tensor, variance: Tensor, steps: Tensor, one: Tensor, levels: Tensor
) -> Tensor:
    """Return quantiles of the negative binomial with given moments, (..., levels).

    Args:
        mean: In units of a typical distance, (...); below 1e-6 counts as 0.
        variance: In their square, (...).
        steps: How many steps the moments rest on, as good as, (...).
        one: What counts are multiples of, (...); 0 where values are no counts: then it is small beside
            the mean.
        levels: (levels,).
    """
    with torch.no_grad():
        mean = mean.clamp(min=0)
        variance = (variance * (steps / (steps - 1).clamp(min=0.5))).clamp(min=0)
        top = mean + REACH * variance.sqrt()
        top = torch.where(top > 1e-6, top, 1.0)
        whole = (one > 0) & (top < KNOTS * COARSE * one)  # far up a count is as good as a measure
        unit = torch.where(whole, one, top / (KNOTS * GRAINS))
        gap = torch.where(whole, (top / (KNOTS * unit)).ceil().clamp(min=1), float(GRAINS))
        m = (mean / unit).clamp(min=1e-4)
        v = variance / unit.square()
        # one over the shape: what is left of the variance, and what is not known of the mean
        spread = ((v - m) / m.square()).clamp(0.02, 10) + v.maximum(m) / (m.square() * steps)
        shape = (1 / spread.clamp(max=20))[..., None]
        k = torch.arange(KNOTS, device=m.device, dtype=m.dtype) * gap[..., None]  # (..., knots)
        log = torch.lgamma(k + shape) - torch.lgamma(k + 1)
        log = log + k * (m[..., None] / (m[..., None] + shape)).log()
        chances = (log - log.amax(-1, keepdim=True)).exp()
        half_step = torch.where(whole, (1 - 1 / gap) / 2, 0.5)[..., None]  # of a knot's chance
        cdf = chances.cumsum(-1) - half_step * chances
        total = chances.sum(-1, keepdim=True)
        ramp = torch.where(whole, 0.3, 1.0)[..., None]
        return quantiles_of(cdf / total, k * unit[..., None], levels, ramp)
