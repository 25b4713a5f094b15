"""`batch_size="auto"` and `threads="auto"` beside the best of a hand sweep, on one simulated panel.

The sweep trains every batch size at every number of threads and takes the fastest; auto's choice is
made once and then measured in the same rounds, alternated with the sweep's best. Windows/s are of the
whole training loop, without the choosing; its seconds stand beside.

python benchmarks/speed/tuning.py --models nhits,dlinear --rounds 3
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from typing import Any

import torch
from bare_loop import CONTEXT, HORIZON, hourly_panel

import demandcast as dc
from demandcast import registry
from demandcast.train.allocator import keep_heap
from demandcast.train.throughput.machine import physical_cores

BATCHES = (32, 64, 128, 256, 512, 1024)


def rate(model: str, panel: dc.Panel, batch: int, threads: int, seconds: float) -> float:
    """Windows/s of a training of about so many seconds."""
    common: dict[str, Any] = {
        "horizon": HORIZON, "context": CONTEXT, "batch_size": batch, "threads": threads,
    }  # fmt: skip
    first = registry.create(model, **common, max_steps=3)
    first.fit(panel, progress=False)
    steps = max(3, round(seconds * first.log.windows_per_second / batch))
    made = registry.create(model, **common, max_steps=steps)
    made.fit(panel, progress=False)
    return float(made.log.windows_per_second)


def choose(model: str, panel: dc.Panel, steps: int) -> tuple[int, int, list[str]]:
    """Auto's batch and threads, and its notes; the training behind it is cut to nothing."""
    from demandcast.train import loop

    made = registry.create(
        model, horizon=HORIZON, context=CONTEXT, batch_size="auto", threads="auto", max_steps=steps
    )
    kept, loop._Run.go = loop._Run.go, lambda *_: None  # type: ignore[method-assign]
    try:
        made.fit(panel, progress=False)
    finally:
        loop._Run.go = kept  # type: ignore[method-assign]
    return made.settled.batch_size, made.settled.threads, made.log.notes[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="nhits,dlinear,deepar,mqrnn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each training")
    parser.add_argument("--steps", type=int, default=4000, help="of the training chosen for")
    given = parser.parse_args()
    keep_heap()
    panel = hourly_panel()
    cores = physical_cores()
    print(f"torch {torch.__version__}, {cores} cores; windows/s")
    for model in given.models.split(","):
        rates = {
            (batch, threads): rate(model, panel, batch, threads, given.seconds)
            for batch, threads in itertools.product(BATCHES, sorted({1, cores}))
        }
        for (batch, threads), found in rates.items():
            print(f"  {model} batch {batch:5} threads {threads}: {found:9,.0f}", flush=True)
        best = max(rates, key=lambda pair: rates[pair])
        began = time.perf_counter()
        batch, threads, notes = choose(model, panel, given.steps)
        took = time.perf_counter() - began
        pairs = [
            (rate(model, panel, batch, threads, given.seconds),
             rate(model, panel, *best, given.seconds))
            for _ in range(given.rounds)
        ]  # fmt: skip
        auto, swept = (statistics.median(p[i] for p in pairs) for i in (0, 1))
        for note in notes:
            print(f"  {note}")
        print(
            f"{model}: auto batch {batch}, {threads} threads {auto:,.0f}; best of the sweep batch "
            f"{best[0]}, {best[1]} threads {swept:,.0f}; ratio {auto / swept:.2f}; choosing {took:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
