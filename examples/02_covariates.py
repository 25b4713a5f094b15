"""Known covariates: how much prices and promotions improve a forecast.

Forecast the last two weeks of a simulated shop twice, without and with prices and promotions. Their planned values
are given as `future`, a table with the key, the time and the known columns.
"""

from datetime import timedelta

import polars as pl

import demandcast as dc
from demandcast.evaluate.metrics import wql
from demandcast.frames import examples

HORIZON = 14
table = examples.retail(n_items=40, n_days=250, seed=1).frame
cut = table["date"].max() - timedelta(days=HORIZON)
past, planned = table.filter(pl.col("date") <= cut), table.filter(pl.col("date") > cut)
# drop items launched in the last two weeks: they have no history
planned = planned.filter(pl.col("item").is_in(past["item"].unique().implode()))

plain = dc.read_panel(past, key="item", target="units")
priced = dc.read_panel(
    past,
    key="item",
    target="units",
    known=["price", "promo"],
    static=["category"],
    available="in_stock",  # false: out of stock, so the sale is a lower bound of demand
)
future = planned.drop("units", "in_stock", "category")

model = dc.models.MQRNN(horizon=HORIZON, max_steps=80, seed=0)
without = model.fit(plain, progress=False).predict(plain)
given = model.fit(priced, progress=False).predict(priced, future=future)

actual = planned.sort("item", "date")["units"].to_numpy().reshape(-1, HORIZON)
for name, forecast in (("without", without), ("with", given)):
    order = [forecast.index(item) for item in sorted(forecast.keys["item"])]
    print(f"wQL {name} prices: {wql(actual, forecast.quantiles[order], forecast.levels):.3f}")
