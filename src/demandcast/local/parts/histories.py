"""Histories of many series in one table with time as the first axis: each step of a recursion reads one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.panel.panel import Panel

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
RESOLVED = 2.0**23  # from here on float32 has no fractions


@dataclass(frozen=True)
class Histories:
    """The observed values of n series, without gaps and right-aligned: all end in the last row.

    Attributes:
        values: (T, n); 0 before a series' first observed value.
        lengths: Number of observed values of each series, (n,); T is the largest.
    """

    values: Array
    lengths: Ints

    @property
    def n_series(self) -> int:
        """Number of series, n."""
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """Number of rows, T."""
        return len(self.values)

    @property
    def begins(self) -> Ints:
        """Row of each series' first observed value, (n,)."""
        return self.steps - self.lengths

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Mask of series whose values are all whole numbers, (n,).

        Values too large to have fractions in float32 do not count as whole.
        """
        whole = self.values == np.rint(self.values)
        return np.asarray((whole & (np.abs(self.values) < RESOLVED)).all(0))

    @property
    def floors(self) -> Array:
        """0 for series that were never negative, minus infinity for others, (n,)."""
        return np.where((self.values >= 0).all(0), 0.0, -np.inf)

    def ceilings(self, factor: float) -> Array:
        """Return `factor` times the largest |value| of each series, (n,); `factor` itself where all are 0."""
        largest = np.abs(self.values).max(0, initial=0.0)
        return np.where(largest > 0, factor * largest, factor)

    @classmethod
    def from_panel(cls, panel: Panel) -> Histories:
        """Return the histories of all series of a panel."""
        values = panel.padded_history(max(1, int(panel.lengths.max(initial=1))))  # (n, T)
        return cls.from_rows(values.astype(np.float64))

    @classmethod
    def from_rows(cls, values: Array) -> Histories:
        """Return the histories in a table (n, T), NaN where not observed."""
        observed = ~np.isnan(values)
        lengths = observed.sum(1)
        if not (observed[:, 1:] >= observed[:, :-1]).all():  # close the gaps
            order = np.argsort(observed, 1, kind="stable")
            values = np.take_along_axis(values, order, 1)
        keep = max(1, int(lengths.max(initial=1)))
        values = np.nan_to_num(values[:, values.shape[1] - keep :], nan=0.0)
        return cls(np.ascontiguousarray(values.T), lengths)

    def select(self, series: Ints | NDArray[np.bool_] | slice) -> Histories:
        """Return the selected series, with as many rows as the longest of them has values."""
        lengths = self.lengths[series]
        keep = max(1, int(lengths.max(initial=1)))
        return Histories(np.ascontiguousarray(self.values[self.steps - keep :, series]), lengths)

    def drop_last(self, steps: int) -> Histories:
        """Return the histories without their last `steps` values; a series with fewer values has length 0."""
        keep = max(1, self.steps - steps)
        return Histories(self.values[:keep], np.maximum(self.lengths - steps, 0))


@dataclass(frozen=True)
class HistoryChunks:
    """The histories of a panel in chunks that fit in memory, read again at each iteration.

    A method that learns from all series iterates over all chunks, so that its result does not depend on their size.

    Attributes:
        panel: N series.
        cells: Number of values in one chunk, at most.
    """

    panel: Panel
    cells: int

    def __iter__(self) -> Iterator[Histories]:
        """Yield the histories of each chunk, in the order of `series_chunks`."""
        for index in series_chunks(self.panel, self.cells):
            yield Histories.from_panel(self.panel.select(index))

    def positions(self) -> Ints:
        """Return the position of each series of the panel among the series of all chunks, (N,)."""
        indices = [*series_chunks(self.panel, self.cells)]
        return np.argsort(np.concatenate([np.zeros(0, np.int64), *indices]))


def series_chunks(panel: Panel, cells: int) -> Iterator[Ints]:
    """Yield the row numbers of series of similar length, as many as fit in a table of so many cells."""
    order = np.argsort(panel.lengths, kind="stable")
    while len(order):
        needed = np.arange(1, len(order) + 1) * np.maximum(panel.lengths[order], 1)  # increasing
        stop = max(1, int(np.searchsorted(needed, cells, side="right")))
        yield order[:stop]
        order = order[stop:]
