"""What the doctor costs: fits with and without `diagnose=True`, alternated, and its own account.

python benchmarks/speed/doctor.py --models nhits,deepar --rounds 5
"""

from __future__ import annotations

import argparse
import statistics
import time

from bare_loop import CONTEXT, HORIZON, hourly_panel

import demandcast as dc
from demandcast import registry
from demandcast.train.allocator import keep_heap


def fit(model: str, panel: dc.Panel, steps: int, diagnose: bool) -> tuple[float, float, float]:
    """Seconds of a fit, of its steps alone, and of measuring by the doctor's own account."""
    made = registry.create(model, horizon=HORIZON, context=CONTEXT, max_steps=steps)
    began = time.perf_counter()
    made.fit(panel, progress=False, diagnose=diagnose)
    took = time.perf_counter() - began
    measuring = made.diagnosis.facts.measuring if diagnose else 0.0
    return took, made.log.seconds, measuring


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="nhits,deepar,dlinear")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    keep_heap()
    panel = hourly_panel()
    for model in given.models.split(","):
        fit(model, panel, 10, diagnose=True)  # warm
        rows = [
            (fit(model, panel, given.steps, False), fit(model, panel, given.steps, True))
            for _ in range(given.rounds)
        ]
        plain, seen = ([row[i] for row in rows] for i in (0, 1))
        took = statistics.median(s[0] / p[0] for p, s in zip(plain, seen, strict=True)) - 1
        steps = statistics.median(s[1] / p[1] for p, s in zip(plain, seen, strict=True)) - 1
        own = statistics.median(s[2] / s[1] for s in seen)
        print(
            f"{model:8} {given.steps} steps, {statistics.median(p[0] for p in plain):.1f} s: whole fit "
            f"{took:+.1%}, its steps {steps:+.1%}; measuring by the doctor's own account {own:.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()
