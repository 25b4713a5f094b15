"""From what was read to hidden numbers of each step ahead, and on to the parameters of a likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from demandcast.likelihoods.base import Likelihood


class ParameterHead(nn.Linear):
    """A linear map to parameters that begins at a narrow distribution around 0.

    Weights begin at 0, so that a network starts from the forecast its parameters are lifted to.

    Args:
        width: Hidden numbers that are read.
        likelihood: Whose parameters are emitted.
        steps: Steps emitted from one vector; None where every step has a vector of its own.
    """

    def __init__(self, width: int, likelihood: Likelihood, steps: int | None = None) -> None:
        super().__init__(width, (steps or 1) * likelihood.n_params)
        self.steps, self.n_params = steps, likelihood.n_params
        with torch.no_grad():
            self.weight.zero_()
            self.bias.copy_(torch.tensor(likelihood.still).repeat(steps or 1))

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., steps, params), or (..., params) where steps is None."""
        out = super().forward(x)
        return out if self.steps is None else out.view(*x.shape[:-1], self.steps, self.n_params)


class StepDecoder(nn.Module):
    """One vector of the past and the covariates of each step ahead, to hidden numbers of that step.

    The vector gives every step numbers of its own, the covariates are read alike at every step.

    Args:
        width: Numbers in the vector.
        features: Covariates of a step.
        horizon: Steps ahead.
        hidden: Numbers of a step that come out.
    """

    def __init__(self, width: int, features: int, horizon: int, hidden: int) -> None:
        super().__init__()
        self.horizon, self.hidden = horizon, hidden
        self.past = nn.Linear(width, horizon * hidden)
        self.known = nn.Linear(features, hidden, bias=False)
        self.mix = nn.Linear(hidden, hidden)

    def forward(self, past: Tensor, features: Tensor) -> Tensor:
        """(batch, width), (batch, horizon, features) -> (batch, horizon, hidden)."""
        steps = self.past(past).view(-1, self.horizon, self.hidden)  # (batch, horizon, hidden)
        return torch.relu(self.mix(torch.relu(steps + self.known(features))))
