"""Attention over past steps by interpretable keys: age, phase in two seasons, covariates."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from demandcast.layers.readings import empirical_quantiles, quantiles_of, window_means
from demandcast.pretrained.level_and_seasons import Reading

MASK = -1e4  # logit of a step that is not there


def attend_by_age(
    r: Reading, rates: Tensor, clear: Tensor, clearer: Tensor
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Attend to the past by age alone; return levels and slopes of each head, and the weights.

    Returns:
        Means without the short season, without both, (batch, heads) each; the line at the cutoff and
        its slope a step, without the quickest head; weights (batch, heads, context).
    """
    absent = torch.where(r.observed, 0.0, MASK)[:, None]  # (batch, 1, context)
    weights = torch.softmax(absent - rates[:, :, None] * r.age, -1)  # (batch, heads, context)
    t, o = -r.age / 32, r.observed
    powers = torch.stack([clear, t * o, t.square() * o, t * clear, clearer], -1)
    mean, mt, mtt, mxt, without = (weights @ powers).unbind(-1)
    slope = ((mxt - mean * mt) / (mtt - mt.square() + 0.02))[:, 1:]  # 0.02: few steps have none
    line = mean[:, 1:] - slope * mt[:, 1:]
    return (mean, without, line, slope / 32), weights


def errors_of(r: Reading, rates: Tensor, clear: Tensor, levels: Tensor) -> Tensor:
    """Return distributions of past errors around their median, (batch, errors, levels).

    Of the mean of the last short season as a forecast, and of its repetition; by the two slow rates.
    """
    trailing = window_means(clear, r.observed, r.width, trailing=True)
    quantiles = []
    for error, valid in (
        ((clear - trailing) * r.observed, r.observed),
        ((r.x - r.last_season) * r.paired, r.paired),
    ):
        at_knots = empirical_quantiles(error, valid, levels)
        under = (error[..., None] <= at_knots[:, None] + 1e-6).to(error.dtype)
        absent = torch.where(valid, 0.0, MASK)[:, None]
        weights = torch.softmax(absent - rates[:, 2:, None] * r.age, -1)
        ramp = torch.ones_like(at_knots[:, None, :1])
        quantiles.append(quantiles_of(weights @ under, at_knots[:, None], levels, ramp))
    errors = torch.cat(quantiles, 1)
    return errors - errors[..., levels.numel() // 2, None]


def attend_by_likeness(
    r: Reading, steps: Tensor, sharp: Tensor, reach: Tensor, below: Tensor
) -> tuple[Tensor, Tensor]:
    """Attend from each step ahead to the steps of the past that are like it.

    The logits are kappa (cos - 1) of the angle between their phases in each season, less a rate times the
    age, less the distance of their covariates: products of vectors all of them.

    Returns:
        Means of the values, their distances from near and far levels, their squares, the two distances
        in parts of the level, and of `below`, (batch, s, heads, 6 + levels); and how many steps they rest
        on, as good as, (batch, s, heads).
    """
    turn = 2 * torch.pi / r.seasons.clamp(min=1)  # (batch, 2)
    asked_phase, past_phase = turn[..., None] * steps, -turn[..., None] * r.age
    kappa = sharp[..., :2].clamp(max=9).exp() * (r.seasons > 1)[:, None]  # (batch, heads, 2)
    asked_phase = torch.cat(
        [asked_phase.cos(), asked_phase.sin(), torch.ones_like(asked_phase)], 1
    )  # (batch, 6, s)
    asks = torch.cat([kappa.repeat(1, 1, 2), -kappa], 2)[..., None] * asked_phase[:, None]
    keys = [
        past_phase.cos(),
        past_phase.sin(),
        torch.ones_like(past_phase),
    ]  # (batch, 2, context) each
    if r.covariates.shape[-1]:  # -w (a - b)^2 = 2 w a b - w a^2 - w b^2
        weigh = (r.relevance[:, None] * softplus(reach)[..., None])[..., None]
        ours = r.covariates[:, r.x.shape[1] + steps - 1].transpose(1, 2)[:, None]
        other = r.covariates[:, : r.x.shape[1]].transpose(1, 2)  # (batch, covariates, context)
        alone = (weigh * ours.square()).sum(2, keepdim=True)  # (batch, heads, 1, s)
        asks = torch.cat([asks, 2 * weigh * ours, -weigh.expand(-1, -1, -1, len(steps)), -alone], 2)
        keys += [other, other.square(), torch.ones_like(past_phase[:, :1])]
    logits = asks.transpose(2, 3) @ torch.cat(keys, 1)[:, None]  # (batch, heads, s, context)
    faded = torch.where(r.observed, 0.0, MASK)[:, None] - sharp[..., 2:].exp() * r.age
    logits = logits + faded[:, :, None]
    weights = torch.softmax(logits, -1).flatten(1, 2)  # (batch, heads * s, context)
    o = r.observed
    carried = [
        r.x, (r.x - r.near) * o, (r.x - r.far) * o, r.x.square(),
        ((r.x - r.near) / r.over).clamp(-3, 3) * o,
        ((r.x - r.far) / (r.far - r.zero).maximum(r.floor)).clamp(-3, 5) * o,
    ]  # fmt: skip
    attended = weights @ torch.cat([torch.stack(carried, -1), below], -1)
    count = 1 / torch.linalg.vector_norm(weights.detach(), dim=-1).square().clamp(min=1e-6)
    shape = (len(r.x), kappa.shape[1], len(steps))
    return attended.view(*shape, -1).transpose(1, 2), count.view(shape).transpose(1, 2)
