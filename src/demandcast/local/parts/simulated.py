"""What methods share that forecast by simulation: paths first, quantiles and means from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.local.base import CELLS, LocalForecaster
from demandcast.local.parts.histories import Array, Histories, Ints, chunks
from demandcast.panel.panel import Panel
from demandcast.settings import whole

Simulate = Callable[[Ints, int, Draws], Array]


class SimulatedForecaster(LocalForecaster):
    """`paths` joint paths a series; a quantile is the least value that reaches its level among them."""

    settings: ClassVar[dict[str, Any]] = {"paths": 500}
    paths: int

    def _check(self) -> None:
        whole("paths", self.paths, least=1)

    cells: ClassVar[int] = CELLS  # numbers held at once, of histories and of paths

    def _simulate(self, past: Histories, n_paths: int, draws: Draws) -> Array:
        """Paths of every series, (n, S, H)."""
        raise NotImplementedError

    def _reader(self, panel: Panel) -> Callable[[Ints], Simulate]:
        """From series of the panel, forecast at once, to what draws (some of these, paths, H).

        What is learned from the whole panel is learned here, before any series is simulated.
        """

        def reader(index: Ints) -> Simulate:
            past = Histories.of(panel.select(index))
            return lambda some, n_paths, draws: self._simulate(past.select(some), n_paths, draws)

        return reader

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        count = max(self.paths, n_paths)
        room = max(1, self.cells // (count * self.horizon))
        reader = self._reader(panel)
        for index in chunks(panel, self.cells):
            simulate = reader(index)
            for start in range(0, len(index), room):
                some = np.arange(start, min(start + room, len(index)))
                paths = simulate(some, count, draws.select(index[some]))
                draft.mean[index[some]] = paths.mean(1)
                if draft.samples is not None:
                    draft.samples[index[some]] = paths[:, :n_paths]
                draft.quantiles[index[some]] = reaching(paths, levels)
        return draft


def reaching(paths: Array, levels: Sequence[float]) -> Array:
    """The least value of paths (n, S, H) that reaches each level among them, (n, H, Q)."""
    rank = np.ceil(np.array(levels) * paths.shape[1] * (1 - 1e-12)).astype(np.int64) - 1
    return np.asarray(np.sort(paths, axis=1)[:, np.maximum(rank, 0)].transpose(0, 2, 1))


def from_urn(drawn: Ints, count: Ints, draws: Draws) -> Ints:
    """Draw again from `count` values and what was drawn from them before, each as likely, (n, S).

    Draws so made, one after another, are those from weights that are themselves random, Dirichlet(1, ...,
    1): the Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981). What a path does not know of the
    distribution is common to all of its steps.

    Args:
        drawn: Places of the values drawn before, (n, S, D).
        count: How many values there are, broadcasts with (n, S).
        draws: Of the series.
    """
    before = drawn.shape[-1]
    place = draws.below(count + before, drawn.shape[:2])
    if not before:
        return place
    again = np.take_along_axis(drawn, np.maximum(place - count, 0)[..., None], 2)[..., 0]
    return np.where(place < count, place, again)


def demands(past: Histories) -> tuple[Array, Ints, Ints]:
    """Sizes and intervals of every series' demands, packed to the left, (n, D), and how many, (n,).

    A demand is a value above 0. The first interval counts from the first step.
    """
    values = past.values.T
    demand = values > 0
    count = demand.sum(1)
    width = max(1, int(count.max(initial=1)))
    order = np.argsort(~demand, axis=1, kind="stable")[:, :width]
    steps = order + 1 - past.begins[:, None]
    kept = np.arange(width) < count[:, None]
    intervals = np.where(kept, np.diff(steps, axis=1, prepend=0), 0)
    return np.where(kept, np.take_along_axis(values, order, 1), 0.0), intervals, count


def waited(past: Histories) -> Ints:
    """Zero periods since the last demand, or since the start where there was none, (n,)."""
    demand = past.values > 0
    return np.where(demand.any(0), demand[::-1].argmax(0), past.lengths)


def drawn(values: NDArray[Any], index: Ints) -> NDArray[Any]:
    """Entries of each row, values (n, D) at (n, ...)."""
    flat = np.take_along_axis(values, index.reshape(len(index), -1), 1)
    return np.asarray(flat.reshape(index.shape))
