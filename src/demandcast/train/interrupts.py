"""Interrupts that wait for the end of a training step, so that a checkpoint holds whole steps.

Whoever handles a signal asks `wait_for_step` before it raises `KeyboardInterrupt`; the console script does.
Python's own handler raises at once, wherever the main thread is.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_trainings = 0  # under way in the main thread
_waiting = False  # an interrupt, for the end of a step


def waiting() -> bool:
    """Return whether an interrupt waits for the end of a step."""
    return _waiting


def clear() -> None:
    """Forget the interrupt that waits: its training has ended."""
    global _waiting
    _waiting = False


def wait_for_step() -> bool:
    """Leave an interrupt to the training of the main thread; return False if there is none."""
    global _waiting
    _waiting = _trainings > 0
    return _waiting


@contextmanager
def at_steps() -> Iterator[None]:
    """Raise interrupts of the block where it calls `check`, and at its end."""
    global _trainings
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _trainings += 1
    try:
        yield
    finally:
        _trainings -= 1
    check()


def check() -> None:
    """Raise the interrupt that waits, if one does.

    Raises:
        KeyboardInterrupt: One was waiting.
    """
    if _waiting and threading.current_thread() is threading.main_thread():
        clear()
        raise KeyboardInterrupt
