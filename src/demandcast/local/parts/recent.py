"""Features of a series' recent past that predict its next count, updated count by count.

They are averages whose weights fall by one of `DECAYS` a step. Each is shrunk towards the panel's average as if the
series had `PRIOR_STEPS` more steps with that average, so a new series starts there. In a forecast, averages of counts are
limited to `MAX_START` times the series' own largest count; not when weights are fitted, since it comes later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from demandcast.local.parts.histories import Array, Ints

DECAYS = (0.5, 0.8, 0.92, 0.98)  # weight of a step after one more step
DEMAND_DECAY = 0.9  # weight of a demand after one more demand
PRIOR_STEPS = 1.0
MAX_START = 4.0  # times a series' largest count


@dataclass(frozen=True)
class PanelAverages:
    """Averages over a whole panel of counts.

    Attributes:
        share: Share of the steps with demand.
        many: Share of the demands that are above 1.
        mean: Mean count.
        excess: Mean of y - 2 over the demands above 1.
    """

    share: float
    many: float
    mean: float
    excess: float

    @classmethod
    def of(cls, y: Array) -> PanelAverages:
        """Return the averages of counts of any shape, NaN where not observed."""
        steps, demands, above_one = (
            int((~np.isnan(y)).sum()),
            int((y >= 1).sum()),
            int((y >= 2).sum()),
        )
        return cls(
            share=(demands + 0.5) / (steps + 1),
            many=(above_one + 0.5) / (demands + 1),
            mean=(float(np.nansum(y)) + 0.5) / (steps + 1),
            excess=(float(np.where(y >= 2, y - 2, 0).sum()) + 0.5) / (above_one + 1),
        )


@dataclass(frozen=True)
class RecentDemand:
    """Weighted sums over the counts before a step, for series or paths of any shape.

    Attributes:
        averages: The panel's averages.
        steps: Sums of weights, of steps with demand and of counts, for each decay, (3, decays, ...).
        demands: Sums of weights of the demands, and of those above 1, (2, ...).
        twos: Sums of weights of the demands above 1, and of their counts minus 2, (2, ...).
        age: Steps since the last demand, or since the start, (...).
        mean, excess: The panel's averages that the series is shrunk towards, (...) both.
    """

    averages: PanelAverages
    steps: Array
    demands: Array
    twos: Array
    age: Array
    mean: Array
    excess: Array

    @classmethod
    def start(cls, averages: PanelAverages, largest: Array) -> RecentDemand:
        """Return the sums before the first count of series whose largest counts limit the averages, (...)."""
        shape = largest.shape
        return cls(
            averages,
            np.zeros((3, len(DECAYS), *shape)),
            np.zeros((2, *shape)),
            np.zeros((2, *shape)),
            np.zeros(shape),
            limit_average(averages.mean, largest),
            limit_average(averages.excess, largest),
        )

    def scale(self) -> Array:
        """Return the mean of y - 2 over the demands above 1, (...)."""
        excess = self.twos[1] + PRIOR_STEPS * self.excess
        return np.asarray(excess / (self.twos[0] + PRIOR_STEPS))

    def level(self) -> Array:
        """Return the mean count with the slowest decay, (...)."""
        weight, _, total = self.steps[:, -1]
        prior = PRIOR_STEPS * self.mean
        return np.asarray((total + prior) / (weight + PRIOR_STEPS))

    def features(self) -> list[Array]:
        """Return log odds of a demand and log mean for each decay, log age, log odds of a count above 1, log scale."""
        weight, share, total = self.steps
        share = (share + PRIOR_STEPS * self.averages.share) / (weight + PRIOR_STEPS)
        prior = PRIOR_STEPS * self.mean
        total = (total + prior) / (weight + PRIOR_STEPS)
        share_above_one = self.demands[1] + PRIOR_STEPS * self.averages.many
        share_above_one = share_above_one / (self.demands[0] + PRIOR_STEPS)
        return [
            *np.log(share / (1 - share)),
            *np.log(total),
            np.log1p(self.age),
            np.log(share_above_one / (1 - share_above_one)),
            np.log(self.scale()),
        ]

    def update(self, y: Array) -> RecentDemand:
        """Return the sums after counts y, (...); NaN changes nothing."""
        known, demand, two = ~np.isnan(y), y >= 1, y >= 2
        decay = np.array(DECAYS).reshape(-1, *[1] * y.ndim)
        new = np.stack([known, demand, np.where(known, y, 0.0)])[:, None]  # (3, 1, ...)
        excess = np.where(two, y - 2, 0.0)
        return replace(
            self,
            steps=np.where(known, decay, 1.0) * self.steps + new,
            demands=np.where(demand, DEMAND_DECAY, 1.0) * self.demands + np.stack([demand, two]),
            twos=np.where(two, DEMAND_DECAY, 1.0) * self.twos + np.stack([two, excess]),
            age=np.where(demand, 0.0, self.age + known),
        )

    def repeat(self, index: Ints, n_paths: int) -> RecentDemand:
        """Select series and repeat each `n_paths` times: (..., n) becomes (..., selected, paths)."""

        def repeated(sums: Array) -> Array:
            return np.repeat(sums[..., index, None], n_paths, -1)

        return replace(
            self,
            steps=repeated(self.steps),
            demands=repeated(self.demands),
            twos=repeated(self.twos),
            age=repeated(self.age),
            mean=repeated(self.mean),
            excess=repeated(self.excess),
        )


def limit_average(average: float, largest: Array) -> Array:
    """Limit an average count of the panel by the largest counts of single series; 0 is a series without demand."""
    return np.where(largest > 0, np.minimum(average, MAX_START * largest), average)
