"""How many rows the trees of `lightgbm` need, on parts of panels: accuracy and CPU time.

python benchmarks/accuracy/rows.py --data ../shared/data

Series drawn at random from each task; the last horizon before the one that the benchmarks score is forecast. A column
is a number of rows for each observed value; a cell is wQL over nine deciles and the CPU seconds of the fit.
"""

from __future__ import annotations

import time

import numpy as np
from script import DECILES, arguments, commit, parse
from tasks import TASKS

from demandcast.evaluate.metrics import wql
from demandcast.trees.boosting import MAX_ROWS, LightGBM

CHOSEN = (
    "rossmann_top100:6", "stallion_monthly:60", "m5_daily_3000:25", "walmart_weekly:60", "tourism_monthly:40",
    "m3_monthly:100",
)  # fmt: skip


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default=",".join(CHOSEN), help="name:series, by commas")
    parser.add_argument("--ratios", default="4,8,1000", help="rows for each observed value")
    parser.add_argument("--trees", type=int, default=150)
    given = parse(parser)
    ratios = [int(ratio) for ratio in given.ratios.split(",")]
    print(f"Commit {commit()}; wQL and CPU seconds of a fit with {given.trees} trees a level\n")
    print(f"| task | series | values | {' | '.join(f'{r} a value' for r in ratios)} |")
    print("| --- " * (3 + len(ratios)) + "|")
    for text in given.tasks.split(","):
        name, series = text.split(":")
        task = TASKS[name]
        panel = task.load(given.data).drop_last(task.horizon * (task.folds + 1))
        long = np.flatnonzero(panel.lengths > 2 * task.horizon)
        chosen = np.random.default_rng(0).choice(long, min(int(series), len(long)), replace=False)
        panel = panel.select(np.sort(chosen))
        actual, values = panel.future_target(task.horizon), int(panel.n_observed().sum())
        cells = []
        for ratio in ratios:
            model = LightGBM(
                horizon=task.horizon, rows=min(MAX_ROWS, ratio * values), trees=given.trees,
                learning_rate=min(0.2, 9 / given.trees),
            )  # fmt: skip
            began = time.process_time()
            model.fit(panel, progress=False)
            seconds = time.process_time() - began
            loss = wql(actual, model.predict(panel, levels=DECILES).quantiles, DECILES)
            cells.append(f"{loss:.4f}, {seconds:.0f} s")
        print(f"| {name} | {series} | {values:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
