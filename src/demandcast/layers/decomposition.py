"""A series as a slow trend and what it leaves over."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d


def moving_average(x: Tensor, width: int) -> Tensor:
    """Return the mean over a centred window of `width` steps, odd; the ends are repeated to fill it.

    (batch, steps) -> (batch, steps), as Wu et al., "Autoformer", NeurIPS 2021, section 3.1.
    """
    first, last = x[:, :1].expand(-1, width // 2), x[:, -1:].expand(-1, width // 2)
    return avg_pool1d(torch.cat([first, x, last], 1), width, stride=1)
