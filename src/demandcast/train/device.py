"""The device that trains: which of them is usable, and what it says when its memory is exhausted."""

from __future__ import annotations

import torch

from demandcast.errors import ConfigError, way

EXHAUSTED = (
    "can't allocate memory",  # the words of PyTorch's allocators on CPU, CUDA and MPS
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def resolve_device(name: str) -> str:
    """Return the name of a usable device; "auto" is the best there is.

    Raises:
        ConfigError: It cannot be used here; the reason is named.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device={name!r} is not usable here ({error}); use",
            option="device",
            found=name,
            ways=[way(device="cpu")],
        ) from error
    return name


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory is exhausted, on whatever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in EXHAUSTED)
