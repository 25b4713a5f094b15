"""The Poisson distribution: counts whose variance is their mean."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import Source
from demandcast.likelihoods.base import Likelihood, inverse_softplus
from demandcast.likelihoods.tails import poisson_log_sf


class Poisson(Likelihood):
    """mu = scale * softplus(o); P(Y = k) = mu^k exp(-mu) / k!."""

    name = "poisson"
    n_params = 1
    counts = True
    located = False
    still = (0.0,)

    def _map(self, params: Tensor, scale: Tensor) -> Tensor:
        return (softplus(params[..., 0]) * scale).clamp(min=1e-6)

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        mu = self._map(params, scale)
        return target * mu.log() - mu - torch.lgamma(target + 1)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Compute log P(Y >= target) by the incomplete gamma function, in float64; exact."""
        mu = self._map(params, scale)
        return poisson_log_sf(target.double().expand_as(mu), mu.double()).to(mu)

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        return draws.poisson(self._map(params, scale)).to(params)

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return the least count that reaches each level; exact, by bisection over whole numbers."""
        mu = self._map(params, scale).double()[..., None]  # (..., 1)
        wanted = levels.to(mu).expand(*mu.shape[:-1], len(levels)) - 1e-12
        low = torch.full_like(wanted, -1.0)  # does not reach the level
        high = (mu + 20 * mu.sqrt() + 60).ceil().expand_as(wanted)  # does
        mu = mu.expand_as(wanted)
        while bool((high - low > 1).any()):
            middle = ((low + high) / 2).floor().clamp(min=0)
            reached = torch.special.gammaincc(middle + 1, mu) >= wanted  # P(Y <= middle)
            low, high = torch.where(reached, low, middle), torch.where(reached, middle, high)
        return high.to(params)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params, scale)

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, 0, inverse_softplus(base.clamp(min=0.01)))
