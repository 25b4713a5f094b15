"""The two loaders that bring batches to the loop, and the choice between them.

*Resident*: the arrays lie on the device that trains, and a batch is one gather from them. *Streaming*:
the arrays lie elsewhere, in a file or in this machine's memory; worker processes gather batches ahead
of need, and each is copied to the device while that computes on the one before.

On both, the samples of a step are drawn in the main process from the run's own generator, so that the
same seed gives the same batches. A batch is a tensor, a tuple, list or dict of batches, or an object
with `to(device, non_blocking)`, `part(rows)` and a length, as a `Window` is; see `batches`.
"""

from __future__ import annotations

import multiprocessing
import warnings
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from demandcast.train.batches import (
    B,
    PackedBatch,
    count_samples,
    keep_batch,
    move_batch,
    pack_batch,
    slice_batch,
    tensors_of,
)
from demandcast.train.clock import no_mark
from demandcast.train.doctor.machine import cores, memory

LOADERS = ("auto", "resident", "streaming")
MOST_WORKERS = 8
PREFETCH = 4  # batches that each worker keeps ready
AT_ONCE = 256, 1024  # samples that resident batches are gathered by, at first and at most
GATHERED = 32 << 20  # bytes that more of them than the first number may take together
SHARE = 0.5  # of the free memory of a device, at most, for resident arrays

Index: TypeAlias = "Tensor | tuple[Tensor, ...]"  # of the samples of a batch
Draw = Callable[[int, torch.Generator], Index]  # the index of a step


# Loaders


class Loader(ABC, Generic[B]):
    """Brings the batches of a run, in the order they are drawn."""

    name: ClassVar[str]

    def __init__(self, dataset: Dataset[object], draw: Draw, device: torch.device) -> None:
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
    def next_batch(self) -> B:
        """Return the next batch, on the device."""

    @abstractmethod
    def batch(self, index: Index) -> B:
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


class ResidentLoader(Loader[B]):
    """Arrays on the device: batches are a call of the dataset's `__getitems__`.

    Small batches come several to a call, for most of its time does not depend on how much is asked.
    """

    name = "resident"

    def start(
        self, step: int, steps: int, draws: torch.Generator, mark: Callable[[str], None] = no_mark
    ) -> None:
        self.steps, self.draws, self.mark = iter(range(step, steps)), draws, mark
        self.ready: deque[tuple[B, Tensor]] = (
            deque()
        )  # batches, and the generator's state after their draw
        self.taken = draws.get_state()
        self.at_once = AT_ONCE[0]

    def next_batch(self) -> B:
        if not self.ready:
            self._gather()
        batch, self.taken = self.ready.popleft()
        self.mark("wait")
        return batch

    def _gather(self) -> None:
        drawn: list[Index] = []
        states, count = [], 0
        while count < self.at_once and (step := next(self.steps, None)) is not None:
            drawn.append(self.draw(step, self.draws))
            states.append(self.draws.get_state())
            joins = isinstance(drawn[-1], (Tensor, tuple))
            count += count_samples(drawn[-1]) if joins else self.at_once
        whole, first = self.batch(_join_indices(drawn)), 0
        each = max(
            1, sum(tensor.nbytes for tensor in tensors_of(whole)) // max(1, count_samples(whole))
        )
        self.at_once = max(AT_ONCE[0], min(AT_ONCE[1], GATHERED // each))
        for index, state in zip(drawn, states, strict=True):
            rows = slice(first, first := first + count_samples(index))
            self.ready.append((whole if len(drawn) == 1 else slice_batch(whole, rows), state))

    def batch(self, index: Index) -> B:
        batch: B = self.dataset.__getitems__(index)  # type: ignore[attr-defined]
        return batch

    def state(self) -> Tensor:
        return self.taken

    def prefetch(self) -> None:
        pass  # all of them are near

    def stop(self) -> None:
        pass  # nothing runs beside


class StreamingLoader(Loader[B]):
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
        dataset: Dataset[object],
        draw: Draw,
        device: torch.device,
        *,
        workers: int = 0,
        collate: Callable[..., B] | None = None,
        pin_memory: bool | str = "auto",
    ) -> None:
        super().__init__(dataset, draw, device)
        self.workers, self.collate, self.pin_memory = workers, collate, pin_memory
        self.pinned = pin_memory is not False if device.type == "cuda" else None
        self.batches: Iterator[B] = iter(())
        self.states: deque[Tensor] = (
            deque()
        )  # of the generator, after each draw whose batch was not taken yet
        self.taken = torch.empty(0)  # the generator's state after the batch taken last
        self.near: B | None = None  # the next batch, on its way to the device
        # batches that the dataset makes itself travel as one piece, where they travel at all
        self._packs = collate is keep_batch and (workers > 0 or device.type != "cpu")
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def start(
        self, step: int, steps: int, draws: torch.Generator, mark: Callable[[str], None] = no_mark
    ) -> None:
        self.taken, self.mark = draws.get_state(), mark
        loader: DataLoader[B] = DataLoader(
            cast(Dataset[B], self.dataset),
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

    def next_batch(self) -> B:
        self._fetch()
        assert self.near is not None
        batch, self.near = self.near, None
        self.taken = self.states.popleft()
        if self.side is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_stream(self.side)
            for tensor in tensors_of(batch):
                tensor.record_stream(
                    stream
                )  # its memory is the side stream's: not to be reused yet
        return batch

    def batch(self, index: Index) -> B:
        numbers = _as_numbers(index)
        if hasattr(self.dataset, "__getitems__"):
            samples = self.dataset.__getitems__(numbers)
        else:
            samples = [self.dataset[number] for number in numbers]
        batch: B = (self.collate or default_collate)(samples)
        return batch

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
            self.near = cast(B, self.near.unpack())

    def with_workers(self, workers: int) -> StreamingLoader[B]:
        """Return the same loader with so many workers, to be started anew."""
        return StreamingLoader(
            self.dataset, self.draw, self.device, workers=workers, collate=self.collate,
            pin_memory=self.pin_memory,
        )  # fmt: skip

    def stop(self) -> None:
        self.batches, self.near = iter(()), None  # workers end with their iterator


class _StepSampler(Sampler[list[int]], Generic[B]):
    """Draws the samples of the steps to come, as a batch sampler for a `DataLoader`."""

    def __init__(
        self, loader: StreamingLoader[B], step: int, steps: int, draws: torch.Generator
    ) -> None:
        self.loader, self.steps, self.draws = loader, range(step, steps), draws

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            index = self.loader.draw(step, self.draws)
            self.loader.states.append(self.draws.get_state())
            yield cast(list[int], _as_numbers(index))  # a whole batch's, however written


def _join_indices(drawn: list[Index]) -> Index:
    """Join the indices of several batches into one."""
    if len(drawn) == 1:
        return drawn[0]
    if isinstance(drawn[0], Tensor):
        return torch.cat(cast(list[Tensor], drawn))
    return tuple(torch.cat(values) for values in zip(*drawn, strict=True))


def _as_numbers(index: Index) -> list[int] | tuple[NDArray[np.int64], ...]:
    """Return an index as plain numbers, which travel to a worker by value; a tensor would cost shared memory."""
    return index.tolist() if isinstance(index, Tensor) else tuple(v.numpy() for v in index)


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
    need_text = (
        f"the arrays need {_bytes_text(needed)} and {_bytes_text(free)} are free on {device.type}"
    )
    fits = needed <= SHARE * free
    return Choice("resident" if fits else "streaming", workers, need_text)


def _bytes_text(count: int) -> str:
    scale, unit = next(
        (s, u) for s, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if count >= s or u == "kB"
    )
    return f"{count / scale:,.1f} {unit}"
