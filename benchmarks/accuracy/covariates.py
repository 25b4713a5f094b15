"""How known covariates are read by the zero-shot network: not at all, each step's own, the neighbours' too, as `fit` chooses.

python benchmarks/accuracy/covariates.py --data ../shared/data --tasks rossmann_top100 --windows 2,3,4

Window k ends k - 1 horizons before the end of the panel: 1 is the one that `run.py` scores, so choose on the others.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import polars as pl
from script import DECILES, arguments, parse, publish
from tasks import TASKS

from demandcast.evaluate.metrics import wql
from demandcast.models.zero_shot import ZeroShot

READ: dict[str, dict[str, Any]] = {
    "none": {},
    "own": {"neighbours": False},
    "neighbours": {"neighbours": True},
    "chosen": {},
}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default="rossmann_top100,stallion_monthly,walmart_weekly")
    parser.add_argument("--windows", default="2,3,4", help="horizons held out, by commas")
    given = parse(parser)
    rows: list[dict[str, Any]] = []
    for name in given.tasks.split(","):
        task = TASKS[name]
        panel = task.load(given.data)
        for window in map(int, given.windows.split(",")):
            known = panel.drop_last(window * task.horizon)
            actual = known.future_target(task.horizon)
            row: dict[str, Any] = {"task": name, "window": window}
            for reading, settings in READ.items():
                own = known
                if reading == "none":
                    own = replace(known, known=known.known[:, :0], known_names=())
                model = ZeroShot(horizon=task.horizon, **settings).fit(own)
                row[reading] = wql(actual, model.predict(own).quantiles, DECILES)
                if reading == "chosen":
                    row["reads_neighbours"] = str(model.neighbours)
            rows.append(row)
            print(row, file=sys.stderr, flush=True)
    publish(given, pl.DataFrame(rows))


if __name__ == "__main__":
    main()
