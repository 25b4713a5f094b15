"""What a series' recent past says of its next count, in figures that go on as counts come in.

Averages with weights that fall by `PACES` a step, each drawn to what is typical of the panel by as much as
`SEEN` steps of it, so that a new series begins there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from demandcast.local.parts.histories import Array, Ints

PACES = (0.5, 0.8, 0.92, 0.98)  # what a step weighs one step later
DEMANDS = 0.9  # what a demand weighs one demand later
SEEN = 1.0


@dataclass(frozen=True)
class Typical:
    """Of a whole panel: shares of steps with demand, of demands above 1, mean count, mean of y - 2."""

    share: float
    many: float
    mean: float
    excess: float

    @classmethod
    def of(cls, y: Array) -> Typical:
        """Of counts of any shape, NaN where not observed."""
        seen, demands, two = int((~np.isnan(y)).sum()), int((y >= 1).sum()), int((y >= 2).sum())
        return cls(
            share=(demands + 0.5) / (seen + 1),
            many=(two + 0.5) / (demands + 1),
            mean=(float(np.nansum(y)) + 0.5) / (seen + 1),
            excess=(float(np.where(y >= 2, y - 2, 0).sum()) + 0.5) / (two + 1),
        )


@dataclass(frozen=True)
class Recent:
    """Sums before a step, for series or paths of any shape.

    Attributes:
        steps: Weights, steps with demand and counts at each pace, (3, paces, ...).
        demands: Weights of demands, and those above 1, (2, ...).
        twos: Weights of demands above 1, and their counts less 2, (2, ...).
        age: Steps since the last demand, or since the start, (...).
    """

    typical: Typical
    steps: Array
    demands: Array
    twos: Array
    age: Array

    @classmethod
    def begun(cls, typical: Typical, shape: tuple[int, ...]) -> Recent:
        """Before anything was seen."""
        return cls(
            typical,
            np.zeros((3, len(PACES), *shape)),
            np.zeros((2, *shape)),
            np.zeros((2, *shape)),
            np.zeros(shape),
        )

    def scale(self) -> Array:
        """The mean of y - 2 where it is 0 or more, (...)."""
        return np.asarray((self.twos[1] + SEEN * self.typical.excess) / (self.twos[0] + SEEN))

    def level(self) -> Array:
        """The mean count at the slowest pace, (...)."""
        weight, _, total = self.steps[:, -1]
        return np.asarray((total + SEEN * self.typical.mean) / (weight + SEEN))

    def figures(self) -> list[Array]:
        """Log odds of a demand and log means at each pace, log age, log odds of many, log scale."""
        weight, share, total = self.steps
        share = (share + SEEN * self.typical.share) / (weight + SEEN)  # (paces, ...)
        total = (total + SEEN * self.typical.mean) / (weight + SEEN)
        many = (self.demands[1] + SEEN * self.typical.many) / (self.demands[0] + SEEN)
        return [
            *np.log(share / (1 - share)),
            *np.log(total),
            np.log1p(self.age),
            np.log(many / (1 - many)),
            np.log(self.scale()),
        ]

    def behind(self, y: Array) -> Recent:
        """After counts y, (...); where they are NaN nothing moves."""
        known, demand, two = ~np.isnan(y), y >= 1, y >= 2
        pace = np.array(PACES).reshape(-1, *[1] * y.ndim)
        came = np.stack([known, demand, np.where(known, y, 0.0)])[:, None]  # (3, 1, ...)
        above = np.where(two, y - 2, 0.0)
        return replace(
            self,
            steps=np.where(known, pace, 1.0) * self.steps + came,
            demands=np.where(demand, DEMANDS, 1.0) * self.demands + np.stack([demand, two]),
            twos=np.where(two, DEMANDS, 1.0) * self.twos + np.stack([two, above]),
            age=np.where(demand, 0.0, self.age + known),
        )

    def repeated(self, index: Ints, n_paths: int) -> Recent:
        """Some of the series, each so many times: (..., n) to (..., some, paths)."""

        def spread(part: Array) -> Array:
            return np.repeat(part[..., index, None], n_paths, -1)

        return replace(
            self,
            steps=spread(self.steps),
            demands=spread(self.demands),
            twos=spread(self.twos),
            age=spread(self.age),
        )
