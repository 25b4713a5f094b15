"""What the doctor costs: fits with and without `diagnose=True`, alternated, and its own account.

With `--cpu` CPU seconds of one thread are counted, for machines that do other work, too.

python benchmarks/speed/doctor.py --models nhits,deepar --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from bare_loop import CONTEXT, HORIZON, hourly_panel

import demandcast as dc
from demandcast import registry
from demandcast.train.allocator import keep_heap


def fit(
    model: str, panel: dc.Panel, steps: int, diagnose: bool, clock: Callable[[], float]
) -> tuple[float, float]:
    """Seconds of a fit, and the share of measuring by the doctor's own account."""
    made = registry.create(model, horizon=HORIZON, context=CONTEXT, max_steps=steps)
    began = clock()
    made.fit(panel, progress=False, diagnose=diagnose)
    took = clock() - began
    facts = made.diagnosis.facts if diagnose else None
    return took, facts.measuring / facts.run if facts else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="nhits,deepar,dlinear")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds of one thread")
    given = parser.parse_args()
    keep_heap()
    clock = time.process_time if given.cpu else time.perf_counter
    if given.cpu:
        torch.set_num_threads(1)
    panel = hourly_panel()
    for model in given.models.split(","):
        fit(model, panel, 10, True, clock)  # warm
        rows = [
            (
                fit(model, panel, given.steps, False, clock),
                fit(model, panel, given.steps, True, clock),
            )
            for _ in range(given.rounds)
        ]
        plain = statistics.median(p[0] for p, _ in rows)
        more = statistics.median(s[0] / p[0] for p, s in rows) - 1
        own = statistics.median(s[1] for _, s in rows)
        print(
            f"{model:8} {given.steps} steps, {plain:.1f} s: {more:+.1%} with the doctor; "
            f"{own:.1%} by its own account",
            flush=True,
        )


if __name__ == "__main__":
    main()
