"""Put trained weights into the package: averaged over the files given, in float16.

python benchmarks/pretrain/ship.py pretrained/weights.safetensors
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from demandcast.pretrained import weights as shipped
from demandcast.train.checkpoint import write_tensors
from evaluate import weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", help="that train.py wrote")
    read = [weights(file) for file in parser.parse_args().files]
    shapes = [asdict(network.shape) for network in read]
    assert all(shape == shapes[0] for shape in shapes), (
        "the files are of networks of several shapes"
    )
    mean = {
        name: torch.stack([network.state_dict()[name] for network in read]).mean(0).half()
        for name in read[0].state_dict()
    }
    path = Path(shipped.__file__).parent / shipped.WEIGHTS
    write_tensors(path, mean, {"shape": shapes[0]})
    print(
        f"{path}: {path.stat().st_size / 2**10:.0f} KiB, {sum(t.numel() for t in mean.values()):,} weights"
    )


if __name__ == "__main__":
    main()
