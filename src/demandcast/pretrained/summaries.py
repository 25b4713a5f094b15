"""Summary statistics of a history that the network reads; none of them is learned."""

from __future__ import annotations

import torch
from torch import Tensor

from demandcast.layers.readings import empirical_quantiles, masked_mean, mean_change
from demandcast.pretrained.level_and_seasons import Reading, recent_weights

CHANGES = (1, 2, 4, 8, 16, 32, 64)  # lags whose mean change tells how errors grow


def moves_of(r: Reading) -> Tensor:
    """Return the mean change by each of `CHANGES`, (batch, lags)."""
    return torch.cat([mean_change(r.x, r.observed, lag) for lag in CHANGES], 1)


def naive_error(r: Reading) -> Tensor:
    """Return the mean error of the short season repeated; of the last value where there is no season."""
    naive = masked_mean((r.x - r.last_season).abs() * r.paired, r.paired)
    return torch.where(naive > 0, naive, mean_change(r.x, r.observed, 1))


def empty(r: Reading) -> Tensor:
    """Return which observed steps are 0, (batch, context), bool."""
    return ((r.x - r.zero).abs() <= 1e-6 * (1 + r.zero.abs())) & r.observed


def facts_of(
    r: Reading, levels: Tensor, none: Tensor, moves: Tensor, naive: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the recent share of zeros, (batch, 1), and all summaries of the history.

    `none`, `moves` and `naive` are of `empty`, `moves_of` and `naive_error`, which others read too.
    """
    o, context = r.observed, r.x.shape[1]
    demanded = o & ~none
    zeros = masked_mean(none.to(r.x.dtype), o)
    late = (none * recent_weights(r.age, o)).sum(1, keepdim=True)
    size = masked_mean((r.x - r.zero).abs() * demanded, demanded)
    uneven = masked_mean(((r.x - r.zero).abs() - size).square() * demanded, demanded)
    spread = masked_mean(r.residual.abs() * o, o)
    units = (masked_mean((r.x - r.zero).abs() * o, o) * r.scale).log1p()  # in the user's units
    short, long = r.seasons.chunk(2, 1)

    def share(part: Tensor) -> Tensor:
        return masked_mean(part[:, :context].abs() * o, o)

    firm = spread.clamp(min=1e-2) * 4
    facts = torch.cat(
        [
            empirical_quantiles(r.x, o, levels).asinh(), (moves / spread.clamp(min=1e-3)).log1p(),
            r.zero.asinh(), r.seen.log() / 3, o.sum(1, keepdim=True).clamp(min=1) / r.seen, zeros,
            late, -(1 - late).clamp(min=0.02).log(),
            (uneven / size.square().clamp(min=1e-9)).clamp(max=20).log1p(), r.whole,
            units / 5 * r.whole, (r.seen / short.clamp(min=1)).log() * (short > 1),
            (r.seen / long.clamp(min=1)).log() * (long > 1), short.clamp(min=1).log() / 3,
            long.clamp(min=1).log() / 3, share(r.first) / firm, share(r.second) / firm,
            share(r.effect) / firm,
            (share(r.x - r.near - r.over * r.parted[:, :context]) / share(r.rest).clamp(min=1e-2)).log(),
            share(r.ratio) * 2, naive.log1p(), spread.log1p(),
            r.relevance.amax(1, keepdim=True),
            ((r.x < r.zero - 1e-6 * (1 + r.zero.abs())) & o).any(1, keepdim=True).to(r.x.dtype),
            r.near[:, -1:].asinh(),
            masked_mean((r.x - r.last_year).abs() * r.coupled, r.coupled).log1p(),
            error_persistence((r.x - r.last_season) * r.paired, r.paired), error_persistence(r.residual * o, o),
        ], 1,
    )  # fmt: skip
    return late, facts.clamp(-8, 8)


def error_persistence(error: Tensor, there: Tensor) -> Tensor:
    """Return how much of an error remains one step later, about -1 to 1, (batch, 1)."""
    both = there[:, 1:] & there[:, :-1]
    product = masked_mean(error[:, 1:] * error[:, :-1] * both, both)
    return (product / masked_mean(error.square() * there, there).clamp(min=1e-6)).clamp(-2, 2)


def growth(moves: Tensor, steps: Tensor) -> Tensor:
    """Log of the mean change over so many steps against that over one, (batch, steps)."""
    logs = moves.clamp(min=1e-2).log()
    logs = torch.where(moves > 0, logs - logs[:, :1], 0.0)
    place = steps.to(moves.dtype).log2().clamp(0, len(CHANGES) - 1)
    low = place.floor().long().clamp(max=len(CHANGES) - 2)
    weight = place - low
    return (logs[:, low] * (1 - weight) + logs[:, low + 1] * weight).clamp(-2, 3)
