"""An MLP on all of MNIST by `demandcast.train.fit`: test accuracy and seconds.

python benchmarks/speed/mnist.py --data ../shared/data --seeds 3
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

import demandcast as dc


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="../shared/data", help="folder of mnist.npz")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--precision", default="float32")
    given = parser.parse_args()
    with np.load(Path(given.data) / "mnist.npz") as file:
        x, y, x_test, y_test = (
            torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")
        )
    digits = TensorDataset(x.flatten(1).float() / 255, y.long())
    held = x_test.flatten(1).float() / 255
    print(f"{given}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for seed in range(given.seeds):
        torch.manual_seed(seed)
        mlp = nn.Sequential(
            nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10),
        )  # fmt: skip
        began = time.perf_counter()
        log = dc.train.fit(
            mlp, digits, nn.functional.cross_entropy, epochs=given.epochs, batch_size=given.batch,
            learning_rate=given.rate, precision=given.precision, seed=seed, device="cpu",
            progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        with torch.no_grad():
            right = (mlp(held).argmax(1) == y_test).float().mean().item()
        print(
            f"seed {seed}: {right:.2%} of the test digits, {seconds:.0f} s, {log.steps} iterations, "
            f"{log.windows_per_second:,.0f} samples/s",
            flush=True,
        )


if __name__ == "__main__":
    main()
