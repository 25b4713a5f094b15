"""Effects of prices and promotions that are planted in simulated shops, by what-if; and what an explanation ranks first.

python benchmarks/accuracy/what_if.py --seeds 0,1,2,3,4,5,6,7,8,9
python benchmarks/accuracy/what_if.py --seeds 0,1,2 --effects model --items 50

Every panel is `retail(items, days, seed, price_changes=0.08)` with a placebo: a flag up in 15 % of the weeks that does
nothing. The last 28 days are forecast. Three questions are asked of every item: a price 10 % lower, a promotion at the same
price, and the placebo, each on all days against none. "error" is that of the total over items and days, as a share of the
true one (the largest of the panels in brackets); "in_80" the share of items whose true change, applied to the planned
forecast, lies in the 80 % interval. For a placebo, the true change is 0. "first" is the share of panels in which
`explain` ranks both planted covariates before the placebo. The model is `lightgbm`, small, one for each panel; the history
needs none and is laid on `seasonal_naive`.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from script import arguments, integers, parse, publish

import demandcast as dc
from demandcast.frames.examples import retail

HORIZON = 28
KNOWN = ["price", "promo", "placebo"]


def main() -> None:
    parser = arguments(__doc__, seeds="0,1,2,3,4,5,6,7,8,9")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--effects", default="history", help="history, model, or both by commas")
    given = parse(parser)
    rows, ranks = [], []
    for seed in integers(given.seeds):
        panel, truth = shop(given.items, given.days, seed)
        for effect in given.effects.split(","):
            model = (
                dc.local.SeasonalNaive(horizon=HORIZON)
                if effect == "history"
                else dc.trees.LightGBM(
                    horizon=HORIZON, trees=100, rows=40_000, levels=(0.1, 0.3, 0.5, 0.7, 0.9)
                )
            )
            forecast = model.fit(panel).predict(panel)
            rows += [
                (effect, name, *score(forecast, effect, column, change, ratio))
                for name, column, change, ratio in (
                    ("price -10 %", "price", "*0.9", 0.9 ** -truth["elasticity"].to_numpy()),
                    ("promotion", "promo", 1, truth["lift"].to_numpy()),
                    ("placebo", "placebo", 1, np.ones(panel.n_series)),
                )
            ]
            if effect == "model":
                order = forecast.explain().ranking()["covariate"].to_list()
                ranks.append(float(order.index("placebo") == 2))
    table = pl.DataFrame(
        rows, orient="row", schema=["effect", "question", "true", "found", "error", "in_80"]
    )
    tables = [
        table.group_by("effect", "question", maintain_order=True).agg(
            pl.col("true", "found").mean(), pl.col("error").mean(),
            pl.col("error").abs().max().alias("largest error"), pl.col("in_80").mean(),
        )
    ]  # fmt: skip
    if ranks:
        tables.append(pl.DataFrame({"explain": ["lightgbm"], "first": [float(np.mean(ranks))]}))
    publish(given, *tables)


def shop(items: int, days: int, seed: int) -> tuple[dc.Panel, pl.DataFrame]:
    """Return a panel whose last 28 days are held out, and the planted effects of its series."""
    example = retail(items, days, seed, price_changes=0.08)
    weeks = np.random.default_rng([seed, 3]).random((items, days // 7 + 1)) < 0.15
    date = (example.frame["date"].to_numpy() - np.datetime64("2022-01-01")).astype(int)
    item = example.frame["item"].str.slice(5).cast(pl.Int64).to_numpy()
    frame = example.frame.with_columns(pl.Series("placebo", weeks[item, date // 7]))
    panel = dc.read_panel(
        frame, key="item", time="date", target="units", freq="D", known=KNOWN, available="in_stock"
    ).drop_last(HORIZON)
    truth = panel.keys.join(example.effects, on="item", how="left", maintain_order="left")
    return panel, truth


def score(
    forecast: dc.Forecast, effect: str, column: str, change: object, ratio: np.ndarray
) -> tuple[float, float, float, float]:
    """Return the true and the found ratio of totals, the error of the latter, and the share of items in their interval."""
    start = {column: 0} if column != "price" else {}
    base = forecast
    if start:  # compared with no promotion at all
        assert forecast.panel is not None
        known = forecast.panel.known.copy()
        at = forecast.panel.known_names.index(column)
        begins, lengths = forecast.panel.begins, forecast.panel.lengths
        for b, n in zip(begins, lengths, strict=True):
            known[b + n : b + n + HORIZON, at] = 0
        from dataclasses import replace

        assert forecast.forecaster is not None
        base = forecast.forecaster.predict(
            replace(forecast.panel, known=known), levels=forecast.levels, n_samples=None
        )
    answer = base.what_if(effect=effect, **{column: change})  # type: ignore[arg-type]
    planned = answer.planned.mean.astype(np.float64).sum(1)
    true = planned * (ratio - 1)
    found = answer.changed.mean.astype(np.float64).sum(1) - planned
    inside = (true >= answer.sums[:, 0]) & (true <= answer.sums[:, -1])
    total = 1 + true.sum() / planned.sum()
    estimate = 1 + found.sum() / planned.sum()
    sold = planned > 0
    return total, estimate, estimate / total - 1, float(inside[sold].mean())


if __name__ == "__main__":
    main()
