"""Theta: a smoothed level and a share of the linear trend, after the season is taken out.

Assimakopoulos and Nikolopoulos, "The theta model: a decomposition approach to forecasting",
*International Journal of Forecasting* 16 (2000); as state space models with one source of error:
Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler, "Models for optimising the theta method and their
relationship to state space models", same, 32 (2016):

    y[t] = level[t-1] + w (q^(t-1) A + (1 - q^t) / alpha B) + e[t],  level[t] = alpha y[t] + q level[t-1]

with q = 1 - alpha and w = 1 - 1/theta. A + B t is the least-squares line of the whole history (standard
and optimised Theta), or of the history so far (the dynamic ones). Theta is 2 in the standard method:
simple exponential smoothing with half the line's slope for drift (Hyndman and Billah, 2003).

Departs from the paper: given alpha, the errors are linear in the first level and in w, so those two
are solved for, and only alpha is searched, over [0.1, 0.99]. The first `SKIPPED` errors do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.forecaster import Demand
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import Table, decompose, is_seasonal
from demandcast.local.parts.smooth import Smooth, SmoothForecaster, law_of

SKIPPED = 3  # errors that only settle the first level
FEW = 6  # values below which there is no trend
ALPHAS = np.linspace(0.1, 0.99, 15)
ROUNDS = 6  # of the search for alpha, each over a third of the range before
VARIANTS = ("standard", "optimised", "dynamic_standard", "dynamic_optimised")


@dataclass(frozen=True)
class Fitted:
    """Parameters of each variant and series, (V, n)."""

    alpha: Array
    level: Array  # before the first step
    share: Array  # w
    loss: Array  # mean squared error


class Theta(SmoothForecaster):
    """Simple exponential smoothing with half the trend line's slope as drift, season taken out before.

    Args:
        horizon: Steps to forecast; also `h`.
        period: Steps in one season; None for that of the panel's frequency. 1 for no season.
        seed: Of the paths.
    """

    name = "theta"
    portfolio = 90
    suits = Demand.SMOOTH
    summary = (
        "Smoothed level and half the trend, season by test (Assimakopoulos and Nikolopoulos, 2000)"
    )
    variants: ClassVar[tuple[str, ...]] = VARIANTS[:1]  # the one of least squared error forecasts

    def _fit(self, table: Table) -> Smooth:
        season = decompose(table, is_seasonal(table))
        rows = np.arange(table.steps)
        times, plus = season.split(rows)
        rest = np.where(table.inside, (table.filled - plus) / times, 0.0)
        trend = Trend.of(rest, table, self.variants)
        found = trend.search()
        best = np.asarray(found.loss.argmin(0))
        pick = (best, np.arange(table.n_series))
        alpha, level, share = found.alpha[pick], found.level[pick], found.share[pick]
        fitted, point = trend.run(best, alpha, level, share, self.horizon)
        slopes = share * trend.slopes(best)  # (T, n)

        def ahead(step: int) -> Array:
            made = np.full(rest.shape, np.nan)
            made[step - 1 :] = (fitted + (step - 1) * slopes)[: max(0, len(rest) - step + 1)]
            return made

        factor, shift = season.split(table.lengths + np.arange(self.horizon)[:, None])
        moved = np.repeat(alpha[:, None], self.horizon, 1)  # a shock moves the level, for good
        law = law_of(table, rest, ahead, trend.counted > 0, point, moved, lost=3)
        return Smooth(law, factor.T, shift.T)


class OptimisedTheta(Theta):
    """As `Theta`, with the share of the trend chosen per series. Arguments as there."""

    name = "optimised_theta"
    summary = "Theta with its share of the trend optimised (Fiorucci et al., 2016)"
    variants = VARIANTS[1:2]


class AutoTheta(Theta):
    """Standard, optimised and both dynamic Thetas; the one of least squared error. Arguments as `Theta`."""

    name = "auto_theta"
    summary = "The best of four Thetas by squared error (Fiorucci et al., 2016)"
    variants = VARIANTS


@dataclass(frozen=True)
class Trend:
    """The seasonally adjusted series and the lines of each variant.

    Attributes:
        values: (T, n), 0 behind the end.
        counted: 1 where an error counts, else 0, (T, n).
        still: A and B of the line of the whole history, (2, n).
        moving: A and B of the history before each step, (T, 2, n).
        lengths: Steps of each series, (n,).
        few: Series too short for a trend, (n,).
        dynamic: Whether a variant takes the moving line, (V,).
        free: Whether a variant optimises its share, (V,).
    """

    values: Array
    counted: Array
    still: Array
    moving: Array
    lengths: Ints
    few: NDArray[np.bool_]
    dynamic: NDArray[np.bool_]
    free: NDArray[np.bool_]

    @classmethod
    def of(cls, values: Array, table: Table, variants: tuple[str, ...]) -> Trend:
        rows, few = np.arange(table.steps), table.observed < FEW
        sums = np.zeros((2, table.steps + 1, table.n_series))
        np.cumsum(values, 0, out=sums[0, 1:])
        np.cumsum(values * (rows + 1)[:, None], 0, out=sums[1, 1:])
        counted = table.seen & (rows[:, None] >= np.minimum(SKIPPED, table.lengths // 2))
        end = np.arange(table.n_series)
        return cls(
            values,
            counted.astype(np.float64),
            line(sums[:, table.lengths, end], table.lengths),
            line(sums[:, :-1], rows[:, None]).transpose(1, 0, 2),
            table.lengths,
            few,
            np.array(["dynamic" in v for v in variants]),
            np.array(["optimised" in v for v in variants]),
        )

    def search(self) -> Fitted:
        """The parameters of least squared error, for every variant."""
        variants, n = len(self.free), self.values.shape[1]
        tried = np.broadcast_to(ALPHAS[:, None], (variants, len(ALPHAS), n))
        width = ALPHAS[1] - ALPHAS[0]
        best: Fitted | None = None
        for _ in range(ROUNDS + 1):
            found = self._solve(tried)
            if best is not None:
                both = zip(_parts(best), _parts(found), strict=True)
                found = Fitted(*(np.concatenate([a[:, None], b], 1) for a, b in both))
            pick = found.loss.argmin(1)[:, None]
            best = Fitted(*(np.take_along_axis(p, pick, 1)[:, 0] for p in _parts(found)))
            steps = np.array([-2, -1, 1, 2])[:, None] * width / 3
            tried = np.clip(best.alpha[:, None] + steps, ALPHAS[0], ALPHAS[-1])
            width /= 3
        assert best is not None
        return best

    def _solve(self, alpha: Array) -> Fitted:
        """The best first level and share at each weight (V, G, n)."""
        q = 1 - alpha
        base, fading = np.zeros(alpha.shape), np.ones(alpha.shape)
        kk, kd, dd, kc, dc, cc = (np.zeros(alpha.shape) for _ in range(6))
        moving = self.dynamic[:, None, None]
        for y, weight, now in zip(self.values, self.counted, self.moving, strict=True):
            a, b = (np.where(moving, m, s) for m, s in zip(now, self.still, strict=True))
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
        known = kk > 1e-9  # else the first level has faded before an error counts
        safe = np.where(known, kk, 1.0)
        rest = dd - np.where(known, kd * kd / safe, 0.0)
        told = rest > 1e-9 * dd
        share = (dc - np.where(known, kd * kc / safe, 0.0)) / np.where(told, rest, 1.0)
        share = np.where(self.free[:, None, None] & told, np.clip(share, 0, 1), 0.5)
        share = np.where(self.few, 0.0, share)
        level = np.where(known, (kc - share * kd) / safe, self.values[0])
        level = np.where(self.few, self.values[0], level)
        loss = (
            cc + level**2 * kk + share**2 * dd + 2 * (level * share * kd - level * kc - share * dc)
        )
        return Fitted(alpha, level, share, loss)

    def slopes(self, variant: Ints) -> Array:
        """Of the line that forecasts from each row, (T, n)."""
        return np.where(self.dynamic[variant], self.moving[:, 1], self.still[1])

    def run(
        self, variant: Ints, alpha: Array, level: Array, share: Array, horizon: int
    ) -> tuple[Array, Array]:
        """One-step forecasts (T, n), and those behind each series' end, (n, H); all weights (n,)."""
        steps, n = self.values.shape
        dynamic = self.dynamic[variant]
        sums, fading = np.zeros((2, n)), np.ones(n)
        out = np.zeros((steps + horizon, n))
        for t in range(steps + horizon):
            a, b = np.where(dynamic, line(sums, np.array(t)), self.still)
            out[t] = level + share * (a * fading + b * (1 - (1 - alpha) * fading) / alpha)
            y = np.where(t < self.lengths, self.values[min(t, steps - 1)], out[t])
            level = level + alpha * (y - level)
            fading = fading * (1 - alpha)
            sums = sums + np.stack([y, (t + 1) * y])
        ahead = self.lengths + np.arange(horizon)[:, None]
        return out[:steps], np.take_along_axis(out, ahead, 0).T


def line(sums: Array, count: Ints) -> Array:
    """Intercept and slope of the least-squares line over steps 1 to `count`.

    Args:
        sums: Of y and of t y, (2, ...).
        count: Steps summed; with fewer than two the slope is 0.
    """
    total = np.maximum(count, 1)
    slope = (12 * sums[1] - 6 * (total + 1) * sums[0]) / np.maximum(total * (total**2 - 1), 1)
    slope = np.where(count > 1, slope, 0.0)
    return np.stack([sums[0] / total - slope * (total + 1) / 2, slope])


def _parts(fitted: Fitted) -> tuple[Array, ...]:
    return fitted.alpha, fitted.level, fitted.share, fitted.loss
