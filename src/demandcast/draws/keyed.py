"""Draw random numbers that depend only on the seed, the key of the series and the purpose of the draw.

A counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) after SplitMix64
(Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): number i of a stream is
mix(start + i g). The start of each series is a hash of its key and the seed. So the order of series, the batch and
the number of processes do not change a draw.

All distributions are exact. Normal: inverse distribution function. Gamma: Marsaglia and Tsang (2000). Poisson:
search through the probabilities for rates below 10, Hörmann's transformed rejection (1993) from there on. A rejected
element is proposed again from counters of its own.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Self

import polars as pl

ELEMENT_STEP = 0x9E3779B97F4A7C15  # between the counters of two elements, as in SplitMix64
ATTEMPT_STEP = 0xD6E8FEB86659FD93  # between the counters of two attempts at one element
MIX_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # Stafford's variant 13
FINAL_SHIFT = 31
MAX_ATTEMPTS = 64  # each attempt rejects fewer than one element in 20
SEARCH_BELOW = 10.0  # smaller rates and means are drawn by search through the probabilities
MAX_SEARCH_ODDS = 8.0  # of negative binomials drawn by search: P(count > 256) is below 1e-12
MAX_RATE = 1e150  # larger rates are clipped to it
STIRLING_COUNTS = 16  # the error of Stirling's formula is tabulated for smaller counts
STIRLING_ERRORS = [0.0] + [
    math.lgamma(k + 1) - (k * math.log(k) - k + 0.5 * math.log(2 * math.pi * k))
    for k in range(1, STIRLING_COUNTS)
]


def hash_values(*values: object) -> int:
    """Hash numbers and texts to 64 bits, the same on every machine and in every run."""
    return int.from_bytes(blake2b(repr(values).encode(), digest_size=8).digest(), "little")


def key_hashes(keys: pl.DataFrame, seed: int) -> bytes:
    """Hash each row of key columns, as text, with a seed; 8 bytes a row."""
    columns = [pl.col(name).cast(pl.String).fill_null("\0") for name in keys.columns]
    # the length before each text keeps ("1", "23") and ("12", "3") apart
    with_lengths = [part for c in columns for part in (c.str.len_bytes().cast(pl.String), c)]
    texts = keys.select(pl.concat_str(with_lengths, separator=" ")).to_series()
    salt = hash_values(seed).to_bytes(8, "little")
    return b"".join(
        [blake2b(text.encode(), digest_size=8, salt=salt).digest() for text in texts.to_list()]
    )


class KeyedDraws(ABC):
    """Random numbers of n series. The same call gives the same numbers; `at` gives independent ones.

    The first axis of a shape counts the series, or the series times their paths, with a series' paths next to each
    other.

    Attributes:
        starts: First counter of the stream of each series, (n,), 64 bits each.
    """

    starts: Any
    xp: Any  # numpy or torch

    def __init__(self, starts: Any) -> None:
        self.starts = starts

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, *what: str | int) -> Self:
        """Return the draws of a purpose, step or round, given as texts and numbers; independent of all others."""
        return type(self)(self._mix(self.starts ^ self._as_counter(hash_values(*what))))

    def select(self, series: Any) -> Self:
        """Return the draws of the selected series."""
        return type(self)(self.starts[series])

    def uniform(self, shape: Sequence[int]) -> Any:
        """Draw uniform numbers in (0, 1), both ends excluded, float64."""
        return self._draw(KeyedDraws._uniform, shape)

    def normal(self, shape: Sequence[int]) -> Any:
        """Draw standard normal numbers, float64."""
        return self._draw(KeyedDraws._normal, shape)

    def gamma(self, shape: Any) -> Any:
        """Draw a gamma variable of scale 1 for each of the shape parameters (n, ...), which are 0 or more."""
        return self._draw(KeyedDraws._gamma, shape.shape, shape)

    def poisson(self, rate: Any) -> Any:
        """Draw a Poisson count for each of the rates (n, ...); a negative rate counts as 0."""
        return self._draw(KeyedDraws._poisson, rate.shape, rate)

    def negative_binomial(self, mean: Any, spread: Any) -> Any:
        """Draw counts with variance mean + spread mean^2; mean and spread (n, ...), spread above 0."""
        return self._draw(KeyedDraws._negative_binomial, mean.shape, mean, spread)

    @abstractmethod
    def _draw(self, sampler: Callable[..., Any], shape: Sequence[int], *params: Any) -> Any:
        """Call a sampler with the counters and parameters of all elements; return its numbers in this shape."""

    @abstractmethod
    def _as_counter(self, value: int) -> Any:
        """Return a whole number, modulo 2^64, in the type of `starts`."""

    @abstractmethod
    def _mix(self, counters: Any) -> Any:
        """Return 64 random bits for each counter."""

    @abstractmethod
    def _to_unit(self, bits: Any) -> Any:
        """Return numbers in (0, 1) made of the first 52 bits."""

    @abstractmethod
    def _inverse_normal(self, levels: Any) -> Any:
        """Return standard normal quantiles at levels in (0, 1)."""

    @abstractmethod
    def _true_indices(self, mask: Any) -> Any:
        """Return the indices at which a mask (n,) is true."""

    @abstractmethod
    def _stirling_errors(self, counts: Any) -> Any:
        """Return the entries of `STIRLING_ERRORS` for counts; the last entry for larger counts."""

    def _uniform(self, counters: Any, attempt: int = 0) -> Any:
        """Draw one uniform number a counter; each attempt gives others."""
        offset = self._as_counter(attempt * ATTEMPT_STEP)
        return self._to_unit(self._mix(counters + offset))

    def _normal(self, counters: Any, attempt: int = 0) -> Any:
        """Draw one standard normal number a counter."""
        return self._inverse_normal(self._uniform(counters, attempt))

    def _sample_by_rejection(self, propose: Callable[..., Any], counters: Any, *params: Any) -> Any:
        """Draw one value a counter; `propose` is called again for the elements whose value it rejected."""
        values, accepted = propose(counters, 0, *params)
        left = self._true_indices(~accepted)
        for attempt in range(1, MAX_ATTEMPTS):
            if not len(left):
                break
            values[left], accepted = propose(
                counters[left], attempt, *(param[left] for param in params)
            )
            left = left[~accepted]
        return values

    def _gamma(self, counters: Any, shape: Any) -> Any:
        """Draw by Marsaglia and Tsang; a shape below 1 is drawn with shape + 1 and multiplied by U^(1 / shape)."""
        xp = self.xp
        below_one = shape < 1
        values = self._sample_by_rejection(self._propose_gamma, counters, shape + below_one - 1 / 3)
        small = self._true_indices(below_one)
        if len(small):
            power = xp.log(self._uniform(counters[small], -1)) / xp.clip(shape[small], 1e-300, None)
            values[small] = values[small] * xp.exp(power)
        return values

    def _propose_gamma(self, counters: Any, attempt: int, third: Any) -> tuple[Any, Any]:
        """Propose gamma variables of shape `third` + 1/3, and say which are accepted."""
        xp = self.xp
        normal = self._normal(counters, 2 * attempt)
        uniform = self._uniform(counters, 2 * attempt + 1)
        root = 1 + normal / xp.sqrt(9 * third)
        cube = root * root * root
        square = normal * normal
        accepted = (uniform < 1 - 0.0331 * square * square) & (root > 0)
        unsure = self._true_indices(~accepted)
        v = xp.clip(cube[unsure], 1e-300, None)
        bound = 0.5 * square[unsure] + third[unsure] * (1 - v + xp.log(v))
        accepted[unsure] = (xp.log(uniform[unsure]) < bound) & (root[unsure] > 0)
        return third * cube, accepted

    def _poisson(self, counters: Any, rate: Any) -> Any:
        """Draw one Poisson count a counter."""
        rate = self.xp.clip(rate, None, MAX_RATE)
        is_small = ~(rate >= SEARCH_BELOW)  # NaN too
        large = self._true_indices(~is_small)
        if not len(large):
            return self._search_poisson(counters, rate)
        counts, small = rate * 0, self._true_indices(is_small)
        counts[small] = self._search_poisson(counters[small], rate[small])
        counts[large] = self._sample_by_rejection(
            self._propose_poisson, counters[large], rate[large]
        )
        return counts

    def _negative_binomial(self, counters: Any, mean: Any, spread: Any) -> Any:
        """Draw one negative binomial count a counter: by search, or Poisson with a gamma rate."""
        xp = self.xp
        odds = mean * spread
        is_small = ~((mean >= SEARCH_BELOW) | (odds >= MAX_SEARCH_ODDS))
        large, small = self._true_indices(~is_small), self._true_indices(is_small)
        counts = mean * 0
        ratio, shape = odds[small] / (1 + odds[small]), 1 / spread[small]
        counts[small] = self._search_count(
            self._uniform(counters[small]),
            xp.exp(-xp.log1p(odds[small]) * shape),
            ratio,
            ratio * (shape - 1),
        )
        if len(large):
            rate = odds[large] * self._gamma(counters[large], 1 / spread[large])
            offset = self._as_counter(ELEMENT_STEP ^ ATTEMPT_STEP)
            counts[large] = self._poisson(counters[large] + offset, rate)
        return counts

    def _search_poisson(self, counters: Any, rate: Any) -> Any:
        """Draw one Poisson count a counter by search through the probabilities."""
        return self._search_count(self._uniform(counters), self.xp.exp(-rate), rate * 0, rate)

    def _search_count(self, level: Any, probability: Any, a: Any, b: Any) -> Any:
        """Return the smallest count whose distribution function reaches a level.

        P(0) is `probability`, and P(k) = (a + b / k) P(k - 1), as for Poisson and negative binomial counts
        (Panjer, 1981).
        """
        counts = b * 0  # NaN stays NaN
        cumulative, count, index = probability, 0, None
        # search in blocks of growing length, and drop the elements that are found after each
        for last in (2, 4, 8, 16, 32, 64, 128, 256):
            live = self._true_indices(level > cumulative)
            if not len(live):
                break
            index = live if index is None else index[live]
            level, probability, a, b, cumulative = (
                x[live] for x in (level, probability, a, b, cumulative)
            )
            block_counts = level * 0 + count
            while count < last:
                count += 1
                block_counts += level > cumulative
                probability = probability * (a + b / count)
                cumulative = cumulative + probability
            counts[index] = block_counts
        return counts

    def _propose_poisson(self, counters: Any, attempt: int, rate: Any) -> tuple[Any, Any]:
        """Propose Poisson counts by Hörmann's transformed rejection, PTRS, and say which are accepted."""
        xp = self.xp
        b = 0.931 + 2.53 * xp.sqrt(rate)
        a = -0.059 + 0.02483 * b
        u = self._uniform(counters, 2 * attempt) - 0.5
        v = self._uniform(counters, 2 * attempt + 1)
        inside = 0.5 - abs(u)
        count = xp.floor((2 * a / inside + b) * u + rate + 0.43)
        accepted = (inside >= 0.07) & (v <= 0.9277 - 3.6224 / (b - 2))
        unsure = self._true_indices(~accepted)
        a, b, v, inside = a[unsure], b[unsure], v[unsure], inside[unsure]
        possible = (count[unsure] >= 0) & ~((inside < 0.013) & (v > inside))
        density = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (inside * inside) + b)
        likely = self._log_poisson(xp.clip(count[unsure], 0, None), rate[unsure])
        accepted[unsure] = possible & (xp.log(density) <= likely)
        return count, accepted

    def _log_poisson(self, count: Any, rate: Any) -> Any:
        """Return the log probability of counts, without the cancellation in k log m - m - log k! (Loader, 2000)."""
        xp = self.xp
        k = xp.clip(count, 1, None)
        deviation = (rate - k) / k
        inverse = 1 / (k * k)
        series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse / 1680))) / k
        error = xp.where(k < STIRLING_COUNTS, self._stirling_errors(k), series)
        positive = k * (xp.log1p(deviation) - deviation) - 0.5 * xp.log(2 * math.pi * k) - error
        return xp.where(count < 1, -rate, positive)
