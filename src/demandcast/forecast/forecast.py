"""The `Forecast`: quantiles, means and, where the method draws them, joint sample paths of every series."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, ShapeError, way
from demandcast.forecast.bounds import MAX_RATIO, clip_to_bounds, forecast_bounds
from demandcast.forecast.changes import as_changes
from demandcast.forecast.explain import Explanation, explain
from demandcast.forecast.overrides import Overridden, override
from demandcast.forecast.reconcile import reconcile
from demandcast.forecast.repeat import Predictor
from demandcast.forecast.response_table import FACTORS, ResponseTable, response
from demandcast.forecast.total import hierarchy, total
from demandcast.forecast.what_if import BAND, Effect, WhatIf, what_if
from demandcast.frequency import Frequency
from demandcast.panel.keys import find_rows, free_name
from demandcast.panel.time_column import time_column
from demandcast.schema import Schema

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.panel.panel import Panel

log = logging.getLogger("demandcast")
Floats = NDArray[np.float32]
FORMULA_START = r"^[=+\-@\t\r]"  # a spreadsheet runs a cell that begins so as a formula
DEFAULT_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class Events:
    """Probabilities of extreme values of N series at each of H steps.

    Attributes:
        p_high: P(value > above), (N, H).
        above: Upper thresholds in the user's units, (N,).
        p_low: P(value < below), (N, H).
        below: Lower thresholds in the user's units, (N,).
    """

    p_high: Floats
    above: Floats
    p_low: Floats
    below: Floats

    def __post_init__(self) -> None:
        n, h = self.p_high.shape
        if self.p_low.shape != (n, h) or self.above.shape != (n,) or self.below.shape != (n,):
            raise ShapeError(
                f"p_high is {(n, h)}, (series, horizon), so p_low must be {(n, h)}, above and below are "
                f"{(n,)}; they are {self.p_low.shape}, {self.above.shape}, {self.below.shape}"
            )

    def select(self, rows: NDArray[np.int64]) -> Events:
        """Select or reorder series."""
        return Events(**{name: values[rows] for name, values in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Distributions of N series over H steps, in the user's units.

    Attributes:
        schema: The user's column names.
        keys: The key columns, N rows, in the user's order and types.
        cutoffs: Grid step of the last value that the forecast knew, (N,).
        levels: Quantile levels, increasing, (Q,).
        quantiles: Quantiles at the levels, (N, H, Q), never crossing.
        mean: Means of the distributions, (N, H).
        samples: Sample paths, joint along the horizon, (N, S, H), or None.
        events: Probabilities of extreme values, from models that forecast them, or None.
        model: Name of the method.
        notes: Changes that were made to the method's own numbers.
        panel: What the forecast was made from, or None.
        joint: Whether paths are joint across series, too, so that they can be added up as they are.
        forecaster: The model that made it, which is asked again by `what_if` and `explain`, or None.
    """

    schema: Schema
    keys: pl.DataFrame
    cutoffs: NDArray[np.int64]
    levels: tuple[float, ...]
    quantiles: Floats
    mean: Floats
    samples: Floats | None = None
    events: Events | None = None
    model: str = ""
    notes: tuple[str, ...] = ()
    time_zone: str | None = None
    time_dtype: pl.DataType | None = None
    panel: Panel | None = None
    joint: bool = False
    forecaster: Predictor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        n, h, q = self.quantiles.shape
        if self.mean.shape != (n, h) or len(self.levels) != q or len(self.cutoffs) != n:
            raise ShapeError(
                f"quantiles are {(n, h, q)}, (series, horizon, levels), but the mean is {self.mean.shape}, "
                f"with {len(self.levels)} levels and {len(self.cutoffs)} cutoffs"
            )
        if self.events is not None and self.events.p_high.shape != (n, h):
            raise ShapeError(f"events are {self.events.p_high.shape}, the forecast is {(n, h)}")
        for name in ("quantiles", "mean", "samples"):
            values = getattr(self, name)
            if values is not None and not np.isfinite(values).all():
                row = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise DataError(
                    f"{self.model or 'the forecast'} has values that are not finite in the {name} of series "
                    f"{self.keys.row(row)}; leave the series out with panel.select, and please report this"
                )

    @classmethod
    def from_samples(
        cls, samples: Floats, levels: tuple[float, ...], panel: Panel, *, model: str
    ) -> Forecast:
        """Make a forecast from paths (N, S, H) of every series of the panel, after its last step."""
        quantiles = np.quantile(samples, levels, axis=1).transpose(1, 2, 0).astype(np.float32)
        return cls.of(panel, levels, quantiles, samples.mean(1), samples=samples, model=model)

    @classmethod
    def of(
        cls,
        panel: Panel,
        levels: tuple[float, ...],
        quantiles: Floats,
        mean: Floats,
        *,
        samples: Floats | None = None,
        events: Events | None = None,
        model: str,
        forecaster: Predictor | None = None,
    ) -> Forecast:
        """Make the forecast of every series of a panel, after its last step.

        The numbers of every method pass through here. Quantiles are sorted. Values outside the bounds of
        `demandcast.forecast.bounds` are clipped, with a note and a logged warning.

        Raises:
            DataError: A value is NaN.
        """
        low, high = forecast_bounds(panel)
        quantiles, exceeded = clip_to_bounds(np.sort(quantiles, -1), low, high)
        mean, mean_exceeded = clip_to_bounds(mean, low, high)
        exceeded |= mean_exceeded
        if samples is not None:
            samples, samples_exceeded = clip_to_bounds(samples, low, high)
            exceeded |= samples_exceeded
        notes: tuple[str, ...] = ()
        if exceeded.any():
            first = int(np.flatnonzero(exceeded)[0])
            notes = (
                f"{int(exceeded.sum())} of {panel.n_series} series had forecasts beyond {MAX_RATIO:,.0f} times "
                f"their largest value (e.g. {panel.key(first)}, clipped at {high[first]:g}); "
                "forecast series of such different sizes separately, with panel.select",
            )
            log.warning("%s: %s", model, notes[0])
        return cls(
            schema=panel.schema,
            keys=panel.keys,
            cutoffs=panel.ends(),
            levels=tuple(levels),
            quantiles=quantiles,
            mean=mean,
            samples=samples,
            events=events,
            notes=notes,
            model=model,
            time_zone=panel.time_zone,
            time_dtype=panel.time_dtype,
            panel=panel,
            forecaster=forecaster,
        )

    @property
    def horizon(self) -> int:
        """Number of steps forecast."""
        return int(self.quantiles.shape[1])

    @property
    def n_series(self) -> int:
        """Number of series."""
        return int(self.quantiles.shape[0])

    def quantile(self, level: float) -> Floats:
        """Return the quantiles at one level, (N, H).

        A level that was not forecast is taken from the paths, or without paths interpolated between its neighbours.

        Raises:
            DataError: The level is outside (0, 1), or outside the levels forecast while there are no paths.
        """
        if not 0 < level < 1:
            raise DataError(
                f"level {level} is not between 0 and 1; write 0.9 for the 90 % quantile",
                option="level",
                found=level,
                expected="between 0 and 1",
            )
        matching = np.flatnonzero(np.isclose(self.levels, level))
        if len(matching):
            return np.asarray(self.quantiles[..., matching[0]], np.float32)
        if self.samples is not None:
            return np.asarray(np.quantile(self.samples, level, axis=1), np.float32)
        if not self.levels[0] < level < self.levels[-1]:
            raise DataError(
                f"level {level} lies outside the levels forecast, {self.levels[0]} to {self.levels[-1]}; "
                f"name it in the prediction:",
                ways=[way(levels=[level], call=f"model.predict(panel, levels=[..., {level}])")],
            )
        right = int(np.searchsorted(self.levels, level))
        low, high = self.levels[right - 1], self.levels[right]
        weight = np.float32((level - low) / (high - low))
        return np.asarray(
            self.quantiles[..., right - 1] * (1 - weight) + self.quantiles[..., right] * weight,
            np.float32,
        )

    @property
    def median(self) -> Floats:
        """Quantiles at level 0.5, (N, H)."""
        return self.quantile(0.5)

    def times(self) -> NDArray[Any]:
        """Return the timestamps of the steps forecast, (N, H)."""
        steps = self.cutoffs[:, None] + 1 + np.arange(self.horizon)
        grid = Frequency.parse(self.schema.freq)
        return np.asarray(grid.times(steps.ravel())).reshape(steps.shape)

    def to_frame(self, *, safe_text: bool = False) -> pl.DataFrame:
        """Return one row per series and step: key columns, time, "mean", then one column per level.

        Where a key or time column has such a name already, the forecast's column is called "forecast_mean" and so
        on. Models that forecast extreme values add "p_high", the probability of a value above "above", and "p_low",
        the probability of a value below "below".

        Args:
            safe_text: Put ' before text that begins like a formula (=, +, -, @, tab, return), so that
                spreadsheets show the text and do not run it.
        """
        columns = [pl.Series("mean", self.mean.ravel())]
        columns += [
            pl.Series(f"{level:g}", self.quantiles[..., i].ravel())
            for i, level in enumerate(self.levels)
        ]
        if self.events is not None:
            e, h = self.events, self.horizon
            columns += [
                pl.Series("p_high", e.p_high.ravel()),
                pl.Series("above", np.repeat(e.above, h)),
                pl.Series("p_low", e.p_low.ravel()),
                pl.Series("below", np.repeat(e.below, h)),
            ]
        frame = self._steps().with_columns(c.rename(self.column(c.name)) for c in columns)
        return escape_formulas(frame) if safe_text else frame

    def column(self, name: str) -> str:
        """Return the column name of a quantity in `to_frame`: its name, or "forecast_..." if a key column has it.

        Args:
            name: "mean", a level such as "0.5", "p_high" and so on.
        """
        return free_name(name, (*self.keys.columns, self.schema.time), "forecast")

    def total(
        self,
        by: str | Sequence[str] = (),
        *,
        steps: str | None = None,
        levels: Sequence[float] | None = None,
    ) -> Forecast:
        """Add the forecast up over series, and over time.

        A quantile of the sum is that of joint paths, in which series move together as they did in the past; see
        `demandcast.forecast.total`. Means add up exactly.

        Args:
            by: Key columns or static categories whose groups are added up; all series together for none.
            steps: "week" (from Monday), "month", "quarter", "year" or a frequency: add up to such steps, too.
                Steps that the forecast covers in part are left out, which the notes say.
            levels: Quantile levels; those of the forecast if None.

        Returns:
            A forecast with one series a group, the `by` columns as its key, and its paths.

        Raises:
            SchemaError: A column is neither a key nor a static category.
            DataError: The forecasts of the series share no step.
            ConfigError: No whole step is covered.
        """
        return total(self, by, steps, levels)

    def reconcile(
        self,
        *totals: Forecast,
        weights: Literal["structure", "variance", "top_down"] = "structure",
        trust: Sequence[float] | None = None,
        locks: Any = None,
    ) -> Forecast:
        """Adjust the forecast so that its totals agree with forecasts of the totals themselves.

        Generalised least squares on joint paths (Wickramasuriya et al., 2019); see `demandcast.forecast.reconcile`.

        Args:
            totals: Forecasts of `panel.total(...)` by any methods: one for each level. They have the same steps as
                this forecast, or coarser ones (`panel.total(..., steps="week")`), of which those count that both
                cover as a whole.
            weights: "structure" takes the error variance of a total as that of a series times the number of series
                that it adds up. "variance" takes the variance of each forecast, so that a series gives way the
                more, the less certain its own forecast is. "top_down" keeps the totals of one level as they are
                and shares what they lack by the means of the series.
            trust: A number above 0 for each of the totals: 2 halves the error variance of its level. 1 for all if None.
            locks: A frame of totals that are kept exactly, such as budgets: columns of key or static categories, the
                time, and the target's column with the value. An empty cell or an absent column stands for all; a row
                without a time is the total of the whole horizon.

        Returns:
            Forecasts of the series. `total` and `hierarchy` of it add up to the reconciled totals.

        Raises:
            ConfigError: No total is given.
            DataError: A total is not one of this forecast's, or lacks a group or a step; or locks contradict each
                other, which are named.
        """
        return reconcile(self, totals, weights, trust, locks)

    def hierarchy(self, by: Sequence[str | Sequence[str]]) -> pl.DataFrame:
        """Return the rows of every level: totals by each group of columns, then the series themselves.

        Means of the levels add up exactly, and all quantiles are those of the same joint paths; see `total`.

        Args:
            by: For each level the columns whose groups are added up, such as ["store", ("store", "category"), ()];
                () is the total over all series.

        Returns:
            As `to_frame`, with a column `level` in front ("total", "store", "store,category", "series") and the
            columns of all levels; null where a level has no such column.
        """
        return hierarchy(self, by)

    def what_if(
        self,
        *changes: str,
        effect: Effect = "model",
        levels: Sequence[float] = BAND,
        **values: Any,
    ) -> WhatIf:
        """Forecast again with changed covariates and the same random numbers, and compare.

        Args:
            changes: Such as "promo=1 where week=12 and store=CA_1", "price*=0.9" or "price=2, promo=1"; see
                `demandcast.forecast.changes`. Each is laid over those before it.
            effect: "model": the model says what the changes do, and the interval is that of the difference at the
                same luck. "history": the effect is measured in the history of all series and laid on the forecast,
                and the interval says how well the effect is known; any method will do.
            levels: Quantile levels of the difference.
            values: Covariate -> its value at all steps, an array for (series, steps), or `"*0.9"` and `"+1"`.

        Returns:
            The series that a change touches, as planned and as changed.

        Raises:
            ConfigError: A change cannot be read, selects nothing, or names a value that the history never had.
            SchemaError: A column is unknown, or not known ahead.
            DataError: The model does not read the covariate or learned nothing from it, or the forecast is not
                what `model.predict` returned.
        """
        return what_if(self, as_changes(changes, values), effect, levels)

    def response(
        self,
        column: str,
        factors: Sequence[float] = FACTORS,
        *,
        effect: Effect = "model",
        levels: Sequence[float] = BAND,
    ) -> ResponseTable:
        """Forecast with a covariate, such as the price, multiplied by each factor at all steps.

        Args:
            column: A numeric covariate known ahead.
            factors: Two or more.
            effect, levels: As in `what_if`.

        Raises:
            ConfigError: The covariate holds categories or flags, or the factors are not above 0.
            SchemaError, DataError: As `what_if`.
        """
        return response(self, column, factors, effect, levels)

    def explain(self) -> Explanation:
        """Split the mean of each series and step into base, trend, season, the covariates known ahead, and the rest.

        A covariate's part is what its planned value adds to the forecast at the item's usual value; see
        `demandcast.forecast.explain`. With five covariates or fewer, the model forecasts at most 32 times.

        Raises:
            DataError: The forecast is not what `model.predict` returned.
        """
        return explain(self)

    def override(self, overrides: Any) -> Overridden:
        """Apply planners' changes on top: a factor or a level, for series and spans, by an author, for a reason.

        All quantiles, the mean and the paths are scaled alike, so that the distribution stays coherent. A level is the new
        mean. Where the mean is 0 or the series has negative values, a level shifts them instead.

        Args:
            overrides: A frame with key columns or static categories (empty for all), `from`, `to`, `factor` or
                `level`, `author`, `reason`; see `demandcast.forecast.overrides`.

        Returns:
            The forecast with and without the changes; `value_added` scores them where the values are known.

        Raises:
            SchemaError: A column is unknown or absent.
            DataError: A row names an unknown series, a span in the past or outside the forecast, no change or two, or
                contradicts another row.
        """
        return override(self, overrides)

    def alarms(self, n: int = 10) -> pl.DataFrame:
        """Return the `n` steps most likely to be extreme, most likely first, one row each.

        Returns:
            Key columns, time, `event` ("above" or "below"), `threshold`, `probability` and "mean".

        Raises:
            DataError: The model does not forecast extreme values.
        """
        if self.events is None:
            raise DataError(
                f"{self.model or 'this forecast'} does not forecast extreme values; forecast with "
                "models.ExtremeValueMemory",
                option="model",
                found=self.model,
                expected="extreme_value_memory",
            )
        e, h = self.events, self.horizon
        probability = np.concatenate([e.p_high.ravel(), e.p_low.ravel()])
        threshold = np.concatenate([np.repeat(e.above, h), np.repeat(e.below, h)])
        order = np.argsort(-probability, kind="stable")[:n]
        row = order % e.p_high.size
        steps: pl.DataFrame = self._steps()[row.tolist()]
        columns = {
            "event": np.where(order < e.p_high.size, "above", "below"),
            "threshold": threshold[order],
            "probability": probability[order],
            "mean": self.mean.ravel()[row],
        }
        return steps.with_columns(pl.Series(self.column(k), v) for k, v in columns.items())

    def _steps(self) -> pl.DataFrame:
        """Return the key columns and the time, one row per series and step."""
        n, h = self.mean.shape
        frame = self.keys[np.repeat(np.arange(n), h).tolist()]
        steps = (self.cutoffs[:, None] + 1 + np.arange(h)).ravel()
        return frame.with_columns(time_column(self.schema, steps, self.time_zone, self.time_dtype))

    def index(self, key: Any) -> int:
        """Return the row of a series by its key: a value, a tuple, or a dict of key columns.

        Raises:
            DataError: No series has that key, or several series match the dict.
        """
        rows = find_rows(self.keys, key)
        if len(rows) > 1:
            raise DataError(
                f"{len(rows):,} series match {key!r}, such as {self.keys.row(int(rows[0]))!r} and "
                f"{self.keys.row(int(rows[1]))!r}; give all key columns of one series"
            )
        return int(rows[0])

    def plot(self, key: Any = None, *, history: Panel | None = None) -> Figure:
        """Draw a fan chart of one series.

        Args:
            key: A value, a tuple for several key columns, or a dict of them; None for the first series.
            history: The panel that was forecast; the chart then shows the end of the series' history too.
        """
        from demandcast.report.figures import fan_chart

        return fan_chart(self, self.keys.row(0) if key is None else key, panel=history)

    def __repr__(self) -> str:
        paths = f", {self.samples.shape[1]} paths" if self.samples is not None else ""
        return f"Forecast({self.model}: {self.n_series:,} series x {self.horizon} steps{paths})"

    def _repr_html_(self) -> str:
        head: str = self.to_frame().head(10)._repr_html_()
        return f"<b>{html.escape(repr(self))}</b>{head}"


def escape_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Put ' before text and column names that a spreadsheet would run as a formula."""
    text = pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
    frame = frame.with_columns(text.str.replace(FORMULA_START, "'$0"))
    return frame.rename(lambda name: re.sub(FORMULA_START, r"'\g<0>", name))
