"""Static categories as learned vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from demandcast.layers.generators import generator


class StaticEmbedding(nn.Module):
    """One table a category, min(50, (values + 1) // 2) wide, beside the static numbers.

    Code 0 is a value not seen in training. So that its vector is learned too, a code is dropped to 0
    with probability 0.1 in training: a new item then gets the vector of an unknown one, not noise.
    """

    def __init__(self, categories: tuple[int, ...], reals: int, drop: float = 0.1) -> None:
        super().__init__()
        self.widths = [min(50, (values + 1) // 2) for values in categories]
        self.tables = nn.ModuleList(
            nn.Embedding(values + 1, width)
            for values, width in zip(categories, self.widths, strict=True)
        )
        self.drop = drop
        self.width = sum(self.widths) + reals

    def forward(self, codes: Tensor, reals: Tensor) -> Tensor:
        """Embed codes (batch, categories), and append reals (batch, reals): (batch, width)."""
        if self.training and len(self.tables):
            random = generator(codes.device)
            uniform = torch.rand(codes.shape, generator=random, device=codes.device)
            codes = torch.where(uniform < self.drop, 0, codes)
        parts = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        return torch.cat([*parts, reals], -1)
