"""Uber's extreme-event forecaster: features from an LSTM autoencoder, intervals from thinned networks.

[A] Laptev, Yosinski, Li, Smyl, "Time-series extreme event forecasting with neural networks at Uber",
ICML 2017 time-series workshop. [B] Zhu, Laptev, "Deep and confident prediction for time series at
Uber", ICDM workshops 2017; arXiv:1709.01907.

Departs from the papers:

- The forecast is added to a linear map that starts as the last season repeated.
- The loss is Huber's, squared near 0, so that single outlying windows do not dominate it.
- One fit does both trainings. After the pre-training the autoencoder continues to reconstruct, and a tenth of the
  forecast's gradient reaches it. (Adam normalises gradients, so a tenth of the learning rate would need a parameter
  group.)
- The inherent noise is measured per step ahead on a stretch that is learned from only afterwards, in units of the
  variation of the window, and is correlated along the horizon. The variance of the passes on that stretch is
  subtracted from it, because [B] counts it twice.
- Dropout masks the outputs of layers, not the single raw series.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from demandcast import likelihoods
from demandcast.draws.tensors import TensorDraws
from demandcast.errors import ConfigError
from demandcast.layers.decoder import StepDecoder
from demandcast.layers.dropout import SequenceDropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.last_season import SeasonalLinear, season_within
from demandcast.layers.transform import TRANSFORMS, resolve_transform
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import NeuralConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, PART, SHARE, choice, setting, whole_number
from demandcast.windows.window import Sizes, Window
from demandcast.windows.window_source import WindowSource

HIGHEST = 20.0  # of log(1 + y / scale): no quantile above half a billion times the scale
# share of the training after which the noise is measured, and the whole history is learned from
HOLDOUT_SHARE = 0.7
NOISE_WINDOWS = 1024  # windows, about, that the noise is measured on
NOISE_PASSES = 20  # passes there
MAX_ERROR = 8.0  # in units of how far the window's own values move
POOLED_ERRORS = 10.0  # errors of a step that weigh as much as those of all steps together


@dataclass(frozen=True, kw_only=True)
class UberLSTMConfig(NeuralConfig):
    lags: tuple[int, ...] | None = ()  # not read
    rho: float = 0.0  # every window alike
    learning_rate: float = 3e-3
    # nodes of the forecaster, and of the autoencoder's outer layers
    hidden: int = setting(64, COUNT)
    embedding: int = setting(32, COUNT)  # features that the autoencoder gives
    decoded: int = setting(32, COUNT)  # numbers of each step ahead before the last layer
    dropout: float = setting(0.1, PART)
    pretrain: float = setting(0.2, PART)  # share of the steps that only teach the autoencoder
    # share of the forecast's gradient that reaches the autoencoder after them; 0 freezes it
    finetune: float = setting(0.1, SHARE)
    passes: int = setting(50, whole_number(2))  # thinned networks that a forecast is drawn from
    # log1p, none; auto is log1p where no value is below 0
    transform: str = setting("auto", choice(*TRANSFORMS))
    # last steps that tell the noise, learned from last; None: a tenth
    noise: int | None = setting(None, COUNT)

    @property
    def held_out(self) -> int:
        return max(self.validation, self.noise or 0)


class Autoencoder(nn.Module):
    """Two LSTM layers whose outputs are averaged over time; one LSTM that writes the window again."""

    def __init__(self, width: int, features: int, config: UberLSTMConfig) -> None:
        super().__init__()
        self.outer = nn.LSTM(width, config.hidden, batch_first=True)
        self.inner = nn.LSTM(config.hidden, config.embedding, batch_first=True)
        self.drop = SequenceDropout(config.dropout)
        self.decoder = nn.LSTM(config.embedding + features, config.hidden, batch_first=True)
        self.written = nn.Linear(config.hidden, 1)

    def encode(
        self, inputs: Tensor, *, passes: int = 0, generator: torch.Generator | None = None
    ) -> Tensor:
        """(batch, context, width) -> (batch * passes, embedding); passes lie beside their window."""
        outer, _ = self.outer(inputs)  # (batch, context, hidden)
        if passes:
            outer = outer.repeat_interleave(passes, 0)
        inner, _ = self.inner(self.drop(outer, passes=passes, generator=generator))
        embedding: Tensor = self.drop(inner, passes=passes, generator=generator).mean(1)
        return embedding

    def decode(self, embedding: Tensor, features: Tensor) -> Tensor:
        """(batch, embedding), (batch, context, features) -> the series again, (batch, context)."""
        repeated = embedding[:, None].expand(-1, features.shape[1], -1)
        hidden, _ = self.decoder(torch.cat([repeated, features], -1))
        written: Tensor = self.written(self.drop(hidden))[..., 0]  # (batch, context)
        return written


class UberLSTMNetwork(Network[UberLSTMConfig]):
    def __init__(self, plan: Plan[UberLSTMConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, horizon = plan.context, plan.horizon
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        width = 2 + sizes.features + sizes.past_features + self.static.width
        self.autoencoder = Autoencoder(width, sizes.features, config)
        self.forecaster = nn.LSTM(width + config.embedding, config.hidden, batch_first=True)
        self.drop = SequenceDropout(config.dropout)
        read = config.hidden + config.embedding + self.static.width
        self.ahead = StepDecoder(read, sizes.features, horizon, config.decoded)
        self.head = nn.Linear(config.decoded, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.period = season_within(plan.freq, context)
        self.linear = SeasonalLinear(context, horizon, self.period)
        self.noise: Tensor  # deviation of each step ahead, in units of the window's roughness
        self.mixing: (
            Tensor  # lower triangle: independent noise -> noise correlated along the horizon
        )
        self.register_buffer("noise", torch.ones(horizon))
        self.register_buffer("mixing", torch.eye(horizon))
        self.register_buffer("measured", torch.tensor(False))

    # The transformed scale: log(1 + y / scale), its window's mean taken off, by its deviation

    def transform(self, values: Tensor, scale: Tensor) -> Tensor:
        z = values / scale
        return torch.log1p(z.clamp(min=0)) if self.config.transform == "log1p" else z

    def standardise(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Standardise the context (batch, context); return it with its mean and deviation (batch, 1)."""
        observed = window.past_observed.to(window.scale.dtype)
        count = observed.sum(1, keepdim=True).clamp(min=1)
        z = self.transform(window.past_target, window.scale)  # (batch, context)
        mean = (z * observed).sum(1, keepdim=True) / count  # (batch, 1)
        error = (z - mean) * observed  # (batch, context)
        deviation = (error.square().sum(1, keepdim=True) / count).sqrt()
        deviation = torch.maximum(deviation, 1 / (count + POOLED_ERRORS))  # (batch, 1)
        return error / deviation, mean, deviation

    def roughness(self, x: Tensor, window: Window) -> Tensor:
        """Return the mean distance of a value from the one a season before, (batch, 1), kept within limits."""
        period = self.period
        both = window.past_observed[:, period:] & window.past_observed[:, : x.shape[1] - period]
        moved = (x[:, period:] - x[:, : x.shape[1] - period]).abs() * both
        count = both.sum(1, keepdim=True)
        rough = (moved.sum(1, keepdim=True) + 1) / (count + 1)  # (batch, 1)
        return rough.clamp(0.05, 2.0)

    def inputs(self, window: Window, x: Tensor) -> Tensor:
        """Return the inputs of every step of the context, (batch, context, width)."""
        context = x.shape[1]
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        parts = [
            x[..., None],
            window.past_observed[..., None].to(x.dtype),
            window.features[:, :context],
            window.past_features,
            static[:, None].expand(-1, context, -1),
        ]
        return torch.cat(parts, -1)

    def forward(
        self, window: Window, *, passes: int = 0, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return standardised forecasts, and the autoencoder's features, of every window and pass.

        Returns (batch * passes, horizon) and (batch * passes, embedding); without passes, (batch, ...).
        """
        context, n_passes = self.plan.context, max(passes, 1)
        x, _, _ = self.standardise(window)  # (batch, context)
        inputs = self.inputs(window, x)  # (batch, context, width)
        drop = partial(self.drop, passes=passes, generator=generator)
        embedding = self.autoencoder.encode(inputs, passes=passes, generator=generator)
        features, reached = embedding.detach(), self.config.finetune
        if reached:  # a share of the gradient, the whole of the value
            features = features + reached * (embedding - features)
        repeated = features[:, None].expand(-1, context, -1)
        copied = inputs.repeat_interleave(n_passes, 0)
        hidden, _ = self.forecaster(torch.cat([copied, repeated], -1))
        last = drop(hidden[:, -1:])[:, 0]  # (batch * passes, hidden)
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        past = torch.cat([last, features, static.repeat_interleave(n_passes, 0)], -1)
        known = window.features[:, context:].repeat_interleave(n_passes, 0)
        ahead = drop(self.ahead(past, known))
        base = self.linear(x)  # (batch, horizon)
        return base.repeat_interleave(n_passes, 0) + self.head(ahead)[..., 0], embedding

    def loss(self, window: Window) -> Tensor:
        """Return the reconstruction loss of the context and, after the pre-training, the forecast's error."""
        config = self.config
        x, mean, deviation = self.standardise(window)  # (batch, context)
        begun = not self.training or self.done >= config.pretrain
        if begun:
            forecast, embedding = self(window)  # (batch, horizon)
        else:
            embedding = self.autoencoder.encode(self.inputs(window, x))  # (batch, embedding)
        total = x.new_zeros(())
        if not begun or config.finetune:  # else the autoencoder rests
            written = self.autoencoder.decode(embedding, window.features[:, : config.context])
            known = window.past_observed & window.has_scale
            total = total + ((written - x).square() * known).sum() / known.sum().clamp(min=1)
        if begun:
            observed = self.loss_mask(window)  # (batch, horizon)
            error = self.error(window, forecast, mean, deviation)  # (batch, horizon)
            cost = huber_loss(error, torch.zeros_like(error), reduction="none") * observed
            total = total + cost.sum() / observed.sum().clamp(min=1)
        return total

    def error(self, window: Window, forecast: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
        """Return the standardised error of a forecast (batch, horizon); censored demand may lie above its
        bound.
        """
        truth = (self.transform(window.future_target, window.scale) - mean) / deviation
        error = truth - forecast  # (batch, horizon)
        return torch.where(window.future_censored, error.clamp(min=0), error)

    # Forecasts

    def spread(self, window: Window, passes: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return standardised forecasts of every pass, and the deviation of the noise.

        All passes in one batch. Their masks are those of the seed, so that every series, in whatever
        order, meets the same thinned networks. Returns (batch, passes, horizon) and (batch, horizon).
        """
        masks = torch.Generator(window.scale.device).manual_seed(seed)
        forecast = self(window, passes=passes, generator=masks)[0].view(len(window), passes, -1)
        return forecast, self.roughness(self.standardise(window)[0], window) * self.noise

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return quantiles of a Gaussian on the transformed scale, whose variance is that of passes plus
        noise.
        """
        passes = self.config.passes
        forecast, noise = self.spread(window, passes, self.config.seed)
        _, mean, deviation = self.standardise(window)
        sigma = (forecast.var(1) + noise.square()).sqrt() * deviation  # (batch, horizon)
        middle = mean + forecast.mean(1) * deviation  # (batch, horizon)
        scores = torch.special.ndtri(levels.to(sigma))
        quantiles = self.inverse_transform(
            middle[..., None] + sigma[..., None] * scores, window.scale[..., None]
        )
        shape = (len(window), n_samples, self.config.horizon)
        normal = draws.normal(shape).to(sigma)
        pick = torch.arange(n_samples, device=sigma.device) % passes
        drawn = forecast[:, pick] + (normal @ self.mixing.T) * noise[:, None]
        paths = self.inverse_transform(
            mean[:, None] + drawn * deviation[:, None], window.scale[:, None]
        )
        return quantiles, self.expected_value(middle, sigma) * window.scale, paths

    def inverse_transform(self, z: Tensor, scale: Tensor) -> Tensor:
        """Transform values from the model's scale to the user's units."""
        if self.config.transform != "log1p":
            return z * scale
        return torch.expm1(z.clamp(0.0, HIGHEST)) * scale

    def expected_value(self, middle: Tensor, sigma: Tensor) -> Tensor:
        """Return E[max(exp(Z) - 1, 0)] of a normal Z, in units of the scale: not the inverse of its mean."""
        if self.config.transform != "log1p":
            return middle
        sigma = sigma.clamp(min=1e-6)
        grown = (middle + sigma.square() / 2).clamp(max=HIGHEST).exp()
        above, whole = (torch.special.ndtr(middle / sigma + more) for more in (sigma, 0.0))
        expected: Tensor = grown * above - whole  # (batch, horizon)
        return expected.clamp(min=0)

    def holdout_errors(self, window: Window, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return errors and variance of the passes, in units of roughness, and which count: (batch, horizon)
        each.
        """
        x, mean, deviation = self.standardise(window)
        forecast, _ = self.spread(window, NOISE_PASSES, seed)
        rough = self.roughness(x, window)
        observed = self.loss_mask(window) & ~window.future_censored
        error = self.error(window, forecast.mean(1), mean, deviation) / rough
        return error, forecast.var(1) / rough.square(), observed

    def set_noise(self, errors: Tensor, variances: Tensor, observed: Tensor) -> None:
        """Set the noise of each step, and its correlations, from errors of (windows, horizon).

        Its variance is the mean square of the errors less the passes' own, a quarter of it at least.
        Errors stop at `MAX_ERROR`: a demand after zeros is hundreds of the window's deviations.
        Correlations are scalar products of columns, with 0 where not observed, and shrunk to none by as
        many windows as there are steps: so the matrix is positive definite whatever was observed.
        """
        errors = torch.where(observed, errors, 0.0).clamp(-MAX_ERROR, MAX_ERROR)
        square, count = errors.square().sum(0), observed.sum(0)  # (horizon,)
        left = square - torch.where(observed, variances, 0.0).sum(0)
        left = torch.maximum(left, square / 4)
        typical = (left.sum() + 1) / (count.sum() + 1)  # 1 where nothing was observed
        self.noise.copy_(
            ((left + POOLED_ERRORS * typical) / (count + POOLED_ERRORS)).sqrt().clamp(min=1e-3)
        )
        unit = errors / square.sqrt().clamp(min=1e-9)  # (windows, horizon)
        steps = len(self.noise)
        shrunk = steps / (len(errors) + steps)
        alike = (unit.T @ unit).fill_diagonal_(1.0)
        whole = (1 - shrunk) * alike + shrunk * torch.eye(steps, device=errors.device)
        self.mixing.copy_(torch.linalg.cholesky(whole))
        self.get_buffer("measured").fill_(True)


class UberLSTM(NeuralForecaster[UberLSTMConfig]):
    """LSTM autoencoder, LSTM forecaster, MC dropout; Gaussian on a logarithmic scale."""

    name = "uber_lstm"
    summary = (
        "LSTM autoencoder features, intervals by MC dropout (Laptev et al., Zhu & Laptev 2017)"
    )
    takes = "target, known, past, static, available"
    gives = "paths and quantiles"
    Config = UberLSTMConfig
    Net = UberLSTMNetwork
    samples_paths = True
    rows = 1 << 13
    context_floor = 120

    def make_likelihood(self, config: UberLSTMConfig, panel: Panel | None) -> Likelihood:
        if config.likelihood not in ("auto", "normal"):
            raise ConfigError(
                f"{self.name} is normal on its transformed scale: likelihood='normal', not "
                f"{config.likelihood!r}; models.DeepAR and the direct models take others",
                option="likelihood",
                found=config.likelihood,
                expected="normal",
            )
        return likelihoods.create("normal")

    def resolve(self, panel: Panel) -> UberLSTMConfig:
        config = super().resolve(panel)
        config = replace(config, transform=resolve_transform(config.transform, panel))
        if config.noise is None:
            middle, longest = int(np.median(panel.lengths)), int(panel.lengths.max())
            tenth = min(max(middle // 10, self.horizon), 28 * self.horizon, middle // 4)
            config = replace(config, noise=max(1, min(tenth, longest - 2)))
        return config

    def _finish(
        self, network: Network[UberLSTMConfig], source: WindowSource, plan: Plan[UberLSTMConfig]
    ) -> None:
        """Measure the noise if training stopped before that."""
        self._begin_step(network, source, plan)

    def _holds_out(self, done: float) -> bool:
        """Hold out the stretch until the noise is measured on it; then learn from it too."""
        return done < HOLDOUT_SHARE

    def _begin_step(
        self, network: Network[UberLSTMConfig], source: WindowSource, plan: Plan[UberLSTMConfig]
    ) -> None:
        assert isinstance(network, UberLSTMNetwork)
        if self._holds_out(network.done) or network.get_buffer("measured"):
            return
        training = network.training
        network.eval()
        _measure(network, source, plan.config)
        network.train(training)


def _measure(network: UberLSTMNetwork, source: WindowSource, config: UberLSTMConfig) -> None:
    """Forecast the held-out stretch, and set the network's noise from the errors."""
    lengths = source.panel.lengths
    each = min(config.held_out, max(1, NOISE_WINDOWS // len(lengths)))
    back = np.unique(np.linspace(config.held_out, 1, each).round().astype(np.int64))
    usable = np.flatnonzero(lengths > config.held_out)  # those that were learned from at all
    usable = usable[:: max(1, len(usable) * len(back) // NOISE_WINDOWS)]
    series = torch.from_numpy(np.repeat(usable, len(back))).to(source.device)
    ends = source.lengths[series]
    cutoffs = ends - torch.from_numpy(np.tile(back, len(usable))).to(source.device)
    errors = []
    with torch.no_grad():
        for rows in torch.split(torch.arange(len(series), device=source.device), 64):
            window = source.windows(series[rows], cutoffs[rows], ends[rows])
            errors.append(network.holdout_errors(window, config.seed))
        network.set_noise(*(torch.cat(parts) for parts in zip(*errors, strict=True)))
