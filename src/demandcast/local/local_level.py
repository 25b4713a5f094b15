"""The Gaussian local level: a random walk seen through noise, by Kalman filter and smoother.

Harvey, "Forecasting, Structural Time Series Models and the Kalman Filter", 1989, sections 3.2 and 3.6:

    y[t] = level[t] + noise of variance R;    level[t + 1] = level[t] + step of variance Q
    h steps ahead: mean level[T], variance P + h Q + R, with P that of the level as known at T

The start is diffuse; Q and R are those of the largest likelihood, see `kalman`. Steps that were not
observed are steps of the walk, and P grows over them.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping
from demandcast.forecaster import check_panel
from demandcast.local.base import CELLS, LocalConfig, LocalForecaster
from demandcast.local.parts.histories import Array, series_chunks
from demandcast.local.parts.kalman import (
    RATIOS,
    concentrated_likelihood,
    fit_ratio,
    kalman_filter,
    kalman_smoother,
)
from demandcast.panel.panel import Panel
from demandcast.panel.time_column import time_column
from demandcast.settings import number, setting


@dataclass(frozen=True, kw_only=True)
class LocalLevelConfig(LocalConfig):
    """Hyper-parameters of the local level."""

    # variance of the walk over that of the noise; None: fitted per series
    ratio: float | None = setting(None, number("0 or more", lambda value: 0 <= value < np.inf))


class LocalLevel(LocalForecaster[LocalLevelConfig]):
    """A random walk observed with Gaussian noise; the forecast is flat.

    Unlike the other local methods, it does not skip steps that were not observed. The mean is the level, or more where
    values are clipped at 0. Mean, quantiles and paths are at least 0 where the history is never negative; quantiles and
    paths are whole numbers where the history is. A series with one observed value has no variance to estimate; the value
    is taken as the standard deviation of the noise.

    Args:
        horizon: Steps to forecast; also `h`.
        ratio: Q / R, 0 or more; None to fit it per series by maximum likelihood.
        seed: Seed of the paths.
    """

    name = "local_level"
    exact_alone = True
    summary = "A level that walks at random under noise, by Kalman filter (Harvey, 1989)"
    Config = LocalLevelConfig

    def smooth(self, panel: Panel) -> pl.DataFrame:
        """Return the level at every step of the history, given the values up to the step and given all values.

        Returns:
            One row a series and step: the key columns, time, `filtered` and `filtered_deviation` (mean and standard
            deviation given the values up to the step), `smoothed` and `smoothed_deviation` (given all values), in the
            target's unit. The filtered columns are null before a series' first observed value; all four are null for a
            series without one.

        Raises:
            DataError: `panel` is not a Panel.
        """
        check_panel(panel)
        longest = max(1, int(panel.lengths.max(initial=1)))
        table = np.full((4, panel.n_series, longest), np.nan)
        for index in series_chunks(panel, CELLS // len(RATIOS)):
            values, ratio, noise = self._fit_series(panel.select(index))
            steps = list(kalman_filter(values, [1.0] * len(values), ratio, np.inf))
            parts = (
                *(np.stack([s.level for s in steps]), np.stack([s.variance for s in steps])),
                *kalman_smoother(steps, ratio),
            )
            for row, part in enumerate(parts):
                known = np.isfinite(parts[row | 1])  # parts alternate between level and variance
                column = np.sqrt(part * noise) if row % 2 else part
                table[row, index, longest - len(values) :] = np.where(known, column, np.nan).T
        inside = np.arange(longest) >= longest - panel.lengths[:, None]  # (N, longest)
        series, step = np.nonzero(inside)
        times = panel.ends()[series] - (longest - 1 - step)
        names = ("filtered", "filtered_deviation", "smoothed", "smoothed_deviation")
        return panel.keys[series.tolist()].with_columns(
            time_column(panel.schema, times, panel.time_zone, panel.time_dtype),
            *(pl.Series(n, t[inside]).fill_nan(None) for n, t in zip(names, table, strict=True)),
        )

    def _fit_series(self, panel: Panel) -> tuple[Array, Array, Array]:
        """Return histories (T, n), ratios Q / R (n,) and variances of the noise (n,)."""
        history = panel.padded_history(max(1, int(panel.lengths.max(initial=1))))
        values = np.ascontiguousarray(history.T, np.float64)
        n = panel.n_series
        ratio = (
            fit_ratio(values) if self.config.ratio is None else np.full(n, float(self.config.ratio))
        )
        return values, ratio, concentrated_likelihood(values, ratio)[1]

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        scores = np.array([NormalDist().inv_cdf(level) for level in (*levels, *MEAN_LEVELS)])
        ahead = np.arange(1, self.horizon + 1)
        for index in series_chunks(panel, CELLS // len(RATIOS)):
            values, ratio, noise = self._fit_series(panel.select(index))
            *_, last = kalman_filter(values, [1.0] * len(values), ratio, np.inf)
            is_observed = np.isfinite(last.variance)
            start = np.where(is_observed, last.variance, 0.0)
            noise = np.where(is_observed, noise, 0.0)
            limits = Limits.from_histories(values)
            variance = (start[:, None] + ratio[:, None] * ahead + 1) * noise[:, None]  # (n, H)
            around = last.level[:, None, None] + np.sqrt(variance)[..., None] * scores
            draft.mean[index] = mean_after_clipping(
                np.repeat(last.level[:, None], self.horizon, 1),
                around[..., len(levels) :],
                limits.floor[:, None],
                limits.whole[:, None],
            )
            draft.quantiles[index] = limits.apply(around[..., : len(levels)])
            if draft.samples is None:
                continue
            batch_size = max(1, CELLS // (n_paths * self.horizon))
            for begin in range(0, len(index), batch_size):
                batch = slice(begin, begin + batch_size)
                shape = (len(index[batch]), n_paths, self.horizon)
                batch_draws = draws.select(index[batch])
                paths = batch_draws.at("walk").normal(shape).cumsum(2) * np.sqrt(
                    ratio[batch, None, None]
                )
                level = batch_draws.at("level").normal((*shape[:2], 1))
                paths += level * np.sqrt(start[batch, None, None])
                paths += batch_draws.at("noise").normal(shape)
                paths = last.level[batch, None, None] + paths * np.sqrt(noise[batch, None, None])
                draft.samples[index[batch]] = limits.apply(paths, batch)
        return draft


@dataclass(frozen=True)
class Limits:
    """Limits that follow from histories: values of at least `floor`, and whole numbers where `whole`, (n,) each."""

    floor: Array
    whole: NDArray[np.bool_]

    @classmethod
    def from_histories(cls, values: Array) -> Limits:
        """Return the limits of histories (T, n), NaN where not observed."""
        floor = np.where(np.fmin.reduce(values, 0, initial=np.inf) >= 0, 0.0, -np.inf)
        return cls(floor, (np.isnan(values) | (values == np.rint(values))).all(0))

    def apply(self, values: Array, series: slice = slice(None)) -> Array:
        """Round and clip values (n, ..., ...) of the selected series."""
        whole = np.where(self.whole[series, None, None], np.rint(values), values)
        return np.asarray(np.maximum(whole, self.floor[series, None, None]))
