"""Training and sampling against bare PyTorch loops of the same network, alternated in one run.

Training: windows/s of `model.fit` against a loop that holds one batch ready and does nothing but
forward, backward, clipping and the optimiser's step. Sampling: paths/s of `model.predict` against a
loop of `nn.LSTM`, head and draw over inputs that are ready. Both keep freed heap, as the library does.

python benchmarks/speed/bare_loop.py --rounds 5 --models nhits,dlinear --batches 64,256
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

import demandcast as dc
from demandcast import registry
from demandcast.train.allocator import keep_heap
from demandcast.windows.sampler import WindowSampler

CONTEXT, HORIZON, SERIES, HOURS, PATHS = 168, 24, 321, 2000, 100
MODELS = (
    "deepar",
    "mqrnn",
    "mqcnn",
    "dlinear",
    "nlinear",
    "nhits",
    "tide",
    "tsmixer",
    "patchtst",
    "tft",
)


def hourly_panel(series: int = SERIES, hours: int = HOURS) -> dc.Panel:
    """Simulated customers with a day and a week in them."""
    rng = np.random.default_rng(0)
    step = np.arange(hours)
    shape = 2 + np.sin(step * 2 * np.pi / 24) + 0.5 * np.sin(step * 2 * np.pi / 168)
    values = shape * rng.lognormal(3, 1, (series, 1)) * rng.lognormal(0, 0.1, (series, hours))
    times = [datetime(2024, 1, 1) + timedelta(hours=int(h)) for h in step]
    frame = pl.DataFrame({f"client_{i}": row for i, row in enumerate(values)})
    wide = frame.with_columns(time=pl.Series(times))
    return dc.read_panel(wide.unpivot(index="time", variable_name="client", value_name="load"))


def train_ours(model: Any, panel: dc.Panel) -> float:
    model.fit(panel, progress=False)
    return float(model.log.windows_per_second)


def train_bare(model: Any, panel: dc.Panel, steps: int) -> float:
    """The same network on one batch that is ready; the model must have been fitted."""
    network, plan = model.network, model.plan
    source = model._source(panel, model.features, plan)
    extra = model._extra_steps(plan)
    sampler = WindowSampler(panel, horizon=HORIZON + extra, held_out=0, rho=0.5)
    batch = plan.config.batch_size
    series, cutoffs, limits = sampler.draw(batch, torch.Generator().manual_seed(0))
    window = source.windows(series, cutoffs + extra, limits, extra=extra)
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    began = time.perf_counter()
    for _ in range(steps):
        optimiser.zero_grad(set_to_none=True)
        network.loss(window).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimiser.step()
    seconds = time.perf_counter() - began
    network.eval()
    return batch * steps / seconds


def sample_ours(model: Any, panel: dc.Panel) -> float:
    began = time.perf_counter()
    model.predict(panel, n_samples=PATHS)
    return SERIES * PATHS / (time.perf_counter() - began)


def sample_bare(model: Any, panel: dc.Panel) -> float:
    """LSTM, linear head and a Student-t draw, each draw fed back; batches as the library has them."""
    lstm, head = model.network.lstm, model.network.head
    width, rows = lstm.input_size, 327 * PATHS
    began = time.perf_counter()
    with torch.inference_mode():
        _, state = lstm(torch.randn(SERIES, CONTEXT, width))
        state = tuple(s.repeat_interleave(PATHS, 1) for s in state)
        x = torch.randn(SERIES * PATHS, 1, width)
        paths = torch.empty(SERIES * PATHS, HORIZON)
        assert len(x) <= rows
        for step in range(HORIZON):
            hidden, state = lstm(x, state)
            df, mu, sigma = head(hidden[:, 0]).unbind(-1)
            drawn = mu + _softplus(sigma) * _student(2 + _softplus(df))
            paths[:, step] = drawn
            x[:, 0, 0] = drawn
        torch.quantile(paths.view(SERIES, PATHS, HORIZON), torch.tensor([0.1, 0.5, 0.9]), dim=1)
    return SERIES * PATHS / (time.perf_counter() - began)


_softplus = nn.functional.softplus


def _student(df: Tensor) -> Tensor:
    return torch.randn_like(df) * (df / (2 * torch._standard_gamma(df / 2))).sqrt()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternations; medians are printed")
    parser.add_argument("--steps", type=int, default=60, help="training steps a round")
    parser.add_argument("--models", default=",".join(MODELS), help="by commas")
    parser.add_argument("--devices", type=int, default=1, help="processes that ours trains in")
    parser.add_argument("--batches", default="64,256", help="batch sizes, by commas")
    given = parser.parse_args()
    keep_heap()
    panel = hourly_panel()
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    print(
        f"commit {commit.stdout.strip()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print(f"context {CONTEXT}, horizon {HORIZON}, {SERIES} series; windows/s, paths/s\n")
    print("| network | batch | ours | bare | ratio |\n| --- | --- | --- | --- | --- |")
    for batch in map(int, given.batches.split(",")):
        common = {"context": CONTEXT, "batch_size": batch, "max_steps": given.steps, "seed": 0}
        common["devices"] = given.devices
        for name in given.models.split(","):
            model = registry.create(name, horizon=HORIZON, **common)
            train_ours(model, panel)  # warm, and fitted for the bare loop
            pairs = [
                (train_ours(model, panel), train_bare(model, panel, given.steps))
                for _ in range(given.rounds)
            ]
            _say(name, batch, pairs)
    if "deepar" not in given.models.split(","):
        return
    model = registry.create("deepar", horizon=HORIZON, **common)
    train_ours(model, panel)
    sample_ours(model, panel), sample_bare(model, panel)
    pairs = [(sample_ours(model, panel), sample_bare(model, panel)) for _ in range(given.rounds)]
    _say("deepar sampling", batch, pairs)


def _say(network: str, batch: int, pairs: list[tuple[float, float]]) -> None:
    """Print a row: medians of both, and of their ratio within an alternation."""
    ours, bare = (statistics.median(p[i] for p in pairs) for i in (0, 1))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"| {network} | {batch} | {ours:,.0f} | {bare:,.0f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
