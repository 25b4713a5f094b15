"""`nn.LSTM`, with the cheap masks of `apply_mask` between its layers on a CPU, and with some inputs embedded."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from demandcast.layers.dropout import apply_mask


class LSTM(nn.LSTM):
    """The weights and the results of `nn.LSTM(batch_first=True)`, but for where masks are drawn from.

    Args:
        width: Numbers a step that the first layer reads.
        hidden: Numbers a step that each layer gives.
        layers: How many, one upon the other.
        dropout: Share of a layer's output that the next does not see, in training.
    """

    def __init__(self, width: int, hidden: int, layers: int = 1, dropout: float = 0.0) -> None:
        between = dropout if layers > 1 else 0.0  # no dropout after the last layer
        super().__init__(width, hidden, layers, batch_first=True, dropout=between)

    def forward(self, x: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        """(batch, steps, width), state -> (batch, steps, hidden), state; see `nn.LSTM`."""
        if not (self.training and self.dropout and x.device.type == "cpu"):
            return super().forward(x, hx)  # fused kernels draw masks of their own
        if hx is None:
            hx = (x.new_zeros(self.num_layers, len(x), self.hidden_size),) * 2
        states: list[tuple[Tensor, Tensor]] = []
        for layer in range(self.num_layers):
            before = tuple(state[layer : layer + 1] for state in hx)  # (1, batch, hidden)
            weights = cast(list[Tensor], self._flat_weights[4 * layer : 4 * layer + 4])
            x, *after = torch.lstm(
                apply_mask(x, self.dropout) if layer else x,
                before,
                weights,
                True,
                1,
                0.0,
                True,
                False,
                True,
            )  # (batch, steps, hidden)
            states.append((after[0], after[1]))
        return x, tuple(torch.cat(state) for state in zip(*states, strict=True))


class EmbeddedLSTM(LSTM):
    """An LSTM that reads its first inputs through a linear map.

    Args:
        embedded: How many of the inputs are mapped, the first ones.
        size: Numbers they are mapped to.
        width, hidden, layers, dropout: As of `LSTM`; the width is that of the inputs as they come.
    """

    def __init__(
        self, embedded: int, size: int, width: int, hidden: int, layers: int, dropout: float
    ) -> None:
        super().__init__(width - embedded + size, hidden, layers, dropout)
        self.embedded, self.embedding = embedded, nn.Linear(embedded, size)

    def forward(self, x: Tensor, hx: Any = None) -> Any:  # type: ignore[override]
        """(batch, steps, width), state -> (batch, steps, hidden), state; see `nn.LSTM`."""
        first, rest = x[..., : self.embedded], x[..., self.embedded :]
        return super().forward(torch.cat([self.embedding(first), rest], -1), hx)
