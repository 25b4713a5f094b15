"""Backtest: compare models with the seasonal naive forecast over three folds, and write a report."""

import demandcast as dc
from demandcast.frames import examples
from demandcast.report import write_report

sales = examples.retail(n_items=30, n_days=250, seed=2).frame
panel = dc.read_panel(sales, key="item", target="units", known=["price", "promo"])

models = [
    dc.models.MQRNN(horizon=14, max_steps=60, seed=0),
    dc.local.WindowAverage(horizon=14),
]
result = dc.backtest(models, panel, folds=3, progress=False)

print(result.leaderboard().select("model", "wql", "vs_seasonal_naive", "coverage_80", "verdict"))
print("lose to the seasonal naive:", ", ".join(result.losers()) or "none")
write_report("report.html", result=result, title="Which model?")
