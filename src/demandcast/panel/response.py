"""Measure the effect of covariates known ahead on the past demand of each series.

Demand is around exp(level + season + weights x covariates), its variance mean + spread mean^2. The level moves slowly (a
line between knots), the season has one value for each phase. Each series has weights of its own, drawn from a normal
distribution over series whose mean and covariance are estimated too (empirical Bayes by expectation-maximisation; Rossi,
Allenby and McCulloch, "Bayesian Statistics and Marketing", 2005, chapter 5). So a series with little evidence takes the
weights of the others, and every weight has an error.

A covariate that is above 0 everywhere and no flag enters as its logarithm: its weight is an elasticity. Others enter as
they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import DataError

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
CELLS = 1 << 22  # input values of the series that are fitted together
NEWTON = 8  # steps for the controls and the weights of a series
ROUNDS = 60  # of expectation-maximisation
KNOTS = 12  # of the level, at most
SEASONS_A_KNOT = 8  # at least
LONGEST_SEASON = 31  # phases; a longer season is followed by the level
LOOSE = 1.0  # standard deviation of a control's prior: level between knots, phase of the season
TYPICAL = 0.4  # change of log demand for one deviation of a covariate: the prior of a weight
PRIOR_SERIES = 3.0  # weight of this prior, in series
LIMIT = 30.0  # of the logarithm of a mean
FLAG_VALUES = 2  # a column with so few values is a flag


@dataclass(frozen=True)
class Response:
    """Weights of the covariates, as a normal distribution for each series.

    Attributes:
        names: Columns of `panel.known`, K of them.
        logs: Which of them enter as logarithms, (K,).
        mean: Means of the weights, (N, K).
        own: Covariances of the errors that are a series' own, (N, K, K).
        lean: Derivative of a series' weights with respect to the mean over series, (N, K, K).
        shared: Covariance of that error, (K, K).
        varied: Mask of covariates that changed within the history of a series, (N, K).
    """

    names: tuple[str, ...]
    logs: NDArray[np.bool_]
    mean: Doubles
    own: Doubles
    lean: Doubles
    shared: Doubles
    varied: NDArray[np.bool_]

    @classmethod
    def of(cls, panel: Panel) -> Response:
        """Estimate the weights from the history of every series.

        Raises:
            DataError: The panel has no known covariates, or a series has negative values: effects are ratios.
        """
        if not panel.known_names:
            raise DataError(
                "the panel has no covariates known ahead; name them: read_panel(..., known=[...])"
            )
        below = np.flatnonzero(panel.floors() < 0)
        if len(below):
            raise DataError(
                f"series {panel.key(int(below[0]))} has negative values, and effects are measured as ratios of "
                "demand; read the table with negative='zero' or 'missing', or leave effect='model'"
            )
        panel = panel.mask_unavailable()
        logs = _enter_as_logs(panel)
        k = len(logs)
        precision, pull = np.zeros((panel.n_series, k, k)), np.zeros((panel.n_series, k))
        varied, deviations = np.zeros((panel.n_series, k), bool), np.zeros((panel.n_series, k))
        for rows in _chunks(panel, k):
            part = _Part.of(panel.select(rows), logs)
            precision[rows], pull[rows] = part.evidence()
            deviations[rows] = part.deviations
            varied[rows] = part.deviations > 0
        typical = np.array(
            [d[d > 0].mean() if (d > 0).any() else 1.0 for d in deviations.T]
        )  # of a covariate within a series
        pooled = _pool(precision, pull, TYPICAL / typical)
        return cls(panel.known_names, logs, *pooled, varied)

    @property
    def covariance(self) -> Doubles:
        """Covariances of the weights, (N, K, K)."""
        return self.own + self.lean @ self.shared @ np.swapaxes(self.lean, 1, 2)

    def select(self, rows: Ints) -> Response:
        """Return the weights of some series."""
        mean, own, lean = (values[rows] for values in (self.mean, self.own, self.lean))
        return Response(self.names, self.logs, mean, own, lean, self.shared, self.varied[rows])

    def draw(self, draws: Draws, common: Doubles) -> Doubles:
        """Draw weights, (N, S, K).

        Args:
            draws: Random numbers of the series.
            common: Standard normal numbers, (S, K), which draw s of every series shares: errors of the mean over series.
        """
        alone = draws.at("response").normal((len(self.mean), *common.shape))
        shared = common @ np.linalg.cholesky(self.shared).T
        errors = alone @ np.swapaxes(np.linalg.cholesky(self.own), 1, 2)
        weights = self.mean[:, None] + errors
        return np.asarray(weights + shared @ np.swapaxes(self.lean, 1, 2))

    def transform(self, known: NDArray[np.float32]) -> Doubles:
        """Transform covariates (..., K): logarithms of those in `logs`."""
        values = known.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.logs, np.log(values), values)

    def direction(self, before: NDArray[np.float32], after: NDArray[np.float32]) -> Doubles:
        """Return the differences of covariates that the weights multiply in the change of log demand, (N, H, K)."""
        change = self.transform(after) - self.transform(before)
        return np.where(before == after, 0.0, change)


@dataclass(frozen=True)
class _Part:
    """Right-aligned histories of some series, and the inputs of their means."""

    values: Doubles  # (n, T), 0 where not observed
    seen: Doubles  # (n, T), 1 where observed
    inputs: Doubles  # (n, T, P + K): controls, then covariates
    prior: Doubles  # (P + K,), precision
    deviations: Doubles  # (n, K), of each covariate within a series
    period: int

    @classmethod
    def of(cls, panel: Panel, logs: NDArray[np.bool_]) -> _Part:
        steps = int(panel.lengths.max())
        place = panel.lengths[:, None] - steps + np.arange(steps)
        inside = place >= 0
        rows = np.where(inside, panel.begins[:, None] + place, 0)
        target, known = panel.target[rows].astype(np.float64), panel.known[rows].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            known = np.where(logs, np.log(known), known)
        finite = np.isfinite(known)
        observed = inside & ~np.isnan(target) & finite.all(2)
        weight = observed[..., None].astype(np.float64)
        count = np.maximum(weight.sum(1), 1.0)
        known = np.where(finite, known, 0.0)
        centre = (known * weight).sum(1) / count
        known = (known - centre[:, None]) * weight
        deviations = np.sqrt((known**2).sum(1) / count)
        known[np.broadcast_to((deviations < 1e-6)[:, None], known.shape)] = 0.0
        period = max(1, panel.freq.period)
        controls = [np.ones((len(target), steps))]
        if 1 < period <= LONGEST_SEASON:
            phase = (panel.starts[:, None] + place) % period
            controls += [(phase == p).astype(np.float64) for p in range(period)]
        knots = min(KNOTS, steps // max(SEASONS_A_KNOT * period, 8))
        if knots > 1:
            at = np.linspace(0, knots, steps)
            controls += [
                np.broadcast_to(np.maximum(1 - np.abs(at - j), 0), target.shape)
                for j in range(knots + 1)
            ]
        inputs = np.concatenate([np.stack(controls, -1), known], -1) * weight
        prior = np.full(inputs.shape[2], LOOSE**-2)
        prior[0] = 1e-4
        prior[len(controls) :] = 1e-6
        values = np.where(observed, np.nan_to_num(target), 0.0)
        return cls(values, observed.astype(np.float64), inputs, prior, np.where(deviations < 1e-6, 0.0, deviations), period)  # fmt: skip

    def evidence(self) -> tuple[Doubles, Doubles]:
        """Return the information on the weights (n, K, K), and its product with their estimate (n, K), controls profiled out."""
        n, k = len(self.values), self.deviations.shape[1]
        total, count = self.values.sum(1), np.maximum(self.seen.sum(1), 1.0)
        weights = np.zeros((n, self.inputs.shape[2]))
        weights[:, 0] = np.log(np.maximum(total, 0.5) / count)
        spread = np.full(n, 0.5)
        ridge = np.zeros(len(self.prior))
        ridge[-k:] = 1.0  # bounds the step where nothing is known; not in the evidence
        for step in range(NEWTON):
            mean = self._mean(weights)
            if step > 1:
                spread = self._spread(mean)
            information, score = self._derivatives(mean, spread, weights)
            full = information + np.diag(self.prior + ridge)
            change = np.linalg.solve(full, (score - ridge * weights)[..., None])[..., 0]
            weights = weights + np.clip(change, -2.0, 2.0)
        mean = self._mean(weights)
        information, score = self._derivatives(mean, self._spread(mean), weights)
        controls = np.linalg.inv(information[:, :-k, :-k] + np.diag(self.prior[:-k]))
        cross = information[:, -k:, :-k] @ controls
        own_information = information[:, -k:, -k:] - cross @ information[:, :-k, -k:]
        own_score = score[:, -k:] - np.einsum("nkp,np->nk", cross, score[:, :-k])
        factor = self._clustering(mean)
        own_information = own_information / factor
        own_score = own_score / factor
        return own_information, np.einsum(
            "nkj,nj->nk", own_information, weights[:, -k:]
        ) + own_score

    def _mean(self, weights: Doubles) -> Doubles:
        logs = np.einsum("ntp,np->nt", self.inputs, weights)
        return np.asarray(np.exp(np.clip(logs, -LIMIT, LIMIT)) * self.seen)

    def _spread(self, mean: Doubles) -> Doubles:
        """Return (variance - mean) / mean^2 of each series, shrunk toward the part's, (n,)."""
        excess, square = ((self.values - mean) ** 2 - mean).sum(1), (mean**2).sum(1)
        freedom = np.maximum(
            self.seen.sum(1) / np.maximum(self.seen.sum(1) - self.inputs.shape[2] / 2, 1), 1
        )
        usual = max(excess.sum() / max(square.sum(), 1e-12), 0.0)
        variance = np.maximum(excess * freedom / np.maximum(square, 1e-12), 0.0)
        count = self.seen.sum(1)
        return np.asarray((count * variance + 30 * usual) / (count + 30))

    def _derivatives(
        self, mean: Doubles, spread: Doubles, weights: Doubles
    ) -> tuple[Doubles, Doubles]:
        """Return the information (n, P + K, P + K) and the score (n, P + K), controls with their prior."""
        variance = 1 + spread[:, None] * mean
        scaled = self.inputs * (mean / variance)[..., None]
        information = np.swapaxes(scaled, 1, 2) @ self.inputs
        residual = (self.values - mean) / variance * self.seen
        score = np.einsum("ntp,nt->np", self.inputs, residual) - self.prior * weights
        return information, score

    def _clustering(self, mean: Doubles) -> float:
        """Return how much larger the variance of sums over a season's steps is than that of independent steps."""
        width = max(self.period if self.period <= LONGEST_SEASON else 1, 4)
        steps = self.values.shape[1] // width * width
        if not steps:
            return 1.0
        residual = (self.values - mean)[:, -steps:].reshape(len(mean), -1, width)
        size = np.maximum((residual**2).sum((1, 2)), 1e-12)
        return float(max(1.0, np.mean((residual.sum(2) ** 2).sum(1) / size)))


def _pool(
    precision: Doubles, pull: Doubles, typical: Doubles
) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Return `mean`, `own`, `lean` and `shared` of a `Response` from the evidence of each series."""
    n, k = pull.shape
    centre, spread = np.zeros(k), np.diag(typical**2)
    vague = np.diag((4 * typical) ** -2.0)
    for _ in range(ROUNDS):
        inverse = np.linalg.inv(spread)
        covariance = np.linalg.inv(precision + inverse)
        mean = np.einsum("nkj,nj->nk", covariance, pull + inverse @ centre)
        centre = np.linalg.solve(n * inverse + vague, inverse @ mean.sum(0))
        apart = mean - centre
        spread = (
            np.einsum("nk,nj->kj", apart, apart)
            + covariance.sum(0)
            + PRIOR_SERIES * np.diag((typical / 4) ** 2)
        ) / (n + PRIOR_SERIES)
    # the centre is an estimate: its error enters the weights of a series through `lean`
    inverse = np.linalg.inv(spread)
    covariance = np.linalg.inv(precision + inverse)
    mean = np.einsum("nkj,nj->nk", covariance, pull + inverse @ centre)
    of_centre = np.linalg.inv((inverse - inverse @ covariance @ inverse).sum(0) + vague)
    return mean, covariance, covariance @ inverse, of_centre


def _enter_as_logs(panel: Panel) -> NDArray[np.bool_]:
    """Return the mask of known columns that are above 0 everywhere and not flags, (K,)."""
    rows = panel.history_rows()
    known = panel.known[rows]
    are_logs = []
    for column in known.T:
        values = column[~np.isnan(column)]
        are_logs.append(
            len(values) > 0 and values.min() > 0 and len(np.unique(values)) > FLAG_VALUES
        )
    return np.array(are_logs, bool)


def _chunks(panel: Panel, k: int) -> Iterator[Ints]:
    """Yield rows of series of similar length, few enough to fit at once."""
    order = np.argsort(panel.lengths, kind="stable")
    order = order[panel.lengths[order] > 0]
    width = LONGEST_SEASON + KNOTS + k + 2
    first = 0
    while first < len(order):
        last = first + 1
        while (
            last < len(order) and (last + 1 - first) * panel.lengths[order[last]] * width <= CELLS
        ):
            last += 1
        yield order[first:last]
        first = last
