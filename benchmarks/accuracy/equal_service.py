"""Cost of orders at equal realised service, beside mean + z sigma and days of cover: M5 (1,000 items) and Rossmann.

python benchmarks/accuracy/equal_service.py --data ../shared/data --picture equal_service.png

Every rule is replayed over its whole range: the model's orders by service levels from .3 to .998, mean + z sigma by z of
the same levels and beyond, cover of 6 to 40 days. The rules are compared where they reached the same service, between the
settings next to it by a straight line, so no setting is chosen by anyone. The usual rules average 14, 28 or 56 days, whichever cost
least in the eight rounds before those scored. Weekly orders, two days of lead time, eight
rounds, which end with the table; lost sales; a unit short costs 1, a unit left at the end of a week 0.2. `realised` is
cycle service (share of items and rounds that did not run out) or fill rate (share of demand served).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from script import arguments, parse, publish

import demandcast as dc

RULE: dict[str, Any] = {"lead_time": 2, "review": 7, "cost_under": 1, "cost_over": 0.2}
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.965, 0.98, 0.99, 0.998)
BEYOND = (0.9995, 0.9999, 0.99999, 0.999999)  # of mean + z sigma, whose law is not Normal
DAYS = (6, 8, 9, 10, 11, 12, 13, 14, 16, 18, 20, 23, 26, 30, 35, 40)
TITLES = {"m5": "M5, 1,000 items, units", "rossmann": "Rossmann, 100 stores, euros"}
AT = {"service": (0.85, 0.9, 0.95), "fill_rate": (0.9, 0.95, 0.98)}
WINDOWS = (14, 28, 56)  # days that the usual rules may average
ITEMS, SEED = 1_000, 0
SIGMA, COVER = "mean_plus_sigma", "steps_of_cover"


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="zero_shot")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--sets", default="m5,rossmann", help="by commas")
    parser.add_argument("--picture", type=Path, help="where to draw cost against service")
    given = parse(parser, "m5_daily.parquet")
    names = given.sets.split(",")
    curves = pl.concat(
        curve(read(given.data, name), given.model, given.rounds).with_columns(data=pl.lit(name))
        for name in names
    )
    publish(given, pl.concat(at_equal(curves, name, given.model) for name in names))
    if given.picture:
        draw(curves, names, given.picture)


def read(folder: Path, name: str) -> dc.Panel:
    """1,000 items of M5 drawn at random of those with a year of history, or Rossmann's stores."""
    if name == "rossmann":
        known = ["open", "promo", "school_holiday"]
        return dc.read_panel(
            folder / "rossmann_top100.parquet", known=known, past=[], ended="forecast"
        )
    table = pl.read_parquet(folder / "m5_daily.parquet", columns=["unique_id", "ds", "y"])
    long = table.group_by("unique_id").len().filter(pl.col("len") >= 365)["unique_id"].sort()
    return dc.read_panel(
        table.filter(pl.col("unique_id").is_in(long.sample(ITEMS, seed=SEED).implode()))
    )


def curve(panel: dc.Panel, model: str, rounds: int) -> pl.DataFrame:
    """Cost, service and fill rate that every rule realised, a row a setting."""
    days = {"window": choose_window(panel, rounds), "rounds": rounds, "progress": False}
    found = dc.replay([model], panel, **days, **RULE)
    bare = dc.replay([], panel, **days, **RULE)
    parts = [
        found.trade_off(LEVELS).filter(pl.col("model") == model),
        bare.trade_off((*LEVELS, *BEYOND)),
    ]
    for cover in DAYS:
        played = dc.replay([], panel, cover=cover, **days, **RULE)
        own = played.leaderboard().filter(pl.col("model") == COVER)
        parts.append(own.with_columns(target=pl.lit(float(cover))))
    columns = ["model", "target", "cost", "service", "fill_rate", "held", "lost"]
    return pl.concat(part.select(columns) for part in parts)


def choose_window(panel: dc.Panel, rounds: int) -> int:
    """Return the days whose mean + z sigma cost least, at its best z, in the rounds before those scored."""
    before = panel.drop_last(RULE["lead_time"] + rounds * RULE["review"])
    costs = {}
    for window in WINDOWS:
        bare = dc.replay([], before, window=window, rounds=rounds, progress=False, **RULE)
        found = bare.trade_off(LEVELS).filter(pl.col("model") == SIGMA)
        costs[window] = found["cost"].min()
    print(f"mean and sigma of {costs}", file=sys.stderr)
    return min(costs, key=lambda window: costs[window])


def at_equal(curves: pl.DataFrame, data: str, model: str) -> pl.DataFrame:
    """The rules' costs where each realised the same service; `saved` against the better usual rule."""
    rows = []
    for measure, levels in AT.items():
        for level in levels:
            cost, held = (
                {
                    rule: between(curves, data, rule, measure, level, what)
                    for rule in (model, SIGMA, COVER)
                }
                for what in ("cost", "held")
            )
            usual = [c for rule, c in cost.items() if rule != model and c is not None]
            ours = cost[model]
            saved = None if ours is None or not usual else 1 - ours / min(usual)
            rows.append(
                {"data": data, "realised": f"{measure} {level:g}"}
                | {"cost of " + rule: value for rule, value in cost.items()}
                | {"held by " + rule: value for rule, value in held.items()}
                | {"saved": saved}
            )
    return pl.DataFrame(rows)


def between(
    curves: pl.DataFrame, data: str, rule: str, measure: str, level: float, what: str
) -> float | None:
    """What a rule has at a realised service, by a straight line between its settings; None beyond them."""
    own = curves.filter((pl.col("data") == data) & (pl.col("model") == rule)).sort(measure)
    reached = own[measure].to_numpy()
    if not reached[0] <= level <= reached[-1]:
        return None
    return float(np.interp(level, reached, own[what].to_numpy()))


def draw(curves: pl.DataFrame, names: list[str], path: Path) -> None:
    """Draw stock against realised fill rate, a line a rule."""
    from matplotlib.figure import Figure

    from demandcast.report.figures import BLUE, INK, ORANGE

    labels = {SIGMA: "mean + z sigma", COVER: "days of cover"}
    colours = {SIGMA: ORANGE, COVER: INK}
    chart = Figure(figsize=(5 * len(names), 3.6), layout="constrained")
    for place, name in enumerate(names, 1):
        ax = chart.add_subplot(1, len(names), place)
        for (rule,), rows in curves.filter(pl.col("data") == name).group_by(
            "model", maintain_order=True
        ):
            rule, rows = str(rule), rows.sort("fill_rate")
            rows = rows.filter(pl.col("fill_rate").is_between(0.85, 0.995))
            colour, label = colours.get(rule, BLUE), labels.get(rule, rule)
            ax.plot(rows["fill_rate"] * 100, rows["held"] / 1000, "o-", color=colour, markersize=3, label=label)  # fmt: skip
        ax.set_title(TITLES[name], loc="left", fontsize="medium")
        ax.set_xlabel("fill rate realised, %")
        ax.set_ylabel("held at the end of a week, thousands")
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False)
    chart.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
