"""Implicit quantiles: a network that is asked for any level, and answers with the quantile there.

Dabney, Ostrovski, Silver, Munos, "Implicit quantile networks for distributional reinforcement
learning", ICML 2018; for forecasts Gouttes, Rasul, Koren, Stephan, Naghibi, "Probabilistic time
series forecasting with implicit quantile networks", ICML 2021 time series workshop, arXiv:2107.03743.

    q(tau) = centre + v . (h * (1 + phi(tau))) - the same at tau = 1/2
    phi(tau) = relu(W cos(pi i tau) + b), i = 0 .. 63

Departs from the papers: one linear map v follows the product, so that the quantiles at many levels
are one product of matrices; its value at 1/2 is taken off, so that the first parameter is the median
and a forecast can be lifted. Nothing in the network keeps quantiles in order: those returned are the
increasing rearrangement of the function on a fine grid of levels (Chernozhukov, Fernández-Val,
Galichon, "Quantile and probability curves without crossing", Econometrica 78 (2010)), which is the
quantile function of what is drawn.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from demandcast.draws.tensors import Source
from demandcast.layers.generators import generator
from demandcast.likelihoods.base import Likelihood

COSINES = 64
WIDTH = 24  # hidden numbers, h, that the model emits for each step
DRAWS = 8  # levels drawn for each element in a step of training
GRID = 256  # levels at which the function is laid out to be put in order


class ImplicitQuantile(Likelihood, nn.Module):
    """Parameters are the centre and the hidden vector; phi and v are weights of its own.

    A network that holds it trains and saves them with its own. Loss: max(tau e, (tau - 1) e), e in
    units of the scale, at levels drawn anew for each element; in evaluation on a grid of levels.
    """

    name = "implicit_quantile"
    n_params = 1 + WIDTH
    still = (0.0, *[0.1] * WIDTH)

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.phi = nn.Linear(COSINES, WIDTH)
        self.out = nn.Linear(WIDTH, 1, bias=False)

    def basis(self, tau: Tensor) -> Tensor:
        """Return the factors of h at levels (...): (..., WIDTH), 0 at one half."""
        rows = torch.cat([tau.flatten(), tau.new_full((1,), 0.5)])[:, None]
        waves = (math.pi * torch.arange(COSINES, device=tau.device) * rows).cos()
        factors = 1 + self.phi(waves.to(self.phi.weight)).relu()  # (levels + 1, WIDTH)
        weighted = (factors - factors[-1:]) * self.out.weight
        levels: Tensor = weighted[:-1].view(*tau.shape, WIDTH)
        return levels

    def grid(self, device: torch.device) -> Tensor:
        return (torch.arange(GRID, device=device) + 0.5) / GRID

    def _errors(self, params: Tensor, target: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return errors in units of the scale, and the levels they belong to, (..., levels) both."""
        centre, hidden = params[..., :1], params[..., 1:]
        if self.training:
            random = generator(params.device)
            tau = torch.rand((*hidden.shape[:-1], DRAWS), generator=random, device=params.device)
            values = (self.basis(tau) @ hidden[..., None])[..., 0]  # (..., DRAWS)
        else:
            tau = self.grid(params.device)
            values = hidden @ self.basis(tau).to(hidden).T  # (..., GRID)
        return (target / scale)[..., None] - centre - values, tau

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return minus twice the mean pinball loss, an estimate of the CRPS: there is no density."""
        error, tau = self._errors(params, target, scale)
        return -2 * torch.maximum(tau * error, (tau - 1) * error).mean(-1)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return the negative pinball loss of the quantiles below the bound: only those are wrong."""
        error, tau = self._errors(params, target, scale)
        return -2 * (tau * error.clamp(min=0)).mean(-1)

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        """Evaluate the quantile function at a level drawn for each element."""
        tau = draws.uniform(params.shape[:-1]).to(params)
        drawn = (self.basis(tau).to(params) * params[..., 1:]).sum(-1)
        return (params[..., 0] + drawn) * scale

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return quantiles in order; levels within 1/512 of 0 or 1 get the outermost value of the grid."""
        basis = self.basis(self.grid(params.device)).to(params)
        values = (params[..., 1:] @ basis.T).sort(-1).values  # (..., GRID)
        place = (levels.to(params) * GRID - 0.5).clamp(0, GRID - 1)
        left = place.long().clamp(max=GRID - 2)  # (Q,)
        interpolated = torch.lerp(values[..., left], values[..., left + 1], place - left)
        return (params[..., :1] + interpolated) * scale[..., None]

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        basis = self.basis(self.grid(params.device)).to(params).mean(0)
        return (params[..., 0] + params[..., 1:] @ basis) * scale

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        """Move the median to `base`."""
        return self.add_to_param(params, 0, base)
