"""Analogues: what followed the histories most like this one, anywhere in the panel.

Nearest neighbours after Yakowitz, "Nearest-neighbour methods for time series analysis", 1987, over
all series and earlier cutoffs rather than within one series. A history is told by few figures: its
level and its share of steps with demand at three paces of forgetting, the steps since its last
demand, and where the series beside it in the order of keys are heading: parts with like numbers are
of one age and die together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import Demand
from demandcast.local.base import CELLS, LocalForecaster
from demandcast.local.parts.conditional import CUTOFFS
from demandcast.local.parts.histories import Array, Histories, Ints
from demandcast.local.parts.weighted_points import (
    Laws,
    mixed,
    normal_score,
    ratio_of,
    rescaled,
    tie_of,
)
from demandcast.panel.panel import Panel
from demandcast.settings import whole

Singles = NDArray[np.float32]
DECAYS = (0.85, 0.94, 0.995)  # what a value weighs one step later, at three paces
TREND = (0.85, 0.97)  # two paces whose ratio tells where the neighbours are heading
BESIDE = 4  # series over which a neighbour in the order of keys counts 1/e
SHARE, AGE, HEADING = 1.5, 0.3, 1.0  # weights of figures against that of the level
MOST = 50_000  # histories to choose from
TOLD = 200  # series that tell the correlation of a path's steps
PRIOR = 60.0  # own values worth as much as those of the neighbours; their figures are own already
POINTS = 8_000_000  # values of all laws together


class Analogues(LocalForecaster):
    """Each series' law is the values that followed the `neighbours` histories most like its own.

    Values are scaled by the ratio of the levels and mixed with the series' own newest values, as in
    the laws of the point methods. The mean is that of the law. Needs many series: alone, one has its
    own past to look at only.

    Args:
        horizon: Steps to forecast; also `h`.
        neighbours: Histories whose sequel makes the law.
        siblings: Tell histories by the trend of the series beside them in the order of keys, too.
        seed: Of the paths, and of the draw of histories in large panels.
    """

    name = "analogues"
    portfolio = 80
    suits = Demand.SLOW
    summary = "What followed the histories most like this one, in all series (Yakowitz, 1987)"
    pools = True
    settings: ClassVar[dict[str, Any]] = {"neighbours": 250, "siblings": True}
    neighbours: int
    siblings: bool

    def _check(self) -> None:
        whole("neighbours", self.neighbours, least=1)
        if not isinstance(self.siblings, bool):
            raise ConfigError(f"siblings is {self.siblings!r}; it is True or False")

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        if panel.n_series:
            past = Histories.of(panel)
            order = panel.keys.select(pl.arg_sort_by(panel.keys.columns)).to_series().to_numpy()
            library = Library.of(past, self.horizon, order if self.siblings else None, draws)
            tied = 0.0
            if n_paths:  # of the same series, whichever are held together
                told = np.sort(draws.at("tie").order()[:TOLD])
                tied = library.tie(told, self.neighbours, draws.select(told).at("tie"))
            for index in np.array_split(
                np.arange(len(order)), -(-len(order) * len(library.levels) // CELLS)
            ):
                own = draws.select(index)
                law = library.laws(index, past.select(index), self.neighbours)
                draft.quantiles[index] = law.quantiles(levels)[:, None]
                draft.mean[index] = law.mean()[:, None]
                if draft.samples is not None:
                    draft.samples[index] = law.paths(self.horizon, n_paths, tied, own)
        return draft


@dataclass(frozen=True)
class Library:
    """Histories as they were at earlier cutoffs, told by F figures, and what followed them.

    Attributes:
        figures: (R, F), each weighted by what it matters.
        levels: Demand per step, (R,).
        values: What followed, (R, H); NaN behind the last step.
        now: The figures of the histories to forecast, (n, F).
        level: Their levels, (n,).
        unit: A level so small that values are no longer scaled by it.
        most: The largest value seen.
    """

    figures: Singles
    levels: Array
    values: Array
    now: Singles
    level: Array
    unit: float
    most: float

    @classmethod
    def of(cls, past: Histories, horizon: int, order: Ints | None, draws: Draws) -> Library:
        """From all cutoffs of the newest `CUTOFFS` steps, or one horizon where that is more."""
        demands = past.values[past.values > 0]
        unit = float(np.median(demands)) if len(demands) else 1.0
        first = max(1, past.steps - max(CUTOFFS, horizon))
        known = np.minimum(10, np.maximum(past.lengths // 2, 1))
        keep = MOST / max(1, past.n_series * (past.steps - first))
        figures, levels, values = [], [], []
        later = np.concatenate([past.values, np.full((horizon, past.n_series), np.nan)])
        for row, told, level in _told(past, unit, order, first):
            some = np.flatnonzero(row - past.begins >= known)
            if row == past.steps:
                now, at = told, level
            elif keep < 1:
                kept = draws.at("history", past.steps - row).uniform((past.n_series,)) < keep
                some = some[kept[some]]
            if row < past.steps:
                figures.append(told[some])
                levels.append(level[some])
                values.append(later[row : row + horizon, some].T)
        if not any(len(part) for part in levels):  # nothing to look back at: nothing will come
            return cls(now[:1], at[:1], np.zeros((1, horizon)), now, at, 0.5 * unit, 0.0)
        return cls(
            np.concatenate(figures),
            np.concatenate(levels),
            np.concatenate(values),
            now,
            at,
            0.5 * unit,
            float(past.values.max(initial=0)),
        )

    def laws(self, index: Ints, past: Histories, count: int) -> Laws:
        """The laws of some series."""
        values = self._likes(index, count)
        came = ~np.isnan(values)
        mass = came / np.maximum(came.sum((1, 2), keepdims=True), 1)
        rows = (len(index), -1)
        return mixed(np.nan_to_num(values).reshape(rows), mass.reshape(rows), past, PRIOR)

    def tie(self, index: Ints, count: int, draws: Draws) -> float:
        """The correlation of the steps of one path, as some series tell it."""
        return _tie(self._likes(index, count), draws)

    def _likes(self, index: Ints, count: int) -> Array:
        """What followed the histories nearest to those of some series, on their scale, (n, K, E)."""
        count = min(count, len(self.levels))
        now = self.now[index]
        distance = (self.figures**2).sum(1) - 2 * now @ self.figures.T  # (n, R), less |now|^2
        near = (
            np.argpartition(distance, count - 1, axis=1)[:, :count]
            if count < len(self.levels)
            else np.broadcast_to(np.arange(count), (len(index), count))
        )
        horizon = self.values.shape[1]
        each = int(np.clip(POINTS // max(1, len(self.now) * count), 2, 12))
        steps = np.unique(np.linspace(0, horizon - 1, min(each, horizon)).astype(np.int64))
        values = self.values[near][..., steps]  # (n, K, E)
        ratio = ratio_of(self.level[index][:, None], self.levels[near], self.unit)
        return rescaled(values, ratio[..., None], self.most)


def _told(past: Histories, unit: float, order: Ints | None, first: int) -> Any:
    """Row, figures (n, F) and levels (n,) of the histories before each row from `first` on."""
    paces = np.array([*DECAYS, *TREND])[:, None]
    sums, demands, weights = (np.zeros((len(paces), past.n_series)) for _ in range(3))
    waited = np.zeros(past.n_series)
    rows = np.concatenate([past.values, np.zeros((1, past.n_series))])
    for row, y in enumerate(rows):
        if row >= first:
            whole_weight = np.maximum(weights, 1e-9)
            level, part = sums / whole_weight, demands / whole_weight
            told = [*np.sqrt(np.maximum(level[:3], 0) / unit), *(SHARE * part[:3])]
            told.append(AGE * np.log1p(waited))
            if order is not None:
                told.append(HEADING * _heading(part[3:], order))
            yield row, np.stack(told, 1).astype(np.float32), level[0]
        begun = row >= past.begins
        sums = paces * sums + y
        demands = paces * demands + (y > 0)
        weights = paces * weights + begun
        waited = np.where(y > 0, 0.0, waited + begun)


def _heading(parts: Array, order: Ints) -> Array:
    """Log ratio of the newest share of demand to the older one, over the series beside each, (n,)."""
    sorted_parts = parts[:, order]  # (2, n)
    total, weight = np.zeros_like(sorted_parts), np.zeros(len(order))
    for away in range(1, min(4 * BESIDE, len(order) - 1) + 1):
        near = np.exp(-away / BESIDE)
        total[:, away:] += near * sorted_parts[:, :-away]
        total[:, :-away] += near * sorted_parts[:, away:]
        weight[away:] += near
        weight[:-away] += near
    newer, older = total / np.maximum(weight, 1e-9)
    heading = np.empty(len(order))
    heading[order] = np.log((newer + 0.03) / (older + 0.03))
    return heading


def _tie(values: Array, draws: Draws) -> float:
    """Correlation within what followed one history, of ranks among all that followed its likes.

    Values (n, K, E) of n series, K neighbours, E steps; ties are broken by lot.
    """
    flat = values.reshape(len(values), -1)
    lots = np.lexsort((draws.uniform(flat.shape), flat), axis=1)  # NaN last
    rank = np.empty_like(lots)
    np.put_along_axis(rank, lots, np.broadcast_to(np.arange(flat.shape[1]), flat.shape), 1)
    count = (~np.isnan(flat)).sum(1, keepdims=True)
    scores = normal_score((rank + 0.5) / np.maximum(count, 1)).reshape(values.shape)
    return tie_of(scores[~np.isnan(values).any(2)])
