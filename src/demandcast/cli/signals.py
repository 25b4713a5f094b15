"""End a command on Ctrl-C, on SIGTERM of a scheduler, and on SIGHUP of a terminal.

Each of them raises `KeyboardInterrupt` in the main thread, so that a training writes its checkpoint and
`auto` takes the best so far; the exit code tells which signal it was. Only the console script sets this
up, because signals belong to the program and not to a library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
AGAIN = 0.05  # seconds until an interrupt that could not be raised is tried again

_first: int | None = None  # the first signal
_ending = False  # the command is about to write its results


def exit_code() -> int:
    """Return the exit code of an interrupted command: 128 plus the number of the signal."""
    return 128 + (signal.SIGINT if _first is None else _first)


def handle() -> None:
    """Let the signals interrupt the command; signals that the caller ignores, as nohup does, stay ignored."""
    for name in NAMES:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, _raise)
        sys.unraisablehook = _raise_again


def finish() -> None:
    """Ignore signals from now on: the search or training is over, and the results are about to be written."""
    global _ending
    _ending = True


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _first
    if _first is not None:
        if number == signal.SIGINT or (number == _first and number != signal.SIGHUP):
            os._exit(128 + number)  # pressed again: end at once
        return  # a terminal that closes sends SIGHUP more than once
    _first = number
    if _ending:
        return
    if number == getattr(signal, "SIGHUP", None):
        _leave_terminal()
    _raise(number, frame)


def _raise(number: int, frame: FrameType | None) -> None:
    """Raise the interrupt, but at the end of a training step, and not while a module is imported.

    An interrupted import leaves half a torch loaded, and C++ that waits for the import aborts.
    """
    training = sys.modules.get("demandcast.train.interrupts")  # not imported for `--help`
    if training is not None and training.wait_for_step():
        return
    if hasattr(signal, "SIGALRM") and in_import(frame):
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
        return
    raise KeyboardInterrupt


def in_import(frame: FrameType | None) -> bool:
    """Return whether a frame runs on behalf of an import, which must not be left half done."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _raise_again(unraisable: Any) -> None:
    """Raise the interrupt again if it was raised in a callback or a finaliser, which swallow it."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AGAIN)
    else:
        sys.__unraisablehook__(unraisable)


def _leave_terminal() -> None:
    """Discard further output to the terminal: it is closed, and writing to it would fail."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and stream.isatty():
                os.dup2(nowhere.fileno(), stream.fileno())
