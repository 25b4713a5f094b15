"""Draws that depend on the seed, the key of a series and what is drawn, and on nothing else.

A counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) after
SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): number i of a
stream is mix(start + i g). Each series has a start of its own, a hash of its key and of the seed, so
that neither the order of series, nor the batch they share, nor the number of processes changes a draw.

Every distribution is exact: normals by the inverse of their distribution function, gammas by Marsaglia
and Tsang (2000), Poisson counts by search through the probabilities, or from a rate of 10 on by Hörmann's
transformed rejection (1993), at any rate. A rejected element tries again at counters of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Self

import polars as pl

GOLDEN = 0x9E3779B97F4A7C15  # between elements of one call: SplitMix64's
TRIES = 0xD6E8FEB86659FD93  # between tries of one element
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # Stafford's variant 13
LAST_SHIFT = 31
MOST_TRIES = 64  # fewer than one in 20 is refused each time
SEARCHED = 10.0  # rates below are drawn by search
MOST_ODDS = 8.0  # of negative binomials drawn by search: P(count > 256) is below 1e-12
LARGEST = 1e150  # rate; a larger one counts as this
EXACT = 16  # counts below have their Stirling error in a table
STIRLING = [0.0] + [
    math.lgamma(k + 1) - (k * math.log(k) - k + 0.5 * math.log(2 * math.pi * k))
    for k in range(1, EXACT)
]


def hashed(*parts: object) -> int:
    """Hash of numbers and words, 64 bits: the same on every machine and in every run."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "little")


def key_hashes(keys: pl.DataFrame, seed: int) -> bytes:
    """Hash of a seed and of each row of key columns, 8 bytes a row; a key counts as its text."""
    columns = [pl.col(name).cast(pl.String).fill_null("\0") for name in keys.columns]
    sized = [part for c in columns for part in (c.str.len_bytes().cast(pl.String), c)]
    words = keys.select(pl.concat_str(sized, separator=" ")).to_series()
    salt = hashed(seed).to_bytes(8, "little")
    return b"".join(
        [blake2b(word.encode(), digest_size=8, salt=salt).digest() for word in words.to_list()]
    )


class Keyed(ABC):
    """Draws of n series, the same whenever they are asked for: `at` gives others.

    The first axis of what is drawn counts the series, or the series times their paths, a series'
    paths one after the other.

    Attributes:
        starts: Where the stream of each series begins, (n,), 64 bits each.
    """

    starts: Any
    xp: Any  # numpy or torch

    def __init__(self, starts: Any) -> None:
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, *what: str | int) -> Self:
        """The draws of a purpose, a step, a round: independent of all others."""
        return type(self)(self._mixed(self.starts ^ self._constant(hashed(*what))))

    def select(self, series: Any) -> Self:
        """Of some of the series."""
        return type(self)(self.starts[series])

    def uniform(self, shape: Sequence[int]) -> Any:
        """Uniform in (0, 1), neither end ever, float64."""
        return self._drawn(Keyed._uniform, shape)

    def normal(self, shape: Sequence[int]) -> Any:
        """Standard normal, float64."""
        return self._drawn(Keyed._normal, shape)

    def gamma(self, shape: Any) -> Any:
        """Gamma of scale 1, one for each of the shapes (n, ...), 0 and more."""
        return self._drawn(Keyed._gamma, shape.shape, shape)

    def poisson(self, rate: Any) -> Any:
        """Poisson counts, one for each of the rates (n, ...); where that is below 0, as for 0."""
        return self._drawn(Keyed._poisson, rate.shape, rate)

    def negative_binomial(self, mean: Any, spread: Any) -> Any:
        """Counts of a mean and of the variance mean + spread mean^2, (n, ...) both, spread above 0."""
        return self._drawn(Keyed._negative_binomial, mean.shape, mean, spread)

    @abstractmethod
    def _drawn(self, draw: Callable[..., Any], shape: Sequence[int], *given: Any) -> Any:
        """What a method makes of the elements' counters and parameters, in a table of this shape."""

    @abstractmethod
    def _constant(self, value: int) -> Any:
        """A whole number, modulo 2^64, that can be added to `starts`."""

    @abstractmethod
    def _mixed(self, counters: Any) -> Any:
        """64 random bits for each counter."""

    @abstractmethod
    def _unit(self, bits: Any) -> Any:
        """Numbers in (0, 1) from the first 52 bits."""

    @abstractmethod
    def _inverse_normal(self, levels: Any) -> Any:
        """Standard normal quantiles."""

    @abstractmethod
    def _places(self, mask: Any) -> Any:
        """Where a mask (n,) is true."""

    @abstractmethod
    def _stirling(self, counts: Any) -> Any:
        """Entries of `STIRLING`, its last for counts beyond it."""

    def _uniform(self, counters: Any, attempt: int = 0) -> Any:
        offset = self._constant(attempt * TRIES)
        return self._unit(self._mixed(counters + offset))

    def _normal(self, counters: Any, attempt: int = 0) -> Any:
        return self._inverse_normal(self._uniform(counters, attempt))

    def _accepted(self, propose: Callable[..., Any], counters: Any, *given: Any) -> Any:
        """Values that `propose` accepts; it is asked again for those that it did not."""
        found, accepted = propose(counters, 0, *given)
        left = self._places(~accepted)
        for attempt in range(1, MOST_TRIES):
            if not len(left):
                break
            values, accepted = propose(counters[left], attempt, *(part[left] for part in given))
            found[left] = values
            left = left[~accepted]
        return found

    def _gamma(self, counters: Any, shape: Any) -> Any:
        """Marsaglia and Tsang; a shape below 1 by one of 1 more, times U^(1 / shape)."""
        xp = self.xp
        few = shape < 1
        found = self._accepted(self._large_gamma, counters, shape + few - 1 / 3)
        small = self._places(few)
        if len(small):
            power = xp.log(self._uniform(counters[small], -1)) / xp.clip(shape[small], 1e-300, None)
            found[small] = found[small] * xp.exp(power)
        return found

    def _large_gamma(self, counters: Any, attempt: int, third: Any) -> tuple[Any, Any]:
        xp = self.xp
        normal = self._normal(counters, 2 * attempt)
        uniform = self._uniform(counters, 2 * attempt + 1)
        root = 1 + normal / xp.sqrt(9 * third)
        cube = root * root * root
        square = normal * normal
        accepted = (uniform < 1 - 0.0331 * square * square) & (root > 0)
        unsure = self._places(~accepted)
        v = xp.clip(cube[unsure], 1e-300, None)
        bound = 0.5 * square[unsure] + third[unsure] * (1 - v + xp.log(v))
        accepted[unsure] = (xp.log(uniform[unsure]) < bound) & (root[unsure] > 0)
        return third * cube, accepted

    def _poisson(self, counters: Any, rate: Any) -> Any:
        rate = self.xp.clip(rate, None, LARGEST)
        few = ~(rate >= SEARCHED)
        more = self._places(~few)
        if not len(more):
            return self._few(counters, rate)
        found, some = rate * 0, self._places(few)
        found[some] = self._few(counters[some], rate[some])
        found[more] = self._accepted(self._many, counters[more], rate[more])
        return found

    def _negative_binomial(self, counters: Any, mean: Any, spread: Any) -> Any:
        xp = self.xp
        odds = mean * spread
        few = ~((mean >= SEARCHED) | (odds >= MOST_ODDS))
        more, some = self._places(~few), self._places(few)
        found = mean * 0
        ratio, shape = odds[some] / (1 + odds[some]), 1 / spread[some]
        found[some] = self._search(
            self._uniform(counters[some]),
            xp.exp(-xp.log1p(odds[some]) * shape),
            ratio,
            ratio * (shape - 1),
        )
        if len(more):
            rate = odds[more] * self._gamma(counters[more], 1 / spread[more])
            found[more] = self._poisson(counters[more] + self._constant(GOLDEN ^ TRIES), rate)
        return found

    def _few(self, counters: Any, rate: Any) -> Any:
        return self._search(self._uniform(counters), self.xp.exp(-rate), rate * 0, rate)

    def _search(self, level: Any, chance: Any, a: Any, b: Any) -> Any:
        """The first count whose distribution function reaches a level.

        P(0) is `chance`, and P(k) = (a + b / k) P(k - 1), as for Poisson and negative binomial counts
        (Panjer, 1981).
        """
        found = b * 0  # NaN stays NaN
        reached, count, place = chance, 0, None
        for most in (2, 4, 8, 16, 32, 64, 128, 256):
            live = self._places(level > reached)
            if not len(live):
                break
            place = live if place is None else place[live]
            level, chance, a, b, reached = (x[live] for x in (level, chance, a, b, reached))
            part = level * 0 + count
            while count < most:
                count += 1
                part += level > reached
                chance = chance * (a + b / count)
                reached = reached + chance
            found[place] = part
        return found

    def _many(self, counters: Any, attempt: int, rate: Any) -> tuple[Any, Any]:
        """Hörmann's transformed rejection, PTRS."""
        xp = self.xp
        b = 0.931 + 2.53 * xp.sqrt(rate)
        a = -0.059 + 0.02483 * b
        u = self._uniform(counters, 2 * attempt) - 0.5
        v = self._uniform(counters, 2 * attempt + 1)
        inside = 0.5 - abs(u)
        count = xp.floor((2 * a / inside + b) * u + rate + 0.43)
        accepted = (inside >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        unsure = self._places(~accepted)
        a, b, v, inside = a[unsure], b[unsure], v[unsure], inside[unsure]
        possible = (count[unsure] >= 0) & ~((inside < 0.013) & (v > inside))
        density = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (inside * inside) + b)
        likely = self._log_poisson(xp.clip(count[unsure], 0, None), rate[unsure])
        accepted[unsure] = possible & (xp.log(density) <= likely)
        return count, accepted

    def _log_poisson(self, count: Any, rate: Any) -> Any:
        """Log probability of counts; without the cancellation of k log m - m - log k! (Loader, 2000)."""
        xp = self.xp
        k = xp.clip(count, 1, None)
        far = (rate - k) / k
        inverse = 1 / (k * k)
        series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / k
        error = xp.where(k < EXACT, self._stirling(k), series)
        some = k * (xp.log1p(far) - far) - 0.5 * xp.log(2 * math.pi * k) - error
        return xp.where(count < 1, -rate, some)
