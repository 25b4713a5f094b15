"""Train any network on any map-style dataset of (inputs, target), by the loop that trains forecasters.

An *epoch* is one pass over all samples in an order of its own, shuffled by the seed, none twice; a
*batch* is what one step learns from; an *iteration* is one step. An epoch of N samples has ceil(N /
batch_size) iterations, and its last batch what is left.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from demandcast.errors import ConfigError, DataError
from demandcast.forks import check_fork
from demandcast.layers.draws import supplied_where_needed
from demandcast.settings import check_names
from demandcast.train.device import usable
from demandcast.train.group import ALONE, Group, joined
from demandcast.train.loop import LossOf, Training, TrainingLog, settings_kept, train
from demandcast.train.roads import Draw, Resident, Road, Streaming, as_it_is, choose, moved, size
from demandcast.train.throughput.bare import Subject, threads_of
from demandcast.train.throughput.doctor import Doctor, say
from demandcast.train.throughput.report import Diagnosis
from demandcast.train.throughput.tune import (
    AUTO,
    RESIZED,
    left_open,
    require_bf16,
    tune,
    tune_workers,
    usual,
)

EPOCHS = 10  # where neither epochs nor max_steps are said
LONG = 200_000  # samples of a run that is worth seconds of trials with workers

Loss = Callable[[Any, Any], Tensor]
Settled = TypeVar("Settled", bound=Training)


def fit(
    model: nn.Module,
    dataset: Dataset[Any],
    loss: Loss,
    *,
    validation: Dataset[Any] | None = None,
    device: str = "auto",
    collate: Callable[[list[Any]], Any] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    diagnose: bool | Doctor = False,
    **hyper: Any,
) -> TrainingLog:
    """Train a network in place.

    Args:
        model: Maps inputs to outputs; it is moved to the device.
        dataset: Map-style: `dataset[i]` is (inputs, target), and it has a length. A `TensorDataset`
            can lie on the device as a whole; any other streams, one item at a time, or by its
            `__getitems__`, if it has one, a list of items at a time.
        loss: The mean loss of a batch from (outputs, target), a scalar.
        validation: Samples not learned from. Their mean loss is taken after every epoch (or every
            `validate_every` iterations), the best weights are kept, and training stops when `patience`
            of them brought no gain.
        device: "cpu", "cuda", "mps"; "auto" takes the best there is.
        collate: Samples -> batch, where `torch.utils.data.default_collate` will not do.
        checkpoint: A folder where the training is kept as it goes.
        resume: Go on from the checkpoint, if there is one, to the numbers of a run never cut. A dataset
            that draws random numbers itself draws others.
        progress: Show a bar, on stderr: epoch, batch, loss and samples a second.
        diagnose: Measure where the time goes, and say how it would train faster: kept as
            `log.diagnosis`, and shown on stderr with the progress.
        hyper: Any field of `Training`: epochs (10), max_steps in their place, batch_size,
            learning_rate, precision, loader, workers, pin_memory, seed ...

    Returns:
        What happened; `windows` are samples.

    Raises:
        ConfigError: A hyper-parameter is unknown or out of its range.
        DataError: The dataset is empty, or has no length.
        CheckpointError: `resume` asks for a checkpoint of other settings.

    Example:
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> line = nn.Linear(1, 1)
        >>> log = fit(line, TensorDataset(x, 3 * x + 1), nn.functional.mse_loss, epochs=50,
        ...           batch_size=16, learning_rate=0.2, progress=False)
        >>> log.steps, round(line.weight.item(), 1), round(line.bias.item(), 1)
        (200, 3.0, 1.0)
    """
    check_fork("train.fit")
    check_names("train.fit", hyper, [f.name for f in fields(Training)])
    count = _length(dataset)
    if hyper.get("max_steps") is None:
        hyper = {"epochs": EPOCHS} | hyper
    asked = Training(**hyper)
    training = usual(asked).counted(count)
    if "validate_every" not in hyper:
        training = replace(training, validate_every=training.per_epoch(count))
    group = joined(training.devices)
    if group.size < training.devices or 0 < count % training.batch < group.size:
        raise _alone(training, group, count)
    place = torch.device(usable(device))
    model.to(place)

    @supplied_where_needed
    def loss_of(samples: Any) -> Tensor:
        inputs, target = samples
        return loss(model(inputs), target)

    def validate() -> float:
        assert validation is not None
        total, seen = 0.0, 0
        for samples in _in_order(validation, training.batch, collate):
            total += float(loss_of(moved(samples, place))) * size(samples)
            seen += size(samples)
        return total / seen

    def some(size: int, generator: torch.Generator) -> Any:
        return moved(trial.batch(torch.randint(count, (size,), generator=generator)), place)

    if validation is not None:
        _length(validation)
    trial, _ = _road(dataset, Shuffled(count, training), training, place, collate)
    training, chosen = settled(
        asked, training, count, network=model, loss_of=loss_of, some=some,
        checkpoint=checkpoint if resume else None, group=group,
    )  # fmt: skip
    road, note = _road(dataset, group.share(Shuffled(count, training)), training, place, collate)
    road, more = manned(asked, training, road, network=model, loss_of=loss_of, some=some)
    log, diagnosis = examined(
        model,
        loss_of,
        road,
        training,
        diagnose=diagnose,
        some=some,
        dataset=dataset,
        data_bytes=sum(t.nbytes for t in _held(dataset, collate) or ()) or None,
        free_threads=asked.threads == AUTO,
        validate=validate if validation is not None else None,
        per_epoch=training.per_epoch(count),
        notes=[note, *chosen, *more],
        checkpoint=None if checkpoint is None else Path(checkpoint),
        resume=resume,
        progress=progress,
        label=type(model).__name__,
        unit="samples",
        group=group,
    )
    log.diagnosis = diagnosis
    return log


def examined(
    network: nn.Module,
    loss_of: LossOf,
    road: Road,
    training: Training,
    *,
    diagnose: bool | Doctor,
    some: Callable[[int, torch.Generator], Any],
    dataset: Dataset[Any] | None = None,
    data_bytes: int | None = None,
    progress: bool = True,
    label: str = "training",
    **more: Any,
) -> tuple[TrainingLog, Diagnosis | None]:
    """`train`, with a doctor beside it where `diagnose` asks for one.

    Args:
        network, loss_of, road, training, progress, label, more: As of `train`.
        diagnose: Whether to measure, or how closely.
        some: A batch of so many samples, on the device, for the doctor's trials.
        dataset: Whose items the doctor may fetch one by one.
        data_bytes: What the data would take on the device; None where it cannot lie there.
    """
    shown: dict[str, Any] = {"progress": progress, "label": label}
    doctor = Doctor.asked(diagnose)
    if doctor is None:
        return train(network, loss_of, road, training, **shown, **more), None
    threads = training.threads if isinstance(training.threads, int) else None
    watch = doctor.watch(road.device, training.max_steps, threads)
    with watch.watching():
        log = train(network, loss_of, road, training, clock=watch.clock, **shown, **more)
    subject = Subject(
        network=network, loss_of=loss_of, draw=some, batch=training.batch, clip=training.clip,
        precision=training.precision, name=label, loader=road.name, workers=road.workers, pinned=road.pinned, dataset=dataset,
        data_bytes=data_bytes, seed=training.seed,
    )  # fmt: skip
    diagnosis = doctor.examine(watch, subject, log.notes)
    if progress:
        say(diagnosis)
    return log, diagnosis


def settled(
    asked: Training,
    training: Settled,
    count: int,
    *,
    network: nn.Module,
    loss_of: LossOf,
    some: Callable[[int, torch.Generator], Any],
    checkpoint: str | Path | None = None,
    group: Group = ALONE,
) -> tuple[Settled, list[str]]:
    """The settings of a run with every "auto" chosen by trial, and why.

    Args:
        asked: As the user has them; what is "auto" there is chosen.
        training: The same with what is usual in its place, and `max_steps` counted.
        count: Samples there are to learn from.
        network, loss_of, some: As of `examined`; the network comes out as it went in.
        checkpoint: Of the run to go on with, whose choices are taken again; None for a new one.
        group: Processes that train together, of which the first tries and chooses.

    Raises:
        ConfigError: The network does not train in the precision asked for on its device.
    """
    names = left_open(asked)
    subject = Subject(
        network=network, loss_of=loss_of, draw=some, batch=training.batch, clip=training.clip,
        seed=training.seed, windows=count,
    )  # fmt: skip
    if training.precision == "bf16":
        require_bf16(subject)
    if not names:
        return training, []
    if group.rank:
        return replace(training, **group.same(None)), []
    kept = None if checkpoint is None else settings_kept(Path(checkpoint))
    if kept is not None:
        if kept["precision"] == "bf16":  # chosen on a machine where it ran
            require_bf16(subject)
        return replace(training, **group.same({k: kept[k] for k in (*names, *RESIZED)})), []
    began = time.perf_counter()
    training, chosen = tune(subject, training, names)
    took = f"choosing took {time.perf_counter() - began:.1f} s"
    training = training.counted(count)
    group.same({name: getattr(training, name) for name in (*names, *RESIZED)})
    return training, [*map(str, chosen), took]


def manned(
    asked: Training,
    training: Training,
    road: Road,
    *,
    network: nn.Module,
    loss_of: LossOf,
    some: Callable[[int, torch.Generator], Any],
) -> tuple[Road, list[str]]:
    """A streaming road with as many workers as pay, by trial where the run is long, and why."""
    long = training.max_steps * training.batch >= LONG
    if asked.workers != AUTO or not isinstance(road, Streaming) or not long:
        return road, []
    subject = Subject(
        network=network, loss_of=loss_of, draw=some, batch=training.batch, clip=training.clip,
        seed=training.seed, precision=training.precision,
    )  # fmt: skip
    with threads_of(training.threads if isinstance(training.threads, int) else None):
        found = tune_workers(road.with_workers, subject)
    return road.with_workers(found.value), [str(found)]


class Shuffled:
    """The samples of every step: each epoch has all of them once, in an order of its own."""

    def __init__(self, count: int, training: Training) -> None:
        self.count, self.batch, self.seed = count, training.batch, training.seed
        self.per_epoch = -(-count // self.batch)
        self.epoch = -1

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """Numbers of the samples, (batch,); by the seed and the step alone."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
            self.epoch, self.order = epoch, torch.from_numpy(order)
        return self.order[place * self.batch : (place + 1) * self.batch]


class Rows(Dataset[Any]):
    """A `TensorDataset` that gathers a batch in one operation, where its tensors lie."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitems__(self, index: Any) -> tuple[Tensor, ...]:
        rows = torch.as_tensor(index, device=self.tensors[0].device)
        return tuple(tensor[rows] for tensor in self.tensors)


def _road(
    dataset: Dataset[Any],
    draw: Draw,
    training: Training,
    device: torch.device,
    collate: Callable[[list[Any]], Any] | None,
) -> tuple[Road, str]:
    """The road of a dataset, and why it is that."""
    held = _held(dataset, collate)
    if held is None and training.loader == "resident":
        raise ConfigError(
            f"loader='resident' wants a TensorDataset, but the dataset is a {type(dataset).__name__}, "
            "whose items are made one at a time; use loader='streaming', or put its tensors in "
            "torch.utils.data.TensorDataset"
        )
    choice = choose(
        "streaming" if held is None else training.loader,
        training.workers,
        device,
        needed=sum(t.nbytes for t in held or ()),
        lie=held[0].device if held else None,
    )
    note = str(choice)
    if held is None:
        note = note.replace(choice.why, f"{type(dataset).__name__} makes its items one at a time")
    if held and choice.loader == "resident":
        return Resident(Rows([t.to(device) for t in held]), draw, device), note
    rows = dataset if held is None else Rows(held)
    collate = collate if held is None else as_it_is
    road = Streaming(
        rows, draw, device, workers=choice.workers, collate=collate, pin_memory=training.pin_memory
    )
    return road, note


def _held(
    dataset: Dataset[Any], collate: Callable[[list[Any]], Any] | None
) -> tuple[Tensor, ...] | None:
    """The tensors that are all there is to a dataset; None where items are made."""
    return dataset.tensors if type(dataset) is TensorDataset and collate is None else None


def _in_order(
    dataset: Dataset[Any], batch: int, collate: Callable[[list[Any]], Any] | None
) -> DataLoader[Any]:
    held = _held(dataset, collate)
    if held is not None:
        return DataLoader(Rows(held), batch_size=batch, collate_fn=as_it_is)
    return DataLoader(dataset, batch_size=batch, collate_fn=collate)


def _alone(training: Training, group: Group, count: int) -> ConfigError:
    if group.size < training.devices:
        return ConfigError(
            f"devices={training.devices} wants as many processes, and a network of your own cannot be "
            f"sent to them; start them yourself: torchrun --nproc-per-node {training.devices} program.py"
        )
    left = count % training.batch
    return ConfigError(
        f"the last batch of an epoch holds {left} of the {count} samples, fewer than the {group.size} "
        f"processes; take another batch_size than {training.batch}"
    )


def _length(dataset: Dataset[Any]) -> int:
    """Samples in a dataset, 1 or more."""
    if isinstance(dataset, DataLoader):
        raise DataError(
            f"the dataset is a DataLoader, and batches are made here; give what it reads: "
            f"fit(model, loader.dataset, loss, batch_size={dataset.batch_size}); shuffling is the rule, "
            "workers=... and collate=... are arguments too"
        )
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"a {type(dataset).__name__} has no length, and an epoch is one pass over all samples; "
            "give a map-style dataset, with __len__ and __getitem__"
        )
    count = len(dataset)
    if not count:
        raise DataError("the dataset holds no samples; give one or more")
    return count
