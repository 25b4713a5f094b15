"""Student's t: a normal with tails heavy enough for real demand; the default for real values."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.likelihoods.base import Likelihood


class StudentT(Likelihood):
    """df = 2 + softplus(o_1), location = scale * o_2, width = scale * softplus(o_3)."""

    name = "student_t"
    n_params = 3

    def _map(self, params: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        df, location, width = params.unbind(-1)
        return 2 + softplus(df), location * scale, (softplus(width) + 1e-4) * scale

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        df, mu, sigma = self._map(params, scale)
        norm = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * math.pi).log()
        return norm - sigma.log() - (df + 1) / 2 * torch.log1p(((target - mu) / sigma) ** 2 / df)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """By the normal approximation of Wallace (1959), good to three digits from df = 2 up."""
        df, mu, sigma = self._map(params, scale)
        z = (mu - target) / sigma
        shrink = (8 * df + 1) / (8 * df + 3)
        root = (df * torch.log1p(z**2 / df) + 1e-12).sqrt()
        return torch.special.log_ndtr(z.sign() * shrink * root)

    def sample(
        self, params: Tensor, scale: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        df, mu, sigma = self._map(params, scale)
        noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
        chi2 = 2 * torch._standard_gamma(df / 2, generator=generator)
        return mu + sigma * noise * (df / chi2.clamp(min=1e-8)).sqrt()

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Exact, by scipy-free Newton steps from the Cornish-Fisher start; df > 2 keeps it tame."""
        df, mu, sigma = self._map(params, scale)
        return mu[..., None] + sigma[..., None] * _quantile(df[..., None], levels)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params, scale)[1]


def _quantile(df: Tensor, levels: Tensor) -> Tensor:
    """Quantiles of the standard t by bisection on its distribution function, (..., Q)."""
    df, levels = torch.broadcast_tensors(df.double(), levels.double())
    tail = torch.minimum(levels, 1 - levels)
    low, high = torch.zeros_like(tail), torch.full_like(tail, 1.0)
    nodes, weights = np.polynomial.legendre.leggauss(48)
    x = torch.from_numpy((nodes + 1) / 2).to(df)
    w = torch.from_numpy(weights / 2).to(df)
    norm = (torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2)).exp() / (df * math.pi).sqrt()

    def upper(angle: Tensor) -> Tensor:
        """P(T > t) with t = tan(angle pi/2): a smooth integral over a bounded range."""
        theta = (angle + (1 - angle) * x[:, None]) * (math.pi / 2)  # (nodes, elements)
        inner = (1 + theta.tan() ** 2 / flat_df) ** (-(flat_df + 1) / 2) / theta.cos() ** 2
        return flat_norm * (inner * w[:, None]).sum(0) * (1 - angle) * (math.pi / 2)

    flat_df, flat_norm, flat_tail = df.reshape(-1), norm.reshape(-1), tail.reshape(-1)
    low, high = torch.zeros_like(flat_tail), torch.ones_like(flat_tail)
    for _ in range(40):
        middle = (low + high) / 2
        inside = upper(middle) > flat_tail
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    t = ((low + high) / 2 * (math.pi / 2)).tan().view(df.shape)
    return torch.where(levels < 0.5, -t, t).float()
