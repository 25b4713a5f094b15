"""`Draws`: random numbers by key, as numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.keyed import (
    ELEMENT_STEP,
    FINAL_SHIFT,
    MIX_ROUNDS,
    STIRLING_COUNTS,
    STIRLING_ERRORS,
    KeyedDraws,
    key_hashes,
)

BLOCK = 1 << 14  # elements drawn at once: a few arrays of this size stay in a core's cache
STIRLING_TABLE = np.array(STIRLING_ERRORS)
# Wichura, "Algorithm AS 241: the percentage points of the normal distribution", 1988: numerators and
# denominators for the middle, for the tails, and for the far tails, where sqrt(-log(level)) is above 5
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
FAR_TAIL = (
    (6.6579046435011037772, 5.4637849111641143699, 1.7848265399172913358, 0.29656057182850489123,
     0.026532189526576123093, 0.0012426609473880784386, 2.71155556874348757815e-5,
     2.01033439929228813265e-7),
    (1.0, 0.59983220655588793769, 0.13692988092273580531, 0.0148753612908506148525,
     7.868691311456132591e-4, 1.8463183175100546818e-5, 1.4215117583164458887e-7,
     2.04426310338993978564e-15),
)  # fmt: skip


class Draws(KeyedDraws):
    """Random numbers of n series as numpy arrays."""

    xp = np

    @classmethod
    def of(cls, keys: pl.DataFrame, seed: int) -> Draws:
        """Return the draws of the series with these keys, one row of key columns a series."""
        return cls(np.frombuffer(key_hashes(keys, seed), "<u8").astype(np.uint64))

    def order(self) -> NDArray[np.int64]:
        """Return a random permutation of the series that depends on their keys and not on their order, (n,)."""
        return np.asarray(np.argsort(self._mix(self.starts)), np.int64)

    def below(self, count: NDArray[Any], shape: Sequence[int]) -> NDArray[np.int64]:
        """Draw whole numbers in [0, count); the count broadcasts with the shape, and a count of 0 gives 0."""
        return np.asarray(self.uniform(shape) * count, np.int64)

    def _draw(self, sampler: Callable[..., Any], shape: Sequence[int], *params: Any) -> Any:
        shape = tuple(shape)
        numbers = np.empty(shape)
        if not numbers.size:
            return numbers
        per_series = numbers.size // len(self)
        table = numbers.reshape(len(self), per_series)
        tables = [np.asarray(param, np.float64).reshape(table.shape) for param in params]
        rows, columns = max(1, BLOCK // per_series), min(per_series, BLOCK)
        for left in range(0, per_series, columns):
            right = min(left + columns, per_series)
            steps = np.arange(left, right, dtype=np.uint64) * np.uint64(ELEMENT_STEP)
            for top in range(0, len(self), rows):
                block = np.s_[top : top + rows, left:right]
                counters = (self.starts[top : top + rows, None] + steps).ravel()
                drawn = sampler(self, counters, *(values[block].ravel() for values in tables))
                table[block] = drawn.reshape(-1, right - left)
        return numbers

    def _as_counter(self, value: int) -> Any:
        return np.uint64(value % 2**64)

    def _mix(self, counters: Any) -> Any:
        bits = counters.copy()
        for shift, factor in MIX_ROUNDS:
            bits ^= bits >> np.uint64(shift)
            bits *= np.uint64(factor)
        bits ^= bits >> np.uint64(FINAL_SHIFT)
        return bits

    def _to_unit(self, bits: Any) -> Any:
        bits >>= np.uint64(12)
        unit = bits + 0.5
        unit *= 2.0**-52
        return unit

    def _inverse_normal(self, levels: Any) -> Any:
        middle = levels - 0.5
        scores = middle * _polynomial_ratio(MIDDLE, 0.180625 - middle * middle)
        tails = np.flatnonzero(np.abs(middle) > 0.425)
        below = middle[tails] < 0
        root = np.sqrt(-np.log(np.where(below, levels[tails], 1 - levels[tails])))
        tail_scores = _polynomial_ratio(TAIL, root - 1.6)
        far = np.flatnonzero(root > 5)
        tail_scores[far] = _polynomial_ratio(FAR_TAIL, root[far] - 5)
        scores[tails] = np.where(below, -tail_scores, tail_scores)
        return scores

    def _true_indices(self, mask: Any) -> Any:
        return np.flatnonzero(mask)

    def _stirling_errors(self, counts: Any) -> Any:
        return STIRLING_TABLE[np.minimum(counts, STIRLING_COUNTS - 1).astype(np.int64)]


def _polynomial_ratio(coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: Any) -> Any:
    """Return the ratio of two polynomials at x, from their coefficients, lowest powers first."""
    numerator, denominator = (np.full_like(x, powers[-1]) for powers in coefficients)
    above, below = coefficients
    for a, b in zip(reversed(above[:-1]), reversed(below[:-1]), strict=True):
        numerator *= x
        numerator += a
        denominator *= x
        denominator += b
    numerator /= denominator
    return numerator
