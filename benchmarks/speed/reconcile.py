"""Reconcile all of M5 on its twelve levels: seconds of one core and peak memory, by weights.

OMP_NUM_THREADS=1 python benchmarks/speed/reconcile.py --data ../shared/data

Items are forecast by window_average, the totals of eleven levels by seasonal_naive, 28 days, 100 paths. Each row runs in a
process of its own, in which the forecasts are made first; "begins" is its memory then (the panel and the forecasts),
"peak" the most during the reconciliation (Linux). "ordering" is the part of the seconds in which independent paths of
items are put into the order of shared dates; "off" the largest relative difference between a total and the sum of its
series, "lowest" the lowest value.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from pathlib import Path

import numpy as np

import demandcast as dc
from demandcast.forecast.total import joint_paths

LEVELS = (
    (), ("state_id",), ("store_id",), ("cat_id",), ("dept_id",), ("state_id", "cat_id"), ("state_id", "dept_id"),
    ("store_id", "cat_id"), ("store_id", "dept_id"), ("item_id",), ("item_id", "state_id"),
)  # fmt: skip
STATUS = Path("/proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="its folder")
    parser.add_argument("--series", type=int, help="the first series only")
    parser.add_argument("--paths", type=int, default=100)
    parser.add_argument("--weights", default="structure,variance", help="by commas")
    given = parser.parse_args()
    print(
        "| weights | series | CPU s | of it ordering | wall s | begins GB | peak GB | off | lowest |"
    )
    print("|" + " --- |" * 9)
    start = multiprocessing.get_context("spawn")
    for weights in given.weights.split(","):
        process = start.Process(target=measure, args=(given, weights))
        process.start()
        process.join()


def measure(given: argparse.Namespace, weights: str) -> None:
    """Print the row of one way to weigh."""
    panel = dc.read_panel(
        given.data / "m5_daily.parquet", static_table=given.data / "m5_daily_static.parquet"
    )
    panel = panel.select(np.arange(panel.n_series)[: given.series])
    items = dc.local.WindowAverage(horizon=28).predict(panel, n_samples=given.paths)
    naive = dc.local.SeasonalNaive(horizon=28)
    totals = [naive.predict(panel.total(by), n_samples=given.paths) for by in LEVELS]
    began, used = time.perf_counter(), time.process_time()
    joint_paths(items)
    ordering = time.process_time() - used
    begins = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    began, used = time.perf_counter(), time.process_time()
    found = items.reconcile(*totals, weights=weights)  # type: ignore[arg-type]
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    peak = memory("VmHWM")
    off = 0.0
    for by in LEVELS:
        above = found.total(by)
        off = max(
            off, float(np.abs(above.mean.sum(0) / found.mean.sum(0, dtype=np.float64) - 1).max())
        )
    assert found.samples is not None
    cells = [
        weights,
        panel.n_series,
        cpu,
        ordering,
        wall,
        begins,
        peak,
        off,
        float(found.samples.min()),
    ]
    print("| " + " | ".join(f"{c:.3g}" if isinstance(c, float) else str(c) for c in cells) + " |")
    print("\n".join(found.notes), flush=True)


def memory(field: str) -> float:
    """Return a size of this process in GB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e6


if __name__ == "__main__":
    main()
