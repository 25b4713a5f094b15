"""Orders in money on earlier weeks of the VN2 competition: 599 store-items, lead time two weeks, lost sales.

python benchmarks/accuracy/vn2.py --data ../shared/data --models zero_shot

Windows of eight weeks, the last of which ends with the table: orders at the end of six weeks, each sold from the third
week after it on; a unit short costs 1, a unit left at the end of a week 0.2. Every window starts with two weeks of
mean demand (of 13 weeks) on hand and one week that arrives next. Weeks 3 to 8 count. The rule is the plain newsvendor's,
at 1 / 1.2, with nothing to choose. Beside it: mean + z sigma and weeks of cover, each also at the best setting
afterwards, and perfect foresight. `--flags` tells the models when an item was out of stock; `--unscaled` leaves items
as they are forecast, where `demandcast order` scales those of zero_shot to a forecast of their total if that paid in the
past. `--only 0,2,4` replays some of the windows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from script import arguments, integers, parse, publish

import demandcast as dc

ROUNDS, WEEKS = 6, 8
RULE = {"lead_time": 2, "review": 1, "cost_under": 1, "cost_over": 0.2}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", default="zero_shot", help="by commas; none for the rules alone")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--flags", action="store_true", help="tell models of stock-outs")
    parser.add_argument("--unscaled", action="store_true", help="never scale to the total")
    parser.add_argument("--only", default="", help="windows by commas, in place of the first ones")
    given = parse(parser, "vn2/sales.csv")
    panel = read(given.data / "vn2", flags=given.flags)
    names = [name for name in given.models.split(",") if name]
    numbers = integers(given.only) if given.only else list(range(given.windows))
    tables = [
        window(panel.drop_last(WEEKS * w), names, w, scaled=not given.unscaled) for w in numbers
    ]
    rows = pl.concat(tables)
    means = rows.group_by("rule", maintain_order=True).agg(
        pl.col("cost").mean().alias("mean"),
        *(pl.col(c).mean() for c in ("service", "held", "lost")),
    )
    best = [
        means.filter(pl.col("rule").str.starts_with(f"{name} at")).sort("mean")["rule"][0]
        for name in ("mean_plus_sigma", "steps_of_cover")
    ]
    shown = means.filter(pl.col("rule").is_in(best) | ~pl.col("rule").str.contains(" at "))
    shown = shown.with_columns(
        rule=pl.col("rule").replace({name: f"{name} (the best afterwards)" for name in best})
    )
    wide = rows.pivot(on="window", index="rule", values="cost").filter(
        pl.col("rule").is_in(best) | ~pl.col("rule").str.contains(" at ")
    )
    publish(given, shown.sort("mean"), wide)


def read(folder: Path, *, flags: bool) -> dc.Panel:
    """The competition's table of sales, long, with its flags of stock where they are asked for."""
    on = ["Store", "Product"]
    long = {
        name: pl.read_csv(folder / f"{name}.csv").unpivot(
            index=on, variable_name="week", value_name=name
        )
        for name in ("sales", "in_stock")
    }
    table = long["sales"].join(long["in_stock"], on=[*on, "week"], maintain_order="left")
    table = table.with_columns(pl.col("week").str.to_date())
    return dc.read_panel(
        table, key=on, time="week", target="sales", freq="W-MON", totals="keep", ended="forecast",
        available="in_stock" if flags else None,
    )  # fmt: skip


def window(panel: dc.Panel, names: list[str], number: int, *, scaled: bool) -> pl.DataFrame:
    """Costs of one window: every model and rule, and the usual rules at the setting that was best afterwards."""
    before = panel.drop_last(WEEKS)
    mean = np.nan_to_num(before.padded_history(13)).mean(1)
    stock = panel.keys.with_columns(
        on_hand=pl.Series(np.ceil(2 * mean)), arriving_1=pl.Series(np.ceil(mean))
    )
    result = dc.replay(names, panel, stock, rounds=ROUNDS, scaled=scaled, progress=False, **RULE)
    board = result.leaderboard().rename({"model": "rule"})
    targets = [round(0.3 + 0.02 * i, 2) for i in range(34)]
    bare = dc.replay([], panel, stock, rounds=ROUNDS, progress=False, **RULE)
    sigma = bare.trade_off(targets).with_columns(
        rule=pl.format("{} at {}", "model", "target")
    )  # fmt: skip
    covers = []
    for weeks in (2.0, 2.5, 3.0, 3.5, 4.5, 5.0):
        found = dc.replay([], panel, stock, rounds=ROUNDS, cover=weeks, progress=False, **RULE)
        own = found.leaderboard().filter(pl.col("model") == "steps_of_cover")
        covers.append(own.with_columns(rule=pl.lit(f"steps_of_cover at {weeks:g}")))
    columns = ["rule", "cost", "service", "held", "lost"]
    parts = [part.select(columns) for part in (board, sigma, *covers)]
    return pl.concat(parts).with_columns(window=pl.lit(str(number)))


if __name__ == "__main__":
    main()
