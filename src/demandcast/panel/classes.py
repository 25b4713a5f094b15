"""Classify the demand of each series: smooth, erratic, intermittent or lumpy; fading; new.

ADI (average demand interval) is the number of steps per step with demand. CV2 is the squared coefficient of
variation of the demand sizes. Syntetos, Boylan and Croston, "On the categorization of demand patterns", 2005.

|  | CV2 below its cut | at or above |
| --- | --- | --- |
| ADI below its cut | smooth | erratic |
| at or above | intermittent | lumpy |

The usual cuts, 1.32 and 0.49, are rounded; 4/3 and 0.5 are exact (Kostenko and Hyndman, "A note on the
categorization of demand patterns", 2006). A class depends on the frequency: most retail demand is intermittent by
day, and little of it by month.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import ConfigError

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

CUTS = {"syntetos_boylan": (1.32, 0.49), "kostenko_hyndman": (4 / 3, 0.5)}  # ADI, CV2
CLASSES = ("smooth", "erratic", "intermittent", "lumpy", "insufficient")
MIN_DEMANDS = 5  # a series with fewer has the class "insufficient"
FADING_SCORE = (
    -1.645
)  # normal score below which demand is fading; 5 % of steady series fall below by chance
NEW_STEPS = 4  # a series with at most as many steps is new, where the frequency has no season


def profile(panel: Panel, *, cuts: str = "syntetos_boylan") -> pl.DataFrame:
    """Return the demand class of each series, one row a series.

    Steps before a series' first demand and steps that were not observed are left out.

    Args:
        panel: N series.
        cuts: "syntetos_boylan" (1.32 and 0.49) or "kostenko_hyndman" (4/3 and 0.5).

    Returns:
        The key columns and:

        - `steps`: observed steps from the first demand on.
        - `demands`: steps with a value other than 0.
        - `adi`, `cv2`: null without a demand. `cv2` is the population variance over the squared mean of the
          absolute demand sizes.
        - `class`: "insufficient" below 5 demands.
        - `fading`: demands become rarer over time; Wilcoxon's rank-sum test on the steps after the first demand,
          one-sided, at 5 %.
        - `new`: the first demand lies within the last season, or the last 4 steps without a season.
        - `freq`: the frequency for which the class holds.

    Raises:
        ConfigError: `cuts` is not known.
    """
    if cuts not in CUTS:
        raise ConfigError(f"cuts is {cuts!r}; choose one of {', '.join(CUTS)}")
    rows = panel.history_rows()
    series = np.repeat(np.arange(panel.n_series), panel.lengths)
    values = panel.target[rows].astype(np.float64)
    observed_rows = ~np.isnan(values)
    values, series = values[observed_rows], series[observed_rows]
    position = _positions(np.bincount(series, minlength=panel.n_series))  # among the observed steps
    demand = values != 0

    def total(sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(series[demand], sizes[demand], panel.n_series).astype(np.float64)

    count = total(np.ones(len(values)))
    observed = np.bincount(series, minlength=panel.n_series)
    first = np.full(panel.n_series, np.iinfo(np.int64).max)
    np.minimum.at(first, series[demand], position[demand])
    steps = np.where(count > 0, observed - first, 0)
    divisor = np.maximum(count, 1)
    mean = total(np.abs(values)) / divisor
    spread = np.maximum(total(values**2) / divisor - mean**2, 0)
    adi = np.where(count > 0, steps / divisor, np.nan)
    cv2 = np.where(count > 0, spread / np.where(mean > 0, mean, 1) ** 2, np.nan)
    rare, uneven = (
        value >= cut * (1 - 1e-9) for value, cut in zip((adi, cv2), CUTS[cuts], strict=True)
    )
    class_index = np.where(count < MIN_DEMANDS, 4, 2 * rare + uneven)
    # demands and steps after the first demand
    later, after = np.maximum(count - 1, 0), np.maximum(steps - 1, 0)
    ranks = total(position.astype(np.float64)) - np.where(count > 0, first, 0) * count
    variance = later * (after + 1) * (after - later) / 12  # of the sum of ranks, without a trend
    score = (ranks - later * (after + 1) / 2) / np.sqrt(np.where(variance > 0, variance, 1))
    season = panel.freq.period if panel.freq.period > 1 else NEW_STEPS
    return panel.keys.with_columns(
        pl.Series("steps", steps.astype(np.int64)),
        pl.Series("demands", count.astype(np.int64)),
        pl.Series("adi", adi).fill_nan(None),
        pl.Series("cv2", cv2).fill_nan(None),
        pl.Series("class", [CLASSES[k] for k in class_index]),
        pl.Series("fading", (score < FADING_SCORE) & (count >= MIN_DEMANDS)),
        pl.Series("new", (count > 0) & (steps <= season)),
        pl.lit(panel.schema.freq).alias("freq"),
    )


def count_classes(panel: Panel) -> dict[str, int]:
    """Count the series of each class, then the fading and the new ones of any class; zero counts are left out."""
    profiles = profile(panel)
    classes = {name: int((profiles["class"] == name).sum()) for name in CLASSES}
    flags = {flag: int(profiles[flag].sum()) for flag in ("fading", "new")}
    return {name: count for name, count in (classes | flags).items() if count}


def _positions(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Return the position of each row within its run, 0, 1, ...; runs have these lengths and follow each other."""
    ends = np.cumsum(lengths)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths))
