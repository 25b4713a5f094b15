"""Run a training: choose the settings that are "auto", load batches, train, and diagnose."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch.utils.data import Dataset

from demandcast.errors import CheckpointError
from demandcast.train.batches import B
from demandcast.train.doctor.bare_loop import Subject, limit_threads
from demandcast.train.doctor.diagnosis import Diagnosis
from demandcast.train.doctor.doctor import print_diagnosis
from demandcast.train.doctor.trials import (
    AUTO,
    RESIZED,
    choose_by_trial,
    open_settings,
    require_bf16,
    resize_batch,
    tune_workers,
    without_auto,
)
from demandcast.train.gradients import Objective
from demandcast.train.group import ALONE, Group
from demandcast.train.loaders import Draw, Loader, StreamingLoader
from demandcast.train.loop import train
from demandcast.train.state import checkpoint_settings
from demandcast.train.training import Training, TrainingLog
from demandcast.train.watch import Watch

MOST_THREADS = 4096  # of torch; more end the process
LONG = 200_000  # samples of a run that is worth seconds of trials with workers

Settings = TypeVar("Settings", bound=Training)


@dataclass(frozen=True, kw_only=True)
class Job(Generic[Settings, B]):
    """A training to run.

    Attributes:
        objective: The network, on its device, and the loss that it learns by.
        asked: Settings as the user gave them; those that are "auto" are chosen by trial.
        planned: The same settings, with what the data decided.
        count: Samples to learn from.
        sample: Return a batch of a given size on the device, for trials.
        draw: Return the function that draws the samples of each step.
        load: Return the loader of the samples that are drawn.
        dataset: The map-style data, if the doctor may fetch its items one by one.
        data_bytes: Bytes of the data on the device; None where it cannot lie there.
        note: Which loader was chosen, and why.
    """

    objective: Objective[B]
    asked: Settings
    planned: Settings
    count: int
    sample: Callable[[int, torch.Generator], B]
    draw: Callable[[Settings], Draw]
    load: Callable[[Settings, Draw], Loader[B]]
    dataset: Dataset[object] | None = None
    data_bytes: int | None = None
    note: str

    def subject(
        self, settings: Training, loader: Loader[B] | None = None, name: str = ""
    ) -> Subject[B]:
        """Return what trials beside the run measure."""
        subject = Subject(
            network=self.objective.network,
            loss_of=self.objective.loss_of,
            draw=self.sample,
            batch=settings.batch,
            clip=settings.clip,
            seed=settings.seed,
            precision=settings.precision,
            windows=self.count,
        )
        if loader is None:
            return subject
        return replace(
            subject, name=name, loader=loader.name, workers=loader.workers, pinned=loader.pinned,
            dataset=self.dataset, data_bytes=self.data_bytes,
        )  # fmt: skip


def run(
    job: Job[Settings, B], watch: Watch, group: Group = ALONE
) -> tuple[Settings, TrainingLog, Diagnosis | None]:
    """Train the network of a job in place.

    Returns:
        The settings that were used, what happened, and the diagnosis if `watch` asks for one.

    Raises:
        ConfigError: The network does not train with these settings on its device.
        CheckpointError: `watch` resumes a checkpoint of other settings.
    """
    settings, chosen = choose_settings(job, watch.resume_from, group)
    loader = job.load(settings, group.share(job.draw(settings)))
    loader, more = choose_workers(job, settings, loader)
    settings = replace(settings, workers=loader.workers)
    doctor = watch.doctor
    start = partial(
        train, job.objective, loader, settings, watch=watch, per_epoch=settings.per_epoch(job.count),
        notes=[job.note, *chosen, *more], free_threads=job.asked.threads == AUTO, group=group,
    )  # fmt: skip
    if doctor is None:
        return settings, start(), None
    monitor = doctor.monitor(loader.device, settings.max_steps, settings.fixed_threads)
    with monitor.recording():
        log = start(clock=monitor.clock)
    subject = job.subject(settings, loader, watch.label)
    diagnosis = doctor.examine(monitor, subject, log.notes)
    if watch.progress:
        print_diagnosis(diagnosis)
    return settings, log, diagnosis


def choose_settings(
    job: Job[Settings, B], resumed: Path | None = None, group: Group = ALONE
) -> tuple[Settings, list[str]]:
    """Choose every setting that is "auto" by trial, and say why.

    Args:
        job: The training; its network comes out as it went in.
        resumed: Folder of the run to go on with, whose choices are taken again.
        group: Processes that train together; the first of them tries and chooses.

    Raises:
        ConfigError: The network does not train in the precision asked for on its device.
    """
    names = open_settings(job.asked)
    settings = without_auto(job.planned).with_max_steps(job.count)
    subject = job.subject(settings)
    if settings.precision == "bf16":
        require_bf16(subject)
    if not names:
        return settings, []
    if group.rank:
        choices: dict[str, object] = group.broadcast(None)
        return settings.with_values(choices), []
    saved_settings = None if resumed is None else checkpoint_settings(resumed, type(settings))
    if saved_settings is not None:
        largest = max(settings.batch, job.count)
        too_many = (saved_settings.fixed_threads or 0) > MOST_THREADS
        if open_settings(saved_settings) or saved_settings.batch > largest or too_many:
            raise CheckpointError(
                f"the checkpoint in {resumed} was edited: batch_size={saved_settings.batch_size!r}, threads="
                f"{saved_settings.threads!r} and precision={saved_settings.precision!r} cannot have been chosen for {job.count:,} "
                "samples; take another folder"
            )
        if saved_settings.precision == "bf16":  # chosen on a machine where it ran
            require_bf16(subject)
        if "batch_size" in names:
            settings = resize_batch(settings, saved_settings.batch)
        settings = settings.with_values({name: getattr(saved_settings, name) for name in names})
        settings = settings.with_max_steps(job.count)
        group.broadcast({name: getattr(settings, name) for name in (*names, *RESIZED)})
        return settings, []
    began = time.perf_counter()
    settings, results = choose_by_trial(subject, settings, names)
    took = f"choosing took {time.perf_counter() - began:.1f} s"
    settings = settings.with_max_steps(job.count)
    group.broadcast({name: getattr(settings, name) for name in (*names, *RESIZED)})
    return settings, [*map(str, results), took]


def choose_workers(
    job: Job[Settings, B], settings: Settings, loader: Loader[B]
) -> tuple[Loader[B], list[str]]:
    """Choose the workers of a streaming loader by trial where the run is long, and say why."""
    long = settings.max_steps * settings.batch >= LONG
    if job.asked.workers != AUTO or not isinstance(loader, StreamingLoader) or not long:
        return loader, []
    with limit_threads(settings.fixed_threads):
        result = tune_workers(loader.with_workers, job.subject(settings))
    return loader.with_workers(int(result.value or 0)), [str(result)]
