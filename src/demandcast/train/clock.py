"""Where the time of a training step goes: marks between its phases.

The loop marks the end of each phase; the time since the mark before is that phase's. A device that
works on its own time (CUDA) is waited for in one step of `EVERY`, and only those steps are counted
there, for waiting at every mark would slow the run it measures.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

PHASES = ("wait", "copy", "forward", "backward", "optimiser", "logging", "validation", "rest")
EVERY = 7  # steps; of so many, one is timed where marks must wait; no multiple of usual intervals


class Clock:
    """Wall and CPU seconds of every phase, summed over the steps timed.

    Phases: `wait` for the batch, `copy` to the device, `forward` with the loss, `backward`,
    `optimiser` with clipping and averages, `logging` with checkpoints, `validation`, and the `rest`.

    Args:
        device: Of the network.
        skip: First steps that are not timed: what they warm up is no part of a step.
    """

    def __init__(self, device: torch.device | None = None, *, skip: int = 0) -> None:
        self.skip = skip
        self.device = torch.device("cpu") if device is None else device
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self.cpu = dict.fromkeys(PHASES, 0.0)  # of this process, all its threads
        self.steps = 0  # timed
        self.seen = 0  # begun, timed or not
        self._timed = False
        self._last = self._last_cpu = 0.0

    @property
    def total(self) -> float:
        """Seconds of the steps timed."""
        return sum(self.seconds.values())

    def begin(self) -> None:
        """Start a step; the time since the last mark counts for no phase."""
        self._timed = self.seen >= self.skip and (
            self.device.type != "cuda" or (self.seen - self.skip) % EVERY == 0
        )
        self.seen += 1
        if self._timed:
            self.steps += 1
            self._wait()
            self._last, self._last_cpu = time.perf_counter(), time.process_time()

    def mark(self, phase: str) -> None:
        """Add the time since the last mark to the phase that just ended."""
        if self._timed:
            self._wait()
            now, cpu = time.perf_counter(), time.process_time()
            self.seconds[phase] += now - self._last
            self.cpu[phase] += cpu - self._last_cpu
            self._last, self._last_cpu = now, cpu

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def no_mark(phase: str) -> None:
    """Ignore a mark, where no clock is asked for."""


def marker(clock: Clock | None) -> Callable[[str], None]:
    """Return the function that the loop calls at the end of each phase."""
    return no_mark if clock is None else clock.mark
