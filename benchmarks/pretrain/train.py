"""Pretrain the zero-shot network on synthetic demand, with the library's own trainer; resumable.

python benchmarks/pretrain/train.py --out pretrained --steps 6000
python benchmarks/pretrain/train.py --out pretrained2 --start pretrained/weights.safetensors --rate 1e-3

A run that was cut goes on from its last checkpoint with the same command. `--start` begins another one, with
its own rise and fall of the rate, from the weights of one before. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import Dataset

from demandcast.pretrained.inputs import Histories
from demandcast.pretrained.zero_shot_network import Shape, ZeroShotNetwork
from demandcast.synthetic import draw as draw_demand
from demandcast.train.checkpoint import write_tensors
from demandcast.train.gradients import Objective
from demandcast.train.loaders import ResidentLoader
from demandcast.train.loop import train
from demandcast.train.training import Training
from demandcast.train.watch import Watch
from evaluate import weights

# steps of context, share of the batches, windows in a batch
BUCKETS = ((64, 0.14, 512), (128, 0.2, 384), (256, 0.25, 256), (512, 0.24, 144), (1024, 0.17, 80))
HORIZONS = ((8, 0.2), (16, 0.2), (28, 0.2), (64, 0.3), (168, 0.1))  # longest step ahead, share
ASKED = 12  # steps of the horizon that a batch learns from


@dataclass(frozen=True)
class Batch:
    histories: Histories
    steps: torch.Tensor

    def __len__(self) -> int:
        return len(self.histories)

    def part(self, rows: slice) -> Batch:
        return Batch(self.histories.part(rows), self.steps)

    def to(self, device: torch.device, non_blocking: bool = False) -> Batch:
        return Batch(self.histories.to(device, non_blocking), self.steps.to(device))


class Drawn(Dataset[Batch]):
    """Batches that are made as they are drawn."""

    def __getitems__(self, batch: Batch) -> Batch:
        return batch


def pick(g: torch.Generator, shares: list[float]) -> int:
    return int(torch.multinomial(torch.tensor(shares), 1, generator=g))


def draw(g: torch.Generator, size: float = 1.0) -> Batch:
    """Synthetic windows of one length; a random few of the steps ahead."""
    context, _, batch = BUCKETS[pick(g, [b[1] for b in BUCKETS])]
    horizon, _ = HORIZONS[pick(g, [h[1] for h in HORIZONS])]
    batch = max(8, int(batch * size))
    covariates = float(torch.rand((), generator=g)) < 0.5
    demand = draw_demand(g, batch, context + horizon, horizon=horizon, covariates=covariates)
    past = demand.target[:, :context]
    before = torch.arange(context)[None] < context - demand.history[:, None]
    past = torch.where(before, torch.nan, past)
    steps = torch.randperm(horizon, generator=g)[: min(ASKED, horizon)].sort().values + 1
    return Batch(Histories(past, demand.known, demand.periods, demand.target[:, context:]), steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("pretrained"))
    parser.add_argument("--start", type=Path, help="weights to begin with")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--size", type=float, default=1.0, help="times the windows in a batch")
    parser.add_argument("--average", type=float, default=0.995)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--width", type=int, default=Shape.width)
    parser.add_argument("--hidden", type=int, default=Shape.hidden)
    parser.add_argument("--layers", type=int, default=Shape.layers)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    shape = Shape(width=given.width, hidden=given.hidden, layers=given.layers)
    network = ZeroShotNetwork(shape)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "shape.json").write_text(json.dumps(asdict(shape)))
    if given.start:
        network.load_state_dict(weights(given.start).state_dict())
    training = Training(
        max_steps=given.steps, batch_size=256, learning_rate=given.rate, clip=1.0, average=given.average,
        seed=given.seed, checkpoint_every=given.every, warmup=0.04,
    )  # fmt: skip
    began, done = time.perf_counter(), [0, 0.0, 0]

    def loss(batch: Batch) -> torch.Tensor:
        found = network.loss(batch.histories, batch.steps)
        done[0] += 1
        done[1] += float(found.detach())
        done[2] += len(batch)
        if done[0] % 100 == 0:
            seconds = time.perf_counter() - began
            print(
                f"{done[0]} steps, {done[2]} windows, loss {done[1] / 100:.4f}, {seconds:.0f} s",
                flush=True,
            )
            done[1] = 0.0
        return found

    loader = ResidentLoader(Drawn(), lambda _, g: draw(g, given.size), torch.device("cpu"))
    watch = Watch(progress=False, checkpoint=given.out, resume=True)
    log = train(Objective(network=network, loss_of=loss), loader, training, watch=watch)
    facts = {
        "shape": asdict(shape),
        "steps": log.steps,
        "windows": log.windows,
        "seconds": log.seconds,
        "losses": log.losses,
    }
    write_tensors(given.out / "weights.safetensors", network.state_dict(), facts)
    print(json.dumps(facts)[:200])


if __name__ == "__main__":
    main()
