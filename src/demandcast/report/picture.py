"""Gather what is drawn of one series: its recent history, its forecast, and its actual values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError, ShapeError
from demandcast.panel.panel import Panel

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast

Floats = NDArray[np.float32]
HISTORY = 4  # horizons of history beside a forecast
LONGEST = 400  # steps of history at most, so that the forecast stays readable


@dataclass(frozen=True, kw_only=True)
class Band:
    """The values between two levels symmetric around 0.5."""

    lower: float  # level
    upper: float
    low: Floats  # values, (H,)
    high: Floats

    @property
    def share(self) -> float:
        """Share of the actual values that should lie inside: 0.8 between the levels 0.1 and 0.9."""
        return round(self.upper - self.lower, 6)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One series, in the user's units; all times are steps of the grid.

    Attributes:
        name: The key as one word, its parts joined by "/".
        past: Grid steps of the history shown, (T,).
        values: Observed values there, (T,); NaN where not observed.
        ahead: Grid steps forecast, (H,).
        actual: Actual values of the steps ahead, (H,); NaN where not known.
        bands: Widest first; empty if no two levels are symmetric around 0.5.
        median: (H,), or None where the levels do not reach it.
        mean: (H,).
    """

    name: str
    past: NDArray[np.int64]
    values: Floats
    ahead: NDArray[np.int64]
    actual: Floats
    bands: tuple[Band, ...]
    median: Floats | None
    mean: Floats


def picture(
    forecast: Forecast,
    i: int,
    *,
    panel: Panel | None = None,
    row: int | None = None,
    actual: Floats | None = None,
) -> Picture:
    """Return what is drawn of series i of a forecast.

    Args:
        forecast: A forecast of any number of series.
        i: The row of the series.
        panel: The history; its values after the cutoff are the actual ones.
        row: The row of the series in the panel; looked up by its key by default, which reads all keys.
        actual: Actual values, (H,), NaN where not known; in place of those of the panel.

    Raises:
        ShapeError: `actual` is not one value per step.
    """
    horizon, cutoff = forecast.horizon, int(forecast.cutoffs[i])
    past, values = np.zeros(0, np.int64), np.zeros(0, np.float32)
    outcomes = np.full(horizon, np.nan, np.float32)
    key = forecast.keys.row(i)
    if panel is not None and row is None:
        row = next((r for r, k in enumerate(panel.keys.iter_rows()) if k == key), None)
    if panel is not None and row is not None:
        begin, extent, start = (int(a[row]) for a in (panel.begins, panel.extents, panel.starts))
        steps = min(max(HISTORY * horizon, 2 * panel.freq.period), LONGEST)
        past = np.arange(max(start, cutoff + 1 - steps), min(start + extent, cutoff + 1))
        values = panel.target[begin + past - start]
        steps_ahead = np.arange(max(cutoff + 1, start), min(start + extent, cutoff + 1 + horizon))
        outcomes[steps_ahead - cutoff - 1] = panel.target[begin + steps_ahead - start]
    if actual is not None:
        outcomes = np.asarray(actual, np.float32)
        if outcomes.shape != (horizon,):
            raise ShapeError(
                f"actual is {outcomes.shape} but the forecast of one series is {(horizon,)}; "
                "for an array of all series, hand in its row"
            )
    return Picture(
        name="/".join(str(v) for v in key),
        past=past,
        values=values,
        ahead=cutoff + 1 + np.arange(horizon),
        actual=outcomes,
        bands=_bands(forecast, i),
        median=_median(forecast, i),
        mean=forecast.mean[i],
    )


def _bands(forecast: Forecast, i: int) -> tuple[Band, ...]:
    """Return every pair of levels symmetric around 0.5, widest first."""
    bands = []
    for a, lower in enumerate(forecast.levels):
        for b, upper in enumerate(forecast.levels):
            if lower < 0.5 < upper and np.isclose(lower + upper, 1):
                low, high = forecast.quantiles[i, :, a], forecast.quantiles[i, :, b]
                bands.append(Band(lower=lower, upper=upper, low=low, high=high))
    return tuple(bands)


def _median(forecast: Forecast, i: int) -> Floats | None:
    near = np.flatnonzero(np.isclose(forecast.levels, 0.5))
    if len(near):
        return forecast.quantiles[i, :, near[0]]
    if forecast.samples is not None:
        return np.asarray(np.median(forecast.samples[i], axis=0), np.float32)
    try:
        return np.asarray(forecast.median[i], np.float32)
    except DataError:  # the levels lie on one side of it
        return None
