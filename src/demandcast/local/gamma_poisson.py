"""Counts with a Gamma-distributed rate that is discounted at each step: the local level model of counts.

Harvey and Fernandes, "Time series models for count or qualitative observations", *Journal of Business and Economic
Statistics* 7 (1989). Before each step the rate is Gamma(A, B), so the count is negative binomial of size A and mean A / B:

    log p(y) = lgamma(A + y) - lgamma(A) - lgamma(y + 1) + A log B - (A + y) log(1 + B)

Observing y makes the rate Gamma(A + y, B + 1). The step to the next count increases its variance and keeps its mean:

    A <- w (A + y),   B <- w (B + 1)

The discount w and the first A, B maximise the likelihood over a grid. A path draws a rate and a count and is updated with
that count, so its variance grows with the steps ahead.

Departs from the paper:

- The paper starts without knowledge at the first demand; here the first A, B are fitted too.
- A count has the weight `evidence` of a Poisson count: A <- w (A + e y), B <- w (B + e); 1 is the paper. Without it,
  overdispersed counts look like a moving rate: w becomes small and the past is forgotten.
- The panel's mean log-likelihood of some demands (`PRIOR_DEMANDS`) is added to each series' own, so series with few
  demands take parameters that suit the panel.
- A run of zeros moves A towards 0; it stays at `MIN_A` or above.
- Given the rate, a step has a count with probability `share`. That count is negative binomial, with variance mean /
  `steady` at the series' own level. Each path draws the pair (share, steady) by its likelihood, since the pair is
  uncertain. A single negative binomial with the same variance has sums with a too small median and a too long tail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from demandcast.draws.arrays import Draws
from demandcast.local.parts.counts import check_counts, log_gamma
from demandcast.local.parts.histories import Array, Histories, HistoryChunks, Ints
from demandcast.local.parts.simulated import Simulate, SimulatedConfig, SimulatedForecaster
from demandcast.panel.panel import Panel
from demandcast.settings import WEIGHT, setting

DISCOUNTS = (0.5, 0.65, 0.75, 0.82, 0.88, 0.92, 0.95, 0.975, 0.99, 1.0)
EVIDENCE = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
STRENGTHS, MEANS = (0.1, 0.4, 1.0, 3.0), (0.5, 1.0, 2.0)  # B0, and A0 / B0 over the series' mean
SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12, 0.06)
# demands that the panel's mean log-likelihood weighs as much as, when these parameters are fitted
PRIOR_DEMANDS = {"weights": 30.0, "start": 10.0, "law": 10.0}
MIN_A = 1e-4
STATE = (
    "discount",
    "evidence",
    "a",
    "b",
)  # fields of a rate that do not depend on share and steady
MIN_NOISE = 1e-9  # of 1 - steady, for counts that are Poisson


@dataclass(frozen=True, kw_only=True)
class GammaPoissonConfig(SimulatedConfig):
    """Hyper-parameters of the Gamma-Poisson model."""

    # share of the weight of the past that remains after a step; None: fitted per series
    discount: float | None = setting(None, WEIGHT)
    # weight of a count relative to a Poisson count, 1 as in the paper; None: fitted per series
    evidence: float | None = setting(None, WEIGHT)


class GammaPoisson(SimulatedForecaster[GammaPoissonConfig]):
    """A Gamma rate, discounted before each step; counts are negative binomial one step ahead.

    Args:
        horizon: Steps to forecast; also `h`.
        discount: Share w of the weight of the past that remains after a step, in (0, 1]; None to fit it per series.
        evidence: Weight of a count relative to a Poisson count, in (0, 1]; 1 is the paper, None to fit it per series.
        paths: Number of paths simulated for the quantiles.
        seed: Seed of the paths.

    Raises:
        DataError: At prediction, if a value is not a count.
    """

    name = "gamma_poisson"
    summary = "Counts of a Gamma rate that forgets, in closed form (Harvey and Fernandes, 1989)"
    pools = True
    Config = GammaPoissonConfig

    def _prepare(self, panel: Panel) -> Callable[[Ints], Simulate]:
        check_counts(self.name, panel)
        chunks = HistoryChunks(panel, self.cells)
        fitted = Fitted.fit(
            chunks,
            DISCOUNTS if self.config.discount is None else (self.config.discount,),
            EVIDENCE if self.config.evidence is None else (self.config.evidence,),
            SHARES if self.config.evidence is None else (1.0,),
        )
        has_demand = panel.largest() > 0
        positions = chunks.positions()

        def prepare_series(index: Ints) -> Simulate:
            def simulate(selected: Ints, n_paths: int, draws: Draws) -> Array:
                series = index[selected]
                rate = fitted.draw_rates(positions[series], n_paths, draws.at("law"))
                paths = np.zeros((len(series), n_paths, self.horizon))
                for step in range(self.horizon):
                    has_count = draws.at("may", step).uniform(rate.a.shape) < rate.share
                    counts = draws.at(step).negative_binomial(rate.mean, 1 / rate.size)
                    paths[..., step] = np.where(has_count, counts, 0.0)
                    rate = rate.update(paths[..., step])
                return np.where(has_demand[series, None, None], paths, 0.0)

            return simulate

        return prepare_series


@dataclass(frozen=True)
class Rate:
    """Gamma rates before a step, for series, candidates or paths; arrays of one shape (..., n).

    Attributes:
        discount, evidence, a, b: w, e, A and B of the module's docstring.
        share: Probability that a step has a count.
        shape: Shape of the Gamma variable of mean 1 that multiplies the rate at each step with a count; infinite for
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
        """Mean of the next count, given that the step has one."""
        return np.asarray(self.a / self.b / self.share)

    @property
    def size(self) -> Array:
        """Size of the negative binomial with the mean and variance of the next count, given that the step has one."""
        return np.asarray(1 / (1 / self.a + (1 + 1 / self.a) / self.shape))

    def update(self, y: Array) -> Rate:
        """Return the rates before the next step, after counts y."""
        a = np.maximum(self.discount * (self.a + self.evidence * y), MIN_A)
        return replace(self, a=a, b=self.discount * (self.b + self.evidence))

    def log_likelihood(self, y: Array) -> Array:
        """Return log p(y) + log y! of counts y (n,), (..., n); log y! does not depend on the parameters."""
        size, share = self.size, np.broadcast_to(self.share, self.a.shape)
        odds = self.mean / size  # of the negative binomial
        log_zero = -size * np.log1p(odds)
        mixed = share < 1  # where share is 1, expm1 would round to -1 for any `log_zero`
        total = np.log1p(np.where(mixed, share, 0.0) * np.expm1(log_zero))
        total = np.where(mixed, total, log_zero)
        index = np.flatnonzero(y > 0)
        size, odds, share, count = size[..., index], odds[..., index], share[..., index], y[index]
        terms = log_gamma(size + count) - log_gamma(size) - count * np.log1p(1 / odds)
        total[..., index] = log_zero[..., index] + terms + np.log(share)
        return total

    def filter(self, past: Histories) -> tuple[Rate, Array]:
        """Return the rates after histories, and the histories' log-likelihoods, (..., n)."""
        rate, total = self, np.zeros(self.a.shape)
        for row, y in enumerate(past.values):
            inside = row >= past.begins
            total += inside * rate.log_likelihood(y)
            updated = rate.update(y)
            a, b = np.where(inside, updated.a, rate.a), np.where(inside, updated.b, rate.b)
            rate = replace(rate, a=a, b=b)
        return rate, total

    @classmethod
    def start(cls, parameters: Array, level: Array) -> Rate:
        """Return the rates before the first step.

        Args:
            parameters: Discount, evidence, B, A / B over the level, share and steady, (..., 6, n).
            level: Mean of each series, (n,).
        """
        discount, evidence, b, mean, share, steady = np.moveaxis(parameters, -2, 0)
        a = np.maximum(mean * level * b, MIN_A)
        return cls(discount, evidence, a, b, share, shape_of(level, share, steady))


def shape_of(level: Array, share: Array, steady: Array) -> Array:
    """Return the shape of counts whose variance is their mean over `steady` at the series' level."""
    return np.maximum(level, MIN_A) / share * steady / np.maximum(1 - steady, MIN_NOISE)


@dataclass(frozen=True)
class Fitted:
    """The model, fitted to n series.

    Attributes:
        rate: Rates after the last step, with the best weights and starts, (n,).
        level: Means of the series, (n,).
        laws: Pairs of share and steady, (G, 2).
        cumulative: Cumulative probabilities of the pairs, (G, n).
    """

    rate: Rate
    level: Array
    pairs: Array
    cumulative: Array

    def draw_rates(self, series: Ints, n_paths: int, draws: Draws) -> Rate:
        """Return the rates of the selected series, with a pair (share, steady) drawn for each path, (s, S)."""
        uniform = draws.uniform((len(series), n_paths))
        index = np.zeros(uniform.shape, np.int64)
        for cumulative in self.cumulative[:-1, series, None]:
            index += uniform >= cumulative
        share, steady = np.moveaxis(self.pairs[index], -1, 0)
        shape = shape_of(self.level[series, None], share, steady)
        state = {n: np.repeat(getattr(self.rate, n)[series, None], n_paths, 1) for n in STATE}
        return Rate(**state, share=share, shape=shape)

    @classmethod
    def fit(
        cls,
        chunks: Iterable[Histories],
        discounts: Sequence[float],
        evidence: Sequence[float],
        shares: Sequence[float] = (1.0,),
    ) -> Fitted:
        """Fit weights, then starts, then the probabilities of the pairs (share, steady).

        Args:
            chunks: Histories of n series in chunks; iterated over several times.
            discounts: Candidates of the discount.
            evidence: Candidates of the evidence and of `steady`.
            shares: Candidates of the share.
        """
        sums = [(p.values.sum(0) / np.maximum(p.lengths, 1), (p.values > 0).sum()) for p in chunks]
        level = np.concatenate([np.zeros(0), *(mean for mean, _ in sums)])
        demands = max(1, int(sum(count for _, count in sums)))

        def filter_all(
            parameters: Array, rows: slice, candidates: Array
        ) -> Iterator[tuple[Rate, Array]]:
            """Filter all chunks with parameters (6, n) in which candidates (G, rows) replace some rows."""
            first = 0
            for past in chunks:
                part = slice(first, first + past.n_series)
                replaced = np.repeat(parameters[None, :, part], len(candidates), 0)
                replaced[:, rows] = candidates[..., None]
                yield Rate.start(replaced, level[part]).filter(past)
                first = part.stop

        def log_likelihoods(parameters: Array, rows: slice, candidates: Array, prior: str) -> Array:
            """Return the candidates' log-likelihoods, with the panel's added, (G, n)."""
            results = filter_all(parameters, rows, candidates)
            none = np.zeros((len(candidates), 0))
            per_series = np.concatenate(
                [none, *(log_likelihood for _, log_likelihood in results)], -1
            )
            return np.asarray(
                per_series + PRIOR_DEMANDS[prior] * per_series.sum(1, keepdims=True) / demands
            )

        parameters = np.ones((6, len(level)))
        weights = np.array([(w, e, 1.0, 1.0, 1.0, e) for w, e in product(discounts, evidence)])
        starts = np.array([*product(STRENGTHS, MEANS)])
        for rows, candidates, prior in (
            (slice(0, 6), weights, "weights"),
            (slice(2, 4), starts, "start"),
        ):
            best = log_likelihoods(parameters, rows, candidates, prior).argmax(0)
            parameters[rows] = candidates[best].T
        rows, pairs = slice(4, 6), np.array([*product(shares, evidence)])
        logs = log_likelihoods(parameters, rows, pairs, "law")
        probability = np.exp(logs - logs.max(0, initial=-np.inf))
        cumulative = (probability / probability.sum(0)).cumsum(0)
        ends = [rate for rate, _ in filter_all(parameters, rows, pairs[:1])]
        state = [
            np.concatenate([np.zeros(0), *(getattr(rate, name)[0] for rate in ends)])
            for name in STATE
        ]
        return cls(Rate(*state), level, pairs, cumulative)
