"""Reconcile forecasts of series with forecasts of their totals, on joint paths.

With b the forecasts of N series, a those of G totals, and A the matrix (G, N) that adds series up, the reconciled
series are

    b + W A' (A W A' + V)^-1 (a - A b)

the generalised least squares estimate for independent errors of variance W (of the series) and V (of the totals).
It is the closed form of Wickramasuriya, Athanasopoulos and Hyndman, "Optimal forecast reconciliation for hierarchical
and grouped time series through trace minimization", 2019, for diagonal weights; only a matrix of the size of the totals
is factorised. Totals of the reconciled series are coherent because they are their sums.

Each path of a total meets the path of the series' sum that has its rank. Where an adjustment goes below the floor of
a series, the rest of the group takes over what it could not. Counts are rounded at random, so that they stay
counts and keep their mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError, way
from demandcast.forecast.total import joint_paths, sorted_values, source
from demandcast.panel.groups import TOTAL, group, sum_groups

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
WEIGHTS = ("structure", "variance")
ROUNDS = 8  # of clipping at the floor, at most
CLOSE = 1e-5  # part of the values that may be left over when the rounds end
LEAST = 1e-9  # share of the mean variance that every forecast has


@dataclass(frozen=True)
class Level:
    """One level of totals.

    Attributes:
        code: Group of each series, (N,).
        values: Sorted values of the forecast of each total, (G, S, H).
        mean: Its means, (G, H).
    """

    code: Ints
    values: NDArray[np.float32]
    mean: NDArray[np.float32]


def reconcile(forecast: Forecast, totals: Sequence[Forecast], weights: str) -> Forecast:
    """Reconcile a forecast with forecasts of its totals, as `Forecast.reconcile` documents."""
    if weights not in WEIGHTS:
        raise ConfigError(f"weights is {weights!r}; choose one of {', '.join(WEIGHTS)}")
    if not totals:
        raise ConfigError(
            "name one forecast of totals or more: forecast.reconcile(model.predict(panel.total('store')))"
        )
    paths = joint_paths(forecast).astype(np.float64)
    levels = [_level(forecast, total, paths.shape[1]) for total in totals]
    solver = _Solver.of(paths, levels, weights)
    panel = source(forecast)
    floors, whole = panel.floors().astype(np.float64), panel.whole_numbers()[:, None]
    draws = Draws.of(panel.keys, 0)
    clipped = 0.0
    for h in range(paths.shape[2]):
        above = np.concatenate([level.values[..., h] for level in levels])
        adjusted = solver.reconcile(paths[..., h], solver.match_ranks(paths[..., h], above))
        free = adjusted.sum()
        kept = solver.clip(adjusted, floors)
        clipped += abs(kept.sum() - free)
        # counts stay counts: rounded up as often as their fraction says, which keeps their mean
        lift = draws.at("rounding", h).uniform(kept.shape)
        paths[..., h] = np.where(whole, np.floor(kept + lift), kept)
    notes: tuple[str, ...] = ()
    if clipped > CLOSE * np.abs(paths).sum():
        share = clipped / np.abs(paths).sum()
        notes = (f"totals moved by {share:.2%} because no series may fall below its floor",)
    mean = solver.reconcile(
        forecast.mean.astype(np.float64), np.concatenate([level.mean for level in levels])
    )
    quantiles = np.quantile(paths, forecast.levels, axis=1).transpose(1, 2, 0)
    return replace(
        forecast, quantiles=quantiles.astype(np.float32), mean=solver.clip(mean, floors).astype(np.float32),
        samples=paths.astype(np.float32), notes=(*forecast.notes, *notes), joint=True, events=None,
    )  # fmt: skip


def _level(forecast: Forecast, total: Forecast, count: int) -> Level:
    """Match the groups and steps of a forecast of totals with those of the series.

    Raises:
        DataError: They do not fit together.
    """
    panel = source(forecast)
    columns = (
        []
        if total.keys.columns == [TOTAL] and TOTAL not in panel.keys.columns
        else total.keys.columns
    )
    groups = group(panel, columns)
    order = {key: i for i, key in enumerate(total.keys.rows())}
    lacking = [key for key in groups.table.rows() if key not in order]
    if lacking:
        raise DataError(
            f"the forecast of totals by {', '.join(total.keys.columns)} lacks {lacking[0]!r}; forecast "
            f"panel.total({columns!r}) of the same panel"
        )
    rows = np.array([order[key] for key in groups.table.rows()])
    if total.schema.freq != forecast.schema.freq or total.horizon != forecast.horizon:
        raise DataError(
            f"totals are forecast for {total.horizon} steps of {total.schema.freq}, the series for "
            f"{forecast.horizon} of {forecast.schema.freq}; forecast both for the same steps"
        )
    odd = total.cutoffs[rows][groups.code] != forecast.cutoffs
    if odd.any():
        i = int(odd.argmax())
        raise DataError(
            f"series {panel.key(i)} ends at another step than its total {groups.table.row(int(groups.code[i]))!r}, so their "
            "forecasts begin at different steps; read the table with",
            ways=[way("leaves out what ended", ended="skip")],
        )
    return Level(groups.code, sorted_values(total, rows, count), total.mean[rows])


@dataclass(frozen=True)
class _Solver:
    """A W and the inverse of A W A' + V.

    Attributes:
        codes: Total of each level that each series belongs to, counted over all levels, (L, N).
        variance: W, (N,).
        gram: A W A', (G, G) over the totals of all levels.
        inverse: Inverse of A W A' + V, (G, G).
    """

    codes: NDArray[np.int64]
    variance: Doubles
    gram: Doubles
    inverse: Doubles

    @classmethod
    def of(cls, paths: Doubles, levels: list[Level], weights: str) -> _Solver:
        """Take variances over paths, averaged over steps, and factorise."""
        sizes = [len(level.values) for level in levels]
        before = np.cumsum(sizes) - sizes
        codes = np.stack([level.code + first for level, first in zip(levels, before, strict=True)])
        if weights == "variance":
            own = np.asarray(paths.var(1).mean(1), np.float64)
            above = np.concatenate(
                [level.values.astype(np.float64).var(1).mean(1) for level in levels]
            )
        else:
            own = np.ones(len(paths))
            above = np.bincount(codes.ravel()).astype(np.float64)
        least = LEAST * (own.mean() + above.mean()) + 1e-300
        own, above = np.maximum(own, least), np.maximum(above, least)
        gram = np.zeros((len(above), len(above)))
        for one in codes:
            for other in codes:
                np.add.at(gram, (one, other), own)
        return cls(codes, own, gram, np.asarray(np.linalg.inv(gram + np.diag(above)), np.float64))

    @cached_property
    def exact(self) -> Doubles:
        """Pseudo-inverse of A W A', which hits totals without an error of their own, (G, G)."""
        return np.asarray(np.linalg.pinv(self.gram), np.float64)

    def add(self, values: Doubles) -> Doubles:
        """Return the totals of values (N, S), (G, S)."""
        return np.concatenate([sum_groups(values, code) for code in self.codes])

    def spread(self, share: Doubles) -> Doubles:
        """Return W A' of one number for each total (G, S), (N, S)."""
        each = np.zeros((len(self.variance), share.shape[1]))
        for code in self.codes:
            each += share[code]
        return self.variance[:, None] * each

    def match_ranks(self, values: Doubles, totals: NDArray[np.float32]) -> Doubles:
        """Return sorted values of the totals (G, S) in the order of the sums of the series' values (N, S)."""
        ranks = np.argsort(np.argsort(self.add(values), 1), 1)
        return np.take_along_axis(totals.astype(np.float64), ranks, 1)

    def reconcile(self, values: Doubles, totals: NDArray[Any]) -> Doubles:
        """Return the generalised least squares estimate (N, S) from values (N, S) and totals (G, S)."""
        return values + self.spread(self.inverse @ (totals - self.add(values)))

    def clip(self, values: Doubles, floors: Doubles) -> Doubles:
        """Return values (N, S) at or above their floors, with totals as near as can be to those of `values`."""
        floor = floors[:, None]
        if not (values < floor).any():
            return values
        goal, exact = self.add(values), self.exact
        for _ in range(ROUNDS):
            values = np.maximum(values, floor)
            step = self.spread(exact @ (goal - self.add(values)))
            if np.abs(step).sum() <= CLOSE * np.abs(values).sum():
                break
            values = values + step
        return np.maximum(values, floor)
