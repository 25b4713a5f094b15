"""The autoregressive highway of LSTNet: a linear forecast of each series from its own last steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from demandcast.layers.last_season import SeasonalLinear, season_within


def last_observed(values: Tensor, observed: Tensor) -> Tensor:
    """Return the last observed value of each series, (batch, steps, series) -> (batch, 1, series); 0 if none."""
    step = torch.arange(1, values.shape[1] + 1, device=values.device)[:, None]  # (steps, 1)
    latest = (observed * step).amax(1, keepdim=True)  # (batch, 1, series), 0 where none
    last = values.gather(1, (latest - 1).clamp(min=0))
    return torch.where(latest > 0, last, torch.zeros_like(last))


class Highway(nn.Module):
    """Lai et al. (2018), section 3.5: y[t+h, j] = sum_{q < steps} w[h, q] x[t-q, j] + b[h].

    The weights are shared by all series, so a series' forecast follows its own level whatever the
    network says. They begin as the last season repeated, the last value where none fits `steps`.
    """

    def __init__(self, steps: int, horizon: int, freq: str, first: int = 0) -> None:
        super().__init__()
        self.steps = steps
        self.linear = SeasonalLinear(steps, horizon, season_within(freq, steps), first=first)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, context, series) -> (batch, horizon - first, series)."""
        out: Tensor = self.linear(x[:, -self.steps :].transpose(1, 2))
        return out.transpose(1, 2)
