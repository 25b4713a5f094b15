"""Score models on real data, seasonal naive always among them, and keep the table with its commit.

python benchmarks/accuracy/run.py --data ../shared/data --tasks tourism_monthly,m4_hourly --models mqrnn
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
from tasks import TASKS

import demandcast as dc
from demandcast import registry
from demandcast.cli.options import hyperparameters

DECILES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
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


def table(rows: pl.DataFrame) -> str:
    """Markdown, figures to four digits."""
    lines = ["| " + " | ".join(rows.columns) + " |", "|" + " --- |" * rows.width]
    for row in rows.iter_rows():
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return found.stdout.strip() or "no commit"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--models", default="deepar,mqrnn,mqcnn,last_value")
    parser.add_argument("--seeds", default="0", help="by commas")
    parser.add_argument(
        "--set", action="append", default=[], help="name=value, for the models that have it"
    )
    parser.add_argument("--out", type=Path, help="a Markdown file to write the table to")
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"skipped: no data in {given.data}; name its folder with --data", file=sys.stderr)
        return
    tables = []
    for name in given.tasks.split(","):
        for seed in map(int, given.seeds.split(",")):
            tables.append(score(name, given.models.split(","), given.data, seed, given.set))
            print(table(tables[-1]), flush=True)
    rows = pl.concat(tables)
    text = f"Commit {commit()}; {' '.join(sys.argv[1:])}\n\n{table(rows)}\n"
    if len(tables) > 1:
        print(table(means(rows)))
        text += f"\n{table(means(rows))}\n"
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
