"""Statistics of a history without learned weights: its level, seasons, and the effects of covariates."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demandcast.layers.readings import main_period, masked_mean, phase_means, value_at, window_means
from demandcast.pretrained.covariate_effects import effects
from demandcast.pretrained.inputs import Histories

RESOLVED = 2.0**23
COUNTED = 40.0  # whole numbers that vary by less are counts


@dataclass(frozen=True)
class Reading:
    """Statistics of a history before anything is weighted: values in units of `scale` around `level`.

    Seasons and effects reach over the horizon, (batch, context + horizon); the others end at the cutoff.
    """

    x: Tensor  # (batch, context); 0 where not observed
    observed: Tensor  # (batch, context), bool
    age: Tensor  # steps before the cutoff, (context,)
    level: Tensor  # (batch, 1), in the user's units
    scale: Tensor  # (batch, 1), in the user's units
    zero: Tensor  # where 0 lies, (batch, 1)
    floor: Tensor  # the least level that ratios are taken of, (batch, 1)
    whole: Tensor  # 1 where all values are whole numbers, (batch, 1)
    counted: Tensor  # whether they are whole and few enough to be told apart, (batch, 1), bool
    seasons: Tensor  # steps in a short and a long one, (batch, 2), int64
    seen: Tensor  # steps since the first value, (batch, 1)
    near: Tensor  # mean of a short season around each step
    far: Tensor  # mean of a long one
    over: Tensor  # `near` above 0, at least the floor
    width: Tensor  # steps in the short window, (batch, 1)
    first: Tensor  # short season, a sum
    second: Tensor  # long season, a sum
    parted: Tensor  # short season, in parts of the level
    covariates: Tensor  # (batch, context + horizon, covariates), standardised
    relevance: Tensor  # of each covariate, (batch, covariates)
    effect: Tensor  # of all covariates, a sum
    ratio: Tensor  # of all covariates, in parts of the level
    rest: Tensor  # without level and seasons
    residual: Tensor  # and without the effect of covariates
    last_season: Tensor  # the value one short season before each step
    paired: Tensor  # where both were observed, bool
    last_year: Tensor  # the value one long season before each step
    coupled: Tensor  # where both were observed, bool


def read(h: Histories, horizon: int, listen: nn.Module) -> Reading:
    """Compute all statistics that need no weights but the relevance of covariates: see `effects`."""
    context = h.past.shape[1]
    observed = ~h.past.isnan()  # (batch, context)
    raw = torch.where(observed, h.past, 0.0)
    age = torch.arange(context - 1, -1, -1, device=raw.device, dtype=raw.dtype)
    fade = recent_weights(age, observed)
    level = (fade * raw).sum(1, keepdim=True)
    size = masked_mean(raw.abs(), observed)
    # the mean distance from a recent mean, never small beside the values
    scale = torch.maximum((fade * (raw - level).abs()).sum(1, keepdim=True), 0.02 * size)
    scale = torch.where(scale > 0, scale, 1.0)
    x = torch.where(observed, (raw - level) / scale, 0.0)
    zero = -level / scale
    floor = (0.1 * size / scale).clamp(min=0.05)
    short = torch.where(h.periods[:, :1] > 1, h.periods[:, :1], main_period(x, observed))
    long = torch.where(h.periods[:, 1:] > short, h.periods[:, 1:], 0)
    span = (age[None] * observed).amax(1, keepdim=True).long() + 1
    width = torch.where(short > 1, short, 7).minimum(span.clamp(min=2))
    wider = torch.where(long > 1, long, 4 * width).minimum(span.clamp(min=2))
    near = window_means(x, observed, width, trailing=False)
    far = window_means(x, observed, wider, trailing=False)
    first = phase_means((x - near) * observed, observed, short, horizon, 1.0)
    rest = (x - near - first[:, :context]) * observed
    second = phase_means(rest, observed, long * (long < span), horizon, 1.5)
    rest = rest - second[:, :context] * observed
    over = torch.maximum(near - zero, floor)
    parts = ((x - near) / over).clamp(-3, 3) * observed
    parted = phase_means(parts, observed, short, horizon, 1.0)
    fitted = (near + first[:, :context] + second[:, :context] - zero).maximum(floor)
    covariates, relevance, effect, ratio = effects(h.known, rest, fitted, observed, horizon, listen)
    place = torch.arange(context, device=x.device)[None]
    last_year, has_year = value_at(x, observed, place - long.clamp(min=1), torch.zeros_like(x))
    last_season, has_season = value_at(x, observed, place - short.clamp(min=1), torch.zeros_like(x))
    # float32 has no fractions from `RESOLVED` on: there whole numbers tell nothing
    whole = (raw % 1 == 0).all(1, keepdim=True) & (raw.abs() < RESOLVED).all(1, keepdim=True)
    return Reading(
        x=x, observed=observed, age=age, level=level, scale=scale, zero=zero, floor=floor,
        whole=whole.to(x.dtype), counted=whole & (scale < COUNTED),
        seasons=torch.cat([short, long], 1), seen=span, near=near, far=far, over=over, width=width,
        first=first, second=second, parted=parted, covariates=covariates, relevance=relevance,
        effect=effect, ratio=ratio, rest=rest,
        residual=rest - effect[:, :context] * observed, last_season=last_season,
        paired=has_season & observed,
        last_year=last_year, coupled=has_year & observed & (long > 1),
    )  # fmt: skip


def recent_weights(age: Tensor, observed: Tensor) -> Tensor:
    """Return weights of the last few dozen observed steps, (batch, context), 1 in sum; 0 if there are none."""
    fade = torch.exp(-age / 64) * observed
    return fade / fade.sum(1, keepdim=True).clamp(min=1e-9)
