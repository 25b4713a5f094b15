"""Level times shape: a series cut into its periods is nearly of rank one, and only its levels need a forecast.

After Honda, "Don't learn the shape: forecasting periodic time series by rank-1 decomposition" (FLAIR),
arXiv:2605.07222, 2026. The last values make a matrix, a period a row, and

    value[row, phase] = level[row] * shape[phase] + rest

The shape is the first right singular vector, newer rows weighing more, drawn towards a flat one as far as
its noise is to its spread. Levels follow a ridge regression on their own past, its penalty chosen by
leave-one-out. Paths resample whole rows: the level's error and the rest of a row stay together.

Departs from the paper: where the frequency has a longer season (a week of days of hours), each row of it
has its own shape, drawn towards the common one. The regression forecasts the change since one season of
rows before, so that a large penalty repeats the last season. What a row leaves over follows from step to step
(AR(1)). Of the frequency's periods and 1, the one that would have forecast the last values best is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.local.base import LocalForecaster
from demandcast.local.parts.histories import Array, Ints
from demandcast.local.parts.seasonal import ALIKE, Table, tables
from demandcast.local.parts.simulated import reaching
from demandcast.local.parts.smooth import bounded, ended, limits
from demandcast.panel.panel import Panel
from demandcast.settings import whole

CELLS = 4_000_000  # numbers held at once, per array
ROWS = 150  # newest periods looked at
FADE = 0.9  # weight of a row, for each season of rows that it is older
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, np.inf)  # rows' worth; averaged by their likelihood
AVERAGED = 4  # seasons of rows in the mean that a level may go back to
FEWEST = 5  # rows from which levels are regressed
SHAPED = 30  # rows from which their own distribution is used; normal weights on them before
LEAST = (
    0.01  # of the mean mass of a cycle's rows: a row of less, all but without level, has no shape
)
STEADIEST = 0.98  # of the AR(1) of what rows leave over
LONGEST = 1000  # steps of the longer season: a week of hours, not a year of days
CHECKED, ALONE = 300, 5  # series whose bands are checked, and those that would leave it in doubt
WIDER = (0.5, 2.5)
DOUBT, DOUBTED = (
    2.0,
    1.6,
)  # how much better another way must be: over the root of cycles seen, at most
CYCLES = 2  # of the longer season that a series must have, for each of its rows to have a shape
TRIED = 2  # horizons held out to choose the period by


@dataclass(frozen=True)
class Rows:
    """n series as matrices whose last row is the last whole period.

    Attributes:
        values: (n, K, m), 0 before a series' first whole period.
        begun: Rows that a series has, (n, K).
        cycle: Rows in the longer season; 1 where there is none.
    """

    values: Array
    begun: NDArray[np.bool_]
    cycle: int

    @classmethod
    def of(cls, history: Array, period: int, cycle: int) -> Rows:
        """Of histories (n, T), right-aligned, NaN before the first value only."""
        n, steps = history.shape
        count = min(max(1, steps // period), ROWS * cycle)
        short = max(0, count * period - steps)
        history = np.pad(history, ((0, 0), (short, 0)), constant_values=np.nan)
        values = history[:, history.shape[1] - count * period :].reshape(n, count, period)
        begun = np.asarray(~np.isnan(values).any(2))
        return cls(np.where(begun[..., None], values, 0.0), begun, cycle)

    @property
    def weights(self) -> Array:
        """Of the rows, falling with their age, (n, K)."""
        age = np.arange(self.values.shape[1])[::-1] / self.cycle
        return np.asarray(self.begun * FADE**age)


@dataclass(frozen=True)
class Split:
    """Level (n, K), shapes of the cycle's rows from the first row on (n, cycle, m), the rest (n, K, m)."""

    level: Array
    shape: Array
    rest: Array

    @classmethod
    def of(cls, rows: Rows) -> Split:
        """One singular value decomposition, then shapes drawn towards flat and towards the common."""
        x, weight = rows.values, rows.weights[..., None]
        n, count, period = x.shape
        if period == 1:
            return cls(x[..., 0], np.ones((n, rows.cycle, 1)), np.zeros(x.shape))
        first = np.linalg.svd(np.sqrt(weight) * x, full_matrices=False)[2][:, 0]  # (n, m)
        middle = first.mean(1, keepdims=True)
        told = np.abs(middle) > 0.05 * np.abs(first).max(1, keepdims=True)
        shape = np.where(told, first / np.where(told, middle, 1.0), 1.0)
        level = _level(x, shape[:, None])
        mass = (weight[..., 0] * level**2).sum(1)
        mass = np.where(mass > 0, mass, 1.0)
        error = (weight * (x - level[..., None] * shape[:, None]) ** 2).sum((1, 2))
        seen = rows.begun.sum(1)
        error *= seen / np.maximum(seen - 1, 1) / ((period - 1) * weight.sum((1, 2)).clip(1e-12))
        noise = error * ((weight[..., 0] * level) ** 2).sum(1) / mass**2  # variance of an entry
        shape = 1 + _drawn(noise, ((shape - 1) ** 2).mean(1))[:, None] * (shape - 1)
        own = np.repeat(shape[:, None], rows.cycle, 1)  # (n, cycle, m)
        if rows.cycle > 1:
            place = np.arange(count) % rows.cycle
            sums, masses = np.zeros_like(own), np.zeros((n, rows.cycle, 1))
            for k in range(rows.cycle):
                part = weight[:, place == k] * level[:, place == k, None]
                sums[:, k] = (part * x[:, place == k]).sum(1)
                masses[:, k] = (part * level[:, place == k, None]).sum(1)
            told = masses > LEAST * masses.mean(1, keepdims=True)
            found = np.where(told, sums / np.where(told, masses, 1.0), shape[:, None])
            apart = found - shape[:, None]
            error = (weight * (x - level[..., None] * found[:, place]) ** 2).sum((1, 2))
            error *= seen / np.maximum(seen - rows.cycle, 1)
            error /= (period - 1) * weight.sum((1, 2)).clip(1e-12)
            noise = error * rows.cycle * ((weight[..., 0] * level) ** 2).sum(1) / mass**2
            pulled = _drawn(noise, (apart**2).mean((1, 2)))
            own = shape[:, None] + pulled[:, None, None] * apart
        each = own[:, np.arange(count) % rows.cycle]  # (n, K, m)
        level = np.where(rows.begun, _level(x, each), 0.0)
        return cls(level, own, np.where(rows.begun[..., None], x - level[..., None] * each, 0.0))


def _level(x: Array, shape: Array) -> Array:
    square = (shape**2).sum(-1)
    return np.asarray((x * shape).sum(-1) / np.where(square > 0, square, 1.0))


def _drawn(noise: Array, spread: Array) -> Array:
    """What is kept of a departure whose spread is partly noise."""
    return np.asarray(np.clip(1 - noise / np.where(spread > 0, spread, 1.0), 0, 1))


@dataclass(frozen=True)
class Ridge:
    """Coefficients of a level's change, (n, 3), and the errors of each row left out, (n, K)."""

    coefficients: Array
    errors: Array
    used: NDArray[np.bool_]  # rows that have an error, (n, K)

    @classmethod
    def of(cls, level: Array, rows: Rows) -> Ridge:
        r = rows.cycle
        n, count = level.shape
        change, causes = np.zeros((n, count)), np.zeros((n, count, 3))
        for i in range(r, count):
            change[:, i] = level[:, i] - level[:, i - r]
            causes[:, i] = causes_of(level[:, :i], rows.begun[:, :i], r)
        used = rows.begun & np.roll(rows.begun, r, 1) & (np.arange(count) >= r)
        weight = np.where(used, rows.weights, 0.0)
        size = np.sqrt((weight[..., None] * causes**2).sum(1) / weight.sum(1)[:, None].clip(1e-12))
        size = np.where(size > 0, size, 1.0)
        scaled = causes / size[:, None]
        root = np.sqrt(weight)
        known, wanted = scaled * root[..., None], change * root
        values, vectors = np.linalg.eigh(known.transpose(0, 2, 1) @ known)
        turned = known @ vectors  # (n, K, 3)
        aim = (turned * wanted[..., None]).sum(1)  # (n, 3)
        enough = used.sum(1) >= FEWEST
        fits, losses, lefts = [], [], []
        for penalty in PENALTIES:
            divisor = values.clip(0) + penalty + 1e-9
            fit = aim / divisor
            left = wanted - (turned * fit[:, None]).sum(2)
            left /= (1 - (turned**2 / divisor[:, None]).sum(2)).clip(0.05)  # the row left out
            fits.append((vectors @ fit[..., None])[..., 0])
            losses.append(np.where(enough | np.isinf(penalty), (left**2).sum(1), np.inf))
            lefts.append(left / np.where(root > 0, root, 1.0))
        loss = np.array(losses)
        likely = loss.min(0) / np.where(loss > 0, loss, 1.0)
        likely = np.where(loss > 0, likely, 1.0) ** (used.sum(1) / 2)
        likely /= likely.sum(0)
        kept = (likely[..., None] * np.array(fits)).sum(0)
        errors = (likely[..., None] * np.array(lefts)).sum(0)
        alone = rows.begun & (
            rows.begun.sum(1, keepdims=True) == 1
        )  # one row: its size is the error
        return cls(kept / size, np.where(alone, level, errors), used)


def causes_of(level: Array, begun: NDArray[np.bool_], cycle: int) -> Array:
    """What the change of the next level may depend on, (n, 3), or (n, S, 3).

    The last change over a cycle, how far the level a cycle before is from its mean, and time itself. With
    no longer season only time: levels that go on as they last went made forecasts worse.
    """
    count = level.shape[-1]
    time = np.ones_like(level[..., -1])
    if cycle == 1 or count <= cycle:
        return np.stack([0 * time, 0 * time, time], -1)
    back = [count - k * cycle for k in range(1, AVERAGED + 1) if count >= k * cycle]
    seen = begun[..., back]
    mean = (level[..., back] * seen).sum(-1) / np.maximum(seen.sum(-1), 1)
    last = np.where(begun[..., -1 - cycle], level[..., -1] - level[..., -1 - cycle], 0.0)
    apart = np.where(begun[..., -cycle], mean - level[..., -cycle], 0.0)
    return np.stack([last, apart, time], -1)


@dataclass(frozen=True)
class Fitted:
    """One way of cutting n series into rows, ready to forecast."""

    rows: Rows
    split: Split
    ridge: Ridge
    steady: Array  # AR(1) of what rows leave over, (n,)

    @classmethod
    def of(cls, history: Array, period: int, cycle: int) -> Fitted:
        """Of histories (n, T), right-aligned, NaN before the first value only."""
        rows = Rows.of(history, period, cycle)
        split = Split.of(rows)
        flat = split.rest.reshape(len(history), -1)
        square = (flat[:, :-1] ** 2).sum(1)
        steady = (flat[:, 1:] * flat[:, :-1]).sum(1) / np.where(square > 0, square, 1.0)
        return cls(rows, split, Ridge.of(split.level, rows), np.clip(steady, 0, STEADIEST))

    def point(self, horizon: int) -> Array:
        """Forecasts without errors, (n, H)."""
        period = self.rows.values.shape[2]
        count = -(-horizon // period)
        none = np.zeros((len(self.steady), 1, count))
        return self._run(none, np.zeros((*none.shape, period)))[:, 0, :horizon]

    def paths(self, horizon: int, n_paths: int, draws: Draws) -> Array:
        """Paths whose errors are rows of the past, newer ones oftener, (n, S, H).

        With few rows their errors are multiplied by normal draws, else their signs are drawn.
        """
        n, rows, period = self.rows.values.shape
        count = -(-horizon // period)
        used = self.ridge.used
        used = np.where(used.any(1, keepdims=True), used, self.rows.begun)
        weight = np.where(used, self.rows.weights, 0.0)
        chance = np.cumsum(weight, 1) / weight.sum(1, keepdims=True).clip(1e-12)
        level = draws.at("row").uniform((n, n_paths * count))
        place = np.zeros(level.shape, np.int64)
        for k in range(rows - 1):  # a search in every row of `chance` at once
            place += level >= chance[:, k : k + 1]
        sign = np.sign(draws.at("sign").uniform(level.shape) - 0.5)
        few = np.flatnonzero(used.sum(1) < SHAPED)
        sign[few] = draws.select(few).at("size").normal((len(few), n_paths * count))
        seen = self.rows.begun.sum(1)
        lost = np.sqrt(seen / np.maximum(seen - 1, 1))[:, None]  # to the shape
        lost = lost * np.sqrt(period / max(period - 1, 1))  # to the levels
        flat = self.split.rest.reshape(n, -1)
        fresh = flat.copy()
        fresh[:, 1:] -= self.steady[:, None] * flat[:, :-1]
        jump = np.take_along_axis(self.ridge.errors, place, 1) * sign
        noise = (
            np.take_along_axis(fresh.reshape(n, rows, period), place[..., None], 1)
            * (sign * lost)[..., None]
        )
        shape = (n, n_paths, count)
        return self._run(jump.reshape(shape), noise.reshape(*shape, period))[..., :horizon]

    def _run(self, jump: Array, noise: Array) -> Array:
        """Levels on and on, each times its shape, and the rest; jumps (n, S, C), noise (n, S, C, m)."""
        n, n_paths, count, period = noise.shape
        r, begun = self.rows.cycle, self.rows.begun
        keep = min(self.split.level.shape[1], AVERAGED * r + 1)
        level = np.repeat(self.split.level[:, None, -keep:], n_paths, 1)
        begun = begun[:, None, -keep:]
        start = self.split.level.shape[1]
        rest = np.repeat(self.split.rest[:, None, -1, -1], n_paths, 1)
        out = np.zeros((n, n_paths, count, period))
        for c in range(count):
            causes = causes_of(level, np.broadcast_to(begun, level.shape), r)
            change = (causes * self.ridge.coefficients[:, None]).sum(-1)
            new = level[..., -r] * begun[..., -r] if level.shape[-1] >= r else level[..., -1]
            new = new + change + jump[..., c]
            shape = self.split.shape[:, (start + c) % r]
            for k in range(period):
                rest = self.steady[:, None] * rest + noise[:, :, c, k]
                out[:, :, c, k] = new * shape[:, None, k] + rest
            level = np.concatenate([level, new[..., None]], -1)
            begun = np.concatenate([begun, np.ones((n, 1, 1), bool)], -1)
        return out.reshape(n, n_paths, -1)


class LevelShape(LocalForecaster):
    """Levels of whole periods by ridge regression, times the shape of a period.

    Args:
        horizon: Steps to forecast; also `h`.
        period: Steps in a row; None to choose among those of the panel's frequency and 1.
        paths: Paths simulated for the quantiles.
        seed: Of the paths.
    """

    name = "level_shape"
    portfolio = 40
    summary = "Level of each period times a seasonal shape, of rank one (after FLAIR, Honda, 2026)"
    pools = True
    settings: ClassVar[dict[str, Any]] = {"period": None, "paths": 500}
    period: int | None
    paths: int

    def _check(self) -> None:
        whole("paths", self.paths, least=1)
        if self.period is not None:
            whole("period", self.period, least=1)

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        count = max(self.paths, n_paths)
        ways = self._ways(panel)
        chosen, steps = self._choose_all(panel, ways)
        needs = np.array([CYCLES * p * c for p, c in ways])[chosen]
        able = steps - self.horizon >= needs
        widened = self._widened(
            panel, ways, chosen, group_of(chosen, steps), able, draws.at("past")
        )
        for index, table in self._tables(panel):
            history, seen = rows_of(table)
            scale = table.scale[:, None]
            floor, counts = limits(seen, scale)
            for way in np.unique(chosen[index]):
                period, cycle = ways[way]
                some = np.flatnonzero(chosen[index] == way)
                room = max(1, CELLS // (count * (self.horizon + period)))
                for start in range(0, len(some), room):
                    part = some[start : start + room]
                    to, unit = index[part], scale[part]
                    fitted = Fitted.of(history[part], period, cycle)
                    point = fitted.point(self.horizon)
                    drawn = fitted.paths(self.horizon, count, draws.select(to))
                    error = drawn - drawn.mean(1, keepdims=True)
                    drawn = point[:, None] + widened[to, None, None] * error
                    drawn = bounded(drawn * unit[..., None], floor[part, None])
                    drawn = np.where(counts[part], np.rint(drawn), drawn)
                    draft.mean[to] = drawn.mean(1)
                    draft.quantiles[to] = reaching(drawn, levels)
                    if draft.samples is not None:
                        draft.samples[to] = drawn[:, :n_paths]
        return draft

    def _tables(self, panel: Panel) -> Iterator[tuple[Ints, Table]]:
        """The panel's series in tables of like length, with their places in the panel."""
        period = self.period or panel.freq.period
        return tables(panel, np.full(panel.n_series, period), CELLS // period)

    def _ways(self, panel: Panel) -> list[tuple[int, int]]:
        """Steps in a row, and rows in the longer season, from the most to the least that they say."""
        main = self.period or panel.freq.period
        longer = [p // main for p in panel.freq.periods if p > main and p % main == 0]
        ways = [(main, 1)]
        if longer and longer[0] * main <= LONGEST:
            ways.insert(0, (main, longer[0]))
        return ways + ([(1, main)] if main > 1 else []) + ([(1, 1)] if main > 1 else [])

    def _choose_all(self, panel: Panel, ways: list[tuple[int, int]]) -> tuple[Ints, Ints]:
        """Return the way that each series is cut by and its steps since the first value, (N,) both."""
        chosen, steps = np.zeros((2, panel.n_series), np.int64)
        for index, table in self._tables(panel):
            chosen[index] = self._choose(*rows_of(table), ways)
            steps[index] = table.lengths
        return chosen, steps

    def _choose(self, history: Array, seen: Array, ways: list[tuple[int, int]]) -> Ints:
        """Return the way that erred least over the last horizons, (n,); the first where none can tell."""
        n, steps = history.shape
        lengths = (~np.isnan(history)).sum(1)
        needs = np.array([CYCLES * p * c for p, c in ways])
        able = lengths >= needs[:, None]  # (ways, n)
        need = np.where(able, needs[:, None], 0).max(0)
        error = np.zeros((len(ways), n))
        for cut in range(steps - self.horizon, 0, -self.horizon)[:TRIED]:
            told = lengths - (steps - cut) >= need
            came = seen[:, cut : cut + self.horizon]
            for w, (period, cycle) in enumerate(ways):
                point = Fitted.of(history[:, :cut], period, cycle).point(self.horizon)
                error[w] += np.where(told, np.nansum(np.abs(point - came), 1), 0.0)
        first = np.where(able.any(0), able.argmax(0), 0)  # the way that others must be better than
        doubt = np.minimum(1 + DOUBT / np.sqrt(np.maximum(lengths / needs[first], 1)), DOUBTED)
        error *= np.where(np.arange(len(ways))[:, None] > first, doubt, 1.0)
        error = np.where(able, error, np.inf)
        return np.asarray(np.where(able.any(0), error.argmin(0), len(ways) - 1), np.int64)

    def _widened(
        self,
        panel: Panel,
        ways: list[tuple[int, int]],
        chosen: Ints,
        group: Ints,
        able: NDArray[np.bool_],
        draws: Draws,
    ) -> Array:
        """Return the factor by which bands at the last horizon would have had to be wider, (N,).

        Half the 80 % band, not knowing the last horizon, is held against the errors there, over
        `CHECKED` series of a group. The fewer series are checked, the nearer to 1 the factor stays.

        Args:
            panel: N series.
            ways: How series may be cut.
            chosen: Which of the ways each series is cut by, (N,).
            group: Series of one number share their factor, (N,).
            able: Series long enough to be checked, (N,).
            draws: Of the N series.
        """
        order = draws.at("checked").order()
        order = order[able[order]]
        checked = np.zeros(panel.n_series, bool)
        for one in np.unique(group[order]):
            checked[order[group[order] == one][:CHECKED]] = True
        ratios = [(np.zeros(0), np.zeros(0, np.int64))]  # and the group of each
        for index, table in self._tables(panel):
            history, seen = rows_of(table)
            cut = history.shape[1] - self.horizon
            for way in np.unique(chosen[index[checked[index]]]):
                some = np.flatnonzero(checked[index] & (chosen[index] == way))
                fitted = Fitted.of(history[some, :cut], *ways[way])
                point = fitted.point(self.horizon)
                paths = fitted.paths(self.horizon, 100, draws.select(index[some]))
                low, high = np.quantile(paths - paths.mean(1, keepdims=True), [0.1, 0.9], axis=1)
                half = (high - low) / 2
                error = np.abs(seen[some, cut:] - point)
                told = ~np.isnan(error) & (half > 0)
                ratios.append((error[told] / half[told], group[index[some[np.nonzero(told)[0]]]]))
        ratio, of = (np.concatenate(side) for side in zip(*ratios, strict=True))
        widened = np.ones(panel.n_series)
        for one in np.unique(of):
            n = (checked & (group == one)).sum()
            found = np.clip(np.quantile(ratio[of == one], 0.8), *WIDER)
            widened[group == one] = found ** (n / (n + ALONE))
        return widened


def group_of(way: Ints, steps: Ints) -> Ints:
    """Return a number for each series, the same for those of one way and like length, (N,)."""
    length = np.log(np.maximum(steps, 1)) / np.log(1 / ALIKE)
    return np.asarray(way * 1000 + length.astype(np.int64))


def rows_of(table: Table) -> tuple[Array, Array]:
    """Histories filled and as observed, (n, T) both, right-aligned, NaN elsewhere."""
    history = ended(np.where(table.inside, table.filled, np.nan), table.lengths)
    seen = ended(np.where(table.seen, table.filled, np.nan), table.lengths)
    return history, seen
