"""Negative binomials with a chance of zero of its own: zero-inflated and hurdle.

Lambert, "Zero-inflated Poisson regression", Technometrics 34 (1992); Mullahy, "Specification and
testing of some modified count data models", Journal of Econometrics 33 (1986).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from demandcast.draws.tensors import Source
from demandcast.likelihoods.negative_binomial import NegativeBinomial, least_counts


class _WithZeros(NegativeBinomial):
    """A negative binomial, its two parameters first, and a logit."""

    n_params = 3

    def _parts(self, params: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return mu, alpha, the logit, and log of the negative binomial's P(0), (...) each."""
        mu, alpha = self._map(params[..., :2], scale)
        return mu, alpha, params[..., 2].expand_as(mu), -torch.log1p(alpha * mu) / alpha

    def _at(self, params: Tensor, scale: Tensor, chances: Tensor) -> Tensor:
        """Return negative-binomial counts at chances (..., Q), float64; 0 where those are 0 or below."""
        mu, alpha = (x.double().flatten() for x in self._map(params[..., :2], scale))
        counts = least_counts(mu, alpha, chances.flatten(0, -2))
        return counts.view(chances.shape).to(params)


class ZeroInflatedNegativeBinomial(_WithZeros):
    """Zero with probability pi, else a negative binomial, which may be zero as well.

    pi = sigmoid(o_3); mu and alpha as in `NegativeBinomial`.
    """

    name = "zero_inflated_negative_binomial"
    still = (0.0, 0.0, -2.0)

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        _, _, logit, log_zero = self._parts(params, scale)
        rest = logsigmoid(-logit)
        count = rest + super().log_prob(params[..., :2], target, scale)
        zero = torch.logaddexp(logsigmoid(logit), rest + log_zero)
        return torch.where(target > 0, count, zero)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        tail = logsigmoid(-params[..., 2]) + super().log_survival(params[..., :2], target, scale)
        return torch.where(target > 0, tail, torch.zeros_like(tail))

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        counts = super()._sample(params[..., :2], scale, draws.at("count"))
        zero = draws.at("zero").uniform(counts.shape) < params[..., 2].sigmoid()
        return torch.where(zero, 0.0, counts)

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return the least count that reaches each level, exact."""
        zero = params[..., 2, None].double().sigmoid()  # (..., 1)
        return self._at(params, scale, (levels.double() - zero) / (1 - zero))

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        mu, _, logit, _ = self._parts(params, scale)
        return mu * torch.sigmoid(-logit)


class HurdleNegativeBinomial(_WithZeros):
    """Above zero with probability pi, and then a negative binomial that is not zero.

    pi = sigmoid(o_3); mu and alpha, as in `NegativeBinomial`, are those before zero is taken out.
    """

    name = "hurdle_negative_binomial"
    still = (0.0, 0.0, 0.0)

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        _, _, logit, log_zero = self._parts(params, scale)
        positive = logsigmoid(logit) - torch.log(-torch.expm1(log_zero))
        count = positive + super().log_prob(params[..., :2], target, scale)
        return torch.where(target > 0, count, logsigmoid(-logit))

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        _, _, logit, log_zero = self._parts(params, scale)
        positive = logsigmoid(logit) - torch.log(-torch.expm1(log_zero))
        tail = positive + super().log_survival(params[..., :2], target, scale)
        return torch.where(target > 0, tail, torch.zeros_like(tail))

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        """Evaluate the quantile function at a uniform level: exact however rare a count above 0 is."""
        mu = self._map(params[..., :2], scale)[0]
        level = draws.uniform((*mu.shape, 1)).double()
        return self._at(params, scale, self._chances(params, scale, level)).squeeze(-1)

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return the least count that reaches each level, exact."""
        return self._at(params, scale, self._chances(params, scale, levels.double()))

    def _chances(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return the levels of the negative binomial that levels of the whole correspond to, (..., Q); 0 for
        zeros.
        """
        _, _, logit, log_zero = self._parts(params.double(), scale.double())
        zero, above = log_zero.exp()[..., None], -torch.expm1(log_zero)[..., None]
        chance = logit.sigmoid()[..., None]  # of a count above 0, (..., 1)
        inner = (levels - (1 - chance)) / chance  # (..., Q)
        return torch.where(inner > 0, zero + inner * above, 0.0)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        mu, _, logit, log_zero = self._parts(params, scale)
        return logit.sigmoid() * mu / -torch.expm1(log_zero)
