"""How much memory is left, looked up before a library ends the process for want of it.

Polars aborts where an allocation fails, with no error to catch; so what a table will take is estimated
from its size, and refused in words where it exceeds what the machine, the container and `ulimit` leave.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from demandcast.errors import NotEnoughMemoryError

# bytes of address space that a process with our libraries takes, most of it never filled: arenas and
# stacks of threads, so the more the more cores there are (1.37 GiB measured on two)
RESERVED = (1200 + 100 * (os.cpu_count() or 1)) << 20


def memory_of_process() -> tuple[int, int]:
    """Bytes in total and bytes left, that system, container and limits give; (0, 0) if unknown."""
    facts = _meminfo()
    total, free = facts.get("MemTotal", 0), facts.get("MemAvailable", 0)
    for limit, taken in _limits():
        total, free = min(total, limit), min(free, max(0, limit - taken))
    return total, free


def check_memory(needed: int, purpose: str) -> None:
    """Refuse what will not fit.

    Args:
        needed: Bytes that the work will hold at once, estimated.
        purpose: What they are for, as in "reading sales.csv".

    Raises:
        NotEnoughMemoryError: More is needed than is left.
    """
    total, free = memory_of_process()
    if total and needed > free:
        raise NotEnoughMemoryError(
            f"{purpose} takes about {_format_bytes(needed)} of memory, and {_format_bytes(free)} are left; "
            f"{NotEnoughMemoryError.help}"
        )


def _format_bytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def _limits() -> Iterator[tuple[int, int]]:
    """Bytes allowed and taken: of the container (cgroup 2 or 1), and of this process (`ulimit`)."""
    for folder, limit, taken, cache in (
        ("", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        group = Path("/sys/fs/cgroup") / folder
        with suppress(OSError, ValueError):
            facts = (group / "memory.stat").read_text().split()
            given_back = int(facts[facts.index(cache) + 1])  # files read before
            yield int((group / limit).read_text()), int((group / taken).read_text()) - given_back
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        pages = [int(word) for word in Path("/proc/self/statm").read_text().split()]
        for kind, field in ((resource.RLIMIT_DATA, 5), (resource.RLIMIT_AS, 0)):
            limited, _ = resource.getrlimit(kind)
            if limited != resource.RLIM_INFINITY:
                least = RESERVED if kind == resource.RLIMIT_AS else 0
                yield limited, max(least, pages[field] * resource.getpagesize())


def _meminfo() -> dict[str, int]:
    with suppress(OSError, ValueError):
        rows = [line.split() for line in Path("/proc/meminfo").read_text().splitlines()]
        return {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows}
    with suppress(ValueError, OSError, AttributeError):
        size = os.sysconf("SC_PAGE_SIZE")
        return {
            "MemTotal": size * os.sysconf("SC_PHYS_PAGES"),
            "MemAvailable": size * os.sysconf("SC_AVPHYS_PAGES"),
        }
    return {}
