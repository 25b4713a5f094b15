"""Extreme-value memory: a GRU that remembers what followed windows like this one, and warns of it.

Ding, Zhang, Pan, Yang, He, "Modeling extreme events in time series prediction", KDD 2019.

Departs from the paper:

- All steps ahead are forecast at once, and each remembered window is labelled with the steps that followed it.
- The memory is taken from the context, so it holds nothing after the cutoff.
- The layer that predicts the labels of a window also predicts those of the context, with the covariates of the steps
  ahead; the memory raises or lowers its odds.
- The two tails have a label each, in place of one indicator in [-1, 1].
- The forecast is any likelihood's, around the last season repeated.
- The output is a probability, not the indicator of the loss, which the weights of the loss distort.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from demandcast.draws.tensors import TensorDraws
from demandcast.errors import ConfigError
from demandcast.layers.decoder import ParameterHead, StepDecoder
from demandcast.layers.dropout import Dropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.generators import generator
from demandcast.layers.last_season import SeasonalLinear, season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, NOT_NEGATIVE, number, setting
from demandcast.windows.window import Sizes, Window

NEAR = 1e-6  # an indicator's distance from 0 and 1, for the logarithms


@dataclass(frozen=True, kw_only=True)
class ExtremeValueMemoryConfig(DirectConfig):
    max_steps: int = 1000
    batch_size: int | str = 64
    learning_rate: float = 2e-3
    # nodes of the GRU, which reads context and remembered windows alike
    hidden: int = setting(32, COUNT)
    decoded: int = setting(32, COUNT)  # numbers of each step ahead before the last layer
    # windows of the context remembered, drawn for each batch; forecasts read all
    memory: int = setting(32, COUNT)
    # steps of a remembered window; None: a quarter of the context, up to 30
    span: int | None = setting(None, COUNT)
    high: float = 0.95  # above this quantile of the context a value is an extreme
    low: float = 0.05  # and below this one
    # extreme value index, above 1; the larger, the flatter the weights
    gamma: float = setting(2.0, number("above 1", lambda gamma: gamma > 1))
    # of the extreme value losses beside the likelihood's
    weight: float = setting(1.0, NOT_NEGATIVE)

    def __post_init__(self) -> None:
        """Refuse thresholds that are none."""
        super().__post_init__()
        if not 0 < self.low < self.high < 1:
            raise ConfigError(
                f"low={self.low} and high={self.high} are quantile levels of the context, low below "
                "high, as in low=0.05, high=0.95",
                option="low",
                found=self.low,
                expected="a level below high",
            )


def extreme_value_loss(u: Tensor, v: Tensor, share: Tensor, gamma: float) -> Tensor:
    """Return the cross-entropy with more weight on the rare class, and less where it is already right;
    section 3.2.

    -(1 - s) (1 - u / gamma)^gamma v log u - s (1 - (1 - u) / gamma)^gamma (1 - v) log(1 - u): for
    gamma to infinity the brackets are exp(-u) and exp(u - 1).

    Args:
        u: Indicator in (0, 1), (...).
        v: 1 where the value was extreme, else 0, (...).
        share: s, the share of extremes; broadcasts with u.
        gamma: Extreme value index, above 1.
    """
    u = u.clamp(NEAR, 1 - NEAR)
    extreme = (1 - share) * (1 - u / gamma) ** gamma * v * u.log()
    normal = share * (1 - (1 - u) / gamma) ** gamma * (1 - v) * torch.log1p(-u)
    return -(extreme + normal)


def probability(u: Tensor, share: Tensor, gamma: float) -> Tensor:
    """Return the probability of an extreme for which u minimises the expected extreme value loss.

    The loss is convex in u, so every u is the answer to one probability: p / (1 - p) =
    s S(1 - u) / ((1 - s) S(u)), where -S is the slope of (1 - u / gamma)^gamma (-log u).
    """
    u = u.clamp(NEAR, 1 - NEAR)

    def slope(x: Tensor) -> Tensor:
        left = 1 - x / gamma
        return left ** (gamma - 1) * (left / x - x.log())

    extreme, normal = share * slope(1 - u), (1 - share) * slope(u)
    return extreme / (extreme + normal)


class ExtremeValueMemoryNetwork(Network[ExtremeValueMemoryConfig]):
    def __init__(
        self, plan: Plan[ExtremeValueMemoryConfig], sizes: Sizes, likelihood: Likelihood
    ) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        assert config.span is not None
        self.span = config.span
        context, horizon, hidden = plan.context, plan.horizon, config.hidden
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        self.inlet = nn.Linear(2 + sizes.features + sizes.past_features, hidden)
        self.gru = nn.GRU(hidden, hidden, batch_first=True)
        self.drop = Dropout(config.dropout)
        self.labels = nn.Linear(
            hidden, 2 * horizon
        )  # what a window's end says of the steps after it
        read = hidden + self.static.width + 1
        self.ahead = StepDecoder(read, sizes.features, horizon, config.decoded)
        self.known = nn.Linear(config.decoded, 2)
        self.trust = nn.Parameter(torch.full((2,), 0.5))  # in the memory's odds
        self.head = ParameterHead(config.decoded, likelihood)
        self.spread = nn.Linear(2, likelihood.n_params, bias=False)
        nn.init.zeros_(self.spread.weight)
        self.lifting = nn.Parameter(torch.tensor(-2.0))  # b of the paper, by softplus
        self.linear = SeasonalLinear(context, horizon, season_within(plan.freq, context))
        shares = torch.tensor([1 - config.high, config.low])
        self.register_buffer("shares", shares, persistent=False)

    def thresholds(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return the values above and below which values are extremes, in the user's units, (batch, 1) each."""
        values = window.past_target.masked_fill(~window.past_observed, torch.nan)
        levels = values.new_tensor([self.config.high, self.config.low])
        above, below = torch.nanquantile(values, levels, dim=1)[..., None].nan_to_num()
        return above, below

    def extremes(self, values: Tensor, window: Window) -> Tensor:
        """Label values (batch, steps) as high or low extremes, (batch, steps, 2)."""
        above, below = self.thresholds(window)
        return torch.stack([values > above, values < below], -1).to(values.dtype)

    @staticmethod
    def certain(labels: Tensor, observed: Tensor, censored: Tensor) -> Tensor:
        """Return which labels are known, (batch, steps, 1): of censored demand only that it was high."""
        return (observed & (~censored | (labels[..., 0] > 0)))[..., None]

    def remember(self, inputs: Tensor, window: Window) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Read windows of the context, and label the steps that followed each.

        Returns embeddings (batch, memory, hidden), labels (batch, memory, horizon, 2), which of them
        are certain (batch, memory, horizon, 1), and which windows hold anything (batch, memory).
        """
        horizon, span, context = self.plan.horizon, self.span, inputs.shape[1]
        places = context - span - horizon + 1  # below 1 where the context is too short to remember
        begins = torch.arange(max(places, 1), device=inputs.device)
        if self.training and places > self.config.memory:
            random = generator(inputs.device)
            shuffled = torch.randperm(places, generator=random, device=inputs.device)
            begins = shuffled[: self.config.memory]
        steps = begins[:, None] + torch.arange(span, device=inputs.device)
        after = begins[:, None] + span + torch.arange(horizon, device=inputs.device)
        after = after.clamp(max=context - 1)
        states, _ = self.gru(inputs[:, steps].flatten(0, 1))  # (batch * memory, span, hidden)
        embedded = states[:, -1].view(len(inputs), len(begins), -1)  # (batch, memory, hidden)
        labels = self.extremes(window.past_target, window)  # (batch, context, 2)
        certain = self.certain(labels, window.past_observed, window.past_censored)
        filled = window.past_observed[:, steps].any(2) & (places > 0)  # (batch, memory)
        return embedded, labels[:, after], certain[:, after], filled

    def inputs(self, window: Window) -> Tensor:
        """Return the GRU's input at each step of the context, (batch, context, hidden)."""
        x = self.scale_context(window)[..., None]
        observed = window.past_observed[..., None].to(x.dtype)
        features = window.features[:, : x.shape[1]]
        return torch.tanh(self.inlet(torch.cat([x, observed, features, window.past_features], -1)))

    def attention(self, now: Tensor, embedded: Tensor, filled: Tensor) -> Tensor:
        """Return the similarity of the context and each remembered window, (batch, memory); sums to 1, or all
        0.
        """
        scores = (embedded @ now[..., None])[..., 0]  # (batch, memory)
        return torch.softmax(scores.masked_fill(~filled, -1e9), 1) * filled

    def forward(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Return parameters (batch, horizon, params), indicators (batch, horizon, 2), loss of the memory."""
        x = self.scale_context(window)  # (batch, context)
        inputs = self.inputs(window)  # (batch, context, hidden)
        now = self.gru(inputs)[0][:, -1]  # (batch, hidden)
        embedded, labels, certain, filled = self.remember(inputs, window)
        share = self.attention(now, embedded, filled)[:, :, None, None] * certain
        recalled = ((share * labels).sum(1) + NEAR) / (
            share.sum(1) + 2 * NEAR
        )  # (batch, horizon, 2)

        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        level = torch.asinh(window.level / window.scale)  # (batch, 1)
        past = self.drop(torch.cat([now, static, level], -1))
        ahead = self.drop(self.ahead(past, window.features[:, x.shape[1] :]))
        logits = self.labels(now).view(len(x), -1, 2) + self.known(ahead)  # (batch, horizon, 2)
        memory_logits = softplus(self.trust) * torch.logit(recalled, 0.01)
        u = torch.sigmoid(logits + memory_logits)  # (batch, horizon, 2)

        base = self.linear(x) + softplus(self.lifting) * (u[..., 0] - u[..., 1])
        params = self.lift_params(window, self.head(ahead) + self.spread(u), base)
        own_labels = torch.sigmoid(self.labels(embedded)).view(labels.shape)
        filled = filled & window.has_scale
        memory = self.extreme(own_labels, labels, certain & filled[:, :, None, None])
        return params, u, memory

    def extreme(self, u: Tensor, v: Tensor, counted: Tensor) -> Tensor:
        """Return the mean extreme value loss of both tails, a scalar."""
        loss = extreme_value_loss(u, v, self.get_buffer("shares"), self.config.gamma)
        mean: Tensor = (loss * counted).sum() / counted.sum().clamp(min=1)
        return mean

    def loss(self, window: Window) -> Tensor:
        """Return the likelihood's loss, and the extreme value losses of the forecast and of the memory."""
        params, u, memory = self(window)
        observed = self.loss_mask(window)  # (batch, horizon)
        target, scale = window.future_target, window.scale.expand(observed.shape)
        cost = self.likelihood.loss(
            params, target, scale, observed=observed, censored=window.future_censored
        )  # (batch, horizon)
        labels = self.extremes(target, window)  # (batch, horizon, 2)
        certain = self.certain(labels, observed, window.future_censored)
        warned = self.extreme(u, labels, certain)
        extremes: Tensor = self.config.weight * (warned + memory)
        return cost.sum() / observed.sum().clamp(min=1) + extremes

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, None]:
        params, _, _ = self(window)
        scale = window.scale.expand(params.shape[:-1])
        quantiles = self.likelihood.quantile(params, scale, levels)
        return quantiles, self.likelihood.mean(params, scale), None

    def events(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return probabilities of high and low extremes (batch, horizon, 2), and their thresholds (batch, 2)."""
        _, u, _ = self(window)
        chances = probability(u, self.get_buffer("shares"), self.config.gamma)
        return chances, torch.cat(self.thresholds(window), -1)


class ExtremeValueMemory(NeuralForecaster[ExtremeValueMemoryConfig]):
    """The memory network, with any likelihood; warns of extremes in `forecast.events`."""

    name = "extreme_value_memory"
    summary = "GRU with a memory of past extremes, and the odds of new ones (Ding et al. 2019)"
    takes = "target, known, past, static, available"
    gives = "quantiles and odds of extremes"
    Config = ExtremeValueMemoryConfig
    Net = ExtremeValueMemoryNetwork
    scaling = "standard"
    rows = 128
    context_floor = 120  # a few extremes

    def resolve(self, panel: Panel) -> ExtremeValueMemoryConfig:
        config = super().resolve(panel)
        assert config.context is not None
        span = config.span or max(1, min(30, config.context // 4))
        if config.span and config.span + self.horizon > config.context:
            raise ConfigError(
                f"span={config.span} and the horizon of {self.horizon} steps after it do not fit into "
                f"context={config.context}; give a longer context or a shorter span",
                option="span",
                found=config.span,
                expected=f"fewer steps than context={config.context} less the horizon",
            )
        return replace(config, span=span)
