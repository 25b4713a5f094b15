"""The bridge to PyTorch's own way of feeding a network: windows of a panel as a map-style dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from demandcast.windows.multivariate_window import StampSampler
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.window import Window
from demandcast.windows.window_source import WindowSource


def _collate(windows: Window | list[Window], **_: Any) -> Window:
    """Collate windows into one batch, as PyTorch's own collate asks for."""
    return windows if isinstance(windows, Window) else type(windows[0]).join(windows)


default_collate_fn_map[Window] = _collate  # PyTorch's way to teach `default_collate` a type


class WindowDataset(Dataset[Window]):
    """All training windows by number: series by series, cutoff by cutoff.

    `DataLoader(dataset, batch_size=8)` gives a `Window` of 8: it asks `__getitems__` for a whole batch,
    which is gathered in one go where the arrays lie.

    Args:
        source: The arrays, and how windows are read from them.
        sampler: Which windows there are.
        extra: Steps that contexts reach past the cutoffs; as of `WindowSource.windows`.
    """

    def __init__(
        self, source: WindowSource, sampler: WindowSampler | StampSampler, *, extra: int = 0
    ) -> None:
        self.source, self.sampler, self.extra = source, sampler, extra

    def __len__(self) -> int:
        return self.sampler.n_windows

    def __getitem__(self, number: int) -> Window:
        """Return one window, as a batch of one."""
        return self.__getitems__([range(len(self))[number]])

    def __getitems__(self, index: Sequence[int] | tuple[Any, Any, Any]) -> Window:
        """Return a batch of windows: by their numbers, or as a sampler drew them.

        Args:
            index: Numbers from 0 to the dataset's length; or series, cutoffs and limits, (batch,) each.
        """
        if not isinstance(index, tuple):
            index = self.sampler.at(torch.as_tensor(index))
        device = self.source.device
        series, cutoffs, limits = (torch.as_tensor(values).to(device) for values in index)
        return self.source.gather(series, cutoffs + self.extra, limits, extra=self.extra)
