"""`Ask`, the checked arguments of a prediction, and `Draft`, a method's numbers before they become a `Forecast`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demandcast.settings import check_levels, whole

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Events


@dataclass(frozen=True)
class Ask:
    """The arguments of a prediction, checked.

    Attributes:
        levels: Quantile levels, increasing, each in (0, 1).
        n_samples: Number of joint paths to return; None for the method's default.
        progress: Whether to show a progress bar on stderr, for methods that have one.
    """

    levels: tuple[float, ...]
    n_samples: int | None = None
    progress: bool = False

    @classmethod
    def parse(cls, levels: Sequence[float] | float, n_samples: Any, progress: bool) -> Ask:
        """Check the arguments of `predict`.

        Raises:
            ConfigError: The levels do not increase within (0, 1), or `n_samples` is not a whole number of at
                least 1.
        """
        paths = None if n_samples is None else whole("n_samples", n_samples, least=1)
        return cls(check_levels(levels), paths, bool(progress))


@dataclass
class Draft:
    """A method's own numbers for N series, H steps and Q levels; `Forecast.of` checks and clips them.

    Attributes:
        quantiles: Quantiles, (N, H, Q).
        mean: Means, (N, H).
        samples: Joint paths, (N, S, H), or None.
        events: Probabilities of extreme values, or None.
    """

    quantiles: NDArray[Any]
    mean: NDArray[Any]
    samples: NDArray[Any] | None = None
    events: Events | None = None

    @classmethod
    def zeros(cls, n_series: int, horizon: int, ask: Ask) -> Draft:
        """Return a draft of zeros in float32, for methods that fill it series by series."""
        shape = (n_series, horizon)
        paths = None
        if ask.n_samples is not None:
            paths = np.zeros((n_series, ask.n_samples, horizon), np.float32)
        quantiles = np.zeros((*shape, len(ask.levels)), np.float32)
        return cls(quantiles, np.zeros(shape, np.float32), paths)

    def select(self, rows: NDArray[np.int64]) -> Draft:
        """Select or reorder series; the paths of this draft are reordered in place."""
        if self.samples is not None:
            for path in np.moveaxis(
                self.samples, 1, 0
            ):  # path by path: a copy of all may not fit memory
                path[:] = path[rows]
        events = None if self.events is None else self.events.select(rows)
        return Draft(self.quantiles[rows], self.mean[rows], self.samples, events)

    def between(self, first: int, last: int) -> Draft:
        """Return the series from `first` up to `last`, excluded, as views; events are not carried over."""
        samples = None if self.samples is None else self.samples[first:last]
        return Draft(self.quantiles[first:last], self.mean[first:last], samples)
