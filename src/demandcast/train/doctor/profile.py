"""Profile a step with torch's profiler: the operators that cost most, and a trace to look at."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, record_function

from demandcast.files import write_file
from demandcast.train.batches import B
from demandcast.train.doctor.bare_loop import Bare, Subject, restore_after

STEPS = 5
WORST = 5


@dataclass(frozen=True)
class Operator:
    """One operator's own cost within a step, on the device that does the work."""

    name: str
    calls: float  # a step
    seconds: float  # a step, without what it calls
    share: float  # of all operators

    def __str__(self) -> str:
        return f"{self.name}: {1e3 * self.seconds:.2f} ms ({self.share:.0%}), {self.calls:g} calls"


def operators(subject: Subject[B], trace: str | Path | None = None) -> tuple[Operator, ...]:
    """Return the most expensive operators of a few steps, most expensive first.

    Args:
        subject: The parts of the training; its network comes out as it went in.
        trace: A file for the whole course of the steps, to be opened in https://ui.perfetto.dev
            or chrome://tracing; it ends in .json or .json.gz.
    """
    on_gpu = subject.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with restore_after(subject.network):
        bare = Bare(subject)
        bare.step(bare.batch())
        with _quiet(), profile(activities=activities) as profiler:
            for _ in range(STEPS):
                with record_function("wait"):
                    batch = bare.batch()
                bare.step(batch, record_function)
            bare.wait()
    if trace is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "trace.json.gz" if str(trace).endswith(".gz") else "trace.json")
            profiler.export_chrome_trace(str(path))
            write_file(trace, path.read_bytes(), what="the trace")
    rows = [
        (row.key, row.count, row.self_device_time_total if on_gpu else row.self_cpu_time_total)
        for row in profiler.key_averages()
        if "::" in row.key or on_gpu
    ]
    whole = sum(spent for _, _, spent in rows) or 1
    worst = sorted(rows, key=lambda row: -row[2])[:WORST]
    return tuple(
        Operator(name, count / STEPS, spent / 1e6 / STEPS, spent / whole)
        for name, count, spent in worst
    )


class _quiet:
    """The profiler writes its start and stop past Python to stderr; nobody asked for that."""

    def __enter__(self) -> None:
        sys.stderr.flush()
        self.kept = os.dup(2)
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)

    def __exit__(self, *_: object) -> None:
        os.dup2(self.kept, 2)
        os.close(self.kept)
