"""Theta: a smoothed level and a share of the linear trend of the seasonally adjusted series.

Assimakopoulos and Nikolopoulos, "The theta model: a decomposition approach to forecasting",
*International Journal of Forecasting* 16 (2000); as state space models with one source of error:
Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler, "Models for optimising the theta method and their
relationship to state space models", same, 32 (2016):

    y[t] = level[t-1] + w (q^(t-1) A + (1 - q^t) / alpha B) + e[t],  level[t] = alpha y[t] + q level[t-1]

with q = 1 - alpha and w = 1 - 1/theta. A + B t is the least-squares line of the whole history (standard and optimised
Theta) or of the history so far (dynamic Thetas). The standard method has theta = 2: simple exponential smoothing with
half the line's slope as drift (Hyndman and Billah, 2003).

Departs from the paper: given alpha, the errors are linear in the first level and in w, so these two are solved for in
closed form, and only alpha is searched, in [0.1, 0.99]. The first `SKIPPED` errors do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.forecaster import Demand
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import SeriesTable, decompose, is_seasonal
from demandcast.local.parts.smooth import (
    SmoothConfig,
    SmoothForecast,
    SmoothForecaster,
    estimate_errors,
)

SKIPPED = 3  # first errors that do not count: they depend on the first level
MIN_VALUES = 6  # series with fewer values have no trend
ALPHAS = np.linspace(0.1, 0.99, 15)
ROUNDS = 6  # of the search for alpha, each over a third of the previous range
VARIANTS = ("standard", "optimised", "dynamic_standard", "dynamic_optimised")


@dataclass(frozen=True)
class Parameters:
    """Parameters of each variant and series, (V, n)."""

    alpha: Array
    level: Array  # before the first step
    share: Array  # w
    loss: Array  # mean squared error


class Theta(SmoothForecaster[SmoothConfig]):
    """Simple exponential smoothing of the seasonally adjusted series, with half the trend line's slope as drift.

    Args:
        horizon: Steps to forecast; also `h`.
        period: Steps in one season; None for that of the panel's frequency, 1 for no season.
        seed: Seed of the paths.
    """

    name = "theta"
    portfolio = 90
    suits = Demand.SMOOTH
    summary = (
        "Smoothed level and half the trend, season by test (Assimakopoulos and Nikolopoulos, 2000)"
    )
    # each series is forecast by the variant of smallest squared error
    variants: ClassVar[tuple[str, ...]] = VARIANTS[:1]

    def _fit(self, table: SeriesTable) -> SmoothForecast:
        season = decompose(table, is_seasonal(table))
        factor, shift = season.split(np.arange(table.steps))
        adjusted = np.where(table.inside, (table.filled - shift) / factor, 0.0)
        trend = Trend.fit(adjusted, table, self.variants)
        parameters = trend.search()
        best = np.asarray(parameters.loss.argmin(0))
        chosen = (best, np.arange(table.n_series))
        alpha, level, share = (
            values[chosen] for values in (parameters.alpha, parameters.level, parameters.share)
        )
        fitted, point = trend.run(best, alpha, level, share, self.horizon)
        slopes = share * trend.slopes(best)  # (T, n)

        def forecast_ahead(step: int) -> Array:
            forecasts = np.full(adjusted.shape, np.nan)
            last = max(0, len(adjusted) - step + 1)
            forecasts[step - 1 :] = (fitted + (step - 1) * slopes)[:last]
            return forecasts

        factor, shift = season.split(table.lengths + np.arange(self.horizon)[:, None])
        response = np.repeat(alpha[:, None], self.horizon, 1)  # an error moves the level for good
        errors = estimate_errors(
            table, adjusted, forecast_ahead, trend.counted > 0, point, response, n_estimated=3
        )
        return SmoothForecast(errors, factor.T, shift.T)


class OptimisedTheta(Theta):
    """`Theta` with the share of the trend optimised for each series. Arguments as `Theta`."""

    name = "optimised_theta"
    summary = "Theta with its share of the trend optimised (Fiorucci et al., 2016)"
    variants = VARIANTS[1:2]


class AutoTheta(Theta):
    """The best by squared error of the standard, the optimised and both dynamic Thetas. Arguments as `Theta`."""

    name = "auto_theta"
    summary = "The best of four Thetas by squared error (Fiorucci et al., 2016)"
    variants = VARIANTS


@dataclass(frozen=True)
class Trend:
    """The seasonally adjusted series and the trend lines of each variant.

    Attributes:
        values: Seasonally adjusted values, (T, n), 0 after the end.
        counted: 1 where an error counts, else 0, (T, n).
        whole_line: A and B of the line through the whole history, (2, n).
        lines_so_far: A and B of the line through the history before each step, (T, 2, n).
        lengths: Steps of each series, (n,).
        too_short: Series too short for a trend, (n,).
        dynamic: Whether a variant uses the line so far, (V,).
        optimised: Whether a variant optimises its share of the trend, (V,).
    """

    values: Array
    counted: Array
    whole_line: Array
    lines_so_far: Array
    lengths: Ints
    too_short: NDArray[np.bool_]
    dynamic: NDArray[np.bool_]
    optimised: NDArray[np.bool_]

    @classmethod
    def fit(cls, values: Array, table: SeriesTable, variants: tuple[str, ...]) -> Trend:
        """Fit the lines to seasonally adjusted values (T, n) of a table."""
        rows, too_short = np.arange(table.steps), table.observed < MIN_VALUES
        sums = np.zeros((2, table.steps + 1, table.n_series))
        np.cumsum(values, 0, out=sums[0, 1:])
        np.cumsum(values * (rows + 1)[:, None], 0, out=sums[1, 1:])
        counted = table.seen & (rows[:, None] >= np.minimum(SKIPPED, table.lengths // 2))
        end = np.arange(table.n_series)
        return cls(
            values,
            counted.astype(np.float64),
            fit_line(sums[:, table.lengths, end], table.lengths),
            fit_line(sums[:, :-1], rows[:, None]).transpose(1, 0, 2),
            table.lengths,
            too_short,
            np.array(["dynamic" in v for v in variants]),
            np.array(["optimised" in v for v in variants]),
        )

    def search(self) -> Parameters:
        """Return the parameters of smallest squared error for every variant, (V, n)."""
        variants, n = len(self.optimised), self.values.shape[1]
        candidates = np.broadcast_to(ALPHAS[:, None], (variants, len(ALPHAS), n))
        width = ALPHAS[1] - ALPHAS[0]
        best: Parameters | None = None
        for _ in range(ROUNDS + 1):
            solved = self._solve(candidates)
            if best is not None:
                both = zip(_fields(best), _fields(solved), strict=True)
                solved = Parameters(*(np.concatenate([a[:, None], b], 1) for a, b in both))
            pick = solved.loss.argmin(1)[:, None]
            best = Parameters(*(np.take_along_axis(p, pick, 1)[:, 0] for p in _fields(solved)))
            steps = np.array([-2, -1, 1, 2])[:, None] * width / 3
            candidates = np.clip(best.alpha[:, None] + steps, ALPHAS[0], ALPHAS[-1])
            width /= 3
        assert best is not None
        return best

    def _solve(self, alpha: Array) -> Parameters:
        """Solve for the first level and the share of the trend of smallest squared error, at each alpha (V, G, n)."""
        q = 1 - alpha
        # an error is c - level * k - share * d; sums of their products give the normal equations
        base, fading = np.zeros(alpha.shape), np.ones(alpha.shape)
        kk, kd, dd, kc, dc, cc = (np.zeros(alpha.shape) for _ in range(6))
        dynamic = self.dynamic[:, None, None]
        for y, weight, line_so_far in zip(
            self.values, self.counted, self.lines_so_far, strict=True
        ):
            a, b = (
                np.where(dynamic, so_far, whole)
                for so_far, whole in zip(line_so_far, self.whole_line, strict=True)
            )
            drift = a * fading + b * ((1 - q * fading) / alpha)
            k, d, c = weight * fading, weight * drift, weight * (y - base)
            kk += k * fading
            kd += k * drift
            dd += d * drift
            kc += c * fading
            dc += c * drift
            cc += c * (y - base)
            base += alpha * (y - base)
            fading *= q
        matters = kk > 1e-9  # otherwise the first level has faded before an error counts
        safe_kk = np.where(matters, kk, 1.0)
        rest = dd - np.where(matters, kd * kd / safe_kk, 0.0)
        solvable = rest > 1e-9 * dd
        share = (dc - np.where(matters, kd * kc / safe_kk, 0.0)) / np.where(solvable, rest, 1.0)
        share = np.where(self.optimised[:, None, None] & solvable, np.clip(share, 0, 1), 0.5)
        share = np.where(self.too_short, 0.0, share)
        level = np.where(matters, (kc - share * kd) / safe_kk, self.values[0])
        level = np.where(self.too_short, self.values[0], level)
        loss = (
            cc + level**2 * kk + share**2 * dd + 2 * (level * share * kd - level * kc - share * dc)
        )
        return Parameters(alpha, level, share, loss)

    def slopes(self, variant: Ints) -> Array:
        """Return the slope of the line that each row is forecast with, (T, n), for one variant a series (n,)."""
        return np.where(self.dynamic[variant], self.lines_so_far[:, 1], self.whole_line[1])

    def run(
        self, variant: Ints, alpha: Array, level: Array, share: Array, horizon: int
    ) -> tuple[Array, Array]:
        """Run the recursion with parameters (n,); return one-step forecasts (T, n) and those after the end (n, H)."""
        steps, n = self.values.shape
        dynamic = self.dynamic[variant]
        sums, fading = np.zeros((2, n)), np.ones(n)
        forecasts = np.zeros((steps + horizon, n))
        for t in range(steps + horizon):
            a, b = np.where(dynamic, fit_line(sums, np.array(t)), self.whole_line)
            forecasts[t] = level + share * (a * fading + b * (1 - (1 - alpha) * fading) / alpha)
            y = np.where(t < self.lengths, self.values[min(t, steps - 1)], forecasts[t])
            level = level + alpha * (y - level)
            fading = fading * (1 - alpha)
            sums = sums + np.stack([y, (t + 1) * y])
        ahead = self.lengths + np.arange(horizon)[:, None]
        return forecasts[:steps], np.take_along_axis(forecasts, ahead, 0).T


def fit_line(sums: Array, count: Ints) -> Array:
    """Return intercept and slope of the least-squares line through steps 1 to `count`, (2, ...).

    Args:
        sums: Sums of y and of t y, (2, ...).
        count: Number of steps; with fewer than two the slope is 0.
    """
    total = np.maximum(count, 1)
    slope = (12 * sums[1] - 6 * (total + 1) * sums[0]) / np.maximum(total * (total**2 - 1), 1)
    slope = np.where(count > 1, slope, 0.0)
    return np.stack([sums[0] / total - slope * (total + 1) / 2, slope])


def _fields(parameters: Parameters) -> tuple[Array, ...]:
    """Return the arrays of the parameters, in the order of the class."""
    return parameters.alpha, parameters.level, parameters.share, parameters.loss
