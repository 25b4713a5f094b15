"""Batches: a tensor, a tuple, list or dict of batches, or an object such as a `Window`, and what is done with them.

An object of a class of its own has `to(device, non_blocking)`, `part(rows)` and a length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

ALIGNED = 16  # bytes: where tensors of a packed batch may begin

B = TypeVar("B")  # the batch of a training


class Part(Protocol):
    """A batch of a class of its own, or a tensor."""

    def to(self, device: torch.device, *, non_blocking: bool) -> object: ...

    def part(self, rows: slice) -> object: ...


def keep_batch(batch: B) -> B:
    """Return the batch as it is, for datasets whose `__getitems__` makes it."""
    return batch


def count_samples(batch: object) -> int:
    """Count the samples in a batch."""
    if isinstance(batch, dict):
        return count_samples(next(iter(batch.values())))
    if isinstance(batch, (tuple, list)):
        return count_samples(batch[0])
    return len(cast(Sized, batch))


def slice_batch(batch: B, rows: slice) -> B:
    """Return some of the samples of a batch, as views."""
    part = _map_tensors(
        batch, lambda tensor: tensor[rows], lambda other: cast(Part, other).part(rows)
    )
    return cast(B, part)


def move_batch(batch: B, device: torch.device) -> B:
    """Move a batch to a device, without waiting for copies from pinned memory."""

    def move(value: object) -> object:
        return cast(Part, value).to(device, non_blocking=True)

    return cast(B, _map_tensors(batch, move, move))


def _map_tensors(
    batch: object, tensor: Callable[[Tensor], object], other: Callable[[object], object]
) -> object:
    """Apply one function to each tensor of a batch, and another to each other object."""
    if isinstance(batch, Tensor):
        return tensor(batch)
    if isinstance(batch, dict):
        return {name: _map_tensors(value, tensor, other) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        values = [_map_tensors(value, tensor, other) for value in batch]
        return _like(batch, values)
    return other(batch)


# A batch of many tensors as one: for each of them a worker would open a file, and a GPU start a copy


@dataclass(frozen=True)
class Slot:
    """Where a tensor lies in a packed batch."""

    first: int
    stop: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose tensors lie in one run of bytes."""

    flat: Tensor  # uint8
    batch: object  # with a `Slot` for each tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> PackedBatch:
        return PackedBatch(self.flat.to(device, non_blocking=non_blocking), self.batch)

    def pin_memory(self) -> PackedBatch:
        return PackedBatch(self.flat.pin_memory(), self.batch)

    def unpack(self) -> object:
        """Return the batch; its tensors are views of the bytes."""
        return _unpack(self.batch, self.flat)


def pack_batch(batch: object) -> PackedBatch:
    """Pack the tensors of a batch into one run of bytes."""
    pieces: list[tuple[int, Tensor]] = []  # where each begins
    length = 0

    def place(tensor: Tensor) -> Slot:
        nonlocal length
        bytes_ = tensor.contiguous().flatten().view(torch.uint8)
        first, length = length, -(-(length + len(bytes_)) // ALIGNED) * ALIGNED
        pieces.append((first, bytes_))
        return Slot(first, first + len(bytes_), tuple(tensor.shape), tensor.dtype)

    def places(value: object) -> object:
        return type(value)(**{n: _map_tensors(v, place, places) for n, v in vars(value).items()})

    slots = _map_tensors(batch, place, places)
    flat = torch.empty(length, dtype=torch.uint8)
    for first, bytes_ in pieces:
        flat[first : first + len(bytes_)] = bytes_
    return PackedBatch(flat, slots)


def _like(batch: Sequence[object], values: Iterable[object]) -> object:
    """Return values in a sequence of the same class; a named tuple takes them one by one."""
    kind = cast(Callable[..., object], type(batch))
    return kind(*values) if hasattr(batch, "_fields") else kind(values)


def _unpack(batch: object, flat: Tensor) -> object:
    if isinstance(batch, Slot):
        return flat[batch.first : batch.stop].view(batch.dtype).view(batch.shape)
    if isinstance(batch, dict):
        return {name: _unpack(value, flat) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        values = [_unpack(value, flat) for value in batch]
        return _like(batch, values)
    return type(batch)(**{name: _unpack(value, flat) for name, value in vars(batch).items()})


def tensors_of(batch: object) -> list[Tensor]:
    """Return the tensors of a batch."""
    tensors: list[Tensor] = []
    _map_tensors(batch, tensors.append, lambda other: tensors.extend(vars(other).values()))
    return tensors
