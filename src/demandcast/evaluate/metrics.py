"""How far a forecast was from what came.

Two ways to join series, and every metric says which is its own: *pooled* metrics sum over all series
and steps, then divide, so large series count most; *per series* metrics divide by a series' own scale
first, so that every series counts the same.

Everywhere an actual of NaN was not observed: that step counts nowhere. A NaN in the forecast makes the
score NaN. Sums are taken in 64 bits.
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

SCORES = (
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
)  # fmt: skip  of every forecast
Array = NDArray[Any]
Doubles = NDArray[np.float64]


def nd(actual: Array, forecast: Array) -> float:
    """Normalised deviation, sum|y - f| / sum|y|, pooled; the same as `wape`.

    As in Salinas et al., "DeepAR", 2020, there of the median, which minimises it.

    Args:
        actual: Values that came, (N, H), NaN where not observed.
        forecast: Point forecasts, (N, H), same unit.

    Returns:
        Unitless, 0 at best; NaN where no actual differs from 0.

    Raises:
        ShapeError: The two differ in shape.

    Example:
        >>> nd(np.array([[2.0, 4.0, np.nan]]), np.array([[3.0, 4.0, 9.0]]))
        0.16666666666666666
    """
    seen = _seen(actual, forecast)
    return _ratio(_total(np.abs(_error(actual, forecast)), seen), _total(np.abs(actual), seen))


def wape(actual: Array, forecast: Array) -> float:
    """Weighted absolute percentage error: `nd` under the name that retailers give it."""
    return nd(actual, forecast)


def nrmse(actual: Array, forecast: Array) -> float:
    """Root mean squared error over mean|y|, pooled; the mean minimises it.

    sqrt(mean (y - f)^2) / mean|y|, Salinas et al. 2020. Unitless; NaN where no actual differs from 0.
    """
    seen = _seen(actual, forecast)
    count = int(seen.sum())
    squares = _total(_error(actual, forecast) ** 2, seen)
    return _ratio(np.sqrt(_ratio(squares, count)), _ratio(_total(np.abs(actual), seen), count))


def quantile_loss(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Pinball loss max(q e, (q - 1) e) of e = y - f_q, without the factor 2, (N, H, Q).

    In the target's unit. Koenker and Bassett, "Regression Quantiles", 1978. NaN where not observed.

    Args:
        actual: Values that came, (N, H).
        quantiles: Forecasts at the levels, (N, H, Q).
        levels: Probabilities, (Q,).
    """
    _check_levels(actual, quantiles, levels)
    error = np.asarray(actual, np.float64)[..., None] - quantiles  # (N, H, Q)
    return np.maximum(np.asarray(levels) * error, (np.asarray(levels) - 1) * error)


def wql(actual: Array, quantiles: Array, levels: Sequence[float]) -> float:
    """Weighted quantile loss, pooled, then averaged over the levels.

    2 sum_{i,t} quantile_loss / sum|y| at each level; GIFT-Eval's "mean_weighted_sum_quantile_loss" at
    levels 0.1 .. 0.9. At the one level 0.5 it equals `nd` of the median. Unitless; NaN where no actual
    differs from 0.
    """
    _check_levels(actual, quantiles, levels)
    seen = _seen(actual)
    scale = _total(np.abs(actual), seen)
    loss = quantile_loss(actual, quantiles, levels)
    return _ratio(2 * _total(loss, seen[..., None]), scale * len(levels))


def crps_samples(actual: Array, samples: Array) -> Doubles:
    """Continuous ranked probability score of the empirical distribution of paths, (N, H).

    mean|x - y| - mean|x - x'| / 2 over all pairs of the S samples, in the target's unit; Gneiting and
    Raftery, "Strictly Proper Scoring Rules", 2007, eq. 21. Its integral form is twice the pinball loss
    averaged over all levels. NaN where not observed.

    Args:
        actual: Values that came, (N, H).
        samples: Paths, (N, S, H).
    """
    if samples.ndim != 3 or (samples.shape[0], samples.shape[2]) != actual.shape:
        raise ShapeError(
            f"samples are {samples.shape}, but the actuals {actual.shape}; samples want the shape "
            "(series, paths, horizon), actuals (series, horizon)"
        )
    count = samples.shape[1]
    ordered = np.sort(np.asarray(samples, np.float64), axis=1)
    rank = 2 * np.arange(1, count + 1) - count - 1
    spread = np.einsum("s,nsh->nh", rank, ordered) / count**2  # half the mean of |x - x'|
    return np.asarray(np.abs(ordered - actual[:, None]).mean(1) - spread)


def smape(actual: Array, forecast: Array) -> float:
    """Symmetric absolute percentage error in [0, 2]: mean 2|y - f| / (|y| + |f|) over all steps.

    Makridakis, "Accuracy measures", 1993. A step where both are 0 is a hit and counts as 0.
    """
    seen = _seen(actual, forecast)
    size = np.abs(np.asarray(actual, np.float64)) + np.abs(forecast)
    each = 2 * np.abs(_error(actual, forecast)) / np.where(size == 0, 1, size)
    return _ratio(_total(each, seen), int(seen.sum()))


def mape(actual: Array, forecast: Array) -> float:
    """Absolute percentage error as a fraction: mean |y - f| / |y| over the steps where y is not 0.

    Steps of no demand are left out, so it says nothing of them; with zeros in the data use `wape`.
    """
    seen = _seen(actual, forecast) & (np.asarray(actual) != 0)
    size = np.where(seen, np.abs(actual), 1)
    return _ratio(_total(np.abs(_error(actual, forecast)) / size, seen), int(seen.sum()))


def bias(actual: Array, forecast: Array) -> float:
    """Sum (f - y) / sum|y|, pooled: 0.1 means forecasts 10 % too high, -0.1 too low."""
    seen = _seen(actual, forecast)
    return _ratio(-_total(_error(actual, forecast), seen), _total(np.abs(actual), seen))


def coverage(actual: Array, lower: Array, upper: Array) -> float:
    """Share of the observed values in [lower, upper], ends included; 0.8 is right for an 80 % interval."""
    seen = _seen(actual, lower, upper)
    inside = ((lower <= actual) & (actual <= upper)) + 0 * (upper - lower)  # NaN bounds give NaN
    return _ratio(_total(inside, seen), int(seen.sum()))


def quantile_coverage(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Share of the observed values at or below each quantile, (Q,); the level itself is right.

    mean 1[y <= f_q]. Whole numbers such as counts may lie on the quantile, so that more than the level
    is no fault there. NaN where nothing was observed.
    """
    _check_levels(actual, quantiles, levels)
    seen = _seen(actual)
    below = (np.asarray(actual)[..., None] <= quantiles) & seen[..., None]
    count = int(seen.sum())
    return below.sum((0, 1)) / count if count else np.full(len(levels), np.nan)


def level_coverage(actual: Array, quantiles: Array, levels: Sequence[float]) -> Doubles:
    """Return the share of values below each quantile, ties broken at random, (Q,); the level is right.

    As `quantile_coverage` where no value lies on its quantile. A value that equals the quantiles of the
    levels a to b lies as likely anywhere between them, and half-way to the levels beside them: below b with
    a share of what lies there. So honest forecasts of counts reach their levels too, with zeros in more
    than half of all steps (the randomised PIT of Czado, Gneiting and Held, 2009, in expectation). NaN
    where nothing was observed.

    Args:
        actual: Values that came, (N, H), NaN where not observed.
        quantiles: Forecasts at the levels, (N, H, Q).
        levels: Probabilities, increasing, (Q,).

    Example:
        >>> level_coverage(np.zeros((1, 8)), np.zeros((1, 8, 2)), [0.2, 0.6]).round(2)
        array([0.2, 0.6])
    """
    _check_levels(actual, quantiles, levels)
    seen = _seen(actual)
    value, at = np.asarray(actual)[seen][:, None], quantiles[seen]  # (seen, 1), (seen, Q)
    if not len(value) or not len(levels):
        return np.full(len(levels), np.nan)
    share = np.where(np.isnan(at), np.nan, (value < at).astype(np.float64))
    tied = value == at
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
    """Width of the interval plus what values outside it cost, mean over all steps.

    (u - l) + 2/a (l - y)^+ + 2/a (y - u)^+ with a = 1 - level; Gneiting and Raftery 2007, eq. 43. In the
    target's unit, so compare it between models, never between tables.

    Args:
        actual: Values that came, (N, H).
        lower: The (1 - level) / 2 quantile, (N, H).
        upper: The (1 + level) / 2 quantile, (N, H).
        level: What the interval is to hold, as 0.8.
    """
    seen = _seen(actual, lower, upper)
    low, high = _error(lower, actual), _error(actual, upper)
    outside = np.maximum(low, 0) + np.maximum(high, 0)
    each = _error(upper, lower) + 2 / (1 - level) * outside
    return _ratio(_total(each, seen), int(seen.sum()))


def seasonal_error(past: Array, *, period: int) -> Doubles:
    """Mean |y_t - y_{t - period}| over the past of each series, (N,), in the target's unit.

    Pairs of which one is not observed are left out; NaN where no pair is left.

    Args:
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.
        period: Steps in one season; 1 for the plain naive forecast.
    """
    n, steps = past.shape
    return _in_sample(past.ravel(), np.arange(n) * steps, np.full(n, steps), period, power=1)


def mase(actual: Array, forecast: Array, past: Array, *, period: int) -> Doubles:
    """Mean absolute scaled error of each series, (N,): mean|y - f| / `seasonal_error`.

    Hyndman and Koehler, "Another look at measures of forecast accuracy", 2006; FPP3, section 5.8.
    Average it over series with `np.nanmean`.

    Args:
        actual: Values that came, (N, H), NaN where not observed.
        forecast: Point forecasts, (N, H); the median minimises it.
        past: Values up to the cutoff, (N, C), NaN where not observed or before the start.
        period: Steps in one season.

    Returns:
        Unitless; below 1 is better than the seasonal naive forecast was on the past. NaN for a series
        of which nothing was observed, whose past is too short, or repeats itself exactly.

    Example:
        >>> past = np.array([[1.0, 3.0, 2.0, 4.0]])
        >>> mase(np.array([[3.0, 5.0]]), np.array([[2.0, 5.0]]), past, period=1)
        array([0.3])
    """
    return _mase(actual, forecast, seasonal_error(past, period=period))


def rmsse(actual: Array, forecast: Array, past: Array) -> Doubles:
    """Root mean squared scaled error of each series, (N,), as in the M5 competition.

    sqrt(mean (y - f)^2 / mean (y_t - y_{t-1})^2), the past counted from its first demand other than 0;
    Makridakis et al., "The M5 accuracy competition", 2022. The mean minimises it. NaN as in `mase`.
    """
    n, steps = past.shape
    squares = _in_sample(past.ravel(), np.arange(n) * steps, np.full(n, steps), 1, power=2)
    return _rmsse(actual, forecast, squares)


def sql(
    actual: Array, quantiles: Array, levels: Sequence[float], past: Array, *, period: int
) -> Doubles:
    """Scaled quantile loss of each series, (N,): 2 mean `quantile_loss` / `seasonal_error`.

    Averaged over the levels; Shchur et al., "fev-bench", 2025. At the one level 0.5 it equals `mase` of
    the median. NaN as in `mase`.
    """
    return _sql(actual, quantiles, levels, seasonal_error(past, period=period))


def scores(
    forecast: Forecast, actual: Array, panel: Panel, *, period: int | None = None
) -> dict[str, float]:
    """Every score of one forecast.

    The median is scored by wape, mase, smape and mape, the mean by nrmse, rmsse and bias. Pooled: wql,
    wape, nrmse, smape, mape, bias, coverage (ties broken at random, see `level_coverage`),
    interval_score. Per series, then averaged over the series that have
    one: mase, rmsse, sql; their scale is of all history. A series that repeats itself exactly or is no
    longer than one period has no such scale: it is left out there, and its share is `unscaled`.

    Args:
        forecast: Of N series over H steps.
        actual: Values that came, (N, H), NaN where not observed.
        panel: What was known: the panel the forecast was made of.
        period: Steps in one season, for mase and sql; that of the panel's frequency where not given.

    Returns:
        wql, wape, nrmse, mase, rmsse, sql, smape, mape, bias, coverage_50 (where the levels 0.25 and
        0.75 were forecast), coverage_80, interval_score_80, unscaled (the share of the series with
        observed values that mase and sql leave out). NaN for what the levels forecast do not reach, and for all of them where nothing was observed.

    Raises:
        ShapeError: `actual` or the panel do not match the forecast in series or steps.
        DataError: The panel ends at other steps than the forecast began.
    """
    shape = forecast.mean.shape
    if actual.shape != shape or panel.n_series != shape[0]:
        raise ShapeError(
            f"the forecast is {shape}, (series, horizon), the actuals {actual.shape} and the panel has "
            f"{panel.n_series} series; score panel.future_target(forecast.horizon) of the same panel"
        )
    if (moved := panel.ends() != forecast.cutoffs).any():
        raise DataError(
            f"series {panel.key(int(np.argmax(moved)))} of the panel does not end where the forecast "
            "begins; hand over the panel that the forecast was made of, as in panel.drop_last(horizon)"
        )
    came = _seen(actual).any(1)
    scale = _history_error(panel, panel.freq.period if period is None else period, power=1)
    squares = _history_error(panel, 1, power=2)
    scaled = came & (scale > 0)
    median = _at(forecast, 0.5)
    found = {
        "wql": wql(actual, forecast.quantiles, forecast.levels),
        "wape": wape(actual, median),
        "nrmse": nrmse(actual, forecast.mean),
        "mase": _average(_mase(actual, median, scale)[scaled]),
        "rmsse": _average(_rmsse(actual, forecast.mean, squares)[came & (squares > 0)]),
        "sql": _average(_sql(actual, forecast.quantiles, forecast.levels, scale)[scaled]),
        "smape": smape(actual, median),
        "mape": mape(actual, median),
        "bias": bias(actual, forecast.mean),
    }
    if np.isclose(forecast.levels, 0.25).any() and np.isclose(forecast.levels, 0.75).any():
        found["coverage_50"] = _band(forecast, actual, 0.25, 0.75)
    low, high = _at(forecast, 0.1), _at(forecast, 0.9)
    return found | {
        "coverage_80": _band(forecast, actual, 0.1, 0.9),
        "interval_score_80": interval_score(actual, low, high, 0.8),
        "unscaled": int((came & ~scaled).sum()) / max(1, int(came.sum())),
    }


def score_frame(frame: Any, *, actual: str = "actual") -> dict[str, float]:
    """The pooled scores of a tidy table: one row a series and step, as `Forecast.to_frame` gives it.

    Args:
        frame: A frame or path with the actuals beside quantiles in columns named by their level, "0.1"
            .. "0.9", and the "mean"; a null or NaN actual was not observed.
        actual: The column of the actuals.

    Returns:
        wql, wape, nrmse, smape, mape, bias, coverage_80 (ties broken at random), interval_score_80. The
        point forecast is the median "0.5", or the mean where there is no such column; nrmse and bias
        take the mean first. NaN for what lacks its columns.

    Raises:
        SchemaError: There is no column of actuals, or none of forecasts.
    """
    table = open_table(frame).collect()
    levels = sorted((c for c in table.columns if _is_level(c)), key=float)
    if actual not in table.columns or not (levels or "mean" in table.columns):
        raise SchemaError(
            f"the table holds the columns {table.columns}; scores want the actuals, named with "
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
    seen = _seen(actual, forecast)
    return _mean_of_series(np.abs(_error(actual, forecast)), seen) / _positive(scale)


def _rmsse(actual: Array, forecast: Array, squares: Doubles) -> Doubles:
    seen = _seen(actual, forecast)
    mean = _mean_of_series(_error(actual, forecast) ** 2, seen)
    return np.asarray(np.sqrt(mean / _positive(squares)))


def _sql(actual: Array, quantiles: Array, levels: Sequence[float], scale: Doubles) -> Doubles:
    loss = quantile_loss(actual, quantiles, levels)
    mean = 2 * _mean_of_series(loss.sum(2), _seen(actual)) / len(levels)
    return np.asarray(mean / _positive(scale))


def _history_error(panel: Panel, lag: int, *, power: int) -> Doubles:
    parts = panel.parts()
    return np.concatenate(
        [_in_sample(p.target, p.begins, p.lengths, lag, power=power) for p in parts]
    )


def _in_sample(target: Array, begins: Array, lengths: Array, lag: int, *, power: int) -> Doubles:
    """Mean |y_t - y_{t-lag}|^power of each series, a run of rows of a flat target, (N,).

    Squares (power 2) count from the first demand other than 0, as in the M5.
    """
    if lag < 1:
        raise ShapeError(f"a season of {lag} steps cannot scale an error; use period=1 or more")
    stops = begins + lengths
    if power == 2:
        demand = np.append(np.flatnonzero((target != 0) & ~np.isnan(target)), len(target))
        begins = np.minimum(demand[np.searchsorted(demand, begins)], stops)
    if len(target) <= lag:
        return np.full(len(begins), np.nan)
    step = np.abs(target[lag:] - target[:-lag])  # row t: from t to t + lag
    seen = ~np.isnan(step)
    step[~seen] = 0
    if power == 2:
        step = step.astype(np.float64) ** 2
    stops = np.maximum(stops - lag, begins)
    count = _sum_of_runs(seen, begins, stops, np.int64)
    total = _sum_of_runs(step, begins, stops, np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _sum_of_runs(values: Array, begins: Array, stops: Array, dtype: Any) -> Array:
    """Sum of values[begin:stop] for each pair, in one pass; an empty run sums to 0."""
    values = np.append(values, values.dtype.type(0))  # so that a run may stop at the end
    order = np.argsort(begins, kind="stable")  # in any other order reduceat would go over it again
    edges = np.minimum(np.stack([begins, stops], 1)[order].ravel(), len(values) - 1)
    sums = np.empty(len(begins), dtype)
    sums[order] = np.add.reduceat(values, edges, dtype=dtype)[::2]
    return np.where(stops > begins, sums, 0)


def _seen(actual: Array, *forecasts: Array) -> NDArray[np.bool_]:
    for forecast in forecasts:
        if actual.ndim != 2 or forecast.shape != actual.shape:
            raise ShapeError(
                f"the forecast is {forecast.shape} but the actuals are {actual.shape}, both "
                "(series, horizon); of samples take a quantile or the mean first"
            )
    return ~np.isnan(actual)


def _check_levels(actual: Array, quantiles: Array, levels: Sequence[float]) -> None:
    if quantiles.shape != (*actual.shape, len(levels)):
        raise ShapeError(
            f"quantiles are {quantiles.shape}, but {len(levels)} levels of actuals {actual.shape} want "
            f"{(*actual.shape, len(levels))}, (series, horizon, levels)"
        )


def _error(actual: Array, forecast: Array) -> Doubles:
    return np.subtract(actual, forecast, dtype=np.float64)


def _total(values: Array, seen: NDArray[np.bool_]) -> float:
    return float(np.where(seen, values, 0).sum(dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _mean_of_series(values: Doubles, seen: NDArray[np.bool_]) -> Doubles:
    count = seen.sum(1)
    return np.where(count > 0, np.where(seen, values, 0).sum(1) / np.maximum(count, 1), np.nan)


def _positive(scale: Doubles) -> Doubles:
    return np.where(scale > 0, scale, np.nan)


def _average(values: Doubles) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _at(forecast: Forecast, level: float) -> Array:
    """Values at a level, (N, H); NaN where the forecast does not reach it."""
    try:
        return forecast.quantile(level)
    except DataError:
        return np.full(forecast.mean.shape, np.nan)


def _band(forecast: Forecast, actual: Array, low: float, high: float) -> float:
    """The share of values between two levels, ties broken at random; NaN where they are not reached."""
    levels = sorted(
        {level for level in forecast.levels if not np.isclose(level, (low, high)).any()}
        | {low, high}
    )
    quantiles = np.stack([_at(forecast, level) for level in levels], -1)
    shares = dict(zip(levels, level_coverage(actual, quantiles, levels), strict=True))
    return float(shares[high] - shares[low])


def _is_level(name: str) -> bool:
    try:
        return 0 < float(name) < 1
    except ValueError:
        return False
