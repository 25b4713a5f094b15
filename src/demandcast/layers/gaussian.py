"""Joint normal distributions of whole windows, dense: density, conditional, draws; in float64.

A linear state space, run through Kalman's filter, and a Gaussian process both make the steps of a
window jointly normal. Written as one covariance matrix a window, there is no loop over time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from demandcast.draws.tensors import TensorDraws


class _Parts(torch.autograd.Function):
    """error' covariance^-1 error and log |covariance|; gradients from one inverse, not by autograd."""

    @staticmethod
    def forward(ctx: Any, error: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
        root = torch.linalg.cholesky(covariance)  # (batch, steps, steps)
        inverse = torch.cholesky_inverse(root)
        weighted = (inverse @ error[..., None])[..., 0]  # (batch, steps)
        ctx.save_for_backward(inverse, weighted)
        return (error * weighted).sum(-1), 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        inverse, weighted = ctx.saved_tensors
        square, determinant = (g[:, None] for g in grads)
        left = -square * weighted  # (batch, steps)
        slope = torch.baddbmm(determinant[..., None] * inverse, left[:, :, None], weighted[:, None])
        return -2 * left, slope


def log_density(
    error: Tensor, covariance: Tensor, observed: Tensor, df: Tensor | None = None
) -> Tensor:
    """Log density of what was observed of each window, (batch,).

    Args:
        error: Values less their means, (batch, steps); any number where not observed.
        covariance: (batch, steps, steps), positive definite.
        observed: (batch, steps), bool; the other steps are integrated out.
        df: Degrees of freedom above 2, of a Student-t process of that covariance; None for normal.
    """
    error, covariance = _observed_only(error.double(), covariance.double(), observed)
    square, determinant = _Parts.apply(error, covariance)  # type: ignore[no-untyped-call]
    count = observed.sum(-1)
    return density_of(square, determinant, count, df)


def density_of(square: Tensor, determinant: Tensor, count: Tensor, df: Tensor | None) -> Tensor:
    """Log density of `count` joint values from their parts, all (batch,).

    The normal, or Shah, Wilson, Ghahramani, "Student-t processes as alternatives to Gaussian
    processes", AISTATS 2014, equation 4, whose matrix is the covariance.
    """
    count = count.to(square)
    if df is None:
        value: Tensor = -0.5 * (square + determinant + count * math.log(2 * math.pi))
        return value
    norm = (
        torch.lgamma((df + count) / 2)
        - torch.lgamma(df / 2)
        - count / 2 * (math.pi * (df - 2)).log()
    )
    return norm - determinant / 2 - (df + count) / 2 * torch.log1p(square / (df - 2))


def condition(error: Tensor, covariance: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Condition the last steps on the first ones.

    Args:
        error: Values of the first steps less their means, (batch, past).
        covariance: Of all steps, (batch, past + future, past + future).
        observed: Which of the first steps are known, (batch, past).

    Returns:
        Mean (batch, future) and covariance (batch, future, future) of the last steps if all are
        normal, and error' covariance^-1 error of those observed, (batch,).
    """
    past, covariance = error.shape[1], covariance.double()
    between = covariance[:, :past, past:] * observed[..., None]  # (batch, past, future)
    error, past_covariance = _observed_only(error.double(), covariance[:, :past, :past], observed)
    root = torch.linalg.cholesky(past_covariance)
    half = torch.linalg.solve_triangular(root, between, upper=False)  # (batch, past, future)
    rest = torch.linalg.solve_triangular(root, error[..., None], upper=False)
    mean = (half.mT @ rest)[..., 0]
    return mean, covariance[:, past:, past:] - half.mT @ half, rest.square().sum((1, 2))


def draw(mean: Tensor, covariance: Tensor, count: int, draws: TensorDraws) -> Tensor:
    """Draw joint paths, (batch, count, steps)."""
    root = torch.linalg.cholesky(covariance)
    noise = draws.normal((len(mean), count, mean.shape[1])).to(mean)
    paths: Tensor = mean[:, None] + noise @ root.mT
    return paths


def _observed_only(error: Tensor, covariance: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Make unobserved steps independent, of mean 0 and variance 1, so that they tell nothing."""
    both = observed[:, :, None] & observed[:, None, :]
    eye = torch.eye(error.shape[1], dtype=error.dtype, device=error.device)
    return torch.where(observed, error, 0.0), torch.where(both, covariance, eye)
