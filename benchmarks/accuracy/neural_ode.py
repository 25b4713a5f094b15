"""A series with 30 % of its stamps removed: neural_ode as it is, others on the series filled up.

One customer's electricity, MT_200, hourly; 24 hours ahead from 28 daily cutoffs, the last four weeks,
scored against the whole series. Stamps are removed at random from past and recent history alike. Models
that want a whole grid get straight lines between the neighbours, as most pipelines draw them.

python benchmarks/accuracy/neural_ode.py --data ../shared/data --seeds 0,1,2
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from run import DECILES, commit, table

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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", default="0,1,2", help="by commas")
    parser.add_argument("--runs", default=",".join(f"{m}:{g}" for m, g in RUNS), help="model:panel")
    parser.add_argument(
        "--set", action="append", default=[], help="name=value, of all models that are run"
    )
    parser.add_argument("--out", type=Path, help="a Markdown file to write the table to")
    given = parser.parse_args()
    source = given.data / "ld_mt200_hourly.parquet"
    if not source.exists():
        print(f"skipped: no {source}; name its folder with --data", file=sys.stderr)
        return
    whole = dc.read_panel(pl.read_parquet(source))
    panels = gaps(whole)
    rows = []
    for run in given.runs.split(","):
        name, history = run.split(":")
        for seed in map(int, given.seeds.split(",")):
            settings = hyperparameters([name], given.set, seed=seed)[name]
            found = measure(name, panels[history], whole, settings)
            rows.append({"model": name, "history": history, "seed": seed} | found)
            print(table(pl.DataFrame(rows[-1:])), flush=True)
            if name == "seasonal_naive":
                break
    text = f"Commit {commit()}; {' '.join(sys.argv[1:])}\n\n{table(pl.DataFrame(rows))}\n"
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
