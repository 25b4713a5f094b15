"""Adjust values to their totals by generalised least squares, with no value below its floor.

Given values b with error variances w and totals a with error variances v, find x >= floor that minimises

    1/2 sum (x - b)^2 / w + 1/2 sum (a - A x)^2 / v

where A adds up. Without a floor x = b + w A'm with m = K^-1 (a - A b) and K = A w A' + v, the closed form of
Wickramasuriya, Athanasopoulos and Hyndman, "Optimal forecast reconciliation for hierarchical and grouped time series
through trace minimization", 2019. A total with v = 0 is kept exactly.

**K without a matrix of its size.** The totals of one level share no value, so their block of K is diagonal. Take it
out, and the block of a level whose groups are unions of these groups is still diagonal. So a chain of nested levels,
finest first, is eliminated by division; what is left, a few levels that cross the chain, is factorised.

**The floor.** For any m the best x is max(floor, b + w A'm), so the problem is to find m of

    r(m) = a - A max(floor, b + w A'm) - v m = 0

r is the gradient of the dual loss, and K bounds its curvature. Steps K^-1 r with Anderson's acceleration (Walker and Ni,
2011, one step back) solve it for many columns at once. Columns that resist are solved one by one with Newton's method,
in which values at their floor have no variance. The primal loss of x(m) exceeds the dual loss by 1/2 sum r^2 / v, which bounds what
stopping early costs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ConfigError
from demandcast.forecast.sums import Addition, Sums
from demandcast.memory import check_memory

Array = NDArray[Any]
Doubles = NDArray[np.float64]
GAP = 0.01  # share of the loss that the search may miss with a floor
ROUNDS = 24  # accelerated steps, at most
REFACTOR = 8  # of them with one factorisation
NEWTON, BISECTIONS = 200, 60  # steps of Newton's method, and halvings of one, at most
EMPTY = 1e-3  # of the largest total: size of one that is 0, for what it may be off by
LEAST = 1e-9  # share of its variance that a value keeps at its floor
KEPT = {4: 4e-6, 8: 1e-9}  # part of a total within which it is met, by bytes of a number


@dataclass(frozen=True)
class Solution:
    """The solution of a least squares problem.

    Attributes:
        values: x, (n, C).
        free: Loss without a floor, summed over columns.
        loss: Loss with it.
        moved: Amount by which the floor raises the sum of x, summed over columns.
    """

    values: Array
    free: float
    loss: float
    moved: float


@dataclass(frozen=True)
class LeastSquares:
    """The problem without its numbers.

    Attributes:
        sums: What adds up.
        own: Error variances of the values, above 0, (n,).
        above: Error variances of the totals, (G,); 0 for one that is kept.
    """

    sums: Sums
    own: Doubles
    above: Doubles

    @cached_property
    def chain(self) -> tuple[int, ...]:
        """Levels, each nested in the next, that are eliminated one by one."""
        levels = [self.sums.order[0]]
        for level in self.sums.order[1:]:
            if (levels[-1], level) in self.sums.parents:
                levels.append(level)
        return tuple(levels)

    @cached_property
    def alike(self) -> bool:
        """Whether all values have one error variance."""
        return bool((self.own == self.own[0]).all())

    @cached_property
    def factor(self) -> Factor:
        """K, factorised."""
        return Factor.of(self)

    def solve(
        self, values: Array, totals: Array, floor: Array, below: Array | None = None
    ) -> Solution:
        """Return x (n, C) for values (n, C) and totals (G, C), where no x is below `floor` (n,).

        `below` is what the values add up to, (G, C), where the caller knows it.

        Raises:
            ConfigError: Totals without variance cannot be reached above the floor.
        """
        below = self.sums.add(values) if below is None else below
        miss = totals - below
        m = self.factor.solve(miss)
        free = (m * miss).sum(0) / 2
        goal = _Goal(self, values, totals, floor.astype(values.dtype)[:, None], free, below)
        x, excess = self._search(goal, m)
        least = float(free.sum(dtype=np.float64))
        loss = self.loss(x, values, totals) if excess.any() else least
        return Solution(x, least, loss, float(excess.sum()))

    def loss(self, x: Array, values: Array, totals: Array) -> float:
        """Return the loss of x (n, C), summed over columns; totals without variance count as met."""
        inverse = np.where(self.above > 0, 1 / np.where(self.above > 0, self.above, 1), 0)
        off, miss = x - values, totals - self.sums.add(x)
        return (
            float(
                (1 / self.own) @ np.einsum("nc,nc->n", off, off)
                + inverse @ np.einsum("gc,gc->g", miss, miss)
            )
            / 2
        )

    def _search(self, goal: _Goal, m: Array) -> tuple[Array, Doubles]:
        """Search from `m` (G, C), the solution without a floor; return x and what the floor adds to its sum, (C,)."""
        solution, left = np.empty_like(goal.values), np.arange(m.shape[1])
        before = goal.values.sum(0, dtype=np.float64) + (self.sums.add(goal.own) * m).sum(0)
        past: tuple[Array, Array, Array] | None = None
        factor = self.factor
        for turn in range(1, ROUNDS + 1):
            x, r = goal.at(m)
            done = goal.reached(r)
            if turn == 1 and done.all():
                return x, self._floor_excess(x, before)
            if done.any():
                solution[:, left[done]] = x[:, done]
                if done.all():
                    return solution, self._floor_excess(solution, before)
                on = ~done
                goal, left, m, r = goal.columns(on), left[on], m[:, on], r[:, on]
                past = None if past is None else (past[0][:, on], past[1][:, on], past[2][:, on])
            if turn % REFACTOR == 0:  # weighted by how often each value is above its floor
                free = np.maximum((x > goal.floor).mean(1), LEAST)
                factor, past = Factor.of(replace(self, own=self.own * free)), None
            z = factor.solve(r)
            step = z
            if past is not None:
                dr, dz = r - past[1], z - past[2]
                bend = (dr * dz).sum(0)
                theta = np.where(bend > 0, (dr * z).sum(0) / np.where(bend > 0, bend, 1), 0)
                step = z - theta * (past[0] + dz)
            past = (step, r, z)
            m = m + step
        for k, column in enumerate(left):
            solution[:, column] = self._newton(goal.columns([k]).double())
        return solution, self._floor_excess(solution, before)

    def _floor_excess(self, x: Array, before: Doubles) -> Doubles:
        """Return the excess of the sums of x (n, C) over those without a floor, (C,); 0 within rounding."""
        excess = x.sum(0, dtype=np.float64) - before
        return np.where(excess > KEPT[x.dtype.itemsize] * np.abs(x).sum(0), excess, 0.0)

    def _newton(self, goal: _Goal) -> Array:
        """Solve one column by Newton's method, with steps that end where the dual loss stops rising, (n,)."""
        m = self.factor.solve(goal.totals - self.sums.add(goal.values))
        for _ in range(NEWTON):
            x, r = goal.at(m)
            if goal.reached(r).all():
                return np.asarray(x[:, 0])
            variances = np.where(x[:, 0] > goal.floor[:, 0], self.own, self.own * LEAST)
            step = Factor.of(replace(self, own=variances)).solve(r)
            low, high, slope = 0.0, 1.0, float((step * r).sum())
            end = float((step * goal.at(m + step)[1]).sum())
            if end >= 0:
                m = m + step
                continue
            for _ in range(BISECTIONS):
                middle = (low + high) / 2
                derivative = float((step * goal.at(m + middle * step)[1]).sum())
                if abs(derivative) <= 0.01 * slope:
                    break
                low, high = (middle, high) if derivative > 0 else (low, middle)
            m = m + middle * step
        worst = np.where(self.above[:, None] > 0, 0, np.abs(r))
        raise Unreached(int(worst[:, 0].argmax()), float(worst.max()))


@dataclass(frozen=True)
class _Goal:
    """A problem with its numbers, and its stopping rule.

    Attributes:
        problem: Without its numbers.
        values, totals, floor: (n, C), (G, C) and (n, 1).
        free: Loss without a floor of each column, (C,).
        below: What the values add up to, (G, C).
    """

    problem: LeastSquares
    values: Array
    totals: Array
    floor: Array
    free: Array
    below: Array

    @cached_property
    def own(self) -> Array:
        return self.problem.own.astype(self.values.dtype)[:, None]

    @cached_property
    def above(self) -> Array:
        return self.problem.above.astype(self.values.dtype)[:, None]

    @cached_property
    def inverse(self) -> Array:
        return np.where(self.above > 0, 1 / np.where(self.above > 0, self.above, 1), 0)

    @cached_property
    def noise(self) -> Array:
        """Tolerance of the totals, (G, C)."""
        size = np.abs(self.totals) + np.abs(self.below)
        size = size + EMPTY * size.max(0, initial=0)
        return np.asarray(KEPT[self.values.dtype.itemsize] * size + 1e-30)

    @cached_property
    def limit(self) -> Array:
        """Tolerance of the primal loss above the dual loss, (C,)."""
        return np.asarray(GAP * self.free + (self.noise**2 * self.inverse).sum(0) / 2)

    def at(self, m: Array) -> tuple[Array, Array]:
        """Return x(m), (n, C), and r(m), (G, C)."""
        if self.problem.alike:
            x = self.problem.sums.spread(m * self.own[0])
        else:
            x = self.problem.sums.spread(m)
            x *= self.own
        x += self.values
        np.maximum(x, self.floor, out=x)
        return x, self.totals - self.problem.sums.add(x) - self.above * m

    def reached(self, r: Array) -> NDArray[np.bool_]:
        """Return the mask of solved columns, (C,)."""
        within_noise = ((self.above > 0) | (np.abs(r) <= self.noise)).all(0)
        return np.asarray(within_noise & ((r**2 * self.inverse).sum(0) / 2 <= self.limit))

    def columns(self, which: Any) -> _Goal:
        """Return some of the columns."""
        goal = replace(
            self, values=self.values[:, which], totals=self.totals[:, which], free=self.free[which],
            below=self.below[:, which],
        )  # fmt: skip
        goal.__dict__["noise"], goal.__dict__["limit"] = self.noise[:, which], self.limit[which]
        return goal

    def double(self) -> _Goal:
        """Return the factor in double precision."""
        values, totals, floor, free = (
            v.astype(np.float64) for v in (self.values, self.totals, self.floor, self.free)
        )
        return _Goal(self.problem, values, totals, floor, free, self.problem.sums.add(values))


class Unreached(ConfigError):
    """The fixed total of row `row` cannot be reached; it is off by `miss`."""

    def __init__(self, row: int, miss: float) -> None:
        super().__init__(f"total {row} is missed by {miss:g}")
        self.row, self.miss = row, miss


@dataclass(frozen=True)
class Factor:
    """The factorised matrix K.

    Attributes:
        sums: What adds up.
        chain: Levels that are eliminated, finest first.
        climbs: How totals of each level of the chain but the last are added up to the next.
        own: For each level of the chain, variances of its totals that are not in `above`, (G_k,).
        pivots: The diagonal that is left of its block, (G_k,).
        links: Its block with the other levels, by cells, (G_k, cells).
        others: Rows of the totals of the other levels, (R,).
        cells: Mask of the cells that each of the others adds up, (R, cells).
        rest: Inverse of the others' block after elimination, (R, R).
    """

    sums: Sums
    chain: tuple[int, ...]
    climbs: tuple[Addition, ...]
    own: tuple[Doubles, ...]
    pivots: tuple[Doubles, ...]
    links: tuple[Doubles, ...]
    others: NDArray[np.int64]
    cells: Doubles
    rest: Doubles

    @classmethod
    def of(cls, problem: LeastSquares) -> Factor:
        sums, chain = problem.sums, problem.chain
        crossing = [k for k in range(len(sums.codes)) if k not in chain]
        crossing_totals = np.concatenate(
            [np.arange(sums.height)[sums.slices[k]] for k in crossing] or [np.zeros(0, np.int64)]
        )
        # series of one cell belong to the same groups of all other levels
        combos = np.stack(
            [sums.codes[k] for k in crossing] or [np.zeros(len(problem.own), np.int64)]
        )
        distinct, cell = np.unique(combos, axis=1, return_inverse=True)
        cell = cell.reshape(-1)
        n_cells = distinct.shape[1]
        sizes = (
            sum(sums.counts[k] for k in chain) * n_cells
            + 3 * len(crossing_totals) ** 2
            + len(crossing_totals) * n_cells
        )
        names = ", ".join(str(sums.counts[k]) for k in crossing)
        check_memory(8 * sizes, f"factorising levels of {names} totals that cross the others")
        cells = np.zeros((len(crossing_totals), n_cells))
        first = 0
        for row, k in enumerate(crossing):
            at = np.flatnonzero(distinct[row] >= 0)
            cells[first + distinct[row][at], at] = 1
            first += sums.counts[k]
        finest = chain[0]
        link: Array = np.zeros((sums.counts[finest], n_cells))
        inside = sums.codes[finest] >= 0
        np.add.at(link, (sums.codes[finest][inside], cell[inside]), problem.own[inside])
        weights = np.bincount(cell, problem.own, n_cells)
        core: Array = np.diag(weights)  # between cells, less what is eliminated
        variances, pivots, links, climbs = (
            list[Array](),
            list[Array](),
            list[Array](),
            list[Addition](),
        )
        w = np.bincount(sums.codes[finest][inside], problem.own[inside], sums.counts[finest])
        for i, level in enumerate(chain):
            v = problem.above[sums.slices[level]]
            pivot = w + v
            variances.append(w)
            pivots.append(pivot)
            links.append(link)
            if len(crossing_totals):
                core -= (link / pivot[:, None]).T @ link
            if i + 1 < len(chain):
                climb = Addition(sums.parents[level, chain[i + 1]], sums.counts[chain[i + 1]])
                climbs.append(climb)
                link = climb.add(link * (v / pivot)[:, None])
                w = climb.add((w * v / pivot)[:, None])[:, 0]
        block: Array = cells @ core @ cells.T + np.diag(problem.above[crossing_totals])
        return cls(
            sums, chain, tuple(climbs), tuple(variances), tuple(pivots), tuple(links), crossing_totals, cells,
            np.asarray(np.linalg.inv(block), np.float64),
        )  # fmt: skip

    def solve(self, right: Array) -> Array:
        """Return K^-1 of right-hand sides (G, C)."""
        solution = np.empty_like(right)
        number = right.dtype
        at_cells = np.zeros((self.cells.shape[1], right.shape[1]), number)
        carry: Array | float = 0.0
        for i, level in enumerate(self.chain):
            rows = self.sums.slices[level]
            y = (right[rows] - carry) / self.pivots[i].astype(number)[:, None]
            solution[rows] = y
            at_cells += self._links(number)[i].T @ y
            if i + 1 < len(self.chain):
                carry = self.climbs[i].add(self.own[i].astype(number)[:, None] * y + carry)
        if len(self.others):
            cells = self.cells.astype(number)
            shares = self.rest.astype(number) @ (right[self.others] - cells @ at_cells)
            solution[self.others] = shares
            at_cells = cells.T @ shares
        up: Array | float = 0.0
        for i in reversed(range(len(self.chain))):
            rows = self.sums.slices[self.chain[i]]
            back = self.own[i].astype(number)[:, None] * up
            if len(self.others):
                back = back + self._links(number)[i] @ at_cells
            solution[rows] -= back / self.pivots[i].astype(number)[:, None]
            if i:
                up = self.climbs[i - 1].spread(solution[rows] + up)
        return solution

    def _links(self, number: Any) -> tuple[Array, ...]:
        return self._single if number == np.float32 else self.links

    @cached_property
    def _single(self) -> tuple[NDArray[np.float32], ...]:
        return tuple(link.astype(np.float32) for link in self.links)
