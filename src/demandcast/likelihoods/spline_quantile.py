"""Spline quantile functions: quantiles at knots, monotone splines between, exponentials beyond.

Park, Maddix, Aubet, Kan, Gasthaus, Wang, "Learning quantile functions without quantile crossing for
distribution-free time series forecasting", AISTATS 2022 (ISQF); the closed form of the score follows
Gasthaus et al., "Probabilistic forecasting with spline quantile function RNNs", AISTATS 2019.

Departs from the paper: the middle knot is free and the others are steps outwards from it, as in the
quantile grid here, so that a forecast can be lifted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import BELOW_ONE, Source
from demandcast.likelihoods.base import Likelihood, knot_levels
from demandcast.settings import whole

SPLINE_LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
PIECES = 3  # of the spline between two knots
THINNEST = 0.02  # share of the space between two knots that a piece has at least


@dataclass(frozen=True)
class Spline:
    """A quantile function in units of the scale: straight pieces, and the size of both tails."""

    at: Tensor  # (..., pieces + 1), levels where pieces meet, increasing
    value: Tensor  # (..., pieces + 1), never decreasing
    low: Tensor  # (..., 1): value[0] + low * log(level / at[0]) below the first
    high: Tensor  # (..., 1): value[-1] - high * log((1 - level) / (1 - at[-1])) above the last


class SplineQuantile(Likelihood):
    """Learned by the CRPS, which has a closed form: 2 x the pinball loss over all levels."""

    name = "spline_quantile"

    def __init__(self, levels: Sequence[float] = SPLINE_LEVELS, pieces: int = PIECES) -> None:
        self.levels, self.pieces = knot_levels(levels, 2), whole("pieces", pieces, least=1)
        knots = len(self.levels)
        self.middle = min(range(knots), key=lambda i: abs(self.levels[i] - 0.5))
        self.n_params = knots + 2 + 2 * (knots - 1) * pieces  # knots, tails, widths, heights
        outer = [0.0 if i == self.middle else -2.0 for i in range(knots)]
        self.still = (*outer, -2.5, -2.5, *[0.0] * (2 * (knots - 1) * pieces))

    def spline(self, params: Tensor) -> Spline:
        knots = len(self.levels)
        outer, tails, inner = torch.split(params, [knots, 2, self.n_params - knots - 2], -1)
        centre = outer[..., self.middle, None]
        below = softplus(outer[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        above = softplus(outer[..., self.middle + 1 :]).cumsum(-1)
        knot = torch.cat([centre - below, centre, centre + above], -1)  # (..., knots)
        shares = inner.reshape(*inner.shape[:-1], 2, knots - 1, self.pieces).softmax(-1)
        shares = THINNEST + (1 - self.pieces * THINNEST) * shares  # widths, then heights
        levels = knot.new_tensor(self.levels)
        width = shares[..., 0, :, :] * levels.diff()[:, None]  # (..., knots - 1, pieces)
        height = shares[..., 1, :, :] * knot.diff(dim=-1)[..., None]
        at = torch.cat([levels[:1].expand_as(knot[..., :1]), width.flatten(-2)], -1).cumsum(-1)
        value = torch.cat([knot[..., :1], height.flatten(-2)], -1).cumsum(-1)
        low, high = torch.split(softplus(tails), 1, -1)
        return Spline(at, value, low + 1e-4, high + 1e-4)

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return minus the CRPS in units of the scale."""
        under, over = self._losses(params, target / scale)
        return -2 * (under + over)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return the negative CRPS of the quantiles below the bound: only those are wrong."""
        return -2 * self._losses(params, target / scale)[0]

    def _losses(self, params: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Integrate the pinball loss over levels with a quantile below y, and above, (...) each."""
        s = self.spline(params.expand(*y.shape, self.n_params))
        y = y[..., None]
        first, last = s.at[..., :1], s.at[..., -1:]
        start, width = s.at[..., :-1], s.at.diff(dim=-1)  # (..., pieces)
        slope = s.value.diff(dim=-1) / width
        error = y - s.value[..., :-1]
        met = (
            (error / slope.clamp(min=1e-9)).clamp(min=0.0).minimum(width)
        )  # from the piece's start
        under = _rising(start, error, slope, met)  # (..., pieces)
        over = _rising(1 - s.at[..., 1:], s.value[..., 1:] - y, slope, width - met)
        outside, inside = _tail(first, s.low, y - s.value[..., :1])
        beyond, within = _tail(1 - last, s.high, s.value[..., -1:] - y)
        return (
            (under.sum(-1, keepdim=True) + outside + within)[..., 0],
            (over.sum(-1, keepdim=True) + inside + beyond)[..., 0],
        )

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        shape = (*params.shape[:-1], len(levels))
        return self._values(params, levels.to(params).expand(shape)) * scale[..., None]

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        uniform = draws.uniform((*params.shape[:-1], 1)).to(params).clamp(max=BELOW_ONE)
        return self._values(params, uniform).squeeze(-1) * scale

    def _values(self, params: Tensor, level: Tensor) -> Tensor:
        """Return the quantile function at levels (..., Q), in units of the scale."""
        s = self.spline(params)
        first, last = s.at[..., :1], s.at[..., -1:]
        right = torch.searchsorted(s.at, level.contiguous()).clamp(1, s.at.shape[-1] - 1)
        x, y = (
            torch.stack([v.gather(-1, right - 1), v.gather(-1, right)]) for v in (s.at, s.value)
        )
        inner = torch.lerp(y[0], y[1], ((level - x[0]) / (x[1] - x[0])).clamp(0.0, 1.0))
        below = s.value[..., :1] + s.low * (level.clamp(min=1e-6) / first).log().clamp(max=0.0)
        rest = (1 - level).clamp(min=1e-6) / (1 - last)
        above = s.value[..., -1:] - s.high * rest.log().clamp(max=0.0)
        return torch.where(level < first, below, torch.where(level > last, above, inner))

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        """Return the integral of the quantile function over (0, 1), tails included."""
        s = self.spline(params)
        inner = ((s.value[..., 1:] + s.value[..., :-1]) / 2 * s.at.diff(dim=-1)).sum(-1)
        left = s.at[..., 0] * (s.value[..., 0] - s.low[..., 0])
        right = (1 - s.at[..., -1]) * (s.value[..., -1] + s.high[..., 0])
        return (inner + left + right) * scale

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, self.middle, base)


def _rising(start: Tensor, error: Tensor, slope: Tensor, width: Tensor) -> Tensor:
    """Integrate (start + d) (error - slope d) over d from 0 to `width`."""
    return width * (start * error + width / 2 * (error - start * slope) - width * width / 3 * slope)


def _tail(end: Tensor, size: Tensor, gap: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pinball loss over the levels of a tail, (0, end), counted from its outer end.

    Its values lie size * log(end / level) outside the outermost knot, and y `gap` inside of that knot
    (outside where negative). Returns the integrals over the values farther out than y, and over those
    between y and the knot.
    """
    inside, outside = gap.clamp(min=0.0), (-gap).clamp(min=0.0)
    met = end * (-outside / size).exp()  # the level whose value is y
    farther = inside * end * end / 2 + size * met * met / 4
    between = outside * (end - end * end / 2) + size * (met - end + (end * end - met * met) / 4)
    return farther, between
