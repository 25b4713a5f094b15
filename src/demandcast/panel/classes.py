"""What kind of demand each series has: how rare, how uneven, fading or new.

ADI (average demand interval) is steps per step with demand, CV2 the squared coefficient of variation of
the demands' sizes; Syntetos, Boylan and Croston, "On the categorization of demand patterns", 2005.

|  | CV2 below its cut | at or above |
| --- | --- | --- |
| ADI below its cut | smooth | erratic |
| at or above | intermittent | lumpy |

The cuts everyone uses, 1.32 and 0.49, are rounded; 4/3 and 0.5 are exact (Kostenko and Hyndman, "A note
on the categorization of demand patterns", 2006). A class belongs to its grid: by day most retail is
intermittent, by month little is.
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
FEWEST = 5  # demands from which a class is told
FADING = -1.645  # normal score below which demand fades; one series in twenty by chance
FEWEST_STEPS = 4  # steps for which a series is new where the grid has no season


def profile(panel: Panel, *, cuts: str = "syntetos_boylan") -> pl.DataFrame:
    """One row a series; what came before its first demand is left out, and what was not observed.

    Args:
        panel: N series.
        cuts: "syntetos_boylan" (1.32 and 0.49) or "kostenko_hyndman" (4/3 and 0.5).

    Returns:
        The key columns; `steps` observed since the first demand; `demands`, the steps with a value
        other than 0; `adi`; `cv2` (population variance over squared mean of the demands' sizes,
        returns by their size); `class`, "insufficient" below 5 demands; `fading`, where demands come
        ever more rarely: the sum of the ranks of their steps after the first is low, in Wilcoxon's
        test at 5 % one-sided; `new`, where the first
        demand lies within the last season (4 steps where the grid has none); `freq`, the grid that the
        class belongs to. `adi` and `cv2` are null without a demand.

    Raises:
        ConfigError: `cuts` is not known.
    """
    if cuts not in CUTS:
        raise ConfigError(f"cuts is {cuts!r}; there are {', '.join(CUTS)}")
    rows = np.repeat(panel.begins, panel.lengths) + _within(panel.lengths)
    series = np.repeat(np.arange(panel.n_series), panel.lengths)
    values = panel.target[rows].astype(np.float64)
    known = ~np.isnan(values)
    values, series = values[known], series[known]
    place = _within(np.bincount(series, minlength=panel.n_series))  # among the observed steps
    demand = values != 0

    def total(of: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(series[demand], of[demand], panel.n_series).astype(np.float64)

    count = total(np.ones(len(values)))
    observed = np.bincount(series, minlength=panel.n_series)
    first = np.full(panel.n_series, np.iinfo(np.int64).max)
    np.minimum.at(first, series[demand], place[demand])
    steps = np.where(count > 0, observed - first, 0)
    some = np.maximum(count, 1)
    mean = total(np.abs(values)) / some
    spread = np.maximum(total(values**2) / some - mean**2, 0)
    adi = np.where(count > 0, steps / some, np.nan)
    cv2 = np.where(count > 0, spread / np.where(mean > 0, mean, 1) ** 2, np.nan)
    rare, uneven = (
        value >= cut * (1 - 1e-9) for value, cut in zip((adi, cv2), CUTS[cuts], strict=True)
    )
    kind = np.where(count < FEWEST, 4, 2 * rare + uneven)
    later, after = np.maximum(count - 1, 0), np.maximum(steps - 1, 0)  # the first demand
    ranks = total(place.astype(np.float64)) - np.where(count > 0, first, 0) * count
    chance = later * (after + 1) * (after - later) / 12  # variance of the sum of ranks
    trend = (ranks - later * (after + 1) / 2) / np.sqrt(np.where(chance > 0, chance, 1))
    season = panel.freq.period if panel.freq.period > 1 else FEWEST_STEPS
    return panel.keys.with_columns(
        pl.Series("steps", steps.astype(np.int64)),
        pl.Series("demands", count.astype(np.int64)),
        pl.Series("adi", adi).fill_nan(None),
        pl.Series("cv2", cv2).fill_nan(None),
        pl.Series("class", [CLASSES[k] for k in kind]),
        pl.Series("fading", (trend < FADING) & (count >= FEWEST)),
        pl.Series("new", (count > 0) & (steps <= season)),
        pl.lit(panel.schema.freq).alias("freq"),
    )


def counts(panel: Panel) -> dict[str, int]:
    """Series of each class that has any, then those fading and those new, whatever their class."""
    found = profile(panel)
    classes = {kind: int((found["class"] == kind).sum()) for kind in CLASSES}
    flags = {flag: int(found[flag].sum()) for flag in ("fading", "new")}
    return {name: count for name, count in (classes | flags).items() if count}


def _within(lengths: NDArray[Any]) -> NDArray[np.int64]:
    """0, 1, ... for each run of so many rows."""
    ends = np.cumsum(lengths)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths))
