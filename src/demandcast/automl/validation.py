"""Validation on rolling windows inside the history, the same for every candidate."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.automl.blend import Evidence
from demandcast.automl.calibrate import stretches
from demandcast.draws.arrays import Draws
from demandcast.evaluate.in_sample_error import seasonal_error
from demandcast.forecaster import Forecaster
from demandcast.panel.classes import CLASSES
from demandcast.panel.panel import Panel

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
BLEND_LEVELS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
VALUES = 120_000  # series x steps looked at over all folds, at most
ENOUGH_VALUES, FOLDS = (
    5_000,
    7,
)  # values of the folds below which there are more of them; folds at most then
BRIEF = 0.05  # share of the history that more of them may hold out
METRICS = ("wql", "sql", "mase", "rmsse", "spec")


@dataclass(frozen=True)
class Fold:
    """One cutoff: the whole panel as it was then, and the series that are scored."""

    known: Panel
    rows: Ints  # of the scored series in `known`
    series: Ints  # their numbers in the whole panel
    actual: Floats  # (rows, ahead)
    group: Ints  # (rows,)


@dataclass(frozen=True)
class Validation:
    """Folds, the earliest first; none where the history is too short to hold anything out."""

    folds: tuple[Fold, ...]
    ahead: int  # steps scored
    horizon: int
    metric: str

    @classmethod
    def of(
        cls,
        panel: Panel,
        horizon: int,
        folds: int | None,
        metric: str,
        seed: int,
        values: int = VALUES,
    ) -> Validation:
        """Hold out the last `folds` horizons, or a quarter of the longest history if that is less.

        Args:
            panel: The whole history.
            horizon: Steps to forecast.
            folds: Cutoffs wanted; None for 2, and for up to 7 where series are few and long.
            metric: One of `METRICS`.
            seed: Of the draw of series that are scored, where they are more than `values` allow.
            values: Series x steps looked at over all folds, at most.
        """
        longest = int(panel.lengths.max(initial=0))
        ahead = min(horizon, longest // 4)
        if folds is None:
            room = int(BRIEF * float(np.median(panel.lengths))) // max(1, ahead)
            wanted = -(-ENOUGH_VALUES // max(1, panel.n_series * ahead))
            folds = max(2, min(FOLDS, wanted, room))
        count = min(folds, longest // (4 * ahead)) if ahead else 0
        kept_folds = []
        keep = None
        for steps in (ahead * k for k in range(count, 0, -1)):
            known = panel.drop_last(steps)
            series = np.flatnonzero(panel.lengths > steps)
            if keep is None:
                room = max(50, values // (ahead * count))
                keep = Draws.of(panel.keys, seed).at("scored").order()[:room]
            rows = np.flatnonzero(np.isin(series, keep))
            actual = known.future_target(ahead, available=True)[rows]
            group = codes(known.select(rows))
            if len(rows) and not np.isnan(actual).all():
                kept_folds.append(Fold(known, rows, series[rows], actual, group))
        return cls(tuple(kept_folds), ahead, horizon, metric)

    @property
    def first(self) -> Panel:
        """What a model may learn from that is scored on all folds."""
        return self.folds[0].known

    @property
    def held_out(self) -> float:
        """Share of the history, as of the middle series, that is held out."""
        known = float(np.median(self.first.lengths))
        steps = self.ahead * len(self.folds)
        return steps / (known + steps)

    @property
    def n_rows(self) -> int:
        """Series forecast in one pass over the folds."""
        return sum(len(fold.rows) for fold in self.folds)

    def forecast(
        self, model: Forecaster, *, refit: bool, limit: float = np.inf
    ) -> tuple[Floats, Floats]:
        """Forecast quantiles at `BLEND_LEVELS` of the observed values, (R, Q), and means, (R,).

        Args:
            model: Fitted, or one whose `fit` is free.
            refit: Whether to fit at each cutoff.
            limit: Seconds for all cutoffs.

        Raises:
            TimeoutError: The cutoffs done so far tell that all would take longer.
        """
        quantiles, means = [], []
        began = time.perf_counter()
        for done, fold in enumerate(self.folds):
            if done and (time.perf_counter() - began) / done * len(self.folds) > limit:
                raise TimeoutError
            known = fold.known.select(fold.rows)
            if refit:
                model.fit(known)
            forecast = model.predict(known, levels=BLEND_LEVELS)
            observed = ~np.isnan(fold.actual)
            quantiles.append(forecast.quantiles[:, : self.ahead][observed])
            means.append(forecast.mean[:, : self.ahead][observed])
        return np.concatenate(quantiles), np.concatenate(means)

    def evidence(self, quantiles: Floats, means: Floats) -> Evidence:
        """Return the evidence of forecasts (M, R, Q) with means (M, R)."""
        observed = [~np.isnan(fold.actual) for fold in self.folds]
        sizes = [s.sum(1) for s in observed]

        def spread(values: list[Any]) -> NDArray[Any]:
            return np.concatenate([np.repeat(v, n) for v, n in zip(values, sizes, strict=True)])

        actual = np.concatenate([f.actual[s] for f, s in zip(self.folds, observed, strict=True)])
        weight = np.ones(len(actual))
        if self.metric in ("sql", "mase", "rmsse"):
            weight = spread([_per_series(fold, self.metric) for fold in self.folds])
        firsts = np.cumsum([0, *(len(fold.rows) for fold in self.folds)])
        return Evidence(
            quantiles,
            means,
            actual.astype(np.float64),
            BLEND_LEVELS,
            self.metric,
            weight,
            spread([fold.group for fold in self.folds]),
            spread([fold.series for fold in self.folds]),
            spread([np.arange(a, b) for a, b in pairwise(firsts)]),
            np.concatenate([np.nonzero(s)[1] for s in observed]),
            np.repeat(np.arange(len(observed)), [int(s.sum()) for s in observed]),
        )

    def stretch(self) -> Ints:
        """Return the part of the horizon of each row, (R,)."""
        part = stretches(self.horizon)[: self.ahead]
        rows = [np.broadcast_to(part, f.actual.shape)[~np.isnan(f.actual)] for f in self.folds]
        return np.concatenate(rows)

    def whole(self) -> NDArray[np.bool_]:
        """Return the rows of series whose history is whole numbers, (R,)."""
        masks = []
        for fold in self.folds:
            counts = fold.known.select(fold.rows).whole_numbers()
            masks.append(np.repeat(counts, (~np.isnan(fold.actual)).sum(1)))
        return np.concatenate(masks)


def codes(panel: Panel) -> Ints:
    """Return the class of demand of each series, as its place in `CLASSES`, (N,)."""
    place = {kind: code for code, kind in enumerate(CLASSES)}
    return np.array([place[kind] for kind in panel.profile()["class"]], np.int64)


def _per_series(fold: Fold, metric: str) -> NDArray[np.float64]:
    """Return the weight of a row of each series in a metric averaged over series; 0 without a scale."""
    known = fold.known.select(fold.rows)
    past = known.padded_history(int(known.lengths.max()))
    if metric == "rmsse":
        change = np.diff(past.astype(np.float64), axis=1) ** 2
        observed = ~np.isnan(change)
        count = observed.sum(1)
        scale = np.sqrt(np.where(observed, change, 0).sum(1) / np.maximum(count, 1))
        return np.where(scale > 0, 1 / np.where(scale > 0, scale, 1), 0.0)
    scale = seasonal_error(past, period=known.freq.period)
    steps = np.maximum((~np.isnan(fold.actual)).sum(1), 1)
    return np.where(scale > 0, 1 / np.where(scale > 0, scale, 1) / steps, 0.0)
