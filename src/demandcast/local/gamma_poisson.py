"""Counts whose rate is a Gamma variable that forgets: the local level model of counts, in closed form.

Harvey and Fernandes, "Time series models for count or qualitative observations", *Journal of Business
and Economic Statistics* 7 (1989). Before each step the rate is Gamma(A, B), so that the count is negative
binomial of size A and mean A / B:

    log p(y) = lgamma(A + y) - lgamma(A) - lgamma(y + 1) + A log B - (A + y) log(1 + B)

Seeing y makes the rate Gamma(A + y, B + 1); the step to the next widens it at the same mean:

    A <- w (A + y),   B <- w (B + 1)

The discount w and the start are those of the largest likelihood over a grid. A path draws a rate and
a count and goes on from them by the same update, so that spread grows with the steps ahead.

Departs from the paper: its start is nothing known, at the first demand; here A, B are chosen too. A count
tells `evidence` of what a Poisson count would: A <- w (A + e y), B <- w (B + e); 1 is the paper. Counts that
vary more than Poisson ones otherwise look like a rate that moves, w comes out small, and the past is
forgotten. Such counts are negative binomial given the rate, of variance 1 / e times the mean at the series'
own level m: of shape k = m e / (1 - e). So what a count varies by is not taken for what the level does, which
would make the sums of paths too small in the median and too large in the tail. Each series adds the panel's mean log-likelihood of `SHARED` demands to its own, so that few
demands choose as the panel does. A run of zeros sends A to 0; it stops at `LEAST`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, ClassVar

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.counts import check_counts, log_gamma
from demandcast.local.parts.histories import Array, Histories, Ints, Pieces
from demandcast.local.parts.simulated import Simulate, SimulatedForecaster
from demandcast.panel.panel import Panel
from demandcast.settings import share

DISCOUNTS = (0.5, 0.65, 0.75, 0.82, 0.88, 0.92, 0.95, 0.975, 0.99, 1.0)
EVIDENCE = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
STRENGTHS, MEANS = (0.1, 0.4, 1.0, 3.0), (0.5, 1.0, 2.0)  # B0, and A0 / B0 over the series' mean
SHARED = 10.0  # demands' worth of the panel's evidence
LEAST = 1e-4  # of A
NO_NOISE = 1e-9  # of 1 - e, for counts that are Poisson


class GammaPoisson(SimulatedForecaster):
    """A Gamma rate, discounted before each step; counts are negative binomial one step ahead.

    Args:
        horizon: Steps to forecast; also `h`.
        discount: What a step leaves of the weight of the past, w, in (0, 1]; None has it fitted per
            series.
        evidence: What a count tells of the rate beside a Poisson count, in (0, 1]; 1 is the paper,
            None has it fitted per series.
        paths: Paths simulated for the quantiles.
        seed: Of the paths.

    Raises:
        DataError: At prediction, for a series with values that are no counts.
    """

    name = "gamma_poisson"
    summary = "Counts of a Gamma rate that forgets, in closed form (Harvey and Fernandes, 1989)"
    pools = True
    settings: ClassVar[dict[str, Any]] = {
        **SimulatedForecaster.settings,
        "discount": None,
        "evidence": None,
    }
    discount: float | None
    evidence: float | None

    def _check(self) -> None:
        super()._check()
        share("discount", self.discount, optional=True)
        share("evidence", self.evidence, optional=True)

    def _reader(self, panel: Panel) -> Callable[[Ints], Simulate]:
        check_counts(self.name, panel)
        pieces = Pieces(panel, self.cells)
        found = Rate.of(
            pieces,
            DISCOUNTS if self.discount is None else (self.discount,),
            EVIDENCE if self.evidence is None else (self.evidence,),
        )
        sold = panel.largest() > 0
        places = pieces.places()

        def reader(index: Ints) -> Simulate:
            def simulate(some: Ints, n_paths: int, draws: Draws) -> Array:
                own = places[index[some]]
                rate = Rate(*(np.repeat(v[own, None], n_paths, 1) for v in vars(found).values()))
                paths = np.zeros((len(some), n_paths, self.horizon))
                for step in range(self.horizon):
                    counts = draws.at(step).negative_binomial(rate.a / rate.b, 1 / rate.size)
                    paths[..., step] = counts
                    rate = rate.behind(counts)
                return np.where(sold[index[some], None, None], paths, 0.0)

            return simulate

        return reader


@dataclass(frozen=True)
class Rate:
    """Gamma rates before a step, one for each of any shape of weights and series.

    `shape` is that of a Gamma of mean 1 which multiplies the rate anew in each step; infinite for Poisson
    counts.
    """

    discount: Array
    evidence: Array
    a: Array
    b: Array
    shape: Array = field(default_factory=lambda: np.array(np.inf))

    @property
    def size(self) -> Array:
        """Of the negative binomial that the next count is, to its second moment."""
        return np.asarray(1 / (1 / self.a + (1 + 1 / self.a) / self.shape))

    def behind(self, y: Array) -> Rate:
        """The rates before the next step, y having come."""
        a = np.maximum(self.discount * (self.a + self.evidence * y), LEAST)
        return replace(self, a=a, b=self.discount * (self.b + self.evidence))

    def log_likelihood(self, y: Array) -> Array:
        """log p(y), less the log y! that no weight changes, (..., n); y is (n,)."""
        size = self.size
        odds = self.a / self.b / size  # of the negative binomial: its mean over its size
        found = -size * np.log1p(odds)
        some = np.flatnonzero(y > 0)
        size, odds, came = size[..., some], odds[..., some], y[some]
        found[..., some] += log_gamma(size + came) - log_gamma(size) - came * np.log1p(1 / odds)
        return found

    def over(self, past: Histories) -> tuple[Rate, Array]:
        """The rates behind histories, and the log-likelihoods of these, (..., n)."""
        rate, total = self, np.zeros(self.a.shape)
        for row, y in enumerate(past.values):
            begun = row >= past.begins
            total += begun * rate.log_likelihood(y)
            moved = rate.behind(y)
            a, b = np.where(begun, moved.a, rate.a), np.where(begun, moved.b, rate.b)
            rate = replace(rate, a=a, b=b)
        return rate, total

    @classmethod
    def begun(cls, tried: Array, level: Array) -> Rate:
        """Before the first step: rows discount, evidence, B and A / B over the level, (..., 4, n)."""
        discount, evidence, b, mean = np.moveaxis(tried, -2, 0)
        shape = np.maximum(level, LEAST) * evidence / np.maximum(1 - evidence, NO_NOISE)
        return cls(discount, evidence, np.maximum(mean * level * b, LEAST), b, shape)

    @classmethod
    def of(
        cls, pieces: Iterable[Histories], discounts: Sequence[float], evidence: Sequence[float]
    ) -> Rate:
        """After the last step, (n,): the most likely of the weights, then of the starts.

        Args:
            pieces: The histories of n series, some at once; gone over four times.
            discounts, evidence: Weights to choose from.
        """
        sums = [(p.values.sum(0) / np.maximum(p.lengths, 1), (p.values > 0).sum()) for p in pieces]
        if not sums:
            return cls(*[np.zeros(0)] * 5)
        level = np.concatenate([mean for mean, _ in sums])
        demands = max(1, int(sum(count for _, count in sums)))

        def over(tried: Array) -> Iterator[tuple[Rate, Array]]:
            first = 0
            for past in pieces:
                own = slice(first, first + past.n_series)
                yield cls.begun(tried[..., own], level[own]).over(past)
                first = own.stop

        def likeliest(tried: Array) -> Array:
            likely = np.concatenate([part for _, part in over(tried)], -1)  # (G, n)
            shared = SHARED * likely.sum(1, keepdims=True) / demands
            best = (likely + shared).argmax(0)
            return np.asarray(tried[best, :, np.arange(len(level))].T)  # (4, n)

        weights = np.array([(*pair, 1.0, 1.0) for pair in product(discounts, evidence)])
        found = likeliest(np.repeat(weights[..., None], len(level), 2))
        starts = np.array(list(product(STRENGTHS, MEANS)))
        tried = np.repeat(found[None], len(starts), 0)  # (S, 4, n)
        tried[:, 2:] = starts[..., None]
        last = [vars(rate) for rate, _ in over(likeliest(tried))]
        return cls(**{name: np.concatenate([part[name] for part in last]) for name in last[0]})
