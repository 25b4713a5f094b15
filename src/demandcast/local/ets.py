"""ETS: exponential smoothing as state space models; each model of the family is fitted to all series at once.

Hyndman, Koehler, Snyder and Grose, "A state space framework for automatic forecasting using exponential
smoothing methods", *International Journal of Forecasting* 18 (2002); FPP3, chapter 8. A model has a level; no trend, a
trend or a damped one; and no season, an additive or a multiplicative one:

    mu = (l + phi b) + s  or  (l + phi b) s,      e = y - mu
    l = l + phi b + alpha e,   b = phi b + beta e,   s = s + gamma e         (additive season)
    l = l + phi b + alpha e/s, b = phi b + beta e/s, s = s + gamma e/(l + phi b)   (multiplicative season)

Errors are additive, or multiplicative (proportional to mu); the states are updated in the same way and only the
likelihood differs. Weights and first states maximise the likelihood. The model of smallest AICc forecasts.

Departs from the paper: the likelihood is maximised by the Levenberg-Marquardt method for a batch of series, with
derivatives computed along with the states. beta is at most `MAX_BETA` alpha. Additive errors with a multiplicative
season, and multiplicative trends, are left out, as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from demandcast.forecaster import Demand
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import SeriesTable, decompose
from demandcast.local.parts.smooth import (
    SmoothConfig,
    SmoothForecast,
    SmoothForecaster,
    estimate_errors,
)
from demandcast.settings import choice, setting

ITERATIONS = 25  # of the search, at most
TOLERANCE = 1e-5  # relative gain in squared error below which a search ends
FIRST_ALPHAS, FIRST_GAMMAS = (0.05, 0.3, 0.8), (0.03, 0.4)  # weights that the search may start from
MAX_BETA = 0.05  # in units of alpha
PHI_RANGE = (0.8, 0.98)
MAX_LOGIT = 9.0  # weights are searched on the logistic scale, up to here
NO_ERROR = 1e-18  # smaller squared errors count as 0
BLOCK = 64  # steps whose derivatives are held at once
MIN_MEAN = 1e-6  # of a series' mean: smaller forecasts have no multiplicative error
ALPHA, BETA, GAMMA, PHI, LEVEL, SLOPE = range(6)  # rows of the parameters


@dataclass(frozen=True)
class Form:
    """One model of the family."""

    trend: str  # "N", "A" or "Ad"
    season: str  # "N", "A" or "M"
    error: str  # "A" or "M"

    def n_parameters(self, period: int) -> int:
        """Return the number of parameters: weights, first states and the error's scale."""
        trend = {"N": 0, "A": 2, "Ad": 3}[self.trend]
        return 3 + trend + (period if self.season != "N" else 0)

    def parameter_rows(self) -> Ints:
        """Return the rows of the parameters that this model searches."""
        rows = [ALPHA, LEVEL]
        rows += [BETA, SLOPE] if self.trend != "N" else []
        rows += [PHI] if self.trend == "Ad" else []
        rows += [GAMMA] if self.season != "N" else []
        return np.array(sorted(rows))


FAMILY = tuple(
    Form(trend, season, error)
    for error, trend, season in product("AM", ("N", "A", "Ad"), "NAM")
    if not (error == "A" and season == "M")
)
FAMILIES = ("additive", "all")


@dataclass(frozen=True, kw_only=True)
class ETSConfig(SmoothConfig):
    """Hyper-parameters of exponential smoothing."""

    family: str = setting(FAMILIES[0], choice(*FAMILIES))  # of the models tried


class ETS(SmoothForecaster[ETSConfig]):
    """Exponential smoothing of level, trend and season, with the model of smallest AICc for each series.

    A season needs two periods of history, and every model more values than parameters. A series too short for all models
    is forecast with its smoothed level. Multiplicative errors and seasons need values above 0.

    Args:
        horizon: Steps to forecast; also `h`.
        period: Steps in one season; None for that of the panel's frequency, 1 for no season.
        family: "additive", the six models with additive errors and seasons, or "all", which adds the nine models with
            multiplicative errors.
        seed: Seed of the paths.
    """

    name = "ets"
    exact_alone = True
    portfolio = 120
    suits = Demand.SMOOTH
    summary = "Exponential smoothing, the best model by AICc (Hyndman et al., 2002)"
    Config = ETSConfig

    def _fit(self, table: SeriesTable) -> SmoothForecast:
        with np.errstate(all="ignore"):  # the search rejects parameters whose errors overflow
            return self._select_models(table).forecast(table, self.horizon)

    def _select_models(self, table: SeriesTable) -> BestModels:
        """Fit every model to the series that allow it, and keep the best of each series."""
        best = BestModels.start(table)
        two_seasons = table.lengths >= 2 * table.period
        two_seasons &= table.period > 1
        additive, multiplicative = (
            decompose(table, two_seasons, added=flag) for flag in (True, False)
        )
        positive = np.where(table.seen, table.filled, 1.0).min(0) > 0
        for form in FAMILY:
            if self.config.family == FAMILIES[0] and form.error != "A":
                continue
            allowed = form.n_parameters(table.period) + 2 <= table.observed
            allowed &= positive | (form.error == "A")
            allowed &= two_seasons | (form.season == "N")
            allowed &= multiplicative.times | (form.season != "M")
            index = np.flatnonzero(allowed)
            if len(index):
                season = (multiplicative if form.season == "M" else additive).index[:, index]
                season = season if form.season != "N" else 0 * season
                best.update(form, index, Search(form, table.select(index), season).run())
        return best


@dataclass(frozen=True)
class States:
    """Weights (4, n), first level and slope (n,), and first season (period, n)."""

    weights: Array
    level: Array
    slope: Array
    season: Array

    def run(self, multiplicative: NDArray[np.bool_], table: SeriesTable, horizon: int) -> Track:
        """Run the recursion through the history and `horizon` steps on, where errors are 0.

        Args:
            multiplicative: Series whose season is multiplicative, (n,).
            table: Their histories.
            horizon: Steps after the history.
        """
        alpha, beta, gamma, phi = self.weights
        level, slope, season = self.level, self.slope, self.season.copy()
        track = np.zeros((5, table.steps + horizon, table.n_series))
        for t in range(table.steps + horizon):
            row = min(t, table.steps - 1)
            known = table.seen[row] & (t < table.lengths)
            s = season[t % table.period]
            base = level + phi * slope
            mu = np.where(multiplicative, base * s, base + s)
            e = np.where(known, table.filled[row] - mu, 0.0)
            level = base + alpha * e / np.where(multiplicative, _nonzero(s), 1.0)
            slope = phi * slope + beta * e / np.where(multiplicative, _nonzero(s), 1.0)
            season[t % table.period] = s + gamma * e / np.where(multiplicative, _nonzero(base), 1.0)
            track[:, t] = mu, level, slope, s, season[t % table.period]
        return Track(*track)


@dataclass(frozen=True)
class Track:
    """One-step forecasts, level and slope after each step, and the season's index before and after it, (T, n) each."""

    mu: Array
    level: Array
    slope: Array
    index_before: Array
    index_after: Array


@dataclass
class BestModels:
    """The model of smallest AICc so far, of every series."""

    aicc: Array
    states: States
    multiplicative: NDArray[np.bool_]
    n_parameters: Ints

    @classmethod
    def start(cls, table: SeriesTable) -> BestModels:
        """Return the model for series too short for any other: a level that takes half of every error."""
        n = table.n_series
        weights = np.repeat([[0.5], [0.0], [0.0], [1.0]], n, 1)
        states = States(weights, table.filled[0].copy(), np.zeros(n), np.zeros((table.period, n)))
        return cls(np.full(n, np.inf), states, np.zeros(n, bool), np.full(n, 1))

    def update(self, form: Form, index: Ints, result: tuple[States, Array, Ints]) -> None:
        """Replace the models of those series (of `index`) for which a new one has a smaller AICc."""
        states, loss, count = result
        k = form.n_parameters(len(states.season))
        aicc = count * np.log(np.maximum(loss, NO_ERROR * count)) + 2 * k * count / (count - k - 1)
        better = aicc < self.aicc[index]
        if not better.any():
            return
        replaced = index[better]
        self.aicc[replaced] = aicc[better]
        self.multiplicative[replaced] = form.season == "M"
        self.n_parameters[replaced] = k
        for name in ("weights", "level", "slope", "season"):
            getattr(self.states, name)[..., replaced] = getattr(states, name)[..., better]

    def forecast(self, table: SeriesTable, horizon: int) -> SmoothForecast:
        """Forecast the series of a table with their best models."""
        n, period = table.n_series, table.period
        track = self.states.run(self.multiplicative, table, horizon)
        rows = table.lengths + np.arange(horizon)[:, None]
        point, season = (np.take_along_axis(x, rows, 0).T for x in (track.mu, track.index_before))
        alpha, beta, gamma, phi = self.states.weights
        slope_sums = np.cumsum(phi ** np.arange(1, horizon + 1)[:, None], 0)  # (H, n)
        response = alpha + beta * slope_sums
        response[period - 1 :: period] += gamma
        first_season = np.tile(self.states.season, (-(-(table.steps + horizon) // period), 1))

        def forecast_ahead(step: int) -> Array:
            """Forecast every row from the states, season included, `step` rows before."""
            forecasts = np.full((table.steps, n), np.nan)
            if step > table.steps:
                return forecasts
            lag = period * -(-step // period)
            seasons = first_season[: table.steps].copy()
            seasons[lag:] = track.index_after[: max(0, table.steps - lag)]
            level = np.concatenate([self.states.level[None], track.level])[: table.steps - step + 1]
            slope = np.concatenate([self.states.slope[None], track.slope])[: table.steps - step + 1]
            base, s = level + slope_sums[step - 1] * slope, seasons[step - 1 :]
            forecasts[step - 1 :] = np.where(self.multiplicative, base * s, base + s)
            return forecasts

        factor = np.where(self.multiplicative[:, None], np.maximum(season, MIN_MEAN), 1.0)
        counted = table.seen & (np.isfinite(self.aicc) | (np.arange(table.steps) > 0)[:, None])
        errors = estimate_errors(
            table,
            table.filled,
            forecast_ahead,
            counted,
            point,
            response.T,
            n_estimated=self.n_parameters - 1,
            season=factor,
        )
        return SmoothForecast(errors, np.ones((n, horizon)), np.zeros((n, horizon)))


class Search:
    """Search for the weights and first states of one model with the smallest squared error, for all series at once."""

    def __init__(self, form: Form, table: SeriesTable, season: Array) -> None:
        self.form, self.table, self.season = form, table, season
        self.rows = form.parameter_rows()
        self.place = {int(row): i for i, row in enumerate(self.rows)}

    def run(self) -> tuple[States, Array, Ints]:
        """Return the best states, their squared errors (n,) and the number of errors in each sum (n,)."""
        x = self._start()
        lowest = np.full(self.table.n_series, np.inf)
        damping = np.full(self.table.n_series, 1e-2)
        active = np.arange(self.table.n_series)
        loss, gradient, curvature = self._derive(x, self.table, self.season)
        lowest[:] = loss
        converged = ~np.isfinite(loss)
        for _ in range(ITERATIONS):
            on = ~converged
            active, loss, gradient, curvature = active[on], loss[on], gradient[on], curvature[on]
            if not len(active):
                break
            diagonal = np.einsum("nii->ni", curvature)
            ridge = damping[active, None] * diagonal + 1e-9 * diagonal.max(1, keepdims=True) + 1e-30
            step = np.linalg.solve(
                curvature + ridge[:, :, None] * np.eye(len(x)), -gradient[..., None]
            )
            candidate = x[:, active] + step[..., 0].T
            candidate = np.where(
                (self.rows < LEVEL)[:, None], np.clip(candidate, -MAX_LOGIT, MAX_LOGIT), candidate
            )
            new_loss, new_gradient, new_curvature = self._derive(
                candidate, self.table.select(active), self.season[:, active]
            )
            better = new_loss < loss
            previous, loss = loss, np.where(better, new_loss, loss)
            damping[active] *= np.where(better, 0.2, 5.0)
            x[:, active] = np.where(better, candidate, x[:, active])
            converged = better & (previous - loss <= TOLERANCE * previous)
            converged |= damping[active] > 1e6
            gradient = np.where(better[:, None], new_gradient, gradient)
            curvature = np.where(better[:, None, None], new_curvature, curvature)
            lowest[active] = loss
            converged |= loss <= NO_ERROR
        return self._states(x, self.season), lowest, np.asarray(self.table.seen.sum(0))

    def _start(self) -> Array:
        """Return first parameters (p, n): a line through the first seasons, and the best of a few weights."""
        table, n = self.table, self.table.n_series
        rows = np.arange(min(max(10, 2 * table.period), table.steps))
        index = self.season[rows % table.period]
        adjusted = table.filled[rows]
        adjusted = adjusted / index if self.form.season == "M" else adjusted - index
        inside = table.inside[rows]
        count = np.maximum(inside.sum(0), 1)
        mean_time = (inside * (rows + 1)[:, None]).sum(0) / count
        level = (inside * adjusted).sum(0) / count
        centred_time = inside * ((rows + 1)[:, None] - mean_time)
        slope = (centred_time * adjusted).sum(0) / np.maximum((centred_time**2).sum(0), 1)
        x = np.zeros((SLOPE + 1, n))
        x[SLOPE] = slope
        x[LEVEL] = level - slope * mean_time if self.form.trend != "N" else level
        x[PHI], x[BETA] = 2.0, -1.0
        candidates = []
        gammas = FIRST_GAMMAS if self.form.season != "N" else FIRST_GAMMAS[:1]
        for alpha, gamma in product(FIRST_ALPHAS, gammas):
            x[ALPHA], x[GAMMA] = np.log(alpha / (1 - alpha)), np.log(gamma / (1 - gamma))
            candidates.append((self._loss(x[self.rows]), x[self.rows]))
        best = np.argmin([loss for loss, _ in candidates], 0)
        return np.asarray(np.stack([x for _, x in candidates])[best, :, np.arange(n)].T)

    def _loss(self, x: Array) -> Array:
        """Return the squared error of parameters (p, n), (n,); for multiplicative errors as in `_derive`."""
        track = self._states(x, self.season).run(np.array(self.form.season == "M"), self.table, 0)
        error = np.where(self.table.seen, self.table.filled - track.mu, 0.0)
        if self.form.error == "A":
            return np.asarray((error**2).sum(0))
        mu = np.where(self.table.seen, np.maximum(track.mu, MIN_MEAN), 1.0)
        unit = np.exp(2 * np.log(mu).sum(0) / np.maximum(self.table.seen.sum(0), 1))
        return np.asarray(unit * ((error / mu) ** 2).sum(0))

    def _states(self, x: Array, season: Array) -> States:
        """Return the weights and first states of parameters (p, n)."""
        form, n, place = self.form, x.shape[1], self.place
        alpha = _logistic(x[place[ALPHA]])
        none = np.zeros(n)
        beta = MAX_BETA * alpha * _logistic(x[place[BETA]]) if form.trend != "N" else none
        gamma = (1 - alpha) * _logistic(x[place[GAMMA]]) if form.season != "N" else none
        low, high = PHI_RANGE
        phi = low + (high - low) * _logistic(x[place[PHI]]) if form.trend == "Ad" else none + 1
        slope = x[place[SLOPE]] if form.trend != "N" else none
        return States(np.stack([alpha, beta, gamma, phi]), x[place[LEVEL]], slope, season)

    def _derive(self, x: Array, table: SeriesTable, season: Array) -> tuple[Array, Array, Array]:
        """Return the squared error (n,), half its gradient (n, p), and the products of the errors' derivatives (n, p, p).

        A multiplicative error u = e / mu, du = -(y / mu) d(log mu), is scaled by the geometric mean of mu. Then the
        smallest squared error is the largest likelihood here too; d(log mu) is averaged for the scale's derivative.
        """
        form, place, period = self.form, self.place, table.period
        p, n = x.shape
        start = self._states(x, season)
        alpha, beta, gamma, phi = start.weights
        level, slope, season = start.level, start.slope, start.season.copy()
        trend, seasonal = form.trend != "N", form.season != "N"
        multiplicative = form.season == "M"
        # derivatives of the weights by the parameters
        a = alpha * (1 - alpha)
        b_a = beta * (1 - alpha)
        b = beta * (1 - _logistic(x[place[BETA]])) if trend else beta
        g_a = -alpha * gamma
        g = gamma * (1 - _logistic(x[place[GAMMA]])) if seasonal else gamma
        low, high = PHI_RANGE
        f = (phi - low) * (high - phi) / (high - low)
        d_level, d_slope = np.zeros((p, n)), np.zeros((p, n))
        d_level[place[LEVEL]] = 1
        if trend:
            d_slope[place[SLOPE]] = 1
        d_season = np.zeros((period, p, n) if seasonal else (1, 1, 1))
        relative, invalid = form.error == "M", np.zeros(n, bool)
        errors, rows = np.zeros((BLOCK, n)), np.zeros((BLOCK, p, n))
        total, logs = np.zeros(n), np.zeros(n)
        d_logs, first, second = np.zeros((p, n)), np.zeros((n, p)), np.zeros((n, p, p))
        for t, (y, known) in enumerate(zip(table.filled, table.seen, strict=True)):
            k, block = t % period, t % BLOCK
            if trend:
                base, d_base = level + phi * slope, d_level + phi * d_slope
                if PHI in place:
                    d_base[place[PHI]] += slope * f
            else:
                base, d_base = level, d_level
            s, d_s = season[k], d_season[k if seasonal else 0]
            if multiplicative:
                mu, d_mu = base * s, d_base * s + base * d_s
            else:
                mu, d_mu = base + s, d_base + d_s if seasonal else d_base
            e, d_e = np.where(known, y - mu, 0.0), -d_mu * known
            if relative:
                invalid |= known & (mu <= MIN_MEAN)
                mu = np.where(known, np.maximum(mu, MIN_MEAN), 1.0)
                d_mu = d_mu * (known / mu)  # of log mu
                errors[block] = e / mu
                rows[block] = d_mu * (-y / mu)
                logs += np.log(mu)
                d_logs += d_mu
            else:
                errors[block], rows[block] = e, d_e
            if block == BLOCK - 1 or t == table.steps - 1:
                derivatives = rows[: block + 1].transpose(2, 1, 0)  # (n, p, block)
                total += (errors[: block + 1] ** 2).sum(0)
                first += (derivatives @ errors[: block + 1].T[..., None])[..., 0]
                second += derivatives @ derivatives.transpose(0, 2, 1)
            if multiplicative:
                invalid |= (s <= MIN_MEAN) | (base <= MIN_MEAN)
                s, base = np.maximum(s, MIN_MEAN), np.maximum(base, MIN_MEAN)
                z, d_z = e / base, (d_e - (e / base) * d_base) / base
                e, d_e = e / s, (d_e - (e / s) * d_s) / s
            else:
                z, d_z = e, d_e
            if trend:
                d_slope = phi * d_slope + beta * d_e
                d_slope[place[ALPHA]] += e * b_a
                d_slope[place[BETA]] += e * b
                if PHI in place:
                    d_slope[place[PHI]] += slope * f
                slope = phi * slope + beta * e
            d_level = d_base + alpha * d_e
            d_level[place[ALPHA]] += e * a
            level = base + alpha * e
            if seasonal:
                d_season[k] = d_s + gamma * d_z
                d_season[k, place[ALPHA]] += z * g_a
                d_season[k, place[GAMMA]] += z * g
                season[k] = season[k] + gamma * z
        if relative:
            count = np.maximum(table.seen.sum(0), 1)
            unit = np.exp(2 * logs / count)
            mean = (d_logs / count).T  # (n, p)
            second += mean[:, :, None] * first[:, None] + first[:, :, None] * mean[:, None]
            second += mean[:, :, None] * mean[:, None] * total[:, None, None]
            first = (first + mean * total[:, None]) * unit[:, None]
            second, total = second * unit[:, None, None], total * unit
        return np.where(invalid | ~np.isfinite(total), np.inf, total), first, second


def _logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    return np.asarray(1 / (1 + np.exp(-x)))


def _nonzero(x: Array) -> Array:
    """Return x with values near 0 replaced, as a divisor."""
    return np.where(np.abs(x) < MIN_MEAN, MIN_MEAN, x)
