"""Metrics: how far forecasts are from the actual values.

Metrics combine series in one of two ways. *Pooled* metrics sum over all series and steps and then divide, so large
series have the largest weight. *Per series* metrics divide by each series' own scale first, so every series has the
same weight.

An actual of NaN was not observed, and its step is left out. A NaN in the forecast makes the score NaN. Sums are taken
in 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError, SchemaError, ShapeError
from demandcast.forecast.forecast import Forecast
from demandcast.frames.source import open_table
from demandcast.panel.panel import Panel

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


def nd(actual: Array, forecast: Array) -> float:
    """Return the normalised deviation, sum|y - f| / sum|y|, pooled; the same as `wape`.

    As in Salinas et al., "DeepAR", 2020, who score the median with it; the median minimises it.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        forecast: Point forecasts, (N, H), same unit.

    Returns:
        Unitless, 0 at best; NaN where all actuals are 0.

    Raises:
        ShapeError: The shapes differ.

    Example:
        >>> nd(np.array([[2.0, 4.0, np.nan]]), np.array([[3.0, 4.0, 9.0]]))
        0.16666666666666666
    """
    observed = _observed_mask(actual, forecast)
    return _ratio(
        _sum_observed(np.abs(_error(actual, forecast)), observed),
        _sum_observed(np.abs(actual), observed),
    )


def wape(actual: Array, forecast: Array) -> float:
    """Return the weighted absolute percentage error: `nd` under the name used in retail."""
    return nd(actual, forecast)


def nrmse(actual: Array, forecast: Array) -> float:
    """Return the root mean squared error over mean|y|, pooled; the mean minimises it.

    sqrt(mean (y - f)^2) / mean|y|, Salinas et al. 2020. Unitless; NaN where all actuals are 0.
    """
    observed = _observed_mask(actual, forecast)
    count = int(observed.sum())
    squares = _sum_observed(_error(actual, forecast) ** 2, observed)
    return _ratio(
        np.sqrt(_ratio(squares, count)), _ratio(_sum_observed(np.abs(actual), observed), count)
    )


def quantile_loss(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the pinball loss max(q e, (q - 1) e) of e = y - f_q, without the factor 2, (N, H, Q).

    In the target's unit. Koenker and Bassett, "Regression Quantiles", 1978. NaN where not observed.

    Args:
        actual: Actual values, (N, H).
        quantiles: Quantile forecasts, (N, H, Q).
        levels: Quantile levels, (Q,).
    """
    _check_levels(actual, quantiles, levels)
    error = np.asarray(actual, np.float64)[..., None] - quantiles  # (N, H, Q)
    return np.maximum(np.asarray(levels) * error, (np.asarray(levels) - 1) * error)


def wql(actual: Array, quantiles: Array, levels: Sequence[float]) -> float:
    """Return the weighted quantile loss, pooled, then averaged over the levels.

    2 sum_{i,t} quantile_loss / sum|y| at each level; GIFT-Eval's "mean_weighted_sum_quantile_loss" at levels
    0.1 .. 0.9. With the single level 0.5 it equals `nd` of the median. Unitless; NaN where all actuals are 0.
    """
    _check_levels(actual, quantiles, levels)
    observed = _observed_mask(actual)
    scale = _sum_observed(np.abs(actual), observed)
    loss = quantile_loss(actual, quantiles, levels)
    return _ratio(2 * _sum_observed(loss, observed[..., None]), scale * len(levels))


def crps_samples(actual: Array, samples: Array) -> Doubles:
    """Return the continuous ranked probability score of the empirical distribution of paths, (N, H).

    mean|x - y| - mean|x - x'| / 2 over all pairs of the S samples, in the target's unit; Gneiting and Raftery,
    "Strictly Proper Scoring Rules", 2007, eq. 21. It equals twice the pinball loss averaged over all levels. NaN
    where not observed.

    Args:
        actual: Actual values, (N, H).
        samples: Paths, (N, S, H).
    """
    if samples.ndim != 3 or (samples.shape[0], samples.shape[2]) != actual.shape:
        raise ShapeError(
            f"samples are {samples.shape} and the actuals {actual.shape}; samples need the shape "
            "(series, paths, horizon), actuals (series, horizon)"
        )
    count = samples.shape[1]
    ordered = np.sort(np.asarray(samples, np.float64), axis=1)
    weights = 2 * np.arange(1, count + 1) - count - 1
    spread = np.einsum("s,nsh->nh", weights, ordered) / count**2  # half the mean of |x - x'|
    return np.asarray(np.abs(ordered - actual[:, None]).mean(1) - spread)


def smape(actual: Array, forecast: Array) -> float:
    """Return the symmetric absolute percentage error in [0, 2]: mean 2|y - f| / (|y| + |f|) over all steps.

    Makridakis, "Accuracy measures", 1993. A step at which both are 0 has the error 0.
    """
    observed = _observed_mask(actual, forecast)
    size = np.abs(np.asarray(actual, np.float64)) + np.abs(forecast)
    errors = 2 * np.abs(_error(actual, forecast)) / np.where(size == 0, 1, size)
    return _ratio(_sum_observed(errors, observed), int(observed.sum()))


def mape(actual: Array, forecast: Array) -> float:
    """Return the absolute percentage error as a fraction: mean |y - f| / |y| over the steps where y is not 0.

    Errors at steps without demand do not count; for data with zeros use `wape`.
    """
    observed = _observed_mask(actual, forecast) & (np.asarray(actual) != 0)
    size = np.where(observed, np.abs(actual), 1)
    return _ratio(
        _sum_observed(np.abs(_error(actual, forecast)) / size, observed), int(observed.sum())
    )


def bias(actual: Array, forecast: Array) -> float:
    """Return the bias sum(f - y) / sum|y|, pooled: 0.1 means that forecasts are 10 % too high, -0.1 too low."""
    observed = _observed_mask(actual, forecast)
    return _ratio(
        -_sum_observed(_error(actual, forecast), observed), _sum_observed(np.abs(actual), observed)
    )


def coverage(actual: Array, lower: Array, upper: Array) -> float:
    """Return the share of the observed values in [lower, upper]; a calibrated 80 % interval has 0.8."""
    observed = _observed_mask(actual, lower, upper)
    inside = ((lower <= actual) & (actual <= upper)) + 0 * (upper - lower)  # NaN bounds give NaN
    return _ratio(_sum_observed(inside, observed), int(observed.sum()))


def quantile_coverage(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the share of the observed values at or below each quantile, (Q,); calibrated ones have their level.

    mean 1[y <= f_q]. Counts may equal the quantile, so that calibrated quantiles of counts have more than their
    level; see `level_coverage`. NaN without an observed value.
    """
    _check_levels(actual, quantiles, levels)
    observed = _observed_mask(actual)
    below = (np.asarray(actual)[..., None] <= quantiles) & observed[..., None]
    count = int(observed.sum())
    return below.sum((0, 1)) / count if count else np.full(len(levels), np.nan)


def level_coverage(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the share of values below each quantile, ties broken at random, (Q,); calibrated ones have their level.

    Equals `quantile_coverage` where no value is equal to its quantile. A value equal to the quantiles of the levels a
    to b has a rank that is uniform from half-way to the level before a to half-way to the level after b. This is the
    randomised PIT of Czado, Gneiting and Held, 2009, in expectation: calibrated forecasts of counts have their levels
    too, even with zeros at more than half of the steps. NaN without an observed value.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        quantiles: Quantile forecasts, (N, H, Q).
        levels: Quantile levels, increasing, (Q,).

    Example:
        >>> level_coverage(np.zeros((1, 8)), np.zeros((1, 8, 2)), [0.2, 0.6]).round(2)
        array([0.2, 0.6])
    """
    _check_levels(actual, quantiles, levels)
    observed = _observed_mask(actual)
    values, limits = (
        np.asarray(actual)[observed][:, None],
        quantiles[observed],
    )  # (observed, 1), (observed, Q)
    if not len(values) or not len(levels):
        return np.full(len(levels), np.nan)
    share = np.where(np.isnan(limits), np.nan, (values < limits).astype(np.float64))
    tied = values == limits
    rows = np.flatnonzero(tied.any(1))
    if len(rows):
        level = np.asarray(levels, np.float64)
        first = tied[rows].argmax(1)
        last = len(level) - 1 - tied[rows][:, ::-1].argmax(1)
        edges = np.concatenate([[0.0], (level[1:] + level[:-1]) / 2, [1.0]])
        low, high = edges[first][:, None], edges[last + 1][:, None]
        share[rows] = np.where(tied[rows], (level - low) / (high - low), share[rows])
    return np.asarray(share.mean(0))


def interval_score(actual: Array, lower: Array, upper: Array, level: float) -> float:
    """Return the interval score: the width plus a penalty for values outside, mean over all steps.

    (u - l) + 2/a (l - y)^+ + 2/a (y - u)^+ with a = 1 - level; Gneiting and Raftery 2007, eq. 43. In the target's
    unit, so it compares models on one table, not tables.

    Args:
        actual: Actual values, (N, H).
        lower: The (1 - level) / 2 quantile, (N, H).
        upper: The (1 + level) / 2 quantile, (N, H).
        level: Probability of the interval, such as 0.8.
    """
    observed = _observed_mask(actual, lower, upper)
    too_low, too_high = _error(lower, actual), _error(actual, upper)
    outside = np.maximum(too_low, 0) + np.maximum(too_high, 0)
    step_scores = _error(upper, lower) + 2 / (1 - level) * outside
    return _ratio(_sum_observed(step_scores, observed), int(observed.sum()))


def seasonal_error(past: Array, *, period: int) -> Doubles:
    """Return the mean |y_t - y_{t - period}| over the past of each series, (N,), in the target's unit.

    Pairs with a value that was not observed are left out; NaN without a pair.

    Args:
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.
        period: Steps in one season; 1 for the plain naive forecast.
    """
    n, steps = past.shape
    return _in_sample_error(past.ravel(), np.arange(n) * steps, np.full(n, steps), period, power=1)


def mase(actual: Array, forecast: Array, past: Array, *, period: int) -> Doubles:
    """Return the mean absolute scaled error of each series, (N,): mean|y - f| / `seasonal_error`.

    Hyndman and Koehler, "Another look at measures of forecast accuracy", 2006; FPP3, section 5.8.
    Average it over series with `np.nanmean`.

    Args:
        actual: Actual values, (N, H), NaN where not observed.
        forecast: Point forecasts, (N, H); the median minimises it.
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.
        period: Steps in one season.

    Returns:
        Unitless; below 1 is better than the seasonal naive forecast was on the past. NaN for a series without an
        observed actual value, or whose past is too short or repeats itself exactly.

    Example:
        >>> past = np.array([[1.0, 3.0, 2.0, 4.0]])
        >>> mase(np.array([[3.0, 5.0]]), np.array([[2.0, 5.0]]), past, period=1)
        array([0.3])
    """
    return _mase(actual, forecast, seasonal_error(past, period=period))


def rmsse(actual: Array, forecast: Array, past: Array) -> Doubles:
    """Return the root mean squared scaled error of each series, (N,), as in the M5 competition.

    sqrt(mean (y - f)^2 / mean (y_t - y_{t-1})^2), with the past from its first value other than 0 on; Makridakis et
    al., "The M5 accuracy competition", 2022. The mean minimises it. NaN as in `mase`.
    """
    n, steps = past.shape
    squares = _in_sample_error(past.ravel(), np.arange(n) * steps, np.full(n, steps), 1, power=2)
    return _rmsse(actual, forecast, squares)


def sql(
    actual: Array, quantiles: Array, levels: Sequence[float], past: Array, *, period: int
) -> Doubles:
    """Return the scaled quantile loss of each series, (N,): 2 mean `quantile_loss` / `seasonal_error`.

    Averaged over the levels; Shchur et al., "fev-bench", 2025. With the single level 0.5 it equals `mase` of the
    median. NaN as in `mase`.
    """
    return _sql(actual, quantiles, levels, seasonal_error(past, period=period))


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
            f"{panel.n_series} series; score panel.future_target(forecast.horizon) of the same panel"
        )
    if (differs := panel.ends() != forecast.cutoffs).any():
        raise DataError(
            f"series {panel.key(int(np.argmax(differs)))} of the panel does not end where the forecast "
            "begins; give the panel that the forecast was made from, as in panel.drop_last(horizon)"
        )
    has_actual = _observed_mask(actual).any(1)
    scale = _history_error(panel, panel.freq.period if period is None else period, power=1)
    squares = _history_error(panel, 1, power=2)
    scaled = has_actual & (scale > 0)
    median = _quantile_or_nan(forecast, 0.5)
    result = {
        "wql": wql(actual, forecast.quantiles, forecast.levels),
        "wape": wape(actual, median),
        "nrmse": nrmse(actual, forecast.mean),
        "mase": _mean_or_nan(_mase(actual, median, scale)[scaled]),
        "rmsse": _mean_or_nan(_rmsse(actual, forecast.mean, squares)[has_actual & (squares > 0)]),
        "sql": _mean_or_nan(_sql(actual, forecast.quantiles, forecast.levels, scale)[scaled]),
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
            'actual=..., and forecasts in "mean" or in quantile columns such as "0.1", "0.5", "0.9"'
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


def _mase(actual: Array, forecast: Array, scale: Doubles) -> Doubles:
    """Return `mase` for given in-sample errors (N,)."""
    observed = _observed_mask(actual, forecast)
    return _mean_per_series(np.abs(_error(actual, forecast)), observed) / _positive_or_nan(scale)


def _rmsse(actual: Array, forecast: Array, squares: Doubles) -> Doubles:
    """Return `rmsse` for given in-sample squared errors (N,)."""
    observed = _observed_mask(actual, forecast)
    mean = _mean_per_series(_error(actual, forecast) ** 2, observed)
    return np.asarray(np.sqrt(mean / _positive_or_nan(squares)))


def _sql(actual: Array, quantiles: Array, levels: Sequence[float], scale: Doubles) -> Doubles:
    """Return `sql` for given in-sample errors (N,)."""
    loss = quantile_loss(actual, quantiles, levels)
    mean = 2 * _mean_per_series(loss.sum(2), _observed_mask(actual)) / len(levels)
    return np.asarray(mean / _positive_or_nan(scale))


def _history_error(panel: Panel, lag: int, *, power: int) -> Doubles:
    """Return `_in_sample_error` of all series of a panel, (N,)."""
    parts = panel.parts()
    return np.concatenate(
        [_in_sample_error(p.target, p.begins, p.lengths, lag, power=power) for p in parts]
    )


def _in_sample_error(
    target: Array, begins: Array, lengths: Array, lag: int, *, power: int
) -> Doubles:
    """Return the mean |y_t - y_{t-lag}|^power of each series, (N,); a series is a run of rows of a flat target.

    Squares (power 2) are taken from the first value other than 0 on, as in the M5.
    """
    if lag < 1:
        raise ShapeError(f"period is {lag}, but the scale of an error needs period=1 or more")
    stops = begins + lengths
    if power == 2:
        demand = np.append(np.flatnonzero((target != 0) & ~np.isnan(target)), len(target))
        begins = np.minimum(demand[np.searchsorted(demand, begins)], stops)
    if len(target) <= lag:
        return np.full(len(begins), np.nan)
    change = np.abs(target[lag:] - target[:-lag])  # row t: from t to t + lag
    observed = ~np.isnan(change)
    change[~observed] = 0
    if power == 2:
        change = change.astype(np.float64) ** 2
    stops = np.maximum(stops - lag, begins)
    count = _sum_runs(observed, begins, stops, np.int64)
    total = _sum_runs(change, begins, stops, np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sum_runs(values: Array, begins: Array, stops: Array, dtype: Any) -> Array:
    """Sum values[begin:stop] for each pair of begin and stop, in one pass; the sum of an empty run is 0."""
    values = np.append(values, values.dtype.type(0))  # so that a run may stop at the end
    order = np.argsort(begins, kind="stable")  # reduceat needs one pass where edges increase
    edges = np.minimum(np.stack([begins, stops], 1)[order].ravel(), len(values) - 1)
    sums = np.empty(len(begins), dtype)
    sums[order] = np.add.reduceat(values, edges, dtype=dtype)[::2]
    return np.where(stops > begins, sums, 0)


def _observed_mask(actual: Array, *forecasts: Array) -> NDArray[np.bool_]:
    """Return the mask of observed values, (N, H), after checking the shapes of the forecasts."""
    for forecast in forecasts:
        if actual.ndim != 2 or forecast.shape != actual.shape:
            raise ShapeError(
                f"the forecast is {forecast.shape} but the actuals are {actual.shape}, both "
                "(series, horizon); for samples, take a quantile or the mean first"
            )
    return ~np.isnan(actual)


def _check_levels(actual: Array, quantiles: Array, levels: Sequence[float]) -> None:
    """Refuse quantiles whose shape is not (series, horizon, levels)."""
    if quantiles.shape != (*actual.shape, len(levels)):
        raise ShapeError(
            f"quantiles are {quantiles.shape}, but {len(levels)} levels of actuals {actual.shape} need "
            f"{(*actual.shape, len(levels))}, (series, horizon, levels)"
        )


def _error(actual: Array, forecast: Array) -> Doubles:
    """Return actual minus forecast in 64 bits."""
    return np.subtract(actual, forecast, dtype=np.float64)


def _sum_observed(values: Array, observed: NDArray[np.bool_]) -> float:
    """Sum the values at observed steps."""
    return float(np.where(observed, values, 0).sum(dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    """Return part / whole, NaN where the whole is 0."""
    return float(part / whole) if whole else float("nan")


def _mean_per_series(values: Doubles, observed: NDArray[np.bool_]) -> Doubles:
    """Return the mean of each series' values at observed steps, (N,); NaN without any."""
    count = observed.sum(1)
    return np.where(count > 0, np.where(observed, values, 0).sum(1) / np.maximum(count, 1), np.nan)


def _positive_or_nan(scale: Doubles) -> Doubles:
    """Return the scale where it is positive, else NaN."""
    return np.where(scale > 0, scale, np.nan)


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
