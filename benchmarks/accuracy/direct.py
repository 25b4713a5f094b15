"""The direct models with their defaults on five tasks, and their geometric mean over the first four.

python benchmarks/accuracy/direct.py --data ../shared/data --out benchmarks/accuracy/direct.md
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import polars as pl
from run import commit, score, table
from tasks import TASKS

MODELS = ("dlinear", "nlinear", "nhits", "tide", "tsmixer", "patchtst")
TASKS_WITHOUT_COVARIATES = (
    "m4_hourly",
    "tourism_monthly",
    "electricity_10clients_2014",
    "gefcom2012_load",
)
TASKS_WITH_COVARIATES = ("rossmann_top100",)
KEPT = ["task", "seed", "model", "wql", "vs_seasonal_naive", "mase", "coverage_80", "fit_seconds"]


def means(rows: pl.DataFrame) -> pl.DataFrame:
    """Geometric mean of wQL relative to seasonal naive over the tasks without covariates."""
    first = rows.filter(pl.col("task").is_in(TASKS_WITHOUT_COVARIATES))
    ratio = pl.col("vs_seasonal_naive").log().mean().exp()
    return first.group_by("model").agg(geometric_mean=ratio).sort("geometric_mean")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", default="0", help="by commas")
    parser.add_argument("--out", type=Path, help="a Markdown file to write the tables to")
    given = parser.parse_args()
    tasks = [*TASKS_WITHOUT_COVARIATES, *TASKS_WITH_COVARIATES]
    present = [name for name in tasks if (given.data / f"{name}.parquet").exists()]
    for name in [name for name in tasks if name not in present]:
        print(f"skipped {name}: not in {given.data}; name its folder with --data", file=sys.stderr)
    if not present:
        return
    boards = []
    for name in present:
        for seed in map(int, given.seeds.split(",")):
            boards.append(score(name, list(MODELS), given.data, seed, []).select(KEPT))
            print(table(boards[-1]), flush=True)
    rows = pl.concat(boards)
    text = (
        f"# Direct models with their defaults\n\nCommit {commit()}, seed {given.seeds}, "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} thread(s), {TASKS['m4_hourly'].folds} cutoff "
        f"of the competitions' tables, 28 daily ones of the loads; written by "
        f"`python benchmarks/accuracy/direct.py`.\n\n{table(means(rows))}\n\n{table(rows)}\n"
    )
    print(table(means(rows)))
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
