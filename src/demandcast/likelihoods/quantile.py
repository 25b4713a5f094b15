"""A grid of quantiles, learned by the pinball loss, that cannot cross."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.draws.tensors import BELOW_ONE, Source
from demandcast.likelihoods.base import Likelihood, knot_levels

GRID_LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)


class QuantileGrid(Likelihood):
    """The middle quantile free, the others by positive steps outwards from it.

    Gasthaus et al. (2019) and Park et al. (2022) call such a head incremental. Between the levels the
    quantile function is linear; beyond them it goes on as an exponential whose slope is that of the
    last piece. Loss: sum over levels of max(q e, (q - 1) e), e = (target - quantile) / scale.
    """

    name = "quantile"

    def __init__(self, levels: Sequence[float] = GRID_LEVELS) -> None:
        self.levels = knot_levels(levels, 3)
        self.n_params = len(self.levels)
        self.middle = min(range(self.n_params), key=lambda i: abs(self.levels[i] - 0.5))
        self.still = tuple(0.0 if i == self.middle else -3.0 for i in range(self.n_params))

    def grid(self, params: Tensor, scale: Tensor) -> Tensor:
        """Return the quantiles, (..., levels), never crossing."""
        centre = params[..., self.middle, None]
        below = softplus(params[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        above = softplus(params[..., self.middle + 1 :]).cumsum(-1)
        return torch.cat([centre - below, centre, centre + above], -1) * scale[..., None]

    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return minus the pinball loss: a quantile grid has no density."""
        error = (target[..., None] - self.grid(params, scale)) / scale[..., None]
        level = error.new_tensor(self.levels)
        return -torch.maximum(level * error, (level - 1) * error).sum(-1)

    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return the negative pinball loss of the quantiles below the bound: only those are wrong."""
        error = (target[..., None] - self.grid(params, scale)) / scale[..., None]
        return -(error.new_tensor(self.levels) * error.clamp(min=0)).sum(-1)

    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        grid = self.grid(params, scale)
        return self._interpolate(grid, levels.to(grid).expand(*grid.shape[:-1], len(levels)))

    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        grid = self.grid(params, scale)
        uniform = draws.uniform((*grid.shape[:-1], 1)).to(grid).clamp(max=BELOW_ONE)
        return self._interpolate(grid, uniform).squeeze(-1)

    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        """Return the integral of the quantile function over (0, 1), tails included."""
        grid = self.grid(params, scale)
        q = grid.new_tensor(self.levels)
        inner = ((grid[..., 1:] + grid[..., :-1]) / 2 * (q[1:] - q[:-1])).sum(-1)
        low, high = self._tails(grid)
        left = q[0] * (grid[..., 0] - low)
        right = (1 - q[-1]) * (grid[..., -1] + high)
        return inner + left + right

    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        return self.add_to_param(params, self.middle, base)

    def _tails(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Return scales of the exponential tails, from the outermost pieces, (...) each."""
        q = self.levels
        low = (grid[..., 1] - grid[..., 0]) / torch.tensor(q[1] / q[0]).log()
        high = (grid[..., -1] - grid[..., -2]) / torch.tensor((1 - q[-2]) / (1 - q[-1])).log()
        return low, high

    def _interpolate(self, grid: Tensor, at: Tensor) -> Tensor:
        q = grid.new_tensor(self.levels)
        right = torch.searchsorted(q, at.contiguous()).clamp(1, len(q) - 1)  # (..., Q)
        left_value, right_value = grid.gather(-1, right - 1), grid.gather(-1, right)
        weight = (at - q[right - 1]) / (q[right] - q[right - 1])
        inner = left_value + weight * (right_value - left_value)
        low, high = self._tails(grid)
        below = grid[..., :1] + low[..., None] * (at.clamp(min=1e-6) / q[0]).log()
        above = grid[..., -1:] - high[..., None] * ((1 - at).clamp(min=1e-6) / (1 - q[-1])).log()
        return torch.where(at < q[0], below, torch.where(at > q[-1], above, inner))
