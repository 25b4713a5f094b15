"""The normal distribution: for sums of many small parts, signed or not."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import Source
from demandcast.likelihoods.base import Likelihood


class Normal(Likelihood):
    """mu = scale * o_1, sigma = scale * softplus(o_2); Salinas et al. (2020), section 3.1."""

    name = "normal"
    n_params = 2
    still = (0.0, -0.5)

    def _map(self, params: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        location, width = params.unbind(-1)
        return location * scale, (softplus(width) + 1e-4) * scale

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        mu, sigma = self._map(params, scale)
        return -0.5 * ((target - mu) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        mu, sigma = self._map(params, scale)
        tail: Tensor = torch.special.log_ndtr((mu - target) / sigma)
        return tail

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        mu, sigma = self._map(params, scale)
        noise = draws.normal(mu.shape).to(mu)
        return mu + sigma * noise

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        mu, sigma = self._map(params, scale)
        scores: Tensor = torch.special.ndtri(levels.to(mu))
        return mu[..., None] + sigma[..., None] * scores

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params, scale)[0]

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, 0, base)
