"""Tensors on disk: one safetensors file, replaced in one go, with a digest of all that it holds."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules import module as hooks

from demandcast.errors import CheckpointError, ConfigError
from demandcast.files import printable, write_file
from demandcast.layers.generators import BoundedGeneratorMode, draws_of

Net = TypeVar("Net", bound=nn.Module)
BUFFERS = 10_000_000  # values in tables that networks compute when they are built, at most
MODULES = 100  # modules of a network for each of its tensors, at most


def pack(tensors: dict[str, Tensor], facts: Mapping[str, object]) -> bytes:
    """Pack tensors as a safetensors file, with facts and a digest in its header."""
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    text = json.dumps(facts)
    return save(plain, metadata={"facts": text, "digest": _digest(plain, text)})


def write_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    facts: Mapping[str, object],
    *,
    what: str = "the checkpoint",
) -> None:
    """Write tensors and facts, whole or not at all.

    Raises:
        FileError: They cannot be written there; `what` names them in its message.
    """
    write_file(path, pack(tensors, facts), what=what)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Read what `write_tensors` wrote.

    Raises:
        CheckpointError: The file is missing, cut short, changed or of another kind.
    """
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # copied: they are views of the file, which another program may cut short or write over
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        text = metadata["facts"]
        facts = json.loads(text)
        if not isinstance(facts, dict) or metadata["digest"] != _digest(tensors, text):
            raise ValueError("its digest differs from that of its content")
    except (OSError, SafetensorError, KeyError, ValueError, RecursionError, RuntimeError) as error:
        raise CheckpointError(
            f"{printable(path)} is no checkpoint of this package, or is damaged ({error}); train again, or "
            "take the folder of another run"
        ) from error
    return tensors, facts


@contextmanager
def reading_facts(path: Path) -> Iterator[None]:
    """Raise what is wrong with the facts of a checkpoint as `CheckpointError`."""
    try:
        yield
    except (ConfigError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the checkpoint {printable(path)} is damaged, or is of another model or panel ({reason}); resume "
            "with the same ones, or take another folder"
        ) from error


def take(tensors: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of these names, each of the same shape and type as the one expected.

    Raises:
        ValueError: One is missing, or has another shape or type.
    """
    for name, expected in like.items():
        value = tensors.get(name)
        if value is None:
            raise ValueError(f"it has no {name}")
        if value.shape != expected.shape or value.dtype != expected.dtype:
            raise ValueError(
                f"{name} is {value.dtype} {tuple(value.shape)}, and should be {expected.dtype} "
                f"{tuple(expected.shape)}"
            )
    return {name: tensors[name] for name in like}


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """Return SHA-256 of names, types, shapes and values, and of the facts beside them."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}:".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def restore_network(build: Callable[[], Net], tensors: dict[str, Tensor], path: Path) -> Net:
    """Build a network and give it the weights that were read from a file.

    The build stops where it grows beyond what the file has weights for, before memory is taken: sizes in a
    damaged manifest can then neither fill the memory nor take forever.

    Raises:
        CheckpointError: The weights are of another network.
    """
    saved = {name: tuple(value.shape) for name, value in tensors.items()}
    room = sum(value.numel() for value in tensors.values())
    try:
        source = torch.Generator()  # of weights that are not kept
        with (
            draws_of(source),
            BoundedGeneratorMode(source, room + BUFFERS),
            _at_most(room, len(tensors)),
        ):
            network = build()
        outline = {k: tuple(v.shape) for k, v in network.state_dict().items()}
        for name in saved.keys() | outline.keys():
            if saved.get(name) != outline.get(name):
                raise ValueError(f"{name} is {saved.get(name)}, and should be {outline.get(name)}")
        network.load_state_dict(tensors)
    except (
        AssertionError, AttributeError, LookupError, MemoryError, OverflowError, RuntimeError, TypeError,
        ValueError, ZeroDivisionError,
    ) as error:  # fmt: skip
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"the weights in {printable(path)} do not fit the network described beside them ({reason}); save "
            "the run again, or take it from a copy"
        ) from error
    return network


@contextmanager
def _at_most(values: int, tensors: int) -> Iterator[None]:
    """Stop this thread from building a network of more values or parts than it has weights for."""
    thread = threading.get_ident()
    left = {"parameters": values, "buffers": values + BUFFERS, "modules": MODULES * (tensors + 1)}

    def count(what: str, value: object) -> None:
        if threading.get_ident() == thread:
            left[what] -= value.numel() if isinstance(value, Tensor) else 1
            if left[what] < 0:
                raise ValueError(f"it has more {what} than the file has weights for")

    removers = [
        hooks.register_module_parameter_registration_hook(lambda *a: count("parameters", a[2])),
        hooks.register_module_buffer_registration_hook(lambda *a: count("buffers", a[2])),
        hooks.register_module_module_registration_hook(lambda *a: count("modules", a[2])),
    ]
    try:
        yield
    finally:
        for remover in removers:
            remover.remove()
