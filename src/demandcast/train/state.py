"""The state of a training: weights, their averages, the optimiser, random numbers and the log; and its checkpoint."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from demandcast.errors import CheckpointError
from demandcast.layers.generators import gpu_state, set_gpu_state
from demandcast.train.adamw import AdamW
from demandcast.train.checkpoint import read_tensors, reading_facts, take, write_tensors
from demandcast.train.group import Group
from demandcast.train.training import Counted, Training, TrainingLog
from demandcast.typed import build, convert

log = logging.getLogger("demandcast")
CHECKPOINT = "checkpoint.safetensors"
APART = 7919  # between the seeds of processes that train together
# settings that change no number: a run may be resumed with others
FREE = ("loader", "workers", "pin_memory")


class State:
    """All that changes while a network is trained, and all that a checkpoint holds.

    Attributes:
        weights: What the optimiser moves.
        averaged: Running averages of the weights.
        best, best_score: Weights of the best validation, and its loss.
        total: Sum of the losses since the log's last entry.
        draws: The generator of the samples of each step; the same in all processes of a group.
        inside: The generator of what the network draws (dropout, sampled paths); one for each process.
        log: What happened so far.
    """

    def __init__(self, network: nn.Module, training: Training, group: Group) -> None:
        self.network, self.training, self.group = network, training, group
        self.weights: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        self.device = self.weights[0].device
        self.optimiser = AdamW(
            self.weights, rate=training.learning_rate, weight_decay=training.weight_decay
        )
        self.averaged = [p.detach().clone() for p in self.weights]
        self.best = [p.detach().clone() for p in self.weights]
        self.best_score = math.inf
        self.total = torch.zeros((), device=self.device)
        self.draws = torch.Generator().manual_seed(training.seed)
        self.inside = torch.Generator().manual_seed(training.seed + APART * group.rank)
        self.log = TrainingLog()
        self.began, self.before = time.perf_counter(), 0.0  # seconds: of the clock; before a resume

    def note(self, words: str, level: int = logging.INFO) -> None:
        """Log a decision, and keep it in the training's log."""
        log.log(level, words)
        if words not in self.log.notes:  # a resumed run decides alike
            self.log.notes.append(words)

    def start_clock(self) -> None:
        """Count the seconds of the training from here on, after those before a resume."""
        self.began, self.before = time.perf_counter(), self.log.seconds

    def count_seconds(self) -> None:
        """Write the seconds of the training so far into the log."""
        self.log.seconds = self.before + time.perf_counter() - self.began

    def set_weights(self, values: list[Tensor]) -> None:
        """Copy values into the network's weights."""
        with torch.no_grad():
            for weight, value in zip(self.weights, values, strict=True):
                weight.copy_(value)

    def average_weights(self) -> None:
        """Move the running averages towards the weights; quickly at first."""
        decay = min(self.training.average, (1 + self.log.steps) / (10 + self.log.steps))
        with torch.no_grad():  # else a graph of all steps would grow with the averages
            torch._foreach_lerp_(self.averaged, self.weights, 1 - decay)

    # What a forward pass changes

    def before_forward(self) -> Callable[[], None]:
        """Return a function that undoes what a forward pass changes: buffers and random numbers."""
        random = self._generator_states()
        buffers = [buffer.clone() for buffer in self.network.buffers()]

        def undo() -> None:
            self.inside.set_state(random["dropout"])
            if "dropout_cuda" in random:
                set_gpu_state(self.device, random["dropout_cuda"])
            with torch.no_grad():
                for buffer, value in zip(self.network.buffers(), buffers, strict=True):
                    buffer.copy_(value)

        return undo

    # The checkpoint

    def write(self, path: Path, draws: Tensor) -> None:
        """Write a checkpoint; `draws` is the state of the generator of samples after the last batch.

        Where it cannot be written training goes on: a full disk costs the checkpoint, not the run.
        """
        self.count_seconds()
        tensors = {"draws": draws}
        for name, state in self._generator_states().items():
            tensors |= {f"{name}.{rank}": one for rank, one in enumerate(self.group.gather(state))}
        if self.group.rank:
            return
        tensors |= self._tensors() | self.optimiser.tensors()
        facts = {
            "training": asdict(self.training), "log": asdict(self.log), "best": self.best_score,
        }  # fmt: skip
        try:
            write_tensors(path, tensors, facts)
        except OSError as error:
            self.note(
                f"no checkpoint of step {self.log.steps}: {path} could not be written "
                f"({error.strerror or error}); training goes on, but a kill would lose it: free space "
                "there, or stop and take another folder",
                logging.WARNING,
            )

    def restore(self, path: Path) -> None:
        """Continue from a checkpoint, if there is one; everything is checked before a weight changes.

        Raises:
            CheckpointError: It is damaged, or of other settings, another network or another panel.
        """
        if not path.exists():
            return
        tensors, facts = read_tensors(path)
        self._check_settings(path, facts)
        rank, expected = self.group.rank, self._tensors()
        random = {f"{name}.{rank}": state for name, state in self._generator_states().items()}
        with reading_facts(path):
            best_score = convert(facts.get("best"), float, "best")
            past = build(TrainingLog, facts.get("log"), "log")
            if not 0 <= past.steps <= self.training.max_steps or past.parts < 1:
                raise ValueError(f"{past.steps} steps in {past.parts} parts are out of range")
            values = take(tensors, expected)
            states = take(tensors, {"draws": self.draws.get_state(), **random})
            self.optimiser.restore(tensors)
            self.draws.set_state(states["draws"])
            self.inside.set_state(states[f"dropout.{rank}"])
            if self.device.type != "cpu":
                set_gpu_state(self.device, states[f"dropout_cuda.{rank}"])
        with torch.no_grad():
            for name, tensor in expected.items():
                tensor.copy_(values[name])
        self.best_score, self.log = best_score, past

    def _check_settings(self, path: Path, facts: dict[str, object]) -> None:
        """Refuse a checkpoint of other settings, but for those that change no number."""
        settings = json.loads(json.dumps(asdict(self.training)))  # as written: tuples are lists
        with reading_facts(path):
            before = convert(facts.get("training"), dict[str, object], "training")
        changed = [k for k in settings | before if before.get(k) != settings.get(k)]
        changed = [k for k in changed if k not in FREE]
        if changed:
            raise CheckpointError(
                f"the checkpoint {path} was made with other settings ({', '.join(changed)}); "
                "resume with the same ones, or take another folder"
            )

    def _generator_states(self) -> dict[str, Tensor]:
        """Return the states of the generators that the network draws from."""
        states = {"dropout": self.inside.get_state()}
        gpu = gpu_state(self.device)
        return states if gpu is None else states | {"dropout_cuda": gpu}

    def _tensors(self) -> dict[str, Tensor]:
        """Return every tensor that training changes, by its name in a checkpoint."""
        lists = {
            "weights": self.weights, "averaged": self.averaged, "best": self.best,
            "buffers": list(self.network.buffers()), "total": [self.total],
        }  # fmt: skip
        return {f"{name}.{i}": v for name, values in lists.items() for i, v in enumerate(values)}


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
