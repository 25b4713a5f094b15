"""Forecast again with other covariates, and compare: what a price or a promotion changes.

Both forecasts use the same random numbers, and their paths are matched, so that the difference is that of the covariates
alone. `effect="model"` asks the model: its own forecast with the other covariates. `effect="history"` measures the effect
in the history (`demandcast.panel.response`) and lays it on the forecast: its interval says how well the effect is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import DataError
from demandcast.forecast.apply_changes import Changed, apply, columns_of, known_ahead, with_ahead
from demandcast.forecast.changes import Change
from demandcast.forecast.repeat import (
    Predictor,
    forecaster_of,
    forecasts_differ,
    predict_like,
    repeat_forecast,
)
from demandcast.forecast.total import joint_paths
from demandcast.panel.response import Response
from demandcast.settings import check_levels, one_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Effect = Literal["model", "history"]
EFFECTS = ("model", "history")
BAND = (0.1, 0.9)
DRAWS = 400  # of the weights measured in the history
CELLS = 1 << 22  # numbers of paths that are compared at once


@dataclass(frozen=True)
class WhatIf:
    """Forecasts of the changed series, as planned and with changed covariates.

    Attributes:
        question: The changes, as they were given.
        effect: Source of the effect: "model" or "history".
        planned: The forecast as planned, n series.
        changed: The forecast with the changes.
        touched: Steps at which a covariate differs, (n, H).
        levels: Quantile levels of the differences, (Q,).
        difference: Quantiles of the difference at each step, (n, H, Q).
        sums: Quantiles of the difference of each series over all steps, (n, Q).
        sum: Quantiles of the difference over all series and steps, (Q,).
        notes: What to know before these numbers are used.
    """

    question: str
    effect: str
    planned: Forecast
    changed: Forecast
    touched: NDArray[np.bool_]
    levels: tuple[float, ...]
    difference: Doubles
    sums: Doubles
    sum: Doubles
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pl.DataFrame:
        """Return one row a series and step: key, time, `planned` and `changed` (means), `difference`, its levels."""
        planned, changed = (f.mean.astype(np.float64).ravel() for f in (self.planned, self.changed))
        values = self.difference.reshape(-1, len(self.levels))
        return self._frame(self.planned._steps(), planned, changed, values)

    def totals(self) -> pl.DataFrame:
        """Return one row a series: sums over the horizon, as in `to_frame`, and `ratio`, changed over planned."""
        planned, changed = (f.mean.astype(np.float64).sum(1) for f in (self.planned, self.changed))
        return self._with_ratio(self._frame(self.planned.keys, planned, changed, self.sums))

    def total(self) -> dict[str, float]:
        """Return sums over all changed series and steps, by the names of `totals`."""
        planned, changed = (
            float(f.mean.sum(dtype=np.float64)) for f in (self.planned, self.changed)
        )
        sums = {"planned": planned, "changed": changed, "difference": changed - planned}
        sums |= {
            f"difference_{level:g}": float(v)
            for level, v in zip(self.levels, self.sum, strict=True)
        }
        return sums | {"ratio": changed / planned if planned else float("nan")}

    def plot(self, key: Any = None) -> Figure:
        """Draw the forecast of one series as planned and changed, and the difference with its interval.

        Args:
            key: As in `Forecast.plot`; None for the series that changes most.
        """
        from demandcast.report.effect_charts import what_if_chart

        return what_if_chart(self, key)

    def _frame(
        self, left: pl.DataFrame, planned: Doubles, changed: Doubles, values: Doubles
    ) -> pl.DataFrame:
        named = {"planned": planned, "changed": changed, "difference": changed - planned}
        named |= {f"difference_{level:g}": values[:, q] for q, level in enumerate(self.levels)}
        return left.with_columns(pl.Series(self.planned.column(k), v) for k, v in named.items())

    def _with_ratio(self, frame: pl.DataFrame) -> pl.DataFrame:
        name = self.planned.column
        ratio = pl.col(name("changed")) / pl.col(name("planned"))
        return frame.with_columns(ratio.alias(name("ratio")))

    def __repr__(self) -> str:
        total = self.total()
        return (
            f"WhatIf({self.question!r}, by the {self.effect}: {total['planned']:,.1f} -> {total['changed']:,.1f} over "
            f"{self.planned.n_series:,} series, {self.planned.horizon} steps)"
        )


def what_if(
    forecast: Forecast,
    changes: Sequence[Change],
    effect: Effect = "model",
    levels: Sequence[float] = BAND,
) -> WhatIf:
    """Compare a forecast with that of changed covariates, as `Forecast.what_if` documents."""
    one_of("effect", effect, EFFECTS)
    comparison = Comparison.of(forecast, effect, check_levels(levels))
    return comparison.compare(
        apply(comparison.panel, changes, forecast.horizon), "; ".join(c.text for c in changes)
    )


@dataclass(frozen=True)
class Comparison:
    """A repeated forecast, to be compared with others.

    Attributes:
        planned: The forecast as planned, of all series.
        panel: Its input.
        model: The model that made it.
        effect, levels: As in `what_if`.
        measured: Effects measured in the history; None if the model gives them.
    """

    planned: Forecast
    panel: Panel
    model: Predictor
    effect: Effect
    levels: tuple[float, ...]
    measured: Response | None

    @classmethod
    def of(cls, forecast: Forecast, effect: Effect, levels: tuple[float, ...]) -> Comparison:
        panel, model = forecaster_of(forecast)
        if not panel.known_names:
            raise DataError(
                f"the panel that {model.name} forecast has no covariates known ahead; name them: read_panel(..., known=[...])",
                option="known", expected="covariates known ahead",
            )  # fmt: skip
        if effect == "history":
            short = np.flatnonzero(panel.extents - panel.lengths < forecast.horizon)
            if len(short):
                i = int(short[0])
                raise DataError(
                    f"known covariates reach {int(panel.extents[i] - panel.lengths[i])} of the {forecast.horizon} steps for "
                    f"series {panel.key(i)}; give them with predict(panel, future=frame), or --future FILE",
                    option="future", series=panel.key(i), expected=f"{forecast.horizon} steps",
                    found=int(panel.extents[i] - panel.lengths[i]),
                )  # fmt: skip
            return cls(forecast, panel, model, effect, levels, Response.of(panel))
        if "known" not in model.takes:
            raise DataError(
                f"{model.name} does not read covariates known ahead, so it cannot tell what they change; forecast with "
                "a method that does, such as lightgbm, or ask effect='history'",
                option="effect", found=effect, expected="history",
            )  # fmt: skip
        return cls(repeat_forecast(forecast)[2], panel, model, effect, levels, None)

    def compare(self, changed: Changed, question: str, *, keep_all: bool = False) -> WhatIf:
        """Return the forecast as planned and with changed covariates, and the quantiles of their difference."""
        rows = (
            np.arange(self.panel.n_series) if keep_all else np.flatnonzero(changed.touched.any(1))
        )
        notes = list(changed.notes)
        planned = _select_series(self.planned, rows)
        if self.measured is None:
            after = predict_like(self.model, changed.panel, self.planned)
            notes += self._unused_notes(changed, after)
            after = _select_series(after, rows)
            differences = self._difference_of_paths(planned, after)
        else:
            notes += self._constant_notes(changed, rows)
            after, differences = self._difference_by_history(changed, planned, rows)
        return WhatIf(
            question, self.effect, planned, after, changed.touched[rows], self.levels, *differences, notes=tuple(notes)
        )  # fmt: skip

    def _difference_of_paths(
        self, planned: Forecast, after: Forecast
    ) -> tuple[Doubles, Doubles, Doubles]:
        """Return quantiles of differences between matched paths: by step, by series, and of all."""
        n, horizon = planned.mean.shape

        def differences() -> Iterator[Doubles]:
            for batch in _blocks(n, horizon * 200):
                paths, planned_paths = (
                    joint_paths(_select_series(f, batch)) for f in (after, planned)
                )
                yield paths.astype(np.float64) - planned_paths

        return _quantiles_of_differences(differences(), self.levels)

    def _difference_by_history(
        self, changed: Changed, planned: Forecast, rows: Ints
    ) -> tuple[Forecast, tuple[Doubles, Doubles, Doubles]]:
        """Return the forecast times the ratio measured in the history, and quantiles of the expected difference."""
        assert self.measured is not None
        panel, horizon = self.panel.select(rows), planned.horizon
        direction = self.measured.direction(
            known_ahead(panel, horizon), known_ahead(changed.panel.select(rows), horizon)
        )
        measured = self.measured.select(rows)
        if not np.isfinite(direction).all():
            raise DataError(
                "a changed covariate is missing, or not above 0 where its logarithm is taken; give another value",
                option="changes",
                expected="values, above 0 where a logarithm is taken",
            )
        draws, mean = Draws.of(panel.keys, 0), planned.mean.astype(np.float64)
        common = np.random.default_rng(0).standard_normal((DRAWS, len(measured.names)))
        ratio = np.ones_like(mean)

        def differences() -> Iterator[Doubles]:
            for batch in _blocks(len(rows), horizon * DRAWS):
                weights = measured.select(batch).draw(draws.select(batch), common)
                log_factor = np.einsum("nhk,nsk->nsh", direction[batch], weights)
                factor = np.exp(np.clip(log_factor, -20, 20))
                ratio[batch] = np.median(factor, 1)
                yield mean[batch, None] * (factor - 1)

        quantiles = _quantiles_of_differences(differences(), self.levels)
        return _multiply(planned, ratio), quantiles

    def _unused_notes(self, changed: Changed, after: Forecast) -> Iterator[str]:
        """Return notes on changed covariates that the model does not use.

        Raises:
            DataError: It uses none of them, so there is no effect to show.
        """
        ignored = [c for c in changed.columns if not self._responds(c, changed, after)]
        if len(ignored) == len(changed.columns):
            raise DataError(
                f"{self.model.name} learned nothing from {', '.join(map(repr, ignored))}: its forecast is the same at the "
                "smallest and at the largest value of the history, so there is no effect to show; effect='history' says "
                "what the history shows",
                option="effect", column=ignored[0], found=self.effect, expected="history",
            )  # fmt: skip
        for column in ignored:
            yield f"{self.model.name} learned nothing from {column!r}: the difference is that of the other covariates"
        if not forecasts_differ(self.planned, after):
            yield (
                f"the difference is 0: {self.model.name} does read {' and '.join(map(repr, changed.columns))}, but forecasts the "
                "same at these values"
            )

    def _responds(self, column: str, changed: Changed, after: Forecast) -> bool:
        """Return whether the forecast differs between the extremes of a covariate in the history."""
        if len(changed.columns) == 1 and forecasts_differ(self.planned, after):
            return True
        history = self.panel.known[self.panel.history_rows()]
        for extreme in (np.nanmin, np.nanmax):
            known = known_ahead(self.panel, self.planned.horizon)
            for at in columns_of(self.panel, column):
                known[..., at] = extreme(history[:, at])
            if forecasts_differ(
                self.planned, predict_like(self.model, with_ahead(self.panel, known), self.planned)
            ):
                return True
        return False

    def _constant_notes(self, changed: Changed, rows: Ints) -> Iterator[str]:
        """Return notes on how many series have no measurable effect of a changed covariate.

        Raises:
            DataError: No series has one.
        """
        assert self.measured is not None
        for column in changed.columns:
            varied = np.asarray(self.measured.varied[:, columns_of(self.panel, column)].any(1))
            if not varied.any():
                raise DataError(
                    f"{column!r} never changed within the history of a series, so the history shows no effect of it",
                    option="effect", column=column, found=self.effect, expected="model",
                )  # fmt: skip
            still = rows[~varied[rows]]
            if len(still):
                yield (
                    f"{column!r} never changed in the history of {len(still):,} of {len(rows):,} series, such as "
                    f"{self.panel.key(int(still[0]))}: they take the effect of the others"
                )


def _select_series(forecast: Forecast, rows: Ints) -> Forecast:
    """Return the forecast of some series."""
    samples = None if forecast.samples is None else forecast.samples[rows]
    return replace(
        forecast, keys=forecast.keys[rows.tolist()], cutoffs=forecast.cutoffs[rows],
        quantiles=forecast.quantiles[rows], mean=forecast.mean[rows], samples=samples, events=None,
        panel=None if forecast.panel is None else forecast.panel.select(rows),
    )  # fmt: skip


def _multiply(forecast: Forecast, ratio: Doubles) -> Forecast:
    """Return a forecast times a ratio (N, H), without the model, which did not make it."""
    scale = ratio.astype(np.float32)
    samples = None if forecast.samples is None else forecast.samples * scale[:, None]
    return replace(
        forecast, quantiles=forecast.quantiles * scale[..., None], mean=forecast.mean * scale, samples=samples,
        forecaster=None,
    )  # fmt: skip


def _quantiles_of_differences(
    differences: Iterable[Doubles], levels: Sequence[float]
) -> tuple[Doubles, Doubles, Doubles]:
    """Return quantiles of paths of differences, given in batches of series (n, S, H): by step, by series, and of all."""
    steps, sums = list[Doubles](), list[Doubles]()
    overall: Any = 0.0
    for difference in differences:
        steps.append(np.quantile(difference, levels, axis=1).transpose(1, 2, 0))
        sums.append(np.quantile(difference.sum(2), levels, axis=1).T)
        overall = overall + difference.sum((0, 2))
    return np.concatenate(steps), np.concatenate(sums), np.quantile(overall, levels)


def _blocks(n: int, width: int) -> list[Ints]:
    """Return the rows of blocks of at most `CELLS` numbers, or of one series of more."""
    return list(np.array_split(np.arange(n), max(1, min(n, -(-n * width // CELLS)))))
