"""The negative binomial: counts with more spread than Poisson's."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import Source
from demandcast.likelihoods.base import Likelihood, inverse_softplus
from demandcast.likelihoods.tails import negative_binomial_log_sf

PIECE = 1_000_000  # probabilities held at once
SUMMED = 128  # counts whose probabilities are summed one by one
GRID = 1024  # skewnesses at which gamma quantiles are worked out


class NegativeBinomial(Likelihood):
    """mu = scale * softplus(o_1), alpha = softplus(o_2) / sqrt(scale), Var = mu + alpha mu^2.

    Salinas et al. (2020), section 3.1. Computed in logs, so that a mu near 0 stays exact.
    """

    name = "negative_binomial"
    n_params = 2
    counts = True
    located = False
    still: tuple[float, ...] = (0.0, 0.0)

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
        """Compute log P(Y >= target) by the incomplete beta function, in float64; exact."""
        mu, alpha = self._map(params, scale)
        odds, shape = (alpha * mu).log().double(), (1 / alpha).double()
        count = target.double().expand_as(odds)
        return negative_binomial_log_sf(count, odds, shape).to(mu)

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        mu, alpha = self._map(params, scale)
        return draws.negative_binomial(mu, alpha).to(mu)

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return the least count that reaches each level: exact below 128, within 1 or 1 % above."""
        mu, alpha = self._map(params, scale)
        shape = mu.shape
        mu, alpha = mu.reshape(-1).double(), alpha.reshape(-1).double()
        levels = levels.to(mu)
        counts = torch.full((len(mu), len(levels)), float(SUMMED), dtype=mu.dtype, device=mu.device)
        rows = torch.arange(len(mu), device=mu.device)
        for most in (SUMMED // 8, SUMMED):  # few need many counts added up
            for start in range(0, len(rows), PIECE // most):
                piece = rows[start : start + PIECE // most]
                counts[piece] = _least_counts(mu[piece], alpha[piece], levels, most)
            rows = rows[(counts[rows] >= most).any(1)]
        if len(rows):
            sums = counts[rows]
            approximation = _gamma_quantile(mu[rows], alpha[rows], levels).round().clamp(min=SUMMED)
            counts[rows] = torch.where(sums >= SUMMED, approximation, sums)
        return counts.view(*shape, len(levels)).to(params)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        return self._map(params, scale)[0]

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, 0, inverse_softplus(base.clamp(min=0.01)))


def least_counts(mu: Tensor, alpha: Tensor, chances: Tensor) -> Tensor:
    """Return the least counts k with P(Y <= k) >= chance, for a chance of each element's own; exact, no
    gradient.

    mu and alpha (elements,), chances (elements, Q), all float64; returns (elements, Q), 0 where a
    chance is 0 or below.
    """
    counts = torch.zeros_like(chances)
    rows = torch.arange(len(mu), device=mu.device)
    for most in (SUMMED // 8, SUMMED):  # few need many counts added up
        for start in range(0, len(rows), PIECE // most):
            piece = rows[start : start + PIECE // most]
            counts[piece] = _least_counts(mu[piece], alpha[piece], chances[piece], most)
        rows = rows[(counts[rows] >= most).any(1)]
    if len(rows):
        counts[rows] = _bisect(mu[rows, None], alpha[rows, None], chances[rows])
    return counts


def _bisect(mu: Tensor, alpha: Tensor, chances: Tensor) -> Tensor:
    """Find the same by bisection over whole numbers; for large counts."""
    odds, shape = (alpha * mu).log().expand_as(chances), (1 / alpha).expand_as(chances)
    tail = torch.log1p(-chances.clamp(max=1 - 1e-12)) + 1e-12  # log P(Y > k) is to come down to it

    def reached(count: Tensor) -> Tensor:
        # NaN counts as reached: no count would end the search
        return ~(negative_binomial_log_sf(count + 1, odds, shape) > tail) | (chances <= 0)

    low, high = torch.full_like(chances, -1.0), (2 * mu + 1).ceil().expand_as(chances)
    while not bool((done := reached(high)).all()):
        low, high = torch.where(done, low, high), torch.where(done, high, 4 * high)
    while bool((high - low > 1).any()):
        middle = ((low + high) / 2).floor().clamp(min=0)
        enough = reached(middle)
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return high


def _least_counts(mu: Tensor, alpha: Tensor, levels: Tensor, most: int) -> Tensor:
    """Find the least counts that reach the levels, (elements, Q), by summation; `most` where it is more."""
    k = torch.arange(most, dtype=mu.dtype, device=mu.device)
    odds = (alpha * mu)[:, None]
    first = torch.exp(-torch.log1p(odds) / alpha[:, None])  # P(Y = 0), (elements, 1)
    ratio = (k[1:] - 1 + 1 / alpha[:, None]) / k[1:] * (odds / (1 + odds))
    reached = torch.cat([first, ratio], 1).cumprod(1).cumsum(1)  # P(Y <= k), (elements, most)
    nearly = levels - 1e-12  # sums of many chances fall short by rounding
    return torch.searchsorted(reached, nearly.expand(len(mu), -1).contiguous()).to(mu)


def _gamma_quantile(mu: Tensor, alpha: Tensor, levels: Tensor) -> Tensor:
    """Return quantiles of the shifted gamma of the same mean, variance and skewness, (elements, Q)."""
    deviation = (mu * (1 + alpha * mu)).sqrt()
    skewness = (1 + 2 * alpha * mu) / deviation
    table = _gamma_scores(tuple(levels.tolist()), levels.device)
    place = skewness / (1 + skewness) * GRID
    left = place.nan_to_num(0.0).long().clamp(max=GRID - 2)  # (elements,)
    scores = torch.lerp(table[left], table[left + 1], (place - left)[:, None])
    return mu[:, None] + deviation[:, None] * scores


@lru_cache(maxsize=16)
def _gamma_scores(levels: tuple[float, ...], device: torch.device) -> Tensor:
    """Return quantiles of gammas of mean 0 and variance 1, (GRID, Q); row i has skewness i / (GRID - i).

    Kept, for they take most of a second.
    """
    with torch.inference_mode(False), torch.no_grad():
        wanted = torch.tensor(levels, dtype=torch.float64, device=device)
        step = torch.arange(1, GRID, dtype=torch.float64, device=device)[:, None]
        skewness = step / (GRID - step)
        shape = 4 / skewness**2  # (GRID - 1, 1)
        low = torch.zeros_like(shape * wanted)
        high = shape + 20 * shape.sqrt() + 40 + low
        for _ in range(60):
            middle = (low + high) / 2
            short = torch.special.gammainc(shape.expand_as(middle), middle) < wanted
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        scores = ((low + high) / 2 - shape) / shape.sqrt()
        return torch.cat([torch.special.ndtri(wanted)[None], scores])
