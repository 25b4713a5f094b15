"""Orders of many items from joint paths: seconds of one core and peak memory, by each rule.

python benchmarks/speed/orders.py --items 30000 --paths 200 --steps 28

Paths are simulated counts; of 28 steps, lead time 14 and review 7, so that orders by cost reckon with the next one. Memory is the peak of the process, that of the
paths themselves included (a number of 4 bytes for each item, path and step).
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import polars as pl

import demandcast as dc

RULES = {
    "cost": {"cost_under": 1, "cost_over": 0.2},
    "service": {"service": 0.95},
    "fill rate": {"fill_rate": 0.98},
    "cost, half the money": {"cost_under": 1, "cost_over": 0.2},
    "(s, Q) by cost": {"cost_under": 1, "cost_over": 0.2, "rule": "s,Q", "fixed_cost": 5},
    "(s, S) by cost": {"cost_under": 1, "cost_over": 0.2, "rule": "s,S", "fixed_cost": 5},
    "cost, shelf life of a review": {
        "cost_under": 1, "cost_over": 0.2, "shelf_life": 7, "cost_spoiled": 1,
    },
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in (("items", 30_000), ("paths", 200), ("steps", 28)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    forecast = simulated(given.items, given.paths, given.steps)
    on_hand = np.random.default_rng(1).integers(0, 60, given.items)
    stock = forecast.keys.with_columns(on_hand=pl.Series(on_hand))
    review = given.steps // 4
    lead = given.steps - 2 * review
    spend = None
    print("| rule | wall s | CPU s | peak GB |\n| --- | --- | --- | --- |")
    for name, rule in RULES.items():
        began, used = time.perf_counter(), time.process_time()
        money = spend if "money" in name else None
        orders = dc.order(forecast, stock, lead_time=lead, review=review, spend=money, **rule)
        orders.to_frame()
        spend = spend or float(orders.order.sum()) / 2
        wall, cpu = time.perf_counter() - began, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {peak:.2f} |", flush=True)


def simulated(items: int, paths: int, steps: int) -> dc.Forecast:
    """A forecast of counts, item by item so that no second array of its size is made."""
    rng = np.random.default_rng(0)
    samples = np.empty((items, paths, steps), np.float32)
    for rows in np.array_split(np.arange(items), max(1, items // 256)):
        samples[rows] = rng.poisson(2, (len(rows), paths, steps))
    quantiles = samples[:, :1].transpose(0, 2, 1).copy()
    return dc.Forecast(
        schema=dc.Schema(key=("item",), time="day", target="units", freq="D"),
        keys=pl.DataFrame({"item": [f"i{i}" for i in range(items)]}),
        cutoffs=np.zeros(items, np.int64), levels=(0.5,), quantiles=quantiles,
        mean=samples.mean(1), samples=samples, model="simulated",
    )  # fmt: skip


if __name__ == "__main__":
    main()
