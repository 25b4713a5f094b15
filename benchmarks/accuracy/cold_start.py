"""Forecast items without history: a tenth of the items lose theirs and are forecast from their attributes.

python benchmarks/accuracy/cold_start.py --data ../shared/data

Compared with the class mean (quantiles of recent values, at the same place of the season, of items with the same
static attributes) and with the forecast of the same items from their history. A cell is wQL and the share of
values inside the 80 % interval.
"""

from __future__ import annotations

import numpy as np
from script import DECILES, arguments, commit, parse
from tasks import TASKS

from demandcast import registry
from demandcast.automl.cold import like_items, without_history
from demandcast.evaluate.metrics import wql

CHOSEN = ("rossmann_top100", "stallion_monthly", "m5_daily_3000", "walmart_weekly")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default=",".join(CHOSEN))
    parser.add_argument("--rows", type=int, default=60_000, help="that trees learn from")
    parser.add_argument("--seed", type=int, default=0)
    given = parse(parser)
    print(f"Commit {commit()}; wQL of items without history, and their 80 % interval's share\n")
    print("| task | items | class mean | trees | both averaged | trees with the history |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in given.tasks.split(","):
        task = TASKS[name]
        panel = task.load(given.data).drop_last(task.horizon)
        rng = np.random.default_rng(given.seed)
        chosen = np.zeros(panel.n_series, bool)
        chosen[rng.choice(panel.n_series, panel.n_series // 10, replace=False)] = True
        chosen &= panel.lengths > 0
        rest, new = panel.select(~chosen), panel.select(chosen)
        actual = new.future_target(task.horizon)
        hyper = {"horizon": task.horizon, "rows": given.rows, "trees": 75, "learning_rate": 0.12}
        trees = registry.create("lightgbm", **hyper).fit(rest)
        empty = without_history(new)
        found = {
            "class mean": like_items(rest, empty, task.horizon, DECILES)[0],
            "trees": trees.predict(empty, levels=DECILES).quantiles,
            "both": (0, 0),
            "with": trees.predict(new, levels=DECILES).quantiles,
        }
        found["both"] = (found["class mean"] + found["trees"]) / 2
        cells = []
        for quantiles in found.values():
            seen = ~np.isnan(actual)
            inside = ((actual >= quantiles[..., 0]) & (actual <= quantiles[..., -1]))[seen].mean()
            cells.append(f"{wql(actual, quantiles, DECILES):.4f}, {inside:.2f}")
        print(f"| {name} | {int(chosen.sum())} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
