"""LSTNet: a convolution over all series, a recurrence, one that skips whole periods, and a linear highway.

Lai, Chang, Yang, Liu, "Modeling Long- and Short-Term Temporal Patterns with Deep Neural Networks",
SIGIR 2018; arXiv:1703.07015.

Departs from the paper: emits the parameters of a likelihood, for all steps of the horizon unless
`single_step` is set; the highway begins as the last season repeated and the dense layer at 0; scales are
those of the context, where the paper's are of the whole file, test included; the calendar may be read
beside the series; the candidate of the recurrences is tanh, as in the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from demandcast.errors import ConfigError
from demandcast.layers.decoder import ParameterHead
from demandcast.layers.dropout import Dropout
from demandcast.layers.last_season import season_within
from demandcast.likelihoods.base import Likelihood
from demandcast.models.config import Plan
from demandcast.models.multivariate import (
    MultivariateConfig,
    MultivariateForecaster,
    MultivariateNetwork,
)
from demandcast.settings import COUNT, Rule, setting
from demandcast.windows.window import Sizes, Window

SKIP = Rule(lambda steps: steps == 0 or steps >= 2, "2 steps or more; 0 for none")


@dataclass(frozen=True, kw_only=True)
class LSTNetConfig(MultivariateConfig):
    kernel: int = setting(6, COUNT)  # steps each filter of the convolution spans
    channels: int = setting(50, COUNT)  # filters
    hidden: int = setting(50, COUNT)  # nodes of the recurrence
    # steps that the skip recurrence goes back at a time: one season; 0 for none
    skip: int | None = setting(None, SKIP)
    skip_hidden: int = setting(5, COUNT)  # its nodes, for each of the `skip` phases
    attention: bool = False  # LSTNet-Attn: attention over the recurrence in place of the skip

    def __post_init__(self) -> None:
        """Refuse a skip beside the attention."""
        super().__post_init__()
        if self.attention and self.skip:
            raise ConfigError(
                f"skip is {self.skip!r}; it must be 0 or None where attention=True",
                option="skip",
                found=self.skip,
                expected="0 or None",
            )


class SkipGRU(nn.Module):
    """Section 3.4: a recurrence whose last state is `period` steps ago, one for each phase, all alike."""

    def __init__(self, channels: int, hidden: int, period: int) -> None:
        super().__init__()
        self.period = period
        self.gru = nn.GRU(channels, hidden, batch_first=True)

    def forward(self, columns: Tensor) -> Tensor:
        """(batch, columns, channels) -> (batch, period * hidden), oldest phase first."""
        batch, length, channels = columns.shape
        turns = length // self.period
        phases = columns[:, length - turns * self.period :].view(
            batch, turns, self.period, channels
        )  # (batch, turns, period, channels)
        phases = phases.transpose(1, 2).flatten(0, 1)  # (batch * period, turns, channels)
        last: Tensor = self.gru(phases)[1]  # (1, batch * period, hidden)
        return last.view(batch, -1)


class LSTNetNetwork(MultivariateNetwork[LSTNetConfig]):
    def __init__(self, plan: Plan[LSTNetConfig], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        kernel = min(config.kernel, plan.context)
        columns = plan.context - kernel + 1
        self.conv = nn.Conv1d(self.inputs, config.channels, kernel)
        self.gru = nn.GRU(config.channels, config.hidden, batch_first=True)
        period = season_within(plan.freq, columns) if config.skip is None else config.skip
        if config.skip is not None and config.skip > columns:
            raise ConfigError(
                f"skip is {config.skip}, but a context of {plan.context} steps leaves {columns} columns "
                f"to step back in; say context={config.skip + kernel - 1} or more, or skip=0",
                option="skip",
                found=config.skip,
                expected=f"at most {columns}",
            )
        self.skip = None  # where no period is known, or the context holds none
        if 1 < period <= columns and not config.attention:
            self.skip = SkipGRU(config.channels, config.skip_hidden, period)
        width = config.hidden + (config.skip_hidden * period if self.skip else 0)
        width += config.hidden if config.attention else 0
        self.dropout = Dropout(config.dropout)
        self.dense = nn.Linear(width, self.steps * sizes.series)
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)
        self.shared = ParameterHead(width, likelihood, self.steps)
        nn.init.zeros_(self.shared.bias)  # the spread's own `still` is there once

    def forward(self, window: Window) -> Tensor:
        x, inputs, last = self.read_window(window)  # inputs: (batch, context, inputs)
        columns = torch.relu(self.conv(inputs.transpose(1, 2)))  # (batch, channels, columns)
        columns = self.dropout(columns).transpose(1, 2)  # (batch, columns, channels)
        states, _ = self.gru(columns)  # (batch, columns, hidden)
        hidden = states[:, -1]  # (batch, hidden)
        if self.config.attention:
            hidden = torch.cat([attend(states), hidden], -1)  # (batch, 2 * hidden)
        if self.skip is not None:
            hidden = torch.cat([hidden, self.skip(columns)], -1)  # (batch, width)
        hidden = self.dropout(hidden)
        learned = self.dense(hidden).view(len(x), self.steps, -1)  # (batch, steps, series)
        return self.params_around(window, x, learned + last, self.shared(hidden))


def attend(states: Tensor) -> Tensor:
    """Average states (batch, steps, hidden), weighted by their likeness to the last: (batch, hidden), section 3.6.

    The likeness is a dot product over the root of its length, the weights its softmax.
    """
    likeness = (states @ states[:, -1, :, None]).squeeze(-1)  # (batch, steps)
    weights = torch.softmax(likeness / states.shape[-1] ** 0.5, -1)  # (batch, steps)
    return (weights[:, None] @ states).squeeze(1)


class LSTNet(MultivariateForecaster[LSTNetConfig]):
    """LSTNet, with any likelihood; "auto" is the quantile grid."""

    name = "lstnet"
    summary = "all series at once: convolution, skipping recurrence, AR highway (Lai et al. 2018)"
    takes = "target, available"
    gives = "quantiles"
    Config = LSTNetConfig
    Net = LSTNetNetwork
