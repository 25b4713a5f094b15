"""Milliseconds a series of the zero-shot network, by the clock and of the processor, and all of M5 with its memory.

python benchmarks/speed/zero_shot.py --data ../shared/data --threads 2
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))
from tasks import TASKS

from demandcast.models.zero_shot import ZeroShot
from demandcast.pretrained.inputs import Histories


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    network = ZeroShot(horizon=28).pretrained
    g = torch.Generator().manual_seed(0)
    batch, context, horizon = 64, 512, 28
    for covariates in (0, 3):
        h = Histories(
            torch.rand(batch, context, generator=g) * 9,
            torch.randn(batch, context + horizon, covariates, generator=g),
            torch.tensor([[7, 364]]).expand(batch, 2),
            torch.zeros(batch, 0),
        )
        seconds, worked = [], []
        with torch.inference_mode():
            for _ in range(12):
                began, spent = time.perf_counter(), time.process_time()
                network(h, torch.arange(1, horizon + 1))
                seconds.append(time.perf_counter() - began)
                worked.append(time.process_time() - spent)
        each, cpu = (statistics.median(part[2:]) / batch * 1000 for part in (seconds, worked))
        print(f"batch {batch}, context {context}, horizon {horizon}, {covariates} covariates: "
              f"{each:.2f} ms a series, {cpu:.2f} of the processor")  # fmt: skip
    if not given.data.is_dir():
        print(f"skipped M5: no data in {given.data}; name its folder with --data", file=sys.stderr)
        return
    panel = TASKS["m5_daily"].load(given.data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    began, spent = time.perf_counter(), time.process_time()
    ZeroShot(horizon=28).predict(panel)
    seconds, spent = time.perf_counter() - began, time.process_time() - spent
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"M5, {panel.n_series:,} series: {seconds:.1f} s, {spent:.1f} of the processor, peak {peak:.2f} GiB ({before:.2f} once read)"
    )


if __name__ == "__main__":
    main()
