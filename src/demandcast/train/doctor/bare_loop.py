"""The bare loop: training steps on a batch in memory, without a loader or logging.

Its throughput is the most that a loader and a training loop can reach, and it compares numbers of threads and batch
sizes. The network is left as it was: weights and buffers are restored to the bit, random numbers come from a generator
of the trials, and torch's own generator is restored.
"""

from __future__ import annotations

import math
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypedDict

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from demandcast.layers.generators import draws_of
from demandcast.train.adamw import AdamW
from demandcast.train.batches import B
from demandcast.train.doctor.machine import memory, queued

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of `typing` from Python 3.11 on

MEMORY = 0.5  # of what is free, for a batch


@dataclass(kw_only=True)
class Subject(Generic[B]):
    """A training to look at, in parts.

    Attributes:
        draw: A batch of so many windows on the network's device, from a generator.
        dataset: The map-style data set of the batches, if samples are fetched one by one.
    """

    network: nn.Module
    loss_of: Callable[[B], Tensor]
    draw: Callable[[int, torch.Generator], B]
    batch: int
    clip: float = 10.0
    name: str = ""
    loader: str = "resident"
    workers: int = 0
    pinned: bool | None = None
    data_bytes: int | None = None
    dataset: Dataset[object] | None = None
    seed: int = 0
    precision: str = "float32"
    windows: int = 0  # that there are to learn from; 0 where it is not known

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device


@contextmanager
def limit_threads(count: int | None) -> Iterator[None]:
    """Limit torch's operators to so many threads within the block."""
    before = torch.get_num_threads()
    if count is None or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def restore_after(network: nn.Module) -> Iterator[None]:
    """Restore weights, buffers, gradients, mode and random numbers after the block, whatever happens."""
    tensors = [*network.parameters(), *network.buffers()]
    copies = [t.detach().clone() for t in tensors]
    gradients = [(p, p.grad) for p in network.parameters()]
    training, state_done = network.training, getattr(network, "done", None)
    try:
        # code that asks for no generator draws from torch's own, which is put back
        with torch.random.fork_rng([]), draws_of(torch.Generator(), network):
            yield
    finally:
        with torch.no_grad():
            for tensor, value in zip(tensors, copies, strict=True):
                tensor.copy_(value)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        network.train(training)
        if state_done is not None:
            network.done = state_done


class _Limit(TypedDict):
    limit: float


class Timing(_Limit, total=False):
    """Options of `Bare.times`."""

    least: int
    most: int
    threads: int | None
    hopeless: float
    alone: bool


class Bare(Generic[B]):
    """Trial steps of a subject; to be used within `restore_after(subject.network)`."""

    def __init__(self, subject: Subject[B], *, rate: float = 1e-12) -> None:
        self.subject = subject
        self.weights = [p for p in subject.network.parameters() if p.requires_grad]
        self.draws = torch.Generator().manual_seed(subject.seed)
        # the usual rate is so small that trials learn nothing: none explodes, all cost the same
        self.optimiser = AdamW(self.weights, rate=rate, weight_decay=0.0)
        subject.network.train()

    def batch(self, size: int | None = None) -> B:
        """Draw a batch as the training does, of its own size unless another is asked for."""
        return self.subject.draw(size or self.subject.batch, self.draws)

    def loss(self, batch: B) -> Tensor:
        """Return the loss in the precision of the training."""
        bf16 = self.subject.precision == "bf16"
        with torch.autocast(self.subject.device.type, torch.bfloat16, enabled=bf16):
            return self.subject.loss_of(batch)

    def step(
        self, batch: B, label: Callable[[str], AbstractContextManager[object]] = nullcontext
    ) -> Tensor:
        """Run forward, backward, clipping and the optimiser's step; return the loss."""
        self.optimiser.zero_grad()
        with label("forward"):
            loss = self.loss(batch)
        with label("backward"):
            loss.backward()  # type: ignore[no-untyped-call]
        with label("optimiser"):
            nn.utils.clip_grad_norm_(self.weights, self.subject.clip)
            self.optimiser.step()
        return loss.detach()

    def probe(self) -> None:
        """Run a step on a fresh batch to its end."""
        self.step(self.batch())
        self.wait()

    def seconds(self, batch: B, **options: Unpack[Timing]) -> float:
        """Return the median seconds of a step on a batch at hand; options as of `times`."""
        return statistics.median(self.times(batch, **options))

    def times(
        self,
        batch: B,
        *,
        limit: float,
        least: int = 2,
        most: int = 50,
        threads: int | None = None,
        hopeless: float = math.inf,
        alone: bool = False,
    ) -> list[float]:
        """Time steps on a batch at hand, after one to warm up.

        Args:
            batch: As `batch` gives it.
            limit: Seconds after which no further step begins, once `least` are done.
            least, most: Steps that count.
            threads: Of torch's operators; None leaves them.
            hopeless: Seconds of the first step at which the trial ends with that.
            alone: Leave out what one thread stands in the queue for a core, so that other programs,
                which come and go, do not decide between two trials.
        """
        times: list[float] = []
        with limit_threads(threads):
            queue = queued if alone and torch.get_num_threads() == 1 else float
            began = time.perf_counter()
            for number in range(most + 1):
                if hasattr(self.subject.network, "done"):
                    self.subject.network.done = number / most  # type: ignore[assignment]
                before, started = queue(), time.perf_counter()
                self.step(batch)
                self.wait()
                now = time.perf_counter()
                waited = queue() - before
                spent = now - started
                if (
                    waited < spent
                ):  # the clocks differ: on a busy machine more may be counted than passed
                    spent -= waited
                if number or spent > hopeless:
                    times.append(spent)
                if spent > hopeless:
                    break
                if len(times) >= least and now - began > limit:
                    break
        return times

    def fits(self) -> int:
        """Estimate the windows that fit in free memory, by what the usual batch keeps for its backward pass.

        A CPU's memory is reckoned and not tried: Linux grants what it does not have, and kills the
        process that comes to use it. A GPU's may be tried, and is recovered from.
        """
        free = memory(self.subject.device).free
        if self.subject.device.type == "cuda" or not free:
            return 1 << 40
        saved_bytes: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            saved_bytes[storage.data_ptr()] = storage.nbytes()
            return tensor

        batch = self.batch()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.loss(batch)
        each = (
            2 * sum(saved_bytes.values()) / self.subject.batch
        )  # twice: for what comes and goes, too
        return int(MEMORY * free / max(each, 1.0))

    def wait(self) -> None:
        if self.subject.device.type == "cuda":
            torch.cuda.synchronize(self.subject.device)

    def syncs(self) -> Syncs:
        """Run one step, and count every value read from the device, by line."""
        batch = self.batch()
        self.optimiser.zero_grad()
        counter = Syncs()
        with counter:
            loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.zero_grad()
        return counter


class Syncs(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts `.item()` and its kin: float(), int(), bool() and a branch on a tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.places: dict[str, int] = {}

    @property
    def count(self) -> int:
        return sum(self.places.values())

    @property
    def place(self) -> str:
        """The line that reads most, as "model.py:34, in forward"."""
        return max(self.places, key=self.places.__getitem__) if self.places else ""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            place = _caller()
            self.places[place] = self.places.get(place, 0) + 1
        return func(*args, **(kwargs or {}))


def _caller() -> str:
    """Return the innermost line that is neither torch's nor this file's."""
    skipped = (str(Path(torch.__file__).parent), __file__)
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(skipped):
            return f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}"
    return ""
