"""Totals by level: sums of the items' forecasts, forecasts of the totals themselves, and both reconciled.

python benchmarks/accuracy/totals.py --data ../shared/data --series 3000 --cutoffs 1,3,5
python benchmarks/accuracy/totals.py --data ../shared/data --task walmart --cutoffs 1,2,3

`zero_shot` forecasts 28 days of randomly drawn items of M5, or 8 weeks of the departments of Walmart's stores that have
every week, and their totals at each cutoff (1 is one horizon before the last step, 3 is three before). For each level: wQL at eleven levels, and the share of days in the 80 % and the 95 %
interval. "quantiles added" and "independent items" show why totals need paths that are joint across items.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import polars as pl
from script import arguments, integers, parse, publish

import demandcast as dc
from demandcast.evaluate.metrics import wql
from demandcast.panel.groups import group, sum_groups

PATHS = 100
LEVELS = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
BY: dict[str, dict[str, tuple[str, ...]]] = {
    "m5": {
        "total": (), "state": ("state_id",), "store": ("store_id",), "category": ("cat_id",),
        "department": ("dept_id",), "store and department": ("store_id", "dept_id"),
    },
    "walmart": {"total": (), "type": ("store_type",), "store": ("store",), "department": ("dept",)},
}  # fmt: skip
HORIZON = {"m5": 28, "walmart": 8}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--series", type=int, default=3000, help="items, drawn at random")
    parser.add_argument("--cutoffs", default="1,3,5", help="in horizons before the end, by commas")
    parser.add_argument("--weights", default="structure", help="of the reconciliation")
    parser.add_argument("--task", choices=list(BY), default="m5")
    given = parse(parser, "m5_daily.parquet")
    panel = m5(given.data, given.series) if given.task == "m5" else walmart(given.data)
    rows = [row for cutoff in integers(given.cutoffs) for row in scores(panel, given, cutoff)]
    table = pl.DataFrame(rows, orient="row", schema=["level", "forecast", "wql", "in_80", "in_95"])
    publish(given, table.group_by("level", "forecast", maintain_order=True).mean())


def m5(data: Path, series: int) -> dc.Panel:
    """Return items of M5, drawn at random."""
    panel = dc.read_panel(data / "m5_daily.parquet", static_table=data / "m5_daily_static.parquet")
    rng = np.random.default_rng(0)
    return panel.select(np.sort(rng.choice(panel.n_series, series, replace=False)))


def walmart(data: Path) -> dc.Panel:
    """Return the weekly sales of departments in stores that were observed in all weeks."""
    static = pl.read_parquet(data / "walmart_weekly_static.parquet")
    static = static.with_columns(pl.col("store", "dept").cast(pl.String)).drop("store_size")
    sales = pl.read_parquet(data / "walmart_weekly.parquet", columns=["unique_id", "ds", "y"])
    weeks = sales["ds"].n_unique()
    whole = sales.filter(pl.len().over("unique_id") == weeks)
    return dc.read_panel(whole.join(static, on="unique_id"), static=static.columns[1:])


def scores(
    panel: dc.Panel, given: argparse.Namespace, cutoff: int
) -> list[tuple[str, str, float, float, float]]:
    """Return a row for each level and way to forecast it, at one cutoff."""
    horizon, levels = HORIZON[given.task], BY[given.task]
    known = panel.drop_last(horizon * cutoff)
    actual = np.nan_to_num(known.future_target(horizon))
    model = dc.models.ZeroShot(horizon=horizon)
    items = model.predict(known, n_samples=PATHS, levels=LEVELS)
    direct = {
        name: model.predict(known.total(by), n_samples=PATHS, levels=LEVELS)
        for name, by in levels.items()
    }
    reconciled = items.reconcile(*direct.values(), weights=given.weights)
    assert items.samples is not None
    rows = [
        score("item", name, actual, forecast.quantiles)
        for name, forecast in (("sum of items", items), ("reconciled", reconciled))
    ]
    for name, by in levels.items():
        code = group(known, by).code
        truth = sum_groups(actual, code)
        alone = np.quantile(sum_groups(items.samples, code), LEVELS, axis=1).transpose(1, 2, 0)
        ways = {
            "quantiles added": sum_groups(items.quantiles, code), "independent items": alone,
            "sum of items": items.total(by).quantiles, "own forecast": direct[name].quantiles,
            "reconciled": reconciled.total(by).quantiles,
        }  # fmt: skip
        rows += [score(name, way, truth, quantiles) for way, quantiles in ways.items()]
    return rows


def score(
    level: str, way: str, actual: np.ndarray, quantiles: np.ndarray
) -> tuple[str, str, float, float, float]:
    low, lower, upper, high = (quantiles[..., i] for i in (0, 1, -2, -1))
    loss = float(np.mean(wql(actual.astype(np.float32), quantiles.astype(np.float32), LEVELS)))
    inside = ((actual >= a) & (actual <= b) for a, b in ((lower, upper), (low, high)))
    return (level, way, loss, *(float(part.mean()) for part in inside))


if __name__ == "__main__":
    main()
