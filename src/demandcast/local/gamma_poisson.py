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
gives `evidence` of what a Poisson count would: A <- w (A + e y), B <- w (B + e); 1 is the paper. Counts that
vary more than Poisson ones otherwise look like a rate that moves, w comes out small, and the past is
forgotten. Each series adds the panel's mean log-likelihood of some demands to its own (`SHARED`), so that
few demands choose as the panel does. A run of zeros sends A to 0; it stops at `LEAST`.

Given the rate, counts follow a law of two numbers: a step may have a count with probability `share`, and
is negative binomial there, its variance the mean over `steady` at the series' own level. Neither number is
known for sure: each path draws the pair by its likelihood. One negative binomial, as wide as zeros and
sizes are together, has sums whose median is too small and whose tail is too large.
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
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06)
SHARED = {"weights": 30.0, "start": 10.0, "law": 10.0}  # demands' worth of the panel's evidence
LEAST = 1e-4  # of A
STATE = ("discount", "evidence", "a", "b")  # of a rate, that its law has no part in
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
        fitted = Fitted.of(
            pieces,
            DISCOUNTS if self.discount is None else (self.discount,),
            EVIDENCE if self.evidence is None else (self.evidence,),
            SHARES if self.evidence is None else (1.0,),
        )
        sold = panel.largest() > 0
        places = pieces.places()

        def reader(index: Ints) -> Simulate:
            def simulate(some: Ints, n_paths: int, draws: Draws) -> Array:
                rate = fitted.drawn(places[index[some]], n_paths, draws.at("law"))
                paths = np.zeros((len(some), n_paths, self.horizon))
                for step in range(self.horizon):
                    may = draws.at("may", step).uniform(rate.a.shape) < rate.share
                    counts = draws.at(step).negative_binomial(rate.mean, 1 / rate.size)
                    paths[..., step] = np.where(may, counts, 0.0)
                    rate = rate.behind(paths[..., step])
                return np.where(sold[index[some], None, None], paths, 0.0)

            return simulate

        return reader


@dataclass(frozen=True)
class Rate:
    """Gamma rates before a step, one for each of any shape of weights and series.

    Attributes:
        discount, evidence, a, b: As in the head of this file.
        share: Probability that a step may have a count.
        shape: Of a Gamma of mean 1 that multiplies the rate anew in each such step; infinite for
            Poisson counts.
    """

    discount: Array
    evidence: Array
    a: Array
    b: Array
    share: Array = field(default_factory=lambda: np.array(1.0))
    shape: Array = field(default_factory=lambda: np.array(np.inf))

    @property
    def mean(self) -> Array:
        """Of the negative binomial that the next count is where there may be one."""
        return np.asarray(self.a / self.b / self.share)

    @property
    def size(self) -> Array:
        """Of that negative binomial, to its second moment."""
        return np.asarray(1 / (1 / self.a + (1 + 1 / self.a) / self.shape))

    def behind(self, y: Array) -> Rate:
        """The rates before the next step, y having come."""
        a = np.maximum(self.discount * (self.a + self.evidence * y), LEAST)
        return replace(self, a=a, b=self.discount * (self.b + self.evidence))

    def log_likelihood(self, y: Array) -> Array:
        """log p(y), less the log y! that no weight changes, (..., n); y is (n,)."""
        size, share = self.size, np.broadcast_to(self.share, self.a.shape)
        odds = self.mean / size  # of the negative binomial: its mean over its size
        none = -size * np.log1p(odds)
        mixed = share < 1  # where it is 1, expm1 rounds to -1 whatever `none` is
        found = np.where(mixed, np.log1p(np.where(mixed, share, 0.0) * np.expm1(none)), none)
        some = np.flatnonzero(y > 0)
        size, odds, share, came = size[..., some], odds[..., some], share[..., some], y[some]
        rest = log_gamma(size + came) - log_gamma(size) - came * np.log1p(1 / odds)
        found[..., some] = none[..., some] + rest + np.log(share)
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
        """Before the first step of series of a mean level, (n,).

        Args:
            tried: Discount, evidence, B, A / B over the level, share and steady, (..., 6, n).
            level: Mean of each series, (n,).
        """
        discount, evidence, b, mean, share, steady = np.moveaxis(tried, -2, 0)
        start = np.maximum(mean * level * b, LEAST)
        return cls(discount, evidence, start, b, share, shape_of(level, share, steady))


def shape_of(level: Array, share: Array, steady: Array) -> Array:
    """Shape of counts whose variance is their mean over `steady`, at a level of the series."""
    return np.maximum(level, LEAST) / share * steady / np.maximum(1 - steady, NO_NOISE)


@dataclass(frozen=True)
class Fitted:
    """What is known of n series after their last step.

    Attributes:
        rate: Their rates, of the likeliest weights and starts, (n,).
        level: Their means, (n,).
        laws: Pairs of share and steady, (G, 2).
        reached: Cumulative probabilities of the pairs, (G, n).
    """

    rate: Rate
    level: Array
    laws: Array
    reached: Array

    def drawn(self, series: Ints, n_paths: int, draws: Draws) -> Rate:
        """Rates of some series, each path with a law of its own, (s, S)."""
        level = draws.uniform((len(series), n_paths))
        place = np.zeros(level.shape, np.int64)
        for reached in self.reached[:-1, series, None]:
            place += level >= reached
        share, steady = np.moveaxis(self.laws[place], -1, 0)
        shape = shape_of(self.level[series, None], share, steady)
        state = {n: np.repeat(getattr(self.rate, n)[series, None], n_paths, 1) for n in STATE}
        return Rate(**state, share=share, shape=shape)

    @classmethod
    def of(
        cls,
        pieces: Iterable[Histories],
        discounts: Sequence[float],
        evidence: Sequence[float],
        shares: Sequence[float] = (1.0,),
    ) -> Fitted:
        """Fit the likeliest weights, then starts, then the probabilities of laws.

        Args:
            pieces: The histories of n series, some at once; gone over four times.
            discounts, evidence: Weights to choose from; evidence also of `steady`.
            shares: To choose from.
        """
        sums = [(p.values.sum(0) / np.maximum(p.lengths, 1), (p.values > 0).sum()) for p in pieces]
        level = np.concatenate([np.zeros(0), *(mean for mean, _ in sums)])
        demands = max(1, int(sum(count for _, count in sums)))

        def over(found: Array, rows: slice, ways: Array) -> Iterator[tuple[Rate, Array]]:
            """What was found, (6, n), with other values in some of its rows, (G, rows)."""
            first = 0
            for past in pieces:
                own = slice(first, first + past.n_series)
                tried = np.repeat(found[None, :, own], len(ways), 0)
                tried[:, rows] = ways[..., None]
                yield Rate.begun(tried, level[own]).over(past)
                first = own.stop

        def likely(found: Array, rows: slice, ways: Array, what: str) -> Array:
            """Log-likelihoods, the panel's share added, (G, n)."""
            none = np.zeros((len(ways), 0))
            own = np.concatenate([none, *(part for _, part in over(found, rows, ways))], -1)
            return np.asarray(own + SHARED[what] * own.sum(1, keepdims=True) / demands)

        found = np.ones((6, len(level)))
        weights = np.array([(w, e, 1.0, 1.0, 1.0, e) for w, e in product(discounts, evidence)])
        starts = np.array([*product(STRENGTHS, MEANS)])
        for rows, ways, what in (
            (slice(0, 6), weights, "weights"),
            (slice(2, 4), starts, "start"),
        ):
            found[rows] = ways[likely(found, rows, ways, what).argmax(0)].T
        rows, laws = slice(4, 6), np.array([*product(shares, evidence)])
        logs = likely(found, rows, laws, "law")
        chance = np.exp(logs - logs.max(0, initial=-np.inf))
        reached = (chance / chance.sum(0)).cumsum(0)
        ends = [rate for rate, _ in over(found, rows, laws[:1])]
        state = [
            np.concatenate([np.zeros(0), *(getattr(rate, name)[0] for rate in ends)])
            for name in STATE
        ]
        return cls(Rate(*state), level, laws, reached)
