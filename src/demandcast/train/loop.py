"""The one training loop: draw windows, step, average, watch a stretch in time, keep the best.

Random numbers come from generators of the run's own and the caller's are put back, so a run repeats
to the bit and a resumed one goes on as if it had not been cut.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from demandcast.errors import CheckpointError, ConfigError
from demandcast.train.allocator import keep_heap
from demandcast.train.checkpoint import (
    optimiser_tensors,
    read_tensors,
    restore_optimiser,
    write_tensors,
)
from demandcast.train.clock import Clock, marker
from demandcast.windows.window import Window

log = logging.getLogger("demandcast")
CHECKPOINT = "checkpoint.safetensors"
EVERY = 25  # steps between looks at the loss: each look waits for the device

Draw = Callable[[torch.Generator], Window]


@dataclass(frozen=True, kw_only=True)
class Training:
    """How to optimise; the part of a model's hyper-parameters that no paper is about."""

    max_steps: int = 1000
    epochs: int | None = None  # in place of max_steps: passes over as many windows as there are
    batch_size: int = 64  # windows in a step
    learning_rate: float = 1e-3
    warmup: float = 0.05  # share of the steps in which the rate rises; then it falls as a cosine
    weight_decay: float = 1e-2  # decoupled (AdamW)
    clip: float = 10.0  # of the gradient's norm
    average: float = 0.99  # decay of the running average of weights that is kept; 0 for the last
    patience: int = 10  # validations without gain before stopping; they need validation > 0
    validate_every: int = 50  # steps
    seed: int = 0
    checkpoint_every: int = 200  # steps, where a folder for them is given

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        rise = max(1, round(self.warmup * self.max_steps))
        if step < rise:
            return self.learning_rate * (step + 1) / rise
        done = (step - rise) / max(1, self.max_steps - rise)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass
class TrainingLog:
    """What happened in training."""

    steps: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)  # step, mean loss since the last
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    skipped: int = 0  # steps whose gradient was not finite
    windows: int = 0

    @property
    def windows_per_second(self) -> float:
        return self.windows / max(self.seconds, 1e-9)


def train(
    network: nn.Module,
    loss_of: Callable[[Window], Tensor],
    draw: Draw,
    training: Training,
    *,
    validate: Callable[[], float] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: bool = True,
    label: str = "training",
    clock: Clock | None = None,
) -> TrainingLog:
    """Train a network in place; it is left with the best or averaged weights, in eval mode.

    A clock, if given, is told where the time of every step goes.

    Raises:
        ConfigError: Gradients stay infinite; the learning rate is named.
        CheckpointError: `resume` asks for a checkpoint of other settings.
    """
    keep_heap()
    device = next(network.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(training.seed)
        run = _Run(network, training, checkpoint, clock)
        if resume:
            run.restore()
        run.go(loss_of, draw, validate, progress, label)
    network.eval()
    return run.log


class _Run:
    def __init__(
        self,
        network: nn.Module,
        training: Training,
        folder: Path | None,
        clock: Clock | None = None,
    ) -> None:
        self.network, self.training, self.clock = network, training, clock
        self.path = None if folder is None else Path(folder) / CHECKPOINT
        self.weights: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        device = self.weights[0].device
        self.optimiser = torch.optim.AdamW(
            self.weights,
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        self.draws = torch.Generator().manual_seed(training.seed)
        self.averaged = [p.detach().clone() for p in self.weights]
        self.best = [p.detach().clone() for p in self.weights]
        self.best_score = math.inf
        self.log = TrainingLog()

    def go(
        self,
        loss_of: Callable[[Window], Tensor],
        draw: Draw,
        validate: Callable[[], float] | None,
        progress: bool,
        label: str,
    ) -> None:
        t, began, before = self.training, time.perf_counter(), self.log.seconds
        bar = tqdm(
            total=t.max_steps, initial=self.log.steps, desc=label, unit="step",
            disable=not progress, file=sys.stderr, leave=False, mininterval=0.3,
        )  # fmt: skip
        total = torch.zeros((), device=self.weights[0].device)
        self.network.train()
        misses = sum(1 for step, _ in self.log.validation if step > self.log.best_step)
        mark = marker(self.clock)
        while self.log.steps < t.max_steps and misses < t.patience:
            if self.clock is not None:
                self.clock.begin()
            for group in self.optimiser.param_groups:
                group["lr"] = t.rate(self.log.steps)
            self.network.done = self.log.steps / t.max_steps  # type: ignore[assignment]
            mark("rest")
            window = draw(self.draws)
            mark("wait")
            self.optimiser.zero_grad(set_to_none=True)
            loss = loss_of(window)
            mark("forward")
            loss.backward()  # type: ignore[no-untyped-call]
            mark("backward")
            norm = nn.utils.clip_grad_norm_(self.weights, t.clip)
            if bool(torch.isfinite(norm)):
                self.optimiser.step()
                total += loss.detach()
            else:
                self.log.skipped += 1
            self.log.steps += 1
            self.log.windows += len(window)
            if t.average:
                decay = min(t.average, (1 + self.log.steps) / (10 + self.log.steps))
                torch._foreach_lerp_(self.averaged, self.weights, 1 - decay)
            mark("optimiser")
            if self.log.steps % EVERY == 0:
                self._look(bar, total, began, before)
                mark("logging")
            if validate is not None and self.log.steps % t.validate_every == 0:
                misses = self._validate(validate, misses)
                mark("validation")
            if self.path is not None and self.log.steps % t.checkpoint_every == 0:
                self.log.seconds = before + time.perf_counter() - began
                self.write()
                mark("logging")
        bar.close()
        self.network.done = 1.0  # type: ignore[assignment]
        self.log.seconds = before + time.perf_counter() - began
        if validate is not None and self.log.validation:
            self._put(self.best)
        else:
            self.log.best_step = self.log.steps
            self._put(self.averaged if t.average else self.weights)
        if self.log.skipped:
            log.warning("%d of %d steps had no finite gradient", self.log.skipped, self.log.steps)

    def _look(self, bar: Any, total: Tensor, began: float, before: float) -> None:
        if self.log.skipped > 0.5 * self.log.steps:
            raise ConfigError(
                f"{self.log.skipped} of the first {self.log.steps} training steps had no finite "
                f"gradient at learning_rate={self.training.learning_rate:g}; lower it tenfold, or "
                "look for extreme values in the target with `demandcast check`"
            )
        mean = float(total) / EVERY
        total.zero_()
        self.log.losses.append((self.log.steps, mean))
        self.log.seconds = before + time.perf_counter() - began
        bar.update(self.log.steps - bar.n)
        bar.set_postfix_str(f"loss {mean:.4g}, {self.log.windows_per_second:,.0f} windows/s")

    def _validate(self, validate: Callable[[], float], misses: int) -> int:
        raw = [p.detach().clone() for p in self.weights]
        kept = self.averaged if self.training.average else raw
        self._put(kept)
        self.network.eval()
        with torch.no_grad():
            score = validate()
        self.network.train()
        self.log.validation.append((self.log.steps, score))
        if score < self.best_score:
            self.best_score, self.log.best_step = score, self.log.steps
            self.best = [p.clone() for p in kept]
            misses = 0
        else:
            misses += 1
        self._put(raw)
        return misses

    def _put(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self.weights, values, strict=True):
                weight.copy_(value)

    def write(self) -> None:
        assert self.path is not None
        tensors = {"draws": self.draws.get_state(), "dropout": torch.get_rng_state()}
        device = self.weights[0].device
        if device.type == "cuda":
            tensors["dropout_cuda"] = torch.cuda.get_rng_state(device)
        for name, values in self._lists().items():
            tensors |= {f"{name}.{i}": value for i, value in enumerate(values)}
        tensors |= optimiser_tensors(self.optimiser)
        facts = {
            "training": asdict(self.training), "log": asdict(self.log), "best": self.best_score,
        }  # fmt: skip
        write_tensors(self.path, tensors, facts)

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
        if facts["training"] != settings:
            changed = [k for k, v in settings.items() if facts["training"].get(k) != v]
            raise CheckpointError(
                f"the checkpoint {self.path} was made with other settings ({', '.join(changed)}); "
                "resume with the same ones, or take another folder"
            )
        for name, values in self._lists().items():
            for i, value in enumerate(values):
                found = tensors.get(f"{name}.{i}")
                if found is None or found.shape != value.shape:
                    raise CheckpointError(
                        f"the checkpoint {self.path} is of another model or panel; resume with the "
                        "same ones, or take another folder"
                    )
                with torch.no_grad():
                    value.copy_(found)
        restore_optimiser(self.optimiser, tensors)
        self.draws.set_state(tensors["draws"])
        torch.set_rng_state(tensors["dropout"])
        if "dropout_cuda" in tensors:
            torch.cuda.set_rng_state(tensors["dropout_cuda"])
        self.best_score = facts["best"]
        past = facts["log"]
        pairs = {k: [(int(s), float(v)) for s, v in past[k]] for k in ("losses", "validation")}
        self.log = TrainingLog(**(past | pairs))

    def _lists(self) -> dict[str, list[Tensor]]:
        return {
            "weights": self.weights, "averaged": self.averaged, "best": self.best,
            "buffers": list(self.network.buffers()),
        }  # fmt: skip
