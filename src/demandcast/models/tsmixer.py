"""TSMixer: layers that mix along time take turns with layers that mix the inputs of a step.

Chen, Li, Yoder, Arik, Pfister, "TSMixer: An All-MLP Architecture for Time Series Forecasting", TMLR
2023; arXiv:2303.06053. This is the extended one (section 4.2, figure 4), which aligns past, future
and static inputs before it mixes them; its channels are those of one series.

Departs from the paper: emits the parameters of a likelihood around a linear forecast that begins as
the last season repeated; layer norm over the inputs of a step in place of a batch norm over both
axes, so that forecasts do not depend on what else is in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demandcast.layers.decoder import ParameterHead
from demandcast.layers.dropout import Dropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.last_season import SeasonalLinear, season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.settings import COUNT, setting
from demandcast.windows.window import Sizes, Window


@dataclass(frozen=True, kw_only=True)
class TSMixerConfig(DirectConfig):
    max_steps: int = 2000
    learning_rate: float = 2e-3
    width: int = setting(32, COUNT)  # inputs of a step once they are aligned
    hidden: int = setting(64, COUNT)  # nodes of each feature-mixing layer
    layers: int = setting(2, COUNT)


class TimeMixing(nn.Module):
    """One linear map along time, shared by the inputs of a step; residual."""

    def __init__(self, steps: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)
        self.linear = nn.Linear(steps, steps)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> the same."""
        mixed = torch.relu(self.linear(self.norm(x).transpose(1, 2))).transpose(1, 2)
        out: Tensor = x + self.dropout(mixed)
        return out


class FeatureMixing(nn.Module):
    """An MLP over the inputs of a step and the static ones, shared by the steps; residual."""

    def __init__(self, width: int, static: int, hidden: int, out: int, dropout: float) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width + static, hidden),
            nn.ReLU(),
            Dropout(dropout),
            nn.Linear(hidden, out),
            Dropout(dropout),
        )
        self.skip = nn.Identity() if width == out else nn.Linear(width, out)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor, static: Tensor) -> Tensor:
        """(batch, steps, width), (batch, static) -> (batch, steps, out)."""
        fixed = static[:, None].expand(-1, x.shape[1], -1)  # (batch, steps, static)
        mixed: Tensor = self.norm(self.skip(x) + self.mlp(torch.cat([x, fixed], -1)))
        return mixed


class TSMixerNetwork(Network[TSMixerConfig]):
    def __init__(self, plan: Plan[TSMixerConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, horizon = plan.context, plan.horizon
        self.static = StaticEmbedding(sizes.categories, sizes.reals)

        def mixing(width: int) -> FeatureMixing:
            static = self.static.width + 1
            return FeatureMixing(width, static, config.hidden, config.width, config.dropout)

        self.align = nn.Linear(context, horizon)
        self.past = mixing(2 + sizes.past_features + sizes.features)
        self.ahead = mixing(1 + sizes.features)
        self.time = nn.ModuleList(
            TimeMixing(horizon, 2 * config.width if i == 0 else config.width, config.dropout)
            for i in range(config.layers)
        )
        self.feature = nn.ModuleList(
            mixing(2 * config.width if i == 0 else config.width) for i in range(config.layers)
        )
        self.linear = SeasonalLinear(context, horizon, season_within(plan.freq, context))
        self.head = ParameterHead(config.width, likelihood)

    def forward(self, window: Window) -> Tensor:
        context = self.plan.context
        x = self.scale_context(window)  # (batch, context)
        level = torch.asinh(window.level / window.scale)  # (batch, 1)
        static = torch.cat([self.static(window.static_codes, window.static_reals), level], -1)
        base = self.linear(x)  # (batch, horizon)
        target_inputs = torch.stack(
            [x, window.past_observed.to(x.dtype)], -1
        )  # (batch, context, 2)
        past = torch.cat([target_inputs, window.past_features, window.features[:, :context]], -1)
        past = self.align(past.transpose(1, 2)).transpose(1, 2)  # (batch, horizon, inputs)
        ahead = torch.cat([base[..., None], window.features[:, context:]], -1)
        mixed = torch.cat([self.past(past, static), self.ahead(ahead, static)], -1)
        for time, feature in zip(self.time, self.feature, strict=True):
            mixed = feature(time(mixed), static)  # (batch, horizon, width)
        return self.lift_params(window, self.head(mixed), base)  # (batch, horizon, params)


class TSMixer(NeuralForecaster[TSMixerConfig]):
    """TSMixer, with any likelihood; "auto" is the quantile grid."""

    name = "tsmixer"
    portfolio = 310
    summary = "MLPs along time and along inputs by turns, with covariates (Chen et al. 2023)"
    takes = "target, known, past, static, available"
    gives = "quantiles"
    Config = TSMixerConfig
    Net = TSMixerNetwork
    scaling = "standard"
