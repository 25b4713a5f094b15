"""Alarms: list the days on which demand may be far above the usual.

Forecast a simulated shop with a network that remembers what followed similar windows. It gives the probability of an
extreme beside the quantiles. Print the most likely extremes, then count how many of them occurred.
"""

import numpy as np

import demandcast as dc
from demandcast.frames import examples

HORIZON = 14
table = examples.retail(n_items=30, n_days=300, seed=2).frame
panel = dc.read_panel(table, key="item", target="units", known=["price", "promo"])
past = panel.drop_last(HORIZON)

model = dc.models.ExtremeValueMemory(horizon=HORIZON, high=0.95, max_steps=150, seed=0)
forecast = model.fit(past, progress=False).predict(past)
print(forecast.alarms(5))

extreme = past.future_target(HORIZON) > forecast.events.above[:, None]
likely = np.argsort(-forecast.events.p_high, axis=None)[: extreme.size // 10]
print(
    f"share of extremes: {extreme.mean():.0%} of all days, "
    f"{extreme.ravel()[likely].mean():.0%} of the tenth with the highest probability"
)
