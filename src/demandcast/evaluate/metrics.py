"""Metrics: how far forecasts are from the actual values.

Metrics combine series in one of two ways. *Pooled* metrics sum over all series and steps and then divide, so large
series have the largest weight. *Per series* metrics divide by each series' own scale first, so every series has the
same weight.

An actual of NaN was not observed, and its step is left out. A NaN in the forecast makes the score NaN. Sums are taken
in 64 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, ShapeError
from demandcast.evaluate.in_sample_error import history_error, seasonal_error
from demandcast.evaluate.observed import observed_mask
from demandcast.evaluate.point_metrics import (
    bias,
    mape,
    mase,
    mase_of_scale,
    nd,
    nrmse,
    rmsse,
    rmsse_of_scale,
    smape,
    wape,
)
from demandcast.evaluate.quantile_metrics import (
    coverage,
    crps_samples,
    interval_score,
    level_coverage,
    quantile_coverage,
    quantile_loss,
    sql,
    sql_of_scale,
    wql,
)
from demandcast.forecast.forecast import Forecast
from demandcast.frames.source import open_table
from demandcast.panel.panel import Panel

__all__ = [
    "SCORES",
    "bias",
    "coverage",
    "crps_samples",
    "interval_score",
    "level_coverage",
    "mape",
    "mase",
    "nd",
    "nrmse",
    "quantile_coverage",
    "quantile_loss",
    "rmsse",
    "score_frame",
    "scores",
    "seasonal_error",
    "smape",
    "sql",
    "wape",
    "wql",
]
SCORES = (  # in the result of `scores`
    "wql",
    "wape",
    "nrmse",
    "mase",
    "rmsse",
    "sql",
    "smape",
    "mape",
    "bias",
    "coverage_80",
    "interval_score_80",
    "unscaled",
)  # fmt: skip
Array = NDArray[Any]
Doubles = NDArray[np.float64]


def scores(
    forecast: Forecast, actual: Array, panel: Panel, *, period: int | None = None
) -> dict[str, float]:
    """Return every score of one forecast.

    - wape, mase, smape and mape score the median; nrmse, rmsse and bias the mean.
    - wql, wape, nrmse, smape, mape, bias, coverage (ties broken at random, see `level_coverage`) and interval_score
      are pooled. mase, rmsse and sql are per series, then averaged.
    - The scale of mase, rmsse and sql is taken over all history. A series that repeats itself exactly, or is no longer
      than one period, has no scale and is left out of them; `unscaled` is the share of such series.

    Args:
        forecast: Forecast of N series over H steps.
        actual: Actual values, (N, H), NaN where not observed.
        panel: The panel that the forecast was made from, up to the cutoff.
        period: Steps in one season, for mase and sql; None for that of the panel's frequency.

    Returns:
        wql, wape, nrmse, mase, rmsse, sql, smape, mape, bias, coverage_50 (where the levels 0.25 and 0.75 were
        forecast), coverage_80, interval_score_80, and unscaled, the share of the series with observed values that
        mase and sql leave out. NaN for metrics of levels that were not forecast, and without an observed value.

    Raises:
        ShapeError: `actual` or the panel do not match the forecast in series or steps.
        DataError: The panel does not end where the forecast begins.
    """
    shape = forecast.mean.shape
    if actual.shape != shape or panel.n_series != shape[0]:
        raise ShapeError(
            f"the forecast is {shape}, (series, horizon), the actuals {actual.shape} and the panel has "
            f"{panel.n_series} series; score panel.future_target(forecast.horizon) of the same panel",
            found=actual.shape,
            expected=str(shape),
        )
    if (differs := panel.ends() != forecast.cutoffs).any():
        raise DataError(
            f"series {panel.key(int(np.argmax(differs)))} of the panel does not end where the forecast "
            "begins; give the panel that the forecast was made from, as in panel.drop_last(horizon)",
            series=panel.key(int(np.argmax(differs))),
        )
    has_actual = observed_mask(actual).any(1)
    scale = history_error(panel, panel.freq.period if period is None else period, power=1)
    squares = history_error(panel, 1, power=2)
    scaled = has_actual & (scale > 0)
    median = _quantile_or_nan(forecast, 0.5)
    result = {
        "wql": wql(actual, forecast.quantiles, forecast.levels),
        "wape": wape(actual, median),
        "nrmse": nrmse(actual, forecast.mean),
        "mase": _mean_or_nan(mase_of_scale(actual, median, scale)[scaled]),
        "rmsse": _mean_or_nan(
            rmsse_of_scale(actual, forecast.mean, squares)[has_actual & (squares > 0)]
        ),
        "sql": _mean_or_nan(
            sql_of_scale(actual, forecast.quantiles, forecast.levels, scale)[scaled]
        ),
        "smape": smape(actual, median),
        "mape": mape(actual, median),
        "bias": bias(actual, forecast.mean),
    }
    if np.isclose(forecast.levels, 0.25).any() and np.isclose(forecast.levels, 0.75).any():
        result["coverage_50"] = _interval_coverage(forecast, actual, 0.25, 0.75)
    low, high = _quantile_or_nan(forecast, 0.1), _quantile_or_nan(forecast, 0.9)
    return result | {
        "coverage_80": _interval_coverage(forecast, actual, 0.1, 0.9),
        "interval_score_80": interval_score(actual, low, high, 0.8),
        "unscaled": int((has_actual & ~scaled).sum()) / max(1, int(has_actual.sum())),
    }


def score_frame(frame: Any, *, actual: str = "actual") -> dict[str, float]:
    """Return the pooled scores of a tidy table with one row a series and step, such as `Forecast.to_frame` returns.

    Args:
        frame: A frame or path with a column of actuals, quantiles in columns named by their level, "0.1" .. "0.9",
            and the "mean". A null or NaN actual was not observed.
        actual: Name of the column of actuals.

    Returns:
        wql, wape, nrmse, smape, mape, bias, coverage_80 (ties broken at random), interval_score_80. wape, smape and
        mape score the median "0.5", or the mean without such a column; nrmse and bias score the mean, or the median
        without it. NaN for metrics whose columns are missing.

    Raises:
        SchemaError: The table has no column of actuals, or none of forecasts.
    """
    table = open_table(frame, row="an actual value and its forecasts").collect()
    levels = sorted((c for c in table.columns if _is_level(c)), key=float)
    if actual not in table.columns or not (levels or "mean" in table.columns):
        raise SchemaError(
            f"the table holds the columns {table.columns}; scores need the actuals, named with "
            'actual=..., and forecasts in "mean" or in quantile columns such as "0.1", "0.5", "0.9"',
            column=actual,
            found=table.columns,
        )

    def column(*names: str) -> Doubles:
        name = next((n for n in names if n in table.columns), None)
        values = np.full(table.height, np.nan) if name is None else table[name].cast(float)
        return np.asarray(values, np.float64)[:, None]  # (rows, 1)

    y, point, mean = column(actual), column("0.5", "mean"), column("mean", "0.5")
    quantiles = np.stack([column(c) for c in levels], 2) if levels else np.zeros((len(y), 1, 0))
    low, high = column("0.1"), column("0.9")
    shares = dict(
        zip(levels, level_coverage(y, quantiles, [float(c) for c in levels]), strict=True)
    )
    return {
        "wql": wql(y, quantiles, [float(c) for c in levels]),
        "wape": wape(y, point),
        "nrmse": nrmse(y, mean),
        "smape": smape(y, point),
        "mape": mape(y, point),
        "bias": bias(y, mean),
        "coverage_80": float(shares.get("0.9", np.nan) - shares.get("0.1", np.nan)),
        "interval_score_80": interval_score(y, low, high, 0.8),
    }


def _mean_or_nan(values: Doubles) -> float:
    """Return the mean of the values, NaN without any."""
    return float(values.mean()) if len(values) else float("nan")


def _quantile_or_nan(forecast: Forecast, level: float) -> Array:
    """Return the quantiles at a level, (N, H); NaN where the level was not forecast."""
    try:
        return forecast.quantile(level)
    except DataError:
        return np.full(forecast.mean.shape, np.nan)


def _interval_coverage(forecast: Forecast, actual: Array, low: float, high: float) -> float:
    """Return the share of values between two levels, ties broken at random; NaN where one was not forecast."""
    levels = sorted(
        {level for level in forecast.levels if not np.isclose(level, (low, high)).any()}
        | {low, high}
    )
    quantiles = np.stack([_quantile_or_nan(forecast, level) for level in levels], -1)
    shares = dict(zip(levels, level_coverage(actual, quantiles, levels), strict=True))
    return float(shares[high] - shares[low])


def _is_level(name: str) -> bool:
    """Return whether a column name is a number in (0, 1)."""
    try:
        return 0 < float(name) < 1
    except ValueError:
        return False
