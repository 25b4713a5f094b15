"""The log-normal distribution: amounts above zero that are right-skewed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import Source
from demandcast.errors import DataError
from demandcast.likelihoods.base import Likelihood


class LogNormal(Likelihood):
    """log Y is normal with mean log(scale) + o_1 and deviation softplus(o_2)."""

    name = "log_normal"
    n_params = 2
    located = False
    still = (0.0, -2.0)

    def _map(self, params: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        location, width = params.unbind(-1)
        return location + scale.log(), softplus(width) + 1e-4

    def _score(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        mu, sigma = self._map(params, scale)
        return (target.clamp(min=1e-30).log() - mu) / sigma

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        sigma = self._map(params, scale)[1]
        z = self._score(params, target, scale)
        return -0.5 * z * z - sigma.log() - target.log() - 0.5 * math.log(2 * math.pi)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        tail: Tensor = torch.special.log_ndtr(-self._score(params, target, scale))
        return tail

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        mu, sigma = self._map(params, scale)
        noise = draws.normal(mu.shape).to(mu)
        return (mu + sigma * noise).exp()

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        mu, sigma = self._map(params, scale)
        scores: Tensor = torch.special.ndtri(levels.to(mu))
        return (mu[..., None] + sigma[..., None] * scores).exp()

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        mu, sigma = self._map(params, scale)
        return (mu + sigma * sigma / 2).exp()

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        """Move the median to `base`."""
        return self.add_to_param(params, 0, base.clamp(min=0.01).log())

    def _neutral(self, scale: Tensor, target: Tensor) -> Tensor:
        return scale.expand_as(target)

    def check_target(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        observed = values[~np.isnan(values)]
        if len(observed) and observed.min() <= 0:
            raise DataError(
                f"likelihood={self.name!r} is for amounts above 0, but the target holds "
                f"{observed.min():g}; use likelihood='student_t' or 'quantile'",
                option="likelihood",
                found=self.name,
                expected="student_t or quantile",
            )
