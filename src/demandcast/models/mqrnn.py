"""MQ-RNN and MQ-CNN: all quantiles of all horizon steps at once, from every step of the context.

Wen, Torkkola, Narayanaswamy, Madeka, "A multi-horizon quantile recurrent forecaster", NIPS 2017
time-series workshop, arXiv:1711.11053. MQ-CNN's convolutions are those of GluonTS.

Departs from the paper:

- Quantiles are steps outwards from the middle one, so that they cannot cross.
- Future covariates are projected to a few numbers per step before the global network reads them.
- Lags longer than the horizon and the repeated last season are among the future covariates.
- Forks start after the steps that give the scale, so that no fork knows its own scale in advance.

`legacy_decoder` replaces each network of the decoder by one linear layer, as the first PyTorch versions had it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demandcast import likelihoods
from demandcast.draws.tensors import TensorDraws
from demandcast.errors import ConfigError
from demandcast.frequency import Frequency
from demandcast.layers.dropout import Dropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.lstm import LSTM
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster, longest_season
from demandcast.models.config import NeuralConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, PART, setting
from demandcast.windows.window import Sizes, Window

GAIN = 15.0  # the blend's weights learn so much faster than the networks'


@dataclass(frozen=True, kw_only=True)
class MQRNNConfig(NeuralConfig):
    hidden: int = setting(64, COUNT)  # D, nodes of the encoder
    layers: int = setting(1, COUNT)
    width: int = setting(20, COUNT)  # K, size of each of the H + 1 contexts
    mlp: int = setting(64, COUNT)  # hidden nodes of the global and the local network
    # numbers a step that the global network sees of the covariates ahead
    squeeze: int = setting(8, COUNT)
    # numbers that demand and its lags are mapped to; None: as they are
    input_embedding: int | None = setting(None, COUNT)
    forks: int = setting(8, COUNT)  # cutoffs of one window that are learned from
    dropout: float = setting(0.1, PART)
    legacy_decoder: bool = False  # one linear layer each; mlp, squeeze and dropout are not its own


@dataclass(frozen=True, kw_only=True)
class MQCNNConfig(MQRNNConfig):
    hidden: int = 30  # channels
    kernels: tuple[int, ...] = setting((7, 3, 3), COUNT)
    dilations: tuple[int, ...] = setting((1, 3, 9), COUNT)


class RecurrentEncoder(nn.Module):
    def __init__(self, width: int, config: MQRNNConfig) -> None:
        super().__init__()
        self.lstm = LSTM(width, config.hidden, config.layers, config.dropout)
        self.width = config.hidden

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> (batch, steps, hidden), causal."""
        hidden: Tensor = self.lstm(x)[0]
        return hidden


class ConvolutionalEncoder(nn.Module):
    def __init__(self, width: int, config: MQCNNConfig) -> None:
        super().__init__()
        sizes = [width, *[config.hidden] * len(config.kernels)]
        self.layers = nn.ModuleList(
            nn.Conv1d(sizes[i], sizes[i + 1], kernel, dilation=dilation)
            for i, (kernel, dilation) in enumerate(
                zip(config.kernels, config.dilations, strict=True)
            )
        )
        self.reaches = [(k - 1) * d for k, d in zip(config.kernels, config.dilations, strict=True)]
        self.width = config.hidden + width  # the raw inputs pass beside

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> (batch, steps, channels + width), causal: padded on the left."""
        y = x.transpose(1, 2)  # (batch, width, steps)
        for layer, reach in zip(self.layers, self.reaches, strict=True):
            y = torch.relu(layer(nn.functional.pad(y, (reach, 0))))
        return torch.cat([y.transpose(1, 2), x], -1)


class LegacyDecoder(nn.Module):
    """A linear global layer over the state, copied to every step, and all steps' covariates; a
    linear local layer for each step.

    The local layer is one product for all steps at once.
    """

    def __init__(self, hidden: int, covariates: int, width: int, horizon: int, params: int) -> None:
        super().__init__()
        self.horizon, self.width = horizon, width
        self.global_layer = nn.Linear(horizon * (covariates + hidden), (horizon + 1) * width)
        self.local_layer = nn.Linear(covariates + 2 * width, params)

    def forward(self, ht: Tensor, xf: Tensor) -> Tensor:
        """Map a state ht (n, hidden) and covariates ahead xf (n, horizon, covariates) to (n, horizon,
        params).
        """
        ht = ht.unsqueeze(1).expand(-1, self.horizon, -1)  # (n, horizon, hidden)
        inp = torch.cat([xf, ht], dim=2).flatten(1)  # (n, horizon * (covariates + hidden))
        contexts = self.global_layer(inp).view(-1, self.horizon + 1, self.width)
        ca = contexts[:, -1:].expand(-1, self.horizon, -1)  # (n, horizon, width), of no step
        c = torch.relu(contexts[:, :-1])  # (n, horizon, width), of each step
        y: Tensor = self.local_layer(torch.cat([xf, c, ca], dim=2))  # (n, horizon, params)
        return y


class MQRNNNetwork(Network[MQRNNConfig]):
    def __init__(self, plan: Plan[MQRNNConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        horizon = plan.horizon
        self.far = [i for i, lag in enumerate(plan.lags) if lag >= horizon]
        periods = Frequency.parse(plan.freq).periods
        self.seasons = [p for p in periods if p > 1 and p <= plan.context]
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        demand = 2 + sizes.lags  # the value, whether it was observed, and lags
        self.embedding: nn.Module = nn.Identity()
        if config.input_embedding is not None:
            self.embedding = nn.Linear(demand, config.input_embedding)
        width = config.input_embedding or demand
        width += sizes.features + sizes.past_features + self.static.width
        self.encoder = self.make_encoder(width, config)
        self.blend = nn.Linear(len(self.far) + len(self.seasons), 1, bias=False)
        nn.init.zeros_(self.blend.weight)
        self.legacy: LegacyDecoder | None = None
        if config.legacy_decoder:
            covariates = sizes.features + len(self.far) + len(self.seasons)
            self.legacy = LegacyDecoder(
                self.encoder.width, covariates, config.width, horizon, likelihood.n_params
            )
            self.initialise_head(self.legacy.local_layer)
            return
        self.ahead_stamps = nn.Linear(sizes.features + len(self.far), config.squeeze + config.mlp)
        self.ahead_seasons = nn.Linear(len(self.seasons), config.squeeze + config.mlp, bias=False)
        self.global_mlp = nn.Sequential(
            nn.Linear(self.encoder.width + horizon * config.squeeze, config.mlp),
            nn.ReLU(),
            Dropout(config.dropout),
            nn.Linear(config.mlp, (horizon + 1) * config.width),
        )
        # the local network's first layer, in the parts its inputs come in: each is worked out once
        # for all that share it, and the parts are added
        self.local_own = nn.Linear(config.width, config.mlp)
        self.local_shared = nn.Linear(config.width + self.static.width, config.mlp, bias=False)
        self.local_out = nn.Linear(config.mlp, likelihood.n_params)
        self.initialise_head(self.local_out)

    def initialise_head(self, last: nn.Linear) -> None:
        """Set the last layer so that the network starts as the season repeated, with narrow bands."""
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, -3.0)
        nn.init.zeros_(last.bias[self.likelihood.middle])  # type: ignore[attr-defined]

    def make_encoder(
        self, width: int, config: MQRNNConfig
    ) -> RecurrentEncoder | ConvolutionalEncoder:
        return RecurrentEncoder(width, config)

    def forward(self, window: Window, cutoffs: Tensor) -> Tensor:
        """Return parameters from each cutoff, (batch, cutoffs, horizon, params).

        Args:
            window: What is known.
            cutoffs: Steps of the window known at each fork, (forks,): 1 to context.
        """
        context = window.past_target.shape[1]
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        past = window.past_target / window.scale  # (batch, context)
        observed = window.past_observed[..., None].to(past.dtype)
        lags = window.lags[:, :context] / window.scale[..., None]
        x = torch.cat(
            [
                self.embedding(torch.cat([past[..., None], observed, lags], -1)),
                window.features[:, :context],
                window.past_features,
                static[:, None].expand(-1, context, -1),
            ],
            -1,
        )  # (batch, context, width)
        hidden = self.encoder(x)[:, cutoffs - 1]  # (batch, forks, hidden)
        params = self.decode(window, past, cutoffs, hidden, static)
        middle = self.likelihood.middle  # type: ignore[attr-defined]
        lift = torch.zeros_like(params)
        lift[..., middle] = self.base(window, past, cutoffs)
        return params + lift

    def decode(
        self, window: Window, past: Tensor, cutoffs: Tensor, hidden: Tensor, static: Tensor
    ) -> Tensor:
        """Map states (batch, forks, hidden) and covariates ahead to parameters (batch, forks, horizon,
        params).
        """
        config, (batch, forks) = self.config, hidden.shape[:2]
        if self.legacy is not None:
            covariates = self.covariates(window, past, cutoffs)
            ht = torch.relu(hidden).flatten(0, 1)  # (batch * forks, hidden)
            y: Tensor = self.legacy(ht, covariates.flatten(0, 1))
            return y.view(batch, forks, config.horizon, -1)
        ahead = self.encode_ahead(window, past, cutoffs)  # (batch, forks, horizon, squeeze + mlp)
        squeezed = torch.tanh(ahead[..., : config.squeeze]).flatten(2)
        contexts = self.global_mlp(torch.cat([hidden, squeezed], -1))
        contexts = contexts.view(batch, forks, config.horizon + 1, config.width)
        shared = torch.cat([contexts[:, :, -1], static[:, None].expand(-1, forks, -1)], -1)
        local = self.local_own(contexts[:, :, :-1]) + self.local_shared(shared)[:, :, None]
        params: Tensor = self.local_out(torch.relu(local + ahead[..., config.squeeze :]))
        return params

    def base(self, window: Window, past: Tensor, cutoffs: Tensor) -> Tensor:
        """Return the forecast that the middle quantile starts from, scaled: (batch, forks, horizon).

        The longest season repeated (the last value where there is none), moved towards the other
        seasons and far lags by weights that are learned.
        """
        if not self.seasons:
            base = past[:, cutoffs - 1, None].expand(-1, -1, self.config.horizon)
        else:
            base = self.repeat_season(past, cutoffs, self.seasons[-1])
        place = cutoffs[:, None] + torch.arange(self.config.horizon, device=past.device)
        weights = GAIN * self.blend.weight[0]
        lags = window.lags[..., self.far] / window.scale[..., None]  # (batch, steps, far lags)
        stamps = lags @ weights[: len(self.far)]  # (batch, steps)
        far_values = stamps[:, place]
        for weight, period in zip(weights[len(self.far) :], self.seasons, strict=True):
            far_values = far_values + weight * self.repeat_season(past, cutoffs, period)
        return far_values + base * (1 - weights.sum())

    def repeat_season(self, past: Tensor, cutoffs: Tensor, period: int) -> Tensor:
        """Repeat the last season known at each cutoff over its horizon: (batch, forks, horizon)."""
        step = torch.arange(self.config.horizon, device=past.device) % period
        place = (cutoffs[:, None] - period + step).clamp(min=0)
        return past[:, place]

    def encode_ahead(self, window: Window, past: Tensor, cutoffs: Tensor) -> Tensor:
        """Encode the covariates of the steps ahead for the global and the local network.

        Returns (batch, forks, horizon, squeeze + mlp).
        """
        lags = window.lags[..., self.far] / window.scale[..., None]  # (batch, steps, far lags)
        stamps = self.ahead_stamps(torch.cat([window.features, lags], -1))
        place = cutoffs[:, None] + torch.arange(self.config.horizon, device=past.device)
        known: Tensor = stamps[:, place]
        if self.seasons:
            seasons = [self.repeat_season(past, cutoffs, p) for p in self.seasons]
            known = known + self.ahead_seasons(torch.stack(seasons, -1))
        return known

    def covariates(self, window: Window, past: Tensor, cutoffs: Tensor) -> Tensor:
        """Return the covariates of the steps ahead, (batch, forks, horizon, features + far lags + seasons)."""
        place = cutoffs[:, None] + torch.arange(self.config.horizon, device=past.device)
        lags = window.lags[..., self.far] / window.scale[..., None]  # (batch, steps, far lags)
        stamps = torch.cat([window.features, lags], -1)
        seasons = [self.repeat_season(past, cutoffs, p)[..., None] for p in self.seasons]
        return torch.cat([stamps[:, place], *seasons], -1)

    def forks(self, window: Window) -> tuple[Tensor, Tensor]:
        """Return cutoffs inside the window (forks,), and the steps ahead of each (forks, horizon)."""
        context, device = window.past_target.shape[1], window.scale.device
        cutoffs = torch.arange(self.plan.context, context + 1, device=device)
        return cutoffs, cutoffs[:, None] + torch.arange(self.config.horizon, device=device)

    def targets(self, window: Window) -> Tensor:
        place = self.forks(window)[1]
        return torch.cat([window.past_observed, window.future_observed], 1)[:, place]

    def loss(self, window: Window) -> Tensor:
        """Return the pinball loss of every fork, horizon step and quantile that was observed."""
        cutoffs, place = self.forks(window)
        params = self(window, cutoffs)  # (batch, forks, horizon, params)
        target = torch.cat([window.past_target, window.future_target], 1)[:, place]
        observed = self.loss_mask(window)  # (batch, forks, horizon)
        censored = torch.cat([window.past_censored, window.future_censored], 1)[:, place]
        scale = window.scale[..., None].expand(observed.shape)
        loss = self.likelihood.loss(params, target, scale, observed=observed, censored=censored)
        return loss.sum() / observed.sum().clamp(min=1)

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, None]:
        cutoff = torch.tensor([window.past_target.shape[1]], device=window.scale.device)
        params = self(window, cutoff)[:, 0]  # (batch, horizon, params)
        scale = window.scale.expand(-1, params.shape[1])
        quantiles = self.likelihood.quantile(params, scale, levels)
        return quantiles, self.likelihood.mean(params, scale), None


class MQCNNNetwork(MQRNNNetwork):
    def make_encoder(self, width: int, config: MQRNNConfig) -> ConvolutionalEncoder:
        assert isinstance(config, MQCNNConfig)
        return ConvolutionalEncoder(width, config)


class MQRNN(NeuralForecaster[MQRNNConfig]):
    """MQ-RNN, with the quantile grid as its likelihood."""

    name = "mqrnn"
    summary = "LSTM with a direct multi-horizon quantile decoder (Wen et al. 2017)"
    takes = "target, known, past, static, available"
    gives = "quantiles"
    Config = MQRNNConfig
    Net = MQRNNNetwork

    def make_likelihood(self, config: MQRNNConfig, panel: Panel | None) -> Likelihood:
        if config.likelihood not in ("auto", "quantile"):
            raise ConfigError(
                f"{self.name} learns quantiles: likelihood='quantile', not {config.likelihood!r}; "
                "models.DeepAR takes distributions",
                option="likelihood",
                found=config.likelihood,
                expected="quantile",
            )
        return likelihoods.create("quantile")

    def _extra_steps(self, plan: Plan[MQRNNConfig]) -> int:
        return plan.config.forks - 1

    def auto_context(self, panel: Panel) -> int:
        season = longest_season(panel)
        return max(2 * self.horizon, season)


class MQCNN(MQRNN):
    """MQ-CNN: MQ-RNN with dilated causal convolutions for the LSTM."""

    name = "mqcnn"
    portfolio = 350
    summary = "dilated causal convolutions with the decoder of MQ-RNN (Wen et al. 2017)"
    Config = MQCNNConfig
    Net = MQCNNNetwork
