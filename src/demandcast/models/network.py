"""Base class of the networks: a loss to train with, and forecasts of a window."""

from __future__ import annotations

from typing import ClassVar, Generic, final

from torch import Tensor, nn

from demandcast.draws.tensors import TensorDraws
from demandcast.likelihoods.base import Likelihood
from demandcast.models.config import N, Plan
from demandcast.windows.window import Sizes, Window


class Network(nn.Module, Generic[N]):
    """A map from a window to the parameters of a likelihood, and the loss that trains it.

    A direct model forecasts all steps at once: its `forward` takes a window to parameters (batch,
    horizon, params) and is all it has. The others bring a `loss` and a `predict` of their own.
    """

    done: float = 1.0  # share of the training that is finished, for losses with phases
    mean_of_paths: ClassVar[bool] = False  # whether `predict` returns the mean of its paths

    def __init__(self, plan: Plan[N], sizes: Sizes, likelihood: Likelihood) -> None:
        super().__init__()
        self.plan, self.config, self.sizes = plan, plan.config, sizes
        self.likelihood = likelihood

    def scale_context(self, window: Window) -> Tensor:
        """Subtract the level from the context and divide by the scale: (batch, context)."""
        return (window.past_target - window.level) / window.scale

    def lift_params(self, window: Window, params: Tensor, base: Tensor) -> Tensor:
        """Centre parameters at a base forecast (batch, horizon), scaled as the context is."""
        return self.likelihood.lift(params, base + window.level / window.scale)

    def targets(self, window: Window) -> Tensor:
        """Mask of the values that the network is trained on: those of the horizon that were observed."""
        return window.future_observed

    @final
    def loss_mask(self, window: Window) -> Tensor:
        """Mask of the values that enter the loss: `targets` of the windows that have a scale.

        Models narrow or widen `targets`. This is not theirs to change: an error in units of a scale that
        is not known would outweigh all others.
        """
        targets = self.targets(window)  # (batch, ...)
        known = window.has_scale  # (batch, 1), or (batch, 1, series)
        return targets & known.view(*known.shape, *[1] * (targets.ndim - known.ndim))

    def weight(self, window: Window) -> Tensor:
        """Count the values that the loss of these windows is the mean over, a scalar."""
        return self.loss_mask(window).sum()

    def loss(self, window: Window) -> Tensor:
        """Return the mean loss of the observed steps of a batch of windows, a scalar."""
        params = self(window)  # (batch, horizon, params)
        observed = self.loss_mask(window)  # (batch, horizon)
        loss = self.likelihood.loss(
            params,
            window.future_target,
            window.scale.expand(observed.shape),
            observed=observed,
            censored=window.future_censored,
        )  # (batch, horizon)
        return loss.sum() / observed.sum().clamp(min=1)

    def predict(
        self, window: Window, levels: Tensor, n_samples: int, draws: TensorDraws
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return quantiles (batch, horizon, levels), mean (batch, horizon), paths (batch, paths, horizon)."""
        params: Tensor = self(window)  # (batch, horizon, params)
        scale = window.scale.expand(params.shape[:-1])
        quantiles = self.likelihood.quantile(params, scale, levels)
        return quantiles, self.likelihood.mean(params, scale), None

    def events(self, window: Window) -> tuple[Tensor, Tensor] | None:
        """Return how likely high and low extremes are, for networks that warn of them.

        Returns probabilities (batch, horizon, 2) and the thresholds (batch, 2), in the user's units.
        """
        return None
