"""Split a forecast into base, trend, season, and the effect of each covariate known ahead.

The covariates' parts are Shapley values (Shapley, 1953; Lundberg and Lee, NeurIPS 2017, with each covariate as one group)
of the model's own mean: the forecast at the planned values against that at the usual values of the item's history, over
all orders in which covariates can be put in. They add up to the whole difference; for a model in which effects add up,
each is the effect itself. What the model forecasts at the usual values is split into base, trend, season and rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast.forecast.apply_changes import columns_of, known_ahead, with_ahead
from demandcast.forecast.repeat import differs, predict_like, repeat_forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from demandcast.forecast.forecast import Forecast
    from demandcast.panel.panel import Panel

Doubles = NDArray[np.float64]
EXACT = 5  # covariates up to which all orders are used; above, random orders and their reverses
ORDERS = 6
SEASONS = 8  # of history that base, usual season and no more are read from
STRUCTURE = ("base", "trend", "season", "rest")


@dataclass(frozen=True)
class Explanation:
    """The parts of the mean of each series and step.

    Attributes:
        forecast: The explained forecast.
        parts: Name -> values (N, H): "base", "trend", "season", one for each covariate, "rest". They add up to the mean.
        notes: What the parts do not show.
    """

    forecast: Forecast
    parts: dict[str, Doubles]
    notes: tuple[str, ...] = ()

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the parts that are covariates."""
        return tuple(name for name in self.parts if name not in STRUCTURE)

    def to_frame(self) -> pl.DataFrame:
        """Return one row a series and step: key, time, "mean", then one column a part."""
        columns = {"mean": self.forecast.mean.astype(np.float64), **self.parts}
        named = (pl.Series(self.forecast.column(k), v.ravel()) for k, v in columns.items())
        return self.forecast._steps().with_columns(named)

    def ranking(self, key: Any = None) -> pl.DataFrame:
        """Return `covariate`, `effect` (sum over the steps) and `size` (sum of absolute values), largest size first.

        Args:
            key: One series, as in `Forecast.plot`; None for all.
        """
        rows: Any = slice(None) if key is None else [self.forecast.index(key)]
        names = list(self.covariates)
        values = [self.parts[name][rows] for name in names]
        frame = pl.DataFrame(
            {
                "covariate": names,
                "effect": [float(v.sum()) for v in values],
                "size": [float(np.abs(v).sum()) for v in values],
            },
            schema={"covariate": pl.String, "effect": pl.Float64, "size": pl.Float64},
        )
        return frame.sort("size", descending=True, maintain_order=True)

    def plot(self, key: Any = None) -> Figure:
        """Draw the parts of one series, stacked; None for the sum of all series."""
        from demandcast.report.effect_charts import explain_chart

        return explain_chart(self, key)


def explain(forecast: Forecast) -> Explanation:
    """Split a forecast's mean into parts, as `Forecast.explain` documents."""
    panel, model, again = repeat_forecast(forecast)
    mean = forecast.mean.astype(np.float64)
    neutral, effects, notes = mean, dict[str, Doubles](), list[str]()
    if panel.known_names and "known" not in model.takes:
        notes.append(
            f"{model.name} does not read covariates known ahead, so they have no part in its forecast"
        )
    elif panel.known_names:
        planned, usual = known_ahead(panel, forecast.horizon), usual_values(panel, forecast.horizon)
        groups = {name: columns_of(panel, name) for name in panel.schema.known}
        away = [n for n, at in groups.items() if (planned[..., at] != usual[..., at]).any()]
        cached = {frozenset(away): mean}

        def value(names: frozenset[str]) -> Doubles:
            if names not in cached:
                known = usual.copy()
                for name in names:
                    known[..., groups[name]] = planned[..., groups[name]]
                other = predict_like(model, with_ahead(panel, known), again)
                cached[names] = other.mean.astype(np.float64)
            return cached[names]

        effects = {name: np.zeros_like(mean) for name in groups}
        effects |= shapley(away, value)
        neutral = value(frozenset())
        silent = [n for n in away if not differs(mean, mean - effects[n])]
        if silent:
            notes.append(
                f"{model.name} learned nothing from {', '.join(map(repr, silent))}, or has no use for the planned values"
            )
    parts = _structure(panel, neutral)
    rest = parts.pop("rest")
    parts |= effects
    parts["rest"] = rest
    parts["rest"] = rest + (mean - np.sum(list(parts.values()), axis=0))  # of rounding: about 1e-12
    return Explanation(forecast, parts, tuple(notes))


def shapley(names: list[str], value: Callable[[frozenset[str]], Doubles]) -> dict[str, Doubles]:
    """Return the Shapley value of each name: its mean contribution over orders of the names.

    Args:
        names: The players.
        value: Returns the worth of a set of names.
    """
    count = len(names)
    if count > EXACT:
        rng = np.random.default_rng(0)
        orders = [list(rng.permutation(count)) for _ in range(ORDERS)]
        orders += [order[::-1] for order in orders]
        contributions = {name: np.zeros_like(value(frozenset())) for name in names}
        for order in orders:
            before: frozenset[str] = frozenset()
            for place in order:
                after = before | {names[place]}
                contributions[names[place]] += (value(after) - value(before)) / len(orders)
                before = after
        return contributions
    contributions = {}
    for name in names:
        others = [other for other in names if other != name]
        total: Any = 0.0
        for size in range(count):
            weight = 1 / (count * math.comb(count - 1, size))
            for subset in combinations(others, size):
                coalition = frozenset(subset)
                total = total + weight * (value(coalition | {name}) - value(coalition))
        contributions[name] = total
    return contributions


def usual_values(panel: Panel, horizon: int) -> NDArray[np.float32]:
    """Return the usual known covariates of each series, (N, H, K): the median, or the commonest category.

    A series without a value in its history has the usual value of the panel.
    """
    first = np.cumsum(panel.lengths) - panel.lengths
    rows = panel.history_rows()
    usual = np.full((panel.n_series, len(panel.known_names)), np.nan)
    history = panel.known[rows].astype(np.float64)
    for name in panel.schema.known:
        at = columns_of(panel, name)
        single = panel.known_names[at[0]] == name
        of_all = _usual(history[:, at], single)
        for i in range(panel.n_series):
            of_series = _usual(history[first[i] : first[i] + panel.lengths[i], at], single)
            usual[i, at] = np.where(np.isnan(of_series), of_all, of_series)
    repeated = np.repeat(usual.astype(np.float32)[:, None], horizon, 1)
    return np.ascontiguousarray(repeated)


def _usual(values: Doubles, single: bool) -> Doubles:
    values = values[~np.isnan(values).any(1)]
    if not len(values):
        return np.full(values.shape[1], np.nan)
    if single:
        return np.asarray(np.quantile(values, 0.5, axis=0, method="lower"))
    counts = values.sum(0)
    none = len(values) - counts.sum()
    return (
        np.zeros(len(counts)) if none > counts.max() else np.eye(len(counts))[int(counts.argmax())]
    )


def _structure(panel: Panel, neutral: Doubles) -> dict[str, Doubles]:
    """Split the forecast at usual covariates into base, trend, season and rest, (N, H) each.

    The base is the mean of the item's last seasons. The rest of the forecast is fitted by a line and, over two seasons
    of the horizon or more, by a value for each phase; over fewer, by the phases' means in the history.
    """
    n, horizon = neutral.shape
    period = max(1, panel.freq.period)
    steps = SEASONS * period if period > 1 else SEASONS
    past = panel.padded_history(min(steps, int(panel.lengths.max(initial=1)))).astype(np.float64)
    observed = ~np.isnan(past)
    base = np.where(observed, past, 0).sum(1) / np.maximum(observed.sum(1), 1)
    base = np.where(observed.any(1), base, neutral.mean(1))
    phase = (panel.ends()[:, None] + 1 + np.arange(horizon)) % period
    line = np.stack(
        [np.ones(horizon), np.linspace(-1, 1, horizon) if horizon > 1 else np.zeros(horizon)], 1
    )
    season = np.zeros_like(neutral)
    if period > 1 and horizon >= 2 * period:
        phases = (np.arange(horizon) % period)[:, None] == np.arange(period)
        centred = phases - phases.mean(0)
        design = np.concatenate([line, centred], 1)
        weights = np.linalg.lstsq(design, neutral.T, rcond=None)[0]
        season = (centred @ weights[2:]).T
        slow = (line @ weights[:2]).T
    else:
        if period > 1:
            where = (panel.ends()[:, None] - past.shape[1] + 1 + np.arange(past.shape[1])) % period
            shape = np.zeros((n, period))
            for p in range(period):
                in_phase = observed & (where == p)
                mean = np.where(in_phase, past, 0).sum(1) / np.maximum(in_phase.sum(1), 1)
                shape[:, p] = np.where(in_phase.any(1), mean - base, 0.0)
            season = np.take_along_axis(shape, phase, 1)
        if horizon >= 4:
            slow = (line @ np.linalg.lstsq(line, (neutral - season).T, rcond=None)[0]).T
        else:
            slow = np.repeat((neutral - season).mean(1, keepdims=True), horizon, 1)
    level = np.repeat(base[:, None], horizon, 1)
    return {"base": level, "trend": slow - level, "season": season, "rest": neutral - slow - season}
