"""The encoder: attention over patches of the history describes what kind of history it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from demandcast.pretrained.level_and_seasons import Reading


def patches(r: Reading, patch: int) -> tuple[Tensor, Tensor]:
    """Return the content and place of each patch of the past, (batch, patches, 3 patch + 6), and which are
    empty.
    """
    o = r.observed.to(r.x.dtype)
    channels = torch.stack([r.x.asinh(), r.residual.asinh(), o], 1)  # (batch, 3, context)
    cut = pad(channels, (-r.x.shape[1] % patch, 0)).unfold(2, patch, patch)
    absent = ~(cut[:, 2] > 0).any(-1)  # (batch, patches)
    absent = absent & ~absent.all(1, keepdim=True)
    count = cut.shape[2]
    centre = torch.arange(count - 1, -1, -1, device=o.device, dtype=o.dtype) * patch + patch / 2
    centre = centre.expand(len(o), -1)  # (batch, patches)
    where = [
        phase_features(centre, r.seasons),
        centre[..., None].log() / 3,
        centre[..., None].sqrt() / 16,
    ]
    return torch.cat([cut.transpose(1, 2).flatten(2), *where], -1), absent


class Block(nn.Module):
    """Attention over patches and a feed-forward layer, each on what layer norm leaves."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attend = nn.MultiheadAttention(width, 4, batch_first=True)
        self.feed = mlp(width, 2 * width, width)

    def forward(self, tokens: Tensor, absent: Tensor) -> Tensor:
        x = self.before(tokens)
        tokens = tokens + self.attend(x, x, x, key_padding_mask=absent, need_weights=False)[0]
        out: Tensor = tokens + self.feed(self.between(tokens))
        return out


def mlp(inner: int, hidden: int, outer: int, *, last: float = 1.0) -> nn.Sequential:
    """Build two layers; the weights of the second start `last` times as large as usual."""
    second = nn.Linear(hidden, outer)
    with torch.no_grad():
        second.weight.mul_(last)
        second.bias.zero_()
    return nn.Sequential(nn.Linear(inner, hidden), nn.GELU(), second)


def phase_features(steps: Tensor, seasons: Tensor) -> Tensor:
    """Return sines and cosines of steps (batch, n) in two seasons (batch, 2): (batch, n, 4); 0 without one."""
    angle = steps[:, None] / seasons.clamp(min=1)[..., None] * 2 * torch.pi  # (batch, 2, n)
    both = torch.cat([angle.sin(), angle.cos()], 1) * (seasons > 1).repeat(1, 2)[..., None]
    return both.transpose(1, 2)
