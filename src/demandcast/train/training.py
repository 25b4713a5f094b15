"""How a network is trained, and what happened: the settings of the loop and its log."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TypeVar

from demandcast.errors import ConfigError
from demandcast.settings import (
    COUNT,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SHARE,
    Settings,
    choice,
    setting,
)
from demandcast.train.doctor.diagnosis import Diagnosis
from demandcast.train.loaders import LOADERS

Counted = TypeVar("Counted", bound="Training")


@dataclass(frozen=True, kw_only=True)
class Training(Settings):
    """How to optimise; the part of a model's hyper-parameters that no paper is about."""

    max_steps: int = setting(1000, COUNT)
    # in place of max_steps: passes over as many windows as there are
    epochs: int | None = setting(None, COUNT)
    # windows in a step; auto: the smallest that is nearly the fastest
    batch_size: int | str = setting(64, COUNT, auto=True)
    learning_rate: float = setting(1e-3, POSITIVE)
    # share of the steps in which the rate rises; then it falls as a cosine
    warmup: float = setting(0.05, SHARE)
    weight_decay: float = setting(1e-2, NOT_NEGATIVE)  # decoupled (AdamW)
    clip: float = setting(10.0, POSITIVE)  # of the gradient's norm
    # decay of the running average of weights that is kept; 0 for the last
    average: float = setting(0.99, SHARE)
    # validations without gain before stopping; they need validation > 0
    patience: int = setting(10, COUNT)
    validate_every: int = setting(50, COUNT)  # steps
    seed: int = setting(0, SEED)
    checkpoint_every: int = setting(200, COUNT)  # steps, where a folder for them is given
    # bf16: matrix products in bfloat16; auto: where it is faster, as good
    precision: str = setting("float32", choice("float32", "bf16", "auto"))
    # of torch's operators in training; auto: by trial; None: as is
    threads: int | str | None = setting(None, COUNT, auto=True)
    # resident (arrays on the device), streaming (workers gather); by memory
    loader: str = setting("auto", choice(*LOADERS))
    # processes that gather on the streaming loader
    workers: int | str = setting("auto", SEED, auto=True)
    # streamed batches wait for CUDA in pinned memory; auto: yes
    pin_memory: bool | str = setting("auto", FLAG, auto=True)
    # that train together, a process each, on shares of every batch
    devices: int = setting(1, COUNT)

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        super().__post_init__()
        if self.batch_size != "auto" and self.devices > self.batch:
            raise ConfigError(
                f"devices is {self.devices!r}; it must be at most the {self.batch} samples of a batch",
                option="devices",
                found=self.devices,
                expected=f"at most {self.batch}",
            )

    @property
    def batch(self) -> int:
        """`batch_size`, once it is no longer "auto"."""
        assert isinstance(self.batch_size, int)
        return self.batch_size

    @property
    def fixed_threads(self) -> int | None:
        """`threads` where it is a number; None leaves torch's own."""
        return self.threads if isinstance(self.threads, int) else None

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
    diagnosis: Diagnosis | None = field(
        default=None, repr=False, compare=False
    )  # of `fit(..., diagnose=True)`

    @property
    def windows_per_second(self) -> float:
        return self.windows / max(self.seconds, 1e-9)
