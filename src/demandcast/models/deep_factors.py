"""Deep Factors: a few courses that all series share, and a probabilistic model of what each adds.

Wang, Smola, Maddix, Gasthaus, Foster, Januschowski, "Deep Factors for Forecasting", ICML 2019,
arXiv:1905.12417; the Gaussian process of Maddix, Wang, Smola, "Deep Factors with Gaussian Processes
for Forecasting", 2018, arXiv:1812.00098.

    log(1 + z[i,t] / scale) = link(w[i] . g[t] + v[i] . x[i,t]) + r[i,t] + noise[i,t]
    g = LSTM(calendar)

Departs from the papers: the logarithm, which `transform="none"` leaves out and negative demand cannot
have; the LSTM reads the calendar in stretches that begin at fixed stamps, each after a run-up, so that
g is a function of the stamp alone and is computed once for each; covariates that a series has of its
own are factors too, with loadings v; states of the linear state space lose their memory at a learned
rate (a random walk is the limit), and the marginal likelihood that Kalman's filter gives is computed
from the window's covariance matrix at once; beside its levels there is a smooth one, beside its seasons
quick ones, for a hot day is more like yesterday than like the month; to the process's kernel two of
time alone are added; the noise of all three comes from the local LSTM. Unless `likelihood="normal"` is
said, steps are jointly Student-t, not normal, so that the size of a window's errors is learned from its
context (Shah, Wilson, Ghahramani, "Student-t processes as alternatives to Gaussian processes", AISTATS
2014).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from demandcast import likelihoods
from demandcast.draws.tensors import TensorDraws
from demandcast.errors import ConfigError
from demandcast.frequency import Frequency
from demandcast.layers.dropout import Dropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.gaussian import condition, density_of, draw, log_density
from demandcast.layers.transform import TRANSFORMS, resolve_transform
from demandcast.likelihoods.base import Likelihood, inverse_softplus
from demandcast.likelihoods.tails import student_t_quantile
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import NeuralConfig, Plan
from demandcast.models.gaps import warn_once
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, PART, choice, setting
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.window import Sizes, Window

STRETCH, RUN_UP = 168, 24  # stamps whose factors are computed in one go, and those read before
LARGEST = 30.0  # deviation in units of the scale; larger ones leave no digits for the noise
EFFECTS = ("lds", "gp", "rnn")
LINKS = ("identity", "exp", "softplus")
CEILING = 3.0  # times the largest value of the context: no forecast on the log scale lies above
EVEN = 64  # quantiles that the mean is taken over


@dataclass(frozen=True, kw_only=True)
class DeepFactorsConfig(NeuralConfig):
    # lds: state space, gp: Gaussian process, rnn: noise alone
    random_effect: str = setting("lds", choice(*EFFECTS))
    factors: int = setting(10, COUNT)
    hidden: int = setting(50, COUNT)  # nodes of the global LSTM
    local_hidden: int = setting(5, COUNT)  # nodes of the local LSTM, whose output is the noise
    link: str = setting("identity", choice(*LINKS))  # of the fixed effect: identity, exp, softplus
    # log1p, none; auto is log1p where no value is below 0
    transform: str = setting("auto", choice(*TRANSFORMS))
    series_embedding: bool = True
    lags: tuple[int, ...] | None = ()  # not read
    rho: float = 0.0
    batch_size: int | str = 32
    max_steps: int = 400
    learning_rate: float = 1e-2
    weight_decay: float = 0.1  # hundreds of series have vectors of their own
    dropout: float = setting(0.1, PART)  # of the global LSTM's output


@lru_cache(maxsize=4096)
def _calendar_stretch(freq: str, number: int) -> Tensor:
    """Return calendar features of one stretch and its run-up, (RUN_UP + STRETCH, features)."""
    first = number * STRETCH
    rows = Frequency.parse(freq).calendar(np.arange(first - RUN_UP, first + STRETCH))
    return torch.from_numpy(rows) if rows.shape[1] else torch.ones(len(rows), 1)


class StateSpace(nn.Module):
    """A slope, three levels, and two courses of each season, linear and normal.

    Levels are slow, quick and smooth: the first two are x[t] = phi x[t - 1] + noise, the smooth one is so
    in its increments too (Matern 3/2). A season has a state for each of its places, alike where places
    are near each other; all of them fade together, slowly in one course and quickly in the other. All
    start in their stationary distribution, so their covariance at steps s and t is a function of
    |s - t|. The slope does not change within a window. Deviations, memories and widths are the series'
    own.
    """

    def __init__(self, width: int, periods: tuple[int, ...], horizon: int) -> None:
        super().__init__()
        self.periods, self.horizon = periods, horizon
        seasons = len(periods)
        deviation = [
            0.05,
            0.2,
            0.1,
            0.1,
            *[0.1] * 2 * seasons,
        ]  # of the slope, over a horizon, first
        memory = [10.0 * horizon, 4.0, 4.0]  # in steps, of the levels
        memory += [
            *[6.0] * seasons,
            *[1.0] * seasons,
        ]  # in seasons, of the slow and the quick courses
        near = [*[1.0] * seasons, *[2.0] * seasons]  # places over which a course is alike
        start = torch.tensor([*deviation, *memory, *near]).log()
        self.parts = nn.Linear(width, len(start))
        nn.init.zeros_(self.parts.weight)
        with torch.no_grad():
            self.parts.bias.copy_(start)

    def forward(self, static: Tensor, times: Tensor) -> Tensor:
        """Return the covariance of a window's steps, (batch, steps, steps), float64."""
        step = torch.arange(times.shape[1], device=static.device)
        lag, courses = step.double(), 2 * len(self.periods)
        parts = self.parts(static).double().clamp(-9.0, 9.0).exp()[..., None]  # (batch, parts, 1)
        slope, deviation, memory, near = torch.split(
            parts, [1, 3 + courses, 3 + courses, courses], 1
        )
        slope, deviation = slope.clamp(max=LARGEST), deviation.clamp(max=LARGEST)
        age = lag / memory[:, :3]  # (batch, 3, steps)
        smooth = torch.log1p(age[:, 2:])
        period = torch.tensor(2 * self.periods, device=static.device).double()[:, None]
        turn = 2 * torch.pi / period  # (courses, 1)
        apart = ((lag * turn).cos() - 1) / (1 - turn.cos()) / near.square()  # -1 a width next door
        fading = torch.cat(
            [-age[:, :2], smooth - age[:, 2:], apart - lag / period / memory[:, 3:]], 1
        )
        covariance = (deviation.square() * fading.exp()).sum(1)  # (batch, steps)
        ahead = lag - (len(lag) - self.horizon)  # steps from the cutoff
        ramp = slope * ahead / self.horizon  # (batch, 1, steps)
        whole: Tensor = covariance[:, (step[:, None] - step).abs()] + ramp.mT * ramp
        return whole


class Process(nn.Module):
    """A Gaussian process over calendar and time together, a quick and a slow one over time; RBF all."""

    def __init__(self, width: int, features: int, horizon: int) -> None:
        super().__init__()
        self.horizon = horizon
        lengths = [*[1.0] * features, 5.0, 0.5, 8.0]  # those of time in horizons
        self.parts = nn.Linear(width, 3 + len(lengths))
        nn.init.zeros_(self.parts.weight)
        with torch.no_grad():
            self.parts.bias.copy_(torch.tensor([0.2, 0.1, 0.3, *lengths]).log())

    def forward(self, static: Tensor, times: Tensor) -> Tensor:
        """Return the covariance of a window's steps, (batch, steps, steps), float64."""
        times = times.double()  # (batch, steps, features)
        step = torch.arange(times.shape[1], device=times.device).double() / self.horizon
        parts = self.parts(static).double().clamp(-9.0, 9.0).exp()[:, None]  # (batch, 1, parts)
        deviation, length, quick, slow = torch.split(parts, [3, times.shape[-1] + 1, 1, 1], -1)
        deviation = deviation.clamp(max=LARGEST)
        x = torch.cat([times, step[:, None].expand(len(times), -1, 1)], -1) / length
        square = x.square().sum(-1)  # (batch, steps)
        far = (square[:, :, None] + square[:, None] - 2 * x @ x.mT).clamp(min=0.0)
        gap = (step[:, None] - step).square()  # (steps, steps)
        kernels = torch.stack([far, gap / quick.square(), gap / slow.square()], -1)
        covariance: Tensor = (deviation.square()[:, None] * (-kernels / 2).exp()).sum(-1)
        return covariance


class DeepFactorsNetwork(Network[DeepFactorsConfig]):
    def __init__(self, plan: Plan[DeepFactorsConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        frequency = Frequency.parse(plan.freq)
        self.shared = len(frequency.calendar_names)
        known_features = sizes.features - self.shared  # age and known covariates
        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        calendar = max(self.shared, 1)
        self.lstm = nn.LSTM(calendar, config.hidden, batch_first=True)
        self.dropout = Dropout(config.dropout)
        self.factors = nn.Linear(config.hidden + calendar, config.factors)
        self.loadings = nn.Linear(self.static.width, config.factors + known_features)
        self.local = nn.LSTM(
            sizes.features + self.static.width, config.local_hidden, batch_first=True
        )
        self.noise = nn.Linear(config.local_hidden, 1)
        periods = tuple(p for p in frequency.periods if 1 < p < plan.context)
        self.effect: StateSpace | Process | None = None
        if config.random_effect == "lds":
            self.effect = StateSpace(self.static.width, periods, plan.horizon)
        elif config.random_effect == "gp":
            self.effect = Process(self.static.width, self.shared, plan.horizon)
        heavy = likelihood.name == "student_t"
        self.tail = nn.Parameter(torch.tensor(2.0)) if heavy else None
        start = torch.tensor(0.3 if self.effect is None else 0.1)
        with torch.no_grad():
            self.noise.bias.fill_(inverse_softplus(start))

    def global_factors(self, stamps: Tensor) -> Tensor:
        """Evaluate the global factors g at stamps (batch, steps), each stamp once: (batch, steps, factors)."""
        number = stamps.div(STRETCH, rounding_mode="floor")
        stretches, place = torch.unique(number, return_inverse=True)
        calendar = torch.stack(
            [_calendar_stretch(self.plan.freq, n) for n in stretches.tolist()]
        ).to(stamps.device)
        hidden = self.dropout(self.lstm(calendar)[0])  # (stretches, RUN_UP + STRETCH, hidden)
        inputs = torch.cat([hidden, calendar], -1)[:, RUN_UP:]
        table = self.factors(inputs).flatten(0, 1)  # (stretches * STRETCH, factors)
        factors: Tensor = table[place * STRETCH + stamps % STRETCH]
        return factors

    def forward(self, window: Window) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return fixed effect and noise deviation (batch, steps), and the random effect's covariance (batch,
        steps, steps).

        Over context and horizon, in units of the scale; the random effect is its covariance.
        """
        static = self.static(window.static_codes, window.static_reals)  # (batch, static)
        known_features = window.features[..., self.shared :]  # (batch, context + horizon, known)
        courses = torch.cat([self.global_factors(window.stamps), known_features], -1)
        loadings = self.loadings(static)[:, None]  # (batch, 1, factors + known)
        fixed = (courses * loadings).sum(-1)  # (batch, context + horizon)
        if self.config.link != "identity":
            fixed = fixed.clamp(max=9.0).exp() if self.config.link == "exp" else softplus(fixed)
        wide = static[:, None].expand(-1, fixed.shape[1], -1)
        local = self.local(torch.cat([window.features, wide], -1))[0]
        noise = softplus(self.noise(local))[..., 0] + 1e-3  # (batch, context + horizon)
        times = window.features[..., : self.shared]
        return fixed, noise, None if self.effect is None else self.effect(static, times)

    @property
    def df(self) -> Tensor | None:
        """Degrees of freedom of the Student-t process; None where all is normal."""
        return None if self.tail is None else 2 + self.tail.clamp(-5.0, 9.0).exp()

    def targets(self, window: Window) -> Tensor:
        observed = torch.cat([window.past_observed, window.future_observed], 1)
        return observed & ~torch.cat([window.past_censored, window.future_censored], 1)

    def transform_values(self, values: Tensor, window: Window) -> Tensor:
        """Transform values (batch, steps) to the scale of the model."""
        if self.config.transform == "log1p":
            return (values / window.scale).clamp(min=0).log1p()
        return (values - window.level) / window.scale

    def inverse_transform(self, x: Tensor, window: Window) -> Tensor:
        """Transform x (batch, ..., ...) from the scale of the model to the user's units."""
        scale, level = window.scale[..., None], window.level[..., None]
        if self.config.transform != "log1p":
            return (x * scale + level).float()
        highest = window.past_target.amax(1)[:, None, None] / scale  # (batch, 1, 1)
        most = CEILING * highest.clamp(min=1.0)
        return (torch.minimum(x.expm1(), most) * scale).float()

    def loss(self, window: Window) -> Tensor:
        """Return the negative log marginal likelihood of context and horizon together, for each step."""
        fixed, noise, covariance = self(window)
        whole = torch.cat([window.past_target, window.future_target], 1)
        target = self.transform_values(whole, window)  # (batch, context + horizon)
        observed = self.loss_mask(window)  # (batch, context + horizon)
        if covariance is None:
            square = torch.where(observed, (target - fixed) / noise, 0.0).square()
            one = torch.ones_like(square)
            each = density_of(square, 2 * noise.log(), one, self.df)  # (batch, context + horizon)
            total = torch.where(observed, each, 0.0).sum()
        else:
            joint = add_noise(covariance, noise)
            total = log_density(target - fixed, joint, observed, self.df).sum().to(fixed)
        return -total / observed.sum().clamp(min=1)

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Condition the horizon on the context, exactly; draw paths jointly."""
        fixed, noise, covariance = self(window)
        context, df = window.past_target.shape[1], self.df
        mean = fixed[:, context:].double()  # (batch, horizon)
        joint = noise[:, context:].double().square().diag_embed()  # (batch, horizon, horizon)
        shared = mean.new_ones(len(mean), n_samples, mean.shape[1] if covariance is None else 1)
        if df is not None:
            df = df.double().expand(len(mean))  # (batch,)
        if covariance is not None:
            error = self.transform_values(window.past_target, window) - fixed[:, :context]
            observed = window.past_observed & ~window.past_censored
            move, joint, square = condition(error, add_noise(covariance, noise), observed)
            mean = mean + move
            if df is not None:  # large errors in the context widen what follows; Shah et al., eq. 6
                joint = joint * ((df - 2 + square) / (df - 2 + observed.sum(1)))[:, None, None]
                df = df + observed.sum(1)
        even = (torch.arange(EVEN, device=mean.device).double() + 0.5) / EVEN
        wanted = torch.cat([levels.double(), even])
        scores = torch.special.ndtri(wanted)
        if df is not None:
            wide = (len(mean), len(wanted))
            scores = student_t_quantile(wanted.expand(wide), df[:, None].expand(wide))
            scores = (scores * ((df - 2) / df).sqrt()[:, None])[:, None]  # (batch, 1, wanted)
            half = (df / 2)[:, None, None].expand_as(shared).contiguous()
            gamma = draws.at("width").gamma(half)
            shared = ((half - 1) / gamma).sqrt()  # of a path's size, (batch, paths, 1)
        deviation = joint.diagonal(dim1=-2, dim2=-1).clamp(min=1e-12).sqrt()
        quantiles = self.inverse_transform(mean[..., None] + deviation[..., None] * scores, window)
        drawn = draw(torch.zeros_like(mean), joint, n_samples, draws.at("noise"))
        paths = self.inverse_transform(
            mean[:, None] + shared * drawn, window
        )  # (batch, paths, horizon)
        asked = len(levels)
        return quantiles[..., :asked], quantiles[..., asked:].mean(-1), paths


def add_noise(covariance: Tensor, noise: Tensor) -> Tensor:
    """Add the variance of independent noise (batch, steps) to a covariance."""
    whole = covariance.clone()
    whole.diagonal(dim1=-2, dim2=-1).add_(noise.square())
    return whole


class DeepFactors(NeuralForecaster[DeepFactorsConfig]):
    """Deep Factors; `random_effect` is lds, gp or rnn, `likelihood` student_t ("auto") or normal."""

    name = "deep_factors"
    summary = "shared courses of the calendar and a state space for each series (Wang et al. 2019)"
    takes = "target, known, static, available"
    gives = "paths and quantiles"
    Config = DeepFactorsConfig
    Net = DeepFactorsNetwork
    samples_paths = True

    def _sampler(self, panel: Panel, plan: Plan[DeepFactorsConfig], held_out: int) -> WindowSampler:
        """Draw whole contexts where series are long enough: a few values do not tell a window's scale."""
        return WindowSampler(
            panel,
            horizon=plan.horizon,
            held_out=held_out,
            rho=plan.config.rho,
            min_history=plan.context,
        )

    def auto_context(self, panel: Panel) -> int:
        """Return a short context: the level is part of the scale, and an old level holds forecasts back."""
        season = min((p for p in panel.freq.periods if p > 1), default=1)
        return max(min(3 * self.horizon, 168), self.horizon, 4 * season)

    def resolve(self, panel: Panel) -> DeepFactorsConfig:
        config = super().resolve(panel)
        bounds = 0 if panel.available is None else int(panel.n_unavailable().sum())
        if bounds:
            warn_once(
                f"{self.name} leaves out {bounds:,} steps at which an item could not be bought; demand "
                "was at least what was sold there, and deepar, nhits and the other networks learn from that"
            )
        return replace(config, transform=resolve_transform(config.transform, panel))

    def make_likelihood(self, config: DeepFactorsConfig, panel: Panel | None) -> Likelihood:
        if config.likelihood not in ("auto", "normal", "student_t"):
            raise ConfigError(
                f"{self.name} is a normal or a Student-t process: likelihood='student_t' or 'normal', "
                f"not {config.likelihood!r}; models.DeepAR draws paths of other distributions",
                option="likelihood",
                found=config.likelihood,
                expected="student_t or normal",
            )
        return likelihoods.create("student_t" if config.likelihood == "auto" else config.likelihood)
