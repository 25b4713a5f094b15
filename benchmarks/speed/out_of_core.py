"""A panel larger than the memory it is given: written, opened and trained from, with the peak of memory.

Series of equal length are simulated by the block into a store. A process of its own, which may take no
more than `--limit` GB of memory (`RLIMIT_DATA`: an allocation above it fails), then opens the store,
walks it as `fit` does, trains NHITS and forecasts a few series. What it reads of the file is the
system's cache, given back when others want it, and stands in a column of its own.

python benchmarks/speed/out_of_core.py --rows 1e9 --limit 4 --steps 500
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

import demandcast as dc
from demandcast.panel.panel import Panel
from demandcast.schema import Schema

BLOCK = 1 << 24  # rows simulated at once


def simulate(folder: Path, rows: int, length: int) -> Panel:
    """Poisson counts with a week in them, in a file."""
    values = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.float32, (rows,))
    rng = np.random.default_rng(0)
    for first in range(0, rows, BLOCK):
        stop = min(first + BLOCK, rows)
        step = np.arange(first, stop) % 7
        values[first:stop] = rng.poisson(2, stop - first) + step
    values.flush()
    n = rows // length
    return Panel(
        schema=Schema(key=("item",), time="date", target="units", freq="D"),
        keys=pl.DataFrame({"item": np.arange(n)}),
        target=np.load(folder / "raw.npy", mmap_mode="r"),
        begins=np.arange(n) * length,
        extents=np.full(n, length),
        lengths=np.full(n, length),
        starts=np.full(n, 19_000),
        known=np.zeros((rows, 0), np.float32),
        past=np.zeros((rows, 0), np.float32),
        time_dtype=pl.Date(),
    )


class Watch:
    """The peak of the process's own memory, and of that which mirrors files, in bytes."""

    def __init__(self) -> None:
        self.own = self.file = 0
        self.done = threading.Event()
        threading.Thread(target=self.go, daemon=True).start()

    def go(self) -> None:
        while not self.done.wait(0.05):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name == "RssAnon":
                    self.own = max(self.own, int(value.split()[0]) * 1024)
                elif name == "RssFile":
                    self.file = max(self.file, int(value.split()[0]) * 1024)

    def say(self, what: str, began: float) -> None:
        seconds = time.perf_counter() - began
        print(
            f"{what:34} {seconds:7.1f} s   own memory {self.own / 1e9:5.2f} GB   "
            f"of files {self.file / 1e9:5.2f} GB",
            flush=True,
        )


def train(store: Path, given: argparse.Namespace) -> None:
    if given.limit:
        allowed = int(given.limit * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    watch, began = Watch(), time.perf_counter()
    panel = dc.read_panel(store)
    print(f"{panel.n_series:,} series, {len(panel.target):,} rows, {panel.nbytes / 1e9:.2f} GB")
    watch.say("opened", began)
    began = time.perf_counter()
    model = dc.models.NHITS(
        horizon=28, context=56, batch_size=256, max_steps=given.steps, rho=0.5, device="cpu",
        loader=given.loader, workers=given.workers,
    )  # fmt: skip
    model.fit(panel, progress=False)
    assert model.log is not None
    watch.say("walked and trained", began)
    print(f"  {model.log.windows_per_second:,.0f} windows/s; {'; '.join(model.log.notes)}")
    began = time.perf_counter()
    some = panel.select(np.arange(0, panel.n_series, max(1, panel.n_series // 1000)))
    forecast = model.predict(some)
    watch.say(f"forecast {forecast.n_series:,} series", began)
    watch.done.set()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=float, default=1e8)
    parser.add_argument("--length", type=int, default=1000, help="steps a series")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--limit", type=float, default=4.0, help="GB of memory; 0 for no limit")
    parser.add_argument("--loader", default="auto")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument(
        "--folder", default=None, help="where to write; a temporary place if absent"
    )
    parser.add_argument("--trains-from", default=None, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.trains_from:
        train(Path(given.trains_from), given)
        return
    folder = Path(tempfile.mkdtemp(dir=given.folder))
    try:
        watch, began = Watch(), time.perf_counter()
        panel = simulate(folder, int(given.rows), given.length)
        watch.say("simulated", began)
        began = time.perf_counter()
        panel.to_store(folder / "store")
        watch.say("written as a store", began)
        watch.done.set()
        os.unlink(folder / "raw.npy")
        arguments = [
            sys.executable,
            __file__,
            *sys.argv[1:],
            "--trains-from",
            str(folder / "store"),
        ]
        subprocess.run(arguments, check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
