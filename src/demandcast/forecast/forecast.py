"""A forecast: quantiles and, where the model draws them, joint sample paths of every series."""

from __future__ import annotations

import html
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.errors import DataError, ShapeError
from demandcast.forecast.bounds import ROOM, bounded, bounds
from demandcast.panel.keys import find_rows
from demandcast.schema import Frequency, Schema

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.panel.panel import Panel

log = logging.getLogger("demandcast")
Floats = NDArray[np.float32]
FORMULA = r"^[=+\-@\t\r]"  # how a cell begins that spreadsheets run
DEFAULT_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True, kw_only=True)
class Events:
    """How likely extremes of N series are in each of H steps.

    Attributes:
        p_high: P(value > above), (N, H).
        above: What counts as high, in the user's units, (N,).
        p_low: P(value < below), (N, H).
        below: What counts as low, (N,).
    """

    p_high: Floats
    above: Floats
    p_low: Floats
    below: Floats

    def __post_init__(self) -> None:
        n, h = self.p_high.shape
        if self.p_low.shape != (n, h) or self.above.shape != (n,) or self.below.shape != (n,):
            raise ShapeError(
                f"p_high is {(n, h)}, (series, horizon), so p_low is too, above and below are "
                f"{(n,)}; they are {self.p_low.shape}, {self.above.shape}, {self.below.shape}"
            )


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Distributions of N series over H steps, in the user's units.

    Attributes:
        schema: The user's column names.
        keys: The key columns, N rows, as they came.
        cutoffs: Grid step of the last value the forecast knew, (N,).
        levels: Probabilities, increasing, (Q,).
        quantiles: Values there, (N, H, Q), never crossing.
        mean: The mean of the distribution, (N, H).
        samples: Paths joint along the horizon, (N, S, H), or None.
        events: How likely extremes are, from models that warn of them, or None.
        model: Name of what made it.
        notes: What was changed in the method's own numbers, if anything.
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

    def __post_init__(self) -> None:
        n, h, q = self.quantiles.shape
        if self.mean.shape != (n, h) or len(self.levels) != q or len(self.cutoffs) != n:
            raise ShapeError(
                f"quantiles are {(n, h, q)}, (series, horizon, levels), but the mean is {self.mean.shape}, "
                f"with {len(self.levels)} levels and {len(self.cutoffs)} cutoffs"
            )
        if self.events is not None and self.events.p_high.shape != (n, h):
            raise ShapeError(f"events are {self.events.p_high.shape}, the forecast is {(n, h)}")
        for part in ("quantiles", "mean", "samples"):
            values = getattr(self, part)
            if values is not None and not np.isfinite(values).all():
                bad = int(np.argwhere(~np.isfinite(values))[0, 0])
                raise DataError(
                    f"the {part} of {self.model or 'the forecast'} for series {self.keys.row(bad)} "
                    "are not finite; leave the series out with panel.select, and please report this"
                )

    @classmethod
    def from_samples(
        cls, samples: Floats, levels: tuple[float, ...], panel: Panel, *, model: str
    ) -> Forecast:
        """From paths (N, S, H) of every series of the panel, behind its last step."""
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
    ) -> Forecast:
        """Make the forecast of every series of a panel, after its last step.

        Every method's values pass here: quantiles are sorted, and what lies beyond the bounds of
        `demandcast.forecast.bounds` is drawn in to them, with a note and a logged warning.

        Raises:
            DataError: A value is NaN.
        """
        low, high = bounds(panel)
        quantiles, beyond = bounded(np.sort(quantiles, -1), low, high)
        mean, beyond_mean = bounded(mean, low, high)
        beyond |= beyond_mean
        if samples is not None:
            samples, beyond_samples = bounded(samples, low, high)
            beyond |= beyond_samples
        notes: tuple[str, ...] = ()
        if beyond.any():
            first = int(np.flatnonzero(beyond)[0])
            notes = (
                f"{int(beyond.sum())} of {panel.n_series} series had forecasts beyond {ROOM:,.0f} times "
                f"their largest value (e.g. {panel.key(first)}, cut at {high[first]:g}); "
                "forecast series of so different sizes apart, with panel.select",
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
        )

    @property
    def horizon(self) -> int:
        return int(self.quantiles.shape[1])

    @property
    def n_series(self) -> int:
        return int(self.quantiles.shape[0])

    def quantile(self, level: float) -> Floats:
        """Values at one level, (N, H): from the paths where there are any, else between the levels.

        Raises:
            DataError: The level lies outside those forecast, and there are no paths.
        """
        if not 0 < level < 1:
            raise DataError(f"level {level} is not between 0 and 1; say 0.9 for the 90 % quantile")
        near = np.flatnonzero(np.isclose(self.levels, level))
        if len(near):
            return np.asarray(self.quantiles[..., near[0]], np.float32)
        if self.samples is not None:
            return np.asarray(np.quantile(self.samples, level, axis=1), np.float32)
        if not self.levels[0] < level < self.levels[-1]:
            raise DataError(
                f"level {level} lies outside {self.levels[0]} to {self.levels[-1]}; "
                f"ask for it at prediction: model.predict(panel, levels=[..., {level}])"
            )
        right = int(np.searchsorted(self.levels, level))
        low, high = self.levels[right - 1], self.levels[right]
        w = np.float32((level - low) / (high - low))
        return np.asarray(
            self.quantiles[..., right - 1] * (1 - w) + self.quantiles[..., right] * w, np.float32
        )

    @property
    def median(self) -> Floats:
        return self.quantile(0.5)

    def times(self) -> NDArray[Any]:
        """Timestamps of the steps forecast, (N, H)."""
        steps = self.cutoffs[:, None] + 1 + np.arange(self.horizon)
        grid = Frequency.parse(self.schema.freq)
        return np.asarray(grid.times(steps.ravel())).reshape(steps.shape)

    def to_frame(self, *, safe_text: bool = False) -> pl.DataFrame:
        """One row per series and step: key columns, time, "mean", then one column per level.

        A key or time column of such a name keeps it, and ours is called "forecast_mean" and so on.
        Models that warn of extremes add "p_high", the probability of a value above "above", and
        "p_low", that of one below "below".

        Args:
            safe_text: Put ' before text that begins as a formula does (=, +, -, @, tab, return), so that
                spreadsheets show it instead of running it.
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
        return without_formulas(frame) if safe_text else frame

    def column(self, name: str) -> str:
        """The column that a quantity has in `to_frame`: its name, or "forecast_..." if a key has that.

        Args:
            name: "mean", a level as "0.5", "p_high" and so on.
        """
        while name in (*self.keys.columns, self.schema.time):
            name = f"forecast_{name}"
        return name

    def alarms(self, n: int = 10) -> pl.DataFrame:
        """The steps most likely to be extreme, the likeliest first, one row each.

        Returns:
            Key columns, time, `event` ("above" or "below"), `threshold`, `probability` and "mean".

        Raises:
            DataError: The model does not warn of extremes.
        """
        if self.events is None:
            raise DataError(
                f"{self.model or 'this forecast'} does not warn of extremes; forecast with "
                "models.ExtremeValueMemory"
            )
        e, h = self.events, self.horizon
        chance = np.concatenate([e.p_high.ravel(), e.p_low.ravel()])
        threshold = np.concatenate([np.repeat(e.above, h), np.repeat(e.below, h)])
        order = np.argsort(-chance, kind="stable")[:n]
        row = order % e.p_high.size
        steps: pl.DataFrame = self._steps()[row.tolist()]
        columns = {
            "event": np.where(order < e.p_high.size, "above", "below"),
            "threshold": threshold[order],
            "probability": chance[order],
            "mean": self.mean.ravel()[row],
        }
        return steps.with_columns(pl.Series(self.column(k), v) for k, v in columns.items())

    def _steps(self) -> pl.DataFrame:
        """Key columns and time, one row per series and step."""
        n, h = self.mean.shape
        frame = self.keys[np.repeat(np.arange(n), h).tolist()]
        steps = (self.cutoffs[:, None] + 1 + np.arange(h)).ravel()
        return frame.with_columns(time_column(self.schema, steps, self.time_zone, self.time_dtype))

    def index(self, key: Any) -> int:
        """Row of a series by its key: a value, a tuple, or a dict of key columns.

        Raises:
            DataError: No series has that key, or several agree with the dict.
        """
        rows = find_rows(self.keys, key)
        if len(rows) > 1:
            raise DataError(
                f"{len(rows):,} series agree with {key!r}, such as {self.keys.row(int(rows[0]))!r} and "
                f"{self.keys.row(int(rows[1]))!r}; name one by all of its key columns"
            )
        return int(rows[0])

    def plot(self, key: Any = None, *, history: Panel | None = None) -> Figure:
        """A fan chart of one series; the first where no key is given.

        Args:
            key: A value, a tuple for several key columns, or a dict of them.
            history: The panel that was forecast, for the end of its history.
        """
        from demandcast.report.figures import fan_chart

        return fan_chart(self, self.keys.row(0) if key is None else key, panel=history)

    def __repr__(self) -> str:
        paths = f", {self.samples.shape[1]} paths" if self.samples is not None else ""
        return f"Forecast({self.model}: {self.n_series:,} series x {self.horizon} steps{paths})"

    def _repr_html_(self) -> str:
        head: str = self.to_frame().head(10)._repr_html_()
        return f"<b>{html.escape(repr(self))}</b>{head}"


def without_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame whose text and column names no spreadsheet takes for a formula."""
    text = pl.col(pl.String, pl.Categorical, pl.Enum).cast(pl.String)
    frame = frame.with_columns(text.str.replace(FORMULA, "'$0"))
    return frame.rename(lambda name: re.sub(FORMULA, r"'\g<0>", name))


def time_column(
    schema: Schema, steps: NDArray[np.int64], zone: str | None, dtype: pl.DataType | None
) -> pl.Series:
    """Grid steps as the user's own time column: its name, zone and type."""
    grid = Frequency.parse(schema.freq)
    time = pl.Series(schema.time, np.asarray(grid.times(steps)))
    if zone is None:
        return time if dtype is None else time.cast(dtype)
    if grid.is_subdaily:
        return time.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    if dtype == pl.Date:
        return time.cast(pl.Date)
    # a day whose midnight the clock skips begins at 1 o'clock
    at, later = (
        t.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        for t in (time, time.dt.offset_by("1h"))
    )
    return at.fill_null(later)
