"""Forked processes: the threads of Polars and OpenMP are not copied, and calls that need them hang."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from demandcast.errors import WorkerError

_TASKS = Path("/proc/self/task")
_lost_threads = False  # whether this process is a fork of one whose Polars threads were running


def check_fork(what: str) -> None:
    """Refuse work that would wait forever for threads that only the parent process has.

    Args:
        what: What was called, for the message.

    Raises:
        WorkerError: This process was forked after Polars had started its threads.
    """
    if _lost_threads:
        raise WorkerError(
            f"{what} would hang in this process: it was forked after Polars had started threads, which a "
            'fork does not have; make processes with multiprocessing.get_context("spawn")'
        )


def _polars_runs() -> bool:
    """Return whether this process has threads of Polars. Known on Linux only, which alone forks by default."""
    try:
        names = [(task / "comm").read_text().strip() for task in _TASKS.iterdir()]
    except OSError:  # no such folder, or a thread that ended meanwhile
        return "polars" in sys.modules and _TASKS.exists()
    return any(re.fullmatch(r"polars-\d+", name) for name in names)


def _look() -> None:
    global _at_fork
    _at_fork = _polars_runs()


def _forked() -> None:
    global _lost_threads
    _lost_threads = _lost_threads or _at_fork


_at_fork = False
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_look, after_in_child=_forked)
