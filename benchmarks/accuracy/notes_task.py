"""The notes' own task: one customer's electricity, against repeating the same hours of last week.

The series MT_200 from 2014-01-01 to 2014-03-01, both days whole, 1,440 hours. Models learn from the
first 70 % and forecast the last 60 (DeepAR) or 72 hours (MQ-RNN) with all before them known, and
seven rolling windows of 24 hours, the last week. The repository of the notes was measured at MAPE
0.080 after 112 s (DeepAR) and 0.067 after 23 s (MQ-RNN).

python benchmarks/accuracy/notes_task.py --data ../shared/data --seeds 0,1,2
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from script import arguments, integers, parse, publish

import demandcast as dc
from demandcast import registry
from demandcast.forecaster import Forecaster

LEARNED = 1008  # 70 % of 1,440 hours
LAGS = (1, 2, 3, 23, 24, 25, 48, 72, 96, 120, 144, 167, 168, 169, 335, 336, 337)
BOTH: dict[str, Any] = {"context": 168, "batch_size": 32}
MODELS: dict[str, tuple[int, dict[str, Any]]] = {
    "seasonal_naive": (60, {"period": 168}),
    "deepar": (
        60,
        {
            **BOTH,
            "max_steps": 400,
            "lags": LAGS,
            "season": (168, 336),
            "own_draws": 0.0,
            "scaling": "mean_abs",
        },
    ),
    "seasonal_naive ": (72, {"period": 168}),
    "mqrnn": (72, {**BOTH, "max_steps": 200}),
}


def measure(name: str, panel: dc.Panel, seed: int) -> dict[str, Any]:
    horizon, hyper = MODELS[name]
    model = registry.create(name.strip(), horizon=horizon, seed=seed, **hyper)
    began = time.perf_counter()
    model.fit(panel.drop_last(int(panel.lengths[0]) - LEARNED))
    seconds = time.perf_counter() - began
    actual, forecast = _medians(model, panel, horizon, horizon)
    days = [
        _medians(model, panel.drop_last(24 * day) if day else panel, 24, 24) for day in range(7)
    ]
    actuals, forecasts = np.concatenate([d[0] for d in days]), np.concatenate([d[1] for d in days])
    return {
        "model": name.strip(),
        "horizon": horizon,
        "seed": seed,
        "mape": float(np.mean(np.abs(actual - forecast) / actual)),
        "rolling_nd": float(np.abs(actuals - forecasts).sum() / actuals.sum()),
        "fit_seconds": seconds,
    }


def _medians(
    model: Forecaster, panel: dc.Panel, held_out: int, steps: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What came in the last `held_out` hours and the median forecast of it, (steps,) each."""
    known = panel.drop_last(held_out)
    forecast = model.predict(known, levels=[0.5]).quantile(0.5)[0, :steps]
    return known.future_target(steps)[0], forecast


def main() -> None:
    parser = arguments(__doc__, seeds="0,1,2")
    parser.add_argument("--models", default="seasonal_naive,deepar,mqrnn", help="by commas")
    given = parse(parser, "ld_mt200_hourly.parquet")
    source = given.data / "ld_mt200_hourly.parquet"
    span = pl.col("ds").is_between(datetime(2014, 1, 1), datetime(2014, 3, 1, 23))
    panel = dc.read_panel(pl.read_parquet(source).filter(span))
    chosen = [m for m in MODELS if m.strip() in given.models.split(",")]
    rows = [measure(m, panel, seed) for m in chosen for seed in integers(given.seeds)]
    found = pl.DataFrame(rows)
    means = found.group_by("model", "horizon", maintain_order=True).agg(
        pl.col("mape", "rolling_nd", "fit_seconds").mean()
    )
    publish(given, means, found)


if __name__ == "__main__":
    main()
