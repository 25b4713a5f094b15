"""The roads by which windows reach a network, in one run: windows/s of whole trainings, alternated.

Resident (arrays in memory, a gather a batch) and streaming (the same panel in a store, memory-mapped,
gathered by this process or by workers), beside a bare loop that holds one batch ready. All train the
same network from the same draws. Beside windows/s stand windows per CPU second of the process that
trains: what it would do with a core to itself, on a machine that does other work.

python benchmarks/speed/roads.py --models nhits --batches 64,256 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bare_loop import CONTEXT, HORIZON, hourly_panel
from torch import nn

import demandcast as dc
from demandcast import registry
from demandcast.train.allocator import keep_heap
from demandcast.windows import WindowDataset


def made(name: str, batch: int, steps: int, road: dict[str, Any]) -> Any:
    return registry.create(
        name, horizon=HORIZON, context=CONTEXT, batch_size=batch, max_steps=steps, device="cpu",
        **road,
    )  # fmt: skip


def fitted(model: Any, panel: dc.Panel) -> tuple[Any, float]:
    """The model, and the CPU seconds that this process took for it."""
    began = time.process_time()
    model.fit(panel, progress=False)
    return model, time.process_time() - began


def bare(model: Any, panel: dc.Panel, steps: int) -> tuple[float, float]:
    """The same network on one batch that is ready; the model must have been fitted."""
    network, source, plan = model.build(panel)
    sampler = model._sampler(panel, plan, 0)
    windows = WindowDataset(source, sampler, extra=model._extra_steps(plan))
    window = windows.__getitems__(sampler.draw(plan.config.batch_size, torch.Generator()))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-9, fused=True)
    network.train()
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        network.loss(window).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    network.eval()
    windows = plan.config.batch_size * steps
    return windows / seconds, windows / cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="nhits")
    parser.add_argument("--batches", default="64,256")
    parser.add_argument("--workers", default="0,1,2")
    parser.add_argument("--series", type=int, default=321)
    parser.add_argument("--hours", type=int, default=2000)
    parser.add_argument("--windows", type=int, default=40_000, help="of each training")
    parser.add_argument("--rounds", type=int, default=3, help="alternations; medians are printed")
    given = parser.parse_args()
    keep_heap()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    print(
        f"commit {commit.stdout.strip()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    panel = hourly_panel(given.series, given.hours)
    print(f"context {CONTEXT}, horizon {HORIZON}, {panel.n_steps:,} rows; windows/s", flush=True)
    roads: dict[str, dict[str, Any]] = {"resident": {"loader": "resident"}}
    for workers in map(int, given.workers.split(",")):
        roads[f"streaming, {workers} workers"] = {"loader": "streaming", "workers": workers}
    with tempfile.TemporaryDirectory() as folder:
        panel.to_store(Path(folder) / "store")
        mapped = dc.read_panel(Path(folder) / "store")
        for name in given.models.split(","):
            for batch in map(int, given.batches.split(",")):
                compare(
                    name, batch, max(20, given.windows // batch), panel, mapped, roads, given.rounds
                )


def compare(
    name: str,
    batch: int,
    steps: int,
    panel: dc.Panel,
    mapped: dc.Panel,
    roads: dict[str, dict[str, Any]],
    rounds: int,
) -> None:
    rates: dict[str, list[tuple[float, float]]] = {"bare loop": [], **{road: [] for road in roads}}
    fitted(made(name, batch, 2, {}), panel)  # warm
    for _ in range(rounds):
        for label, road in roads.items():
            of = panel if road["loader"] == "resident" else mapped
            _, setup = fitted(made(name, batch, 1, road), of)
            model, cpu = fitted(made(name, batch, steps + 1, road), of)
            rate = float(model.log.windows_per_second)
            rates[label].append((rate, batch * steps / (cpu - setup)))
        rates["bare loop"].append(bare(model, panel, steps))
    for label, found in rates.items():
        said = ""
        for i, unit in enumerate(("windows/s", "windows per CPU second")):
            share = statistics.median(
                a[i] / b[i] for a, b in zip(found, rates["resident"], strict=True)
            )
            said += f"   {statistics.median(f[i] for f in found):9,.0f} {unit} ({share:.2f})"
        print(f"{name} {batch:4}  {label:22} {said}", flush=True)


if __name__ == "__main__":
    main()
