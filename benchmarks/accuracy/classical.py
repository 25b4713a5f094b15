"""Theta and exponential smoothing beside statsforecast's, on the same histories and by the same scores.

statsforecast is run by a Python of its own, for it need not live beside this package; skipped with a
reason where that Python has none. Its nine deciles are its point forecast and the ends of its 20, 40,
60 and 80 % intervals.

python benchmarks/accuracy/classical.py --data ../shared/data --peer-python ../peers/bin/python
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from script import DECILES, arguments, parse, publish
from tasks import TASKS

import demandcast as dc
from demandcast import registry
from demandcast.evaluate.metrics import scores
from demandcast.forecast.forecast import Forecast

PEERS = {
    "theta": "Theta",
    "optimised_theta": "OptimizedTheta",
    "auto_theta": "AutoTheta",
    "ets": "AutoETS",
}
PERIODS = {"tourism_monthly": (12,), "m3_monthly": (12,), "m4_weekly": (52, 1), "m4_hourly": (24,)}
PEER = """
import sys, time
import numpy as np, pandas as pd
from statsforecast import StatsForecast, models
source, out, name, period, horizon = sys.argv[1:]
frame = pd.read_parquet(source)
model = getattr(models, name)(season_length=int(period))
few = frame[frame.unique_id == frame.unique_id.iloc[0]]
run = lambda part: StatsForecast([model], freq=1, n_jobs=1, fallback_model=models.SeasonalNaive(int(period))).forecast(
    df=part, h=int(horizon), level=[20, 40, 60, 80])
run(few)  # compiled code is loaded before the clock starts
began = time.perf_counter()
found = run(frame)
seconds = time.perf_counter() - began
found.columns = [c.replace(name, "y") for c in found.columns]
found.assign(seconds=seconds).to_parquet(out)
"""
COLUMNS = ("mase", "wql", "coverage_80", "interval_score_80", "bias")


def peer(
    python: str, panel: dc.Panel, name: str, period: int, horizon: int
) -> tuple[Forecast, float]:
    """A peer's forecast of every series, and the seconds it took, reading and writing left out."""
    frame = pl.concat(
        pl.DataFrame({"unique_id": i, "ds": np.arange(len(y)), "y": y.astype(np.float64)})
        for i, y in enumerate(panel.history(i) for i in range(panel.n_series))
    )
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        frame.write_parquet(source)
        words = [python, "-c", PEER, str(source), str(out), name, str(period), str(horizon)]
        subprocess.run(words, check=True)
        found = pl.read_parquet(out).sort("unique_id", "ds")
    ends = [f"y-lo-{level}" for level in (80, 60, 40, 20)]
    columns = [*ends, "y", *(c.replace("lo", "hi") for c in reversed(ends))]
    quantiles = found.select(columns).to_numpy().reshape(panel.n_series, horizon, 9)
    mean = quantiles[..., 4]
    made = Forecast.of(
        panel, tuple(DECILES), quantiles.astype(np.float32), mean.astype(np.float32), model=name
    )
    return made, float(found["seconds"][0])


def measure(task: str, data: Path, models: list[str], python: str | None) -> list[dict[str, Any]]:
    """Scores of ours and of the peers on one task, a row each."""
    panel = TASKS[task].load(data)
    horizon = TASKS[task].horizon
    known = panel.drop_last(horizon)
    actual = known.future_target(horizon)
    rows: list[dict[str, Any]] = []

    def add(by: str, name: str, period: int, forecast: Forecast, seconds: float) -> None:
        found = scores(forecast, actual, known)
        row = {"task": task, "period": period, "model": name, "by": by}
        row |= {c: found[c] for c in COLUMNS}
        rows.append(row | {"series_per_second": known.n_series / seconds})
        print(rows[-1], file=sys.stderr, flush=True)

    for period in PERIODS[task]:
        for name in models:
            ours = registry.create(name, horizon=horizon, period=period)
            began = time.perf_counter()
            forecast = ours.fit(known).predict(known, levels=DECILES)
            add("ours", name, period, forecast, time.perf_counter() - began)
            if python and name in PEERS:
                add(
                    "statsforecast",
                    name,
                    period,
                    *peer(python, known, PEERS[name], period, horizon),
                )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default=",".join(PERIODS))
    parser.add_argument("--models", default="seasonal_naive,theta,optimised_theta,auto_theta,ets")
    parser.add_argument("--peer-python", default=sys.executable, help="a Python with statsforecast")
    given = parse(parser)
    python: str | None = given.peer_python
    if subprocess.run([python, "-c", "import statsforecast"], capture_output=True).returncode:
        print(
            f"peers skipped: {python} has no statsforecast; name one that has, --peer-python",
            file=sys.stderr,
        )
        python = None
    rows: list[dict[str, Any]] = []
    for task in given.tasks.split(","):
        rows += measure(task, given.data, given.models.split(","), python)
    publish(given, pl.DataFrame(rows))


if __name__ == "__main__":
    main()
