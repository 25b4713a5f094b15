"""The training loop: take a batch, update the weights, average them, validate, and keep the best.

A run has random generators of its own. It repeats to the bit while other threads train too, leaves torch's global
generator untouched, and resumes from a checkpoint as if it had never been interrupted.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic

import torch
from torch import Tensor, nn

from demandcast.errors import ConfigError
from demandcast.layers.generators import draws_of
from demandcast.progress import Bar
from demandcast.train import interrupts
from demandcast.train.allocator import keep_heap
from demandcast.train.batches import B
from demandcast.train.clock import Clock, marker
from demandcast.train.doctor.bare_loop import limit_threads
from demandcast.train.doctor.thread_limit import ThreadLimit
from demandcast.train.gradients import Gradients, Objective
from demandcast.train.group import ALONE, Group
from demandcast.train.loaders import Loader
from demandcast.train.state import CHECKPOINT, State
from demandcast.train.training import Training, TrainingLog
from demandcast.train.watch import Watch

log = logging.getLogger("demandcast")
EVERY = 25  # steps between entries of the log: each waits for the device


def train(
    objective: Objective[B],
    loader: Loader[B],
    training: Training,
    *,
    watch: Watch = Watch(),  # noqa: B008  frozen
    per_epoch: int = 0,
    notes: Iterable[str] = (),
    clock: Clock | None = None,
    free_threads: bool = False,
    group: Group = ALONE,
) -> TrainingLog:
    """Train a network in place; it ends with the best or the averaged weights, in eval mode.

    Args:
        objective: The network and its loss.
        loader: The source of batches.
        training: Hyper-parameters of the optimisation.
        watch: Progress bar and checkpoints.
        per_epoch: Steps in an epoch, for the progress bar; 0 where there is no epoch.
        notes: Decisions made before the training, for the log.
        clock: Records where the time of every step goes.
        free_threads: Whether the run may continue with one thread if its throughput collapses with more.
        group: The processes that train together; rank 0 shows progress, writes checkpoints and validates.

    Raises:
        ConfigError: Gradients stay infinite, or one sample alone exhausts the memory.
        CheckpointError: `watch` resumes a checkpoint of other settings.
    """
    keep_heap()
    network = objective.network
    state = State(network, training, group)
    path = None if watch.checkpoint is None else Path(watch.checkpoint) / CHECKPOINT
    # an autocast of the caller must not change the run
    with draws_of(state.inside, network), torch.autocast(state.device.type, enabled=False):
        if watch.resume:
            if path is None:
                raise ConfigError(
                    "resume=True needs the folder: fit(panel, checkpoint='run/', resume=True)",
                    option="checkpoint",
                    found=None,
                    expected="a folder",
                )
            state.restore(path)
        group.broadcast_tensors(
            [*network.parameters(), *network.buffers(), *state.averaged, *state.best]
        )
        state.log.per_epoch = per_epoch
        for note in notes:
            state.note(note)
        run = _Run(state, objective, path, clock, ThreadLimit(free=free_threads))
        try:
            with limit_threads(training.fixed_threads):
                run.go(loader, watch)
        finally:
            loader.stop()
    network.eval()
    return state.log


class _Run(Generic[B]):
    """The state of one training run: the remaining steps, their log, and what an interrupt needs."""

    def __init__(
        self,
        state: State,
        objective: Objective[B],
        path: Path | None,
        clock: Clock | None,
        thread_limit: ThreadLimit,
    ) -> None:
        self.state, self.objective, self.path, self.clock = state, objective, path, clock
        self.mark = marker(clock)
        self.gradients = Gradients(state, objective, self.mark)
        self.thread_limit = thread_limit
        self.last_entry: tuple[float, int] | None = None  # time and windows at the log's last entry
        # An interrupt before the update of a step undoes the step; one during the update cannot.
        self.undo: tuple[Tensor, Callable[[], None]] | None = (
            None  # the loader's state, and the undo
        )
        self.updating = False

    def go(self, loader: Loader[B], watch: Watch) -> None:
        """Train until the last step or until validations stop improving; then set the weights to keep."""
        state, log_, training = self.state, self.state.log, self.state.training
        state.start_clock()
        bar = Bar(
            total=training.max_steps, initial=log_.steps, desc=watch.label, unit="iteration",
            disable=not watch.progress or state.group.rank > 0, file=sys.stderr, leave=False,
            mininterval=0.3,
        )  # fmt: skip
        state.network.train()
        loader.start(log_.steps, training.max_steps, state.draws, self.mark)
        try:
            with interrupts.at_steps():
                while log_.steps < training.max_steps and self._misses() < training.patience:
                    self._step(loader)
                    self._after_step(loader, bar, watch)
                    self.updating = False
                    self._raise_interrupt()
                    bar.report()
        except (KeyboardInterrupt, SystemExit):
            self._save_on_interrupt(loader)
            raise
        finally:
            bar.close()
        self._set_done(1.0)
        state.count_seconds()
        if self.objective.validate is not None and log_.validation:
            state.set_weights(state.best)
        else:
            log_.best_step = log_.steps
            state.set_weights(state.averaged if training.average else state.weights)
        if log_.skipped:
            log.warning("%d of %d steps had no finite gradient", log_.skipped, log_.steps)

    def _raise_interrupt(self) -> None:
        """Raise an interrupt that waits; the processes of a group do so after the same step.

        Raises:
            KeyboardInterrupt: This process was interrupted, or another of its group.
        """
        if self.gradients.interrupted:
            interrupts.clear()
            raise KeyboardInterrupt
        if self.state.group.size == 1:
            interrupts.check()

    def _misses(self) -> int:
        """Count the validations since the best one."""
        log_ = self.state.log
        return sum(1 for step, _ in log_.validation if step > log_.best_step)

    def _step(self, loader: Loader[B]) -> None:
        """Take the next batch, compute gradients and update the weights."""
        state = self.state
        if self.clock is not None:
            self.clock.begin()
        state.optimiser.rate = state.training.rate(state.log.steps)
        self._set_done(state.log.steps / state.training.max_steps)
        if self.path is not None:
            self.undo = loader.state(), state.before_forward()
        if self.objective.begin_step is not None:
            self.objective.begin_step()
        self.mark("rest")
        loss, samples = self.gradients.compute(loader.next_batch())
        loader.prefetch()
        self._update(loss, samples)

    def _update(self, loss: Tensor, samples: int) -> None:
        """Update the weights by their gradients, unless these are not finite, and average the weights."""
        state = self.state
        norm = nn.utils.clip_grad_norm_(state.weights, state.training.clip)
        self.updating, self.undo = True, None
        if bool(torch.isfinite(norm)):
            state.optimiser.step()
            state.total += loss
        else:
            state.log.skipped += 1
        state.log.steps += 1
        state.log.windows += samples
        if state.training.average:
            state.average_weights()
        self.mark("optimiser")

    def _after_step(self, loader: Loader[B], bar: Bar, watch: Watch) -> None:
        """Log, validate and write a checkpoint, each at its interval."""
        steps, training = self.state.log.steps, self.state.training
        if steps % EVERY == 0:
            self._log_progress(bar, watch.unit)
            self.mark("logging")
        if self.objective.validate is not None and steps % training.validate_every == 0:
            self._validate(self.objective.validate)
            self.mark("validation")
        if self.path is not None and steps % training.checkpoint_every == 0:
            self._write_checkpoint(self.path, loader.state())
            self.mark("logging")

    def _set_done(self, share: float) -> None:
        """Set the share of finished steps on a network whose loss depends on it."""
        if hasattr(self.state.network, "done"):
            self.state.network.done = share  # type: ignore[assignment]

    def _log_progress(self, bar: Bar, unit: str) -> None:
        """Log the mean loss since the last entry, and check the throughput."""
        state, log_ = self.state, self.state.log
        if log_.skipped > 0.5 * log_.steps:
            raise ConfigError(
                f"{log_.skipped} of the first {log_.steps} training steps had no finite "
                f"gradient at learning_rate={state.training.learning_rate:g}; lower it tenfold, or "
                "look for extreme values in the target with `demandcast check`",
                option="learning_rate",
                found=state.training.learning_rate,
                expected="a smaller rate",
            )
        mean = float(state.total) / EVERY
        state.total.zero_()
        log_.losses.append((log_.steps, mean))
        now = time.perf_counter()
        state.count_seconds()
        if self.last_entry is not None and state.device.type == "cpu":
            since, windows = self.last_entry
            words = self.thread_limit.check_rate((log_.windows - windows) / (now - since))
            if words is not None:
                state.note(f"step {log_.steps}: {words}", logging.WARNING)
        self.last_entry = now, log_.windows
        bar.update(log_.steps - bar.n)
        place = ""
        if log_.per_epoch:
            epoch, batch = divmod(log_.steps - 1, log_.per_epoch)
            last = -(-state.training.max_steps // log_.per_epoch)
            place = f"epoch {epoch + 1}/{last}, batch {batch + 1}/{log_.per_epoch}, "
        bar.set_postfix_str(f"{place}loss {mean:.4g}, {log_.windows_per_second:,.0f} {unit}/s")

    def _validate(self, validate: Callable[[], float]) -> None:
        """Validate the weights that would be kept now, and store them if they are the best so far."""
        began, state = time.perf_counter(), self.state
        raw = [p.detach().clone() for p in state.weights]
        candidate = state.averaged if state.training.average else raw
        state.set_weights(candidate)
        state.network.eval()
        with torch.no_grad():
            score = state.group.broadcast(validate() if state.group.rank == 0 else None)
        state.network.train()
        state.log.validation.append((state.log.steps, score))
        if score < state.best_score:
            state.best_score, state.log.best_step = score, state.log.steps
            state.best = [p.clone() for p in candidate]
        state.set_weights(raw)
        self._exclude_pause(began)

    def _write_checkpoint(self, path: Path, draws: Tensor) -> None:
        began = time.perf_counter()
        self.state.write(path, draws)
        self._exclude_pause(began)

    def _exclude_pause(self, began: float) -> None:
        """Exclude a pause from the throughput that the thread limit watches."""
        if self.last_entry is not None:
            since, windows = self.last_entry
            self.last_entry = since + time.perf_counter() - began, windows

    def _save_on_interrupt(self, loader: Loader[B]) -> None:
        """Write a checkpoint of the last complete step; after an interrupt during an update, keep the last checkpoint."""
        state = self.state
        if self.path is None or state.log.steps == 0:
            return
        if state.group.size > 1 and not self.gradients.interrupted:
            return  # processes of a group that did not agree to end are not all at the same step
        draws = loader.state()
        if self.undo is not None:
            draws, undo = self.undo
            undo()
        elif self.updating:
            return
        self._write_checkpoint(self.path, draws)
