"""Base class of the methods that simulate paths and take quantiles and means from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.draft import Ask, Draft
from demandcast.local.base import CELLS, LocalConfig, LocalForecaster
from demandcast.local.parts.histories import Array, Histories, Ints, series_chunks
from demandcast.panel.panel import Panel
from demandcast.settings import COUNT, setting

Simulate = Callable[[Ints, int, Draws], Array]


@dataclass(frozen=True, kw_only=True)
class SimulatedConfig(LocalConfig):
    """Hyper-parameters of the methods that simulate paths."""

    paths: int = setting(500, COUNT)  # simulated for the quantiles


S = TypeVar("S", bound=SimulatedConfig)


class SimulatedForecaster(LocalForecaster[S]):
    """Base class: draws `paths` joint paths a series; a quantile is the smallest path value that reaches its level."""

    Config: type[S] = SimulatedConfig  # type: ignore[assignment]  # of methods that add none
    cells: ClassVar[int] = CELLS  # numbers held at once, of histories and of paths

    def _simulate(self, past: Histories, n_paths: int, draws: Draws) -> Array:
        """Draw paths of all series, (n, S, H)."""
        raise NotImplementedError

    def _prepare(self, panel: Panel) -> Callable[[Ints], Simulate]:
        """Fit the method to the whole panel; return a function that prepares series of the panel for simulation.

        That function takes the rows of series in the panel, and returns a `Simulate`: a function that draws paths
        (selected, S, H) of a selection of these series.
        """

        def prepare_series(index: Ints) -> Simulate:
            past = Histories.from_panel(panel.select(index))
            return lambda selected, n_paths, draws: self._simulate(
                past.select(selected), n_paths, draws
            )

        return prepare_series

    def _draft(self, panel: Panel, ask: Ask) -> Draft:
        draws = Draws.of(panel.keys, self.config.seed)
        draft = Draft.zeros(panel.n_series, self.horizon, ask)
        levels, n_paths = ask.levels, ask.n_samples or 0
        n_simulated = max(self.config.paths, n_paths)
        batch_size = max(1, self.cells // (n_simulated * self.horizon))
        prepare_series = self._prepare(panel)
        for index in series_chunks(panel, self.cells):
            simulate = prepare_series(index)
            for start in range(0, len(index), batch_size):
                batch = np.arange(start, min(start + batch_size, len(index)))
                paths = simulate(batch, n_simulated, draws.select(index[batch]))
                draft.mean[index[batch]] = paths.mean(1)
                if draft.samples is not None:
                    draft.samples[index[batch]] = paths[:, :n_paths]
                draft.quantiles[index[batch]] = path_quantiles(paths, levels)
        return draft


def path_quantiles(paths: Array, levels: Sequence[float]) -> Array:
    """Return the smallest value of paths (n, S, H) that reaches each level at each step, (n, H, Q)."""
    rank = np.ceil(np.array(levels) * paths.shape[1] * (1 - 1e-12)).astype(np.int64) - 1
    return np.asarray(np.sort(paths, axis=1)[:, np.maximum(rank, 0)].transpose(0, 2, 1))


def draw_from_urn(drawn: Ints, count: Ints, draws: Draws) -> Ints:
    """Draw one of `count` values or of the values drawn before, all equally likely; return its index, (n, S).

    Repeated draws are draws with random weights, Dirichlet(1, ..., 1): the Bayesian bootstrap (Rubin, Annals of
    Statistics 9, 1981). All steps of a path share the same uncertainty about the distribution.

    Args:
        drawn: Indices of the values drawn before, (n, S, D).
        count: Number of values, broadcasts with (n, S).
        draws: Random numbers of the n series.
    """
    n_drawn = drawn.shape[-1]
    index = draws.below(count + n_drawn, drawn.shape[:2])
    if not n_drawn:
        return index
    repeated = np.take_along_axis(drawn, np.maximum(index - count, 0)[..., None], 2)[..., 0]
    return np.where(index < count, index, repeated)


def sizes_and_intervals(past: Histories) -> tuple[Array, Ints, Ints]:
    """Return sizes and intervals of each series' demands, left-aligned, (n, D) both, and their number, (n,).

    A demand is a value above 0. The first interval starts at the first step.
    """
    values = past.values.T
    demand = values > 0
    count = demand.sum(1)
    width = max(1, int(count.max(initial=1)))
    order = np.argsort(~demand, axis=1, kind="stable")[:, :width]
    steps = order + 1 - past.begins[:, None]
    is_demand = np.arange(width) < count[:, None]
    intervals = np.where(is_demand, np.diff(steps, axis=1, prepend=0), 0)
    return np.where(is_demand, np.take_along_axis(values, order, 1), 0.0), intervals, count


def zero_periods_since_demand(past: Histories) -> Ints:
    """Return the zero periods since the last demand, or since the start without a demand, (n,)."""
    demand = past.values > 0
    return np.where(demand.any(0), demand[::-1].argmax(0), past.lengths)


def take_rows(values: NDArray[Any], index: Ints) -> NDArray[Any]:
    """Take entries of each row of values (n, D) at indices (n, ...)."""
    flat = np.take_along_axis(values, index.reshape(len(index), -1), 1)
    return np.asarray(flat.reshape(index.shape))
