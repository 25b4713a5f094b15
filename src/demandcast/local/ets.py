"""Exponential smoothing as state space models, all of a family fitted to all series at once.

Hyndman, Koehler, Snyder and Grose, "A state space framework for automatic forecasting using exponential
smoothing methods", *International Journal of Forecasting* 18 (2002); FPP3, chapter 8. A level, no trend
or one that may be damped, and no season or one added or multiplied:

    mu = (l + phi b) + s  or  (l + phi b) s,      e = y - mu
    l = l + phi b + alpha e,   b = phi b + beta e,   s = s + gamma e         (a season added)
    l = l + phi b + alpha e/s, b = phi b + beta e/s, s = s + gamma e/(l + phi b)   (multiplied)

Errors are of one size, or in proportion to mu: the states move alike, only the likelihood differs. Weights
and first states maximise it; the model of least AICc forecasts.

Departs from the paper: the search is Levenberg and Marquardt's, on derivatives that run along with the
states, a batch over series. beta is held to `TREND` alpha. Errors of one size with a multiplied season,
and multiplied trends, are left out, as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.forecaster import Demand
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import Table, decompose
from demandcast.local.parts.smooth import Smooth, SmoothForecaster, law_of
from demandcast.settings import one_of

ITERATIONS = 25  # of the search, at most
SETTLED = 1e-5  # relative gain in squared error below which a search ends
STARTS, GAMMAS = (0.05, 0.3, 0.8), (0.03, 0.4)  # weights of level and season to begin with
TREND = 0.05  # most of alpha that beta may be
DAMPED = (0.8, 0.98)  # range of phi
EDGE = 9.0  # of the logistic scale that weights are searched on
EXACT = 1e-18  # squared errors below are none
BLOCK = 64  # steps whose derivatives are held at once
SMALL = 1e-6  # of a series' mean: a forecast below has no share
ALPHA, BETA, GAMMA, PHI, LEVEL, SLOPE = range(6)  # rows of the unknowns


@dataclass(frozen=True)
class Form:
    """One model of the family."""

    trend: str  # "N", "A" or "Ad"
    season: str  # "N", "A" or "M"
    error: str  # "A" or "M"

    def unknowns(self, period: int) -> int:
        """Parameters estimated: weights, first states, the error's scale."""
        trend = {"N": 0, "A": 2, "Ad": 3}[self.trend]
        return 3 + trend + (period if self.season != "N" else 0)

    def free(self) -> Ints:
        """Rows of the unknowns that this model has."""
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


class ETS(SmoothForecaster):
    """Level, trend and season, each smoothed; the model of least AICc of each series.

    With `family="all"`, series with values that are not above 0 have errors of one size and no multiplied season. A season
    wants two periods of history, and any model more values than unknowns; a series too short for all
    takes its last smoothed level.

    Args:
        horizon: Steps to forecast; also `h`.
        period: Steps in one season; None for that of the panel's frequency. 1 for no season.
        family: "additive", the six models with errors of one size and no multiplied season, or "all",
            those and the nine with errors in proportion.
        seed: Of the paths.
    """

    name = "ets"
    portfolio = 120
    suits = Demand.SMOOTH
    summary = "Exponential smoothing, the best model by AICc (Hyndman et al., 2002)"
    settings: ClassVar[dict[str, Any]] = {**SmoothForecaster.settings, "family": FAMILIES[0]}
    family: str

    def _check(self) -> None:
        super()._check()
        one_of("family", self.family, FAMILIES)

    def _fit(self, table: Table) -> Smooth:
        with np.errstate(all="ignore"):  # a search may try what overflows; it is not taken
            return self._best(table).smooth(table, self.horizon)

    def _best(self, table: Table) -> Best:
        """Every model able to describe a series is fitted to it."""
        best = Best.of(table)
        enough = table.lengths >= 2 * table.period
        enough &= table.period > 1
        added, times = (decompose(table, enough, added=flag) for flag in (True, False))
        positive = np.where(table.seen, table.filled, 1.0).min(0) > 0
        for form in FAMILY:
            if self.family == FAMILIES[0] and form.error != "A":
                continue
            able = form.unknowns(table.period) + 2 <= table.observed
            able &= positive | (form.error == "A")
            able &= enough | (form.season == "N")
            able &= times.times | (form.season != "M")
            some = np.flatnonzero(able)
            if len(some):
                season = (times if form.season == "M" else added).index[:, some]
                season = season if form.season != "N" else 0 * season
                best.offer(form, some, Search(form, table.select(some), season).best())
        return best


@dataclass(frozen=True)
class States:
    """Weights (4, n), the first level and slope (n,), and the first season (period, n)."""

    weights: Array
    level: Array
    slope: Array
    season: Array

    def run(self, times: NDArray[np.bool_], table: Table, beyond: int) -> Track:
        """Through the history and `beyond` steps on, where no error comes."""
        alpha, beta, gamma, phi = self.weights
        level, slope, season = self.level, self.slope, self.season.copy()
        out = np.zeros((5, table.steps + beyond, table.n_series))
        for t in range(table.steps + beyond):
            row = min(t, table.steps - 1)
            known = table.seen[row] & (t < table.lengths)
            s = season[t % table.period]
            base = level + phi * slope
            mu = np.where(times, base * s, base + s)
            e = np.where(known, table.filled[row] - mu, 0.0)
            level = base + alpha * e / np.where(times, _apart(s), 1.0)
            slope = phi * slope + beta * e / np.where(times, _apart(s), 1.0)
            season[t % table.period] = s + gamma * e / np.where(times, _apart(base), 1.0)
            out[:, t] = mu, level, slope, s, season[t % table.period]
        return Track(*out)


@dataclass(frozen=True)
class Track:
    """What a run went through, (T, n) each: forecasts of one step, states after it, seasons used and left."""

    mu: Array
    level: Array
    slope: Array
    used: Array
    left: Array


@dataclass
class Best:
    """The model of least AICc so far, of every series."""

    aicc: Array
    states: States
    times: NDArray[np.bool_]
    unknowns: Ints

    @classmethod
    def of(cls, table: Table) -> Best:
        """To begin with, half of every error goes into the level."""
        n = table.n_series
        weights = np.repeat([[0.5], [0.0], [0.0], [1.0]], n, 1)
        states = States(weights, table.filled[0].copy(), np.zeros(n), np.zeros((table.period, n)))
        return cls(np.full(n, np.inf), states, np.zeros(n, bool), np.full(n, 1))

    def offer(self, form: Form, some: Ints, found: tuple[States, Array, Ints]) -> None:
        """Take what is better than before, of some series."""
        states, loss, count = found
        k = form.unknowns(len(states.season))
        aicc = count * np.log(np.maximum(loss, EXACT * count)) + 2 * k * count / (count - k - 1)
        better = aicc < self.aicc[some]
        if not better.any():
            return
        to = some[better]
        self.aicc[to] = aicc[better]
        self.times[to] = form.season == "M"
        self.unknowns[to] = k
        for name in ("weights", "level", "slope", "season"):
            getattr(self.states, name)[..., to] = getattr(states, name)[..., better]

    def smooth(self, table: Table, horizon: int) -> Smooth:
        n, period = table.n_series, table.period
        track = self.states.run(self.times, table, horizon)
        rows = table.lengths + np.arange(horizon)[:, None]
        point, season = (np.take_along_axis(x, rows, 0).T for x in (track.mu, track.used))
        alpha, beta, gamma, phi = self.states.weights
        grown = np.cumsum(phi ** np.arange(1, horizon + 1)[:, None], 0)  # (H, n), of a slope
        moved = alpha + beta * grown
        moved[period - 1 :: period] += gamma
        first = np.tile(self.states.season, (-(-(table.steps + horizon) // period), 1))

        def ahead(step: int) -> Array:
            """From the states `step` rows before; the season as it was left by then."""
            made = np.full((table.steps, n), np.nan)
            if step > table.steps:
                return made
            back = period * -(-step // period)
            seasons = first[: table.steps].copy()
            seasons[back:] = track.left[: max(0, table.steps - back)]
            level = np.concatenate([self.states.level[None], track.level])[: table.steps - step + 1]
            slope = np.concatenate([self.states.slope[None], track.slope])[: table.steps - step + 1]
            base, s = level + grown[step - 1] * slope, seasons[step - 1 :]
            made[step - 1 :] = np.where(self.times, base * s, base + s)
            return made

        size = np.where(self.times[:, None], np.maximum(season, SMALL), 1.0)
        counted = table.seen & (np.isfinite(self.aicc) | (np.arange(table.steps) > 0)[:, None])
        lost = self.unknowns - 1
        law = law_of(table, table.filled, ahead, counted, point, moved.T, lost, size)
        return Smooth(law, np.ones((n, horizon)), np.zeros((n, horizon)))


class Search:
    """Weights and first states of one model that make the squared error least, for all series at once."""

    def __init__(self, form: Form, table: Table, season: Array) -> None:
        self.form, self.table, self.season = form, table, season
        self.free = form.free()
        self.place = {int(row): i for i, row in enumerate(self.free)}

    def best(self) -> tuple[States, Array, Ints]:
        """States, squared errors (n,) and how many they sum, (n,)."""
        x = self._start()
        lowest = np.full(self.table.n_series, np.inf)
        damping = np.full(self.table.n_series, 1e-2)
        going = np.arange(self.table.n_series)
        loss, slope, bend = self._derive(x, self.table, self.season)
        lowest[:] = loss
        settled = ~np.isfinite(loss)
        for _ in range(ITERATIONS):
            on = ~settled
            going, loss, slope, bend = going[on], loss[on], slope[on], bend[on]
            if not len(going):
                break
            diagonal = np.einsum("nii->ni", bend)
            scale = damping[going, None] * diagonal + 1e-9 * diagonal.max(1, keepdims=True) + 1e-30
            step = np.linalg.solve(bend + scale[:, :, None] * np.eye(len(x)), -slope[..., None])
            tried = x[:, going] + step[..., 0].T
            tried = np.where((self.free < LEVEL)[:, None], np.clip(tried, -EDGE, EDGE), tried)
            part = self.table.select(going)
            new, new_slope, new_bend = self._derive(tried, part, self.season[:, going])
            better = new < loss
            now = np.where(better, new, loss)
            damping[going] *= np.where(better, 0.2, 5.0)
            x[:, going] = np.where(better, tried, x[:, going])
            settled = better & (loss - now <= SETTLED * loss) | (damping[going] > 1e6)
            loss = now
            slope = np.where(better[:, None], new_slope, slope)
            bend = np.where(better[:, None, None], new_bend, bend)
            lowest[going] = loss
            settled |= loss <= EXACT
        return self._states(x, self.season), lowest, np.asarray(self.table.seen.sum(0))

    def _start(self) -> Array:
        """A line through the first seasons, the decomposition's season, and the best of a few weights."""
        table, n = self.table, self.table.n_series
        rows = np.arange(min(max(10, 2 * table.period), table.steps))
        index = self.season[rows % table.period]
        rest = table.filled[rows]
        rest = rest / index if self.form.season == "M" else rest - index
        weight = table.inside[rows]
        count = np.maximum(weight.sum(0), 1)
        middle = (weight * (rows + 1)[:, None]).sum(0) / count
        level = (weight * rest).sum(0) / count
        across = weight * ((rows + 1)[:, None] - middle)
        slope = (across * rest).sum(0) / np.maximum((across**2).sum(0), 1)
        x = np.zeros((SLOPE + 1, n))
        x[SLOPE] = slope
        x[LEVEL] = level - slope * middle if self.form.trend != "N" else level
        x[PHI], x[BETA] = 2.0, -1.0
        tried = []
        for alpha, gamma in product(STARTS, GAMMAS if self.form.season != "N" else GAMMAS[:1]):
            x[ALPHA], x[GAMMA] = np.log(alpha / (1 - alpha)), np.log(gamma / (1 - gamma))
            tried.append((self._loss(x[self.free]), x[self.free]))
        pick = np.argmin([loss for loss, _ in tried], 0)
        return np.asarray(np.stack([x for _, x in tried])[pick, :, np.arange(n)].T)

    def _loss(self, x: Array) -> Array:
        """Squared error, (n,), of unknowns (p, n)."""
        track = self._states(x, self.season).run(np.array(self.form.season == "M"), self.table, 0)
        error = np.where(self.table.seen, self.table.filled - track.mu, 0.0)
        if self.form.error == "A":
            return np.asarray((error**2).sum(0))
        mu = np.where(self.table.seen, np.maximum(track.mu, SMALL), 1.0)
        unit = np.exp(2 * np.log(mu).sum(0) / np.maximum(self.table.seen.sum(0), 1))
        return np.asarray(unit * ((error / mu) ** 2).sum(0))

    def _states(self, x: Array, season: Array) -> States:
        form, n, place = self.form, x.shape[1], self.place
        alpha = _squash(x[place[ALPHA]])
        none = np.zeros(n)
        beta = TREND * alpha * _squash(x[place[BETA]]) if form.trend != "N" else none
        gamma = (1 - alpha) * _squash(x[place[GAMMA]]) if form.season != "N" else none
        low, high = DAMPED
        phi = low + (high - low) * _squash(x[place[PHI]]) if form.trend == "Ad" else none + 1
        slope = x[place[SLOPE]] if form.trend != "N" else none
        return States(np.stack([alpha, beta, gamma, phi]), x[place[LEVEL]], slope, season)

    def _derive(self, x: Array, table: Table, season: Array) -> tuple[Array, Array, Array]:
        """Squared error (n,), half its gradient (n, p), and the products of the errors' derivatives.

        An error in proportion to mu counts times the geometric mean of mu, so that its squared error is
        the likelihood too: u = e / mu, du = -(y / mu) d(log mu), and the mean of d(log mu) besides.
        """
        form, place, period = self.form, self.place, table.period
        p, n = x.shape
        start = self._states(x, season)
        alpha, beta, gamma, phi = start.weights
        level, slope, season = start.level, start.slope, start.season.copy()
        trend, seasonal, times = form.trend != "N", form.season != "N", form.season == "M"
        # derivatives of the weights by the unknowns
        a = alpha * (1 - alpha)
        b_a = beta * (1 - alpha)
        b = beta * (1 - _squash(x[place[BETA]])) if trend else beta
        g_a = -alpha * gamma
        g = gamma * (1 - _squash(x[place[GAMMA]])) if seasonal else gamma
        low, high = DAMPED
        f = (phi - low) * (high - phi) / (high - low)
        d_level, d_slope = np.zeros((p, n)), np.zeros((p, n))
        d_level[place[LEVEL]] = 1
        if trend:
            d_slope[place[SLOPE]] = 1
        d_season = np.zeros((period, p, n) if seasonal else (1, 1, 1))
        ratio, bad = form.error == "M", np.zeros(n, bool)
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
            if times:
                mu, d_mu = base * s, d_base * s + base * d_s
            else:
                mu, d_mu = base + s, d_base + d_s if seasonal else d_base
            e, d_e = np.where(known, y - mu, 0.0), -d_mu * known
            if ratio:
                bad |= known & (mu <= SMALL)
                mu = np.where(known, np.maximum(mu, SMALL), 1.0)
                d_mu = d_mu * (known / mu)  # of log mu
                errors[block] = e / mu
                rows[block] = d_mu * (-y / mu)
                logs += np.log(mu)
                d_logs += d_mu
            else:
                errors[block], rows[block] = e, d_e
            if block == BLOCK - 1 or t == table.steps - 1:
                used = rows[: block + 1].transpose(2, 1, 0)  # (n, p, block)
                total += (errors[: block + 1] ** 2).sum(0)
                first += (used @ errors[: block + 1].T[..., None])[..., 0]
                second += used @ used.transpose(0, 2, 1)
            if times:
                bad |= (s <= SMALL) | (base <= SMALL)
                s, base = np.maximum(s, SMALL), np.maximum(base, SMALL)
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
        if ratio:
            count = np.maximum(table.seen.sum(0), 1)
            unit = np.exp(2 * logs / count)
            mean = (d_logs / count).T  # (n, p)
            second += mean[:, :, None] * first[:, None] + first[:, :, None] * mean[:, None]
            second += mean[:, :, None] * mean[:, None] * total[:, None, None]
            first = (first + mean * total[:, None]) * unit[:, None]
            second, total = second * unit[:, None, None], total * unit
        return np.where(bad | ~np.isfinite(total), np.inf, total), first, second


def _squash(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _apart(x: Array) -> Array:
    """Kept from 0, to divide by."""
    return np.where(np.abs(x) < SMALL, SMALL, x)
