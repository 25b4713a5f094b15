"""Print to the terminal with control characters escaped; every line that a command prints passes through here.

Keys, column names and file names are untrusted. An escape code in one of them could clear the screen or
rename the window, a line break could forge a line of output, and a direction mark could reorder the
text. They are shown as Python escapes them (`\\x1b`, `\\n`, `\\u202e`); values in files do not change.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from demandcast.errors import FileError

# Control characters, line and paragraph separators, marks of direction, invisible spaces and lone
# surrogates; not the joiners U+200C and U+200D, which Persian and emoji are written with.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: object) -> str:
    """Return a text as one line without control characters: ESC becomes `\\x1b`."""
    return _UNSAFE.sub(lambda c: c[0].encode("unicode_escape").decode("ascii"), str(text))


def printable_json(text: str) -> str:
    """Return a JSON text with the same characters as JSON escapes, which keep its values."""

    def escape(character: re.Match[str]) -> str:
        return character[0] if character[0] in "\n\r\t" else json.dumps(character[0])[1:-1]

    return _UNSAFE.sub(escape, text)  # a line break cannot stand inside a JSON string


def write(line: str, stream: TextIO | None) -> None:
    """Print one line that is already escaped.

    If the reader of a pipe has closed it, as in `demandcast models | head`, further lines are discarded and the
    command goes on to write its files.

    Raises:
        FileError: stdout cannot be written to, as on a full disk.
    """
    if stream is None:  # closed by the caller, as in `>&-`
        return
    try:
        print(line, file=stream)
    except OSError as error:
        _failed(stream, error)


def flush() -> None:
    """Flush stdout, which may fail for lines that were printed before.

    Raises:
        FileError: stdout cannot be written to, as on a full disk.
    """
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            _failed(sys.stdout, error)


def _failed(stream: TextIO, error: OSError) -> None:
    """Discard the rest of a stream, because the interpreter would fail when it flushes it at exit."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
    if stream is sys.stdout and not isinstance(error, BrokenPipeError):
        raise FileError(
            f"cannot print to stdout: {error.strerror or error}; name a file with --out FILE"
        ) from error


def open_streams() -> None:
    """Make the standard streams usable, before a command of the console script begins.

    Closed descriptors are opened on the null device: otherwise the next file that is opened would get the
    descriptor, and what a library prints would be written into it. A character that the terminal's encoding
    lacks is escaped.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest one that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  as long as the process
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _print_traceback


def _print_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    for line in "".join(traceback.format_exception(kind, error, trace)).splitlines():
        write(printable(line), sys.stderr)


class _Lines(logging.Handler):
    """Print warnings of the library as lines of stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        write(printable(record.getMessage()), sys.stderr)


@contextlib.contextmanager
def log_lines() -> Iterator[None]:
    """Print the library's warnings during a command, unless the program has set up its own logging."""
    logger = logging.getLogger("demandcast")
    handler = _Lines(logging.WARNING)
    if logger.hasHandlers():
        yield
        return
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
