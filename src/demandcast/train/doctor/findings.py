"""Derive findings from facts: what slows a training, the remedy, and the expected gain.

A rule reads facts and returns a finding or None; no rule measures. A gain is the factor of the run's windows/s, read from
the measurements: without the waiting time, with the other number of threads, with the larger batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demandcast.train.doctor.facts import Facts

NOTABLE = 0.15  # of a step; less is not worth a change
CLEAR = 1.3  # times: a gain that a trial must show; repeated trials differ by less
TINY = 2.0  # times: what a batch four times as large must give, for it changes the learning too
BUSY = 0.25  # of the cores, by other programs
SLEEPING = (
    "set OMP_WAIT_POLICY=PASSIVE before Python starts: threads that wait then sleep, and leave their "
    "core to the one they wait for"
)


@dataclass(frozen=True)
class Finding:
    """One cause of lost time."""

    fault: str  # a short name, for programs
    seen: str  # what was measured, in words
    remedy: str  # what to change
    gain: float | None = None  # times windows/s, expected; None where it was not measured

    def __str__(self) -> str:
        gain = f": about {self.gain:.1f}x" if self.gain is not None and self.gain >= 1.05 else ""
        return f"{self.seen}: {self.remedy}{gain}"


def explain(facts: Facts) -> tuple[Finding, ...]:
    """Return every finding, the most promising first; empty if nothing is wrong."""
    findings = [finding for rule in RULES if (finding := rule(facts)) is not None]
    return tuple(sorted(findings, key=lambda f: -(f.gain or 1.0)))


def _without(facts: Facts, phase: str, left: float = 0.0) -> float:
    """Return the speed-up if a phase took only a share of its time; the bare loop is no bound here."""
    return facts.step / max(facts.step - (1 - left) * facts.phases.get(phase, 0.0), 1e-9)


def _waits(facts: Facts) -> str:
    return f"{facts.share('wait'):.0%} of the step waits for the loader"


def fetch(facts: Facts) -> Finding | None:
    """Find samples that are fetched one by one, too slowly: by computing, augmenting, or waiting."""
    if facts.loader == "resident" or facts.share("wait") < NOTABLE:
        return None
    gain = _without(facts, "wait")
    place = f" in {facts.fetch_place}" if facts.fetch_place else ""
    if facts.fetch is None:
        problem = f"{_waits(facts)}, with {_plural(facts.workers, 'worker')}"
        return Finding("slow_loader", problem, _workers(facts), gain)
    each = f"{1e3 * facts.fetch:.2g} ms a sample{place}"
    computes = (facts.fetch_cpu or 0.0) > 0.5 * facts.fetch
    if facts.data_bytes is not None and 2 * facts.data_bytes < facts.memory_free:
        room = f"the data fit in memory ({_bytes(facts.data_bytes)}), use loader='resident'"
        return Finding("fits_in_memory", f"{_waits(facts)} ({each})", room, gain)
    if not computes:
        problem = f"{_waits(facts)}, which waits for its storage ({each}, of it {_share(facts)} computing)"
        remedy = (
            "copy the data to a faster disk or to memory, or let more workers wait at once "
            f"(workers={max(4, 2 * facts.workers)}: they need no core while they wait)"
        )
        return Finding("slow_storage", problem, remedy, gain)
    if facts.fetch_random:
        problem = f"{_waits(facts)}, which augments sample by sample ({each})"
        remedy = f"augment the whole batch at once, on the device, or {_workers(facts)}"
        return Finding("augmentation", problem, remedy, gain)
    problem = f"{_waits(facts)}, which computes ({each})"
    remedy = (
        "prepare the samples once and train on a TensorDataset of them, give the dataset a batched "
        f"__getitems__, or {_workers(facts)}"
    )
    return Finding("slow_getitem", problem, remedy, gain)


def gather(facts: Facts) -> Finding | None:
    """Find windows that take long to cut from arrays at hand, beside a small network."""
    if facts.loader != "resident" or facts.share("wait") < 2 * NOTABLE:
        return None
    problem = f"{facts.share('wait'):.0%} of the step gathers windows from arrays that are at hand"
    remedy = "a shorter context, or fewer lags and covariates; else it is what this network costs"
    return Finding("gather", problem, remedy)


def _workers(facts: Facts) -> str:
    spare = max(1, facts.physical - 1)
    if facts.workers < spare:
        return f"use workers={spare}"
    return f"spread the work over more cores than these {facts.physical}"


def _share(facts: Facts) -> str:
    return f"{(facts.fetch_cpu or 0.0) / max(facts.fetch or 0.0, 1e-12):.0%}"


def copy(facts: Facts) -> Finding | None:
    """Find copies to the device that the host waits for."""
    if facts.device == "cpu" or facts.share("copy") < NOTABLE / 3:
        return None
    problem = f"{facts.share('copy'):.0%} of the step copies batches to the device"
    if facts.pinned is False:
        problem += " from memory that is not pinned"
        remedy = "pin it: pin_memory=True, here as in a DataLoader"
        return Finding("unpinned_memory", problem, remedy, _without(facts, "copy", 0.3))
    if facts.share("copy") < NOTABLE:
        return None
    if facts.data_bytes is not None and 2 * facts.data_bytes < facts.memory_free:
        remedy = "the data fit on the device, use loader='resident'"
        return Finding("copies", problem, remedy, _without(facts, "copy"))
    remedy = (
        f"more workers (workers={facts.workers + 2}), so that batches are ready to be copied ahead"
    )
    return Finding("copies", problem, remedy)


def sync(facts: Facts) -> Finding | None:
    """Find values read from the device inside the step."""
    if facts.syncs < 1:
        return None
    place = f" at {facts.sync_place}" if facts.sync_place else ""
    problem = f"the forward pass reads {_plural(round(facts.syncs), 'value')} a step{place}"
    where = "there it costs little" if facts.device == "cpu" else "the device idles meanwhile"
    return Finding(
        "item_in_step",
        problem + (" by .item(), float() or bool()"),
        f"keep it a tensor; on a GPU each read waits for all work before it ({where} on "
        f"{facts.device})",
    )


def threads(facts: Facts) -> Finding | None:
    """Find another number of threads that trains faster, by trial."""
    current_rate = facts.by_threads.get(facts.threads)
    if not current_rate:
        return None
    best = max(facts.by_threads, key=lambda n: facts.by_threads[n])
    gain = facts.by_threads[best] / current_rate
    if best == facts.threads or gain < CLEAR:
        return None
    if best > facts.threads:
        problem = f"{_plural(facts.threads, 'thread')} of {facts.physical} cores used"
        return Finding("few_threads", problem, f"use threads={best}", gain)
    problem = f"{facts.threads} threads wait for each other"
    return Finding("many_threads", problem, f"use threads={best}, or {SLEEPING}", gain)


def busy(facts: Facts) -> Finding | None:
    """Find other programs that take the cores."""
    if facts.others is None or facts.device != "cpu":
        return None
    cores = max(len(facts.cores), 1)
    if facts.others < BUSY * cores or (facts.queued is not None and facts.queued < 0.05):
        return None
    problem = f"other programs keep {facts.others:.1f} of {cores} cores busy"
    if facts.queued is not None:
        problem += f", and {facts.queued:.1f} of this run's threads stood in the queue for one"
    left = max(1, round(cores - facts.others))
    if facts.threads > left:
        remedy = f"use threads={left}, or {SLEEPING}"
        current_rate, free_rate = facts.by_threads.get(facts.threads), facts.by_threads.get(left)
        gain = (
            free_rate / current_rate
            if current_rate and free_rate and free_rate > current_rate
            else None
        )
        return Finding("busy_machine", problem, remedy, gain)
    thread_count = _plural(facts.threads, "thread")
    return Finding("busy_machine", problem, f"stop them or wait; {thread_count} is right meanwhile")


def batch(facts: Facts) -> Finding | None:
    """Find a step too small for its fixed cost."""
    current_rate = facts.by_batch.get(facts.batch)
    larger = {n: rate for n, rate in facts.by_batch.items() if n > facts.batch}
    if not current_rate or not larger:
        return None
    best = max(larger, key=lambda n: larger[n])
    gain = larger[best] / current_rate
    if gain < TINY:
        return None
    problem = f"a batch of {facts.batch} is too small to fill the {_kind(facts)}"
    remedy = (
        f"use batch_size={best}, or batch_size='auto'; fewer, larger steps want a higher "
        "learning_rate (times the root of the ratio)"
    )
    return Finding("tiny_batches", problem, remedy, gain)


def launches(facts: Facts) -> Finding | None:
    """Find a GPU that waits for the host to launch the next small kernel."""
    if facts.device == "cpu" or facts.device_busy is None or facts.device_busy > 0.5:
        return None
    if facts.share("wait") + facts.share("copy") > 0.5 or batch(facts) is not None:
        return None  # said by another rule
    problem = f"the device is busy for {facts.device_busy:.0%} of the step, waiting for launches"
    return Finding("launch_bound", problem, "use a larger batch_size, or batch_size='auto'")


def upkeep(facts: Facts) -> Finding | None:
    """Find logging, checkpoints or validation that take a good part of the run."""
    logging, validation = facts.share("logging"), facts.share("validation")
    if validation >= max(2 * NOTABLE, logging):
        problem = f"{validation:.0%} of the run is validation"
        remedy = "a larger validate_every"
        return Finding("validation", problem, remedy, _without(facts, "validation", 0.25))
    if logging >= NOTABLE:
        problem = f"{logging:.0%} of the run is logging and checkpoints"
        return Finding(
            "logging", problem, "a larger checkpoint_every", _without(facts, "logging", 0.2)
        )
    return None


def memory(facts: Facts) -> Finding | None:
    """Find memory that is nearly spent: the next larger batch would fail."""
    if not facts.memory_total or facts.memory_free > 0.05 * facts.memory_total:
        return None
    problem = f"{_bytes(facts.memory_free)} of {_bytes(facts.memory_total)} memory is free"
    return Finding("memory_full", problem, "a smaller batch_size or context, before it is refused")


RULES: tuple[Callable[[Facts], Finding | None], ...] = (
    fetch, gather, copy, sync, threads, busy, batch, launches, upkeep, memory,
)  # fmt: skip


def _kind(facts: Facts) -> str:
    return "cores" if facts.device == "cpu" else "device"


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
