"""Forecasts from several cutoffs, scored, with the seasonal naive forecast beside them."""

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
from tqdm import tqdm

from demandcast import registry
from demandcast.errors import ConfigError, DataError
from demandcast.evaluate.metrics import SCORES, scores
from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast
from demandcast.forecaster import Forecaster, fit
from demandcast.frames.regularise import show
from demandcast.panel.panel import Panel
from demandcast.settings import check_levels, one_of

log = logging.getLogger("demandcast")
NAIVE = "seasonal_naive"
LEADING = ("wql", "wape", "mase", "rmsse", "sql", "smape", "bias", "coverage_80")
END = ("vs_seasonal_naive", "fit_seconds", "predict_seconds", "verdict")
ASKED = ("mape",)  # shown where it is asked for: it leaves out steps of no demand


@dataclass(frozen=True)
class BacktestResult:
    """Forecasts of every model from every cutoff, what came true, and the scores."""

    models: tuple[str, ...]
    folds: int
    horizon: int
    rows: pl.DataFrame  # a row for each model and fold
    forecasts: dict[str, list[Forecast]] = field(repr=False)  # the last fold last
    actuals: list[NDArray[np.float32]] = field(repr=False)  # (series, horizon) of each fold
    panels: list[Panel] = field(repr=False)  # what was known at each cutoff
    metrics: tuple[str, ...] | None = None  # shown on the leaderboard; None for all but `ASKED`

    def leaderboard(self, metrics: Sequence[str] | str | None = None) -> pl.DataFrame:
        """One row a model, best wQL first: mean scores over the folds, and whether it beats the naive.

        Args:
            metrics: Scores to show, in this order, in place of the usual ones. All of `scores`, "mape"
                among them: the mean of |y - median| / |y| over the steps with demand other than 0, which
                says nothing of the others.

        Raises:
            ConfigError: There is no such score.
        """
        measures = [c for c in self.rows.columns if c not in ("model", "fold", "cutoff")]
        means = self.rows.group_by("model", maintain_order=True).agg(
            pl.col([c for c in measures if not c.endswith("_seconds")]).mean(),
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
        scored = [c for c in means.columns if c not in ("model", *END)]
        wanted = self.metrics if metrics is None else check_metrics(metrics, scored)
        if wanted is not None:
            return means.sort("wql").select("model", *wanted, *END)
        front = [c for c in LEADING if c in means.columns]
        rest = [c for c in scored if c not in (*front, *ASKED)]
        return means.select("model", *front, *END[:1], *rest, *END[1:]).sort("wql")

    def losers(self) -> tuple[str, ...]:
        """Models whose wQL is no better than the seasonal naive's."""
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
    progress: bool = True,
) -> BacktestResult:
    """Forecast from rolling cutoffs and score against what came.

    The last cutoff leaves one horizon behind it, each earlier fold lies `step` steps before. The
    seasonal naive is always among the models.

    Args:
        models: Forecasters or names; names need `horizon`.
        panel: The whole history.
        folds: Cutoffs.
        step: Steps between cutoffs; None for the horizon, so that folds do not overlap.
        refit: Fit at every cutoff; else at the first only, each later forecast knowing all before it.
        levels: Quantile levels to score; 0.1, 0.5 and 0.9 among them keep all metrics.
        horizon: Steps to forecast, where models are names.
        metrics: Scores on the leaderboard, in place of the usual ones; see `BacktestResult.leaderboard`.
        progress: Show bars, on stderr.

    Raises:
        ConfigError: Horizons differ, two models have one name, or a number is out of range.
        DataError: The history is too short for so many folds.
    """
    levels = check_levels(levels)
    shown = None if metrics is None else check_metrics(metrics, SCORES)
    chosen = [models] if isinstance(models, (Forecaster, str)) else list(models)
    horizons = {m.horizon for m in chosen if isinstance(m, Forecaster)} | {horizon} - {None}
    if len(horizons) != 1:
        raise ConfigError(
            f"models have horizons {sorted(h for h in horizons if h)}; give all the same, or name "
            "them and say backtest(..., horizon=28)"
        )
    steps = horizons.pop()
    assert steps is not None
    step = steps if step is None else step
    for name, value in (("folds", folds), ("step", step)):
        if value < 1:
            raise ConfigError(f"{name} is {value}; it is 1 or more")
    made = [registry.create(m, horizon=steps) if isinstance(m, str) else m for m in chosen]
    if all(m.name != NAIVE for m in made):
        made.append(registry.create(NAIVE, horizon=steps))
    labels = _labels(made)
    need = steps + (folds - 1) * step
    if int(panel.lengths.max()) <= need:
        raise DataError(
            f"{folds} folds of {steps} steps hold out {need} steps, but the longest series has "
            f"{int(panel.lengths.max())}; use fewer folds or a shorter horizon"
        )
    known = [panel.drop_last(steps + step * (folds - 1 - i)) for i in range(folds)]
    actuals = [part.future_target(steps) for part in known]
    if all(np.isnan(a).all() for a in actuals):
        raise DataError("nothing was observed in the stretches held out; use other folds")
    rows: list[dict[str, Any]] = []
    forecasts: dict[str, list[Forecast]] = {label: [] for label in labels}
    bar = tqdm(
        total=folds * len(made), desc="backtest", disable=not progress, file=sys.stderr, leave=False
    )
    for label, model in zip(labels, made, strict=True):
        for fold, (part, actual) in enumerate(zip(known, actuals, strict=True)):
            bar.set_postfix_str(f"{label}, fold {fold + 1}")
            began = time.perf_counter()
            if refit or fold == 0:
                fit(model, part, progress=progress)
            fitted = time.perf_counter()
            forecast = model.predict(part, levels=levels)
            done = time.perf_counter()
            forecasts[label].append(forecast)
            rows.append(
                {
                    "model": label,
                    "fold": fold + 1,
                    "cutoff": show(part.freq.times(part.ends().max(keepdims=True))[0]),
                    **scores(forecast, actual, part),
                    "fit_seconds": fitted - began,
                    "predict_seconds": done - fitted,
                }
            )
            bar.update()
    bar.close()
    result = BacktestResult(
        tuple(labels), folds, steps, pl.DataFrame(rows), forecasts, actuals, known, shown
    )
    for label in result.losers():
        log.warning("%s loses to the seasonal naive forecast on this data", label)
    return result


def check_metrics(metrics: Sequence[str] | str, known: Sequence[str]) -> tuple[str, ...]:
    """Return names of scores, from one name, several by commas or a list; refuse unknown ones by name."""
    names = metrics.split(",") if isinstance(metrics, str) else metrics
    names = tuple(dict.fromkeys(name.strip().lower() for name in names))
    for name in names:
        one_of("a metric", name, known)
    return names


def _labels(models: Sequence[Forecaster]) -> list[str]:
    """Names, numbered where one comes twice."""
    names = [m.name for m in models]
    return [
        name if names.count(name) == 1 else f"{name}_{names[: i + 1].count(name)}"
        for i, name in enumerate(names)
    ]
