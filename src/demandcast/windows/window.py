"""What a network reads: a context and a horizon around one cutoff, many of them in a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Window:
    """A batch of windows; values in the user's units unless it says scaled."""

    past_target: Tensor  # (batch, context); the context's mean where not observed
    past_observed: Tensor  # (batch, context), bool
    future_target: Tensor  # (batch, horizon); 0 where not observed
    future_observed: Tensor  # (batch, horizon), bool; all False in prediction
    past_censored: Tensor  # (batch, context), bool: could not be bought, demand was at least this
    future_censored: Tensor  # (batch, horizon), bool
    lags: Tensor  # (batch, context + horizon, lags): the target so many steps back
    features: Tensor  # (batch, context + horizon, features), standardised: calendar, age, known
    past_features: Tensor  # (batch, context, past), standardised: known to the cutoff only
    static_codes: Tensor  # (batch, categories)
    static_reals: Tensor  # (batch, reals), standardised; the last is log(scale)
    scale: Tensor  # (batch, 1), from the context or what the series held before it; 1 where unknown
    has_scale: Tensor  # (batch, 1), bool: False where no value up to the cutoff tells the scale
    level: Tensor  # (batch, 1): what `standard` scaling takes off first; 0 for the others
    stamp: Tensor  # (batch,), int64: where on the calendar the context begins; `Frequency.ordinal`

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def stamps(self) -> Tensor:
        """Where on the calendar each step is, (batch, context + horizon)."""
        steps = self.past_target.shape[1] + self.future_target.shape[1]
        return self.stamp[:, None] + torch.arange(steps, device=self.stamp.device)

    @property
    def answerable(self) -> Tensor:
        """Mask of the series that have a scale and can be forecast."""
        return self.has_scale[:, 0]

    def __getitem__(self, row: int) -> Self:
        """Return one of the windows, as a batch of one; a view, not a copy."""
        row = range(len(self))[row]
        return self.part(slice(row, row + 1))

    @classmethod
    def join(cls, windows: Sequence[Self]) -> Self:
        """Return several batches of windows as one."""
        return windows[0]._each(
            lambda name, _: torch.cat([getattr(window, name) for window in windows])
        )

    def part(self, rows: slice) -> Self:
        """Return some of the windows; views, not copies."""
        return self._each(lambda _, value: value[rows])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the same windows on a device."""
        if self.scale.device == torch.device(device):
            return self
        return self._each(lambda _, value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the same windows where a GPU can fetch them while it computes."""
        return self._each(lambda _, value: value.pin_memory())

    def _each(self, change: Callable[[str, Tensor], Tensor]) -> Self:
        return type(self)(**{f.name: change(f.name, getattr(self, f.name)) for f in fields(self)})


@dataclass(frozen=True)
class Sizes:
    """Number of inputs of each kind in a window, from which a network is built."""

    lags: int
    features: int
    past_features: int
    categories: tuple[int, ...]  # values in each vocabulary, the unknown not counted
    reals: int
    series: int = 1  # in one window; more than 1 where a network reads all of them at once
