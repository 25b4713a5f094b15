"""Be warned of the days on which demand may be far above the usual.

A simulated shop, forecast by a network that remembers what followed windows like the last one. The
chances of an extreme come beside the quantiles; here the likeliest are printed, and then it is counted
how many of them came.
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

came = past.future_target(HORIZON) > forecast.events.above[:, None]
likely = np.argsort(-forecast.events.p_high, axis=None)[: came.size // 10]
print(
    f"extremes among all days {came.mean():.0%}, among the likeliest tenth {came.ravel()[likely].mean():.0%}"
)
