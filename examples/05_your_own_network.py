"""Your own network: train a classifier of handwritten digits with the training loop of the forecasters.

An epoch is one pass over all samples. Loaders, precision, checkpoints and the progress bar are those of the
forecasters.

Run: python examples/05_your_own_network.py [mnist.npz]
Without the file, the digits are simulated: ten noisy patterns, much easier than real digits.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

import demandcast as dc


def digits(path: str | None) -> list[TensorDataset]:
    """Return the training set and the test set: pixels in [0, 1] and the digit."""
    if path and Path(path).exists():
        with np.load(path) as file:
            parts = [(file[f"x_{part}"], file[f"y_{part}"]) for part in ("train", "test")]
    else:
        rng = np.random.default_rng(0)
        patterns = rng.integers(0, 256, (10, 28, 28))
        labels = [rng.integers(0, 10, count) for count in (2000, 500)]
        parts = [(patterns[y] * rng.random((len(y), 28, 28)), y) for y in labels]
    return [
        TensorDataset(torch.tensor(x).flatten(1).float() / 255, torch.tensor(y).long())
        for x, y in parts
    ]


train, test = digits(sys.argv[1] if len(sys.argv) > 1 else None)
torch.manual_seed(0)
network = nn.Sequential(
    nn.Linear(784, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10)
)  # fmt: skip
log = dc.train.fit(
    network,
    train,
    nn.functional.cross_entropy,
    epochs=6,
    batch_size=128,
    learning_rate=2e-3,
    seed=0,
)
with torch.no_grad():
    predicted = network(test.tensors[0].to(next(network.parameters()).device)).argmax(1).cpu()
accuracy = (predicted == test.tensors[1]).float().mean().item()
print(
    f"{log.steps} iterations, {log.per_epoch} an epoch, in {log.seconds:.0f} s: accuracy {accuracy:.1%}"
)
