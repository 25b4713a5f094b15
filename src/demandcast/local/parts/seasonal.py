"""Tables of series with one period, the seasonality test and the classical decomposition.

Time is the first axis, and every series begins in the first row. So row t has phase t mod period for all series, and a
recursion that runs on after a series' end forecasts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from demandcast.local.parts.histories import Array, Ints
from demandcast.panel.panel import Panel

MIN_LENGTH_RATIO = 0.7  # shortest over longest history of a table, so that little of it is padding
MIN_SERIES = 64  # in a table, whatever their lengths
CRITICAL_SCORE = 1.645  # normal score of the one-sided 5 % test
MIN_INDEX = 0.01  # of a multiplicative season; with a smaller one the season is additive


@dataclass(frozen=True)
class SeriesTable:
    """n series, left-aligned, in units of their own mean absolute value.

    Attributes:
        filled: Values, (T, n); filled by `fill` where not observed, 0 after the end.
        seen: Whether a value was observed, (T, n).
        lengths: Steps from a series' first observed value to the cutoff, (n,); 0 for an empty series.
        scale: Mean absolute value of each series, (n,).
        period: Steps in one season.
    """

    filled: Array
    seen: NDArray[np.bool_]
    lengths: Ints
    scale: Array
    period: int

    @property
    def n_series(self) -> int:
        """Number of series, n."""
        return len(self.lengths)

    @property
    def steps(self) -> int:
        """Number of rows, T."""
        return len(self.filled)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Mask of steps up to the cutoff, observed or not, (T, n)."""
        return np.arange(self.steps)[:, None] < self.lengths

    @property
    def observed(self) -> Ints:
        """Number of observed values of each series, (n,)."""
        return np.asarray(self.seen.sum(0))

    def select(self, series: Ints) -> SeriesTable:
        """Return the table of the selected series."""
        lengths = self.lengths[series]
        steps = max(1, int(lengths.max(initial=1)))
        filled, seen = self.filled[:steps, series], self.seen[:steps, series]
        return SeriesTable(filled, seen, lengths, self.scale[series], self.period)

    @classmethod
    def from_panel(cls, panel: Panel, period: int) -> SeriesTable:
        """Return the table of all series of a panel."""
        rows = panel.padded_history(max(1, int(panel.lengths.max(initial=1)))).astype(np.float64)
        return cls.from_rows(rows, period)

    @classmethod
    def from_rows(cls, rows: Array, period: int) -> SeriesTable:
        """Return the table of histories (n, T), right-aligned, NaN where not observed."""
        width = rows.shape[1]
        known = ~np.isnan(rows)
        first = np.where(known.any(1), known.argmax(1), width)
        lengths = width - first
        steps = max(1, int(lengths.max(initial=1)))
        column = first[:, None] + np.arange(steps)
        values = np.where(
            column < width, np.take_along_axis(rows, np.minimum(column, width - 1), 1), np.nan
        ).T
        observed = ~np.isnan(values)
        total = np.where(observed, np.abs(values), 0.0)
        largest = total.max(0)
        largest = np.where(largest > 0, largest, 1.0)
        scale = largest * (total / largest).sum(0) / np.maximum(observed.sum(0), 1)
        scale = np.where(scale > 0, scale, 1.0)
        values = np.ascontiguousarray(values / scale)
        inside = np.arange(steps)[:, None] < lengths
        return cls(fill(values, inside, period), observed, lengths, scale, period)


def series_tables(panel: Panel, periods: Ints, cells: int) -> Iterator[tuple[Ints, SeriesTable]]:
    """Yield tables of series with one period and similar lengths, each after the series' rows in the panel.

    Args:
        panel: N series.
        periods: Steps in one season of each series, (N,).
        cells: Number of values in one table, at most.
    """
    for period in np.unique(periods):
        order = np.flatnonzero(periods == period)
        order = order[np.argsort(panel.lengths[order], kind="stable")]
        while len(order):
            lengths = np.maximum(panel.lengths[order], 1)
            fitting = np.searchsorted(np.arange(1, len(order) + 1) * lengths, cells, side="right")
            similar = np.searchsorted(lengths, lengths[0] / MIN_LENGTH_RATIO, side="right")
            stop = max(1, min(int(fitting), max(int(similar), MIN_SERIES)))
            index = order[:stop]
            yield index, SeriesTable.from_panel(panel.select(index), int(period))
            order = order[stop:]


def fill(values: Array, inside: NDArray[np.bool_], period: int) -> Array:
    """Fill steps that were not observed with the mean of the nearest values of the same phase, before and after.

    With a value on one side only, that value is taken; without a value of this phase, the last value before.

    Args:
        values: (T, n), NaN where not observed; row 0 has phase 0.
        inside: Mask of the steps of each series, (T, n); other steps become 0.
        period: Steps in one season.
    """
    if not (np.isnan(values) & inside).any():
        return np.where(inside, values, 0.0)
    steps, n = values.shape
    seasons = -(-steps // period)
    table = np.full((seasons * period, n), np.nan)
    table[:steps] = values
    table = table.reshape(seasons, period, n)
    before, after = _carry_forward(table), _carry_forward(table[::-1])[::-1]
    nearest = np.where(
        np.isnan(before), after, np.where(np.isnan(after), before, (before + after) / 2)
    )
    filled = np.where(np.isnan(values), nearest.reshape(-1, n)[:steps], values)
    filled = np.where(np.isnan(filled), _carry_forward(filled), filled)
    return np.where(inside, np.nan_to_num(filled), 0.0)


def _carry_forward(table: Array) -> Array:
    """Return the last observed value up to each row, along the first axis; NaN before the first."""
    rows = np.arange(len(table)).reshape(-1, *[1] * (table.ndim - 1))
    last = np.maximum.accumulate(np.where(np.isnan(table), -1, rows), 0)
    return np.where(last < 0, np.nan, np.take_along_axis(table, np.maximum(last, 0), 0))


def is_seasonal(table: SeriesTable) -> NDArray[np.bool_]:
    """Return whether the autocorrelation at the period is significant, (n,).

    |r_m| > 1.645 sqrt((1 + 2 sum_{k<m} r_k^2) / T), with two seasons or more: the test of the authors of the Theta method
    (Assimakopoulos and Nikolopoulos, 2000).
    """
    period, steps = table.period, table.steps
    if period < 2:
        return np.zeros(table.n_series, bool)
    inside, count = table.inside, np.maximum(table.lengths, 1)
    centred = np.where(inside, table.filled - table.filled.sum(0) / count, 0.0)
    padded = 1 << int(np.ceil(np.log2(steps + period + 1)))
    power = np.abs(np.fft.rfft(centred, padded, axis=0)) ** 2
    products = np.fft.irfft(power, padded, axis=0)[: period + 1]  # at lags 0 to the period
    variance = products[0]
    r = products[1:] / np.where(variance > 0, variance, 1.0)
    limit = np.sqrt((1 + 2 * (r[:-1] ** 2).sum(0)) / count)
    constant = variance <= 1e-12 * count
    return np.asarray(
        (np.abs(r[-1]) > CRITICAL_SCORE * limit) & (table.lengths >= 2 * period) & ~constant
    )


@dataclass(frozen=True)
class Season:
    """Seasonal index of each series, (period, n): a factor where `times` (n,) is true, else a summand."""

    index: Array
    times: NDArray[np.bool_]

    def at(self, rows: Ints) -> Array:
        """Return the index at rows (R,) of a table, or at rows (R, n) of each series; (R, n)."""
        phase = rows % len(self.index)
        if phase.ndim == 1:
            return np.asarray(self.index[phase])
        return np.take_along_axis(self.index, phase, 0)

    def split(self, rows: Ints) -> tuple[Array, Array]:
        """Return the factor and the summand of the season at these rows, (R, n) both."""
        index = self.at(rows)
        return np.where(self.times, index, 1.0), np.where(self.times, 0.0, index)


def decompose(table: SeriesTable, seasonal: NDArray[np.bool_], *, added: bool = False) -> Season:
    """Estimate seasonal indices by the classical decomposition; FPP3, section 3.4.

    The trend is the centred moving average over one period. A multiplicative index is the mean of value / trend over the
    seasons, scaled to mean 1. An additive index is the mean of value - trend, shifted to mean 0. The season is additive
    where a value is not above 0 or an index would be below 0.01.

    Args:
        table: n series.
        seasonal: Series that have a season, (n,); others get an additive index of 0.
        added: Whether all seasons are to be additive.
    """
    period, n = table.period, table.n_series
    inside = table.inside
    trend = moving_average(table.filled, table.lengths, period)  # NaN at both ends
    positive = np.where(inside, table.filled, 1.0).min(0) > 0
    ratio = _phase_means(table.filled / np.where(trend == 0, np.nan, trend), period)
    ratio = ratio / ratio.mean(0)
    difference = _phase_means(table.filled - trend, period)
    difference = difference - difference.mean(0)
    finite = np.isfinite(ratio).all(0) & np.isfinite(difference).all(0)
    times = (
        np.full(n, not added)
        & positive
        & finite
        & (np.where(finite, ratio, 0.0) >= MIN_INDEX).all(0)
        & seasonal
    )
    index = np.where(times, ratio, np.where(np.isfinite(difference).all(0), difference, 0.0))
    return Season(np.where(seasonal, index, 0.0).reshape(period, n), times)


def moving_average(values: Array, lengths: Ints, period: int) -> Array:
    """Return the centred moving average over one period, (T, n), NaN at both ends of each series.

    For an even period, the first and the last value of a window have half the weight.
    """
    steps, n = values.shape
    sums = np.concatenate([np.zeros((1, n)), np.cumsum(values, 0)])
    half = period // 2
    rows = np.arange(half, steps - half)
    average = np.full((steps, n), np.nan)
    if len(rows):
        total = sums[rows + half + 1] - sums[rows - half]
        if period % 2 == 0:
            total -= (values[rows + half] + values[rows - half]) / 2
        average[rows] = total / period
    average[np.arange(steps)[:, None] >= lengths - half] = np.nan
    return average


def _phase_means(values: Array, period: int) -> Array:
    """Return the mean of the values of each phase without NaN, (period, n); NaN for a phase without values."""
    steps, n = values.shape
    seasons = -(-steps // period)
    table = np.full((seasons * period, n), np.nan)
    table[:steps] = values
    table = table.reshape(seasons, period, n)
    known = ~np.isnan(table)
    count = known.sum(0)
    return np.asarray(np.where(known, table, 0.0).sum(0) / np.where(count > 0, count, np.nan))
