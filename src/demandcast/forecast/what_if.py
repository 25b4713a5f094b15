"""Forecast again with other covariates, and compare: what a price or a promotion changes.

Both forecasts use the same random numbers, and their paths are matched, so that the difference is that of the covariates
alone. `effect="model"` asks the model: its own forecast with the other covariates. `effect="history"` measures the effect
in the history (`demandcast.panel.response`) and lays it on the forecast: its interval says how well the effect is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError
from demandcast.forecast.changes import (
    Change,
    Changed,
    ahead,
    apply,
    columns_of,
    resolve,
    with_ahead,
)
from demandcast.forecast.total import joint_paths, source
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
NOTHING = 1e-5  # share of the forecast below which a change counts as none
CLOSE = 1e-3  # share by which the repeated forecast may differ from the given one
FACTORS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)


class Predictor(Protocol):
    """The part of a model that a forecast keeps."""

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> str: ...

    def predict(self, panel: Panel, *, levels: Any, n_samples: int | None) -> Forecast: ...


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
        found = {"planned": planned, "changed": changed, "difference": changed - planned}
        found |= {
            f"difference_{level:g}": float(v)
            for level, v in zip(self.levels, self.sum, strict=True)
        }
        return found | {"ratio": changed / planned if planned else float("nan")}

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
    asked = _Asked.of(forecast, effect, check_levels(levels))
    return asked.compare(
        apply(asked.panel, changes, forecast.horizon), "; ".join(c.text for c in changes)
    )


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
    if len(factors) < 2 or any(not np.isfinite(f) or f <= 0 for f in factors):
        raise ConfigError(
            f"factors are {list(factors)}; give two or more numbers above 0, as in (0.8, 1.0, 1.2)"
        )
    panel = source(forecast)
    at = columns_of(panel, resolve(panel, column))
    if (
        panel.known_names[at[0]] != column
        or np.isin(panel.known[panel.history_rows()][:, at[0]], (0, 1)).all()
    ):
        raise ConfigError(
            f"{column!r} holds {'yes and no' if panel.known_names[at[0]] == column else 'categories'}, which have no curve; "
            f"ask forecast.what_if({column}=...)"
        )
    asked = _Asked.of(forecast, effect, levels)
    value = np.nanmean(ahead(asked.panel, forecast.horizon)[..., at[0]].astype(np.float64), 1)
    frames, notes = list[pl.DataFrame](), dict[str, None]()
    for factor in factors:
        if factor == 1:
            planned = asked.planned.mean.astype(np.float64).sum(1)
            columns = {"demand": planned, "ratio": np.ones_like(planned)} | {
                f"ratio_{v:g}": np.ones_like(planned) for v in levels
            }
        else:
            changed = apply(
                asked.panel, [Change.parse(f'"{column}"*={float(factor)!r}')], forecast.horizon
            )
            answer = asked.compare(changed, f"{column}*={factor:g}", keep_all=True)
            if factor in (min(factors), max(factors)):
                notes |= dict.fromkeys(answer.notes)
            planned, after = (
                f.mean.astype(np.float64).sum(1) for f in (answer.planned, answer.changed)
            )
            safe = np.where(planned > 0, planned, np.nan)
            columns = {"demand": after, "ratio": after / safe}
            columns |= {f"ratio_{v:g}": 1 + answer.sums[:, q] / safe for q, v in enumerate(levels)}
        named = {"factor": np.full(len(value), float(factor)), "value": value * factor, **columns}
        frames.append(asked.panel.keys.with_columns(pl.Series(k, v) for k, v in named.items()))
    keys = tuple(asked.panel.keys.columns)
    rank = asked.panel.keys.with_row_index("__series")
    frame = pl.concat(frames).join(rank, on=keys, how="left") if keys else pl.concat(frames)
    order = ["__series", "factor"] if keys else ["factor"]
    return ResponseTable(
        column, frame.sort(order).drop("__series", strict=False), keys, tuple(notes)
    )


@dataclass(frozen=True)
class _Asked:
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
    def of(cls, forecast: Forecast, effect: Effect, levels: tuple[float, ...]) -> _Asked:
        panel, model = _made_by(forecast)
        if not panel.known_names:
            raise DataError(
                f"the panel that {model.name} forecast has no covariates known ahead; name them: read_panel(..., known=[...])"
            )
        if effect == "history":
            short = np.flatnonzero(panel.extents - panel.lengths < forecast.horizon)
            if len(short):
                i = int(short[0])
                raise DataError(
                    f"known covariates reach {int(panel.extents[i] - panel.lengths[i])} of the {forecast.horizon} steps for "
                    f"series {panel.key(i)}; give them with predict(panel, future=frame), or --future FILE"
                )
            return cls(forecast, panel, model, effect, levels, Response.of(panel))
        if "known" not in model.takes:
            raise DataError(
                f"{model.name} does not read covariates known ahead, so it cannot tell what they change; forecast with "
                "a method that does, such as lightgbm, or ask effect='history'"
            )
        return cls(ask_again(forecast)[2], panel, model, effect, levels, None)

    def compare(self, changed: Changed, question: str, *, keep_all: bool = False) -> WhatIf:
        """Return the forecast as planned and with changed covariates, and the quantiles of their difference."""
        rows = (
            np.arange(self.panel.n_series) if keep_all else np.flatnonzero(changed.touched.any(1))
        )
        notes = list(changed.notes)
        planned = _rows(self.planned, rows)
        if self.measured is None:
            after = predict_like(self.model, changed.panel, self.planned)
            notes += self._learned(changed, after)
            after = _rows(after, rows)
            found = self._by_paths(planned, after)
        else:
            notes += self._varied(changed, rows)
            after, found = self._by_history(changed, planned, rows)
        return WhatIf(
            question, self.effect, planned, after, changed.touched[rows], self.levels, *found, notes=tuple(notes)
        )  # fmt: skip

    def _by_paths(self, planned: Forecast, after: Forecast) -> tuple[Doubles, Doubles, Doubles]:
        """Return quantiles of differences between matched paths: by step, by series, and of all."""
        n, horizon = planned.mean.shape
        blocks = _blocks(n, horizon * 200)
        pieces: list[tuple[Doubles, Doubles]] = []
        overall: Any = 0.0
        for rows in blocks:
            apart = joint_paths(_rows(after, rows)).astype(np.float64) - joint_paths(
                _rows(planned, rows)
            )
            pieces.append(
                (_quantiles(apart, self.levels), np.quantile(apart.sum(2), self.levels, axis=1).T)
            )
            overall = overall + apart.sum((0, 2))
        steps, sums = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return steps, sums, np.quantile(overall, self.levels)

    def _by_history(
        self, changed: Changed, planned: Forecast, rows: Ints
    ) -> tuple[Forecast, tuple[Doubles, Doubles, Doubles]]:
        """Return the forecast times the ratio measured in the history, and quantiles of the expected difference."""
        assert self.measured is not None
        panel, horizon = self.panel.select(rows), planned.horizon
        direction = self.measured.direction(
            ahead(panel, horizon), ahead(changed.panel.select(rows), horizon)
        )
        measured = self.measured.select(rows)
        if not np.isfinite(direction).all():
            raise DataError(
                "a changed covariate is missing, or not above 0 where its logarithm is taken; give another value"
            )
        draws, mean = Draws.of(panel.keys, 0), planned.mean.astype(np.float64)
        common = np.random.default_rng(0).standard_normal((DRAWS, len(measured.names)))
        ratio = np.ones_like(mean)
        pieces: list[tuple[Doubles, Doubles]] = []
        overall: Any = 0.0
        for some in _blocks(len(rows), horizon * DRAWS):
            weights = measured.select(some).draw(draws.select(some), common)
            factor = np.exp(np.clip(np.einsum("nhk,nsk->nsh", direction[some], weights), -20, 20))
            ratio[some] = np.median(factor, 1)
            apart = mean[some, None] * (factor - 1)
            pieces.append(
                (_quantiles(apart, self.levels), np.quantile(apart.sum(2), self.levels, axis=1).T)
            )
            overall = overall + apart.sum((0, 2))
        steps, sums = (np.concatenate(part) for part in zip(*pieces, strict=True))
        return _scaled(planned, ratio), (steps, sums, np.quantile(overall, self.levels))

    def _learned(self, changed: Changed, after: Forecast) -> Iterator[str]:
        """Return notes on changed covariates that the model does not use.

        Raises:
            DataError: It uses none of them, so there is no effect to show.
        """
        ignored = [c for c in changed.columns if not self._responds(c, changed, after)]
        if len(ignored) == len(changed.columns):
            raise DataError(
                f"{self.model.name} learned nothing from {', '.join(map(repr, ignored))}: its forecast is the same at the "
                "smallest and at the largest value of the history, so there is no effect to show; effect='history' says "
                "what the history shows"
            )
        for column in ignored:
            yield f"{self.model.name} learned nothing from {column!r}: the difference is that of the other covariates"
        if not _differs(self.planned, after):
            yield (
                f"the difference is 0: {self.model.name} does read {' and '.join(map(repr, changed.columns))}, but forecasts the "
                "same at these values"
            )

    def _responds(self, column: str, changed: Changed, after: Forecast) -> bool:
        """Return whether the forecast differs between the extremes of a covariate in the history."""
        if len(changed.columns) == 1 and _differs(self.planned, after):
            return True
        history = self.panel.known[self.panel.history_rows()]
        for extreme in (np.nanmin, np.nanmax):
            known = ahead(self.panel, self.planned.horizon)
            for at in columns_of(self.panel, column):
                known[..., at] = extreme(history[:, at])
            if _differs(
                self.planned, predict_like(self.model, with_ahead(self.panel, known), self.planned)
            ):
                return True
        return False

    def _varied(self, changed: Changed, rows: Ints) -> Iterator[str]:
        """Return notes on how many series have no measurable effect of a changed covariate.

        Raises:
            DataError: No series has one.
        """
        assert self.measured is not None
        for column in changed.columns:
            varied = np.asarray(self.measured.varied[:, columns_of(self.panel, column)].any(1))
            if not varied.any():
                raise DataError(
                    f"{column!r} never changed within the history of a series, so the history shows no effect of it"
                )
            still = rows[~varied[rows]]
            if len(still):
                yield (
                    f"{column!r} never changed in the history of {len(still):,} of {len(rows):,} series, such as "
                    f"{self.panel.key(int(still[0]))}: they take the effect of the others"
                )


def _made_by(forecast: Forecast) -> tuple[Panel, Predictor]:
    """Return the panel and the model of a forecast.

    Raises:
        DataError: The forecast does not hold them.
    """
    if forecast.forecaster is None or forecast.panel is None:
        raise DataError(
            "this forecast does not know the model that made it; ask of what model.predict returned"
        )
    return forecast.panel, forecast.forecaster


def ask_again(forecast: Forecast) -> tuple[Panel, Predictor, Forecast]:
    """Return the panel, the model, and its new forecast of the panel.

    Raises:
        DataError: The model forecasts other values: the forecast was adjusted, or the model was fitted again.
    """
    panel, model = _made_by(forecast)
    again = predict_like(model, panel, forecast)
    apart = np.abs(again.mean - forecast.mean)
    if not (apart <= CLOSE * (np.abs(forecast.mean) + np.abs(forecast.mean).mean())).all():
        raise DataError(
            f"{model.name} forecasts other values than this forecast has: it was adjusted since, or the model was fitted "
            "again; ask of what model.predict returns now"
        )
    return panel, model, again


def predict_like(model: Predictor, panel: Panel, like: Forecast) -> Forecast:
    """Forecast a panel at the levels of another forecast, with as many paths."""
    paths = None if like.samples is None else like.samples.shape[1]
    return model.predict(panel, levels=like.levels, n_samples=paths)


def _differs(one: Forecast, other: Forecast) -> bool:
    moved: Doubles = np.abs(other.quantiles - one.quantiles).max(2).astype(np.float64)
    return differs(one.mean, other.mean) or differs(one.mean, one.mean + moved)


def differs(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Return whether values (N, H) differ by more than rounding."""
    size = np.abs(one).astype(np.float64) + 1e-12
    return bool((np.abs(other - one) > NOTHING * (size + size.mean())).any())


def _rows(forecast: Forecast, rows: Ints) -> Forecast:
    """Return the forecast of some series."""
    samples = None if forecast.samples is None else forecast.samples[rows]
    return replace(
        forecast, keys=forecast.keys[rows.tolist()], cutoffs=forecast.cutoffs[rows],
        quantiles=forecast.quantiles[rows], mean=forecast.mean[rows], samples=samples, events=None,
        panel=None if forecast.panel is None else forecast.panel.select(rows),
    )  # fmt: skip


def _scaled(forecast: Forecast, ratio: Doubles) -> Forecast:
    """Return a forecast times a ratio (N, H), without the model, which did not make it."""
    scale = ratio.astype(np.float32)
    samples = None if forecast.samples is None else forecast.samples * scale[:, None]
    return replace(
        forecast, quantiles=forecast.quantiles * scale[..., None], mean=forecast.mean * scale, samples=samples,
        forecaster=None,
    )  # fmt: skip


def _quantiles(paths: Doubles, levels: Sequence[float]) -> Doubles:
    return np.asarray(np.quantile(paths, levels, axis=1).transpose(1, 2, 0))


def _blocks(n: int, width: int) -> list[Ints]:
    """Return the rows of blocks of at most `CELLS` numbers, or of one series of more."""
    return list(np.array_split(np.arange(n), max(1, min(n, -(-n * width // CELLS)))))
