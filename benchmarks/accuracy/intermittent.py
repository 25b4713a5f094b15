"""Every local method on panels of slow movers, over all series and by class of demand.

python benchmarks/accuracy/intermittent.py --data ../shared/data

One cutoff, the horizon of each task held out. `wql` is the mean over nine deciles; `q50` to `q99` the
weighted quantile loss at one level; `reach_90` to `reach_99` the share of values up to that quantile,
ties broken at random, which is the level where counts are calibrated; `spec` the stock-keeping-oriented
cost of the mean, averaged over series. The all-zero forecast has wQL 1.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from script import DECILES, arguments, parse, publish, table
from tasks import TASKS

import demandcast as dc
from demandcast import local, registry
from demandcast.evaluate import count_metrics, stock_metrics
from demandcast.evaluate.metrics import mase, rmsse, wql
from demandcast.panel.classes import CLASSES

TAILS = [0.95, 0.99]
LEVELS = [*DECILES, *TAILS]
SINGLE = [0.5, 0.8, 0.9, 0.95, 0.99]
FOLLOWED = [0.9, 0.95, 0.99]
PATHS = 400


def complete_carparts(data: Path) -> dc.Panel:
    """The series of carparts without a missing month and with demand before the last twelve."""
    panel = TASKS["carparts_monthly"].load(data)
    known = panel.drop_last(12)
    sold = np.array([np.nansum(known.history(i)) > 0 for i in range(panel.n_series)])
    return panel.select((panel.n_observed() == panel.lengths.max()) & sold)


PANELS: dict[str, tuple[int, Callable[[Path], dc.Panel]]] = {
    "carparts_complete": (12, complete_carparts),
    "auto_parts_monthly": (6, TASKS["auto_parts_monthly"].load),
    "m5_daily_3000": (28, TASKS["m5_daily_3000"].load),
}


def row(forecast: dc.Forecast, pit: Any, came: Any, past: Any, period: int) -> dict[str, float]:
    """The scores of n series: quantiles (n, H, Q), pit and came (n, H), past (n, T)."""
    q = forecast.quantiles
    median = q[..., LEVELS.index(0.5)]
    found = {
        "wql": wql(came, q[..., : len(DECILES)], DECILES),
        "mase": float(np.nanmean(mase(came, median, past, period=period))),
        "rmsse": float(np.nanmean(rmsse(came, forecast.mean, past))),
    }
    for level in SINGLE:
        found[f"q{level * 100:g}"] = wql(came, q[..., [LEVELS.index(level)]], [level])
    reached = count_metrics.pit_coverage(pit, FOLLOWED)
    found |= {f"reach_{v * 100:g}": float(r) for v, r in zip(FOLLOWED, reached, strict=True)}
    return found | {
        "spec": float(np.nanmean(stock_metrics.spec(came, np.maximum(forecast.mean, 0))))
    }


def score(name: str, models: list[str], data: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A row for each model over all series, and its wQL by class of demand."""
    horizon, load = PANELS[name]
    panel = load(data)
    known, came = panel.drop_last(horizon), panel.drop_last(horizon).future_target(horizon)
    came = np.maximum(came, 0)  # returns count as nothing wanted
    past = known.padded_history(int(known.lengths.max()))
    kinds = known.profile()["class"].to_numpy()
    rows, by_class = [], []
    for model in models:
        began = time.perf_counter()
        method = registry.create(model, horizon=horizon)
        forecast = method.fit(known).predict(known, levels=LEVELS)
        seconds = time.perf_counter() - began
        paths = method.predict(known, levels=[0.5], n_samples=PATHS).samples
        pit = count_metrics.randomised_pit(came, paths)
        all_series = row(forecast, pit, came, past, known.freq.period)
        rows.append({"panel": name, "model": model, **all_series, "seconds": seconds})
        each: dict[str, Any] = {"panel": name, "model": model}
        for kind in CLASSES:
            some = kinds == kind
            label = f"{kind} ({some.sum():,})"
            each[label] = (
                wql(came[some], forecast.quantiles[some][..., : len(DECILES)], DECILES)
                if some.any()
                else None
            )
        by_class.append(each)
        print(table(pl.DataFrame(rows[-1:])).splitlines()[-1], file=sys.stderr, flush=True)
    return pl.DataFrame(rows).sort("wql"), pl.DataFrame(by_class).sort(
        pl.Series([r["wql"] for r in rows])
    )


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--panels", default=",".join(PANELS))
    parser.add_argument("--models", default=",".join(local.names()))
    given = parse(parser)
    parts: list[pl.DataFrame] = []
    for name in given.panels.split(","):
        parts += score(name, given.models.split(","), given.data)
    publish(given, *parts)


if __name__ == "__main__":
    main()
