"""PatchTST: the context cut into patches, a transformer over them, one linear map to the horizon.

Nie, Nguyen, Sinthong, Kalagnanam, "A Time Series is Worth 64 Words: Long-term Forecasting with
Transformers", ICLR 2023; arXiv:2211.14730. Its channel independence is how this house reads a panel:
each series on its own, one network for all. Its instance norm is the `standard` scaling.

Departs from the paper: emits the parameters of a likelihood around a linear forecast that begins as the
last season repeated; layer norm in place of batch norm, so that forecasts do not depend on what else is
in the batch; patches end at the cutoff, and the first one is filled up on the left by its own first value.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demandcast.errors import ConfigError
from demandcast.layers.decoder import ParameterHead
from demandcast.layers.dropout import Dropout
from demandcast.layers.last_season import SeasonalLinear, season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.settings import COUNT, setting
from demandcast.windows.window import Sizes, Window


@dataclass(frozen=True, kw_only=True)
class PatchTSTConfig(DirectConfig):
    patch: int = setting(16, COUNT)  # steps in a patch
    stride: int = setting(8, COUNT)  # steps from one patch to the next
    width: int = setting(64, COUNT)  # of each patch's vector, D
    heads: int = setting(4, COUNT)
    layers: int = setting(2, COUNT)
    hidden: int = setting(128, COUNT)  # nodes of each feed-forward layer

    def __post_init__(self) -> None:
        """Refuse patches that leave steps out, and heads that do not share the width."""
        super().__post_init__()
        if self.stride > self.patch:
            raise ConfigError(
                f"stride is {self.stride} and patch {self.patch}; a stride is 1 step or more and no "
                "longer than a patch, or steps between patches are never read",
                option="stride",
                found=self.stride,
                expected=f"at most {self.patch}",
            )
        if self.width % self.heads:
            raise ConfigError(
                f"width is {self.width}, which {self.heads} heads cannot share; give a multiple",
                option="width",
                found=self.width,
                expected=f"a multiple of {self.heads}",
            )


class PatchTSTNetwork(Network[PatchTSTConfig]):
    def __init__(self, plan: Plan[PatchTSTConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, horizon, width = plan.context, plan.horizon, config.width
        patches = max(0, -(-(context - config.patch) // config.stride)) + 1
        self.missing = config.patch + (patches - 1) * config.stride - context  # steps to fill up
        self.embed = nn.Linear(config.patch, width)
        self.position = nn.Parameter(0.02 * torch.randn(patches, width))
        layer = nn.TransformerEncoderLayer(
            width, config.heads, config.hidden, config.dropout, activation="gelu", batch_first=True
        )
        for name in ("dropout", "dropout1", "dropout2"):
            setattr(layer, name, Dropout(config.dropout))
        self.encoder = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.dropout = Dropout(config.dropout)
        self.linear = SeasonalLinear(context, horizon, season_within(plan.freq, context))
        self.head = ParameterHead(patches * width, likelihood, horizon)

    def forward(self, window: Window) -> Tensor:
        x = self.scale_context(window)  # (batch, context)
        filled = torch.cat([x[:, :1].expand(-1, self.missing), x], 1)
        patches = filled.unfold(1, self.config.patch, self.config.stride)  # (batch, patches, patch)
        tokens = self.dropout(self.embed(patches) + self.position)  # (batch, patches, width)
        encoded = self.encoder(tokens)  # (batch, patches, width)
        params = self.head(self.dropout(encoded.flatten(1)))  # (batch, horizon, params)
        return self.lift_params(window, params, self.linear(x))


class PatchTST(NeuralForecaster[PatchTSTConfig]):
    """PatchTST, with any likelihood; "auto" is the quantile grid."""

    name = "patchtst"
    portfolio = 370
    summary = "a transformer over patches of the context (Nie et al. 2023)"
    takes = "target, available"
    gives = "quantiles"
    Config = PatchTSTConfig
    Net = PatchTSTNetwork
    scaling = "standard"
