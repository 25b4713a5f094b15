"""TPA-LSTM: filters over the whole past of each hidden unit, and attention over units, not steps.

Shih, Sun, Lee, "Temporal Pattern Attention for Multivariate Time Series Forecasting", Machine Learning
108, 2019; arXiv:1809.04206.

Departs from the paper: emits the parameters of a likelihood, for all steps of the horizon unless
`single_step` is set; the highway begins as the last season repeated and the output at 0; scales are those
of the context, where the paper's are of the whole file, test included; the calendar may be read beside
the series. `per_step` attends at every step and feeds it to the next, as the authors' code does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demandcast.layers.decoder import ParameterHead
from demandcast.layers.dropout import Dropout
from demandcast.likelihoods.base import Likelihood
from demandcast.models.config import Plan
from demandcast.models.multivariate import (
    MultivariateConfig,
    MultivariateForecaster,
    MultivariateNetwork,
)
from demandcast.settings import COUNT, setting
from demandcast.windows.window import Sizes, Window


@dataclass(frozen=True, kw_only=True)
class TPALSTMConfig(MultivariateConfig):
    hidden: int = setting(64, COUNT)  # units of the LSTM, the rows that attention chooses among
    filters: int = setting(32, COUNT)  # temporal patterns
    per_step: bool = False  # attend at every step; a slow loop, for study


class TemporalPatternAttention(nn.Module):
    """Section 4: each row of past states meets every filter, and rows are weighed by a sigmoid each."""

    def __init__(self, window: int, query: int, hidden: int, filters: int) -> None:
        super().__init__()
        self.filters = nn.Linear(window, filters, bias=False)
        self.score = nn.Linear(query, filters, bias=False)
        self.own = nn.Linear(query, hidden, bias=False)
        self.pattern = nn.Linear(filters, hidden, bias=False)

    def weights(self, patterns: Tensor, query: Tensor) -> Tensor:
        """(batch, hidden, filters), (batch, query) -> (batch, hidden), each in (0, 1)."""
        return torch.sigmoid((patterns @ self.score(query)[..., None]).squeeze(-1))

    def forward(self, past: Tensor, query: Tensor) -> Tensor:
        """Attend to past states (batch, window, hidden) by a query (batch, query): (batch, hidden)."""
        patterns = self.filters(past.transpose(1, 2))  # (batch, hidden, filters)
        alpha = self.weights(patterns, query)  # (batch, hidden)
        mixed = (alpha[:, None] @ patterns).squeeze(1)  # (batch, filters)
        out: Tensor = self.own(query) + self.pattern(mixed)
        return out


class PerStep(nn.Module):
    """The authors' code: attention at every step, over the last outputs, fed into the next input."""

    def __init__(self, window: int, hidden: int, filters: int) -> None:
        super().__init__()
        self.window = window
        self.enter = nn.Linear(2 * hidden, hidden)
        self.cell = nn.LSTMCell(hidden, hidden)
        self.attention = TemporalPatternAttention(window, 2 * hidden, hidden, filters)
        self.leave = nn.Linear(2 * hidden, hidden)

    def forward(self, entered: Tensor) -> Tensor:
        """(batch, steps, hidden) -> the last output, (batch, hidden)."""
        batch, steps, hidden = entered.shape
        outputs = [entered.new_zeros(batch, hidden)] * self.window
        state, drawn = (outputs[0], outputs[0]), outputs[0]
        for step in range(steps):
            mixed = self.enter(torch.cat([entered[:, step], drawn], -1))  # (batch, hidden)
            state = self.cell(mixed, state)
            past = torch.stack(outputs[-self.window :], 1)  # (batch, window, hidden)
            drawn = self.attention(past, torch.cat(state, -1))  # (batch, hidden)
            outputs.append(self.leave(torch.cat([state[0], drawn], -1)))
        return outputs[-1]


class TPALSTMNetwork(MultivariateNetwork[TPALSTMConfig]):
    def __init__(self, plan: Plan[TPALSTMConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        width, self.window = config.hidden, max(plan.context - 1, 1)
        self.enter = nn.Linear(self.inputs, width)
        self.dropout = Dropout(config.dropout)
        if config.per_step:
            self.per_step = PerStep(self.window, width, config.filters)
        else:
            self.lstm = nn.LSTM(width, width, batch_first=True)
            self.attention = TemporalPatternAttention(self.window, width, width, config.filters)
        self.dense = nn.Linear(width, self.steps * sizes.series)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.shared = ParameterHead(width, likelihood, self.steps)
        nn.init.zeros_(self.shared.bias)  # the spread's own `still` is there once

    def forward(self, window: Window) -> Tensor:
        x, inputs, last = self.read_window(window)  # inputs: (batch, context, inputs)
        entered = self.dropout(torch.relu(self.enter(inputs)))  # (batch, context, hidden)
        if self.config.per_step:
            hidden = self.per_step(entered)  # (batch, hidden)
        else:
            states, _ = self.lstm(entered)  # (batch, context, hidden)
            hidden = self.attention(states[:, : self.window], states[:, -1])  # (batch, hidden)
        hidden = self.dropout(hidden)
        learned = self.dense(hidden).view(len(x), self.steps, -1)  # (batch, steps, series)
        return self.params_around(window, x, learned + last, self.shared(hidden))


class TPALSTM(MultivariateForecaster[TPALSTMConfig]):
    """TPA-LSTM, with any likelihood; "auto" is the quantile grid."""

    name = "tpa_lstm"
    summary = "all series at once: an LSTM, attention over its units' patterns (Shih et al. 2019)"
    takes = "target, available"
    gives = "quantiles"
    Config = TPALSTMConfig
    Net = TPALSTMNetwork
