"""Base class of the likelihoods: it maps a network's parameters to densities, draws and quantiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from demandcast.draws.tensors import GeneratorDraws, Source
from demandcast.errors import ConfigError, DataError, way


def knot_levels(levels: Sequence[float], least: int) -> tuple[float, ...]:
    """Return the levels of a quantile function's knots; refuse fewer than `least`, and levels out of order or range."""
    knots = tuple(float(level) for level in levels)
    if len(knots) < least or list(knots) != sorted(set(knots)):
        count = {2: "two", 3: "three"}[least]
        expected = f"{count} or more, increasing"
    elif not 0 < knots[0] < knots[-1] < 1:
        expected = "between 0 and 1"
    else:
        return knots
    raise ConfigError(
        f"quantile levels {levels} must be {expected}",
        option="levels", found=levels, expected=expected,
    )  # fmt: skip


class Likelihood(ABC):
    """A family of distributions, its parameters unconstrained numbers from a network.

    Shapes: `params` is (..., n_params); `scale` broadcasts with `target`, which is (...). Targets,
    draws and quantiles are in the user's units; how the scale enters is the likelihood's own affair.
    One with weights of its own is an `nn.Module` as well: the network that holds it trains and saves
    them.
    """

    name: ClassVar[str]
    n_params: int
    counts: ClassVar[bool] = False  # whole numbers, never negative
    located: ClassVar[bool] = True  # may be moved along the line by any amount
    censors: bool = True  # False where no target can be censored: saves a look at the device
    still: tuple[float, ...]  # parameters of a narrow distribution around 0, (n_params,)

    @abstractmethod
    def log_prob(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Log density or probability of each target, (...)."""

    @abstractmethod
    def log_survival(self, params: Tensor, target: Tensor, scale: Tensor) -> Tensor:
        """Return log P(Y >= target), (...): the likelihood of censored demand."""

    def sample(self, params: Tensor, scale: Tensor, draws: Source | None = None) -> Tensor:
        """Draw one value for each element, (...); without keyed draws from torch's own generator."""
        return self._sample(params, scale, draws or GeneratorDraws(params.device))

    @abstractmethod
    def _sample(self, params: Tensor, scale: Tensor, draws: Source) -> Tensor:
        """Draw one value for each element, (...)."""

    @abstractmethod
    def quantile(self, params: Tensor, scale: Tensor, levels: Tensor) -> Tensor:
        """Return values at levels (Q,), (..., Q)."""

    @abstractmethod
    def mean(self, params: Tensor, scale: Tensor) -> Tensor:
        """Return the mean, (...)."""

    @abstractmethod
    def lift(self, params: Tensor, base: Tensor) -> Tensor:
        """Move parameters centred at 0 so that they are centred at `base`, (..., n_params).

        By this a network learns departures from a forecast it starts with. `base` (...) is in units
        of the scale; where the support ends at 0, a base below a hundredth counts as that.
        """

    def loss(
        self,
        params: Tensor,
        target: Tensor,
        scale: Tensor,
        *,
        observed: Tensor,
        censored: Tensor | None = None,
    ) -> Tensor:
        """Return the negative log likelihood of each element, (...); 0, without gradient, where not observed.

        Where `censored`, the target is a lower bound, and the survival takes the density's place.
        Parameters that come in bfloat16 are taken in float32, for gamma functions want the digits.
        """
        if params.dtype == torch.bfloat16:
            params = params.float()
        target = torch.where(observed, target, self._neutral(scale, target))
        loss = -self.log_prob(params, target, scale)
        bound = censored & observed if censored is not None and self.censors else None
        if bound is not None and bool(bound.any()):
            scale = scale.expand_as(target)
            tail = self.log_survival(params[bound], target[bound], scale[bound])  # (bounds,)
            loss = loss.masked_scatter(bound, -tail)
        return torch.where(observed, loss, torch.zeros_like(loss))

    def _neutral(self, scale: Tensor, target: Tensor) -> Tensor:
        """Return a target with a finite density, for masked elements."""
        return torch.zeros_like(target)

    @staticmethod
    def add_to_param(params: Tensor, place: int, values: Tensor) -> Tensor:
        """Add `values` (...) to one of the parameters (..., n_params)."""
        raised = torch.zeros_like(params)
        raised[..., place] = values
        return params + raised

    def check_target(self, values: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """Refuse targets outside the support.

        Raises:
            DataError: Says which value, and which likelihood takes it.
        """
        if not self.counts:
            return
        observed = values[~np.isnan(values)]
        if len(observed) and observed.min() < 0:
            raise DataError(
                f"likelihood={self.name!r} is for counts, but the target holds {observed.min():g}; use",
                ways=[
                    way(likelihood="student_t", call="likelihood='student_t'"),
                    way("when the table is read", negative="zero"),
                ],
            )
        if len(observed) and bool((observed != np.floor(observed)).any()):
            raise DataError(
                f"likelihood={self.name!r} is for whole numbers, but the target holds "
                f"{observed[observed != np.floor(observed)][0]:g}; use likelihood='student_t'",
                option="likelihood",
                found=self.name,
                expected="student_t",
            )


def inverse_softplus(values: Tensor) -> Tensor:
    """Invert softplus at `values` (...), all above 0; exact for small and large ones."""
    return values + torch.log(-torch.expm1(-values))
