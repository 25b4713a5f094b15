"""The weights that ship with the package, and those of a file."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from demandcast.errors import CheckpointError, ConfigError
from demandcast.pretrained.zero_shot_network import Shape, ZeroShotNetwork
from demandcast.train.checkpoint import read_tensors, restore_network
from demandcast.typed import build

WEIGHTS = "zero_shot.safetensors"


def load_shipped() -> ZeroShotNetwork:
    """Return the network with the weights that ship with the package."""
    with as_file(files("demandcast.pretrained") / WEIGHTS) as path:
        return read_network(path)


def read_network(path: Path) -> ZeroShotNetwork:
    """Return a network from its file.

    Raises:
        CheckpointError: The file is damaged, or of another network.
    """
    tensors, facts = read_tensors(path)
    try:
        shape = build(Shape, facts.get("shape"), "shape")
    except ConfigError as error:
        raise CheckpointError(f"the weights in {path} are not of this network: {error}") from error
    return restore_network(lambda: ZeroShotNetwork(shape), tensors, path).eval()
