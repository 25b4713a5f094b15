"""From a panel to the rows that trees read: one for each series, cutoff and step ahead.

All columns of a row are known at its cutoff, but the calendar and the covariates known ahead. Values
of the target are in units of the series' own scale at the cutoff, so that one tree serves items of
any size. Sums over any stretch of history are differences of running sums: a row costs the same
whatever it looks back at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.panel.panel import Panel
from demandcast.windows.features import Features

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Singles = NDArray[np.float32]
NEWEST = 8  # values right before the cutoff that are columns of their own
YEAR = 12  # steps from which one season tells the scale
PHASES = 4  # seasons whose value at the step's own place is read


class Table:
    """The columns of a panel's rows.

    Args:
        panel: Whose series, history and covariates are read.
        features: The inputs, by the panel that was fitted on.
        horizon: Steps ahead at most.
        periods: Seasons to read, in steps.
        windows: Widths of the stretches before the cutoff that are summed up, in steps.
        unit: Scales are told relative to it; the median one of what was learned from.
    """

    def __init__(
        self,
        panel: Panel,
        features: Features,
        horizon: int,
        periods: tuple[int, ...],
        windows: tuple[int, ...],
        unit: float = 1.0,
    ) -> None:
        self.panel, self.features, self.horizon = panel, features, horizon
        self.periods, self.windows, self.unit = periods, windows, unit
        target = panel.target.astype(np.float64)
        seen = ~np.isnan(target)
        values = np.where(seen, target, 0.0)
        self.target = target
        self.sums, self.sizes, self.squares, self.counts, self.demands = (
            np.concatenate([[0.0], np.cumsum(column)])
            for column in (values, np.abs(values), values**2, seen, values != 0)
        )
        rows = np.where(values != 0, np.arange(len(values)), -1)
        self.last_demand = np.maximum.accumulate(rows) if len(rows) else rows  # row of the newest
        self.codes = features.codes(panel)  # (N, K)
        self.known = _columns(panel.known, panel.known_names, features.known)
        self.past = _columns(panel.past, panel.past_names, features.past)
        self.reals = _columns(panel.static_reals, panel.static_real_names, features.static_reals)

    @property
    def categorical(self) -> list[int]:
        """Which columns are codes of categories."""
        return list(range(self.codes.shape[1]))

    def scale(self, series: Ints, cutoffs: Ints) -> Doubles:
        """Mean |y| of the last season, of four where it is short; else of all history, else 1."""
        found = np.ones(len(series))
        period = self.periods[0]
        for width in (10**9, period if period >= YEAR else 4 * period):
            size, _ = self._mean(self.sizes, series, cutoffs, width)
            found = np.where(size > 0, size, found)
        return found

    def base(self, series: Ints, cutoffs: Ints, ahead: Ints) -> Doubles:
        """What trees forecast departures from: the mean of the newest values at the step's own place.

        Of up to `PHASES` seasons of the shortest period; the mean of the newest window where none of
        them was observed, 0 where nothing was.
        """
        period = self.periods[0]
        places = self._phases(series, cutoffs, ahead, period)
        seen = ~np.isnan(places)
        mean = np.where(seen, places, 0).sum(1) / np.maximum(seen.sum(1), 1)
        level, _ = self._mean(self.sums, series, cutoffs, max(self.windows))
        return np.where(seen.any(1), mean, np.nan_to_num(level))

    def rows(self, series: Ints, cutoffs: Ints, ahead: Ints) -> Singles:
        """The columns of rows, (R, F); NaN where there is nothing to read.

        Args:
            series: Of each row, (R,).
            cutoffs: Steps of history each row knows, (R,).
            ahead: Steps behind the last known one, from 1, (R,).
        """
        scale = self.scale(series, cutoffs)
        step = cutoffs + ahead - 1  # in steps from the series' begin
        columns: list[NDArray[Any]] = [*self.codes[series].T]
        columns += [*self.reals[series].T, np.log(scale / self.unit), ahead, np.log2(1 + cutoffs)]
        for lag in range(1, NEWEST + 1):
            columns.append(self._value(series, cutoffs - lag, cutoffs) / scale)
        for width in self.windows:
            mean, count = self._mean(self.sums, series, cutoffs, width)
            square, _ = self._mean(self.squares, series, cutoffs, width)
            spread = np.sqrt(np.maximum(square - mean**2, 0))
            demands, _ = self._mean(self.demands, series, cutoffs, width)
            columns += [mean / scale, spread / scale, demands]
            before, _ = self._mean(self.sums, series, np.maximum(cutoffs - width, 0), width)
            columns.append((mean - before) / scale)
        columns.append(self._waited(series, cutoffs))
        for period in self.periods:
            if period > 1:
                places = self._phases(series, cutoffs, ahead, period) / scale[:, None]
                seen = ~np.isnan(places)
                count = seen.sum(1)
                mean = np.where(seen, places, 0).sum(1) / np.where(count > 0, count, np.nan)
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
        columns += [*self._covariate(self.past, series, cutoffs - 1).T]
        return np.stack(columns, 1).astype(np.float32)

    def _value(self, series: Ints, step: Ints, limit: Ints) -> Doubles:
        """The target at steps from the series' begin; NaN outside [0, limit)."""
        inside = (step >= 0) & (step < limit)
        rows = np.where(inside, self.panel.begins[series] + step, 0)
        return np.where(inside, self.target[rows], np.nan)

    def _mean(
        self, sums: Doubles, series: Ints, cutoffs: Ints, width: int
    ) -> tuple[Doubles, Doubles]:
        """Mean of what was observed in the `width` steps before each cutoff, NaN for none; the count."""
        begin = self.panel.begins[series]
        first, stop = begin + np.maximum(cutoffs - width, 0), begin + cutoffs
        count = self.counts[stop] - self.counts[first]
        mean = (sums[stop] - sums[first]) / np.where(count > 0, count, np.nan)
        return mean, count

    def _phases(self, series: Ints, cutoffs: Ints, ahead: Ints, period: int) -> Doubles:
        """The newest known values whole seasons before each step, newest first, (R, PHASES)."""
        first = cutoffs + ahead - 1 - -(-ahead // period) * period
        found = [self._value(series, first - k * period, cutoffs) for k in range(PHASES)]
        return np.stack(found, 1)

    def _waited(self, series: Ints, cutoffs: Ints) -> Doubles:
        """Steps since the last value other than 0; NaN where there was none."""
        begin = self.panel.begins[series]
        last = self.last_demand[begin + np.maximum(cutoffs, 1) - 1]
        known = (last >= begin) & (cutoffs > 0)
        return np.where(known, begin + cutoffs - 1 - last, np.nan)

    def _covariate(self, values: Singles, series: Ints, step: Ints) -> Singles:
        """Covariates (R, F) at steps from the series' begin; NaN where the panel does not reach."""
        inside = (step >= 0) & (step < self.panel.extents[series])
        rows = np.where(inside, self.panel.begins[series] + step, 0)
        return np.where(inside[:, None], values[rows], np.float32(np.nan))


def _columns(values: Singles, names: tuple[str, ...], wanted: dict[str, Any]) -> Singles:
    """The columns that were fitted on, in their order."""
    return values if tuple(wanted) == names else values[:, [names.index(n) for n in wanted]]
