"""The weights that ship with the package, and those of a file."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import torch

from demandcast.errors import CheckpointError
from demandcast.layers.draws import draws_of
from demandcast.pretrained.network import Shape, ZeroShotNetwork
from demandcast.train.checkpoint import read_tensors

WEIGHTS = "zero_shot.safetensors"


def shipped() -> ZeroShotNetwork:
    """The network with the weights that ship with the package."""
    with as_file(files("demandcast.pretrained") / WEIGHTS) as path:
        return read_network(path)


def read_network(path: Path) -> ZeroShotNetwork:
    """A network from its file.

    Raises:
        CheckpointError: The file is damaged, or of another network.
    """
    tensors, facts = read_tensors(path)
    try:
        with draws_of(torch.Generator(), everything=True):  # weights that are not kept
            network = ZeroShotNetwork(Shape(**facts["shape"]))
        network.load_state_dict({name: value.float() for name, value in tensors.items()})
    except (KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"the weights in {path} are not of this network: {error}") from error
    return network.eval()
