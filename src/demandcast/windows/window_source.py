"""Cut windows from a panel: by index arithmetic from its flat arrays, on the device where they are.

One rule guards against looking ahead: a row is read only where `0 <= step < limit`. In training the limit is
the end of the history that may be learned from; in prediction it is the cutoff itself, so that no value after
it, lags included, can reach a model.

A context may hold hardly a value, as after weeks in which a store was closed. Its empty steps are then
filled with the values of whole seasons earlier, as few as reach the last observed value before it, so
that a network sees values on the right weekdays and forecasts as if the gap had not been. A context of
zeros keeps its zeros and takes its scale from the last values that are not zero. Nothing after the cutoff
is read for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch import Tensor

from demandcast.errors import ConfigError
from demandcast.frequency import Frequency
from demandcast.panel.panel import Panel
from demandcast.windows.features import Features
from demandcast.windows.window import Sizes, Window

if TYPE_CHECKING:
    pass

SCALINGS = ("mean_abs", "one_plus_mean", "standard", "max", "none")
FEWEST_VALUES = 4  # observed values; contexts with fewer are filled with earlier ones
CONSTANT = ("one_plus_mean", "none")  # scalings that are defined for a context of zeros


def scale_of(past: Tensor, observed: Tensor, scaling: str) -> tuple[Tensor, Tensor]:
    """Return scale and level of each context, (batch, 1) each.

    The scale is 0 where the context does not tell it: nothing is observed, or, for scalings without a
    constant of their own, nothing but zeros. The level is 0 where nothing is observed.

    `observed` (batch, steps) is 1 or True where a value counts; a value elsewhere is any but NaN.

    `mean_abs` is mean|z|, `max` the largest |z|; `one_plus_mean` is 1 + mean|z|, which keeps slow movers near 1 (Salinas et al.
    2020, section 3.3); `standard` is the deviation from the mean (Kim et al., "Reversible instance
    normalization", ICLR 2022), at least mean|z| / n of n observed values, for few of them tell little of
    their spread; `none` is 1.
    """
    if scaling not in SCALINGS:
        raise ConfigError(f"scaling is {scaling!r}; it is one of {', '.join(SCALINGS)}")
    total = observed.sum(-1, keepdim=True)
    count = total.clamp(min=1)
    size = (past.abs() * observed).sum(-1, keepdim=True) / count  # (batch, 1)
    level = (past * observed).sum(-1, keepdim=True) / count
    if scaling == "one_plus_mean":
        return (1 + size) * (total > 0), level
    if scaling == "none":
        return (total > 0).to(size.dtype), level
    if scaling == "mean_abs":
        return size, level
    if scaling == "max":
        return (past.abs() * observed).amax(-1, keepdim=True), level
    # in units of mean|z|, so that squares of huge or tiny values stay within float32
    unit = torch.where(size > 0, size, 1.0)
    error = (past - level) / unit * observed  # (batch, context)
    deviation = (error.square().sum(-1, keepdim=True) / count).sqrt()
    return torch.maximum(deviation, 1 / count) * size, level


def season_of(freq: Frequency, context: int) -> int:
    """Return the longest season that fits a context, in steps; 1 if none does."""
    return max((p for p in freq.periods if p <= context), default=1)


def gather_runs(values: Tensor, first: Tensor, length: int) -> Tensor:
    """Copy rows `first` .. `first + length` of an array, for each window.

    In memory a run is one block, and is copied as one: about ten times faster than row by row.

    Args:
        values: (rows, ...), contiguous.
        first: Where each run begins, (batch,).
        length: Rows in a run.

    Returns:
        (batch, length, ...); the array's nearest row where a run reaches over its ends.
    """
    room, width = len(values) - length, values[:1].numel()
    if not width:
        return values.new_empty(len(first), length, *values.shape[1:])
    if values.device.type != "cpu" or room < 0:
        return _rows(values, first, length)
    blocks = values.as_strided((room + 1, length * width), (width, 1))
    within = first.clamp(0, room)
    runs = blocks.index_select(0, within).view(len(first), length, *values.shape[1:])
    if not within.equal(first):
        over = (within != first).nonzero()[:, 0]  # runs that reach over the ends
        runs[over] = _rows(values, first[over], length)
    return runs


def _rows(values: Tensor, first: Tensor, length: int) -> Tensor:
    span = torch.arange(length, device=values.device)
    return values[(first[:, None] + span).clamp(0, len(values) - 1)]


class _Lengths(TypedDict):
    context: int
    horizon: int
    scaling: str


class SourceOptions(_Lengths, total=False):
    """Options of `WindowSource`."""

    device: torch.device | str
    resident: bool


class WindowSource:
    """The arrays of a panel on a device; cuts windows from them.

    Args:
        panel, features: What is read, and on what footing.
        context, horizon: Steps read and forecast.
        scaling: One of `SCALINGS`.
        device: Where windows are wanted.
        resident: Whether the arrays lie there too; else they stay where the panel has them, in this
            machine's memory or in a file, and only windows go to the device.

    Attributes:
        device: Where the arrays lie, and so the indices that windows are asked for with.
        to: Where windows are wanted.
    """

    def __init__(
        self,
        panel: Panel,
        features: Features,
        *,
        context: int,
        horizon: int,
        scaling: str,
        device: torch.device | str = "cpu",
        resident: bool = True,
    ) -> None:
        self.panel, self.spec = panel, features
        self.context, self.horizon, self.scaling = context, horizon, scaling
        self.to, self.resident = torch.device(device), resident
        self.device = self.to if resident else torch.device("cpu")
        self.target = self._put(panel.target)  # (T_total,)
        self.begins = self._put(panel.begins)
        self.extents = self._put(panel.extents)
        self.lengths = self._put(panel.lengths)
        self.known = self._pick(panel.known, panel.known_names, features.known)
        self.past = self._pick(panel.past, panel.past_names, features.past)
        self.available = None if panel.available is None else self._put(panel.available)
        self.codes = self._put(features.codes(panel))  # (N, categories)
        reals = self._pick(panel.static_reals, panel.static_real_names, features.static_reals)
        self.reals = _standardise(reals, features.static_reals)  # (N, reals)
        # whether a window may need to look back; files are not read for it, windows then always ask
        self.has_blanks = panel.is_mapped or not bool(self._scale_mask(self.target).all())
        self.lag_reach = max(features.lags, default=0)
        first = int(panel.starts.min())
        last = int((panel.starts + panel.extents).max()) + horizon
        reach = first - context  # windows may begin before the series
        self.calendar = self._put(
            panel.freq.calendar(np.arange(reach, last + 1))
        )  # (stamps, features)
        # (stamps, features read off the stamp, and a place for the age)
        width = self.calendar.shape[1] + 1 if features.calendar else 0
        self.table = torch.zeros(len(self.calendar), width, device=self.device)
        if features.calendar:
            self.table[:, :-1] = self.calendar
        steps = torch.arange(-context, int(panel.extents.max()) + horizon + 1, device=self.device)
        self.ages = torch.log10(2.0 + steps.clamp(min=0)) - 2.0  # from a context before the series
        self.reach = reach  # stamp of the calendar's first row
        self.starts = self._put(panel.starts)
        places = [
            [self.lag_reach + step - lag for lag in features.lags]
            for step in range(context + horizon)
        ]
        self.lag_columns = torch.tensor(places, dtype=torch.int64, device=self.device).view(
            context + horizon, len(features.lags)
        )
        # what masks are cut from; see `_from` and `_until`
        self.before, self.span = self.lag_reach + context, self.lag_reach + context + horizon
        ends = torch.zeros(self.before), torch.ones(self.span), torch.zeros(self.span)
        self.visible = torch.cat(ends).to(self.device)

    def _put(self, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
        if self.resident and isinstance(values, np.memmap):
            values = np.array(values)
        with warnings.catch_warnings():  # nothing here writes to what it reads
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(values).to(self.device)

    def _pick(
        self,
        values: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
        names: tuple[str, ...],
        names_wanted: dict[str, tuple[float, float, bool]],
    ) -> Tensor:
        if tuple(names_wanted) != names:
            values = np.ascontiguousarray(values[:, [names.index(name) for name in names_wanted]])
        return self._put(values)

    @property
    def sizes(self) -> Sizes:
        return Sizes(
            lags=len(self.spec.lags),
            features=self.table.shape[1] + _width(self.spec.known),
            past_features=_width(self.spec.past) + (self.available is not None),
            categories=tuple(len(v) for v in self.spec.vocabularies.values()),
            reals=_width(self.spec.static_reals) + 1,
        )

    def windows(self, series: Tensor, cutoffs: Tensor, limits: Tensor, *, extra: int = 0) -> Window:
        """Return windows on the device that trains; see `gather`."""
        return self.gather(series, cutoffs, limits, extra=extra).to(self.to)

    def gather(self, series: Tensor, cutoffs: Tensor, limits: Tensor, *, extra: int = 0) -> Window:
        """Gather windows on the device of the arrays.

        Args:
            series: Row of each window's series in the panel, (batch,).
            cutoffs: History each window knows, in steps from its series' begin, (batch,); its
                horizon begins at this step.
            limits: First step that may not be read, (batch,); the cutoff itself in prediction.
            extra: The last so many steps of the context do not count for the scale: models that
                forecast from several cutoffs inside one window ask for it, so that the first of them
                does not learn the level from its own future.
        """
        batch, context, lagged = len(series), self.context, self.lag_reach
        first = self.begins[series] + cutoffs - context  # row of the context's first step, (batch,)
        length = context + self.horizon
        values = gather_runs(self.target, first - lagged, self.span)  # (batch, span)
        begun = self._mask_from_start(cutoffs)  # (batch, span)
        weight = begun * self._mask_until(limits - cutoffs) * observed_mask(values)  # (batch, span)
        values = values.nan_to_num_(0.0).mul_(weight)
        past = slice(lagged, self.before)
        counts = slice(lagged, self.before - extra)
        available = None if self.available is None else gather_runs(self.available, first, length)
        if self.has_blanks:
            self._fill_up(series, cutoffs - extra, extra, values, weight, available)
        scale, level = scale_of(values[:, counts], weight[:, counts], self.scaling)
        if self.has_blanks and not bool(scale.all()):
            self._look_back(series, cutoffs - extra, context - extra, scale)
        has_scale = scale > 0
        scale = torch.where(has_scale, scale, 1.0)
        filled = torch.lerp(level, values, weight)  # the level where nothing is seen
        observed = weight.to(torch.bool)
        if available is None:
            censored = torch.zeros(batch, length, dtype=torch.bool, device=self.device)
        else:
            censored = ~available & observed[:, lagged:]
        stamp = self.starts[series] + cutoffs - context  # (batch,)
        times = gather_runs(self.table, stamp - self.reach, length)  # (batch, length, features)
        if self.spec.calendar:
            times[..., -1] = gather_runs(self.ages, cutoffs, length)
        parts = [times]
        extents = self.extents[series]
        if self.spec.known:
            inside = (begun * self._mask_until(extents - cutoffs))[:, lagged:, None]
            parts.append(
                _standardise(gather_runs(self.known, first, length), self.spec.known, inside)
            )
        past_parts = [values.new_zeros(batch, context, 0)]
        if self.spec.past:
            inside = (begun * self._mask_until(torch.minimum(extents, limits) - cutoffs))[
                :, past, None
            ]
            past_parts.append(
                _standardise(gather_runs(self.past, first, context), self.spec.past, inside)
            )
        if self.available is not None:
            past_parts.append(censored[:, :context, None].to(values.dtype))
        return Window(
            past_target=filled[:, past],
            past_observed=observed[:, past],
            future_target=values[:, self.before :],
            future_observed=observed[:, self.before :],
            past_censored=censored[:, :context],
            future_censored=censored[:, context:],
            lags=filled[:, self.lag_columns],
            features=torch.cat(parts, -1) if len(parts) > 1 else times,
            past_features=torch.cat(past_parts, -1) if len(past_parts) > 1 else past_parts[0],
            static_codes=self.codes[series],
            static_reals=torch.cat([self.reals[series], self._log(scale) * has_scale], -1),
            scale=scale,
            has_scale=has_scale,
            level=level if self.scaling == "standard" else torch.zeros_like(level),
            stamp=stamp,
        )

    def _fill_up(
        self,
        series: Tensor,
        ends: Tensor,
        extra: int,
        values: Tensor,
        weight: Tensor,
        available: Tensor | None,
    ) -> None:
        """Fill contexts with hardly a value from whole seasons earlier, in place.

        Args:
            series, ends: Series, and the first step that is not filled, (batch,).
            extra: As of `gather`.
            values, weight: Targets, and 1 where they are known, (batch, span).
            available: (batch, context + horizon), or None.
        """
        context, width = self.context - extra, self.before - extra
        few = weight[:, width - context : width].sum(1) < FEWEST_VALUES  # (batch,)
        if not bool(few.any()):
            return
        rows = few.nonzero()[:, 0]
        first, rows = self._find_earlier(
            series, ends, context, rows, lambda values: ~values.isnan()
        )
        begins = self.begins[series[rows]]
        steps = (first - self.lag_reach)[:, None] + torch.arange(width, device=self.device)
        earlier = gather_runs(self.target, begins + steps[:, 0], width)  # (rows, width)
        filled = (steps >= 0) & ~earlier.isnan() & (weight[rows, :width] == 0)
        values[rows, :width] = torch.where(filled, earlier, values[rows, :width])
        weight[rows, :width] = torch.where(filled, 1.0, weight[rows, :width])
        if self.available is not None and available is not None:
            bound = gather_runs(self.available, begins + first, context)
            current = available[rows, :context]
            available[rows, :context] = torch.where(filled[:, -context:], bound, current)

    def _look_back(self, series: Tensor, ends: Tensor, context: int, scale: Tensor) -> None:
        """Take scales (batch, 1) that are 0 from earlier steps that tell them, in place."""
        rows = (scale[:, 0] == 0).nonzero()[:, 0]
        first, rows = self._find_earlier(series, ends, context, rows, self._scale_mask)
        earlier = gather_runs(self.target, self.begins[series[rows]] + first, context)
        inside = first[:, None] + torch.arange(context, device=self.device) >= 0
        known = observed_mask(earlier) * inside
        scale[rows] = scale_of(earlier.nan_to_num_(0.0).mul_(known), known, self.scaling)[0]

    def _find_earlier(
        self,
        series: Tensor,
        ends: Tensor,
        context: int,
        rows: Tensor,
        is_match: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Find the context, as many whole seasons earlier as needed, that holds the last matching value.

        Args:
            series, ends: Series and end of each window's context, (batch,).
            context: Steps in it.
            rows: Windows to look for; nothing in their own context is looked at.
            is_match: Returns which values match, a bool for each.

        Returns:
            First step of that context, and the windows that have one, (found,) each.
        """
        begins, stop = self.begins[series[rows]], ends[rows] - context
        last = torch.full_like(stop, -1)
        open_, reach = torch.arange(len(rows), device=self.device), context
        while len(open_):  # twice as far back each time
            first = stop[open_] - reach
            step = first[:, None] + torch.arange(reach, device=self.device)
            matches = (step >= 0) & is_match(gather_runs(self.target, begins[open_] + first, reach))
            last[open_] = torch.where(matches, step, -1).amax(1)
            stop[open_] = first
            open_ = open_[(last[open_] < 0) & (first > 0)]
            reach *= 2
        rows, last = rows[last >= 0], last[last >= 0]
        season = season_of(self.panel.freq, context)
        back = (ends[rows] - 1 - last) // season * season
        return ends[rows] - back - context, rows

    def _scale_mask(self, values: Tensor) -> Tensor:
        """Return which values determine the scale: observed, and not 0 unless the scaling has a constant."""
        observed = ~values.isnan()
        return observed if self.scaling in CONSTANT else observed & (values != 0)

    def _log(self, scale: Tensor) -> Tensor:
        """Return standardised logarithms of scales, by the moments of the fitted panel."""
        mean, deviation = self.spec.scale
        return (scale.log() - mean) / deviation

    def _mask_from_start(self, cutoffs: Tensor) -> Tensor:
        """Return 1 from the start of its series on in each window, 0 before, (batch, span)."""
        return gather_runs(self.visible, cutoffs.clamp(0, self.before), self.span)

    def _mask_until(self, ahead: Tensor) -> Tensor:
        """Return 1 for steps less than `ahead` (batch,) after the cutoff, 0 from there on, (batch, span)."""
        hidden = (self.horizon - ahead).clamp(0, self.span)  # last steps of the window
        return gather_runs(self.visible, hidden + self.before, self.span)

    def latest(self, series: Tensor) -> Window:
        """Return windows whose horizon begins after the last step of these series, (batch,)."""
        cutoffs = self.lengths[series]
        return self.windows(series, cutoffs, cutoffs)


def observed_mask(values: Tensor) -> Tensor:
    """Return 1 for values and 0 for NaN, as floats: on a CPU comparisons and bool masks take five times as
    long.
    """
    return torch.eq(values, values, out=torch.empty_like(values))


def _width(footing: dict[str, tuple[float, float, bool]]) -> int:
    return len(footing) + sum(gaps for _, _, gaps in footing.values())


def _standardise(
    values: Tensor, footing: dict[str, tuple[float, float, bool]], inside: Tensor | None = None
) -> Tensor:
    """Standardise columns to mean 0 and deviation 1; 0 where missing, with a flag for columns that had gaps."""
    if not footing:
        return values
    mean = values.new_tensor([m for m, _, _ in footing.values()])
    deviation = values.new_tensor([d for _, d, _ in footing.values()])
    weight = observed_mask(values) if inside is None else observed_mask(values) * inside
    scaled = ((values - mean) / deviation).nan_to_num_(0.0) * weight
    gaps = [i for i, (_, _, gap) in enumerate(footing.values()) if gap]
    return torch.cat([scaled, weight[..., gaps]], -1) if gaps else scaled
