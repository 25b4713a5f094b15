"""Keyed draws as numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.keyed import EXACT, GOLDEN, LAST_SHIFT, MIX, STIRLING, Keyed, key_hashes

BLOCK = 1 << 14  # elements at once: a few arrays of them stay in a core's cache
TABLE = np.array(STIRLING)
# Wichura, "Algorithm AS 241: the percentage points of the normal distribution", 1988: numerators and
# denominators in the middle, in the tails, and beyond 5 in the root of -log(level)
MIDDLE = (
    (3.387132872796366608, 133.14166789178437745, 1971.5909503065514427, 13731.693765509461125,
     45921.953931549871457, 67265.770927008700853, 33430.575583588128105, 2509.0809287301226727),
    (1.0, 42.313330701600911252, 687.1870074920579083, 5394.1960214247511077,
     21213.794301586595867, 39307.89580009271061, 28729.085735721942674, 5226.495278852545925),
)  # fmt: skip
TAIL = (
    (1.42343711074968357734, 4.6303378461565452959, 5.7694972214606914055, 3.64784832476320460504,
     1.27045825245236838258, 0.24178072517745061177, 0.0227238449892691845833, 7.7454501427834140764e-4),
    (1.0, 2.05319162663775882187, 1.6763848301838038494, 0.68976733498510000455,
     0.14810397642748007459, 0.0151986665636164571966, 5.475938084995344946e-4, 1.05075007164441684324e-9),
)  # fmt: skip
FAR = (
    (6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
     0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
     2.01033439929228813265e-7),
    (1.0, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525,
     7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7,
     2.04426310338993978564e-15),
)  # fmt: skip


class Draws(Keyed):
    """Draws of n series as numpy arrays."""

    xp = np

    @classmethod
    def of(cls, keys: pl.DataFrame, seed: int) -> Draws:
        """One stream a row of the key columns."""
        return cls(np.frombuffer(key_hashes(keys, seed), "<u8").astype(np.uint64))

    def order(self) -> NDArray[np.int64]:
        """The series in an order that their own order does not change, (n,)."""
        return np.asarray(np.argsort(self._mixed(self.starts)), np.int64)

    def below(self, count: NDArray[Any], shape: Sequence[int]) -> NDArray[np.int64]:
        """Whole numbers from 0 to below a count, which broadcasts with the shape; 0 for a count of 0."""
        return np.asarray(self.uniform(shape) * count, np.int64)

    def _drawn(self, draw: Callable[..., Any], shape: Sequence[int], *given: Any) -> Any:
        shape = tuple(shape)
        found = np.empty(shape)
        if not found.size:
            return found
        each = found.size // len(self)
        table = found.reshape(len(self), each)
        params = [np.asarray(part, np.float64).reshape(table.shape) for part in given]
        rows, columns = max(1, BLOCK // each), min(each, BLOCK)
        for left in range(0, each, columns):
            right = min(left + columns, each)
            steps = np.arange(left, right, dtype=np.uint64) * np.uint64(GOLDEN)
            for top in range(0, len(self), rows):
                place = np.s_[top : top + rows, left:right]
                counters = (self.starts[top : top + rows, None] + steps).ravel()
                part = draw(self, counters, *(values[place].ravel() for values in params))
                table[place] = part.reshape(-1, right - left)
        return found

    def _constant(self, value: int) -> Any:
        return np.uint64(value % 2**64)

    def _mixed(self, counters: Any) -> Any:
        bits = counters.copy()
        for shift, factor in MIX:
            bits ^= bits >> np.uint64(shift)
            bits *= np.uint64(factor)
        bits ^= bits >> np.uint64(LAST_SHIFT)
        return bits

    def _unit(self, bits: Any) -> Any:
        bits >>= np.uint64(12)
        unit = bits + 0.5
        unit *= 2.0**-52
        return unit

    def _inverse_normal(self, levels: Any) -> Any:
        middle = levels - 0.5
        found = middle * _ratio(MIDDLE, 0.180625 - middle * middle)
        tails = np.flatnonzero(np.abs(middle) > 0.425)
        below = middle[tails] < 0
        root = np.sqrt(-np.log(np.where(below, levels[tails], 1 - levels[tails])))
        score = _ratio(TAIL, root - 1.6)
        far = np.flatnonzero(root > 5)
        score[far] = _ratio(FAR, root[far] - 5)
        found[tails] = np.where(below, -score, score)
        return found

    def _places(self, mask: Any) -> Any:
        return np.flatnonzero(mask)

    def _stirling(self, counts: Any) -> Any:
        return TABLE[np.minimum(counts, EXACT - 1).astype(np.int64)]


def _ratio(terms: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    """A ratio of polynomials, lowest powers first."""
    above, below = (np.full_like(x, part[-1]) for part in terms)
    for high, low in zip(reversed(terms[0][:-1]), reversed(terms[1][:-1]), strict=True):
        above *= x
        above += high
        below *= x
        below += low
    above /= below
    return above
