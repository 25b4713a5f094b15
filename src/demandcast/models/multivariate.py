"""Base classes of networks that read all series at once: the block they read, and the forecasts of single series.

Windows are (batch, context, series). One set of weights belongs to one set of series: those of the fit,
known by their keys. Training, saving and the forecaster are those of every other network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from demandcast.draws.tensors import TensorDraws
from demandcast.errors import DataError
from demandcast.layers.decoder import ParameterHead
from demandcast.layers.highway import Highway, last_observed
from demandcast.likelihoods.base import Likelihood
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import DirectConfig, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting, whole_number
from demandcast.windows.features import Features
from demandcast.windows.multivariate_window import (
    MultivariateSource,
    MultivariateWindow,
    StampSampler,
)
from demandcast.windows.window import Sizes, Window
from demandcast.windows.window_source import WindowSource


@dataclass(frozen=True, kw_only=True)
class MultivariateConfig(DirectConfig):
    """Hyper-parameters of networks that read all series at once; rho, lags and embeddings are not read."""

    max_steps: int = 700
    learning_rate: float = 2e-3
    dropout: float = 0.2
    batch_size: int | str = 32  # windows in a step, each of all series
    # last steps that the highway reads: all; 0 for no highway
    ar: int | None = setting(None, whole_number(0))
    last_value: bool = False  # the network sees and learns departures from each series' last value
    calendar: bool = True  # the stamps' calendar is read beside the series
    single_step: bool = False  # the papers' task: one network for one step, `horizon` steps ahead
    most_series: int = setting(1000, COUNT)  # more are refused: weights and batches grow with them


M = TypeVar("M", bound=MultivariateConfig)


class MultivariateNetwork(Network[M]):
    """A network whose `forward` gives parameters of all series, (batch, steps, series, params).

    Its `steps` are the whole horizon, or the last step alone. Beside what the subclass learns stand a
    highway for the place of each forecast and a head for its spread, both shared by all series.
    """

    def __init__(self, plan: Plan[M], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__(plan, sizes, likelihood)
        config = plan.config
        first = plan.horizon - 1 if config.single_step else 0
        self.steps = plan.horizon - first
        self.inputs = sizes.series + (sizes.features if config.calendar else 0)
        reach = plan.context if config.ar is None else min(config.ar, plan.context)
        self.highway = Highway(reach, plan.horizon, plan.freq, first) if reach else None
        self.spread = ParameterHead(plan.context, likelihood, self.steps)

    def read_window(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Scale a window, and put the calendar beside its series.

        Returns:
            The series, scaled, (batch, context, series); the same with the calendar beside it, (batch,
            context, inputs); and the last values that were taken off, (batch, 1, series), or 0.
        """
        x, last = self.scale_context(window), window.scale.new_zeros(())
        if self.config.last_value:
            last = last_observed(x, window.past_observed)  # (batch, 1, series)
            x = (x - last) * window.past_observed  # what was not observed has not departed
        if not self.config.calendar:
            return x, x, last
        return x, torch.cat([x, window.features[:, : x.shape[1]]], -1), last

    def params_around(self, window: Window, x: Tensor, base: Tensor, spread: Tensor) -> Tensor:
        """Return parameters around a base forecast plus the highway's.

        Args:
            window: What was read.
            x: The series as read, (batch, context, series).
            base: What was learned and the last values, (batch, steps, series).
            spread: Added to the parameters of all series, (batch, steps, params).
        """
        if self.highway is not None:
            base = base + self.highway(x)
        params = self.spread(x.abs().transpose(1, 2)).transpose(1, 2) + spread[:, :, None]
        return self.lift_params(window, params, base)  # (batch, steps, series, params)

    def loss(self, window: Window) -> Tensor:
        return super().loss(self.forecast_steps(window))

    def weight(self, window: Window) -> Tensor:
        return super().weight(self.forecast_steps(window))

    def forecast_steps(self, window: Window) -> Window:
        """Narrow a window's horizon to the steps that are forecast."""
        if not self.config.single_step:
            return window
        ahead = ("future_target", "future_observed", "future_censored")
        return replace(window, **{name: getattr(window, name)[:, -1:] for name in ahead})

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return quantiles (asked, horizon, levels), mean (asked, horizon) of the series asked for."""
        assert isinstance(window, MultivariateWindow)
        row, place = window.row, window.place[:, None]
        params = self(window)[row, window.step, place]  # (asked, horizon, params)
        scale = window.scale[row, 0, place]  # (asked, horizon)
        quantiles = self.likelihood.quantile(params, scale, levels)
        return quantiles, self.likelihood.mean(params, scale), None


class MultivariateForecaster(NeuralForecaster[M]):
    """A network of all series at once; a subclass names its `Config`, its `Net` and its facts."""

    Net: type[MultivariateNetwork[M]]
    scaling = "standard"
    rows = 64  # forecast at once: each may end at another stamp, and so need a window of all series

    def resolve(self, panel: Panel) -> M:
        most = self.config.most_series
        if panel.n_series > most:
            raise DataError(
                f"{self.name} reads all series at once and takes at most {most:,}, but the panel has "
                f"{panel.n_series:,}; take a network that all series share, such as nhits or tsmixer, "
                "pick some with panel.select, or raise most_series if memory allows",
                option="most_series",
                found=panel.n_series,
                expected=f"at most {most:,} series",
            )
        # places in the block go by the keys, so features keep them as for an embedding
        return replace(super().resolve(panel), lags=(), series_embedding=True)

    def _source(self, panel: Panel, features: Features, plan: Plan[M]) -> MultivariateSource:
        return MultivariateSource(
            panel,
            features,
            context=plan.context,
            horizon=plan.horizon,
            scaling=plan.config.scaling,
            device=plan.config.device,
            resident=plan.config.loader != "streaming",
            single_step=plan.config.single_step,
        )

    def _sampler(self, panel: Panel, plan: Plan[M], held_out: int) -> StampSampler:
        return StampSampler(panel, horizon=plan.horizon, held_out=held_out)

    def _validation(
        self, panel: Panel, source: WindowSource, network: Network[M], plan: Plan[M]
    ) -> Callable[[], float]:
        """Return the loss of the calendar's last stamps, from at most 128 cutoffs spread through them."""
        horizon, steps = plan.horizon, plan.config.validation
        end = int(panel.ends().max()) + 1 - int(panel.starts[0])  # in steps of the first series
        cutoffs = torch.arange(end - steps, max(end - horizon, end - steps) + 1)
        cutoffs = cutoffs[:: -(-len(cutoffs) // 128)].to(source.device)
        window = source.windows(torch.zeros_like(cutoffs), cutoffs, torch.full_like(cutoffs, end))
        return lambda: float(network.loss(window))
