"""Windows of all series at once, for networks that read a panel as one block of steps and series.

A window stands at a stamp of the calendar that all series share, and holds every series around it. A
series that has not begun, has ended or was not observed there is masked. Series are known by their
keys: their place in the block is the one they had at fit, in whatever order a panel brings them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from demandcast.errors import DataError
from demandcast.panel.panel import Panel
from demandcast.windows.features import SERIES, Features
from demandcast.windows.window import Sizes, Window
from demandcast.windows.window_source import (
    FEWEST_VALUES,
    SourceOptions,
    WindowSource,
    scale_of,
    season_of,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack


@dataclass(frozen=True)
class MultivariateWindow(Window):
    """A batch of windows of all series: every target, mask, scale and level has a last axis for them.

    `past_target` is (batch, context, series), `future_target` (batch, horizon, series), `scale` and
    `level` (batch, 1, series); `features` are those of the calendar. There are no lags, past
    covariates or static inputs. Forecasts are asked of single series, so a window says which:
    """

    place: Tensor  # (asked,): of the series asked for, among all of them
    row: Tensor  # (asked, horizon): the window that forecasts each step of it
    step: Tensor  # (horizon,): the step of that window

    @property
    def answerable(self) -> Tensor:
        return self.has_scale[self.row[:, -1], 0, self.place]

    @classmethod
    def join(cls, windows: Sequence[Self]) -> Self:
        begins = [0, *itertools.accumulate(map(len, windows))]
        row = torch.cat([w.row + begin for w, begin in zip(windows, begins, strict=False)])
        per_window = {"step": windows[0].step, "row": row}
        return windows[0]._each(
            lambda name, _: (
                per_window[name]
                if name in per_window
                else torch.cat([getattr(window, name) for window in windows])
            )
        )

    def part(self, rows: slice) -> Self:
        """Return some of the windows, where each stands for one series, as in training."""
        begin = rows.start or 0
        per_window = {"step": self.step, "row": self.row[rows] - begin}
        return self._each(
            lambda name, value: per_window[name] if name in per_window else value[rows]
        )


class MultivariateSource(WindowSource):
    """The values of a panel as one grid of time stamps and series; cuts windows from it.

    Args:
        panel, features: As of `WindowSource`; the features hold the keys of the series.
        single_step: Each window forecasts its last step only, so that the earlier steps of a horizon
            are forecast by windows that end as many steps earlier.
        options: As of `WindowSource`; the grid itself is always in memory.

    Raises:
        DataError: A series was not there at fit.
    """

    def __init__(
        self,
        panel: Panel,
        features: Features,
        *,
        single_step: bool = False,
        **options: Unpack[SourceOptions],
    ) -> None:
        super().__init__(panel, features, **options)
        keys = list(features.vocabularies).index(SERIES)
        place = features.codes(panel)[:, keys] - 1  # (N,)
        if (place < 0).any():
            new = np.flatnonzero(place < 0)
            raise DataError(
                f"series {panel.key(int(new[0]))} ({len(new):,} in all) was not there at fit, and a "
                "multivariate network has weights for each series; fit it on this panel, or take one "
                "that serves new series too, such as nhits or tsmixer"
            )
        self.n_series = len(features.vocabularies[SERIES])
        self.single_step = single_step
        first = int(panel.starts.min())
        self.places = self._put(place)
        self.starts = self._put(panel.starts - first)
        series = np.repeat(np.arange(panel.n_series), panel.lengths)
        step = np.arange(panel.n_steps) - (np.cumsum(panel.lengths) - panel.lengths)[series]
        cells = step + panel.starts[series] - first, place[series]
        rows = step + panel.begins[series]
        grid = np.full((int(panel.ends().max()) + 1 - first, self.n_series), np.nan, np.float32)
        grid[cells] = panel.target[rows]
        self.grid = self._put(grid)  # (stamps, series); NaN where there is no history
        self.has_blanks = not bool(self._scale_mask(self.grid).all())
        if panel.available is not None:
            missed = np.zeros(grid.shape, np.bool_)
            missed[cells] = ~panel.available[rows]
            self.missed = self._put(missed)  # (stamps, series): could not be bought

    @property
    def sizes(self) -> Sizes:
        width = self.calendar.shape[1]
        return Sizes(0, width, 0, categories=(), reals=0, series=self.n_series)

    @cached_property
    def latest_known(self) -> Tensor:
        """Last stamp up to each where a series was observed, (stamps, series), int32; -1 for none."""
        return _last_rows(~self.grid.isnan())

    @cached_property
    def latest_telling(self) -> Tensor:
        """The same of values that tell the scale."""
        return _last_rows(self._scale_mask(self.grid))

    def gather(
        self, series: Tensor, cutoffs: Tensor, limits: Tensor, *, extra: int = 0
    ) -> MultivariateWindow:
        """Gather windows of all series, one for each cutoff of the series named; see `WindowSource`.

        Args:
            series: Row in the panel of the series that each window is asked for, (batch,).
            cutoffs: In steps from that series' begin, (batch,).
            limits: First step of that series that may not be read, (batch,); the same stamp holds for
                all other series.
            extra: As of `WindowSource`.
        """
        row = torch.arange(len(series), device=self.device)[:, None].expand(-1, self.horizon)
        starts = self.starts[series]
        return self._gather(starts + cutoffs, starts + limits, self.places[series], row, extra)

    def latest(self, series: Tensor) -> MultivariateWindow:
        """Return windows whose horizon begins after the last step of these series, one for all that end
        alike.
        """
        ends, row = torch.unique(self.starts[series] + self.lengths[series], return_inverse=True)
        row = row[:, None].expand(-1, self.horizon)  # (asked, horizon)
        if self.single_step:
            back = torch.arange(self.horizon - 1, -1, -1, device=self.device)
            ends = (ends[:, None] - back).flatten()  # (ends * horizon,)
            row = row * self.horizon + torch.arange(self.horizon, device=self.device)
        return self._gather(ends, ends, self.places[series], row, 0).to(self.to)

    def _gather(
        self, stamps: Tensor, limits: Tensor, place: Tensor, row: Tensor, extra: int
    ) -> MultivariateWindow:
        context = self.context
        span = torch.arange(-context, self.horizon, device=self.device)
        steps = stamps[:, None] + span  # (batch, context + horizon)
        inside = (steps >= 0) & (steps < limits[:, None]) & (steps < len(self.grid))
        rows = steps.clamp(0, len(self.grid) - 1)
        values = self.grid[rows]  # (batch, context + horizon, series)
        observed = inside[..., None] & ~values.isnan()
        values = torch.where(observed, values, 0.0)
        censored = (
            torch.zeros_like(observed) if self.available is None else observed & self.missed[rows]
        )
        ends, counts = stamps - extra, slice(0, context - extra)
        if self.has_blanks:
            self._fill_grid(ends, values[:, counts], observed[:, counts], censored[:, counts])
        scale, level = scale_of(
            values[:, counts].transpose(1, 2), observed[:, counts].transpose(1, 2), self.scaling
        )  # (batch, series, 1)
        scale, level = scale.transpose(1, 2), level.transpose(1, 2)
        if self.has_blanks and not bool(scale.all()):
            self._look_back_on_grid(ends, context - extra, scale)
        has_scale = scale > 0
        scale = torch.where(has_scale, scale, 1.0)
        past, past_seen = values[:, :context], observed[:, :context]
        stamp = (steps + context).clamp(0, len(self.calendar) - 1)  # the calendar begins so early
        none = past.new_zeros(len(stamps), 0)
        return MultivariateWindow(
            past_target=torch.where(past_seen, past, level),
            past_observed=past_seen,
            future_target=values[:, context:],
            future_observed=observed[:, context:],
            past_censored=censored[:, :context],
            future_censored=censored[:, context:],
            lags=past.new_zeros(len(stamps), context + self.horizon, 0),
            features=self.calendar[stamp],
            past_features=past.new_zeros(len(stamps), context, 0),
            static_codes=none.to(torch.int64),
            static_reals=none,
            scale=scale,
            has_scale=has_scale,
            level=level if self.scaling == "standard" else torch.zeros_like(level),
            stamp=stamps + self.reach,
            place=place,
            row=row,
            step=torch.arange(self.horizon, device=self.device)
            if not self.single_step
            else torch.zeros(self.horizon, dtype=torch.int64, device=self.device),
        )

    # As `WindowSource` does it for single series; cells are pairs of a window and a series

    def _fill_grid(self, ends: Tensor, values: Tensor, observed: Tensor, censored: Tensor) -> None:
        """Fill contexts (batch, context, series) that hold hardly a value with earlier ones, in place."""
        few = observed.sum(1) < FEWEST_VALUES  # (batch, series)
        if not bool(few.any()):
            return
        context = values.shape[1]
        stamps, window, series = self._earlier_on_grid(ends, context, few, self.latest_known)
        rows = stamps.clamp(min=0), series[:, None]
        earlier = self.grid[rows]  # (cells, context)
        filled = (stamps >= 0) & ~earlier.isnan() & ~observed[window, :, series]
        values[window, :, series] = torch.where(filled, earlier, values[window, :, series])
        if self.available is not None:
            current = censored[window, :, series]
            censored[window, :, series] = torch.where(filled, self.missed[rows], current)
        observed[window, :, series] |= filled

    def _look_back_on_grid(self, ends: Tensor, context: int, scale: Tensor) -> None:
        """Take scales (batch, 1, series) that are 0 from earlier steps that tell them, in place."""
        lacking = scale[:, 0] == 0
        stamps, window, series = self._earlier_on_grid(ends, context, lacking, self.latest_telling)
        earlier = self.grid[stamps.clamp(min=0), series[:, None]]  # (cells, context)
        known = (stamps >= 0) & ~earlier.isnan()
        earlier_scale, _ = scale_of(torch.where(known, earlier, 0.0), known, self.scaling)
        scale[window, 0, series] = earlier_scale[:, 0]

    def _earlier_on_grid(
        self, ends: Tensor, context: int, cells: Tensor, latest: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return stamps of an earlier context of cells, (cells, context), and their windows and series.

        Args:
            ends: End of each window's context, (batch,).
            context: Steps in it.
            cells: Which to look for, (batch, series), bool.
            latest: Last wanted stamp up to each, (stamps, series).
        """
        before = (ends - context - 1)[:, None]  # last stamp that is looked at
        last = torch.where(before >= 0, latest[before[:, 0].clamp(min=0)], -1)  # (batch, series)
        window, series = (cells & (last >= 0)).nonzero(as_tuple=True)
        season = season_of(self.panel.freq, context)
        back = (ends[window] - 1 - last[window, series]) // season * season
        first = ends[window] - back - context
        return first[:, None] + torch.arange(context, device=self.device), window, series


def _last_rows(mask: Tensor) -> Tensor:
    """Return the last row up to each at which a cell is wanted, (rows, series), int32; -1 for none."""
    row = torch.arange(len(mask), device=mask.device, dtype=torch.int32)[:, None]
    return torch.where(mask, row, -1).cummax(0).values


class StampSampler:
    """Draws calendar stamps to learn from, each in proportion to the series observed then.

    Drawn like `WindowSampler`, and told in steps of the panel's first series, which any other could
    stand in for. What is held out are the last stamps of the calendar.
    """

    def __init__(self, panel: Panel, *, horizon: int, held_out: int) -> None:
        first = int(panel.starts.min())
        self.limit = (
            int(panel.ends().max()) + 1 - first - held_out
        )  # the first stamp not learned from
        self.origin = int(panel.starts[0]) - first
        begins = panel.starts - first + 1  # a window knows one step at least
        last = np.minimum(panel.starts - first + panel.lengths, self.limit) - horizon
        usable = np.minimum(panel.starts - first + panel.lengths, self.limit) >= begins + 1
        last = np.maximum(last, begins)[usable]  # included; a short horizon is masked where it ends
        if not usable.any():
            raise DataError(
                f"no series has more than {held_out + 1} steps, and {held_out} are held out for "
                "validation; use validation=0, a shorter horizon, or longer histories"
            )
        change = np.zeros(self.limit + 1, np.int64)
        np.add.at(change, begins[usable], 1)
        np.add.at(change, last + 1, -1)
        counts = change.cumsum()  # series that may stand at each stamp
        self.stamps = np.flatnonzero(counts)
        self.n_windows = len(self.stamps)
        self.cumulative = np.cumsum(counts / counts.sum())

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw the first series, cutoffs and limits of a batch, (batch,) each, int64."""
        uniform = torch.rand(batch, generator=generator, dtype=torch.float64).numpy()
        stamps = np.searchsorted(self.cumulative, uniform * self.cumulative[-1], side="right")
        return self._windows_at(stamps)

    def at(self, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same for windows by their numbers from 0 to `n_windows`."""
        return self._windows_at(self.stamps[numbers.numpy()])

    def _windows_at(self, stamps: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor, Tensor]:
        cutoffs = torch.from_numpy(stamps.astype(np.int64)) - self.origin
        limits = torch.full_like(cutoffs, self.limit - self.origin)
        return torch.zeros_like(cutoffs), cutoffs, limits
