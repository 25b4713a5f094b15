"""Add values up to the totals of a hierarchy, and distribute totals to the values, without a matrix.

A level is a code for each value: the total that it belongs to, or -1 for none. A level whose groups are made up of
whole groups of a finer level is added up from that level and not from the values. So twelve levels of a hierarchy
cost little more than its two finest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = NDArray[np.int64]
LARGE = 16  # size from which a group is added up separately


class Addition:
    """Rows (n, C) added up by a code, (count, C); a code of -1 is in no sum."""

    def __init__(self, code: Ints, count: int) -> None:
        self.code, self.count = code, count
        order = np.argsort(code, kind="stable")
        order = order[code[order] >= 0]
        sizes = np.bincount(code[code >= 0], minlength=count)
        ends = np.cumsum(sizes)
        begins = ends - sizes
        self.large = [(g, order[begins[g] : ends[g]]) for g in np.flatnonzero(sizes > LARGE)]
        small = np.where(sizes > LARGE, 0, sizes)
        # of the small groups: the groups that have a k-th value, and that value
        self.small = [
            (groups, order[begins[groups] + k])
            for k in range(int(small.max(initial=0)))
            for groups in (np.flatnonzero(small > k),)
        ]
        self.everything = bool((code >= 0).all())

    def add(self, values: Array) -> Array:
        """Return the sums of values (n, C), (count, C)."""
        sums = np.zeros((self.count, values.shape[1]), values.dtype)
        for groups, rows in self.small:
            if len(groups) == self.count:
                sums += values[rows]
            else:
                sums[groups] += values[rows]
        for g, rows in self.large:
            sums[g] = values[rows].sum(0)
        return sums

    def spread(self, shares: Array) -> Array:
        """Return the share (count, C) of each value's group, (n, C); 0 for a value without a group."""
        spread_shares: Array = np.take(shares, self.code, 0, mode="clip")
        if not self.everything:
            spread_shares[self.code < 0] = 0
        return spread_shares


@dataclass(frozen=True)
class Sums:
    """The totals of several levels.

    Attributes:
        codes: Group of each value in each level, or -1, (L, n).
        counts: Groups of each level, (L,).
    """

    codes: tuple[Ints, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, codes: Sequence[Ints]) -> Sums:
        """Create sums from codes that are 0, 1, ... without a gap."""
        return cls(tuple(codes), tuple(int(code.max(initial=-1)) + 1 for code in codes))

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Rows of each level in the stack of all totals."""
        ends = np.cumsum(self.counts)
        return tuple(slice(int(e - c), int(e)) for e, c in zip(ends, self.counts, strict=True))

    @property
    def height(self) -> int:
        """Number of totals of all levels."""
        return sum(self.counts)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Levels, finest first."""
        return tuple(sorted(range(len(self.codes)), key=lambda k: -self.counts[k]))

    @cached_property
    def parents(self) -> dict[tuple[int, int], Ints]:
        """For each nested pair of levels (fine, coarse): the coarse group of each fine group, or -1."""
        parents = {}
        for i, fine in enumerate(self.order):
            for coarse in self.order[i + 1 :]:
                code = nested(self.codes[fine], self.codes[coarse], self.counts[fine])
                if code is not None:
                    parents[fine, coarse] = code
        return parents

    @cached_property
    def plan(self) -> tuple[tuple[int, int | None, Addition], ...]:
        """For each level, finest first: the level that it is added up from (None: the values), and the addition."""
        steps: list[tuple[int, int | None, Addition]] = []
        for i, coarse in enumerate(self.order):
            finer = [k for k in self.order[:i] if (k, coarse) in self.parents]
            if finer:
                source = min(finer, key=lambda k: self.counts[k])
                addition = Addition(self.parents[source, coarse], self.counts[coarse])
                steps.append((coarse, source, addition))
            else:
                addition = Addition(self.codes[coarse], self.counts[coarse])
                steps.append((coarse, None, addition))
        return tuple(steps)

    def add(self, values: Array) -> Array:
        """Return the totals of values (n, C), all levels stacked, (G, C)."""
        totals = np.empty((self.height, values.shape[1]), values.dtype)
        for level, source, addition in self.plan:
            below = values if source is None else totals[self.slices[source]]
            totals[self.slices[level]] = addition.add(below)
        return totals

    def spread(self, shares: Array) -> Array:
        """Return, for each value, the sum of the shares (G, C) of its totals, (n, C)."""
        shares, total = shares.copy(), None
        for level, source, addition in reversed(self.plan):
            each = addition.spread(shares[self.slices[level]])
            if source is not None:
                shares[self.slices[source]] += each
            elif total is None:
                total = each
            else:
                total += each
        assert total is not None
        return total


def nested(fine: Ints, coarse: Ints, count: int) -> Ints | None:
    """Return the coarse group of each of `count` fine groups, or None if one lies in several.

    Values without a fine group must be without a coarse one, too.
    """
    parent = np.full(count, -2)
    parent[fine[fine >= 0]] = coarse[fine >= 0]
    lies = np.where(fine >= 0, parent[fine], -1) == coarse
    return parent if lies.all() else None
