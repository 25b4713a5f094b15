"""Score models on real data, seasonal naive always among them, and keep the table with its commit.

python benchmarks/accuracy/run.py --data ../shared/data --tasks tourism_monthly,m4_hourly --models mqrnn
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import polars as pl
from script import DECILES, arguments, integers, parse, publish, table
from tasks import TASKS

import demandcast as dc
from demandcast import registry
from demandcast.cli.options import hyperparameters

COLUMNS = [
    "wql",
    "vs_seasonal_naive",
    "wape",
    "mase",
    "rmsse",
    "bias",
    "coverage_80",
    "fit_seconds",
    "predict_seconds",
]


def score(name: str, models: list[str], data: Path, seed: int, settings: list[str]) -> pl.DataFrame:
    """The leaderboard of one task."""
    task = TASKS[name]
    panel = task.load(data)
    hyper = hyperparameters(models, settings, seed=seed)
    made = [registry.create(m, horizon=task.horizon, **hyper[m]) for m in models]
    result = dc.backtest(
        made,
        panel,
        folds=task.folds,
        refit=False,
        levels=DECILES,
        progress=sys.stderr.isatty(),
        horizon=task.horizon,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the process, so far
    board = result.leaderboard().select("model", *COLUMNS)
    return board.select(
        pl.lit(name).alias("task"),
        pl.lit(seed).alias("seed"),
        pl.all(),
        pl.lit(peak).alias("peak_gib"),
    )


def means(rows: pl.DataFrame) -> pl.DataFrame:
    """Geometric mean over tasks and seeds of wQL relative to seasonal naive, the least first."""
    ratio = pl.col("vs_seasonal_naive").log().mean().exp()
    return rows.group_by("model").agg(geometric_mean=ratio).sort("geometric_mean")


def main() -> None:
    parser = arguments(__doc__, seeds="0", settings=True)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--models", default="deepar,mqrnn,mqcnn,last_value")
    given = parse(parser)
    tables = []
    for name in given.tasks.split(","):
        for seed in integers(given.seeds):
            tables.append(score(name, given.models.split(","), given.data, seed, given.set))
            print(table(tables[-1]), file=sys.stderr, flush=True)
    rows = pl.concat(tables)
    publish(given, rows, *([means(rows)] if len(tables) > 1 else []))


if __name__ == "__main__":
    main()
