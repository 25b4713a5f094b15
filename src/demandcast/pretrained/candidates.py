"""Candidates for the location of each step ahead: levels, seasons, similar steps, shifted past seasons."""

from __future__ import annotations

import torch
from torch import Tensor

from demandcast.layers.readings import value_at
from demandcast.pretrained.level_and_seasons import Reading


def candidate_places(
    r: Reading,
    steps: Tensor,
    levels: tuple[Tensor, ...],
    attended: Tensor,
    season: list[Tensor],
) -> Tensor:
    """Return candidates for the location of each step ahead, (batch, s, places)."""
    mean, without, line, slope = (part[:, None] for part in levels)  # (batch, 1, heads)
    f, g, e, fr, er = season  # (batch, s, 1) each
    like, like_near, like_far, _, by_near, by_far = attended[..., :6].unbind(
        -1
    )  # (batch, s, heads)
    n = steps.to(r.x.dtype)[None, :, None]
    damped = 9 * (1 - 0.9**n)  # a slope that loses a tenth with each step
    z = r.zero[..., None]
    soon, later = mean[..., 1:2], line[..., :1] + slope[..., :1] * damped
    now_near, now_far = r.near[:, None, -1:], r.far[:, None, -1:]
    return torch.cat(
        [
            z + (mean - z) * (1 + fr) * (1 + er), z + (mean + f - z) * (1 + er),
            like_near + soon + e, like_far + later, z + (soon - z) * (1 + by_near),
            z + (later - z) * (1 + by_far), z + (now_far - z) * (1 + by_far),
            mean + f + e, without + f + g + e, line + slope * n + f + e,
            line + slope * damped + f + g + e, like, like_near + now_near, like_far + now_far,
            _repeat_seasons(r, steps, mean[..., 2] + f.squeeze(-1)),
            mean[..., :1].expand(-1, len(steps), -1),
        ], -1,
    )  # fmt: skip


def _repeat_seasons(r: Reading, steps: Tensor, fallback: Tensor) -> Tensor:
    """Return the values one and two seasons before, unchanged and shifted to today's level, (batch, s, 7)."""
    short, long = r.seasons.chunk(2, 1)
    now, candidates = r.far[:, -1:], []
    for period, cycles in ((short, 1), (short, 2), (long, 1)):
        p = period.clamp(min=1)
        index = r.x.shape[1] - 1 + steps[None] - p * ((steps[None] + p - 1) // p + cycles - 1)
        value, valid = value_at(r.x, r.observed, index, fallback)
        candidates.append(value)
        if cycles == 1:
            then, _ = value_at(r.far, r.observed, index, torch.zeros_like(fallback))
            rise = (now - r.zero).maximum(r.floor) / (then - r.zero).maximum(r.floor)
            candidates.append(torch.where(valid, value - then + now, value))
            grown = r.zero + (value - r.zero) * rise.clamp(0.2, 5)
            candidates.append(torch.where(valid, grown, value))
    place = torch.arange(r.x.shape[1], device=r.x.device)[None]
    last = r.x.gather(1, torch.where(r.observed, place, 0).amax(1, keepdim=True))
    candidates[4] = torch.where(long > 1, candidates[4], last)
    return torch.stack(candidates, -1)


def shift_seasons(
    r: Reading, steps: Tensor, weights: Tensor, effect: Tensor, fallback: Tensor
) -> Tensor:
    """Return the last short and long season, shifted by the recent departure from them, (batch, s, 16).

    By a sum and by a ratio, for each head's weights of age; without the effect of covariates, which
    is put back as it will be.
    """
    context = r.x.shape[1]
    x = (r.x - effect[:, :context]) * r.observed
    ahead = effect[:, context + steps - 1]
    place = torch.arange(context, device=x.device)[None]
    candidates = []
    for period in r.seasons.chunk(2, 1):
        p = period.clamp(min=1)
        before, has_value = value_at(x, r.observed, place - p, torch.zeros_like(x))
        paired = (has_value & r.observed & (period > 1)).to(x.dtype)
        pair = torch.stack([(x - before) * paired, paired], -1)
        gone, count = (weights @ pair).unbind(-1)  # (batch, heads)
        drift = gone / count.clamp(min=1e-6) * (count > 1e-4)
        pair = torch.stack([(x - r.zero) * paired, (before - r.zero) * paired], -1)
        now, then = ((weights @ pair) / count.clamp(min=1e-6)[..., None]).unbind(-1)
        ratio = ((now + r.floor) / (then.clamp(min=0) + r.floor)).clamp(0.2, 5)
        index = context - 1 + steps[None] - p * ((steps[None] + p - 1) // p)
        value, _ = value_at(x, r.observed, index, fallback)
        value = value[..., None]  # (batch, s, 1)
        z = r.zero[..., None]
        grown = z + (value - z) * torch.where(count > 1e-4, ratio, 1.0)[:, None]
        candidates += [value + drift[:, None], grown]
    return torch.cat(candidates, -1) + ahead[..., None]
