"""Analogues: the values that followed the most similar histories of the panel.

Nearest neighbours after Yakowitz, "Nearest-neighbour methods for time series analysis", 1987, over all series and earlier
cutoffs instead of within one series. A history is described by a few features: its level and its share of steps with
demand at three decays, the steps since its last demand, and the trend of the neighbouring series in the order of keys.
Items with similar keys often are of similar age, and reach the end of their life together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Demand
from demandcast.local.base import CELLS, LocalConfig, LocalForecaster
from demandcast.local.parts.conditional import CUTOFFS, LEVEL_EDGES, POINT_LEVELS
from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.weighted_points import (
    WeightedPoints,
    mix_with_own_values,
    normal_scores,
    path_correlation,
    points_of_rate,
    rate_ratio,
    scale_values,
)
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

Singles = NDArray[np.float32]
DECAYS = (0.85, 0.94, 0.995)  # weight of a value after one more step
TREND_DECAYS = (0.85, 0.97)  # the trend is the ratio of the demand shares at these two
SIBLING_DISTANCE = 4  # positions in the order of keys at which a sibling's weight is 1/e
SHARE_WEIGHT, AGE_WEIGHT, TREND_WEIGHT = 1.5, 0.3, 1.0  # of the features; the level has 1
MAX_HISTORIES = 50_000  # to choose neighbours from
CORRELATION_SERIES = 200  # series that the correlation of a path's steps is estimated from
PRIOR = 60.0  # own values that weigh as much as the neighbours' values, which resemble them already
MAX_POINTS = 8_000_000  # values of all distributions together


@dataclass(frozen=True, kw_only=True)
class AnaloguesConfig(LocalConfig):
    """Hyper-parameters of the analogues."""

    neighbours: int = setting(250, COUNT)  # similar histories
    siblings: bool = True  # whether the trend of series next in the order of keys is a feature


class Analogues(LocalForecaster[AnaloguesConfig]):
    """The distribution of the values that followed the `neighbours` most similar histories.

    Values are scaled by the ratio of the levels and mixed with the series' own newest values, as in the distributions of
    the point methods. Needs many series: a single one has only its own past to compare with.

    Args:
        horizon: Steps to forecast; also `h`.
        neighbours: Number of similar histories.
        siblings: Whether the trend of the neighbouring series in the order of keys is a feature.
        seed: Seed of the paths, and of the sample of histories in large panels.
    """

    name = "analogues"
    portfolio = 80
    suits = Demand.SLOW
    summary = "What followed the histories most like this one, in all series (Yakowitz, 1987)"
    pools = True
    Config = AnaloguesConfig

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        if panel.n_series:
            past = Histories.from_panel(panel)
            order = panel.keys.select(pl.arg_sort_by(panel.keys.columns)).to_series().to_numpy()
            library = Library.of(past, self.horizon, order if self.config.siblings else None, draws)
            correlation = 0.0
            if n_paths:  # from the same series, however the panel is split
                chosen = np.sort(draws.at("tie").order()[:CORRELATION_SERIES])
                correlation = library.correlation(
                    chosen, self.config.neighbours, draws.select(chosen).at("tie")
                )
            for index in np.array_split(
                np.arange(len(order)), max(1, -(-len(order) * len(library.levels) // CELLS))
            ):
                part_draws = draws.select(index)
                distribution = library.distributions(
                    index, past.select(index), self.config.neighbours
                )
                draft.quantiles[index] = distribution.quantiles(levels)[:, None]
                draft.mean[index] = distribution.mean()[:, None]
                if draft.samples is not None:
                    draft.samples[index] = distribution.paths(
                        self.horizon, n_paths, correlation, part_draws
                    )
        return draft


@dataclass(frozen=True)
class Library:
    """Histories at earlier cutoffs, described by F features, and the values that followed them.

    Attributes:
        features: (R, F), each multiplied by its weight.
        levels: Demand per step, (R,).
        values: Values that followed, (R, H); NaN after the last step.
        own_features: Features of the histories to forecast, (n, F).
        own_levels: Their levels, (n,).
        unit: Values are scaled by the ratio of the levels from this level on, see `rate_ratio`.
        most: The largest value in the panel.
    """

    features: Singles
    levels: Array
    values: Array
    own_features: Singles
    own_levels: Array
    unit: float
    max_value: float

    @classmethod
    def of(cls, past: Histories, horizon: int, order: Ints | None, draws: Draws) -> Library:
        """Collect the histories at the newest `CUTOFFS` cutoffs, or at as many as the horizon if that is more.

        Args:
            past: Histories of n series.
            horizon: Steps ahead.
            order: The series in the order of their keys, (n,); None to leave the siblings' trend out.
            draws: Random numbers of the n series.
        """
        demands = past.values[past.values > 0]
        unit = float(np.median(demands)) if len(demands) else 1.0
        first = max(1, past.steps - max(CUTOFFS, horizon))
        min_steps = np.minimum(10, np.maximum(past.lengths // 2, 1))
        keep = MAX_HISTORIES / max(1, past.n_series * (past.steps - first))
        features, levels, values = [], [], []
        extended = np.concatenate([past.values, np.full((horizon, past.n_series), np.nan)])
        for row, row_features, level in _iterate_features(past, unit, order, first):
            series = np.flatnonzero(row - past.begins >= min_steps)
            if row == past.steps:
                own_features, own_levels = row_features, level
            elif keep < 1:
                is_kept = draws.at("history", past.steps - row).uniform((past.n_series,)) < keep
                series = series[is_kept[series]]
            if row < past.steps:
                features.append(row_features[series])
                levels.append(level[series])
                values.append(extended[row : row + horizon, series].T)
        if not any(len(part) for part in levels):
            features, levels, values = (
                [own_features[:0]],
                [own_levels[:0]],
                [np.zeros((0, horizon))],
            )
        return cls(
            np.concatenate(features),
            np.concatenate(levels),
            np.concatenate(values),
            own_features,
            own_levels,
            0.5 * unit,
            float(past.values.max(initial=0)),
        )

    def distributions(self, index: Ints, past: Histories, count: int) -> WeightedPoints:
        """Return the distributions of the selected series, from `count` neighbours each."""
        if not len(self.levels):  # no history is old enough to have values after it
            points = points_of_rate(self.own_levels[index], POINT_LEVELS)
            mass = np.broadcast_to(np.diff(LEVEL_EDGES), points.shape)
            return mix_with_own_values(points, mass, past, PRIOR)
        values = self._neighbour_values(index, count)
        known = ~np.isnan(values)
        mass = known / np.maximum(known.sum((1, 2), keepdims=True), 1)
        rows = (len(index), -1)
        return mix_with_own_values(
            np.nan_to_num(values).reshape(rows), mass.reshape(rows), past, PRIOR
        )

    def correlation(self, index: Ints, count: int, draws: Draws) -> float:
        """Estimate the correlation of the steps of one path from the selected series."""
        if not len(self.levels):
            return 0.0
        return _rank_correlation(self._neighbour_values(index, count), draws)

    def _neighbour_values(self, index: Ints, count: int) -> Array:
        """Return the values after the histories nearest to those of the selected series, on their scale, (n, K, E)."""
        count = min(count, len(self.levels))
        features = self.own_features[index]
        # squared distances (n, R), without the term that is the same for all neighbours
        distance = (self.features**2).sum(1) - 2 * features @ self.features.T
        nearest = (
            np.argpartition(distance, count - 1, axis=1)[:, :count]
            if count < len(self.levels)
            else np.broadcast_to(np.arange(count), (len(index), count))
        )
        horizon = self.values.shape[1]
        n_steps = int(np.clip(MAX_POINTS // max(1, len(self.own_features) * count), 2, 12))
        steps = np.unique(np.linspace(0, horizon - 1, min(n_steps, horizon)).astype(np.int64))
        values = self.values[nearest][..., steps]  # (n, K, E)
        ratio = rate_ratio(self.own_levels[index][:, None], self.levels[nearest], self.unit)
        return scale_values(values, ratio[..., None], self.max_value)


def _iterate_features(past: Histories, unit: float, order: Ints | None, first: int) -> Any:
    """Yield row, features (n, F) and levels (n,) of the histories before each row from `first` on."""
    decays = np.array([*DECAYS, *TREND_DECAYS])[:, None]
    sums, demands, weights = (np.zeros((len(decays), past.n_series)) for _ in range(3))
    age = np.zeros(past.n_series)  # steps since the last demand
    rows = np.concatenate([past.values, np.zeros((1, past.n_series))])
    for row, y in enumerate(rows):
        if row >= first:
            divisor = np.maximum(weights, 1e-9)
            level, share = sums / divisor, demands / divisor
            features = [*np.sqrt(np.maximum(level[:3], 0) / unit), *(SHARE_WEIGHT * share[:3])]
            features.append(AGE_WEIGHT * np.log1p(age))
            if order is not None:
                features.append(TREND_WEIGHT * _sibling_trend(share[3:], order))
            yield row, np.stack(features, 1).astype(np.float32), level[0]
        inside = row >= past.begins
        sums = decays * sums + y
        demands = decays * demands + (y > 0)
        weights = decays * weights + inside
        age = np.where(y > 0, 0.0, age + inside)


def _sibling_trend(shares: Array, order: Ints) -> Array:
    """Return the log ratio of the newer to the older share of demand over each series' neighbours by key, (n,)."""
    sorted_shares = shares[:, order]  # (2, n)
    total, weight = np.zeros_like(sorted_shares), np.zeros(len(order))
    for distance in range(1, min(4 * SIBLING_DISTANCE, len(order) - 1) + 1):
        closeness = np.exp(-distance / SIBLING_DISTANCE)
        total[:, distance:] += closeness * sorted_shares[:, :-distance]
        total[:, :-distance] += closeness * sorted_shares[:, distance:]
        weight[distance:] += closeness
        weight[:-distance] += closeness
    newer, older = total / np.maximum(weight, 1e-9)
    trend = np.empty(len(order))
    trend[order] = np.log((newer + 0.03) / (older + 0.03))
    return trend


def _rank_correlation(values: Array, draws: Draws) -> float:
    """Return the correlation of the steps after one history, from ranks among the values of all neighbours.

    Args:
        values: Values of n series, K neighbours and E steps, (n, K, E).
        draws: Random numbers that break ties, of the n series.
    """
    flat = values.reshape(len(values), -1)
    order = np.lexsort((draws.uniform(flat.shape), flat), axis=1)  # NaN last
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(flat.shape[1]), flat.shape), 1)
    count = (~np.isnan(flat)).sum(1, keepdims=True)
    scores = normal_scores((rank + 0.5) / np.maximum(count, 1)).reshape(values.shape)
    return path_correlation(scores[~np.isnan(values).any(2)])
