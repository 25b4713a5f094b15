"""A series with 30 % of its stamps removed: neural_ode as it is, others on the series filled up.

One customer's electricity, MT_200, hourly; 24 hours ahead from 28 daily cutoffs, the last four weeks,
scored against the whole series. Stamps are removed at random from past and recent history alike. Models
that want a whole grid get straight lines between the neighbours, as most pipelines draw them.

python benchmarks/accuracy/neural_ode.py --data ../shared/data --seeds 0,1,2
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from script import DECILES, arguments, integers, parse, publish

import demandcast as dc
from demandcast import registry
from demandcast.cli.options import hyperparameters
from demandcast.evaluate.metrics import coverage, wql

HORIZON, FOLDS, REMOVED = 24, 28, 0.3
RUNS = (
    ("seasonal_naive", "filled"),
    ("deepar", "filled"),
    ("deepar", "missing"),
    ("neural_ode", "missing"),
)


def gaps(whole: dc.Panel) -> dict[str, dc.Panel]:
    """The series with stamps removed, and with straight lines in their place."""
    there = np.random.default_rng(0).random(len(whole.target)) >= REMOVED
    there[0] = True
    missing = np.where(there, whole.target, np.nan).astype(np.float32)
    steps = np.arange(len(missing))
    filled = np.interp(steps, steps[there], missing[there]).astype(np.float32)
    return {"missing": replace(whole, target=missing), "filled": replace(whole, target=filled)}


def measure(
    name: str, given: dc.Panel, whole: dc.Panel, settings: dict[str, Any]
) -> dict[str, Any]:
    model = registry.create(name, horizon=HORIZON, **settings)
    began = time.perf_counter()
    model.fit(given.drop_last(HORIZON * FOLDS))
    fitted = time.perf_counter()
    quantiles, actual = [], []
    for fold in range(FOLDS, 0, -1):
        known = given.drop_last(HORIZON * fold)
        quantiles.append(model.predict(known, levels=DECILES).quantiles)
        actual.append(whole.drop_last(HORIZON * fold).future_target(HORIZON))
    found, came = np.concatenate(quantiles), np.concatenate(actual)  # (folds, horizon[, levels])
    return {
        "wql": wql(came, found, DECILES),
        "coverage_80": coverage(came, found[..., 0], found[..., -1]),
        "fit_seconds": fitted - began,
        "predict_seconds": time.perf_counter() - fitted,
    }


def main() -> None:
    parser = arguments(__doc__, seeds="0,1,2", settings=True)
    parser.add_argument("--runs", default=",".join(f"{m}:{g}" for m, g in RUNS), help="model:panel")
    given = parse(parser, "ld_mt200_hourly.parquet")
    whole = dc.read_panel(pl.read_parquet(given.data / "ld_mt200_hourly.parquet"))
    panels = gaps(whole)
    rows = []
    for run in given.runs.split(","):
        name, history = run.split(":")
        for seed in integers(given.seeds):
            settings = hyperparameters([name], given.set, seed=seed)[name]
            found = measure(name, panels[history], whole, settings)
            rows.append({"model": name, "history": history, "seed": seed} | found)
            print(rows[-1], file=sys.stderr, flush=True)
            if name == "seasonal_naive":
                break
    publish(given, pl.DataFrame(rows))


if __name__ == "__main__":
    main()
