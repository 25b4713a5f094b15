"""Point methods for intermittent demand beside statsforecast's, alternated in one run.

30,000 series of 51 months (carparts, complete ones tiled), weights optimised, 12 months forecast, nine
quantile levels of ours, the frame included on both sides: theirs from a pandas frame to one, ours from a
polars frame to one. `--m5` times every point method on all of M5 instead.

python benchmarks/speed/intermittent.py --data ../shared/data --peer path/to/python-with-statsforecast
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERIES, MONTHS, HORIZON = 30_000, 51, 12
OURS = {  # theirs optimises croston, imapa and adida, and takes fixed weights for sba and tsb
    "croston": {"objective": "parts"}, "sba": {"objective": "parts"}, "tsb": {"alpha": 0.2, "beta": 0.2},
    "imapa": {}, "adida": {}, "tsb, optimised": {},
}  # fmt: skip


def tiled(data: Path, out: Path) -> None:
    """The complete series of carparts over and over, as a long table."""
    import polars as pl

    frame = pl.read_parquet(data / "carparts_monthly.parquet").fill_nan(None)
    whole = frame.filter(pl.col("y").is_not_null().sum().over("unique_id") == MONTHS)
    ids = whole["unique_id"].unique(maintain_order=True)
    copies = -(-SERIES // len(ids))
    parts = [
        whole.with_columns(unique_id=pl.format("{}-{}", "unique_id", i)) for i in range(copies)
    ]
    pl.concat(parts).head(SERIES * MONTHS).write_parquet(out)


def ours(path: Path) -> dict[str, float]:
    """Series a second, table read and frame made included."""
    import polars as pl

    import demandcast as dc
    from demandcast import registry

    frame, found = pl.read_parquet(path), {}
    for name, hyper in OURS.items():
        began = time.perf_counter()
        panel = dc.read_panel(frame)
        registry.create(name.split(",")[0], horizon=HORIZON, **hyper).predict(panel).to_frame()
        found[name] = SERIES / (time.perf_counter() - began)
    return found


def theirs(path: Path) -> dict[str, float]:
    """Series a second of statsforecast, points only; run by an interpreter that has it."""
    import pandas as pd
    from statsforecast import StatsForecast
    from statsforecast.models import ADIDA, IMAPA, TSB, CrostonOptimized, CrostonSBA

    frame, found = pd.read_parquet(path), {}
    models = {
        "croston": CrostonOptimized(), "sba": CrostonSBA(), "tsb": TSB(0.2, 0.2),
        "imapa": IMAPA(), "adida": ADIDA(),
    }  # fmt: skip
    for name, model in models.items():
        began = time.perf_counter()
        StatsForecast(models=[model], freq="MS", n_jobs=1).forecast(df=frame, h=HORIZON)
        found[name] = SERIES / (time.perf_counter() - began)
    return found


def m5(data: Path) -> None:
    """Every point method on all of M5, 28 days."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))
    from tasks import TASKS

    from demandcast import registry

    panel = TASKS["m5_daily"].load(data)
    total = 0.0
    for name in ("ses", "croston", "sba", "sbj", "tsb", "hes", "adida", "imapa"):
        began = time.perf_counter()
        registry.create(name, horizon=28).predict(panel)
        total += (seconds := time.perf_counter() - began)
        print(f"{name:10} {seconds:6.1f} s, {panel.n_series:,} series", flush=True)
    print(f"{'together':10} {total:6.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--peer", help="a Python in whose environment statsforecast is installed")
    parser.add_argument("--rounds", type=int, default=3, help="alternations; medians are printed")
    parser.add_argument("--m5", action="store_true")
    parser.add_argument("--run", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps((ours if given.run == "ours" else theirs)(given.table)))
        return
    if not given.data.is_dir():
        print(f"skipped: no data in {given.data}; name its folder with --data", file=sys.stderr)
        return
    if given.m5:
        m5(given.data)
        return
    pythons = {"ours": sys.executable} | ({"theirs": given.peer} if given.peer else {})
    if not given.peer:
        print("skipped statsforecast: name its interpreter with --peer", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.parquet"
        tiled(given.data, path)
        found: dict[str, list[dict[str, float]]] = {side: [] for side in pythons}
        for _ in range(given.rounds):
            for side, python in pythons.items():
                command = [python, __file__, "--run", side, "--table", str(path)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
    for name in OURS:
        rows = {s: [r[name] for r in rounds if name in r] for s, rounds in found.items()}
        each = {side: statistics.median(values) for side, values in rows.items() if values}
        ratio = f"   ratio {each['ours'] / each['theirs']:.2f}" if "theirs" in each else ""
        print(
            f"{name:10} " + "   ".join(f"{s} {v:8,.0f} series/s" for s, v in each.items()) + ratio
        )


if __name__ == "__main__":
    main()
