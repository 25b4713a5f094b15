"""Turn a panel into the rows that trees read: one for each series, cutoff and step ahead.

All columns of a row are known at its cutoff, but the calendar and the covariates known ahead. Values
of the target are in units of the series' own scale at the cutoff, so that one tree serves items of
any size. Sums over any stretch of history are differences of running sums: a row costs the same
whatever it looks back at. The sums run over the known history alone, each series centred and divided by
a power of two near its largest value, so that neither what comes later nor another series' size is in
their last digits. A row may be told to reach back a few steps only, or none: that is what a
new item looks like, whose scale is then that of items like it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel
from demandcast.trees.like import Likeness
from demandcast.windows.features import Features

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
NEWEST = 8  # values right before the cutoff that are columns of their own
YEAR = 12  # steps from which one season tells the scale
PHASES = 4  # seasons whose value at the step's own place is read
NEW = 5  # observed values below which a series' scale leans on that of items like it
LEANING = 2.0  # values' worth of that
MAX_START = 4.0  # times a series' own size: the size of items like it, at most


class FeatureTable:
    """The columns of a panel's rows.

    Args:
        panel: Whose series, history and covariates are read.
        features: The inputs, by the panel that was fitted on.
        horizon: Steps ahead at most.
        periods: Seasons to read, in steps.
        windows: Widths of the stretches before the cutoff that are summed up, in steps.
        unit: Scales are inputs relative to it: the median scale of the training series.
        likeness: Tells the scale of items with little history; found on this panel if not given.
    """

    def __init__(
        self,
        panel: Panel,
        features: Features,
        horizon: int,
        periods: tuple[int, ...],
        windows: tuple[int, ...],
        unit: float = 1.0,
        likeness: Likeness | None = None,
    ) -> None:
        self.panel, self.features, self.horizon = panel, features, horizon
        self.periods, self.windows, self.unit = periods, windows, unit
        lengths = panel.lengths
        self.first = (
            np.cumsum(lengths) - lengths
        )  # row of each series' first step, of known ones alone
        known = np.arange(int(lengths.sum())) + np.repeat(panel.begins - self.first, lengths)
        self.target = target = panel.target[known].astype(np.float64)
        observed = ~np.isnan(target)
        values = np.where(observed, target, 0.0)
        self.unit_of, self.centre = np.ones(panel.n_series), np.zeros(panel.n_series)
        non_empty = np.flatnonzero(lengths)
        if len(non_empty):
            largest = np.maximum.reduceat(np.abs(values), self.first[non_empty])
            self.unit_of[non_empty] = np.exp2(np.frexp(largest)[1])
            count = np.maximum(np.add.reduceat(observed.astype(np.int64), self.first[non_empty]), 1)
            scaled = values / np.repeat(self.unit_of, lengths)
            total = np.add.reduceat(scaled, self.first[non_empty])
            self.centre[non_empty] = total / count  # in units of the series
        scaled = values / np.repeat(self.unit_of, lengths)
        centred = np.where(observed, scaled - np.repeat(self.centre, lengths), 0.0)
        self.sums, self.sizes, self.squares, self.counts, self.demands = (
            np.concatenate([[0.0], np.cumsum(column)])
            for column in (centred, np.abs(scaled), centred**2, observed, values != 0)
        )
        rows = np.where(values != 0, np.arange(len(values)), -1)
        self.last_demand = np.maximum.accumulate(rows) if len(rows) else rows  # row of the newest
        self.codes = features.codes(panel)  # (N, K)
        self.known = _columns(panel.known, panel.known_names, features.known)
        self.past = _columns(panel.past, panel.past_names, features.past)
        self.reals = _columns(panel.static_reals, panel.static_real_names, features.static_reals)
        if likeness is None:
            all_series = np.arange(panel.n_series)
            observed = self._average(self.counts, all_series, lengths, 10**9, lengths)[1] >= NEW
            self.likeness = Likeness.of(
                self._own_scale(all_series, panel.lengths, panel.lengths)[0], self.codes, observed
            )
            self.like = self.likeness.leaving_out
        else:
            self.likeness, self.like = likeness, likeness.scale(self.codes)

    @property
    def categorical(self) -> list[int]:
        """Which columns are codes of categories."""
        return list(range(self.codes.shape[1]))

    def scale(self, series: Ints, cutoffs: Ints, reach: Ints | None = None) -> Doubles:
        """Return mean |y| of the last season, or of four if it is short; else of all history.

        Below `NEW` observed values it leans on the scale of items like it, up to `MAX_START` times its own, and without
        any is that. So it does where all values are 0, the less the more there are.
        """
        reach = cutoffs if reach is None else reach
        own_scale, count = self._own_scale(series, cutoffs, reach)
        like = self.like[series]
        like = np.where(own_scale > 0, np.minimum(like, MAX_START * own_scale), like)
        leaning = (count * own_scale + LEANING * like) / (count + LEANING)
        return np.where((count < NEW) | (own_scale == 0), leaning, own_scale)

    def never_sold(self, series: Ints, cutoffs: Ints) -> NDArray[np.bool_]:
        """Series of `NEW` observed values or more, all of them 0: nothing tells their size."""
        own_scale, count = self._own_scale(series, cutoffs, cutoffs)
        return np.asarray((own_scale == 0) & (count >= NEW))

    def _own_scale(self, series: Ints, cutoffs: Ints, reach: Ints) -> tuple[Doubles, Doubles]:
        """Return mean |y| of a series alone, 0 where all values are 0, and the number of observed values."""
        period = self.periods[0]
        mean_size, count = self._average(self.sizes, series, cutoffs, 10**9, reach)
        short, _ = self._average(
            self.sizes, series, cutoffs, period if period >= YEAR else 4 * period, reach
        )
        size = np.where(short > 0, short, np.nan_to_num(mean_size))
        return size * self.unit_of[series], count

    def base(self, series: Ints, cutoffs: Ints, ahead: Ints, reach: Ints | None = None) -> Doubles:
        """Return the base of the forecasts: the mean of the newest values at the step's place in the season.

        Of up to `PHASES` seasons of the shortest period; the mean of the newest window where none of
        them was observed, the scale where nothing was.
        """
        reach = cutoffs if reach is None else reach
        period = self.periods[0]
        places = self._phases(series, cutoffs, ahead, period, reach)
        observed = ~np.isnan(places)
        mean = np.where(observed, places, 0).sum(1) / np.maximum(observed.sum(1), 1)
        level, _ = self._mean(series, cutoffs, max(self.windows), reach)
        level = np.where(np.isnan(level), self.scale(series, cutoffs, reach), level)
        return np.where(observed.any(1), mean, level)

    def rows(self, series: Ints, cutoffs: Ints, ahead: Ints, reach: Ints | None = None) -> Singles:
        """Return the features of rows, (R, F); NaN where there is nothing to read.

        Args:
            series: Of each row, (R,).
            cutoffs: Steps of history each row knows, (R,).
            ahead: Steps after the last known one, from 1, (R,).
            reach: Steps back from the cutoff that are read, (R,); all of them if not given.
        """
        reach = cutoffs if reach is None else reach
        scale = self.scale(series, cutoffs, reach)
        step = cutoffs + ahead - 1  # in steps from the series' begin
        columns: list[NDArray[Any]] = [*self.codes[series].T]
        columns += [*self.reals[series].T, np.log(scale / self.unit), ahead, np.log2(1 + reach)]
        for lag in range(1, NEWEST + 1):
            columns.append(self._value(series, cutoffs - lag, cutoffs, reach) / scale)
        for width in self.windows:
            mean, spread = self._mean(series, cutoffs, width, reach)
            demands, _ = self._average(self.demands, series, cutoffs, width, reach)
            columns += [mean / scale, spread / scale, demands]
            earlier = np.minimum(width, reach)
            before, _ = self._mean(series, cutoffs - earlier, width, reach - earlier)
            columns.append((mean - before) / scale)
        columns.append(self._steps_since_demand(series, cutoffs, reach))
        for period in self.periods:
            if period > 1:
                places = self._phases(series, cutoffs, ahead, period, reach) / scale[:, None]
                observed = ~np.isnan(places)
                count = observed.sum(1)
                mean = np.where(observed, places, 0).sum(1) / np.where(count > 0, count, np.nan)
                columns += [*places.T[:2], mean]
        calendar = self.panel.freq.calendar(self.panel.starts[series] + step)
        columns += [*calendar.T]
        if self.known.shape[1]:
            ahead_of = self._covariate(self.known, series, step)
            period = self.periods[0]
            seasons = -(-ahead // period) * period
            columns += [
                *ahead_of.T,
                *(ahead_of - self._covariate(self.known, series, step - seasons)).T,
            ]
        past = self._covariate(self.past, series, cutoffs - 1)
        columns += [*np.where(reach[:, None] > 0, past, np.float32(np.nan)).T]
        return np.stack(columns, 1).astype(np.float32)

    def _value(self, series: Ints, step: Ints, cutoffs: Ints, reach: Ints) -> Doubles:
        """Return the target at steps from the start of the series; NaN outside [cutoff - reach, cutoff)."""
        inside = (step >= cutoffs - reach) & (step < cutoffs)
        rows = np.where(inside, self.first[series] + step, 0)
        if not len(self.target):
            return np.full(len(rows), np.nan)
        return np.where(inside, self.target[rows], np.nan)

    def _mean(
        self, series: Ints, cutoffs: Ints, width: int, reach: Ints
    ) -> tuple[Doubles, Doubles]:
        """Return mean and deviation of the `width` steps before each cutoff, NaN if none is observed."""
        mean, _ = self._average(self.sums, series, cutoffs, width, reach)
        square, _ = self._average(self.squares, series, cutoffs, width, reach)
        spread = np.sqrt(np.maximum(square - mean**2, 0))
        unit = self.unit_of[series]
        return (self.centre[series] + mean) * unit, spread * unit

    def _average(
        self, sums: Doubles, series: Ints, cutoffs: Ints, width: int, reach: Ints
    ) -> tuple[Doubles, Doubles]:
        """Return the mean of the observed values in the `width` steps before each cutoff from a running sum,
        and their count.
        """
        begin = self.first[series]
        first, stop = begin + cutoffs - np.minimum(width, reach), begin + cutoffs
        count = self.counts[stop] - self.counts[first]
        mean = (sums[stop] - sums[first]) / np.where(count > 0, count, np.nan)
        return mean, count

    def _phases(
        self, series: Ints, cutoffs: Ints, ahead: Ints, period: int, reach: Ints
    ) -> Doubles:
        """Return the newest known values whole seasons before each step, newest first, (R, PHASES)."""
        first = cutoffs + ahead - 1 - -(-ahead // period) * period
        values = [self._value(series, first - k * period, cutoffs, reach) for k in range(PHASES)]
        return np.stack(values, 1)

    def _steps_since_demand(self, series: Ints, cutoffs: Ints, reach: Ints) -> Doubles:
        """Return the steps since the last value other than 0; NaN if there was none."""
        begin = self.first[series]
        if not len(self.last_demand):
            return np.full(len(series), np.nan)
        last = self.last_demand[np.maximum(begin + cutoffs, 1) - 1]
        known = (last >= begin + cutoffs - reach) & (cutoffs > 0)
        return np.where(known, begin + cutoffs - 1 - last, np.nan)

    def _covariate(self, values: Singles, series: Ints, step: Ints) -> Singles:
        """Return covariates (R, F) at steps from the start of the series; NaN beyond the panel."""
        inside = (step >= 0) & (step < self.panel.extents[series])
        rows = np.where(inside, self.panel.begins[series] + step, 0)
        return np.where(inside[:, None], values[rows], np.float32(np.nan))


def count_columns(features: Features, periods: tuple[int, ...], windows: tuple[int, ...]) -> int:
    """Return how many columns the rows of a table have."""
    static = len(features.vocabularies) + len(features.static_reals)
    calendar = len(Frequency.parse(features.freq).calendar(np.zeros(1, np.int64))[0])
    seasons = sum(period > 1 for period in periods)
    history = 3 + NEWEST + 4 * len(windows) + 1 + 3 * seasons
    return static + history + calendar + 2 * len(features.known) + len(features.past)


def _columns(values: Singles, names: tuple[str, ...], required: dict[str, Any]) -> Singles:
    """Return the columns that were fitted on, in their order."""
    return values if tuple(required) == names else values[:, [names.index(n) for n in required]]
