"""`batch_size="auto"` and `threads="auto"` beside the best of a hand sweep, on one simulated panel.

The sweep trains every batch size at every number of threads and takes the fastest; auto's choice is
made once and then measured in the same rounds, alternated with the sweep's best. Windows/s are of the
whole training loop, without the choosing; its seconds stand beside.

With `--cpu` one thread trains, and CPU seconds are counted in place of the clock's: what the training
would take with a core to itself, on a machine where other programs run too.

python benchmarks/speed/tuning.py --models nhits,dlinear --rounds 3
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from bare_loop import CONTEXT, HORIZON, hourly_panel

import demandcast as dc
from demandcast import registry
from demandcast.train import loop
from demandcast.train.allocator import keep_heap
from demandcast.train.doctor.machine import physical_cores

Clock = Callable[[], float]
BATCHES = (32, 64, 128, 256, 512, 1024)


def rate(
    model: str, panel: dc.Panel, batch: int, threads: int, seconds: float, clock: Clock
) -> float:
    """Windows/s of a training of about so many seconds, its start not counted."""
    common: dict[str, Any] = {
        "horizon": HORIZON, "context": CONTEXT, "batch_size": batch, "threads": threads,
    }  # fmt: skip

    def spent(steps: int) -> float:
        made = registry.create(model, **common, max_steps=steps)
        began = clock()
        made.fit(panel, progress=False)
        return clock() - began

    spent(1)
    short = spent(3)
    more = 4
    while (longer := spent(3 + more)) - short < seconds:
        more = max(2 * more, round(1.1 * more * seconds / max(longer - short, seconds / 20)))
    return batch * more / (longer - short)


def choose(
    model: str, panel: dc.Panel, steps: int, threads: int | str
) -> tuple[int, int, list[str]]:
    """Auto's batch and threads, and its notes; the training behind it is cut to nothing."""
    made = registry.create(
        model, horizon=HORIZON, context=CONTEXT, batch_size="auto", threads=threads, max_steps=steps
    )
    kept, loop._Run.go = loop._Run.go, lambda *_: None  # type: ignore[method-assign]
    try:
        made.fit(panel, progress=False)
    finally:
        loop._Run.go = kept  # type: ignore[method-assign]
    return made.plan.config.batch_size, made.plan.config.threads, made.log.notes[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="nhits,dlinear,deepar,mqrnn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each training")
    parser.add_argument("--steps", type=int, default=4000, help="of the training chosen for")
    parser.add_argument("--cpu", action="store_true", help="one thread, by its CPU seconds")
    given = parser.parse_args()
    keep_heap()
    clock = time.process_time if given.cpu else time.perf_counter
    counts = [1] if given.cpu else sorted({1, physical_cores()})
    panel = hourly_panel()
    print(f"torch {torch.__version__}, {physical_cores()} cores; windows/s")
    for model in given.models.split(","):
        rates = {
            (batch, threads): rate(model, panel, batch, threads, given.seconds, clock)
            for batch, threads in itertools.product(BATCHES, counts)
        }
        for (batch, threads), found in rates.items():
            print(f"  {model} batch {batch:5} threads {threads}: {found:9,.0f}", flush=True)
        best = max(rates, key=lambda pair: rates[pair])
        began = time.perf_counter()
        batch, threads, notes = choose(model, panel, given.steps, 1 if given.cpu else "auto")
        took = time.perf_counter() - began
        pairs = [
            (rate(model, panel, batch, threads, given.seconds, clock),
             rate(model, panel, *best, given.seconds, clock))
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
