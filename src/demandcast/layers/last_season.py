"""A linear layer that starts as the seasonal naive forecast, for networks that forecast all steps at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from demandcast.frequency import Frequency


def season_within(freq: str, context: int) -> int:
    """Return the shortest season that fits the context, in steps; 1 if none does.

    That of a day for hours: a week ago the weather was another, and what the week adds is learned.
    """
    return min((p for p in Frequency.parse(freq).periods if p <= context), default=1)


class SeasonalLinear(nn.Linear):
    """A linear map from context to horizon that begins as the seasonal naive forecast.

    The weight of the value one season before each step, or two or more where the horizon is longer,
    begins at 1 and all others at 0. So few steps of training start from a forecast that is no
    worse than naive, and every mix of seasons, levels and trends can be learned from there. What is
    learned is kept beside the start, so that weight decay draws back to the season, not to nothing. The
    steps before `first` are left out, where they are not wanted.
    """

    def __init__(
        self, context: int, horizon: int, period: int, weight: float = 1.0, first: int = 0
    ) -> None:
        super().__init__(context, horizon - first)
        step = torch.arange(first, horizon)
        start = torch.zeros(horizon - first, context)
        start[step - first, context - period + step % period] = weight
        self.register_buffer("start", start, persistent=False)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., context) -> (..., horizon - first)."""
        return linear(x, self.get_buffer("start") + self.weight, self.bias)
