"""Tails that PyTorch lacks: the incomplete beta function and what follows from it, in float64.

The value comes from a continued fraction outside the graph. Gradients are exact where a closed form
exists and central differences for the shape parameters, where none does.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_STEP = 1e-4  # relative; central differences are then good to about 1e-8


def log_betainc(a: Tensor, b: Tensor, log_x: Tensor, log_y: Tensor) -> Tensor:
    """Return log I_x(a, b), the regularised incomplete beta function, with y = 1 - x; no gradient.

    All four (...), float64.

    Press et al., Numerical Recipes, 3rd ed., section 6.4. Both x and y come as logarithms, for either
    may be too near 1 to tell its complement.
    """
    direct = log_x.exp() < (a + 1) / (a + b + 2)  # the fraction is quick on this side only
    p, q = torch.where(direct, a, b), torch.where(direct, b, a)
    log_u, log_v = torch.where(direct, log_x, log_y), torch.where(direct, log_y, log_x)
    front = p * log_u + q * log_v - (torch.lgamma(p) + torch.lgamma(q) - torch.lgamma(p + q))
    tail = front + torch.log(_fraction(p, q, log_u.exp())) - torch.log(p)
    return torch.where(direct, tail, torch.log1p(-tail.clamp(max=-1e-15).exp()))


def _fraction(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """Return the continued fraction of the incomplete beta function, by the modified Lentz method."""
    tiny = 1e-300
    c = torch.ones_like(x)
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / torch.where(d.abs() < tiny, tiny, d)
    value = d.clone()
    for m in range(1, 20_000):  # needs about sqrt(max(a, b)) rounds
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + numerator * d
            d = 1 / torch.where(d.abs() < tiny, tiny, d)
            c = 1 + numerator / c
            c = torch.where(c.abs() < tiny, tiny, c)
            change = c * d
            value = value * change
        if m % 8 == 0 and not bool(((change - 1).abs() >= 1e-14).any()):  # NaN stays NaN
            break
    return value


def _negative_binomial_log_sf(count: Tensor, log_odds: Tensor, shape: Tensor) -> Tensor:
    log_p, log_q = -torch.nn.functional.softplus(-log_odds), -torch.nn.functional.softplus(log_odds)
    tail = log_betainc(count.clamp(min=1.0), shape, log_p, log_q)
    return torch.where(count > 0, tail, torch.zeros_like(tail))


def _student_t_log_sf(z: Tensor, df: Tensor) -> Tensor:
    log_x, log_y = -torch.log1p(z * z / df), -torch.log1p(df / (z * z).clamp(min=1e-300))
    both = log_betainc(df / 2, torch.full_like(df, 0.5), log_x, log_y)  # log P(|T| > |z|)
    upper = both - math.log(2)
    return torch.where(z >= 0, upper, torch.log1p(-upper.exp()))


def _poisson_log_sf(count: Tensor, mu: Tensor) -> Tensor:
    """Return log P(k, mu), the lower incomplete gamma function; a series where that leaves float64."""
    k = count.clamp(min=1.0)
    tail = torch.special.gammainc(k, mu)
    term, total = torch.ones_like(mu), torch.ones_like(mu)
    far = tail < 1e-290
    if bool(far.any()):
        for step in range(1, 20_000):  # mu / k is well below 1 so far out
            term = torch.where(far, term * mu / (k + step), 0.0)
            total = total + term
            if step % 32 == 0 and not bool((term >= 1e-16 * total).any()):
                break
    series = k * mu.log() - mu - torch.lgamma(k + 1) + total.log()
    value = torch.where(far, series, tail.clamp(min=1e-300).log())
    return torch.where(count > 0, value, torch.zeros_like(value))


class _PoissonTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: Tensor, mu: Tensor) -> Tensor:
        value = _poisson_log_sf(count, mu)
        ctx.save_for_backward(count, mu, value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        count, mu, value = ctx.saved_tensors
        k = count.clamp(min=1.0)  # dP/dmu = mu^(k-1) exp(-mu) / (k - 1)!
        slope = ((k - 1) * mu.log() - mu - torch.lgamma(k) - value).exp()
        return None, grads[0] * torch.where(count > 0, slope, torch.zeros_like(slope))


class _NegativeBinomialTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, count: Tensor, log_odds: Tensor, shape: Tensor) -> Tensor:
        value = _negative_binomial_log_sf(count, log_odds, shape)
        ctx.save_for_backward(count, log_odds, shape, value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        count, log_odds, shape, value = ctx.saved_tensors
        c = count.clamp(min=1.0)
        # dI/dx = x^(c-1) (1-x)^(r-1) / B(c, r) and dx/dlog_odds = x (1-x)
        log_p = -torch.nn.functional.softplus(-log_odds)
        log_q = -torch.nn.functional.softplus(log_odds)
        slope = c * log_p + shape * log_q
        slope = slope - torch.lgamma(c) - torch.lgamma(shape) + torch.lgamma(c + shape) - value
        d_odds = torch.where(count > 0, slope.exp(), torch.zeros_like(slope))
        step = _STEP * shape
        d_shape = _negative_binomial_log_sf(count, log_odds, shape + step)
        d_shape = (d_shape - _negative_binomial_log_sf(count, log_odds, shape - step)) / (2 * step)
        return None, grads[0] * d_odds, grads[0] * d_shape


class _StudentTTail(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, df: Tensor) -> Tensor:
        value = _student_t_log_sf(z, df)
        ctx.save_for_backward(z, df, value)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        z, df, value = ctx.saved_tensors
        d_z = -(student_t_log_density(z, df) - value).exp()
        step = _STEP * df
        d_df = (_student_t_log_sf(z, df + step) - _student_t_log_sf(z, df - step)) / (2 * step)
        return grads[0] * d_z, grads[0] * d_df


def poisson_log_sf(count: Tensor, mu: Tensor) -> Tensor:
    """Return log P(Y >= count), both (...), float64, with the gradient to `mu`."""
    value: Tensor = _PoissonTail.apply(count, mu)  # type: ignore[no-untyped-call]
    return value


def negative_binomial_log_sf(count: Tensor, log_odds: Tensor, shape: Tensor) -> Tensor:
    """Return log P(Y >= count), (...), float64, with gradients to `log_odds` and `shape`.

    Args:
        count: Whole numbers, (...).
        log_odds: log(alpha mu), (...).
        shape: 1 / alpha, (...).
    """
    value: Tensor = _NegativeBinomialTail.apply(count, log_odds, shape)  # type: ignore[no-untyped-call]
    return value


def student_t_log_sf(z: Tensor, df: Tensor) -> Tensor:
    """Return log P(T > z) of the standard Student-t, (...), float64, with gradients to both."""
    value: Tensor = _StudentTTail.apply(z, df)  # type: ignore[no-untyped-call]
    return value


def student_t_log_density(z: Tensor, df: Tensor) -> Tensor:
    """Log density of the standard Student-t, (...)."""
    norm = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * torch.log(math.pi * df)
    return norm - (df + 1) / 2 * torch.log1p(z * z / df)


def student_t_quantile(levels: Tensor, df: Tensor) -> Tensor:
    """Return values of the standard Student-t at levels, same shape as both; float64, no gradient.

    Newton steps on the log of the tail over log z, where tails are nearly straight, from the normal quantile widened
    by df.
    """
    tail = torch.minimum(levels, 1 - levels)
    normal = torch.special.ndtri(tail)
    z = torch.sqrt(df * torch.expm1(normal * normal / (df - 0.5))).clamp(min=1e-9)
    for _ in range(4):
        value = _student_t_log_sf(z, df)
        slope = (student_t_log_density(z, df) - value).exp()
        z = z * ((value - torch.log(tail)) / (slope * z)).exp()
    z = torch.where(tail < 0.5, z, torch.zeros_like(z))
    return torch.where(levels < 0.5, -z, z)
