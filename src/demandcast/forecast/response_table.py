"""Forecast demand at several values of one covariate, such as a price: a curve for each series, and its elasticity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import ConfigError, way
from demandcast.forecast.apply_changes import apply, columns_of, known_ahead, resolve
from demandcast.forecast.changes import Change
from demandcast.forecast.total import source
from demandcast.forecast.what_if import BAND, EFFECTS, Comparison, Effect
from demandcast.settings import check_levels, one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)


@dataclass(frozen=True)
class ResponseTable:
    """Expected demand of each series at other values of one covariate.

    Attributes:
        column: The covariate.
        frame: One row a series and factor: key, `factor`, `value` (its mean over the steps), `demand` (mean, summed over
            the steps), `ratio` to the plan, and the interval of the ratio, such as `ratio_0.1` and `ratio_0.9`.
        notes: What to know before these numbers are used.
    """

    column: str
    frame: pl.DataFrame
    keys: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def elasticities(self) -> pl.DataFrame:
        """Return the key and `elasticity`: the slope of log demand over the log of the covariate, by least squares."""
        logs = self.frame.with_columns(
            pl.col("factor").log().alias("__x"), pl.col("ratio").clip(1e-9).log().alias("__y")
        )
        slope = (pl.col("__x") * pl.col("__y")).sum() / (pl.col("__x") ** 2).sum()
        return logs.group_by(self.keys, maintain_order=True).agg(slope.alias("elasticity"))

    def plot(self, key: Any = None) -> Figure:
        """Draw demand over the covariate for one series; None for the first."""
        from demandcast.report.effect_charts import response_chart

        return response_chart(self, key)


def response(
    forecast: Forecast,
    column: str,
    factors: Sequence[float] = FACTORS,
    effect: Effect = "model",
    levels: Sequence[float] = BAND,
) -> ResponseTable:
    """Forecast with a covariate multiplied by each factor, as `Forecast.response` documents."""
    one_of("effect", effect, EFFECTS)
    levels = check_levels(levels)
    if len(factors) < 2 or any(not np.isfinite(factor) or factor <= 0 for factor in factors):
        raise ConfigError(
            f"factors are {list(factors)}; give two or more numbers above 0, as in",
            option="factors", found=list(factors), expected="two or more numbers above 0",
            ways=[way(factors=(0.8, 1.0, 1.2))],
        )  # fmt: skip
    position = _numeric_position(source(forecast), column)
    comparison = Comparison.of(forecast, effect, levels)
    panel = comparison.panel
    value = np.nanmean(known_ahead(panel, forecast.horizon)[..., position].astype(np.float64), 1)
    frames, notes = list[pl.DataFrame](), dict[str, None]()
    for factor in factors:
        columns, factor_notes = _demand_at(comparison, column, float(factor))
        if factor in (min(factors), max(factors)):
            notes |= dict.fromkeys(factor_notes)
        labels = {"factor": np.full(len(value), float(factor)), "value": value * factor}
        frames.append(
            panel.keys.with_columns(pl.Series(k, v) for k, v in (labels | columns).items())
        )
    keys = tuple(panel.keys.columns)
    rank = panel.keys.with_row_index("__series")
    frame = pl.concat(frames).join(rank, on=keys, how="left") if keys else pl.concat(frames)
    order = ["__series", "factor"] if keys else ["factor"]
    return ResponseTable(
        column, frame.sort(order).drop("__series", strict=False), keys, tuple(notes)
    )


def _numeric_position(panel: Panel, column: str) -> int:
    """Return the position of a numeric covariate among the known ones; refuse categories, and yes and no."""
    position = columns_of(panel, resolve(panel, column))[0]
    is_category = panel.known_names[position] != column
    if is_category or np.isin(panel.known[panel.history_rows()][:, position], (0, 1)).all():
        content = "categories" if is_category else "yes and no"
        raise ConfigError(
            f"{column!r} holds {content}, which have no curve; ask forecast.what_if({column}=...)",
            option="column", column=column, found=content, expected="numbers",
        )  # fmt: skip
    return int(position)


def _demand_at(
    comparison: Comparison, column: str, factor: float
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Return demand and its ratio to the plan with a covariate times a factor, by the names of the table, and notes."""
    levels, horizon = comparison.levels, comparison.planned.horizon
    if factor == 1:
        planned = comparison.planned.mean.astype(np.float64).sum(1)
        names = ("ratio", *(f"ratio_{level:g}" for level in levels))
        return {"demand": planned} | {name: np.ones_like(planned) for name in names}, ()
    changed = apply(comparison.panel, [Change.parse(f'"{column}"*={factor!r}')], horizon)
    answer = comparison.compare(changed, f"{column}*={factor:g}", keep_all=True)
    planned, after = (f.mean.astype(np.float64).sum(1) for f in (answer.planned, answer.changed))
    safe = np.where(planned > 0, planned, np.nan)
    columns = {"demand": after, "ratio": after / safe}
    columns |= {f"ratio_{v:g}": 1 + answer.sums[:, q] / safe for q, v in enumerate(levels)}
    return columns, answer.notes
