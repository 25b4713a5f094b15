"""Prices and promotions that are known ahead, and what they are worth.

The last two weeks of a simulated shop are forecast twice: without prices and promotions, and with.
The table of what is planned goes in as `future`; it needs the key, the time and the known columns.
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
# an item launched in the last two weeks has no past to learn from
planned = planned.filter(pl.col("item").is_in(past["item"].unique().implode()))

plain = dc.read_panel(past, key="item", target="units")
priced = dc.read_panel(
    past,
    key="item",
    target="units",
    known=["price", "promo"],
    static=["category"],
    available="in_stock",  # where it is false, the sale is only a lower bound of the demand
)
future = planned.drop("units", "in_stock", "category")

model = dc.models.MQRNN(horizon=HORIZON, max_steps=80, seed=0)
without = model.fit(plain, progress=False).predict(plain)
given = model.fit(priced, progress=False).predict(priced, future=future)

came = planned.sort("item", "date")["units"].to_numpy().reshape(-1, HORIZON)
for name, forecast in (("without", without), ("with", given)):
    order = [forecast.index(item) for item in sorted(forecast.keys["item"])]
    print(f"wQL {name} prices: {wql(came, forecast.quantiles[order], forecast.levels):.3f}")
