"""`auto` of methods without a training on slow movers, beside a forecast of zero and its best member in hindsight.

python benchmarks/accuracy/slow_movers.py --data ../shared/data --tasks carparts_monthly --zeros 0.85 --window 2

Window k ends k - 1 horizons before the end of the panel: 1 is the one that `run.py` scores, so choose on the others.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import polars as pl
from script import DECILES, arguments, parse, publish
from tasks import TASKS

import demandcast as dc
from demandcast.evaluate.metrics import wql

METHODS = (
    "zero_shot",
    "empirical",
    "ses",
    "tsb",
    "imapa",
    "analogues",
    "damped_counts",
    "multi_stage",
)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default="carparts_monthly")
    parser.add_argument(
        "--zeros", type=float, default=0.85, help="least share of a series' history"
    )
    parser.add_argument("--window", type=int, default=2, help="horizons held out")
    parser.add_argument("--most", type=int, default=300, help="series of a task")
    given = parse(parser)
    rows: list[dict[str, Any]] = []
    for name in given.tasks.split(","):
        horizon = TASKS[name].horizon
        panel = TASKS[name].load(given.data).drop_last(given.window * horizon)
        share = [np.mean(h == 0) for h in map(panel.history, range(panel.n_series))]
        panel = panel.select(np.flatnonzero(np.array(share) >= given.zeros)[: given.most])
        actual = panel.future_target(horizon)
        best = dc.auto(panel, horizon, budget="60 steps", include=METHODS, progress=False)
        single = {
            m.name: wql(actual, m.forecast(panel, DECILES)[0], DECILES)
            for m in best.members
            if m.models
        }
        first = min(single, key=lambda method: single[method])
        row = {"task": name, "series": panel.n_series, "zeros": float((actual == 0).mean())}
        row |= {"auto": wql(actual, best.predict(panel).quantiles, DECILES)}
        row |= {"zero": wql(actual, np.zeros((*actual.shape, len(DECILES))), DECILES)}
        rows.append(row | {"best_member": first, "its_wql": single[first]})
        print(rows[-1], file=sys.stderr, flush=True)
    publish(given, pl.DataFrame(rows))


if __name__ == "__main__":
    main()
