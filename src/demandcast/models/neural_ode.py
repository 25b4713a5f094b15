"""Neural ODE: a hidden state that flows in time, jumps at observations, and flows on past the last one.

Rubanova, Chen, Duvenaud, "Latent ODEs for irregularly-sampled time series", NeurIPS 2019,
arXiv:1907.03907, the encoder-decoder form: an ODE-RNN reads the observations, the state at the cutoff is
a distribution, a draw from it flows over the horizon. Chen, Rubanova, Bettencourt, Duvenaud, "Neural
ordinary differential equations", NeurIPS 2018, arXiv:1806.07366. Solvers are those of torchdiffeq.

Only what was observed is read: steps without a value are gaps that the state flows over, and nothing is
put in their place.

Departs from the paper: the encoder runs forwards, to the cutoff, for what is wanted is what comes next;
several observations, each with its time, enter at one jump, so that few solver calls go over a long
context; each gap is solved on [0, 1] at its own pace, so that a batch shares its steps; emits the
parameters of a likelihood around a mean of earlier seasons, of what was observed of them; covariates of
a step reach its parameters beside the state and do not bend the flow; the weight of the divergence from
the prior is fixed, not annealed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from demandcast.draws.tensors import TensorDraws
from demandcast.errors import MissingExtraError
from demandcast.frequency import Frequency
from demandcast.layers.decoder import ParameterHead
from demandcast.layers.dropout import Dropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.generators import generator
from demandcast.layers.last_season import season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster, longest_season
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, NOT_NEGATIVE, POSITIVE, choice, setting
from demandcast.windows.window import Sizes, Window

FIXED = ("euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams")
ADAPTIVE = ("dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun")
GAIN = 15.0  # the weights of seasons learn so much faster than the networks'


@dataclass(frozen=True, kw_only=True)
class NeuralODEConfig(DirectConfig):
    batch_size: int | str = 64
    learning_rate: float = 4e-3
    # solver; the fixed ones take one step a gap and one a step ahead
    method: str = setting("rk4", choice(*FIXED, *ADAPTIVE))
    adjoint: bool = False  # gradients by solving backwards: little memory, more calls, approximate
    rtol: float = setting(1e-3, POSITIVE)  # of the adaptive solvers
    atol: float = setting(1e-4, POSITIVE)
    # last observed values of the context that the encoder reads
    observations: int = setting(96, COUNT)
    jump: int = setting(8, COUNT)  # of them enter at once; 1 is the paper's
    latent: int = setting(16, COUNT)  # numbers of the state that flows over the horizon
    hidden: int = setting(32, COUNT)  # numbers of the encoder's state
    width: int = setting(64, COUNT)  # nodes of both fields and of the readout
    # weight of KL(z0 || N(0, 1)); 1 is the evidence lower bound
    divergence: float = setting(0.1, NOT_NEGATIVE)


class Flow(nn.Module):
    """dz/dt = f(z), f a network of one hidden layer, solved by torchdiffeq."""

    def __init__(self, size: int, config: NeuralODEConfig) -> None:
        super().__init__()
        self.config = config
        last = nn.Linear(config.width, size)
        nn.init.normal_(last.weight, std=0.1 * config.width**-0.5)  # slow at first
        nn.init.zeros_(last.bias)
        self.field = nn.Sequential(nn.Linear(size, config.width), nn.Tanh(), last)
        self.odeint, self.odeint_adjoint = _solvers()

    def forward(self, z: Tensor, times: Tensor, pace: Tensor) -> Tensor:
        """Return the state at each time.

        Args:
            z: State at the first time, (rows, size).
            times: Increasing, shared by the rows, (times,).
            pace: How much faster than these times each row's own run, (rows, 1) or a scalar.

        Returns:
            (times, rows, size).
        """
        config = self.config

        def rate(_: Tensor, z: Tensor) -> Tensor:
            velocity: Tensor = pace * self.field(z)
            return velocity

        options = {"rtol": config.rtol, "atol": config.atol, "method": config.method}
        if config.adjoint:
            weights = tuple(self.field.parameters())
            states: Tensor = self.odeint_adjoint(rate, z, times, adjoint_params=weights, **options)
        else:
            states = self.odeint(rate, z, times, **options)
        return states


class ODERNN(nn.Module):
    """Algorithm 1: flow to the next observations, jump by a GRU's step, flow on to the cutoff."""

    def __init__(self, inputs: int, config: NeuralODEConfig) -> None:
        super().__init__()
        self.jump, self.hidden = config.jump, config.hidden
        self.flow = Flow(config.hidden, config)
        self.cell = nn.GRUCell((inputs + 2) * config.jump, config.hidden)

    def forward(self, x: Tensor, steps: Tensor, observed: Tensor, unit: float) -> Tensor:
        """Encode the observations of each window, the last ones last, as its state at the cutoff, (batch,
        hidden).

        Args:
            x: What is known of each, (batch, observations, inputs).
            steps: How many steps before the cutoff each lies, 0 or more, (batch, observations).
            seen: False for those that fill up a window that has fewer, (batch, observations).
            unit: Steps in a unit of time.
        """
        batch, jumps = len(x), x.shape[1] // self.jump
        time = -steps.to(x.dtype) / unit  # (batch, observations)
        arrival = time.view(batch, jumps, self.jump)[..., -1]  # (batch, jumps)
        any_observed = observed.view(batch, jumps, self.jump)[..., -1:]  # (batch, jumps, 1)
        offset = time - arrival.repeat_interleave(self.jump, 1)  # (batch, observations)
        inputs = torch.cat([x, offset[..., None], torch.ones_like(offset)[..., None]], -1)
        inputs = (inputs * observed[..., None]).view(batch, jumps, -1)  # (batch, jumps, inputs)
        gap = torch.where(any_observed[:, :-1, 0], arrival.diff(dim=1), 0.0)  # (batch, jumps - 1)
        ends = torch.tensor([0.0, 1.0], dtype=x.dtype, device=x.device)
        state = x.new_zeros(batch, self.hidden)  # (batch, hidden)
        for i in range(jumps):
            if i:
                state = self.flow(state, ends, gap[:, i - 1 : i])[-1]  # (batch, hidden)
            state = torch.where(any_observed[:, i], self.cell(inputs[:, i], state), state)
        last: Tensor = self.flow(state, ends, -arrival[:, -1:])[-1]  # (batch, hidden)
        return last


class SeasonalMean(nn.Module):
    """For each step ahead a weighted mean of what was observed, at first of its own place in the season.

    Weights are positive and divided by their sum over the observed: a value that is missing gives its
    weight to the others, and nothing is filled in.
    """

    def __init__(self, context: int, horizon: int, freq: str) -> None:
        super().__init__()
        lag = torch.arange(horizon)[:, None] + context - torch.arange(context)  # (horizon, context)
        weights = torch.full((horizon, context), -8.0)
        period = season_within(freq, context)
        nearest = -(
            -(torch.arange(horizon)[:, None] + 1) // period
        )  # seasons back to the last known
        weights = torch.where(lag % period == 0, 1.0 * (nearest - lag // period), weights)
        for longer in (p for p in Frequency.parse(freq).periods if period < p <= context):
            weights = torch.where(lag % longer == 0, weights + 1.5, weights)
        self.register_buffer("first", weights, persistent=False)
        self.learned = nn.Linear(context, horizon, bias=False)
        nn.init.zeros_(self.learned.weight)

    def forward(self, x: Tensor, observed: Tensor) -> Tensor:
        """(batch, context), (batch, context) -> (batch, horizon); 0 where nothing is observed."""
        weights = (self.get_buffer("first") + GAIN * self.learned.weight).softmax(-1)
        mask = observed.to(x.dtype)
        total = mask @ weights.T  # (batch, horizon)
        mean: Tensor = (x * mask) @ weights.T / total.clamp(min=1e-9)
        return mean


class NeuralODENetwork(Network[NeuralODEConfig]):
    mean_of_paths = True

    def __init__(self, plan: Plan[NeuralODEConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, horizon = plan.context, plan.horizon
        self.period = season_within(plan.freq, context)
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        self.encoder = ODERNN(2 + sizes.features + sizes.past_features, config)
        self.start = nn.Linear(config.hidden + self.static.width + 1, 2 * config.latent)
        self.flow = Flow(config.latent, config)
        self.seasons = SeasonalMean(context, horizon, plan.freq)
        self.beside = nn.Linear(sizes.features + self.static.width + 2, config.width)
        self.read_out = nn.Linear(config.latent, config.width, bias=False)
        self.dropout = Dropout(config.dropout)
        self.head = ParameterHead(config.width, likelihood)

    def encode_state(self, window: Window) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Return mean and log deviation of the state at the cutoff, (batch, latent) each, and the decoder.

        The decoder takes states (batch, draws, latent) to parameters (batch, draws, horizon, params).
        """
        config, x, observed = self.config, self.scale_context(window), window.past_observed
        context, horizon = config.context, config.horizon
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        level = torch.asinh(window.level / window.scale)  # (batch, 1)
        encoded = self.encoder(*self.observations(window, x), float(horizon))  # (batch, hidden)
        mean, deviation = self.start(torch.cat([encoded, static, level], -1)).chunk(2, -1)
        base = self.seasons(x, observed)  # (batch, horizon)
        fixed = torch.cat([static, level], -1)[:, None].expand(-1, horizon, -1)
        step_inputs = self.beside(
            torch.cat([window.features[:, context:], fixed, base[..., None]], -1)
        )

        def decode(z: Tensor) -> Tensor:
            batch, draws = z.shape[:2]
            times = torch.arange(horizon + 1, device=z.device, dtype=z.dtype) / horizon
            states = self.flow(z.flatten(0, 1), times, z.new_ones(()))[1:]
            states = states.view(horizon, batch, draws, -1).permute(1, 2, 0, 3)
            hidden = torch.relu(self.read_out(states) + step_inputs[:, None])
            params = self.head(self.dropout(hidden))  # (batch, draws, horizon, params)
            lift = (base + window.level / window.scale)[:, None].expand(-1, draws, -1)
            lifted_params: Tensor = self.likelihood.lift(params, lift)
            return lifted_params

        return mean, deviation, decode

    def forward(self, window: Window) -> Tensor:
        """Return parameters from the mean of the state at the cutoff, (batch, horizon, params)."""
        mean, _, decode = self.encode_state(window)
        params: Tensor = decode(mean[:, None])[:, 0]  # (batch, horizon, params)
        return params

    def observations(self, window: Window, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the last observed values of each window, with their covariates.

        Inputs (batch, observations, inputs), steps before the cutoff and which are there, (batch,
        observations); as many as go into whole jumps.
        """
        config, context = self.config, self.plan.context
        wanted = min(config.observations, context)
        most = min(int(window.past_observed.sum(1).max()), wanted)
        jumps = max(1, -(-most // config.jump))
        place = torch.arange(1, context + 1, device=x.device) * window.past_observed
        place = nn.functional.pad(place, (config.jump, 0)).topk(jumps * config.jump).values.flip(1)
        filled, at = place > 0, (place - 1).clamp(min=0)  # (batch, observations)
        usual = self.seasonal_mean(x, window.past_observed)  # (batch, context)
        known = [x[..., None], (x - usual)[..., None], window.features[:, :context]]
        inputs = torch.cat([*known, window.past_features], -1)  # (batch, context, inputs)
        observations = inputs.gather(1, at[..., None].expand(-1, -1, inputs.shape[-1]))
        return observations, context - 1 - at, filled

    def seasonal_mean(self, x: Tensor, observed: Tensor) -> Tensor:
        """Return the mean of the observed values at the same place of all seasons of the context, (batch,
        context).
        """
        missing = -x.shape[1] % self.period
        mask = observed.to(x.dtype)
        both = nn.functional.pad(torch.stack([x * mask, mask]), (missing, 0))
        total, count = both.view(2, len(x), -1, self.period).sum(2)  # (batch, period)
        mean: Tensor = total / count.clamp(min=1)  # (batch, period)
        return mean.repeat(1, both.shape[-1] // self.period)[:, missing:]

    def loss(self, window: Window) -> Tensor:
        """Return the negative evidence lower bound per step, with one draw of the state at the cutoff."""
        mean, deviation, decode = self.encode_state(window)
        z = mean
        if self.training:
            random = generator(mean.device)
            normal = torch.randn(mean.shape, generator=random, device=mean.device, dtype=mean.dtype)
            z = mean + deviation.exp() * normal
        params = decode(z[:, None])[:, 0]  # (batch, horizon, params)
        observed = self.loss_mask(window)  # (batch, horizon)
        scale = window.scale.expand(observed.shape)
        loss = self.likelihood.loss(
            params, window.future_target, scale, observed=observed, censored=window.future_censored
        )  # (batch, horizon)
        spread = (2 * deviation).exp() - 1 - 2 * deviation  # (batch, latent)
        kl = 0.5 * (mean.square() + spread).sum(-1)  # (batch,), KL(z0 || N(0, 1))
        total: Tensor = loss.sum() / observed.sum().clamp(min=1)
        known = window.has_scale[:, 0]  # (batch,)
        mean_kl = (kl * known).sum() / known.sum().clamp(min=1)
        divergence: Tensor = self.config.divergence * mean_kl / self.config.horizon
        return total + divergence

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, deviation, decode = self.encode_state(window)
        noise = draws.at("state").normal((len(window), n_samples, mean.shape[-1])).to(mean)
        params = decode(mean[:, None] + deviation.exp()[:, None] * noise)
        scale = window.scale[:, None].expand(params.shape[:-1])
        paths = self.likelihood.sample(params, scale, draws.at("value"))  # (batch, paths, horizon)
        quantiles = torch.quantile(paths, levels, dim=1).permute(1, 2, 0)
        return quantiles, paths.mean(1), paths


def _solvers() -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    try:
        from torchdiffeq import odeint, odeint_adjoint
    except ImportError:
        raise MissingExtraError(
            "neural_ode solves its equations with torchdiffeq; install it: pip install 'demandcast[ode]'"
        ) from None
    return odeint, odeint_adjoint


class NeuralODE(NeuralForecaster[NeuralODEConfig]):
    """Latent ODE with an ODE-RNN encoder; `rate` is another name for `learning_rate`."""

    name = "neural_ode"
    summary = (
        "a latent state that flows in continuous time, for irregular stamps (Rubanova et al. 2019)"
    )
    takes = "target, known, past, static, available"
    gives = "paths and quantiles"
    Config = NeuralODEConfig
    Net = NeuralODENetwork
    samples_paths = True
    scaling = "standard"
    aliases: ClassVar[dict[str, str]] = {"rate": "learning_rate"}

    def auto_context(self, panel: Panel) -> int:
        """Return three weeks for hourly data with a horizon under a week: the mean of seasons reads all of
        them.
        """
        season = longest_season(panel)
        floor = 3 * season if self.horizon < season else 0
        return max(floor, super().auto_context(panel))
