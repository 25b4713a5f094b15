"""One direct model under every likelihood, on counts with zeros and on amounts without.

Likelihoods that do not take a task's values (counts, amounts above 0) are left out there.

python benchmarks/accuracy/likelihoods.py --data ../shared/data --out benchmarks/accuracy/likelihoods.md
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl
from script import DECILES, arguments, parse, publish, table
from tasks import TASKS

import demandcast as dc
from demandcast import likelihoods, registry
from demandcast.errors import DataError

COLUMNS = ["wql", "vs_seasonal_naive", "bias", "coverage_80", "fit_seconds", "predict_seconds"]
SAMPLED = {"m5_daily": 30}  # every 30th series


def score(task: str, model: str, likelihood: str, data: Path, seed: int) -> pl.DataFrame | None:
    """The leaderboard's row of a model under a likelihood; None where it refuses the values."""
    panel = TASKS[task].load(data)
    if task in SAMPLED:
        panel = panel.select(np.arange(0, panel.n_series, SAMPLED[task]))
    made = registry.create(model, horizon=TASKS[task].horizon, likelihood=likelihood, seed=seed)
    try:
        result = dc.backtest(
            [made], panel, folds=1, refit=False, levels=DECILES, progress=sys.stderr.isatty()
        )
    except DataError as error:
        print(f"skipped {likelihood} on {task}: {error}", file=sys.stderr)
        return None
    board = result.leaderboard().filter(pl.col("model") == model)
    row = board.select(pl.lit(likelihood).alias("likelihood"), *COLUMNS)
    return row.select(pl.lit(task).alias("task"), pl.all())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default="carparts_monthly,m5_daily,tourism_monthly")
    parser.add_argument("--likelihoods", default=",".join(likelihoods.names()))
    parser.add_argument("--model", default="nhits")
    parser.add_argument("--seed", type=int, default=0)
    given = parse(parser)
    rows = []
    for task in given.tasks.split(","):
        for likelihood in given.likelihoods.split(","):
            row = score(task, given.model, likelihood, given.data, given.seed)
            if row is not None:
                rows.append(row)
                print(table(row).splitlines()[-1], file=sys.stderr, flush=True)
    publish(given, pl.concat(rows))


if __name__ == "__main__":
    main()
