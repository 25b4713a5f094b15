"""Deep Factors with little history: ten customers' electricity, 14 days to learn from, 24 hours ahead.

Every fold takes the 14 days before its cutoff and nothing else, fits each model on them, and forecasts
the day that follows; cutoffs are spread over the year, so that each falls on another day of the week.

python benchmarks/accuracy/deep_factors.py --data ../shared/data --folds 12
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
import polars as pl
from script import DECILES, arguments, integers, parse, publish
from tasks import TASKS

import demandcast as dc
from demandcast import registry
from demandcast.cli.options import hyperparameters
from demandcast.evaluate import metrics
from demandcast.forecaster import fit

DAYS, HORIZON = 14, 24
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "naive-day": ("seasonal_naive", {"period": 24}),
    "naive-week": ("seasonal_naive", {"period": 168}),
    "DF-LDS": ("deep_factors", {"random_effect": "lds"}),
    "DF-GP": ("deep_factors", {"random_effect": "gp"}),
    "DF-RNN": ("deep_factors", {"random_effect": "rnn"}),
    "DeepAR": ("deepar", {}),
}


def parts(panel: dc.Panel, folds: int) -> list[dc.Panel]:
    """What is known at each cutoff, 14 days of every series."""
    days = int(panel.lengths.min()) // 24
    gap = (days - DAYS - 1) // max(folds - 1, 1)
    gap -= gap % 7 == 0  # another day of the week each time
    return [last(panel.drop_last(24 * (1 + gap * i)), 24 * DAYS) for i in range(folds)]


def last(panel: dc.Panel, steps: int) -> dc.Panel:
    """The last steps of the history alone, as if the series had begun there."""
    table = pl.concat(
        [
            pl.DataFrame(
                {
                    "unique_id": panel.key(i),
                    "ds": panel.history_times(i)[-steps:],
                    "y": panel.history(i)[-steps:],
                }
            )
            for i in range(panel.n_series)
        ]
    )
    return dc.read_panel(table)


def main() -> None:
    parser = arguments(__doc__, seeds="0", settings=True)
    parser.add_argument("--folds", type=int, default=12)
    parser.add_argument("--models", default=",".join(MODELS), help="of the table, by commas")
    given = parse(parser)
    panel = TASKS["electricity_10clients_2014"].load(given.data)
    known = parts(panel, given.folds)
    truth = [panel.truncate(part.history_times(0)[-1]).future_target(HORIZON) for part in known]
    actual = np.concatenate(truth)  # (folds * series, horizon)
    rows = []
    chosen = [label for label in MODELS if label in given.models.split(",")]
    names = [MODELS[label][0] for label in chosen]
    for label in chosen:
        name, options = MODELS[label]
        for seed in integers(given.seeds):
            hyper = hyperparameters(names, given.set, seed=seed)[name] | options
            began = time.perf_counter()
            found = []
            for part in known:
                model = registry.create(name, horizon=HORIZON, **hyper)
                fit(model, part, progress=False)
                found.append(model.predict(part, levels=DECILES).quantiles)
            quantiles = np.concatenate(found)  # (folds * series, horizon, levels)
            low, high = quantiles[..., 0], quantiles[..., -1]
            rows.append(
                {
                    "model": label,
                    "seed": seed,
                    "wql": metrics.wql(actual, quantiles, DECILES),
                    "nd": metrics.nd(actual, quantiles[..., 4]),
                    "coverage_80": metrics.coverage(actual, low, high),
                    "seconds_a_fold": (time.perf_counter() - began) / given.folds,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    publish(given, pl.DataFrame(rows))


if __name__ == "__main__":
    main()
