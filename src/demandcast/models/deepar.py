"""DeepAR: one recurrent network for all series, sampled a step at a time.

Salinas, Flunkert, Gasthaus, Januschowski, "DeepAR: Probabilistic forecasting with autoregressive
recurrent networks", International Journal of Forecasting 36 (2020), 1181-1191; arXiv:1704.04110.

Departs from the paper:

- Lagged values of the target are inputs beside z[t-1], as in GluonTS, and log(scale) is one too.
- A linear layer leads from the lags to the parameters, beside the LSTM. Where the likelihood has a location, it starts
  as the shortest season repeated, so that fewer training steps suffice.
- For a likelihood with a location, the context is standardised instead of divided by its mean.
- A missing value enters as the mean of the context with a flag, not as a draw.
- In half of the windows, the lags over the horizon are the network's own draws, as in prediction. A network trained on
  true values only is as sure of the last step as of the first, and its intervals are too narrow.
- Covariates known up to the cutoff are not read: they are not known at the steps that the network feeds back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from demandcast import likelihoods
from demandcast.draws.tensors import GeneratorDraws, TensorDraws
from demandcast.errors import ConfigError
from demandcast.frequency import Frequency
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.generators import generator
from demandcast.layers.lstm import LSTM, EmbeddedLSTM
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster, longest_season
from demandcast.models.config import NeuralConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, PART, SHARE, setting
from demandcast.windows.window import Sizes, Window

PASSES = 4  # over the horizon, each with the draws of the pass before as lags


@dataclass(frozen=True, kw_only=True)
class DeepARConfig(NeuralConfig):
    hidden: int = setting(40, COUNT)  # nodes of each LSTM layer
    layers: int = setting(2, COUNT)
    dropout: float = setting(0.1, PART)  # between layers
    # share of training windows whose lags over the horizon are the network's own draws
    own_draws: float = setting(0.5, SHARE)
    # width of a linear embedding of the lags, the input of the LSTM; None: no embedding
    input_embedding: int | None = setting(None, COUNT)
    # lag that the linear layer starts as, or several for their mean; None: the shortest season, (): none
    season: int | tuple[int, ...] | None = setting(None, COUNT)
    rho: float = (
        0.0  # windows are drawn uniformly: by size, two large series of 200 would fill the batches
    )


class DeepARNetwork(Network[DeepARConfig]):
    mean_of_paths = True

    def __init__(self, plan: Plan[DeepARConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        self.lags = plan.lags
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        width = sizes.lags + 1 + sizes.features + self.static.width
        lstm_sizes = (width, config.hidden, config.layers, config.dropout)
        self.lstm = LSTM(*lstm_sizes)
        if config.input_embedding is not None and sizes.lags:
            self.lstm = EmbeddedLSTM(sizes.lags, config.input_embedding, *lstm_sizes)
        for name, bias in self.lstm.named_parameters():
            if name.startswith("bias_ih"):
                bias.data[config.hidden : 2 * config.hidden] = 1.0  # forget gates open, Table 3
        self.head = nn.Linear(config.hidden, likelihood.n_params)
        self.skip = nn.Linear(sizes.lags, likelihood.n_params, bias=False)
        nn.init.zeros_(self.skip.weight)
        seasons = _first_seasons(config.season, self.lags, plan.freq)
        if likelihood.located and seasons:  # start as the mean of these lags, nearly
            place = likelihood.lift(torch.zeros(likelihood.n_params), torch.ones(()))
            with torch.no_grad():
                for season in seasons:
                    self.skip.weight[:, self.lags.index(season)] = place / len(seasons)
                self.head.weight.mul_(0.1)
                self.head.bias.zero_()

    def inputs(self, window: Window) -> Tensor:
        """Return the inputs of every step, (batch, context + horizon, width)."""
        observed = torch.cat([window.past_observed, window.future_observed], 1)  # (batch, steps)
        before = torch.cat([observed[:, :1], observed[:, :-1]], 1).to(window.lags.dtype)
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        lags = (window.lags - window.level[..., None]) / window.scale[..., None]
        parts = [
            lags,  # (batch, steps, lags)
            before[..., None],
            window.features,
            static[:, None].expand(-1, observed.shape[1], -1),
        ]
        return torch.cat(parts, -1)

    def params(self, inputs: Tensor, hidden: Tensor, level: Tensor) -> Tensor:
        """Compute parameters from the LSTM's state and the lags, around a scaled level: (..., params)."""
        params: Tensor = self.head(hidden) + self.skip(inputs[..., : len(self.lags)])
        if not self.likelihood.located:
            return params
        return self.likelihood.lift(params, level.expand(params.shape[:-1]))

    def targets(self, window: Window) -> Tensor:
        return torch.cat([window.past_observed, window.future_observed], 1)

    def loss(self, window: Window) -> Tensor:
        """Return the negative log likelihood of context and horizon.

        Lags are true values (teacher forcing), except over the horizon of a share of the training windows.
        """
        context = window.past_target.shape[1]
        inputs = self.inputs(window)
        before, ahead = inputs[:, :context], inputs[:, context:]
        past, state = self.lstm(before)  # (batch, context, hidden)
        if self.training and self.config.own_draws:
            ahead = self.feed_own_draws(window, ahead, state)
        future, _ = self.lstm(ahead, state)  # (batch, horizon, hidden)
        params = self.params(
            torch.cat([before, ahead], 1), torch.cat([past, future], 1), window.level / window.scale
        )  # (batch, steps, params)
        target = torch.cat([window.past_target, window.future_target], 1)
        observed = self.loss_mask(window)
        censored = torch.cat([window.past_censored, window.future_censored], 1)
        loss = self.likelihood.loss(
            params, target, window.scale, observed=observed, censored=censored
        )  # (batch, steps)
        return loss.sum() / observed.sum().clamp(min=1)

    @torch.no_grad()
    def feed_own_draws(self, window: Window, ahead: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        """Replace lags over the horizon by the network's own draws in a share of the windows, (batch, horizon, width).

        Each pass draws all steps at once, from inputs with the draws of the pass before, which is faster than a loop
        over the steps. Duckworth, Neelakantan, Goodrich, Kaiser, Bengio, "Parallel scheduled sampling", 2019,
        arXiv:1906.04331.
        """
        horizon = ahead.shape[1]
        level = window.level / window.scale  # (batch, 1)
        share = self.config.own_draws
        random = generator(ahead.device)
        uniform = torch.rand(len(ahead), 1, generator=random, device=ahead.device)
        fed_draws = uniform < share  # (batch, 1)
        inputs = ahead
        for _ in range(PASSES):
            hidden, _ = self.lstm(inputs, state)  # (batch, horizon, hidden)
            draws = self.likelihood.sample(
                self.params(inputs, hidden, level),
                window.scale,
                GeneratorDraws(ahead.device, random),
            )
            draws = draws / window.scale - level  # (batch, horizon)
            inputs = ahead.clone()
            for place, lag in enumerate(self.lags):
                if lag < horizon:
                    true = ahead[:, lag:, place]
                    inputs[:, lag:, place] = torch.where(fed_draws, draws[:, : horizon - lag], true)
        return inputs

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, Tensor]:
        paths = self.sample(window, n_samples, draws)  # (batch, paths, horizon)
        quantiles = torch.quantile(paths, levels, dim=1).permute(1, 2, 0)
        return quantiles, paths.mean(1), paths

    def sample(self, window: Window, n: int, draws: TensorDraws) -> Tensor:
        """Draw joint paths, (batch, n, horizon), from n copies of the state after the context."""
        batch, horizon = len(window), self.config.horizon
        context = window.past_target.shape[1]
        inputs = self.inputs(
            window
        )  # (batch, steps, width); lags after the cutoff are filled below
        _, state = self.lstm(inputs[:, :context])
        state = tuple(s.repeat_interleave(n, 1) for s in state)  # (layers, batch * n, hidden)
        scale = window.scale.repeat_interleave(n, 0)  # (batch * n, 1)
        level = (window.level / window.scale).repeat_interleave(n, 0)[:, 0]  # (batch * n,)
        paths = inputs.new_empty(batch * n, horizon)
        for step in range(horizon):
            x = inputs[:, context + step].repeat_interleave(n, 0)  # (batch * n, width)
            for place, lag in enumerate(self.lags):
                if lag <= step:
                    x[:, place] = paths[:, step - lag] / scale[:, 0] - level
            if step:
                x[:, len(self.lags)] = 1.0  # a drawn value counts as observed
            hidden, state = self.lstm(x[:, None], state)
            params = self.params(x, hidden[:, 0], level)
            paths[:, step] = self.likelihood.sample(params, scale[:, 0], draws.at(step))
        return paths.view(batch, n, horizon)


class DeepAR(NeuralForecaster[DeepARConfig]):
    """DeepAR; `likelihood` is student_t, negative_binomial or normal, "auto" by the data."""

    name = "deepar"
    portfolio = 340
    summary = "autoregressive LSTM that draws joint sample paths (Salinas et al. 2020)"
    takes = "target, known, static, available"
    gives = "paths and quantiles"
    Config = DeepARConfig
    Net = DeepARNetwork
    samples_paths = True

    def make_likelihood(self, config: DeepARConfig, panel: Panel | None) -> Likelihood:
        name = config.likelihood
        if name == "auto" and panel is not None:
            name = "negative_binomial" if _small_counts(panel) else "student_t"
        return likelihoods.create(name)

    def auto_scaling(self, likelihood: Likelihood) -> str:
        if likelihood.counts or likelihood.located:
            return "one_plus_mean" if likelihood.counts else "standard"
        return "mean_abs"

    def auto_context(self, panel: Panel) -> int:
        season = longest_season(panel)
        return max(2 * self.horizon, season)


def _first_seasons(
    season: int | tuple[int, ...] | None, lags: tuple[int, ...], freq: str
) -> tuple[int, ...]:
    """Return the lags whose mean an untrained network forecasts: the given ones, else the shortest season."""
    if season is None:
        return tuple(p for p in Frequency.parse(freq).periods if p in lags)[:1]
    seasons = (season,) if isinstance(season, int) else tuple(dict.fromkeys(season))
    for steps in seasons:
        if steps not in lags:
            raise ConfigError(
                f"season is {steps} steps, which none of the lags reads ({lags} fit the "
                "histories); add it to lags, or leave season out",
                option="season",
                found=steps,
                expected=f"one of the lags {lags}",
            )
    return seasons


def _small_counts(panel: Panel) -> bool:
    """Return whether values are non-negative whole numbers, more than half of them below 100."""
    below = total = 0
    for part in panel.parts():
        values = part.target[~np.isnan(part.target)]
        if len(values) and (values.min() < 0 or (values != np.floor(values)).any()):
            return False
        below, total = below + int((values < 100).sum()), total + len(values)
    return 2 * below > total
