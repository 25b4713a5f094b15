"""Quick start: from a table to quantiles in five lines, and a plot of one item.

The table is simulated. Replace `sales` with your own frame or file.
"""

import demandcast as dc
from demandcast.frames import examples

sales = examples.retail(n_items=20, n_days=200, seed=0).frame  # item, date, units, ...

panel = dc.read_panel(sales, key="item", time="date", target="units", freq="D")
model = dc.models.MQRNN(horizon=14, max_steps=60, seed=0).fit(panel, progress=False)
forecast = model.predict(panel)

frame = forecast.to_frame()  # item, date, mean, then "0.1" ... "0.9"
frame.write_csv("forecast.csv")
print(frame.head())

forecast.plot("item_0003", history=panel).savefig("item_0003.png")
model.save("run")  # dc.load("run") forecasts an updated table without training
