"""Reconcile forecasts of series with forecasts of their totals, on joint paths.

`demandcast.forecast.least_squares` states the problem and solves it for each path and step. Here the totals are matched
with the series, variances are chosen, and the result is made a forecast again. Totals of the result are coherent
because they are the sums of its series.

Each path of a total meets the path of the series' sum that has its rank. Counts are rounded so that they stay counts
and keep their mean, and so that sums of them move by less than 1.

Totals may have coarser steps than the series: weeks of days. Then all steps of a path are one problem, in which a total
adds up the cells (series, step) of its group and span. So are totals that are kept for the whole horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import ConfigError, DataError, way
from demandcast.forecast.locks import read_locks
from demandcast.forecast.reconcile_problem import Level, Problem
from demandcast.forecast.total import joint_paths, sorted_values, source, whole_steps
from demandcast.frequency import Frequency
from demandcast.panel.groups import TOTAL, group

if TYPE_CHECKING:
    from demandcast.forecast.forecast import Forecast

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
WEIGHTS = ("structure", "variance", "top_down")
LEAST = 1e-9  # share of the mean variance that every forecast has


def reconcile(
    forecast: Forecast,
    totals: Sequence[Forecast],
    weights: str,
    trust: Sequence[float] | None = None,
    locks: Any = None,
) -> Forecast:
    """Reconcile a forecast with forecasts of its totals, as `Forecast.reconcile` documents."""
    if weights not in WEIGHTS:
        raise ConfigError(
            f"weights is {weights!r}; choose one of {', '.join(WEIGHTS)}",
            option="weights",
            found=weights,
            expected=", ".join(WEIGHTS),
        )
    if not totals and locks is None:
        raise ConfigError(
            "name one forecast of totals or more, or locks: forecast.reconcile(model.predict(panel.total('store')))",
            option="totals",
            found=0,
            expected="a forecast of totals, or locks",
        )
    if weights == "top_down" and (len(totals) != 1 or locks is not None):
        raise ConfigError(
            f"weights='top_down' keeps the totals of one level as they are; {len(totals)} levels"
            f"{' and locks' if locks is not None else ''} are given: choose 'structure' or 'variance'",
            option="weights",
            found=weights,
            expected="structure or variance",
        )
    trusts = _trusts(trust, len(totals))
    panel = source(forecast)
    checked_locks = [] if locks is None else read_locks(forecast, panel, locks)
    paths = joint_paths(forecast)
    if paths is forecast.samples:
        paths = paths.copy()
    levels = [
        replace(_level(forecast, total, paths.shape[1]), trust=t)
        for total, t in zip(totals, trusts, strict=True)
    ]
    problem = Problem(
        forecast, levels, checked_locks, weights, *_variances(paths, forecast, levels, weights)
    )
    mean = np.empty_like(forecast.mean)
    quantiles = np.empty_like(forecast.quantiles)
    cost = problem.solve(paths, mean, quantiles)
    return replace(
        forecast, quantiles=quantiles, mean=mean, samples=paths, joint=True, events=None,
        notes=(*forecast.notes, *problem.notes(), *cost.note()),
    )  # fmt: skip


def _trusts(trust: Sequence[float] | None, count: int) -> list[float]:
    """Check the trust in each level of totals."""
    trusts = [1.0] * count if trust is None else [float(t) for t in trust]
    if len(trusts) != count:
        raise ConfigError(
            f"trust has {len(trusts)} numbers for {count} forecasts of totals; give one for each",
            option="trust",
            found=len(trusts),
            expected=f"{count} numbers",
        )
    for t in trusts:
        if not 0 < t < np.inf:
            raise ConfigError(
                f"trust is {t:g}; it is a number above 0: 2 halves the error variance of a level, 1 changes nothing. "
                "Keep totals exactly with locks",
                option="trust",
                found=t,
                expected="a number above 0",
            )
    return trusts


def _level(forecast: Forecast, total: Forecast, count: int) -> Level:
    """Match the groups and steps of a forecast of totals with those of the series.

    Raises:
        DataError: They do not fit together.
    """
    panel = source(forecast)
    columns = (
        []
        if total.keys.columns == [TOTAL] and TOTAL not in panel.keys.columns
        else total.keys.columns
    )
    groups = group(panel, columns)
    order = {key: i for i, key in enumerate(total.keys.rows())}
    lacking = [key for key in groups.table.rows() if key not in order]
    if lacking:
        raise DataError(
            f"the forecast of totals by {', '.join(total.keys.columns)} lacks {lacking[0]!r}; forecast "
            f"panel.total({columns!r}) of the same panel"
        )
    rows = np.array([order[key] for key in groups.table.rows()])
    values, mean = sorted_values(total, rows, count), total.mean[rows]
    if total.schema.freq != forecast.schema.freq:
        span, coarse_steps = _spans(forecast, total)
        return Level(groups.code, span, values[..., coarse_steps], mean[:, coarse_steps])
    if total.horizon != forecast.horizon:
        raise DataError(
            f"totals are forecast for {total.horizon} steps of {total.schema.freq}, the series for "
            f"{forecast.horizon} of {forecast.schema.freq}; forecast both for the same steps",
            option="horizon",
            found=total.horizon,
            expected=f"{forecast.horizon} steps of {forecast.schema.freq}",
        )
    odd = total.cutoffs[rows][groups.code] != forecast.cutoffs
    if odd.any():
        i = int(odd.argmax())
        raise DataError(
            f"series {panel.key(i)} ends at another step than its total {groups.table.row(int(groups.code[i]))!r}, so their "
            "forecasts begin at different steps; read the table with",
            ways=[way("leaves out what ended", ended="skip")],
        )
    return Level(groups.code, np.arange(forecast.horizon), values, mean)


def _spans(forecast: Forecast, total: Forecast) -> tuple[Ints, Ints]:
    """Return the coarse step that each step is in, (H,), -1 for none, and which steps of the totals these are, (P,).

    Raises:
        DataError: Series or totals end at different times, or they share no whole step.
    """
    for each, name in ((forecast, "series"), (total, "totals")):
        if (each.cutoffs != each.cutoffs[0]).any():
            raise DataError(
                f"the {name} end at different steps, so they share no {total.schema.freq}; read the table with",
                ways=[way("leaves out what ended", ended="skip")],
            )
    coarse = Frequency.parse(total.schema.freq)
    ordinal, whole = whole_steps(forecast, coarse)
    step = ordinal - int(total.cutoffs[0]) - 1
    inside = whole & (step >= 0) & (step < total.horizon)
    if not inside.any():
        raise DataError(
            f"the totals are forecast for {total.horizon} steps of {coarse.name}, of which the series' "
            f"{forecast.horizon} steps of {forecast.schema.freq} cover none as a whole; forecast both for the same time"
        )
    covered = np.unique(step[inside])
    return np.where(inside, np.searchsorted(covered, step), -1), covered


def _variances(
    paths: Floats, forecast: Forecast, levels: list[Level], weights: str
) -> tuple[Doubles, list[Doubles]]:
    """Return error variances of the series, (N,), and of the totals of each level, (G,)."""
    if weights == "variance":
        variances = _path_variance(paths)
        above = [_path_variance(level.values) for level in levels]
    elif weights == "top_down":  # in proportion to the forecasts
        variances = np.maximum(forecast.mean.mean(1, dtype=np.float64), 0)
        return np.maximum(variances, LEAST * variances.mean() + 1e-300), [
            np.zeros(len(level.values)) for level in levels
        ]
    else:
        variances = np.ones(len(paths))
        above = []
        for level in levels:
            cells = level.span >= 0
            steps = cells.sum() / max(1, len(np.unique(level.span[cells])))
            above.append(np.bincount(level.code) * steps)
    least = LEAST * np.concatenate([variances, *above]).mean() + 1e-300
    return np.maximum(variances, least), [
        np.maximum(v / level.trust, least) for v, level in zip(above, levels, strict=True)
    ]


def _path_variance(values: Floats) -> Doubles:
    """Return the variance over paths (n, S, H), averaged over steps, (n,)."""
    variances = np.empty(len(values))
    for rows in np.array_split(np.arange(len(values)), max(1, values.size >> 22)):
        variances[rows] = values[rows].var(1, dtype=np.float64).mean(1)
    return variances
