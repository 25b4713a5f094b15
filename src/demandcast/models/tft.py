"""TFT: variables weighed at every step, an LSTM for what is near, attention for what is far.

Lim, Arik, Loeff, Pfister, "Temporal Fusion Transformers for interpretable multi-horizon time series
forecasting", International Journal of Forecasting 37 (2021), 1748-1764; arXiv:1912.09363.

Departs from the paper: emits the parameters of a likelihood around a linear forecast that begins as the
last season repeated and is an input of the steps ahead; two linear maps with nothing but dropout between
them are one, so that a variable goes straight into its gated network and that straight into its gate;
sines and cosines of one cycle are one variable; only steps ahead ask the attention, for no other is read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import elu, glu, linear

from demandcast.errors import ConfigError
from demandcast.frequency import Frequency
from demandcast.layers.decoder import ParameterHead
from demandcast.layers.dropout import Dropout
from demandcast.layers.embedding import StaticEmbedding
from demandcast.layers.last_season import SeasonalLinear, season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting
from demandcast.windows.window import Sizes, Window


@dataclass(frozen=True, kw_only=True)
class TFTConfig(DirectConfig):
    batch_size: int | str = 64
    hidden: int = setting(32, COUNT)  # d_model: the size of every vector within
    heads: int = setting(4, COUNT)

    def __post_init__(self) -> None:
        """Refuse heads that do not share the width."""
        super().__post_init__()
        if self.hidden % self.heads:
            raise ConfigError(
                f"hidden is {self.hidden}, which {self.heads} heads cannot share; give a multiple",
                option="hidden",
                found=self.hidden,
                expected=f"a multiple of {self.heads}",
            )


@dataclass(frozen=True)
class Explanation:
    """What a TFT looked at, as the mean over the series of a panel.

    Attributes:
        importances: Weight of each variable among those of its kind ("static", "past", "future"), the
            largest first: kind, variable, weight. They add up to 1 within a kind.
        attention: Attention by how many steps before the step that is forecast: lag, weight; 0 is
            the step itself. The weights add up to 1.
        attention_by_step: The same for each step of the horizon, from 1: step, lag, weight.
    """

    importances: pl.DataFrame
    attention: pl.DataFrame
    attention_by_step: pl.DataFrame


class GatedResidual(nn.Module):
    """Equations 2 to 5: a hidden layer that a gate may pass over."""

    def __init__(self, width: int, hidden: int, out: int, dropout: float, context: int = 0) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.context = nn.Linear(context, hidden, bias=False) if context else None
        self.gate = nn.Linear(hidden, 2 * out)
        self.skip = nn.Identity() if width == out else nn.Linear(width, out)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(batch, ..., width), context (batch, context) -> (batch, ..., out)."""
        inner = self.inner(x)  # (batch, ..., hidden)
        if self.context is not None and context is not None:
            added = self.context(context)  # (batch, hidden)
            inner = inner + (added if x.ndim == 2 else added[:, None])
        gated = glu(self.gate(self.dropout(elu(inner))))  # (batch, ..., out)
        normed: Tensor = self.norm(self.skip(x) + gated)
        return normed


class GatedSkip(nn.Module):
    """Equations 17, 20 and 22: what a layer gives, gated, added to what it was given, normed."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.gate, self.norm = nn.Linear(width, 2 * width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(..., width), (..., width) -> (..., width)."""
        normed: Tensor = self.norm(skip + glu(self.gate(self.dropout(x))))
        return normed


class EmbedEach(nn.Linear):
    """A linear map of each variable's own columns: (..., columns) -> (..., variables, width)."""

    def __init__(self, columns: Sequence[int], width: int) -> None:
        variables = max(columns) + 1
        super().__init__(len(columns), variables * width)
        is_own = torch.arange(variables)[:, None] == torch.tensor(columns)  # (variables, columns)
        self.register_buffer("own", is_own.repeat_interleave(width, 0), persistent=False)
        self.shape = (variables, width)

    def forward(self, x: Tensor) -> Tensor:
        out = linear(x, self.weight * self.get_buffer("own"), self.bias)
        return out.view(*x.shape[:-1], *self.shape)


class LinearEach(nn.Module):
    """A linear map for each variable: (..., variables, width) -> (..., variables, out)."""

    def __init__(self, variables: int, width: int, out: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(variables, width, out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(variables, out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("...vi,vio->...vo", x, self.weight) + self.bias


class VariableSelection(nn.Module):
    """Section 4.2: each variable through a gated network of its own, added up by weights from all.

    Args:
        columns: The variable that each column of the input belongs to, (columns,), from 0.
        hidden: Size of the vectors.
        dropout: Share of numbers dropped before each gate.
        context: Size of the static vector that the weights depend on too; 0 for none.
    """

    def __init__(self, columns: Sequence[int], hidden: int, dropout: float, context: int) -> None:
        super().__init__()
        variables = max(columns) + 1
        self.choose = GatedResidual(len(columns), hidden, variables, dropout, context)
        self.embed, self.inner = EmbedEach(columns, hidden), EmbedEach(columns, hidden)
        self.gate = LinearEach(variables, hidden, 2 * hidden)
        self.dropout, self.norm = Dropout(dropout), nn.LayerNorm(hidden)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, ..., columns) -> chosen (batch, ..., hidden) and weights (batch, ..., variables)."""
        weights = self.choose(x, context).softmax(-1)  # (batch, ..., variables)
        gated = glu(self.gate(self.dropout(elu(self.inner(x)))))
        each = self.norm(self.embed(x) + gated)  # (batch, ..., variables, hidden)
        return torch.einsum("...v,...vh->...h", weights, each), weights


class InterpretableAttention(nn.Module):
    """Equations 13 to 16: heads that attend apart but share their values, so that one picture tells all."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.each = heads, width // heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, self.each), nn.Linear(self.each, width)
        self.dropout = Dropout(dropout)

    def forward(self, asking: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attend from queries (batch, horizon, width), the last steps of x (batch, steps, width), to x up to
        each.

        Returns what is found, (batch, horizon, width), and the attention, (batch, horizon, steps).
        """
        (batch, horizon, _), steps = asking.shape, x.shape[1]
        query = self.query(asking).view(batch, horizon, self.heads, self.each).transpose(1, 2)
        key = self.key(x).view(batch, steps, self.heads, self.each).permute(0, 2, 3, 1)
        score = query @ key / self.each**0.5  # (batch, heads, horizon, steps)
        later = torch.ones(horizon, steps, dtype=torch.bool, device=x.device)
        score = score.masked_fill(later.triu(steps - horizon + 1), -torch.inf)
        attention = score.softmax(-1).mean(1)  # (batch, horizon, steps)
        attended: Tensor = self.out(self.dropout(attention) @ self.value(x))
        return attended, attention


class TFTNetwork(Network[TFTConfig]):
    def __init__(self, plan: Plan[TFTConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        context, hidden, dropout = plan.context, config.hidden, config.dropout

        def gated() -> GatedResidual:
            return GatedResidual(hidden, hidden, hidden, dropout, hidden)

        self.static = StaticEmbedding(sizes.categories, sizes.reals)
        widths = [*self.static.widths, *[1] * (sizes.reals + 1)]  # the last one is the level
        self.choose_static = VariableSelection(_columns(widths), hidden, dropout, 0)
        # what the static vector says to the choice of variables, the two states, and every step
        self.to_choice, self.to_state, self.to_cell, self.to_steps = (
            GatedResidual(hidden, hidden, hidden, dropout) for _ in range(4)
        )
        cycles = list(_calendar_cycles(plan.freq).values())
        known = [*cycles, *[1] * (sizes.features - sum(cycles))]
        self.choose_past = VariableSelection(
            _columns([2, *[1] * sizes.past_features, *known]), hidden, dropout, hidden
        )
        self.choose_future = VariableSelection(_columns([*known, 1]), hidden, dropout, hidden)
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.decoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.after_lstm = GatedSkip(hidden, dropout)
        self.enrich = gated()
        self.attention = InterpretableAttention(hidden, config.heads, dropout)
        self.after_attention = GatedSkip(hidden, dropout)
        self.feed_forward = GatedResidual(hidden, hidden, hidden, dropout)
        self.after_all = GatedSkip(hidden, dropout)
        self.linear = SeasonalLinear(context, plan.horizon, season_within(plan.freq, context))
        self.head = ParameterHead(hidden, likelihood)

    def forward(self, window: Window) -> Tensor:
        return self.attend(window)[0]

    def attend(self, window: Window) -> tuple[Tensor, dict[str, Tensor]]:
        """Return parameters (batch, horizon, params), and the weights of variables and steps, by kind.

        "static" (batch, variables), "past" (batch, context, variables), "future" (batch, horizon,
        variables), "attention" (batch, horizon, context + horizon).
        """
        context = self.plan.context
        x = self.scale_context(window)  # (batch, context)
        base = self.linear(x)  # (batch, horizon)
        level = torch.asinh(window.level / window.scale)  # (batch, 1)
        codes = self.static(window.static_codes, window.static_reals)
        static, static_weights = self.choose_static(torch.cat([codes, level], -1))
        choice = self.to_choice(static)  # (batch, hidden)
        observed = window.past_observed[..., None].to(x.dtype)
        known = window.features  # (batch, context + horizon, features)
        past_inputs = [x[..., None], observed, window.past_features, known[:, :context]]
        past, past_weights = self.choose_past(torch.cat(past_inputs, -1), choice)
        ahead = torch.cat([known[:, context:], base[..., None]], -1)
        future, future_weights = self.choose_future(ahead, choice)
        state = (self.to_state(static)[None], self.to_cell(static)[None])
        encoded, state = self.encoder(past, state)  # (batch, context, hidden)
        decoded, _ = self.decoder(future, state)  # (batch, horizon, hidden)
        inputs = torch.cat([past, future], 1)  # (batch, context + horizon, hidden)
        steps = self.after_lstm(torch.cat([encoded, decoded], 1), inputs)
        enriched = self.enrich(steps, self.to_steps(static))  # (batch, context + horizon, hidden)
        context_vectors, attention = self.attention(enriched[:, context:], enriched)
        attended = self.after_attention(
            context_vectors, enriched[:, context:]
        )  # (batch, horizon, hidden)
        out = self.after_all(self.feed_forward(attended), steps[:, context:])
        params = self.lift_params(window, self.head(out), base)  # (batch, horizon, params)
        weights = {
            "static": static_weights,
            "past": past_weights,
            "future": future_weights,
            "attention": attention,
        }
        return params, weights


def _columns(widths: Sequence[int]) -> list[int]:
    """Return the variable that each column belongs to, given the columns of each variable."""
    return [i for i, width in enumerate(widths) for _ in range(width)]


def _calendar_cycles(freq: str) -> dict[str, int]:
    """Return the columns of each calendar cycle, in order: day, week, month, year."""
    cycles: dict[str, int] = {}
    for column in Frequency.parse(freq).calendar_names:
        name = (
            "day_of_week" if column.startswith("is_") else re.sub("_(sin|cos)[0-9]+$", "", column)
        )
        cycles[name] = cycles.get(name, 0) + 1
    return cycles


class TFT(NeuralForecaster[TFTConfig]):
    """TFT, with any likelihood; "auto" is the quantile grid."""

    name = "tft"
    portfolio = 360
    summary = "LSTM and attention over variables weighed at every step (Lim et al. 2021)"
    takes = "target, known, past, static, available"
    gives = "quantiles"
    Config = TFTConfig
    Net = TFTNetwork
    scaling = "standard"

    def explain(self, panel: Panel, *, future: object = None) -> Explanation:
        """Return which variables and which past steps the forecasts of this panel rest on.

        Args:
            panel: The series to look at, each from its last step; `panel.select([3])` for one.
            future: Known covariates of the steps ahead, as in `predict`.

        Raises:
            NotFittedError: The model is not fitted.

        Example:
            >>> from demandcast.frames import read_panel
            >>> panel = read_panel(pl.DataFrame({"ds": range(60), "y": [0, 3, 1] * 20}), key=[])
            >>> model = TFT(horizon=3, context=9, max_steps=2).fit(panel, progress=False)
            >>> model.explain(panel).importances.filter(kind="past")["variable"].sort().to_list()
            ['age', 'target']
        """
        source = self._prediction_source(self._ready(panel, future))
        network = self.network
        assert isinstance(network, TFTNetwork)
        sums: dict[str, Tensor] = {}
        for first in range(0, panel.n_series, 256):
            rows = torch.arange(first, min(first + 256, panel.n_series), device=source.device)
            with torch.inference_mode():
                _, weights = network.attend(source.latest(rows))
            for kind, weight in weights.items():
                while kind != "attention" and weight.ndim > 2:
                    weight = weight.mean(1)  # (batch, variables)
                sums[kind] = sums.get(kind, torch.zeros(())) + weight.sum(0).cpu()
        means = {kind: total / panel.n_series for kind, total in sums.items()}
        frames = [
            pl.DataFrame({"kind": kind, "variable": names, "weight": means[kind].numpy()})
            for kind, names in self._variables().items()
        ]
        importances = pl.concat([frame.sort("weight", descending=True) for frame in frames])
        attention = means["attention"]  # (horizon, context + horizon)
        step, place = torch.meshgrid(*(torch.arange(n) for n in attention.shape), indexing="ij")
        lag = step + attention.shape[1] - self.horizon - place  # 0 is the step itself
        by_step = pl.DataFrame(
            {
                k: v[lag >= 0].numpy()
                for k, v in (("step", step + 1), ("lag", lag), ("weight", attention))
            }
        ).sort("step", "lag")
        by_lag = by_step.group_by("lag").agg(pl.col("weight").sum() / self.horizon).sort("lag")
        return Explanation(importances, by_lag, by_step)

    def _variables(self) -> dict[str, list[str]]:
        """Return the names of the variables of each kind, in the network's order."""
        assert self.features is not None
        assert self.network is not None

        def named(role: dict[str, tuple[float, float, bool]]) -> list[str]:
            return [*role, *(f"{name} given" for name, (_, _, gaps) in role.items() if gaps)]

        known = [*_calendar_cycles(self.features.freq), "age", *named(self.features.known)]
        past = named(self.features.past)
        unavailable = ["unavailable"] * (self.network.sizes.past_features - len(past))
        reals = named(self.features.static_reals)
        return {
            "static": [*self.features.vocabularies, *reals, "scale", "level"],
            "past": ["target", *past, *unavailable, *known],
            "future": [*known, "season"],
        }
