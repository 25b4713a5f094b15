"""Measure a training: monitor the run itself, then make a few trials after it.

Measuring is cheap by design: marks in the loop, readings of the machine before and after, and trial steps within a
budget that is a share of the run's own time.
"""

from __future__ import annotations

import cProfile
import pstats
import time
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from dataclasses import is_dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import TypedDict, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from demandcast.train.batches import B
from demandcast.train.clock import Clock
from demandcast.train.device import out_of_memory
from demandcast.train.doctor import machine
from demandcast.train.doctor.bare_loop import Bare, Subject, limit_threads, restore_after
from demandcast.train.doctor.facts import Facts

BUDGET = 0.015  # of the run's seconds, for the trials
WARM = 3  # first steps of a run that are not timed
FETCHES = 8  # samples that are fetched to see what one costs


class Fetch(TypedDict, total=False):
    """What fetching one sample costs; empty without a dataset. See `Facts`."""

    fetch: float
    fetch_cpu: float
    fetch_random: bool
    fetch_place: str


class Monitor:
    """Records one run: hand its clock to the loop, and run the loop in `recording()`."""

    def __init__(self, device: torch.device, steps: int, threads: int | None = None) -> None:
        self.device = device
        self.clock = Clock(device, skip=WARM if steps > 2 * WARM else 0)
        self.load = machine.Load()
        self.threads = threads or torch.get_num_threads()

    @contextmanager
    def recording(self) -> Iterator[None]:
        with machine.record_load(self.device) as self.load:
            yield


def measure(monitor: Monitor, subject: Subject[B], *, budget: float | None = None) -> Facts:
    """Measure the facts of a monitored run, with trials of the bare loop beside it.

    Args:
        monitor: What recorded the run.
        subject: The parts of the training; its network comes out as it went in.
        budget: Seconds for the trials; None for 1.5 % of the run.
    """
    began = time.perf_counter()
    clock, steps = monitor.clock, max(monitor.clock.steps, 1)
    run = monitor.load.seconds
    seconds = BUDGET * run if budget is None else budget
    memory = machine.memory(monitor.device)
    phases = {name: spent / steps for name, spent in clock.seconds.items() if spent}
    step = sum(phases.values())
    with restore_after(subject.network), limit_threads(monitor.threads):
        bare = Bare(subject)
        syncs = bare.syncs()
        batch = bare.batch()
        times = bare.times(batch, limit=0.4 * seconds)
        middle, ceiling = median(times), fmean(times)  # the run's own steps are averaged, too
        by_threads = {monitor.threads: subject.batch / middle}
        for count in _thread_counts(monitor):
            spent = bare.seconds(batch, limit=0.2 * seconds, threads=count, hopeless=5 * middle)
            by_threads[count] = subject.batch / spent
        by_batch = {subject.batch: subject.batch / middle}
        # a step four times as large, twice: as much as eight steps where they cost by the window
        larger = 4 * subject.batch
        if 8 * middle < seconds and larger <= bare.fits():
            try:
                spent = bare.seconds(bare.batch(larger), limit=0.2 * seconds, least=1)
                by_batch[larger] = larger / spent
            except (RuntimeError, MemoryError) as error:  # a full GPU: there is nothing to gain
                if not out_of_memory(error):
                    raise
    waits = phases.get("wait", 0.0) > 0.1 * step
    fetched = _fetch(subject.dataset, 0.1 * seconds) if waits else Fetch()
    return Facts(
        model=subject.name,
        steps=clock.steps,
        batch=subject.batch,
        phases=phases,
        cpu={name: spent / steps for name, spent in clock.cpu.items() if spent},
        ceiling=subject.batch / ceiling,
        device=monitor.device.type,
        physical=machine.physical_cores(),
        threads=monitor.threads,
        cores=monitor.load.cores,
        others=monitor.load.others,
        queued=monitor.load.queued,
        device_busy=monitor.load.device,
        memory_used=memory.used,
        memory_free=memory.free,
        memory_total=memory.total,
        loader=subject.loader,
        workers=subject.workers,
        pinned=subject.pinned,
        data_bytes=subject.data_bytes,
        syncs=syncs.count,
        sync_place=syncs.place,
        by_threads=by_threads,
        by_batch=by_batch,
        run=run,
        measuring=time.perf_counter() - began + clock.seen * _mark_cost(),
        **fetched,
    )


def _thread_counts(monitor: Monitor) -> list[int]:
    """Return other numbers of threads worth a trial: one, and one for each core that others leave.

    More would wait for cores that other programs hold, and a step of such a trial can take seconds.
    """
    if monitor.device.type != "cpu":
        return []
    left = max(1, round(machine.physical_cores() - (monitor.load.others or 0.0)))
    return sorted({1, left} - {monitor.threads})


def _mark_cost() -> float:
    """Return seconds that the marks of one step take."""
    clock, began = Clock(), time.perf_counter()
    for _ in range(20):
        clock.begin()
        for _ in range(6):
            clock.mark("rest")
    return (time.perf_counter() - began) / 20


def _fetch(dataset: Dataset[object] | None, limit: float) -> Fetch:
    """Time how long one sample takes to fetch in this process, and where; empty without a dataset."""
    size = 0 if dataset is None else len(cast(Sized, dataset))
    if dataset is None or not size:
        return {}
    places = np.linspace(0, size - 1, min(size, FETCHES + 1)).astype(int).tolist()
    first = dataset[places[0]]  # opens files, and so is not timed
    wall, cpu, queued, count = time.perf_counter(), time.thread_time(), machine.queued(), 0
    for _, index in pairwise(places):
        dataset[index]
        count += 1
        if time.perf_counter() - wall > limit and count >= 2:
            break
    cpu, queued = time.thread_time() - cpu, machine.queued() - queued
    wall = max(cpu, time.perf_counter() - wall - queued)
    if not count:
        return {}
    return {
        "fetch": wall / count,
        "fetch_cpu": cpu / count,
        "fetch_random": not _same(first, dataset[places[0]]),
        "fetch_place": _place(dataset, places[1]),
    }


def _same(one: object, other: object) -> bool:
    """Return whether two fetches of one sample are alike; NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if is_dataclass(one):
        return _same(vars(one), vars(other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (tuple, list)) and isinstance(other, (tuple, list)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _place(dataset: Dataset[object], index: int) -> str:
    """Return the Python function in which most of a fetch goes, itself and what it calls outside Python."""
    profile = cProfile.Profile()
    profile.enable()
    dataset[index]
    profile.disable()
    seconds: dict[str, float] = {}
    for (file, line, name), row in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        called, builtin = row[2], file.startswith(("~", "<"))
        if not builtin:
            where = f"{name} ({Path(file).name}:{line})"
            seconds[where] = seconds.get(where, 0.0) + called
            continue
        for (caller, at, who), part in row[4].items():  # time in C counts for who called it
            if not caller.startswith(("~", "<")):
                where = f"{who} ({Path(caller).name}:{at})"
                seconds[where] = seconds.get(where, 0.0) + part[2]
    return max(seconds, key=seconds.__getitem__) if seconds else ""
