"""The negative binomial: counts with more spread than Poisson's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.likelihoods.base import Likelihood


class NegativeBinomial(Likelihood):
    """mu = scale * softplus(o_1), alpha = softplus(o_2) / sqrt(scale), Var = mu + alpha mu^2.

    Salinas et al. (2020), section 3.1. Computed in logs, so that a mu near 0 stays exact.
    """

    name = "negative_binomial"
    n_params = 2
    counts = True

    def _map(self, params: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        mean, spread = params.unbind(-1)
        mu = (softplus(mean) * scale).clamp(min=1e-6)
        return mu, (softplus(spread) / scale.sqrt()).clamp(1e-4, 1e4)

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        mu, alpha = self._map(params, scale)
        shape = 1 / alpha
        log_one = torch.log1p(alpha * mu)  # (...)
        ways = torch.lgamma(target + shape) - torch.lgamma(target + 1) - torch.lgamma(shape)
        return ways - shape * log_one + target * ((alpha * mu).log() - log_one)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """log(1 - P(Y <= target - 1)), by the saddle of the normal on the Anscombe-like root.

        P(Y >= 0) = 1 and P(Y >= 1) = 1 - P(0) are exact; above, sqrt-transformed counts are taken as
        normal (Wilson-Hilferty on the gamma mixture), to about 0.02 in probability.
        """
        mu, alpha = self._map(params, scale)
        zero = torch.log1p(alpha * mu) / alpha  # -log P(Y = 0)
        first = torch.log(-torch.expm1(-zero.clamp(min=1e-7)))
        spread = (mu + alpha * mu**2) / (9 * mu**2)
        z = (((target - 0.5).clamp(min=0.5) / mu) ** (1 / 3) - (1 - spread)) / spread.sqrt()
        rest = torch.special.log_ndtr(-z)
        return torch.where(
            target < 0.5, torch.zeros_like(rest), torch.where(target < 1.5, first, rest)
        )

    def sample(
        self, params: Tensor, scale: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        mu, alpha = self._map(params, scale)
        rate = torch._standard_gamma(1 / alpha, generator=generator) * (alpha * mu)
        return torch.poisson(rate, generator=generator)

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Of 2,000 draws with a generator of its own: the same numbers for the same parameters."""
        generator = torch.Generator(params.device).manual_seed(0)
        scale = scale.expand(params.shape[:-1])
        draws = torch.stack([self.sample(params, scale, generator) for _ in range(2000)], -1)
        return torch.quantile(draws, levels.to(draws), dim=-1).movedim(0, -1)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params, scale)[0]
