"""Solve the problem of a reconciliation: paths and means of all series that agree with their totals.

`demandcast.forecast.reconcile` describes it and matches the forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import DataError
from demandcast.forecast.least_squares import LeastSquares, Unreached
from demandcast.forecast.locks import Lock, check_floors, independent
from demandcast.forecast.sums import Sums
from demandcast.forecast.total import source
from demandcast.memory import check_memory
from demandcast.panel.groups import group

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast

Array = NDArray[Any]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
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


@dataclass
class Problem:
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
        locks, lock_codes, fixed = self._independent_locks(step, floors)
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
            raise self._infeasible(error, least, locks) from None
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

    def _independent_locks(
        self, step: int | None, floors: Doubles
    ) -> tuple[list[Lock], list[Ints], Doubles]:
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

    def _infeasible(self, error: Unreached, least: LeastSquares, locks: list[Lock]) -> DataError:
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
