"""Tweedie's compound Poisson-gamma: nothing on most days, an amount of any size on the others.

Jørgensen, "Exponential dispersion models", Journal of the Royal Statistical Society B 49 (1987). The
density is the series of Dunn and Smyth, "Series evaluation of Tweedie exponential dispersion model
densities", Statistics and Computing 15 (2005): a sum over the number of amounts, here over a fixed
count of nodes around its largest term. Where that term stands far out, the nodes are more than one
apart, and the sum is the trapezoid rule for a bell, which is exact but for some 1e-8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import Source
from demandcast.errors import DataError, way
from demandcast.likelihoods.base import Likelihood, inverse_softplus

NODES = 49  # numbers of amounts that are summed over: 8 deviations to either side
LIKE = 4_096  # quantiles solved at once, of like rates
NEGLIGIBLE = 1e-12  # probability of a node that a quantile leaves out
_STEP = 1e-4  # relative; central differences are then good to about 1e-8


class Tweedie(Likelihood):
    """Mean mu = scale * softplus(o_1), variance phi mu^p, in units of the scale; 1.1 < p < 1.9.

    phi = softplus(o_2), p = 1.1 + 0.8 sigmoid(o_3). A Poisson number of gamma amounts: zero has the
    probability exp(-mu^(2-p) / (phi (2-p))). The ends are left out, for as p comes to 1 the density
    becomes a row of spikes, and as it comes to 2 a pole at 0.
    """

    name = "tweedie"
    n_params = 3
    located = False
    still = (0.0, -1.0, 0.0)

    def _map(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mu and phi in units of the scale, and p, (...) each."""
        mean, spread, power = params.unbind(-1)
        mu = softplus(mean).clamp(min=1e-5)
        return mu, softplus(spread).clamp(1e-3, 1e3), 1.1 + 0.8 * power.sigmoid()

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        mu, phi, p = (x.double() for x in self._map(params))
        y = target / scale  # (...)
        density = log_density(y.clamp(min=1e-30).double(), mu, phi, p).to(params) - scale.log()
        return torch.where(target > 0, density, log_zero(mu, phi, p).to(params))

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Compute log P(Y >= target) by incomplete gamma functions, in float64."""
        mu, phi, p = (x.double() for x in self._map(params))
        tail: Tensor = _Tail.apply((target / scale).double().clamp(min=1e-30), mu, phi, p)  # type: ignore[no-untyped-call]
        return torch.where(target > 0, tail.to(params), torch.zeros_like(target))

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        """Draw a Poisson number of gammas; their sum is one gamma of that many times the shape."""
        rate, shape, size = _parts(*self._map(params))
        count = draws.at("count").poisson(rate).to(rate)
        amount = draws.at("amount").gamma((count * shape).clamp(min=1e-3)).to(rate)
        return torch.where(count > 0, amount * size * scale, torch.zeros_like(amount))

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return 0 up to the probability of 0, and solve for the value by Newton's steps above it."""
        mu, phi, p = (x.double().flatten() for x in self._map(params))  # (units,)
        order = _parts(mu, phi, p)[0].argsort()  # those of like rates need the same nodes
        wanted = levels.to(mu)
        solved = mu.new_zeros(len(mu), len(levels))
        for rows in torch.split(order, max(1, LIKE // max(1, len(levels)))):
            zero = log_zero(mu[rows], phi[rows], p[rows])[:, None].exp()
            unit, place = (~(wanted <= zero)).nonzero(as_tuple=True)  # so that NaN stays NaN
            if len(unit):
                solved[rows[unit], place] = _quantile(
                    mu[rows], phi[rows], p[rows], unit, wanted[place]
                )
        values = solved.view(*params.shape[:-1], len(levels))
        return (values * scale[..., None]).to(params)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params)[0] * scale

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, 0, inverse_softplus(base.clamp(min=0.01)))

    def check_target(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        observed = values[~np.isnan(values)]
        if len(observed) and observed.min() < 0:
            raise DataError(
                f"likelihood={self.name!r} is for amounts of 0 and more, but the target holds "
                f"{observed.min():g}; use",
                ways=[
                    way(likelihood="student_t", call="likelihood='student_t'"),
                    way("when the table is read", negative="zero"),
                ],
            )


def _parts(mu: Tensor, phi: Tensor, p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rate of the Poisson, and shape and size of each gamma."""
    return mu ** (2 - p) / (phi * (2 - p)), (2 - p) / (p - 1), phi * (p - 1) * mu ** (p - 1)


def log_zero(mu: Tensor, phi: Tensor, p: Tensor) -> Tensor:
    """Return log P(Y = 0), (...)."""
    return -_parts(mu, phi, p)[0]


def _nodes(centre: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers of amounts around a centre, (..., NODES), and their distance, (..., 1).

    Whole numbers from 1 where `width`, the deviation, is small; a third of it apart where not.
    """
    apart = (width / 3).clamp(min=1.0)[..., None]
    first = (centre[..., None] - NODES // 2 * apart).round().clamp(min=1.0)
    return first + apart * torch.arange(NODES, dtype=centre.dtype, device=centre.device), apart


def _likeliest(y: Tensor, phi: Tensor, p: Tensor) -> Tensor:
    """Return the most likely number of amounts that sum to y > 0; Dunn and Smyth, section 4."""
    return y ** (2 - p) / (phi * (2 - p))


def log_density(y: Tensor, mu: Tensor, phi: Tensor, p: Tensor) -> Tensor:
    """Log density at y > 0 of a mean mu, a dispersion phi > 0 and a power 1 < p < 2.

    All (...), float64; returns (...), with gradients to all but the power's part in the nodes.
    """
    rate, shape, size = (x[..., None] for x in _parts(mu, phi, p))  # (..., 1)
    with torch.no_grad():
        most = _likeliest(y, phi, p)
        n, apart = _nodes(most, (most / (1 + shape[..., 0])).sqrt())  # (..., NODES)
    x = y[..., None] / size
    ways = n * rate.log() - torch.lgamma(n + 1) + n * shape * x.log() - torch.lgamma(n * shape)
    total = torch.logsumexp(ways + apart.log(), -1)  # (...)
    return total - (rate + x)[..., 0] - y.log()


def _counts(y: Tensor, rate: Tensor, phi: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """Return nodes for sums over the whole Poisson as seen from y, and their log weights, (..., NODES)."""
    centre = torch.maximum(rate, _likeliest(y, phi, p))
    n, apart = _nodes(centre, centre.sqrt())
    rate = rate[..., None]
    return n, n * rate.log() - rate - torch.lgamma(n + 1) + apart.log()


def _log_survival(y: Tensor, mu: Tensor, phi: Tensor, p: Tensor) -> Tensor:
    """Return log P(Y >= y) for y > 0, (...), float64."""
    rate, shape, size = _parts(mu, phi, p)
    n, weights = _counts(y, rate, phi, p)
    tails = torch.special.gammaincc(n * shape[..., None], (y / size)[..., None].expand_as(n))
    return torch.logsumexp(weights + tails.clamp(min=1e-300).log(), -1).clamp(max=0.0)


class _Tail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(y, *parameters)
        return _log_survival(y, *parameters)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        y, *parameters = ctx.saved_tensors
        slopes: list[Tensor | None] = [None]
        for place, value in enumerate(parameters):
            ends = []
            for step in (_STEP, -_STEP):
                moved = [v * (1 + step) if i == place else v for i, v in enumerate(parameters)]
                ends.append(_log_survival(y, *moved))
            slopes.append(grads[0] * (ends[0] - ends[1]) / (2 * _STEP * value))
        return tuple(slopes)


def _quantile(mu: Tensor, phi: Tensor, p: Tensor, unit: Tensor, level: Tensor) -> Tensor:
    """Return the values with P(Y <= value) equal to levels above P(Y = 0): (pairs,), float64, to 1e-6.

    Newton's steps in log y; the bracket is halved where one leaves it or gains too little.

    Args:
        mu, phi, p: Distributions of like rates, (units,) each.
        unit: The distribution of each pair, (pairs,).
        level: The level of each pair, (pairs,).
    """
    rate, shape, size = _parts(mu, phi, p)
    n, weights = _counts(mu, rate, phi, p)  # (units, NODES)
    weights = weights.exp()
    needed = (weights > NEGLIGIBLE).any(0)
    weights, n_shape = weights[:, needed], n[:, needed] * shape[:, None]
    norm, zero = torch.lgamma(n_shape), (-rate).exp()
    mu, size, shape, deviation = (x[unit] for x in (mu, size, shape, (phi * mu**p).sqrt()))
    low = torch.full_like(mu, -70.0) + (mu / size).log()  # log of y / size
    high = ((mu + 40 * deviation) / size + 40 * (1 + shape)).log()
    at = (torch.maximum(mu + deviation * torch.special.ndtri(level), mu / 10) / size).log()
    before = torch.full_like(mu, torch.inf)  # how far each was from its level
    rows = torch.arange(len(mu), device=mu.device)
    for _ in range(120):
        units = unit[rows]
        x, s, w, k = (
            at[rows, None].exp(),
            n_shape[units],
            weights[units],
            norm[units],
        )  # x (rows, 1)
        positive = (w * torch.special.gammainc(s, x.expand_as(s))).sum(-1)
        short = zero[units] - level[rows] + positive
        slope = (w * (s * at[rows, None] - x - k).exp()).sum(-1)  # dF / dlog y
        low[rows] = torch.where(short < 0, at[rows], low[rows])
        high[rows] = torch.where(short < 0, high[rows], at[rows])
        step = at[rows] - short / slope.clamp(min=1e-300)
        works = (step > low[rows]) & (step < high[rows]) & (short.abs() < before[rows] / 2)
        step = torch.where(works, step, (low[rows] + high[rows]) / 2)
        converged = ((step - at[rows]).abs() < 1e-6) | (short.abs() < 1e-9)
        before[rows], at[rows] = short.abs(), step
        rows = rows[~converged]
        if not len(rows):
            break
    return at.exp() * size
