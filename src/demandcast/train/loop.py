"""The one training loop: take a batch, step, average, watch what is held out, keep the best.

Random numbers come from generators of the run's own, so a run repeats to the bit beside others in other
threads, leaves the caller's alone, and goes on after a kill as if it had not been cut.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from demandcast.errors import CheckpointError, ConfigError
from demandcast.layers.draws import draws_of, gpu_state, set_gpu_state
from demandcast.train import interrupts
from demandcast.train.adamw import AdamW
from demandcast.train.allocator import keep_heap
from demandcast.train.checkpoint import read_tensors, reading_facts, take, write_tensors
from demandcast.train.clock import Clock, marker
from demandcast.train.device import out_of_memory
from demandcast.train.group import ALONE, Group
from demandcast.train.loaders import Loader, check, count_samples, slice_batch
from demandcast.train.throughput.bare import limit_threads
from demandcast.train.throughput.thread_limit import ThreadLimit
from demandcast.train.watch import Watch
from demandcast.typed import build, typed

log = logging.getLogger("demandcast")
CHECKPOINT = "checkpoint.safetensors"
EVERY = 25  # steps between looks at the loss: each look waits for the device
PRECISIONS = ("float32", "bf16", "auto")
APART = 7919  # between the seeds of processes that train together
# settings that change no number: a run may be resumed with others
FREE = ("loader", "workers", "pin_memory")

LossOf = Callable[[Any], Tensor]  # of a batch: the mean loss, a scalar
Counted = TypeVar("Counted", bound="Training")
WeightOf = Callable[[Any], Any]  # of a batch: over how much its loss is the mean


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to optimise; the part of a model's hyper-parameters that no paper is about."""

    max_steps: int = 1000
    epochs: int | None = None  # in place of max_steps: passes over as many windows as there are
    batch_size: int | str = 64  # windows in a step; auto: the smallest that is nearly the fastest
    learning_rate: float = 1e-3
    warmup: float = 0.05  # share of the steps in which the rate rises; then it falls as a cosine
    weight_decay: float = 1e-2  # decoupled (AdamW)
    clip: float = 10.0  # of the gradient's norm
    average: float = 0.99  # decay of the running average of weights that is kept; 0 for the last
    patience: int = 10  # validations without gain before stopping; they need validation > 0
    validate_every: int = 50  # steps
    seed: int = 0
    checkpoint_every: int = 200  # steps, where a folder for them is given
    precision: str = (
        "float32"  # bf16: matrix products in bfloat16; auto: where it is faster, as good
    )
    threads: int | str | None = (
        None  # of torch's operators in training; auto: by trial; None: as is
    )
    loader: str = "auto"  # resident (arrays on the device), streaming (workers gather); by memory
    workers: int | str = "auto"  # processes that gather on the streaming loader
    pin_memory: bool | str = "auto"  # streamed batches wait for CUDA in pinned memory; auto: yes
    devices: int = 1  # that train together, a process each, on shares of every batch

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        for name in ("max_steps", "patience", "validate_every", "checkpoint_every", "devices"):
            require(_is_count(getattr(self, name)), self, name, "a whole number, 1 or more")
        for name in ("batch_size", "threads"):
            value = getattr(self, name)
            left = value == "auto" or (value is None and name == "threads")
            require(left or _is_count(value), self, name, "a whole number, 1 or more, or 'auto'")
        require(self.epochs is None or (isinstance(self.epochs, int) and self.epochs >= 1), self,
                "epochs", "a whole number, 1 or more")  # fmt: skip
        for name in ("learning_rate", "clip"):
            require(getattr(self, name) > 0, self, name, "above 0")
        for name in ("average", "warmup"):
            require(0 <= getattr(self, name) <= 1, self, name, "between 0 and 1")
        require(self.precision in PRECISIONS, self, "precision", "'float32', 'bf16' or 'auto'")
        check(self.loader, self.workers, self.pin_memory)
        enough = self.batch_size == "auto" or self.devices <= self.batch
        require(enough, self, "devices", "no more than the samples of a batch")

    @property
    def batch(self) -> int:
        """`batch_size`, once it is settled."""
        assert isinstance(self.batch_size, int)
        return self.batch_size

    def per_epoch(self, windows: int) -> int:
        """Return the steps in which as many windows are learned from as there are."""
        return -(-windows // self.batch)

    def with_max_steps(self: Counted, windows: int) -> Counted:
        """Return the settings with `max_steps` computed from `epochs`, if those are given."""
        if self.epochs is None:
            return self
        return replace(self, max_steps=self.epochs * self.per_epoch(windows))

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        rise = max(1, round(self.warmup * self.max_steps))
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        done = (step - rise) / max(1, self.max_steps - rise)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def require(holds: bool, config: Any, name: str, wanted: str) -> None:
    """Refuse a hyper-parameter by its name and what it has to be."""
    if not holds:
        raise ConfigError(f"{name} is {getattr(config, name)!r}; it is {wanted}")


@dataclass
class TrainingLog:
    """What happened in training."""

    steps: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)  # step, mean loss since the last
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    skipped: int = 0  # steps whose gradient was not finite
    windows: int = 0  # samples seen, each as often as it was
    parts: int = 1  # that each batch is taken in, for memory's sake
    per_epoch: int = 0  # steps in an epoch; 0 where there is no such thing
    notes: list[str] = field(default_factory=list)  # what was chosen or had to change, and why
    diagnosis: Any = field(default=None, repr=False, compare=False)  # of `fit(..., diagnose=True)`

    @property
    def windows_per_second(self) -> float:
        return self.windows / max(self.seconds, 1e-9)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A network and the loss that it learns by.

    Attributes:
        network: On the device that trains. Its `done`, if it has one, is set to the share of steps done.
        loss_of: Mean loss of a batch, a scalar.
        weight_of: Over how much a batch's loss is the mean: its samples, or the values observed. Parts
            of a batch that does not fit in memory count by it.
        begin_step: Called before each step.
        validate: Loss on held-out data, every `validate_every` steps; lower is better.
    """

    network: nn.Module
    loss_of: LossOf
    weight_of: WeightOf = count_samples
    begin_step: Callable[[], None] | None = None
    validate: Callable[[], float] | None = None


def train(
    objective: Objective,
    loader: Loader,
    training: Training,
    *,
    watch: Watch = Watch(),  # noqa: B008  frozen
    per_epoch: int = 0,
    notes: Iterable[str] = (),
    clock: Clock | None = None,
    free_threads: bool = False,
    group: Group = ALONE,
) -> TrainingLog:
    """Train a network in place; it is left with the best or averaged weights, in eval mode.

    Args:
        objective: The network, and what it learns.
        loader: Where batches come from.
        training: How to optimise.
        watch: Progress bar and checkpoints.
        per_epoch: Steps in an epoch, for the progress bar; 0 where there is no epoch.
        notes: What was decided before, for the log.
        clock: Records where the time of every step goes.
        free_threads: Whether to go on with one thread where windows/s collapse with more.
        group: The processes that train together; the first of them shows, keeps and validates.

    Raises:
        ConfigError: Gradients stay infinite, or one sample alone exhausts the memory.
        CheckpointError: `watch` resumes a checkpoint of other settings.
    """
    keep_heap()
    network = objective.network
    device = next(network.parameters()).device
    own = torch.Generator().manual_seed(training.seed + APART * group.rank)
    # the caller's autocast is not the run's
    with draws_of(own, network), torch.autocast(device.type, enabled=False):
        run = _Run(network, training, own, watch.checkpoint, clock, group)
        if watch.resume:
            run.restore()
        group.broadcast_tensors(
            [*network.parameters(), *network.buffers(), *run.averaged, *run.best]
        )
        run.thread_limit = ThreadLimit(free=free_threads)
        run.log.per_epoch = per_epoch
        for note in notes:
            run.note(note)
        try:
            with limit_threads(training.threads if isinstance(training.threads, int) else None):
                run.go(objective, loader, watch)
        finally:
            loader.stop()
    network.eval()
    return run.log


def checkpoint_settings(folder: Path, kind: type[Counted]) -> Counted | None:
    """Return the settings of the run kept in a folder; None if there is none.

    Raises:
        CheckpointError: The checkpoint is damaged, or has settings of another kind.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    facts = read_tensors(path)[1]
    with reading_facts(path):
        return build(kind, facts.get("training"), "training")


@dataclass
class _StepStart:
    """What a forward pass changes, as it was before."""

    draws: Tensor
    random: dict[str, Tensor]
    buffers: list[Tensor]


class _Run:
    def __init__(
        self,
        network: nn.Module,
        training: Training,
        own: torch.Generator,
        folder: Path | None,
        clock: Clock | None = None,
        group: Group = ALONE,
    ) -> None:
        self.network, self.training, self.clock = network, training, clock
        self.own, self.group = own, group
        self.mark = marker(clock)
        self.path = None if folder is None else Path(folder) / CHECKPOINT
        self.weights: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        self.device = self.weights[0].device
        self.optimiser = AdamW(
            self.weights, rate=training.learning_rate, weight_decay=training.weight_decay
        )
        self.draws = torch.Generator().manual_seed(training.seed)
        # no cache: weights cast once would stay as they were until the outermost autocast ends
        bf16 = partial(torch.autocast, self.device.type, torch.bfloat16, cache_enabled=False)
        # in every step: autocast takes its time even where it is not enabled
        self.precision = bf16 if training.precision == "bf16" else nullcontext
        self.averaged = [p.detach().clone() for p in self.weights]
        self.best = [p.detach().clone() for p in self.weights]
        self.best_score = math.inf
        self.total = torch.zeros((), device=self.device)  # of the losses since the last look
        self.log = TrainingLog()
        self.looked: tuple[float, int] | None = None  # time and windows at the look before
        self.thread_limit = ThreadLimit(free=False)
        self.step_start: _StepStart | None = None  # where a step can still be undone
        self.inside = False  # an update, or what follows it in the same step
        self.began, self.before = time.perf_counter(), 0.0  # now; seconds before a resume

    def note(self, said: str, level: int = logging.INFO) -> None:
        log.log(level, said)
        if said not in self.log.notes:  # a resumed run decides alike
            self.log.notes.append(said)

    def go(self, objective: Objective, loader: Loader, watch: Watch) -> None:
        t, validate = self.training, objective.validate
        self.began, self.before = time.perf_counter(), self.log.seconds
        bar = tqdm(
            total=t.max_steps, initial=self.log.steps, desc=watch.label, unit="iteration",
            disable=not watch.progress or self.group.rank > 0, file=sys.stderr, leave=False,
            mininterval=0.3,
        )  # fmt: skip
        self.network.train()
        misses = sum(1 for step, _ in self.log.validation if step > self.log.best_step)
        mark = self.mark
        loader.start(self.log.steps, t.max_steps, self.draws, mark)
        try:
            with interrupts.at_steps():
                while self.log.steps < t.max_steps and misses < t.patience:
                    if self.clock is not None:
                        self.clock.begin()
                    self._begin_step(loader)
                    if objective.begin_step is not None:
                        objective.begin_step()
                    mark("rest")
                    batch = loader.next_batch()
                    loss, samples = self._gradients(batch, objective)
                    loader.prefetch()
                    self._update(loss, samples)
                    if self.log.steps % EVERY == 0:
                        self._log_progress(bar, watch.unit)
                        mark("logging")
                    if validate is not None and self.log.steps % t.validate_every == 0:
                        misses = self._validate(validate, misses)
                        mark("validation")
                    if self.path is not None and self.log.steps % t.checkpoint_every == 0:
                        self.write(loader.state())
                        mark("logging")
                    self.inside = False
                    interrupts.check()
        except (KeyboardInterrupt, SystemExit):
            self._save_on_interrupt(loader)
            raise
        finally:
            bar.close()
        self._set_progress(1.0)
        self._count_seconds()
        if validate is not None and self.log.validation:
            self._set_weights(self.best)
        else:
            self.log.best_step = self.log.steps
            self._set_weights(self.averaged if t.average else self.weights)
        if self.log.skipped:
            log.warning("%d of %d steps had no finite gradient", self.log.skipped, self.log.steps)

    def _begin_step(self, loader: Loader) -> None:
        """Set the rate, and remember what the forward pass will change, to undo it if interrupted."""
        self.optimiser.rate = self.training.rate(self.log.steps)
        self._set_progress(self.log.steps / self.training.max_steps)
        if self.path is not None:
            buffers = [buffer.clone() for buffer in self.network.buffers()]
            self.step_start = _StepStart(loader.state(), self._generator_states(), buffers)

    def _update(self, loss: Tensor, samples: int) -> None:
        """Step by the gradients at hand, and average the weights."""
        t = self.training
        norm = nn.utils.clip_grad_norm_(self.weights, t.clip)
        self.inside = True  # from here on weights change, and there is no way back
        self.step_start = None
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
            self.total += loss
        else:
            self.log.skipped += 1
        self.log.steps += 1
        self.log.windows += samples
        if t.average:
            decay = min(t.average, (1 + self.log.steps) / (10 + self.log.steps))
            with torch.no_grad():  # else a graph of all steps would grow behind the averages
                torch._foreach_lerp_(self.averaged, self.weights, 1 - decay)
        self.mark("optimiser")

    def _save_on_interrupt(self, loader: Loader) -> None:
        """Write a checkpoint of the last whole step; in the middle of an update the one before stands."""
        if self.path is None or self.log.steps == 0 or self.group.size > 1:
            return  # processes of a group are not all at the same step
        draws = loader.state()
        if self.step_start is not None:
            draws = self.step_start.draws
            self.own.set_state(self.step_start.random["dropout"])
            if "dropout_cuda" in self.step_start.random:
                set_gpu_state(self.device, self.step_start.random["dropout_cuda"])
            with torch.no_grad():
                for buffer, value in zip(
                    self.network.buffers(), self.step_start.buffers, strict=True
                ):
                    buffer.copy_(value)
        elif self.inside:
            return
        self.write(draws)

    def _count_seconds(self) -> None:
        self.log.seconds = self.before + time.perf_counter() - self.began

    def _set_progress(self, done: float) -> None:
        if hasattr(self.network, "done"):
            self.network.done = done  # type: ignore[assignment]

    def _gradients(self, batch: Any, objective: Objective) -> tuple[Tensor, int]:
        """Compute gradients of a batch's mean loss; return the loss, and the samples of all processes."""
        while True:  # in as many parts as fit the memory
            self.optimiser.zero_grad()
            try:
                if self.log.parts == 1 and self.group.size == 1:
                    return self._backward(batch, objective.loss_of), count_samples(batch)
                sums = self._accumulate(batch, objective)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # behind the handler, so that the failed pass holds no tensors any more
            self._split_batches(count_samples(batch), reason)
        total, counted, samples = self.group.sum_gradients(self.weights, sums)
        self.mark("backward")
        counted = counted.clamp(min=1)  # a batch in which nothing counts
        for parameter in self.weights:
            if parameter.grad is not None:
                parameter.grad /= counted
        alone = self.group.size == 1
        return total / counted, count_samples(batch) if alone else round(float(samples))

    def _backward(self, batch: Any, loss_of: LossOf, weight: Any = None) -> Tensor:
        with self.precision():
            loss = loss_of(batch)
        self.mark("forward")
        (loss if weight is None else loss * weight).backward()
        self.mark("backward")
        return loss.detach()

    def _accumulate(self, batch: Any, objective: Objective) -> Tensor:
        """Accumulate gradients over the parts; return sums of losses, weights and samples, (3,)."""
        sums = torch.zeros(3, device=self.device)
        rows = -(-count_samples(batch) // self.log.parts)
        for first in range(0, count_samples(batch), rows):
            some = slice_batch(batch, slice(first, first + rows))
            weight = torch.as_tensor(
                objective.weight_of(some), device=self.device, dtype=sums.dtype
            )
            loss = self._backward(some, objective.loss_of, weight)
            sums += torch.stack(
                [loss * weight, weight, torch.full_like(weight, count_samples(some))]
            )
        return sums

    def _split_batches(self, batch: int, reason: str) -> None:
        """Take batches in twice as many parts from here on."""
        if self.log.parts >= batch:
            raise ConfigError(
                f"one sample alone exhausts the memory ({reason}); take a smaller network, a shorter "
                "context, or a device with more memory"
            )
        self.log.parts *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.note(
            f"out of memory at step {self.log.steps} ({reason}): batches of {batch} are now taken in "
            f"{self.log.parts} parts, with the gradient of the whole",
            logging.WARNING,
        )

    def _log_progress(self, bar: Any, unit: str) -> None:
        if self.log.skipped > 0.5 * self.log.steps:
            raise ConfigError(
                f"{self.log.skipped} of the first {self.log.steps} training steps had no finite "
                f"gradient at learning_rate={self.training.learning_rate:g}; lower it tenfold, or "
                "look for extreme values in the target with `demandcast check`"
            )
        mean = float(self.total) / EVERY
        self.total.zero_()
        self.log.losses.append((self.log.steps, mean))
        now = time.perf_counter()
        self._count_seconds()
        if self.looked is not None and self.device.type == "cpu":
            since, windows = self.looked
            said = self.thread_limit.check_rate((self.log.windows - windows) / (now - since))
            if said is not None:
                self.note(f"step {self.log.steps}: {said}", logging.WARNING)
        self.looked = now, self.log.windows
        bar.update(self.log.steps - bar.n)
        place = ""
        if self.log.per_epoch:
            epoch, batch = divmod(self.log.steps - 1, self.log.per_epoch)
            last = -(-self.training.max_steps // self.log.per_epoch)
            place = f"epoch {epoch + 1}/{last}, batch {batch + 1}/{self.log.per_epoch}, "
        bar.set_postfix_str(f"{place}loss {mean:.4g}, {self.log.windows_per_second:,.0f} {unit}/s")

    def _validate(self, validate: Callable[[], float], misses: int) -> int:
        began = time.perf_counter()
        raw = [p.detach().clone() for p in self.weights]
        kept = self.averaged if self.training.average else raw
        self._set_weights(kept)
        self.network.eval()
        with torch.no_grad():
            score = self.group.broadcast(validate() if self.group.rank == 0 else None)
        self.network.train()
        self.log.validation.append((self.log.steps, score))
        if score < self.best_score:
            self.best_score, self.log.best_step = score, self.log.steps
            self.best = [p.clone() for p in kept]
            misses = 0
        else:
            misses += 1
        self._set_weights(raw)
        self._exclude_pause(time.perf_counter() - began)
        return misses

    def _exclude_pause(self, seconds: float) -> None:
        """Exclude a pause from the throughput that the thread limit watches."""
        if self.looked is not None:
            self.looked = self.looked[0] + seconds, self.looked[1]

    def _set_weights(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self.weights, values, strict=True):
                weight.copy_(value)

    def write(self, draws: Tensor) -> None:
        """Write a checkpoint; `draws` is the generator's state after the last batch.

        Where it cannot be written training goes on: a full disk costs the checkpoint, not the run.
        """
        assert self.path is not None
        began = time.perf_counter()
        self._count_seconds()
        tensors = {"draws": draws}
        for name, state in self._generator_states().items():
            tensors |= {f"{name}.{i}": own for i, own in enumerate(self.group.gather(state))}
        if self.group.rank:
            return
        for name, values in self._tensor_lists().items():
            tensors |= {f"{name}.{i}": value for i, value in enumerate(values)}
        tensors |= self.optimiser.tensors()
        facts = {
            "training": asdict(self.training), "log": asdict(self.log), "best": self.best_score,
        }  # fmt: skip
        try:
            write_tensors(self.path, tensors, facts)
        except OSError as error:
            self.note(
                f"no checkpoint of step {self.log.steps}: {self.path} could not be written "
                f"({error.strerror or error}); training goes on, but a kill would lose it: free space "
                "there, or stop and take another folder",
                logging.WARNING,
            )
        self._exclude_pause(time.perf_counter() - began)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.path is None:
            raise ConfigError(
                "resume=True needs the folder: fit(panel, checkpoint='run/', resume=True)"
            )
        if not self.path.exists():
            return
        tensors, facts = read_tensors(self.path)
        settings = json.loads(json.dumps(asdict(self.training)))  # as written: tuples are lists
        with reading_facts(self.path):
            before = typed(facts.get("training"), dict[str, Any], "training")
        changed = [k for k in settings | before if before.get(k) != settings.get(k)]
        changed = [k for k in changed if k not in FREE]
        if changed:
            raise CheckpointError(
                f"the checkpoint {self.path} was made with other settings ({', '.join(changed)}); "
                "resume with the same ones, or take another folder"
            )
        own = {
            f"{name}.{i}": v
            for name, values in self._tensor_lists().items()
            for i, v in enumerate(values)
        }
        random = {
            f"{name}.{self.group.rank}": state for name, state in self._generator_states().items()
        }
        with reading_facts(self.path):  # all is checked before a weight is changed
            best_score = typed(facts.get("best"), float, "best")
            past = build(TrainingLog, facts.get("log"), "log")
            if not 0 <= past.steps <= self.training.max_steps or past.parts < 1:
                raise ValueError(f"{past.steps} steps in {past.parts} parts are out of range")
            values = take(tensors, own)
            states = take(tensors, {"draws": self.draws.get_state(), **random})
            self.optimiser.restore(tensors)
            self.draws.set_state(states["draws"])
            self.own.set_state(states[f"dropout.{self.group.rank}"])
            if self.device.type != "cpu":
                set_gpu_state(self.device, states[f"dropout_cuda.{self.group.rank}"])
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(values[name])
        self.best_score, self.log = best_score, past

    def _generator_states(self) -> dict[str, Tensor]:
        """Return the states of the generators that the network draws from."""
        states = {"dropout": self.own.get_state()}
        gpu = gpu_state(self.device)
        return states if gpu is None else states | {"dropout_cuda": gpu}

    def _tensor_lists(self) -> dict[str, list[Tensor]]:
        return {
            "weights": self.weights, "averaged": self.averaged, "best": self.best,
            "buffers": list(self.network.buffers()), "total": [self.total],
        }  # fmt: skip
