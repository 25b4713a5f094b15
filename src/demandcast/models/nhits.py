"""NHITS: blocks that look at the past at falling rates and forecast at rising ones, added up.

Challu, Olivares, Oreshkin, Garza, Mergenthaler-Canseco, Dubrawski, "N-HiTS: Neural Hierarchical
Interpolation for Time Series Forecasting", AAAI 2023; arXiv:2201.12886.

Departs from the paper: emits the parameters of a likelihood, each interpolated as the point forecast
is, around the last season repeated (the authors' code: around the last value); covariates, which the
paper leaves to its appendix, are projected to a few numbers a step before the blocks read them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool1d

from demandcast.errors import ConfigError
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
class NHITSConfig(DirectConfig):
    max_steps: int = 2000
    learning_rate: float = 2e-3
    weight_decay: float = 1.0  # its million weights learn a short calendar by heart otherwise
    pools: tuple[int, ...] = setting((4, 2, 1), COUNT)  # steps that each block's max-pool joins
    # steps between the knots of each block's forecast
    strides: tuple[int, ...] = setting((8, 4, 1), COUNT)
    hidden: int = setting(128, COUNT)  # nodes of the two layers of each block
    projected: int = setting(4, COUNT)  # numbers a step that covariates are projected to

    def __post_init__(self) -> None:
        """Refuse blocks of which one half is missing."""
        super().__post_init__()
        if len(self.pools) != len(self.strides) or not self.pools:
            raise ConfigError(
                f"pools={self.pools} and strides={self.strides} name a block each, in steps of 1 or "
                "more; give as many of one as of the other",
                option="strides",
                found=self.strides,
                expected=f"{len(self.pools)} strides of 1 or more",
            )


class Block(nn.Module):
    """Section 3.2 and 3.3: pool, two layers, knots; knots interpolated over context and horizon."""

    def __init__(
        self,
        plan: Plan[NHITSConfig],
        n_inputs: int,
        likelihood: Likelihood,
        pool: int,
        stride: int,
        last: bool,
    ) -> None:
        super().__init__()
        config, context, horizon = plan.config, plan.context, plan.horizon
        self.context, self.horizon, self.pool = context, horizon, min(pool, context)
        pooled = -(-context // self.pool)
        self.mlp = nn.Sequential(
            nn.Linear(pooled + n_inputs, config.hidden),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
        )
        self.backcast = None if last else nn.Linear(config.hidden, max(context // stride, 1))
        self.forecast = ParameterHead(config.hidden, likelihood, max(horizon // stride, 1))
        nn.init.zeros_(self.forecast.bias)  # the network's own `still` is there once

    def forward(self, x: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, context), (batch, others) -> what is left, (batch, context), and (batch, horizon, params)."""
        pooled = max_pool1d(x[:, None], self.pool, ceil_mode=True)[:, 0]  # (batch, pooled)
        hidden = self.mlp(torch.cat([pooled, inputs], -1))  # (batch, hidden)
        left = x
        if self.backcast is not None:  # nothing reads what the last block leaves
            back = interpolate(self.backcast(hidden)[:, None], self.context, mode="linear")
            left = x - back[:, 0]  # (batch, context)
        knots = self.forecast(hidden).transpose(1, 2)  # (batch, params, knots)
        ahead = interpolate(knots, self.horizon, mode="linear")  # (batch, params, horizon)
        return left, ahead.transpose(1, 2)


class NHITSNetwork(Network[NHITSConfig]):
    def __init__(self, plan: Plan[NHITSConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, horizon = plan.context, plan.horizon
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        self.project = nn.Linear(sizes.features, config.projected)
        self.project_past = nn.Linear(sizes.past_features + 1, config.projected)
        n_inputs = (2 * context + horizon) * config.projected + self.static.width + 1
        last = len(config.pools) - 1
        self.blocks = nn.ModuleList(
            Block(plan, n_inputs, likelihood, pool, stride, i == last)
            for i, (pool, stride) in enumerate(zip(config.pools, config.strides, strict=True))
        )
        self.register_buffer("still", torch.tensor(likelihood.still), persistent=False)
        self.linear = SeasonalLinear(context, horizon, season_within(plan.freq, context))

    def forward(self, window: Window) -> Tensor:
        x = self.scale_context(window)  # (batch, context)
        level = torch.asinh(window.level / window.scale)  # (batch, 1)
        observed = window.past_observed[..., None].to(x.dtype)
        past = self.project_past(torch.cat([window.past_features, observed], -1))
        known = self.project(window.features)  # (batch, context + horizon, projected)
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        inputs = torch.cat([known.flatten(1), past.flatten(1), static, level], -1)
        left, params = x, self.get_buffer("still")
        for block in self.blocks:
            left, ahead = block(left, inputs)  # (batch, context), (batch, horizon, params)
            params = params + ahead  # (batch, horizon, params)
        return self.lift_params(window, params, self.linear(x))


class NHITS(NeuralForecaster[NHITSConfig]):
    """NHITS, with any likelihood; "auto" is the quantile grid."""

    name = "nhits"
    portfolio = 320
    summary = "blocks of many rates, pooled in and interpolated out (Challu et al. 2023)"
    takes = "target, known, past, static, available"
    gives = "quantiles"
    Config = NHITSConfig
    Net = NHITSNetwork
    scaling = "standard"
