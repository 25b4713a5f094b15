"""Reconcile forecasts of series with forecasts of their totals, on joint paths.

`demandcast.forecast.least_squares` states the problem and solves it for each path and step. Here the totals are matched
with the series, variances are chosen, and the result is made a forecast again. Totals of the result are coherent
because they are the sums of its series.

Each path of a total meets the path of the series' sum that has its rank. Counts are rounded so that they stay counts
and keep their mean, and so that sums of them move by less than 1.

Totals may have coarser steps than the series: weeks of days. Then all steps of a path are one problem, in which a total
adds up the cells (series, step) of its group and span. So are totals that are kept for the whole horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError, way
from demandcast.forecast.least_squares import LeastSquares, Unreached
from demandcast.forecast.locks import Lock, check_floors, independent, read_locks
from demandcast.forecast.sums import Sums
from demandcast.forecast.total import joint_paths, sorted_values, source, whole_steps
from demandcast.frequency import Frequency
from demandcast.memory import check_memory
from demandcast.panel.groups import TOTAL, group

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast

Array = NDArray[Any]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
WEIGHTS = ("structure", "variance", "top_down")
LEAST = 1e-9  # share of the mean variance that every forecast has
SMALL = 1 << 20  # numbers of a problem up to which it is solved in double precision
CLOSE = 1e-6  # within which a sum of counts is a whole number
RUN = 128  # rows that are added up together
TOLD = 1e-5  # part of the forecast that the floor moves, from which a note says so


@dataclass(frozen=True)
class Level:
    """One level of totals that were forecast.

    Attributes:
        code: Group of each series, (N,).
        span: Which step of the totals each step of the series is in, (H,); -1 for none.
        values: Sorted values of the forecast of each total, (G, S, P).
        mean: Its means, (G, P).
        trust: What its error variance is divided by.
    """

    code: Ints
    span: Ints
    values: Floats
    mean: Floats
    trust: float = 1.0

    @property
    def coarse(self) -> bool:
        """Whether a step of it adds up several of the series' steps."""
        return not np.array_equal(self.span, np.arange(len(self.span)))


@dataclass
class Cost:
    """What the floor cost, added up over all problems.

    Attributes:
        free, floored: Weighted squares without a floor and with it.
        moved, size: What the floor added to the forecasts, and their size.
    """

    free: float = 0.0
    floored: float = 0.0
    moved: float = 0.0
    size: float = field(default=1e-300)

    def note(self) -> tuple[str, ...]:
        """Return a note on how far the floor moved the totals; empty if hardly at all."""
        if self.moved <= TOLD * self.size:
            return ()
        more = self.floored / max(self.free, 1e-300) - 1
        return (
            f"totals moved by {self.moved / self.size:.2%} because no series may fall below its floor, which adds "
            f"{more:.1%} to the weighted squares of what was adjusted",
        )


def reconcile(
    forecast: Forecast,
    totals: Sequence[Forecast],
    weights: str,
    trust: Sequence[float] | None = None,
    locks: Any = None,
) -> Forecast:
    """Reconcile a forecast with forecasts of its totals, as `Forecast.reconcile` documents."""
    if weights not in WEIGHTS:
        raise ConfigError(
            f"weights is {weights!r}; choose one of {', '.join(WEIGHTS)}",
            option="weights",
            found=weights,
            expected=", ".join(WEIGHTS),
        )
    if not totals and locks is None:
        raise ConfigError(
            "name one forecast of totals or more, or locks: forecast.reconcile(model.predict(panel.total('store')))",
            option="totals",
            found=0,
            expected="a forecast of totals, or locks",
        )
    if weights == "top_down" and (len(totals) != 1 or locks is not None):
        raise ConfigError(
            f"weights='top_down' keeps the totals of one level as they are; {len(totals)} levels"
            f"{' and locks' if locks is not None else ''} are given: choose 'structure' or 'variance'",
            option="weights",
            found=weights,
            expected="structure or variance",
        )
    trusts = _trusts(trust, len(totals))
    panel = source(forecast)
    checked_locks = [] if locks is None else read_locks(forecast, panel, locks)
    paths = joint_paths(forecast)
    if paths is forecast.samples:
        paths = paths.copy()
    levels = [
        replace(_level(forecast, total, paths.shape[1]), trust=t)
        for total, t in zip(totals, trusts, strict=True)
    ]
    problem = _Problem(
        forecast, levels, checked_locks, weights, *_variances(paths, forecast, levels, weights)
    )
    mean = np.empty_like(forecast.mean)
    quantiles = np.empty_like(forecast.quantiles)
    cost = problem.solve(paths, mean, quantiles)
    return replace(
        forecast, quantiles=quantiles, mean=mean, samples=paths, joint=True, events=None,
        notes=(*forecast.notes, *problem.notes(), *cost.note()),
    )  # fmt: skip


def _trusts(trust: Sequence[float] | None, count: int) -> list[float]:
    """Check the trust in each level of totals."""
    trusts = [1.0] * count if trust is None else [float(t) for t in trust]
    if len(trusts) != count:
        raise ConfigError(
            f"trust has {len(trusts)} numbers for {count} forecasts of totals; give one for each",
            option="trust",
            found=len(trusts),
            expected=f"{count} numbers",
        )
    for t in trusts:
        if not 0 < t < np.inf:
            raise ConfigError(
                f"trust is {t:g}; it is a number above 0: 2 halves the error variance of a level, 1 changes nothing. "
                "Keep totals exactly with locks",
                option="trust",
                found=t,
                expected="a number above 0",
            )
    return trusts


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
    values, mean = sorted_values(total, rows, count), total.mean[rows]
    if total.schema.freq != forecast.schema.freq:
        span, coarse_steps = _spans(forecast, total)
        return Level(groups.code, span, values[..., coarse_steps], mean[:, coarse_steps])
    if total.horizon != forecast.horizon:
        raise DataError(
            f"totals are forecast for {total.horizon} steps of {total.schema.freq}, the series for "
            f"{forecast.horizon} of {forecast.schema.freq}; forecast both for the same steps",
            option="horizon",
            found=total.horizon,
            expected=f"{forecast.horizon} steps of {forecast.schema.freq}",
        )
    odd = total.cutoffs[rows][groups.code] != forecast.cutoffs
    if odd.any():
        i = int(odd.argmax())
        raise DataError(
            f"series {panel.key(i)} ends at another step than its total {groups.table.row(int(groups.code[i]))!r}, so their "
            "forecasts begin at different steps; read the table with",
            ways=[way("leaves out what ended", ended="skip")],
        )
    return Level(groups.code, np.arange(forecast.horizon), values, mean)


def _spans(forecast: Forecast, total: Forecast) -> tuple[Ints, Ints]:
    """Return the coarse step that each step is in, (H,), -1 for none, and which steps of the totals these are, (P,).

    Raises:
        DataError: Series or totals end at different times, or they share no whole step.
    """
    for each, name in ((forecast, "series"), (total, "totals")):
        if (each.cutoffs != each.cutoffs[0]).any():
            raise DataError(
                f"the {name} end at different steps, so they share no {total.schema.freq}; read the table with",
                ways=[way("leaves out what ended", ended="skip")],
            )
    coarse = Frequency.parse(total.schema.freq)
    ordinal, whole = whole_steps(forecast, coarse)
    step = ordinal - int(total.cutoffs[0]) - 1
    inside = whole & (step >= 0) & (step < total.horizon)
    if not inside.any():
        raise DataError(
            f"the totals are forecast for {total.horizon} steps of {coarse.name}, of which the series' "
            f"{forecast.horizon} steps of {forecast.schema.freq} cover none as a whole; forecast both for the same time"
        )
    covered = np.unique(step[inside])
    return np.where(inside, np.searchsorted(covered, step), -1), covered


def _variances(
    paths: Floats, forecast: Forecast, levels: list[Level], weights: str
) -> tuple[Doubles, list[Doubles]]:
    """Return error variances of the series, (N,), and of the totals of each level, (G,)."""
    if weights == "variance":
        variances = _path_variance(paths)
        above = [_path_variance(level.values) for level in levels]
    elif weights == "top_down":  # in proportion to the forecasts
        variances = np.maximum(forecast.mean.mean(1, dtype=np.float64), 0)
        return np.maximum(variances, LEAST * variances.mean() + 1e-300), [
            np.zeros(len(level.values)) for level in levels
        ]
    else:
        variances = np.ones(len(paths))
        above = []
        for level in levels:
            cells = level.span >= 0
            steps = cells.sum() / max(1, len(np.unique(level.span[cells])))
            above.append(np.bincount(level.code) * steps)
    least = LEAST * np.concatenate([variances, *above]).mean() + 1e-300
    return np.maximum(variances, least), [
        np.maximum(v / level.trust, least) for v, level in zip(above, levels, strict=True)
    ]


def _path_variance(values: Floats) -> Doubles:
    """Return the variance over paths (n, S, H), averaged over steps, (n,)."""
    variances = np.empty(len(values))
    for rows in np.array_split(np.arange(len(values)), max(1, values.size >> 22)):
        variances[rows] = values[rows].var(1, dtype=np.float64).mean(1)
    return variances


@dataclass
class _Problem:
    """All problems of least squares of one reconciliation.

    Attributes:
        forecast: Of the series.
        levels: Totals that were forecast.
        locks: Totals that are kept.
        weights: As the caller named them.
        own: Error variance of each series, (N,).
        above: Error variance of the totals of each level, (G,).
    """

    forecast: Forecast
    levels: list[Level]
    locks: list[Lock]
    weights: str
    own: Doubles
    above: list[Doubles]
    unrounded: bool = False

    @property
    def by_cell(self) -> bool:
        """Whether the steps of a path are one problem."""
        return any(level.coarse for level in self.levels) or any(
            lock.step is None for lock in self.locks
        )

    @cached_property
    def floors(self) -> Doubles:
        return source(self.forecast).floors().astype(np.float64)

    @cached_property
    def whole(self) -> NDArray[np.bool_]:
        return source(self.forecast).whole_numbers()

    @cached_property
    def order(self) -> Ints:
        """Series in a random order that does not depend on theirs, (N,)."""
        return Draws.of(source(self.forecast).keys, 0).order()

    def solve(self, paths: Floats, mean: Floats, quantiles: Floats) -> Cost:
        """Solve for paths (N, S, H), in place, and set means (N, H) and quantiles (N, H, Q)."""
        n, count, horizon = paths.shape
        asked = self.forecast.levels
        cost = Cost()
        if self.by_cell:
            check_memory(40 * paths.size, f"reconciling {n:,} series over {horizon} steps at once")
            values = np.ascontiguousarray(paths.transpose(0, 2, 1)).reshape(n * horizon, count)
            adjusted, means = self._step(None, values, self.forecast.mean.reshape(-1, 1), cost)
            paths[:] = adjusted.reshape(n, horizon, count).transpose(0, 2, 1)
            mean[:] = means.reshape(n, horizon)
            quantiles[:] = quantiles_of(adjusted, asked).reshape(n, horizon, -1)
            return cost
        for h in range(horizon):
            values = np.ascontiguousarray(paths[..., h])
            adjusted, mean[:, h] = self._step(h, values, self.forecast.mean[:, h, None], cost)
            paths[..., h], quantiles[:, h] = adjusted, quantiles_of(adjusted, asked)
        return cost

    def _step(
        self, step: int | None, values: Array, mean: Array, cost: Cost
    ) -> tuple[Array, Array]:
        """Solve for paths (n, S) and means (n, 1) of one step, or of all of them as cells."""
        repeats = self.forecast.horizon if step is None else 1
        floors = np.repeat(self.floors, repeats)
        locks, lock_codes, fixed = self._locked(step, floors)
        if not self.levels and not locks:  # nothing is said of this step
            cost.size += float(np.abs(mean).sum() + np.abs(values).sum())
            return self._rounded(values, step, locks), mean[:, 0]
        above = [
            self._totals(level, variance, step)
            for level, variance in zip(self.levels, self.above, strict=True)
        ]
        least = self._solver(step, tuple(locks), lock_codes, [v for *_, v in above])
        number = np.float64 if self.locks or values.size <= SMALL else np.float32
        totals = np.empty((least.sums.height, values.shape[1] + 1), number)
        both = np.concatenate([values, mean], 1, dtype=number)
        sums = least.sums.add(both)
        for rows, (sorted_of, mean_of, _) in zip(least.sums.slices, above, strict=False):
            np.put_along_axis(totals[rows, :-1], np.argsort(sums[rows, :-1], 1), sorted_of, 1)
            totals[rows, -1] = mean_of
        if locks:
            totals[least.sums.height - len(fixed) :] = fixed[:, None]
        try:
            solution = least.solve(both, totals, floors, sums)
        except Unreached as error:
            raise self._unreached(error, least, locks) from None
        cost.free += solution.free
        cost.floored += solution.loss
        cost.moved += solution.moved
        cost.size += float(np.abs(solution.values).sum())
        return self._rounded(solution.values[:, :-1], step, locks), solution.values[:, -1]

    def _totals(
        self, level: Level, variance: Doubles, step: int | None
    ) -> tuple[Array, Array, Doubles]:
        """Return sorted values (G, S), means (G,) and variances (G,) of a level at one step, or at all."""
        if step is not None:
            return level.values[..., step], level.mean[:, step], variance
        values = level.values.transpose(0, 2, 1).reshape(-1, level.values.shape[1])
        return values, level.mean.ravel(), np.repeat(variance, level.mean.shape[1])

    def _codes(self, code: Ints, span: Ints, step: int | None) -> Ints:
        """Return codes of series (N,), or of the cells of a level with `span` (H,), (N H,)."""
        if step is not None:
            return code
        spans = int(span.max()) + 1
        cells = np.where(span[None] >= 0, code[:, None] * spans + span[None], -1)
        return np.asarray(cells.ravel(), np.int64)

    def _locked(self, step: int | None, floors: Doubles) -> tuple[list[Lock], list[Ints], Doubles]:
        """Return the locks of a step that do not follow from others, codes of each level of them, and their values.

        Raises:
            DataError: They contradict each other.
        """
        locks = [lock for lock in self.locks if step is None or lock.step == step]
        if not locks:
            return [], [], np.zeros(0)
        panel, horizon = source(self.forecast), self.forecast.horizon
        codes = {by: group(panel, by).code for by in {lock.by for lock in locks}}

        def members(lock: Lock) -> NDArray[np.bool_]:
            inside = codes[lock.by] == lock.group
            if step is not None:
                return np.asarray(inside)
            at = np.full(horizon, lock.step is None)
            if lock.step is not None:
                at[lock.step] = True
            return np.asarray((inside[:, None] & at).ravel())

        masks = [members(lock) for lock in locks]
        free = independent(locks, masks)
        check_floors(locks, masks, floors)
        levels: dict[tuple[tuple[str, ...], bool], list[int]] = {}
        for i in free:
            levels.setdefault((locks[i].by, locks[i].step is None), []).append(i)
        lock_codes, order = [], []
        for rows in levels.values():
            code = np.full(len(floors), -1)
            for k, i in enumerate(rows):
                code[masks[i]] = k
            lock_codes.append(code)
            order += rows
        ordered = [locks[i] for i in order]
        return ordered, lock_codes, np.array([lock.value for lock in ordered])

    def _solver(
        self,
        step: int | None,
        locks: tuple[Lock, ...],
        lock_codes: list[Ints],
        above: list[Doubles],
    ) -> LeastSquares:
        """Return the problem of a step; the same for all steps with the same totals kept."""
        pattern = tuple((lock.by, lock.group) for lock in locks)
        if step is not None and pattern in self._solvers:
            return self._solvers[pattern]
        codes = [self._codes(level.code, level.span, step) for level in self.levels]
        variances = self.own if step is not None else np.repeat(self.own, self.forecast.horizon)
        solver = LeastSquares(
            Sums.of([*codes, *lock_codes]),
            variances,
            np.concatenate([*above, np.zeros(len(locks))]),
        )
        self._solvers[pattern] = solver
        return solver

    @cached_property
    def _solvers(self) -> dict[tuple[Any, ...], LeastSquares]:
        return {}

    def _unreached(self, error: Unreached, least: LeastSquares, locks: list[Lock]) -> DataError:
        row = error.row - (least.sums.height - len(locks))
        if row < 0:
            return DataError(
                f"error variances differ so much that the forecasts cannot be reconciled ({error}); take "
                "weights='structure'"
            )
        other_locks = "; ".join(f"{k.name} at {k.value:g}" for k in locks if k is not locks[row])
        return DataError(
            f"locks contradict each other: {locks[row].name} cannot be kept at {locks[row].value:g}"
            f"{f' together with {other_locks}' if other_locks else ''}, as no series may fall below its floor (missed by "
            f"{error.miss:g}); mend one of them or drop it"
        )

    def _rounded(self, values: Array, step: int | None, locks: list[Lock]) -> Array:
        """Round the counts among values (n, S), so that totals that are kept stay so.

        Rows are rounded one after the other, each so that the sum up to it is the sum of the values rounded up or
        down by the same random number. Each value goes up as often as its fraction says, and sums move by less than 1.
        """
        horizon = self.forecast.horizon
        whole = np.repeat(self.whole, horizon) if step is None else self.whole
        if not whole.any():
            return values
        order = self.order
        if step is None:
            order = (order[:, None] * horizon + np.arange(horizon)).ravel()
        if locks:
            nest = self._nest(step, locks, whole)
            if nest is None:
                self.unrounded = True
                return values
            order = order[np.lexsort([code[order] for code in nest])]
        order = order[whole[order]]
        rng = np.random.default_rng([0, 0 if step is None else step])
        up = running_sums(values[order])
        up += rng.uniform(CLOSE, 1 - CLOSE, values.shape[1])  # a whole sum stays what it is
        np.floor(up, out=up)
        up[1:] -= up[:-1].copy()
        if len(order) < len(values):
            rounded = values.copy()
            rounded[order] = up
            return rounded
        rounded = np.empty(values.shape, np.float32)
        rounded[order] = up
        return rounded

    def _nest(
        self, step: int | None, locks: list[Lock], whole: NDArray[np.bool_]
    ) -> list[Ints] | None:
        """Return codes to sort by, coarsest last, that put every kept total in one run; None if none do.

        Totals that are no whole numbers, or that hold other series than counts, or that cross, have no such order.
        """
        panel = source(self.forecast)
        codes = []
        for by in dict.fromkeys((lock.by, lock.step is None) for lock in locks):
            code = group(panel, by[0]).code
            locked = np.zeros(
                (len(code), 1 if step is not None else self.forecast.horizon), np.int64
            )
            for k, lock in enumerate(lock for lock in locks if (lock.by, lock.step is None) == by):
                inside = code == lock.group
                at = slice(None) if lock.step is None or step is not None else lock.step
                locked[inside, at] = k + 1
            codes.append(np.where(locked.ravel() > 0, locked.ravel() - 1, np.iinfo(np.int64).max))
        last = np.iinfo(np.int64).max
        inside = np.any([code < last for code in codes], 0)
        if not whole[inside].all() or any(lock.value % 1 for lock in locks):
            return None
        codes.sort(
            key=lambda code: int((code < last).sum()) / max(1, len(np.unique(code[code < last])))
        )
        for i, fine in enumerate(codes):
            for coarse in codes[i + 1 :]:
                for k in np.unique(fine[fine < last]):
                    if len(np.unique(coarse[fine == k])) > 1:
                        return None
        return codes

    def notes(self) -> tuple[str, ...]:
        """Return what the caller should know of steps left out and counts not rounded."""
        texts = []
        for level in self.levels:
            if left := int((level.span < 0).sum()):
                texts.append(
                    f"{left} of {len(level.span)} steps lie in no whole step of a level of totals: that level says nothing of them"
                )
        if self.unrounded:
            texts.append(
                "counts are not rounded to whole numbers, as the totals that are kept would not stay so"
            )
        return tuple(dict.fromkeys(texts))


def quantiles_of(values: Array, levels: Sequence[float]) -> Floats:
    """Return the quantiles of paths (n, S), (n, Q), as `numpy.quantile` has them but quicker for many rows."""
    ordered = np.sort(values, 1)
    at = np.asarray(levels) * (values.shape[1] - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, values.shape[1] - 1)
    return np.asarray(
        ordered[:, low] + (at - low) * (ordered[:, high] - ordered[:, low]), np.float32
    )


def running_sums(values: Array) -> Doubles:
    """Return the cumulative sums down the rows (n, C), as `numpy.cumsum` has them but quicker for many rows."""
    n, columns = values.shape
    parts = -(-n // RUN)
    sums = np.zeros((parts, RUN, columns))
    sums.reshape(-1, columns)[:n] = values
    for k in range(1, RUN):
        sums[:, k] += sums[:, k - 1]
    sums[1:] += np.cumsum(sums[:-1, -1], 0)[:, None]
    return sums.reshape(-1, columns)[:n]
