"""Lower the number of threads of a run when other programs take its cores.

Threads that share an operator wait for the last of them. Once another program takes a core, every operator waits for
the system's next turn: runs have been seen to fall to a twentieth of their speed.
"""

from __future__ import annotations

import logging

import torch

log = logging.getLogger("demandcast")
COLLAPSE = 1 / 3  # of the best rate so far
CURED = 1.2  # times the collapsed rate, with one thread


class ThreadLimit:
    """Watches the training rate; tries one thread where it collapses, or reports that one would help.

    Args:
        free: Whether the threads may be changed; results may differ in their last bits by it.
    """

    def __init__(self, *, free: bool) -> None:
        self.free, self.best, self.done = free, 0.0, False
        self.before: tuple[int, float] | None = None  # threads and rate before the trial

    def check_rate(self, rate: float) -> str | None:
        """Compare the rate with the best one; return what was done or should be, if anything.

        Args:
            rate: Windows/s of the training steps since the last look.
        """
        threads = torch.get_num_threads()
        if self.before is not None:
            return self._keep_or_undo(rate)
        collapsed, self.best = rate < COLLAPSE * self.best, max(self.best, rate)
        if self.done or threads == 1 or not collapsed:
            return None
        fell = f"windows/s fell from {self.best:,.0f} to {rate:,.0f} with {threads} threads"
        if not self.free:
            self.done = True
            return (
                f"{fell}; if other programs take the cores, threads=1 keeps the pace, or "
                "OMP_WAIT_POLICY=PASSIVE in the environment; `demandcast doctor` tells"
            )
        self.before = threads, rate
        torch.set_num_threads(1)
        return f"{fell}: trying one"

    def _keep_or_undo(self, rate: float) -> str:
        assert self.before is not None
        (threads, collapsed), self.before = self.before, None
        if rate > CURED * collapsed:
            self.done = True
            return f"one thread from here on: {rate:,.0f} windows/s beside {collapsed:,.0f}"
        torch.set_num_threads(threads)
        self.best = rate  # it is not the threads: what is usual now is the measure
        return f"{threads} threads again: one gives {rate:,.0f} windows/s beside {collapsed:,.0f}"
