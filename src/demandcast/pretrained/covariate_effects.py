"""Effects of covariates known ahead: the relevance of each, and a ridge regression on all."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from demandcast.layers.readings import masked_mean


def effects(
    known: Tensor,
    rest: Tensor,
    fitted: Tensor,
    observed: Tensor,
    horizon: int,
    listen: nn.Module,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return standardised covariates, the relevance of each, and their effect by ridge regression.

    Args:
        known: (batch, context + horizon, covariates); NaN where not given.
        rest: What level and seasons leave over, (batch, context).
        fitted: Level and seasons, above 0, (batch, context).
        observed: (batch, context), bool.
        horizon: Steps after the context.
        listen: From 7 facts of a covariate to how much it is listened to, and how far it is trusted.

    Returns:
        Covariates, (batch, context + horizon, covariates); how much each tells, (batch, covariates); their
        effect in units of `rest`, and in parts of what was `fitted`, (batch, context + horizon) each.
    """
    batch, context = rest.shape
    c = known[:, : context + horizon]
    if not c.shape[-1]:
        none = rest.new_zeros(batch, context + horizon)
        return c, rest.new_zeros(batch, 1), none, none
    has_value = ~c.isnan()
    mean = masked_mean(torch.where(has_value, c, 0.0), has_value)
    c = torch.where(has_value, c - mean, 0.0)
    size = masked_mean(c.square(), has_value).sqrt()
    varies = size > 1e-6 * mean.abs() + 1e-12
    c = torch.where(varies, c / size.clamp(min=1e-12), 0.0).clamp(-12, 12)
    o = observed[..., None]
    n = o.sum(1).clamp(min=1)  # (batch, 1)
    level = masked_mean(c[:, :context] * o, o)
    past = (c[:, :context] - level) * o
    error = (rest - masked_mean(rest, observed)) * observed
    cross = (past * error[..., None]).sum(1) / n  # (batch, covariates)
    varied = past.square().sum(1) / n
    loud = error.square().sum(1, keepdim=True) / n
    correlation = cross / (varied * loud).clamp(min=1e-9).sqrt()
    t = torch.linspace(-1.7, 1.7, context, device=c.device)[None, :, None] * o
    leaning = (past * (t - masked_mean(t, o))).sum(1) / n / varied.clamp(min=1e-6).sqrt()
    coming = (c[:, context:] - level).square().mean(1) / varied.clamp(min=0.05)
    facts = torch.stack(
        [
            correlation.abs() * 2, correlation.abs() * n.sqrt() / 8,
            n.log().expand_as(cross) / 3, varied.clamp(max=4), leaning.abs() * 2,
            (past.square().square().sum(1) / n).sqrt() / 2, coming.log1p(),
        ], -1,
    ).clamp(-4, 4)  # fmt: skip
    heard, trusted = listen(facts).unbind(-1)  # (batch, covariates) each
    relevance = softplus(heard) * (varied > 1e-6)
    trusted = torch.sigmoid(trusted + 2)[:, None]
    # what is trusted less is shrunk more by the same ridge
    past, c = past * trusted, c * trusted
    level, cross = level * trusted, cross * trusted[:, 0]
    square = past.transpose(1, 2) @ past / n[..., None]
    square = square + torch.diag_embed((0.02 + 2 / n).expand(-1, c.shape[-1]))
    parts = (error / fitted).clamp(-3, 5)
    parts = (parts - masked_mean(parts, observed)) * observed
    by_ratio = (past * parts[..., None]).sum(1) / n
    effects = torch.linalg.solve(square, torch.stack([cross, by_ratio], -1))
    effect, ratio = ((c - level) @ effects).unbind(-1)  # (batch, context + horizon)
    return c / trusted, relevance, effect, ratio
