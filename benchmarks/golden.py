"""Golden forecasts: whether two commits forecast the same, bit for bit.

Every method of the registry is fitted to small simulated panels and asked for quantiles, means and, where it draws
them, paths. `write` keeps all of these arrays; `compare` lists those that differ, by how much. Run each commit from a
worktree of its own, so that it imports its own source:

git worktree add /tmp/before COMMIT~1
PYTHONPATH=/tmp/before/src python benchmarks/golden.py write before.npz
PYTHONPATH=src python benchmarks/golden.py write after.npz
python benchmarks/golden.py compare before.npz after.npz

Bits agree on one machine only, with one number of threads: `write` takes one.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import demandcast
from demandcast import read_panel, registry
from demandcast.errors import DemandcastError

HORIZON, LEVELS, PATHS = 6, (0.05, 0.5, 0.9), 20
STEPS = 6  # of training; enough to move every weight, few enough for a minute a panel
SHORTER = {"max_steps": STEPS, "trees": 5, "budget": f"{STEPS} steps", "passes": 5}
EXTRA = {  # hyper-parameters that change the way through the code
    "deepar": [{"likelihood": "negative_binomial"}, {"input_embedding": 3, "season": 7}],
    "zero_shot": [{"tune": "3 steps"}],
    "dlinear": [{"likelihood": "spline_quantile"}, {"validation": 6, "validate_every": 2}],
    "tide": [{"likelihood": "tweedie"}, {"loader": "streaming"}],
    "nhits": [{"likelihood": "implicit_quantile", "average": 0.0}],
    "tft": [{"series_embedding": True}],
    "lstnet": [{"single_step": True}],
    "lightgbm": [{"base": True, "cold": 0.0}],
}


def daily() -> Any:
    """Counts of 12 items by day, with covariates of every role, gaps, and days without stock."""
    rng = np.random.default_rng(1)
    frames = []
    for item in range(12):
        steps = 150 - 5 * item
        time_ = np.datetime64("2023-01-01") + np.arange(150 - steps, 150)
        promo = (rng.random(steps + HORIZON) < 0.1).astype(float)
        season = 1 + 0.5 * np.sin(2 * np.pi * np.arange(steps) / 7)
        y = rng.poisson((1 + item) * season * (1 + promo[:steps])).astype(float)
        stock = rng.random(steps) > 0.05
        y[~stock] = 0
        y[rng.random(steps) < 0.03] = np.nan
        ahead = np.datetime64("2023-01-01") + np.arange(150, 150 + HORIZON)
        nothing = np.full(HORIZON, np.nan)
        frames.append(
            pl.DataFrame(
                {
                    "item": [f"i{item}"] * (steps + HORIZON),
                    "ds": np.concatenate([time_, ahead]),
                    "y": np.concatenate([y, nothing]),
                    "promo": promo,
                    "visits": np.concatenate([rng.gamma(2.0, 3.0, steps), nothing]),
                    "stocked": np.concatenate([stock, np.ones(HORIZON, bool)]),
                    "group": [f"g{item % 3}"] * (steps + HORIZON),
                    "price": [1.5 + item] * (steps + HORIZON),
                }
            )
        )
    return read_panel(
        pl.concat(frames).with_columns(pl.col("y", "visits").fill_nan(None)), key="item", time="ds", target="y",
        known="promo", past="visits", static=["group", "price"], available="stocked",
    )  # fmt: skip


def monthly() -> Any:
    """Smooth amounts of 8 items by month, some below 0."""
    rng = np.random.default_rng(2)
    stamps = pl.date_range(pl.date(2015, 1, 1), pl.date(2021, 12, 1), "1mo", eager=True)
    steps = np.arange(len(stamps))
    frames = []
    for item in range(8):
        season = np.sin(2 * np.pi * steps / 12)
        y = 20 * item + 0.3 * steps + 10 * season + rng.normal(0, 3, len(stamps))
        frames.append(pl.DataFrame({"item": [f"m{item}"] * len(stamps), "ds": stamps, "y": y}))
    return read_panel(pl.concat(frames), key="item", time="ds", target="y")


def intermittent() -> Any:
    """Weeks of 10 slow movers, three quarters of the values 0."""
    rng = np.random.default_rng(3)
    stamps = pl.date_range(pl.date(2020, 1, 6), pl.date(2022, 12, 26), "1w", eager=True)
    frames = []
    for item in range(10):
        y = (rng.random(len(stamps)) < 0.25) * rng.poisson(2 + item, len(stamps))
        frames.append(
            pl.DataFrame({"item": [f"w{item}"] * len(stamps), "ds": stamps, "y": y.astype(float)})
        )
    return read_panel(pl.concat(frames), key="item", time="ds", target="y")


def forecast(name: str, hyper: dict[str, Any], panel: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Fit a method to a panel, and return what it forecasts; the words of its refusal where it refuses."""
    kind = registry.get(name)
    short = {key: value for key, value in SHORTER.items() if key in kind.defaults()}
    try:
        model: Any = registry.create(name, horizon=HORIZON, **short | hyper)
        bar = "progress" in inspect.signature(model.fit).parameters
        model.fit(panel, **{"progress": False} if bar else {})
        draws = PATHS if "paths" in model.gives else None
        result = model.predict(panel, levels=LEVELS, n_samples=draws)
    except DemandcastError as error:
        return {"error": np.array(type(error).__name__)}
    arrays = {"quantiles": result.quantiles, "mean": result.mean}
    if result.samples is not None:
        arrays["samples"] = result.samples
    return {what: np.asarray(values) for what, values in arrays.items()}


def write(path: Path, only: list[str]) -> None:
    """Forecast with every method, and keep the arrays."""
    torch.set_num_threads(1)
    print(demandcast.__file__, file=sys.stderr)
    kept: dict[str, np.ndarray[Any, Any]] = {}
    for make in (daily, monthly, intermittent):
        panel = make()
        for name in only or registry.names():
            for number, hyper in enumerate([{}, *EXTRA.get(name, [])]):
                began = time.process_time()
                label = f"{name}{number or ''}"
                for what, values in forecast(name, hyper, panel).items():
                    kept[f"{make.__name__}/{label}/{what}"] = values
                print(f"{make.__name__} {label} {time.process_time() - began:.1f} s", file=sys.stderr)  # fmt: skip
    np.savez_compressed(path, **kept)  # type: ignore[arg-type]  # its stubs take the names for options


def compare(before: Path, after: Path) -> int:
    """Print what differs between two files of `write`; return 1 if anything does."""
    one, two = np.load(before), np.load(after)
    differ = 0
    for name in sorted({*one.files, *two.files}):
        if name not in one.files or name not in two.files:
            print(f"{name}: only in {before if name in one.files else after}")
        elif one[name].dtype != two[name].dtype or one[name].shape != two[name].shape:
            print(f"{name}: {one[name].dtype} {one[name].shape} -> {two[name].dtype} {two[name].shape}")  # fmt: skip
        elif one[name].tobytes() == two[name].tobytes():
            continue
        elif one[name].dtype.kind == "U":
            print(f"{name}: {one[name]} -> {two[name]}")
        else:
            apart = np.nanmax(np.abs(one[name].astype(float) - two[name].astype(float)))
            print(f"{name}: differs by at most {apart:.3g}")
        differ += 1
    print(f"{differ} of {len({*one.files, *two.files})} arrays differ")
    return int(differ > 0)


def main() -> int:
    """Write golden forecasts, or compare two files of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True)
    writing = commands.add_parser("write", help="forecast with every method, and keep the arrays")
    writing.add_argument("path", type=Path)
    writing.add_argument("--only", nargs="*", default=[], help="methods; all of them where none is named")  # fmt: skip
    comparing = commands.add_parser("compare", help="list what differs between two files")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.command == "compare":
        return compare(args.before, args.after)
    write(args.path, args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
