"""Measure the machine and its load: cores, memory, other programs, and the accelerator.

Linux reports them in /proc. What another system does not report is None, never a guess.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import torch

from demandcast.memory import memory_of_process

SHORTEST = 0.3  # seconds; the system counts in ticks of a hundredth, too coarse for less
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True)
class Memory:
    """Bytes of a device: of the GPU, or of the RAM this process may still take."""

    used: int  # by this process
    free: int
    total: int


def cores() -> tuple[int, ...]:
    """Return the logical cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def physical_cores() -> int:
    """Return cores with arithmetic of their own that this process may use; at least 1.

    Two logical cores of one physical count once, and a container's limit of CPU time counts too.
    """
    places = set()
    for core in cores():
        topology = Path(f"/sys/devices/system/cpu/cpu{core}/topology")
        try:
            names = ("physical_package_id", "core_id")
            places.add(tuple((topology / name).read_text() for name in names))
        except OSError:
            places.add((str(core),))
    return max(1, min(len(places), int(_quota())))


def _quota() -> float:
    """Return cores' worth of time that the container grants; infinite where there is no limit."""
    with suppress(OSError, ValueError):
        granted, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1.0, float(granted) / float(period))
    return float(1 << 16)


def memory(device: torch.device) -> Memory:
    """Return memory of a device; of the CPU, what the system and the container leave to this process."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(torch.cuda.max_memory_reserved(device), free, total)
    total, free = memory_of_process()
    return Memory(_resident(), free, total)


def _resident() -> int:
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@dataclass
class Load:
    """How busy the machine was while it was watched; empty or None where the system does not tell."""

    seconds: float = 0.0
    cores: tuple[float, ...] = ()  # busy share of each
    own: float = 0.0  # cores kept busy by this process and its workers
    queued: float | None = None  # threads of this process that stood in the queue for a core, mean
    device: float | None = None  # busy share of the GPU
    samples: list[float] = field(default_factory=list, repr=False)

    @property
    def others(self) -> float | None:
        """Cores kept busy by other programs."""
        known = self.cores and self.seconds > SHORTEST
        return max(0.0, sum(self.cores) - self.own) if known else None


@contextmanager
def record_load(device: torch.device) -> Iterator[Load]:
    """Measure the load of the machine; the `Load` is filled when the block ends."""
    load = Load()
    before = time.perf_counter(), _busy_seconds(), _own_cpu_seconds(), _queued_seconds()
    with _Sampler(device, load.samples):
        yield load
    after = time.perf_counter(), _busy_seconds(), _own_cpu_seconds(), _queued_seconds()
    load.seconds = max(after[0] - before[0], 1e-9)
    busy = {k: after[1][k] - before[1][k] for k in after[1] if k in before[1]}
    load.cores = tuple(min(1.0, max(0.0, b / load.seconds)) for b in busy.values())
    load.own = max(0.0, after[2] - before[2]) / load.seconds
    if before[3] is not None and after[3] is not None:
        load.queued = max(0.0, after[3] - before[3]) / load.seconds
    load.device = sum(load.samples) / len(load.samples) if load.samples else None


def _busy_seconds() -> dict[int, float]:
    """Return seconds that each core this process may use has been busy."""
    with suppress(OSError, ValueError):
        seconds = {}
        own_cores = set(cores())
        for line in Path("/proc/stat").read_text().splitlines():
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu" and int(name[3:]) in own_cores:
                user, nice, system, _, _, irq, soft = (int(t) for t in ticks[:7])
                seconds[int(name[3:])] = (user + nice + system + irq + soft) / _TICK
        return seconds
    return {}


def _own_cpu_seconds() -> float:
    """Return CPU seconds of this process, its workers that live and those that are gone."""
    spent = os.times()
    total = spent.user + spent.system + spent.children_user + spent.children_system
    for worker in multiprocessing.active_children():
        with suppress(OSError, ValueError, IndexError):
            words = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(words[11]) + int(words[12])) / _TICK
    return total


def _queued_seconds() -> float | None:
    """Return seconds that the threads of this process have stood in the queue for a core."""
    total, any_task = 0.0, False
    with suppress(OSError):
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError, ValueError, IndexError):
                total += _read_queued_seconds(task)
                any_task = True
    return total if any_task else None


def queued() -> float:
    """Return seconds that this thread has stood in the queue for a core; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError):
        return _read_queued_seconds(Path("/proc/thread-self"))
    return 0.0


def _read_queued_seconds(task: Path) -> float:
    return int((task / "schedstat").read_text().split()[1]) / 1e9


class _Sampler:
    """Asks NVML ten times a second how busy the GPU is; does nothing without a GPU or `pynvml`."""

    def __init__(self, device: torch.device, samples: list[float]) -> None:
        self.device, self.samples = device, samples
        self.done = threading.Event()
        self.thread: threading.Thread | None = None

    def __enter__(self) -> None:
        if self.device.type == "cuda":
            with suppress(ImportError):
                import pynvml  # of the extra `gpu`

                pynvml.nvmlInit()
                uuid = f"GPU-{torch.cuda.get_device_properties(self.device).uuid}"
                handle = pynvml.nvmlDeviceGetHandleByUUID(uuid.encode())
                self.thread = threading.Thread(target=self._go, args=(pynvml, handle), daemon=True)
                self.thread.start()

    def _go(self, nvml: object, handle: object) -> None:
        while not self.done.wait(0.1):
            rates = nvml.nvmlDeviceGetUtilizationRates(handle)  # type: ignore[attr-defined]
            self.samples.append(rates.gpu / 100)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.done.set()
        if self.thread is not None:
            self.thread.join()
