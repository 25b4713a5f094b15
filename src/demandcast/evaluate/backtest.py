"""Backtest methods from several cutoffs, always together with the seasonal naive forecast."""

from __future__ import annotations

import html
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast import registry
from demandcast.errors import ConfigError, DataError
from demandcast.evaluate.metrics import SCORES, scores
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forecaster import Forecaster, fit
from demandcast.frames.table_rows import show
from demandcast.panel.panel import Panel
from demandcast.progress import Bar
from demandcast.settings import check_levels, one_of

log = logging.getLogger("demandcast")
NAIVE = "seasonal_naive"
FIRST_METRICS = ("wql", "wape", "mase", "rmsse", "sql", "smape", "bias", "coverage_80")
LAST_COLUMNS = ("vs_seasonal_naive", "fit_seconds", "predict_seconds", "verdict")
HIDDEN_METRICS = ("mape",)  # shown only by name: it leaves out steps without demand


@dataclass(frozen=True)
class BacktestResult:
    """Forecasts of every model from every cutoff, the actual values, and the scores."""

    models: tuple[str, ...]
    folds: int
    horizon: int
    rows: pl.DataFrame  # one row a model and fold
    forecasts: dict[str, list[Forecast]] = field(
        repr=False
    )  # by model; one a fold, in order of time
    actuals: list[NDArray[np.float32]] = field(repr=False)  # (series, horizon), one a fold
    panels: list[Panel] = field(repr=False)  # the panel up to each cutoff
    step: int = 0  # between cutoffs
    metrics: tuple[str, ...] | None = None  # on the leaderboard; None for all but `HIDDEN_METRICS`

    def leaderboard(self, metrics: Sequence[str] | str | None = None) -> pl.DataFrame:
        """Return one row a model, best wQL first: mean scores over the folds, and a verdict on seasonal naive.

        Args:
            metrics: Metrics to show, in this order, in place of the default ones. Any of `scores`, and "mape": the
                mean of |y - median| / |y| over the steps with demand other than 0; it ignores all other steps.

        Raises:
            ConfigError: A metric is not known.
        """
        columns = [c for c in self.rows.columns if c not in ("model", "fold", "cutoff")]
        means = self.rows.group_by("model", maintain_order=True).agg(
            pl.col([c for c in columns if not c.endswith("_seconds")]).mean(),
            pl.col("fit_seconds", "predict_seconds").sum(),
        )
        naive = means.filter(pl.col("model") == NAIVE)["wql"].item()
        ratio = pl.col("wql") / naive if naive else pl.lit(None, pl.Float64)
        means = means.with_columns(vs_seasonal_naive=ratio).with_columns(
            verdict=pl.when(pl.col("model") == NAIVE)
            .then(pl.lit("is the seasonal naive"))
            .when(pl.col("wql") < naive)
            .then(pl.lit("beats seasonal naive"))
            .otherwise(pl.lit("loses to seasonal naive"))
        )
        known = [c for c in means.columns if c not in ("model", *LAST_COLUMNS)]
        chosen = self.metrics if metrics is None else check_metrics(metrics, known)
        if chosen is not None:
            return means.sort("wql").select("model", *chosen, *LAST_COLUMNS)
        first = [c for c in FIRST_METRICS if c in means.columns]
        rest = [c for c in known if c not in (*first, *HIDDEN_METRICS)]
        ratio_column, *other_columns = LAST_COLUMNS
        return means.select("model", *first, ratio_column, *rest, *other_columns).sort("wql")

    def losers(self) -> tuple[str, ...]:
        """Return the models whose wQL is no better than that of the seasonal naive forecast."""
        board = self.leaderboard()
        return tuple(board.filter(pl.col("verdict") == "loses to seasonal naive")["model"])

    def __repr__(self) -> str:
        best = self.leaderboard().row(0, named=True)
        return (
            f"BacktestResult({len(self.models)} models x {self.folds} folds of {self.horizon} steps; "
            f"best {best['model']}, wQL {best['wql']:.4g}, {best['verdict']})"
        )

    def _repr_html_(self) -> str:
        table: str = self.leaderboard()._repr_html_()
        return f"<b>{html.escape(repr(self))}</b>{table}"


def backtest(
    models: Sequence[Forecaster | str] | Forecaster | str,
    panel: Panel,
    *,
    folds: int = 1,
    step: int | None = None,
    refit: bool = True,
    levels: Sequence[float] = DEFAULT_LEVELS,
    horizon: int | None = None,
    metrics: Sequence[str] | str | None = None,
    n_samples: int | None = None,
    progress: bool = True,
) -> BacktestResult:
    """Forecast from rolling cutoffs and score the forecasts against the actual values.

    The last cutoff lies one horizon before the end of the panel, each earlier one `step` steps before the next. The
    seasonal naive forecast is always among the models.

    Args:
        models: Forecasters or names of methods; names need `horizon`.
        panel: The whole history.
        folds: Number of cutoffs.
        step: Steps between cutoffs; None for the horizon, so that folds do not overlap.
        refit: Fit at every cutoff. Otherwise fit at the first cutoff only; later forecasts still read all values up
            to their own cutoff.
        levels: Quantile levels to forecast and score; metrics of the median and of the 80 % interval need 0.5, and
            0.1 and 0.9.
        horizon: Steps to forecast, where models are names.
        metrics: Metrics on the leaderboard, in place of the default ones; see `BacktestResult.leaderboard`.
        n_samples: Sample paths of each forecast, which `replay` needs to order by them; none if None.
        progress: Show progress bars on stderr.

    Raises:
        ConfigError: Horizons differ, or a number is out of range.
        DataError: The history is too short for so many folds.
    """
    levels = check_levels(levels)
    shown_metrics = None if metrics is None else check_metrics(metrics, SCORES)
    requested = [models] if isinstance(models, (Forecaster, str)) else list(models)
    if not requested:
        raise ConfigError(
            "models is empty; name one or more, as in models=['tsb'], or only the seasonal naive: models='seasonal_naive'",
            option="models",
            found=[],
            expected="one method or more",
        )
    horizons = {m.horizon for m in requested if isinstance(m, Forecaster)} | {horizon} - {None}
    if len(horizons) != 1:
        raise ConfigError(
            f"models have the horizons {sorted(h for h in horizons if h)}, but must have one and the same; "
            "give the models by name and write backtest(..., horizon=28)",
            option="horizon",
            found=sorted(h for h in horizons if h),
            expected="one horizon",
        )
    steps = horizons.pop()
    assert steps is not None
    step = steps if step is None else step
    for name, value in (("folds", folds), ("step", step)):
        if value < 1:
            raise ConfigError(
                f"{name} is {value}; it must be 1 or more",
                option=name,
                found=value,
                expected="1 or more",
            )
    forecasters = [
        registry.create(m, horizon=steps) if isinstance(m, str) else m for m in requested
    ]
    if all(m.name != NAIVE for m in forecasters):
        forecasters.append(registry.create(NAIVE, horizon=steps))
    labels = _unique_labels(forecasters)
    held_out = steps + (folds - 1) * step
    if int(panel.lengths.max()) <= held_out:
        raise DataError(
            f"{folds} folds of {steps} steps hold out {held_out} steps, but the longest series has "
            f"{int(panel.lengths.max())}; use fewer folds or a shorter horizon",
            option="folds",
            found=folds,
            expected=f"fewer than {int(panel.lengths.max())} steps held out",
        )
    pasts = [panel.drop_last(steps + step * (folds - 1 - i)) for i in range(folds)]
    actuals = [past.future_target(steps, available=True) for past in pasts]
    if all(np.isnan(a).all() for a in actuals):
        raise DataError(
            "no value was observed after any of the cutoffs; use other folds",
            option="folds",
            found=folds,
        )
    rows: list[dict[str, Any]] = []
    forecasts: dict[str, list[Forecast]] = {label: [] for label in labels}
    with Bar(
        total=folds * len(forecasters),
        desc="backtest",
        disable=not progress,
        file=sys.stderr,
        leave=False,
    ) as bar:
        for label, model in zip(labels, forecasters, strict=True):
            for fold, (past, actual) in enumerate(zip(pasts, actuals, strict=True)):
                bar.set_postfix_str(f"{label}, fold {fold + 1}")
                started = time.perf_counter()
                if refit or fold == 0:
                    fit(model, past, progress=progress)
                fitted = time.perf_counter()
                forecast = model.predict(past, levels=levels, n_samples=n_samples)
                predicted = time.perf_counter()
                forecasts[label].append(forecast)
                rows.append(
                    {
                        "model": label,
                        "fold": fold + 1,
                        "cutoff": show(past.freq.times(past.ends().max(keepdims=True))[0]),
                        **scores(forecast, actual, past),
                        "fit_seconds": fitted - started,
                        "predict_seconds": predicted - fitted,
                    }
                )
                bar.update()
    result = BacktestResult(
        tuple(labels),
        folds,
        steps,
        pl.DataFrame(rows),
        forecasts,
        actuals,
        pasts,
        step,
        shown_metrics,
    )
    for label in result.losers():
        log.warning("%s loses to the seasonal naive forecast on this data", label)
    return result


def check_metrics(metrics: Sequence[str] | str, known: Sequence[str]) -> tuple[str, ...]:
    """Return metrics by name, from a list or from one text with commas; refuse names that are not known."""
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    names = tuple(dict.fromkeys(name.strip().lower() for name in names))
    for name in names:
        one_of("a metric", name, known)
    return names


def _unique_labels(models: Sequence[Forecaster]) -> list[str]:
    """Return the models' names, numbered where several have the same one."""
    names = [m.name for m in models]
    return [
        name if names.count(name) == 1 else f"{name}_{names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]
