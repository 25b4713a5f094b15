"""Dropout that a sequence carries through, in training and in forecasts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SequenceDropout(nn.Module):
    """Variational dropout: one mask for all steps of a sequence.

    Gal, Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
    NIPS 2016; arXiv:1512.05287. `nn.LSTM(dropout=)` draws a new mask at every step, which is another
    model. The masks lie on what goes into a layer and comes out of it, never on its recurrent state,
    so that the fused kernels stay in use.

    Args:
        p: Share of the numbers that are left out.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(
        self, x: Tensor, *, passes: int = 0, generator: torch.Generator | None = None
    ) -> Tensor:
        """(rows, steps, width) -> the same shape, thinned; x itself where nothing is to be left out.

        Args:
            x: Sequences.
            passes: Where above 0, rows are windows x passes, and pass k of every window meets the
                same mask: it is a thinned network of its own. Else each row has a mask of its own,
                in training only.
            generator: Where the masks of passes are drawn from.
        """
        if not self.p or not (passes or self.training):
            return x
        rows, width = passes or len(x), x.shape[-1]
        uniform = torch.rand(rows, 1, width, generator=generator, device=x.device)
        mask = (uniform >= self.p).to(x.dtype) / (1 - self.p)
        return x * (mask.repeat(len(x) // rows, 1, 1) if passes else mask)
