"""DLinear and NLinear: one linear map from the context to the horizon, shared by all series.

Zeng, Chen, Zhang, Xu, "Are Transformers Effective for Time Series Forecasting?", AAAI 2023;
arXiv:2205.13504. DLinear maps the trend and what the trend leaves over by a matrix each; NLinear
takes the last value off, maps the rest, and puts it back on.

Departs from the paper: emits the parameters of a likelihood around the linear forecast, read from the
sizes of what the trend (NLinear: the last value) leaves over; the matrices begin as the last season
repeated, not as the mean; the context is standardised.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from demandcast.layers.decoder import ParameterHead
from demandcast.layers.decomposition import moving_average
from demandcast.layers.dropout import Dropout
from demandcast.layers.last_season import SeasonalLinear, season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.settings import Rule, setting
from demandcast.windows.window import Sizes, Window

ODD = Rule(lambda steps: steps >= 1 and steps % 2 == 1, "an odd number of steps")


@dataclass(frozen=True, kw_only=True)
class NLinearConfig(DirectConfig):
    batch_size: int | str = 256
    max_steps: int = 2000
    learning_rate: float = 3e-3
    dropout: float = 0.0  # of the sizes that the spread is read from


@dataclass(frozen=True, kw_only=True)
class DLinearConfig(NLinearConfig):
    max_steps: int = 1000
    learning_rate: float = 8e-3
    trend_width: int = setting(25, ODD)  # steps in the moving average, odd


class DLinearNetwork(Network[DLinearConfig]):
    def __init__(self, plan: Plan[DLinearConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        period = season_within(plan.freq, plan.context)
        self.trend = SeasonalLinear(plan.context, plan.horizon, period)
        self.remainder = SeasonalLinear(plan.context, plan.horizon, period)
        self.spread = ParameterHead(plan.context, likelihood, plan.horizon)
        self.dropout = Dropout(config.dropout)

    def forward(self, window: Window) -> Tensor:
        x = self.scale_context(window)  # (batch, context)
        trend = moving_average(x, self.config.trend_width)  # (batch, context)
        base = self.trend(trend) + self.remainder(x - trend)  # (batch, horizon)
        params = self.spread(self.dropout((x - trend).abs()))  # (batch, horizon, params)
        return self.lift_params(window, params, base)


class NLinearNetwork(Network[NLinearConfig]):
    def __init__(self, plan: Plan[NLinearConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        period = season_within(plan.freq, plan.context)
        self.linear = SeasonalLinear(plan.context, plan.horizon, period)
        self.spread = ParameterHead(plan.context, likelihood, plan.horizon)
        self.dropout = Dropout(config.dropout)

    def forward(self, window: Window) -> Tensor:
        x = self.scale_context(window)  # (batch, context)
        last = x[:, -1:]  # (batch, 1)
        base = self.linear(x - last) + last  # (batch, horizon)
        params = self.spread(self.dropout((x - last).abs()))  # (batch, horizon, params)
        return self.lift_params(window, params, base)


class DLinear(NeuralForecaster[DLinearConfig]):
    """DLinear, with any likelihood; "auto" is the quantile grid."""

    name = "dlinear"
    summary = "a linear map of the trend and one of the rest (Zeng et al. 2023)"
    takes = "target, available"
    gives = "quantiles"
    Config = DLinearConfig
    Net = DLinearNetwork
    scaling = "standard"
    seasons_floor = 4  # two weeks tell a linear map too little of the week ahead


class NLinear(NeuralForecaster[NLinearConfig]):
    """NLinear, with any likelihood; "auto" is the quantile grid."""

    name = "nlinear"
    summary = "a linear map of the context less its last value (Zeng et al. 2023)"
    takes = "target, available"
    gives = "quantiles"
    Config = NLinearConfig
    Net = NLinearNetwork
    scaling = "standard"
    seasons_floor = 4
