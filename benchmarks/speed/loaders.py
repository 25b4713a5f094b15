"""Training beside the peers' on one panel and with networks of one size: loaders and loops included.

Ours on both roads: resident, and streaming from a file (memory-mapped). The peers run in environments
of their own, by `loaders_peer.py`; those that are not there are skipped and named. All take turns.
With `--cpu` one thread trains and its CPU seconds are counted: for machines that do other work, too.

python benchmarks/speed/loaders.py --install ../peers
python benchmarks/speed/loaders.py --peers ../peers --models nhits --batches 64,256 --rounds 3
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bare_loop import CONTEXT, HORIZON, SERIES, hourly_panel
from loaders_peer import rate

import demandcast as dc
from demandcast import registry
from demandcast.train.allocator import keep_heap

PACKAGES = {
    "neuralforecast": "neuralforecast", "gluonts": "gluonts[torch]", "darts": "u8darts[torch]",
    "pytorch-forecasting": "pytorch-forecasting",
}  # fmt: skip


def install(folder: Path) -> None:
    """An environment for each peer."""
    for peer, package in PACKAGES.items():
        subprocess.run([sys.executable, "-m", "venv", folder / peer], check=True)
        python = folder / peer / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
        print(f"installed {peer}", flush=True)


def ours(model: str, panel: dc.Panel, batch: int, loader: str, seconds: float, cpu: bool) -> float:
    def fit(steps: int) -> None:
        made = registry.create(
            model, horizon=HORIZON, context=CONTEXT, batch_size=batch, loader=loader, workers=0,
            max_steps=steps,
        )  # fmt: skip
        made.fit(panel, progress=False)

    return rate(fit, batch, seconds, cpu=cpu)


def theirs(
    python: Path, peer: str, model: str, batch: int, panel: Path, seconds: float, cpu: bool
) -> float:
    words = [
        python, Path(__file__).with_name("loaders_peer.py"), "--peer", peer, "--model", model,
        "--batch", batch, "--panel", panel, "--seconds", seconds, *(["--cpu"] if cpu else []),
    ]  # fmt: skip
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("windows/s "):
            return float(line.split()[1])
    told = (done.stderr.strip().splitlines() or ["no output"])[-1]
    print(f"  {peer} {model} {batch} failed: {told}", file=sys.stderr, flush=True)
    return float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--install", type=Path, metavar="DIR", help="make the peers' environments")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where they are")
    parser.add_argument("--models", default="nhits,deepar")
    parser.add_argument("--batches", default="64,256")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--cpu", action="store_true", help="count CPU seconds of one thread")
    given = parser.parse_args()
    if given.install is not None:
        install(given.install)
        return
    keep_heap()
    if given.cpu:
        torch.set_num_threads(1)
    panel = hourly_panel()
    with tempfile.TemporaryDirectory() as folder:
        array = Path(folder) / "panel.npy"
        np.save(array, panel.target.reshape(SERIES, -1))
        panel.to_store(Path(folder) / "store")
        mapped = dc.read_panel(Path(folder) / "store")
        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; windows/s, medians")
        for model in given.models.split(","):
            for batch in map(int, given.batches.split(",")):
                for name, rates in _rounds(given, model, batch, panel, mapped, array).items():
                    middle = statistics.median(rates)
                    print(f"{model:7} batch {batch:4}  {name:20} {middle:9,.0f}", flush=True)


def _rounds(
    given: argparse.Namespace,
    model: str,
    batch: int,
    panel: dc.Panel,
    mapped: dc.Panel,
    array: Path,
) -> dict[str, list[float]]:
    """Windows/s of everyone, one measurement a round."""
    seconds, cpu = given.seconds, given.cpu
    runs: dict[str, Callable[[], float]] = {
        "ours, resident": lambda: ours(model, panel, batch, "resident", seconds, cpu),
        "ours, streaming": lambda: ours(model, mapped, batch, "streaming", seconds, cpu),
    }
    for peer in PACKAGES if given.peers is not None else ():
        python = given.peers / peer / "bin" / "python"
        if not python.exists():
            print(f"  skipped {peer}: no {python}", file=sys.stderr)
        elif (peer, model) != ("gluonts", "nhits"):  # it has none
            runs[peer] = lambda python=python, peer=peer: theirs(  # type: ignore[misc]
                python, peer, model, batch, array, seconds, cpu
            )
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(given.rounds):
        for name, run in runs.items():
            found[name].append(run())
    return found


if __name__ == "__main__":
    main()
