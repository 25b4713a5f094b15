"""Student's t: a normal with tails heavy enough for real demand; the default for real values."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import Source
from demandcast.likelihoods.base import Likelihood
from demandcast.likelihoods.tails import (
    student_t_log_density,
    student_t_log_sf,
    student_t_quantile,
)

GRID = 1025  # values of 1 / df at which quantiles are worked out


class StudentT(Likelihood):
    """df = 2 + softplus(o_1), location = scale * o_2, width = scale * softplus(o_3)."""

    name = "student_t"
    n_params = 3
    still = (0.0, 0.0, -1.0)

    def _map(self, params: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        df, location, width = params.unbind(-1)
        return 2 + softplus(df), location * scale, (softplus(width) + 1e-4) * scale

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        df, mu, sigma = self._map(params, scale)
        return student_t_log_density((target - mu) / sigma, df) - sigma.log()

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Compute log P(Y >= target) by the incomplete beta function, in float64; exact."""
        df, mu, sigma = self._map(params, scale)
        z = (target - mu) / sigma
        return student_t_log_sf(z.double(), df.expand_as(z).double()).to(z)

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        df, mu, sigma = self._map(params, scale)
        noise = draws.at("score").normal(mu.shape).to(mu)
        chi2 = 2 * draws.at("width").gamma(df / 2).to(mu)
        return mu + sigma * noise * (df / chi2.clamp(min=1e-8)).sqrt()

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Interpolate exact quantiles on a fine grid of 1 / df, to about 1e-6 of the width."""
        df, mu, sigma = self._map(params, scale)
        return mu[..., None] + sigma[..., None] * _quantile(df, levels).to(mu)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params, scale)[1]

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, 1, base)


def _quantile(df: Tensor, levels: Tensor) -> Tensor:
    """Return quantiles of the standard t for df (...) of 2 or more, (..., Q), float64."""
    table = _table(tuple(levels.tolist()), df.device)
    place = (2 * (GRID - 1) / df.double()).clamp(0, GRID - 1)
    left = place.nan_to_num(0.0).long().clamp(max=GRID - 2)  # (...); NaN stays NaN
    return torch.lerp(table[left], table[left + 1], (place - left)[..., None])


@lru_cache(maxsize=16)
def _table(levels: tuple[float, ...], device: torch.device) -> Tensor:
    """Return quantiles at the values of 1 / df, (GRID, Q); kept, for they take most of a second."""
    with torch.inference_mode(False), torch.no_grad():
        inverse = torch.linspace(0, 0.5, GRID, dtype=torch.float64, device=device)  # of df
        wanted = torch.tensor(levels, dtype=torch.float64, device=device)
        at = 1 / inverse[1:].expand(len(wanted), -1)
        table = student_t_quantile(wanted[:, None].expand_as(at), at)
        return torch.cat([torch.special.ndtri(wanted)[:, None], table], 1).T.contiguous()
