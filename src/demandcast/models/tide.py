"""TiDE: dense layers encode the past and all covariates, dense layers decode every step ahead.

Das, Kong, Leach, Mathur, Sen, Yu, "Long-term Forecasting with TiDE: Time-series Dense Encoder",
TMLR 2023; arXiv:2304.08424.

Departs from the paper: emits the parameters of a likelihood around the forecast of its linear path,
which begins as the last season repeated and is an input of the temporal decoder too; covariates
known to the cutoff only, and which values were observed, are projected and encoded as the others are.
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
class TiDEConfig(DirectConfig):
    hidden: int = setting(128, COUNT)  # nodes of each dense layer
    encoders: int = setting(2, COUNT)  # residual blocks
    decoders: int = setting(1, COUNT)
    projected: int = setting(4, COUNT)  # numbers a step that covariates are projected to
    # numbers a step that the dense decoder hands to the temporal one
    decoded: int = setting(16, COUNT)
    temporal: int = setting(64, COUNT)  # nodes of the temporal decoder


class ResidualBlock(nn.Module):
    """Section 4.1, figure 1 right: an MLP of one hidden layer beside a linear map, then layer norm."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, out), Dropout(dropout)
        )
        self.skip = nn.Linear(width, out)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.dense(x) + self.skip(x))  # (..., out)
        return normed


class TiDENetwork(Network[TiDEConfig]):
    def __init__(self, plan: Plan[TiDEConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, horizon, r = plan.context, plan.horizon, config.projected

        def block(width: int, out: int, hidden: int = config.hidden) -> ResidualBlock:
            return ResidualBlock(width, hidden, out, config.dropout)

        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        self.project = block(sizes.features, r, 4 * r)
        self.project_past = block(sizes.past_features + 1, r, 4 * r)
        read = context + (2 * context + horizon) * r + self.static.width + 1
        widths = [read, *[config.hidden] * (config.encoders + config.decoders - 1)]
        blocks = [block(width, config.hidden) for width in widths]
        self.dense = nn.Sequential(*blocks, nn.Linear(config.hidden, horizon * config.decoded))
        self.linear = SeasonalLinear(context, horizon, season_within(plan.freq, context))
        self.temporal = block(config.decoded + r + 2, config.temporal, config.temporal)
        self.head = ParameterHead(config.temporal, likelihood)

    def forward(self, window: Window) -> Tensor:
        context, horizon = self.plan.context, self.config.horizon
        x = self.scale_context(window)  # (batch, context)
        level = torch.asinh(window.level / window.scale)  # (batch, 1)
        known = self.project(window.features)  # (batch, context + horizon, projected)
        observed = window.past_observed[..., None].to(x.dtype)
        past = self.project_past(torch.cat([window.past_features, observed], -1))
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        read = torch.cat([x, known.flatten(1), past.flatten(1), static, level], -1)
        decoded = self.dense(read).view(len(x), horizon, -1)  # (batch, horizon, decoded)
        base = self.linear(x)  # (batch, horizon)
        ahead = [
            decoded,
            known[:, context:],
            base[..., None],
            level[:, None].expand(-1, horizon, -1),
        ]
        params = self.head(self.temporal(torch.cat(ahead, -1)))  # (batch, horizon, params)
        return self.lift_params(window, params, base)


class TiDE(NeuralForecaster[TiDEConfig]):
    """TiDE, with any likelihood; "auto" is the quantile grid."""

    name = "tide"
    portfolio = 330
    summary = "dense encoder and decoder with covariates, beside a linear path (Das et al. 2023)"
    takes = "target, known, past, static, available"
    gives = "quantiles"
    Config = TiDEConfig
    Net = TiDENetwork
    scaling = "standard"
