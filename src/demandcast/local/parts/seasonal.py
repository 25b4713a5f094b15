"""Series of one period side by side, left-aligned: seasonality test, and the classical decomposition.

Time is the first axis and every series begins in the first row, so that row t is phase t mod period of
all of them, and a recursion that runs on past a series' end forecasts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.local.parts.histories import Array, Ints
from demandcast.panel.panel import Panel

ALIKE = 0.7  # shortest over longest history of a table, so that little of it is padding
FEWEST = 64  # series a table takes in whatever their lengths
CRITICAL = 1.645  # normal score of the one-sided 5 % test
LEAST_INDEX = 0.01  # of a multiplicative season; below, the season is added


@dataclass(frozen=True)
class Table:
    """n series in units of their own mean absolute value.

    Attributes:
        filled: Values, (T, n); a step not observed holds what `fill` put there, 0 behind the end.
        seen: Whether observed, (T, n).
        lengths: Steps from a series' first observed one to the cutoff, (n,); 0 for an empty series.
        scale: The unit of each, (n,).
        period: Steps in one season.
    """

    filled: Array
    seen: NDArray[np.bool_]
    lengths: Ints
    scale: Array
    period: int

    @property
    def n_series(self) -> int:
        return len(self.lengths)

    @property
    def steps(self) -> int:
        return len(self.filled)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Steps up to the cutoff, observed or not, (T, n)."""
        return np.arange(self.steps)[:, None] < self.lengths

    @property
    def observed(self) -> Ints:
        """Observed values of each series, (n,)."""
        return np.asarray(self.seen.sum(0))

    def select(self, series: Ints) -> Table:
        """Some of the series."""
        lengths = self.lengths[series]
        steps = max(1, int(lengths.max(initial=1)))
        filled, seen = self.filled[:steps, series], self.seen[:steps, series]
        return Table(filled, seen, lengths, self.scale[series], self.period)

    @classmethod
    def of(cls, panel: Panel, period: int) -> Table:
        rows = panel.padded_history(max(1, int(panel.lengths.max(initial=1)))).astype(np.float64)
        return cls.from_rows(rows, period)

    @classmethod
    def from_rows(cls, rows: Array, period: int) -> Table:
        """Of histories (n, T), right-aligned, NaN where not observed."""
        width = rows.shape[1]
        known = ~np.isnan(rows)
        first = np.where(known.any(1), known.argmax(1), width)
        lengths = width - first
        steps = max(1, int(lengths.max(initial=1)))
        place = first[:, None] + np.arange(steps)
        values = np.where(
            place < width, np.take_along_axis(rows, np.minimum(place, width - 1), 1), np.nan
        ).T
        seen = ~np.isnan(values)
        total = np.where(seen, np.abs(values), 0.0)
        largest = total.max(0)
        largest = np.where(largest > 0, largest, 1.0)
        scale = largest * (total / largest).sum(0) / np.maximum(seen.sum(0), 1)
        scale = np.where(scale > 0, scale, 1.0)
        values = np.ascontiguousarray(values / scale)
        inside = np.arange(steps)[:, None] < lengths
        return cls(fill(values, inside, period), seen, lengths, scale, period)


def tables(panel: Panel, periods: Ints, cells: int) -> Iterator[tuple[Ints, Table]]:
    """The panel's series in tables of one period and like length, with their places in the panel."""
    for period in np.unique(periods):
        order = np.flatnonzero(periods == period)
        order = order[np.argsort(panel.lengths[order], kind="stable")]
        while len(order):
            lengths = np.maximum(panel.lengths[order], 1)
            room = np.searchsorted(np.arange(1, len(order) + 1) * lengths, cells, side="right")
            alike = np.searchsorted(lengths, lengths[0] / ALIKE, side="right")
            stop = max(1, min(int(room), max(int(alike), FEWEST)))
            index = order[:stop]
            yield index, Table.of(panel.select(index), int(period))
            order = order[stop:]


def fill(values: Array, inside: NDArray[np.bool_], period: int) -> Array:
    """Steps not observed take the mean of the nearest observed ones of their phase, before and after.

    Where only one side has one, that one; where the phase was never observed, the last value before.
    Values and `inside` are (T, n), T beginning at phase 0; steps that are not inside become 0.
    """
    if not (np.isnan(values) & inside).any():
        return np.where(inside, values, 0.0)
    steps, n = values.shape
    seasons = -(-steps // period)
    table = np.full((seasons * period, n), np.nan)
    table[:steps] = values
    table = table.reshape(seasons, period, n)
    before, after = _carried(table), _carried(table[::-1])[::-1]
    near = np.where(
        np.isnan(before), after, np.where(np.isnan(after), before, (before + after) / 2)
    )
    found = np.where(np.isnan(values), near.reshape(-1, n)[:steps], values)
    found = np.where(np.isnan(found), _carried(found), found)
    return np.where(inside, np.nan_to_num(found), 0.0)


def _carried(table: Array) -> Array:
    """The last observed value up to each row, along the first axis; NaN before the first."""
    rows = np.arange(len(table)).reshape(-1, *[1] * (table.ndim - 1))
    last = np.maximum.accumulate(np.where(np.isnan(table), -1, rows), 0)
    found = np.take_along_axis(table, np.maximum(last, 0), 0)
    return np.where(last < 0, np.nan, found)


def is_seasonal(table: Table) -> NDArray[np.bool_]:
    """Whether the autocorrelation at the period is significant, (n,).

    |r_m| > 1.645 sqrt((1 + 2 sum_{k<m} r_k^2) / T), with two seasons or more: the test of the
    Theta method's authors (Assimakopoulos and Nikolopoulos, 2000).
    """
    period, steps = table.period, table.steps
    if period < 2:
        return np.zeros(table.n_series, bool)
    inside, count = table.inside, np.maximum(table.lengths, 1)
    centred = np.where(inside, table.filled - table.filled.sum(0) / count, 0.0)
    room = 1 << int(np.ceil(np.log2(steps + period + 1)))
    power = np.abs(np.fft.rfft(centred, room, axis=0)) ** 2
    products = np.fft.irfft(power, room, axis=0)[: period + 1]  # of lags 0 to the period
    variance = products[0]
    r = products[1:] / np.where(variance > 0, variance, 1.0)
    limit = np.sqrt((1 + 2 * (r[:-1] ** 2).sum(0)) / count)
    constant = variance <= 1e-12 * count
    return np.asarray(
        (np.abs(r[-1]) > CRITICAL * limit) & (table.lengths >= 2 * period) & ~constant
    )


@dataclass(frozen=True)
class Season:
    """Of each series: values are index * rest where `times`, else index + rest; index (period, n)."""

    index: Array
    times: NDArray[np.bool_]

    def at(self, rows: Ints) -> Array:
        """The index at rows of a table, (len(rows), n), or at (len(rows), n) rows of each series."""
        phase = rows % len(self.index)
        if phase.ndim == 1:
            return np.asarray(self.index[phase])
        return np.take_along_axis(self.index, phase, 0)

    def split(self, rows: Ints) -> tuple[Array, Array]:
        """What multiplies and what is added at those rows."""
        index = self.at(rows)
        return np.where(self.times, index, 1.0), np.where(self.times, 0.0, index)


def decompose(table: Table, seasonal: NDArray[np.bool_], *, added: bool = False) -> Season:
    """Seasonal indices by the classical decomposition; FPP3, section 3.4.

    The trend is the centred moving average over one period, the index of a phase the mean of value /
    trend over the seasons, scaled to average 1. Where a value is not above 0, or an index would fall
    below 0.01, or where it is to be `added`, it is the mean of value - trend, and averages 0. No
    season: nothing added.
    """
    period, n = table.period, table.n_series
    inside = table.inside
    trend = moving_average(table.filled, table.lengths, period)  # NaN at both ends
    positive = np.where(inside, table.filled, 1.0).min(0) > 0
    ratio = _phase_means(table.filled / np.where(trend == 0, np.nan, trend), period)
    ratio = ratio / ratio.mean(0)
    difference = _phase_means(table.filled - trend, period)
    difference = difference - difference.mean(0)
    fit = np.isfinite(ratio).all(0) & np.isfinite(difference).all(0)
    times = (
        np.full(n, not added)
        & positive
        & fit
        & (np.where(fit, ratio, 0.0) >= LEAST_INDEX).all(0)
        & seasonal
    )
    index = np.where(times, ratio, np.where(np.isfinite(difference).all(0), difference, 0.0))
    return Season(np.where(seasonal, index, 0.0).reshape(period, n), times)


def moving_average(values: Array, lengths: Ints, period: int) -> Array:
    """Centred over one period, (T, n), both half-weighted ends of an even one included; NaN at the ends."""
    steps, n = values.shape
    sums = np.concatenate([np.zeros((1, n)), np.cumsum(values, 0)])
    half = period // 2
    rows = np.arange(half, steps - half)
    out = np.full((steps, n), np.nan)
    if len(rows):
        whole = sums[rows + half + 1] - sums[rows - half]
        if period % 2 == 0:
            whole -= (values[rows + half] + values[rows - half]) / 2
        out[rows] = whole / period
    out[np.arange(steps)[:, None] >= lengths - half] = np.nan
    return out


def _phase_means(values: Array, period: int) -> Array:
    """Means by phase of what is not NaN, (period, n); NaN where a phase has none."""
    steps, n = values.shape
    seasons = -(-steps // period)
    table = np.full((seasons * period, n), np.nan)
    table[:steps] = values
    table = table.reshape(seasons, period, n)
    known = ~np.isnan(table)
    count = known.sum(0)
    return np.asarray(np.where(known, table, 0.0).sum(0) / np.where(count > 0, count, np.nan))
