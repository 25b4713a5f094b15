"""Add a forecast up over series and over time, from paths that are joint across series.

A quantile of a sum is not the sum of quantiles: it depends on how the series move together. Paths are put in the order
of the past (Schaake shuffle; Clark et al., 2004): path s of every series follows what that series did after one and
the same earlier date, so all series share the courses of that date, across series and along the horizon. The
distribution of each series and step stays as it was forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError, FrequencyError, way
from demandcast.forecast.levels import interpolate_quantiles
from demandcast.frequency import Frequency
from demandcast.panel.groups import STEPS, TOTAL, Groups, group, sum_groups
from demandcast.settings import check_levels

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]
Shared = tuple[int, int, tuple[str, ...]]  # first grid step that all series share, their end, notes
PATHS = 200  # where the method drew none
CELLS = 1 << 22  # numbers of paths that are ordered at once
TIES = 1e-5  # of the largest course: noise that breaks ties at random
SEASONS_BEFORE = (
    4  # whose mean is taken off a course of the past, so that its level does not matter
)
MIN_DATES = 8  # at the same phase of the season; with fewer, dates of any phase are taken


def total(
    forecast: Forecast,
    by: str | Sequence[str] = (),
    steps: str | None = None,
    levels: Sequence[float] | None = None,
) -> Forecast:
    """Add a forecast up over series and time, as `Forecast.total` documents."""
    levels = forecast.levels if levels is None else check_levels(levels)
    columns = [by] if isinstance(by, str) else list(by)
    groups, steps_shared = (
        group(source(forecast), columns),
        common_steps(forecast),
    )  # both may refuse
    added = _add_up(forecast, joint_paths(forecast), groups, steps_shared, levels)
    return added if steps is None else over_time(added, steps)


def _add_up(
    forecast: Forecast,
    paths: NDArray[np.float32],
    groups: Groups,
    shared: Shared,
    levels: tuple[float, ...],
) -> Forecast:
    """Add paths (N, S, H) and means up by group, over the steps that all series share."""
    first, end, notes = shared
    offset = first - (forecast.cutoffs + 1)  # of each series' own steps
    count = end - first
    take = offset[:, None] + np.arange(count)
    mean = np.take_along_axis(forecast.mean.astype(np.float64), take, 1)
    sums, means = (
        np.zeros((groups.table.height, paths.shape[1], count)),
        sum_groups(mean, groups.code),
    )
    for s in range(paths.shape[1]):
        path = np.take_along_axis(paths[:, s], take, 1).astype(np.float64)
        sums[:, s] = sum_groups(path, groups.code)
    return replace(
        forecast,
        schema=replace(
            forecast.schema, key=tuple(groups.table.columns), known=(), past=(), static=(), available=None
        ),
        keys=groups.table,
        cutoffs=np.full(len(means), first - 1),
        levels=levels, quantiles=_quantiles(sums, levels), mean=means.astype(np.float32),
        samples=sums.astype(np.float32), events=None, notes=(*forecast.notes, *notes), panel=None,
    )  # fmt: skip


def hierarchy(forecast: Forecast, by: Sequence[str | Sequence[str]]) -> pl.DataFrame:
    """Return forecasts of the totals of several levels in one frame, as `Forecast.hierarchy` documents."""
    level, frames = forecast.column("level"), []
    paths = joint_paths(forecast)  # the same for every level, so that levels add up
    shared = common_steps(forecast)
    for columns in by:
        names = [columns] if isinstance(columns, str) else list(columns)
        added = _add_up(forecast, paths, group(source(forecast), names), shared, forecast.levels)
        frame = added.to_frame().with_columns(pl.lit(",".join(names) or "total").alias(level))
        frames.append(frame if names else frame.drop(TOTAL))
    bottom = forecast.to_frame().with_columns(pl.lit("series").alias(level))
    table = pl.concat([*reversed(frames), bottom], how="diagonal")
    numbers = bottom.columns[len(forecast.keys.columns) : -1]
    keys = [c for c in table.columns if c not in (*numbers, level)]
    order = [*forecast.keys.columns, *[c for c in keys if c not in forecast.keys.columns]]
    return table.select(level, *order, *numbers)


def source(forecast: Forecast) -> Panel:
    """Return the panel that a forecast was made from.

    Raises:
        DataError: It does not know it.
    """
    if forecast.panel is None:
        raise DataError(
            "this forecast does not know the panel it was made from, so its series cannot be added up; add up "
            "what predict returned",
            option="forecast",
            expected="what model.predict returned",
        )
    return forecast.panel


def common_steps(forecast: Forecast) -> Shared:
    """Return the grid steps that the forecast of every series covers, as first and end, and a note if that is fewer.

    Raises:
        DataError: There is none: some series ended before others began.
    """
    first, end = int(forecast.cutoffs.max()) + 1, int(forecast.cutoffs.min()) + 1 + forecast.horizon
    if end <= first:
        early = int(forecast.cutoffs.argmin())
        key = "/".join(str(v) for v in forecast.keys.row(early))
        raise DataError(
            f"series {key} ended {int(forecast.cutoffs.max() - forecast.cutoffs.min())} steps before others, so the "
            f"forecasts share none of their {forecast.horizon} steps; read the table with",
            ways=[way("leaves out what ended", ended="skip")],
        )
    left = forecast.horizon - (end - first)
    if not left:
        return first, end, ()
    return first, end, (
        f"series end at different times, so totals cover {end - first} of {forecast.horizon} steps: those that the "
        "forecast of every series covers",
    )  # fmt: skip


def joint_paths(forecast: Forecast) -> NDArray[np.float32]:
    """Return paths with the distributions of the forecast, in the order of shared dates of the past, (N, S, H)."""
    panel = source(forecast)
    n, horizon = forecast.mean.shape
    samples = forecast.samples
    if samples is not None and forecast.joint:
        return samples
    count = PATHS if samples is None else samples.shape[1]
    dates = _dates(panel, horizon, count)
    draws = Draws.of(panel.keys, 0)
    paths = np.empty((n, count, horizon), np.float32)
    for rows in np.array_split(np.arange(n), max(1, min(n, -(-n * count * horizon // CELLS)))):
        courses = _courses(panel.select(rows), forecast.cutoffs[rows], dates, horizon)
        size = np.abs(courses).max((1, 2), initial=0)[:, None, None] + np.float32(1e-30)
        courses += draws.select(rows).at("ties").uniform(courses.shape) * size * TIES
        values = sorted_values(forecast, rows, count)
        np.put_along_axis(paths[rows[0] : rows[-1] + 1], np.argsort(courses, 1), values, 1)
    return paths


def sorted_values(forecast: Forecast, rows: Ints, count: int) -> NDArray[np.float32]:
    """Return `count` values of the distribution of each series and step, increasing, (n, S, H)."""
    if forecast.samples is not None and forecast.samples.shape[1] == count:
        return np.sort(forecast.samples[rows], 1)
    levels = (np.arange(count) + 0.5) / count
    values = interpolate_quantiles(forecast.quantiles[rows], forecast.levels, levels.tolist())
    floor = source(forecast).select(rows).floors()
    return np.maximum(values.transpose(0, 2, 1), floor[:, None, None]).astype(np.float32)


def _dates(panel: Panel, horizon: int, count: int) -> Ints:
    """Return how many steps before its cutoff each path's course of the past begins, (S,); the same for all series."""
    period = max(1, panel.freq.period)
    room = int(panel.lengths.max()) - horizon - period
    seasons = room // period
    rng = np.random.default_rng(0)
    if seasons >= MIN_DATES:
        ahead = -(-horizon // period) * period
        pool = ahead + period * np.arange(max(1, (int(panel.lengths.max()) - ahead) // period))
    else:
        pool = horizon + np.arange(max(1, room + 1))
    rounds = -(-count // len(pool))  # each date as often as any other, as far as that goes
    return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[:count]


def _courses(panel: Panel, cutoffs: Ints, back: Ints, horizon: int) -> NDArray[np.float32]:
    """Return what each series did after each date, less its mean over the seasons before, (n, S, H).

    NaN becomes 0 where nothing was observed, so that ties are broken at random there: independently of others.
    """
    before = SEASONS_BEFORE * max(1, panel.freq.period)
    steps = int(back.max()) + before
    late = cutoffs - panel.ends()  # 0, but for a forecast that begins later
    past = panel.padded_history(steps)
    sums = np.concatenate([np.zeros((len(past), 1)), np.nancumsum(past, 1)], 1)
    counts = np.concatenate([np.zeros((len(past), 1)), np.cumsum(~np.isnan(past), 1)], 1)
    begin = np.broadcast_to(steps - back + late[:, None], (len(past), len(back)))
    earlier = np.maximum(begin - before, 0)
    level = np.take_along_axis(sums, begin, 1) - np.take_along_axis(sums, earlier, 1)
    level /= np.maximum(
        np.take_along_axis(counts, begin, 1) - np.take_along_axis(counts, earlier, 1), 1
    )
    index = np.minimum(begin[..., None] + np.arange(horizon), steps - 1)
    course = np.take_along_axis(past, index.reshape(len(past), -1), 1).reshape(index.shape)
    return np.asarray(np.nan_to_num(course - level[..., None]), np.float32)


def over_time(forecast: Forecast, steps: str) -> Forecast:
    """Add the steps of a forecast with paths up to coarser ones; those that it covers in part are left out and noted.

    Args:
        forecast: With paths, and one cutoff for all series.
        steps: "week" (from Monday), "month", "quarter", "year", or a frequency such as "W-SUN".

    Raises:
        ConfigError: The forecast covers no whole step.
        FrequencyError: `steps` is no frequency that times can be rounded to.
    """
    assert forecast.samples is not None
    coarse = Frequency.parse(STEPS.get(steps, steps))
    inner, whole = whole_steps(forecast, coarse)
    if not whole.any():
        raise ConfigError(
            f"{forecast.horizon} steps of {forecast.schema.freq!r} cover no whole step of {coarse.name!r}; forecast a "
            "longer horizon",
            option="steps",
            found=coarse.name,
            expected=f"steps within {forecast.horizon} of {forecast.schema.freq}",
        )
    left = int((~whole).sum())
    note = f"{left} of {forecast.horizon} steps lie in steps of {coarse.name!r} that are forecast in part: left out"
    first = int(inner[whole][0])
    begins = np.flatnonzero(np.diff(inner[whole], prepend=first - 1))
    sums = np.add.reduceat(forecast.samples[..., whole].astype(np.float64), begins, 2)
    means = np.add.reduceat(forecast.mean[..., whole].astype(np.float64), begins, 1)
    return replace(
        forecast, schema=replace(forecast.schema, freq=coarse.name),
        cutoffs=np.full(forecast.n_series, first - 1), quantiles=_quantiles(sums, forecast.levels),
        mean=means.astype(np.float32), samples=sums.astype(np.float32),
        notes=(*forecast.notes, note) if left else forecast.notes,
    )  # fmt: skip


def whole_steps(forecast: Forecast, coarse: Frequency) -> tuple[Ints, NDArray[np.bool_]]:
    """Return the coarser step that each step is in, (H,), and whether the forecast covers that one as a whole, (H,).

    Raises:
        FrequencyError: Times are whole numbers, or cannot be rounded to such steps.
    """
    fine = Frequency.parse(forecast.schema.freq)
    if fine.is_integer:
        raise FrequencyError(
            f"steps is {coarse.name!r}, but the times are whole numbers; leave it out",
            option="steps",
            found=coarse.name,
            expected="None",
        )
    # with the step before and after
    around = int(forecast.cutoffs[0]) + np.arange(forecast.horizon + 2)
    ordinal = coarse.ordinal(coarse.floor(fine.times(around)))
    inner = ordinal[1:-1]
    low, high = inner[0] + (ordinal[0] == inner[0]), inner[-1] - (ordinal[-1] == inner[-1])
    return inner, (inner >= low) & (inner <= high)


def _quantiles(sums: Doubles, levels: Sequence[float]) -> NDArray[np.float32]:
    quantiles = np.quantile(sums, levels, axis=1).transpose(1, 2, 0)
    return np.asarray(quantiles, np.float32)
