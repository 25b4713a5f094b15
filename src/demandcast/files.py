"""Write a file whole or not at all, and say what was not written where that fails.

Content goes into a temporary file beside its place and is renamed over it, so that a reader sees the
old file or the new one. A writer holds a lock on its temporary file until it ends, however it ends: what
a killed process left behind is recognised by the lock that nobody holds, and removed by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from demandcast.errors import DemandcastError, FileError

locks: Any = None
with contextlib.suppress(ImportError):  # Windows, where an open file cannot be removed anyway
    locks = importlib.import_module("fcntl")

LONGEST = 255  # bytes of a file's name, on the file systems in use
UNLOCKED = 86_400  # seconds after which a temporary file is stale where there are no locks
HINTS = {
    errno.ENOSPC: "free space or choose another place",
    errno.EDQUOT: "free space or choose another place",
    errno.EFBIG: "choose a file system that holds files of this size",
    errno.EACCES: "choose a place that can be written to",
    errno.EPERM: "choose a place that can be written to",
    errno.EROFS: "choose a place that can be written to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose another place: a file stands where a folder is needed",
    errno.EISDIR: "choose another name: a folder has this one",
    errno.EPIPE: "the reader of the pipe went away",
}


def not_written(path: str | Path, error: BaseException, what: str) -> DemandcastError:
    """The error of a write that failed: where, why, and what is lost by it."""
    number = getattr(error, "errno", None)
    if number is None and (match := re.search(r"\(os error (\d+)\)", str(error))):  # of Polars
        number = int(match[1])
    reason = os.strerror(number) if number else str(error)
    reason = reason[:1].lower() + reason[1:]
    hint = HINTS.get(number or 0, "choose another place")
    return FileError(f"not saved: {printable(path)}: {reason}; {what} was not written; {hint}")


def printable(path: str | Path) -> str:
    """Return a path as text for a message, with control characters escaped and long names shortened in the middle."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 120 else f"{text[:70]}...{text[-40:]}"


def check_name(path: str | Path, what: str) -> None:
    """Refuse a path that no file can have.

    Raises:
        FileError: It holds a NUL, or a part of it is too long.
    """
    if "\0" in str(path):
        raise FileError(
            f"not saved: {printable(path)}: the name holds a NUL character; {what} was not written; "
            "choose another name"
        )
    for part in Path(path).parts:
        if len(os.fsencode(part)) > LONGEST:
            raise not_written(path, OSError(errno.ENAMETOOLONG, ""), what)


@contextlib.contextmanager
def replacing(path: str | Path, *, what: str) -> Iterator[IO[bytes]]:
    """Open a file to write that takes its place when the block ends without an error.

    A link stays and its target is replaced, with the mode it had. Pipes and devices are written to
    directly. Folders that are missing are made.

    Args:
        path: Where.
        what: What is written, for the message of an error: "the forecast".

    Raises:
        FileError: It cannot be written there.
    """
    check_name(path, what)
    path = Path(path)
    try:
        if is_special(path):
            with path.open("ab") as file:
                yield file
            return
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, "")
        if place.exists() and not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, "")
        remove_stale(place)
        beside, descriptor = _open_beside(place)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
                if os.name == "nt":
                    file.close()  # an open file cannot be renamed there
                os.replace(beside, place)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
    except DemandcastError:
        raise
    except OSError as error:
        raise not_written(path, error, what) from error


def write_file(path: str | Path, content: bytes | str, *, what: str) -> None:
    """Write a file whole or not at all; see `replacing`."""
    with replacing(path, what=what) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a device, or an open stream such as /dev/stdout."""
    if not path.exists() or path.is_dir():
        return False
    if Path(os.path.abspath(path)).parts[:2] in (("/", "dev"), ("/", "proc")):
        return True
    return not stat.S_ISREG(path.stat().st_mode)


def _open_beside(place: Path) -> tuple[Path, int]:
    """Open and lock a new file beside another, with the mode and owner of the other."""
    before = place.stat() if place.exists() else None
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
    for _ in range(100):
        beside = place.with_name(f"{_prefix(place)}{os.urandom(4).hex()}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(beside, flags, mode)
        if (
            lock(descriptor) is not False and beside.exists()
        ):  # nobody took it for a stale one in between
            break
        os.close(descriptor)
    if before is not None and os.name != "nt":
        with contextlib.suppress(OSError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
        os.fchmod(descriptor, mode)
    return beside, descriptor


def _prefix(place: Path) -> str:
    """Return the prefix of the names of temporary files that will replace a file."""
    name = place.name
    while len(os.fsencode(name)) > LONGEST - 16:
        name = name[:-1]
    return f".{name}."


def remove_stale(place: str | Path) -> None:
    """Remove temporary files of a place whose writers are no more."""
    place = Path(place)
    prefix = _prefix(place)
    with contextlib.suppress(OSError):
        for entry in os.scandir(place.parent):
            token = entry.name.removeprefix(prefix).removesuffix(".tmp")
            ours = entry.name == f"{prefix}{token}.tmp" and len(token) == 8
            if ours and entry.is_file(follow_symlinks=False) and not is_locked(entry.path):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)


def is_locked(path: str | Path) -> bool:
    """Return whether a running process holds the lock of a file; True where that cannot be known."""
    if locks is None:
        return time.time() - os.stat(path).st_mtime < UNLOCKED
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return True
    try:
        return lock(descriptor) is not True
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool | None:
    """Take the lock of an open file, which ends with the process; None where there are no locks.

    Returns:
        Whether it was free.
    """
    if locks is None:
        return None
    try:
        locks.flock(descriptor, locks.LOCK_EX | locks.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has none
        return None
    return True


def is_same(one: str | Path, other: str | Path) -> bool:
    """Return whether two paths name the same file, links resolved; the file need not exist."""
    try:
        if os.path.samefile(one, other):
            return True
    except (OSError, ValueError):
        pass
    return os.path.normcase(os.path.realpath(one)) == os.path.normcase(os.path.realpath(other))
