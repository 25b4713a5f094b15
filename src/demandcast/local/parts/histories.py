"""Histories as one table, time along the first axis: each step of a recursion reads one row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.panel.panel import Panel

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
RESOLVED = 2.0**23  # from here on float32 holds whole numbers only


@dataclass(frozen=True)
class Histories:
    """The observed values of n series, packed: without gaps, all ending in the last row.

    Attributes:
        values: (T, n); 0 before a series' first observed value.
        lengths: Observed values of each series, (n,); T is the largest.
    """

    values: Array
    lengths: Ints

    @property
    def n_series(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        return len(self.values)

    @property
    def begins(self) -> Ints:
        """Row of each series' first observed value, (n,)."""
        return self.steps - self.lengths

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Series whose values are all whole numbers, (n,).

        Not where they are so large that float32, in which they come, has no fractions.
        """
        whole = self.values == np.rint(self.values)
        return np.asarray((whole & (np.abs(self.values) < RESOLVED)).all(0))

    @property
    def floors(self) -> Array:
        """0 for series that were never negative, else minus infinity, (n,)."""
        return np.where((self.values >= 0).all(0), 0.0, -np.inf)

    def ceilings(self, room: float) -> Array:
        """Return `room` times the largest |value| of each series, (n,); `room` where all are 0."""
        own = np.abs(self.values).max(0, initial=0.0)
        return np.where(own > 0, room * own, room)

    @classmethod
    def of(cls, panel: Panel) -> Histories:
        """Of every series of a panel."""
        values = panel.padded_history(max(1, int(panel.lengths.max(initial=1))))  # (n, T)
        return cls.from_rows(values.astype(np.float64))

    @classmethod
    def from_rows(cls, values: Array) -> Histories:
        """Of a table (n, T), NaN where not observed."""
        seen = ~np.isnan(values)
        lengths = seen.sum(1)
        if not (seen[:, 1:] >= seen[:, :-1]).all():  # some have gaps: move their values together
            order = np.argsort(seen, 1, kind="stable")
            values = np.take_along_axis(values, order, 1)
        keep = max(1, int(lengths.max(initial=1)))
        values = np.nan_to_num(values[:, values.shape[1] - keep :], nan=0.0)
        return cls(np.ascontiguousarray(values.T), lengths)

    def select(self, series: Ints | NDArray[np.bool_] | slice) -> Histories:
        """Some of the series, with as many steps as the longest of them."""
        lengths = self.lengths[series]
        keep = max(1, int(lengths.max(initial=1)))
        return Histories(np.ascontiguousarray(self.values[self.steps - keep :, series]), lengths)

    def drop_last(self, steps: int) -> Histories:
        """As they were `steps` earlier; a series that had not begun has length 0."""
        keep = max(1, self.steps - steps)
        return Histories(self.values[:keep], np.maximum(self.lengths - steps, 0))


@dataclass(frozen=True)
class Pieces:
    """The histories of a panel, as many series at once as memory holds; read anew at each pass.

    What is learned from all series of a panel goes over all pieces, so that memory is no part of it.

    Attributes:
        panel: N series.
        cells: Numbers held at once.
    """

    panel: Panel
    cells: int

    def __iter__(self) -> Iterator[Histories]:
        """The histories, in the order of `chunks`."""
        for index in chunks(self.panel, self.cells):
            yield Histories.of(self.panel.select(index))

    def places(self) -> Ints:
        """Where each series of the panel comes among those of the pieces, (N,)."""
        parts = [*chunks(self.panel, self.cells)]
        return np.argsort(np.concatenate([np.zeros(0, np.int64), *parts]))


def chunks(panel: Panel, cells: int) -> Iterator[Ints]:
    """Series of like length, as many at once as a table of so many cells holds."""
    order = np.argsort(panel.lengths, kind="stable")
    while len(order):
        room = np.arange(1, len(order) + 1) * np.maximum(panel.lengths[order], 1)  # increasing
        stop = max(1, int(np.searchsorted(room, cells, side="right")))
        yield order[:stop]
        order = order[stop:]
