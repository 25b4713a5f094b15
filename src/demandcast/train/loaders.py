"""The two loaders that bring batches to the loop, and the choice between them.

*Resident*: the arrays lie on the device that trains, and a batch is one gather from them. *Streaming*:
the arrays lie elsewhere, in a file or in this machine's memory; worker processes gather batches ahead
of need, and each is copied to the device while that computes on the one before.

On both, the samples of a step are drawn in the main process from the run's own generator, so that the
same seed gives the same batches. A batch is a tensor, a tuple, list or dict of batches, or an object
with `to(device, non_blocking)`, `slice_batch(rows)` and a length, as a `Window` is.
"""

from __future__ import annotations

import multiprocessing
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from demandcast.errors import ConfigError
from demandcast.train.clock import no_mark
from demandcast.train.throughput.machine import cores, memory

LOADERS = ("auto", "resident", "streaming")
MOST_WORKERS = 8
PREFETCH = 4  # batches that each worker keeps ready
AT_ONCE = 256, 1024  # samples that resident batches are gathered by, at first and at most
GATHERED = 32 << 20  # bytes that more of them than the first number may take together
ALIGNED = 16  # bytes: where tensors of a packed batch may begin
SHARE = 0.5  # of the free memory of a device, at most, for resident arrays

Draw = Callable[[int, torch.Generator], Any]  # of a step: the indices of its samples


# Batches


def keep_batch(batch: Any) -> Any:
    """Return the batch as it is, for datasets whose `__getitems__` makes it."""
    return batch


def count_samples(batch: Any) -> int:
    """Count the samples in a batch."""
    if isinstance(batch, dict):
        return count_samples(next(iter(batch.values())))
    return count_samples(batch[0]) if isinstance(batch, (tuple, list)) else len(batch)


def slice_batch(batch: Any, rows: slice) -> Any:
    """Return some of the samples of a batch, as views."""
    return _map_tensors(batch, lambda tensor: tensor[rows], lambda other: other.part(rows))


def move_batch(batch: Any, device: torch.device) -> Any:
    """Move a batch to a device, without waiting for copies from pinned memory."""

    def move(value: Any) -> Any:
        return value.to(device, non_blocking=True)

    return _map_tensors(batch, move, move)


def _map_tensors(batch: Any, tensor: Callable[[Tensor], Any], other: Callable[[Any], Any]) -> Any:
    """Apply one function to each tensor of a batch, and another to each other object."""
    if isinstance(batch, Tensor):
        return tensor(batch)
    if isinstance(batch, dict):
        return {name: _map_tensors(value, tensor, other) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        values = [_map_tensors(value, tensor, other) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
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
    batch: Any  # with a `Slot` for each tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> PackedBatch:
        return PackedBatch(self.flat.to(device, non_blocking=non_blocking), self.batch)

    def pin_memory(self) -> PackedBatch:
        return PackedBatch(self.flat.pin_memory(), self.batch)

    def unpack(self) -> Any:
        """Return the batch; its tensors are views of the bytes."""
        return _unpack(self.batch, self.flat)


def pack_batch(batch: Any) -> PackedBatch:
    """Pack the tensors of a batch into one run of bytes."""
    pieces: list[tuple[int, Tensor]] = []  # where each begins
    length = 0

    def place(tensor: Tensor) -> Slot:
        nonlocal length
        bytes_ = tensor.contiguous().flatten().view(torch.uint8)
        first, length = length, -(-(length + len(bytes_)) // ALIGNED) * ALIGNED
        pieces.append((first, bytes_))
        return Slot(first, first + len(bytes_), tuple(tensor.shape), tensor.dtype)

    def places(value: Any) -> Any:
        return type(value)(**{n: _map_tensors(v, place, places) for n, v in vars(value).items()})

    found = _map_tensors(batch, place, places)
    flat = torch.empty(length, dtype=torch.uint8)
    for first, bytes_ in pieces:
        flat[first : first + len(bytes_)] = bytes_
    return PackedBatch(flat, found)


def _unpack(batch: Any, flat: Tensor) -> Any:
    if isinstance(batch, Slot):
        return flat[batch.first : batch.stop].view(batch.dtype).view(batch.shape)
    if isinstance(batch, dict):
        return {name: _unpack(value, flat) for name, value in batch.items()}
    if isinstance(batch, (tuple, list)):
        values = [_unpack(value, flat) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)
    return type(batch)(**{name: _unpack(value, flat) for name, value in vars(batch).items()})


# Loaders


class Loader(ABC):
    """Brings the batches of a run, in the order they are drawn."""

    name: ClassVar[str]

    def __init__(self, dataset: Dataset[Any], draw: Draw, device: torch.device) -> None:
        self.dataset, self.draw, self.device = dataset, draw, device
        self.workers = 0
        self.pinned: bool | None = None  # whether batches cross to the device from pinned memory

    @abstractmethod
    def start(
        self, step: int, steps: int, draws: torch.Generator, mark: Callable[[str], None] = no_mark
    ) -> None:
        """Prepare the batches of steps `step` to `steps`, drawn from `draws`.

        `mark` is told where time goes: "wait" for a batch, "copy" to the device.
        """

    @abstractmethod
    def next_batch(self) -> Any:
        """Return the next batch, on the device."""

    @abstractmethod
    def batch(self, index: Any) -> Any:
        """Gather the samples of an index at once, where the arrays lie."""

    @abstractmethod
    def state(self) -> Tensor:
        """Return the generator's state after the draw of the last batch: where a resumed run goes on."""

    @abstractmethod
    def prefetch(self) -> None:
        """Bring the next batch near while the device computes on the last one."""

    @abstractmethod
    def stop(self) -> None:
        """End the loader; no more batches will be taken."""


class ResidentLoader(Loader):
    """Arrays on the device: batches are a call of the dataset's `__getitems__`.

    Small batches come several to a call, for most of its time does not depend on how much is asked.
    """

    name = "resident"

    def start(
        self, step: int, steps: int, draws: torch.Generator, mark: Callable[[str], None] = no_mark
    ) -> None:
        self.steps, self.draws, self.mark = iter(range(step, steps)), draws, mark
        self.ready: deque[tuple[Any, Tensor]] = deque()  # batches, and the state behind their draw
        self.taken = draws.get_state()
        self.at_once = AT_ONCE[0]

    def next_batch(self) -> Any:
        if not self.ready:
            self._gather()
        batch, self.taken = self.ready.popleft()
        self.mark("wait")
        return batch

    def _gather(self) -> None:
        drawn, states, count = [], [], 0
        while count < self.at_once and (step := next(self.steps, None)) is not None:
            drawn.append(self.draw(step, self.draws))
            states.append(self.draws.get_state())
            joins = isinstance(drawn[-1], (Tensor, tuple))
            count += count_samples(drawn[-1]) if joins else self.at_once
        whole, first = self.batch(_join_indices(drawn)), 0
        each = max(
            1, sum(tensor.nbytes for tensor in _tensors(whole)) // max(1, count_samples(whole))
        )
        self.at_once = max(AT_ONCE[0], min(AT_ONCE[1], GATHERED // each))
        for index, state in zip(drawn, states, strict=True):
            rows = slice(first, first := first + count_samples(index))
            self.ready.append((whole if len(drawn) == 1 else slice_batch(whole, rows), state))

    def batch(self, index: Any) -> Any:
        return self.dataset.__getitems__(index)  # type: ignore[attr-defined]

    def state(self) -> Tensor:
        return self.taken

    def prefetch(self) -> None:
        pass  # all of them are near

    def stop(self) -> None:
        pass  # nothing runs beside


class StreamingLoader(Loader):
    """Arrays elsewhere: workers gather, batches cross to the device on a stream of their own.

    Args:
        dataset: Map-style; its `__getitems__`, if it has one, is asked for a whole batch.
        draw, device: As of every loader.
        workers: Processes that gather; 0 gathers in this one, when a batch is asked for.
        collate: What the dataset gives for a batch -> the batch; None stacks single samples.
        pin_memory: Whether batches wait for a CUDA device in pinned memory; "auto" pins them.
    """

    name = "streaming"

    def __init__(
        self,
        dataset: Dataset[Any],
        draw: Draw,
        device: torch.device,
        *,
        workers: int = 0,
        collate: Callable[[Any], Any] | None = None,
        pin_memory: bool | str = "auto",
    ) -> None:
        super().__init__(dataset, draw, device)
        self.workers, self.collate, self.pin_memory = workers, collate, pin_memory
        self.pinned = pin_memory is not False if device.type == "cuda" else None
        self.batches: Iterator[Any] = iter(())
        self.states: deque[Tensor] = deque()  # of the generator, behind each draw not taken yet
        self.taken = torch.empty(0)  # the state behind the batch taken last
        self.near: Any = None  # the next batch, on its way to the device
        # batches that the dataset makes itself travel as one piece, where they travel at all
        self._packs = collate is keep_batch and (workers > 0 or device.type != "cpu")
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def start(
        self, step: int, steps: int, draws: torch.Generator, mark: Callable[[str], None] = no_mark
    ) -> None:
        self.taken, self.mark = draws.get_state(), mark
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=_StepSampler(self, step, steps, draws),
            num_workers=self.workers,
            collate_fn=pack_batch if self._packs else self.collate,
            pin_memory=bool(self.pinned),
            prefetch_factor=PREFETCH if self.workers else None,
            multiprocessing_context=_start_method() if self.workers else None,
            generator=torch.Generator().manual_seed(draws.initial_seed()),  # not the global one
        )
        with warnings.catch_warnings():  # of Python 3.12 on: workers take no lock that is held here
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            self.batches = iter(loader)

    def next_batch(self) -> Any:
        self._fetch()
        batch, self.near = self.near, None
        self.taken = self.states.popleft()
        if self.side is not None:
            here = torch.cuda.current_stream(self.device)
            here.wait_stream(self.side)
            for tensor in _tensors(batch):
                tensor.record_stream(here)  # its memory is the side stream's: not to be reused yet
        return batch

    def batch(self, index: Any) -> Any:
        index = _as_numbers(index)
        if hasattr(self.dataset, "__getitems__"):
            samples = self.dataset.__getitems__(index)
        else:
            samples = [self.dataset[number] for number in index]
        return (self.collate or default_collate)(samples)

    def state(self) -> Tensor:
        return self.taken

    def prefetch(self) -> None:
        if self.side is not None:  # a CPU that trains is busy itself
            self._fetch()

    def _fetch(self) -> None:
        if self.near is not None:
            return
        self.near = next(self.batches, None)
        self.mark("wait")
        if self.device.type != "cpu" and self.near is not None:
            with torch.cuda.stream(self.side):
                self.near = move_batch(self.near, self.device)
            self.mark("copy")
        if isinstance(self.near, PackedBatch):
            self.near = self.near.unpack()

    def with_workers(self, workers: int) -> StreamingLoader:
        """Return the same loader with so many workers, to be started anew."""
        return StreamingLoader(
            self.dataset, self.draw, self.device, workers=workers, collate=self.collate,
            pin_memory=self.pin_memory,
        )  # fmt: skip

    def stop(self) -> None:
        self.batches, self.near = iter(()), None  # workers end with their iterator


class _StepSampler:
    """Draws the samples of the steps to come, as a batch sampler for a `DataLoader`."""

    def __init__(
        self, loader: StreamingLoader, step: int, steps: int, draws: torch.Generator
    ) -> None:
        self.loader, self.steps, self.draws = loader, range(step, steps), draws

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Any]:
        for step in self.steps:
            index = self.loader.draw(step, self.draws)
            self.loader.states.append(self.draws.get_state())
            yield _as_numbers(index)


def _join_indices(drawn: list[Any]) -> Any:
    """Join the indices of several batches into one."""
    if len(drawn) == 1:
        return drawn[0]
    if isinstance(drawn[0], Tensor):
        return torch.cat(drawn)
    return tuple(torch.cat(values) for values in zip(*drawn, strict=True))


def _as_numbers(index: Any) -> Any:
    """Return an index as plain numbers, which travel to a worker by value; a tensor would cost shared memory."""
    return index.tolist() if isinstance(index, Tensor) else tuple(v.numpy() for v in index)


def _tensors(batch: Any) -> list[Tensor]:
    found: list[Tensor] = []
    _map_tensors(batch, found.append, lambda other: found.extend(vars(other).values()))
    return found


def _start_method() -> str | None:
    """Return "fork" where it exists: forked workers share the arrays of this process at no cost."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


# Which of them


@dataclass(frozen=True)
class Choice:
    """The loader of a run."""

    loader: str  # "resident" or "streaming"
    workers: int
    why: str

    def __str__(self) -> str:
        with_workers = f" with {self.workers} workers" if self.loader == "streaming" else ""
        return f"{self.loader} loader{with_workers}: {self.why}"


def choose(
    loader: str, workers: int | str, device: torch.device, *, needed: int, lie: torch.device | None
) -> Choice:
    """Choose the loader that is named, or by free memory if that is "auto".

    Args:
        loader: "auto", "resident" or "streaming".
        workers: Processes of the streaming loader, or "auto": none on a CPU, where they would take the
            cores from the training, else one a core but one, at most 8.
        device: That trains.
        needed: Bytes of the arrays.
        lie: The device whose memory holds them already; None where they lie in a file.
    """
    if workers == "auto":
        workers = 0 if device.type == "cpu" else max(1, min(MOST_WORKERS, len(cores()) - 1))
    assert isinstance(workers, int)
    if loader != "auto":
        return Choice(loader, workers, f"loader={loader!r}")
    if lie == device:
        return Choice("resident", 0, f"the arrays ({_bytes_text(needed)}) are in memory")
    free = memory(device).free
    found = (
        f"the arrays need {_bytes_text(needed)} and {_bytes_text(free)} are free on {device.type}"
    )
    fits = needed <= SHARE * free
    return Choice("resident" if fits else "streaming", workers, found)


def check(loader: str, workers: int | str, pin_memory: bool | str) -> None:
    """Refuse loader settings that do not exist."""
    if loader not in LOADERS:
        raise ConfigError(f"loader is {loader!r}; it is one of {', '.join(LOADERS)}")
    if workers != "auto" and not (isinstance(workers, int) and workers >= 0):
        raise ConfigError(f"workers is {workers!r}; it is 'auto' or a whole number, 0 or more")
    if pin_memory != "auto" and not isinstance(pin_memory, bool):
        raise ConfigError(f"pin_memory is {pin_memory!r}; it is 'auto', True or False")


def _bytes_text(count: int) -> str:
    scale, unit = next(
        (s, u) for s, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= s or u == "kB"
    )
    return f"{count / scale:,.1f} {unit}"
