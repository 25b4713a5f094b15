"""Train any network on any map-style dataset of (inputs, target), by the loop that trains forecasters.

An *epoch* is one pass over all samples in an order of its own, shuffled by the seed, none twice; a
*batch* is what one step learns from; an *iteration* is one step. An epoch of N samples has ceil(N /
batch_size) iterations, and its last batch what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from demandcast.errors import ConfigError, DataError
from demandcast.forks import check_fork
from demandcast.layers.generators import with_generator
from demandcast.settings import as_python, check_names
from demandcast.train.batches import count_samples, keep_batch, move_batch
from demandcast.train.device import resolve_device
from demandcast.train.doctor.doctor import Doctor
from demandcast.train.doctor.trials import without_auto
from demandcast.train.gradients import Objective
from demandcast.train.group import Group, process_group
from demandcast.train.loaders import (
    Choice,
    Draw,
    Index,
    Loader,
    ResidentLoader,
    StreamingLoader,
    choose,
)
from demandcast.train.run import Job, run
from demandcast.train.training import Training, TrainingLog
from demandcast.train.watch import Watch

EPOCHS = 10  # where neither epochs nor max_steps are said

Loss = Callable[..., Tensor]  # of outputs and target
Collate = Callable[..., object]  # of a list of samples
Samples: TypeAlias = Sequence[object]  # inputs and target of a batch


def fit(
    model: nn.Module,
    dataset: Dataset[object],
    loss: Loss,
    *,
    validation: Dataset[object] | None = None,
    device: str = "auto",
    collate: Collate | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    diagnose: bool | Doctor = False,
    **hyper: object,
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
    count = _count_samples(dataset)
    if hyper.get("max_steps") is None:
        hyper = {"epochs": EPOCHS} | hyper
    asked = Training(**as_python(hyper))
    planned = without_auto(asked).with_max_steps(count)
    if "validate_every" not in hyper:
        planned = replace(planned, validate_every=planned.per_epoch(count))
    group = process_group(planned.devices)
    if group.size < planned.devices or 0 < count % planned.batch < group.size:
        raise _process_error(planned, group, count)
    place = torch.device(resolve_device(device))
    model.to(place)

    @with_generator
    def loss_of(samples: Samples) -> Tensor:
        inputs, target = samples
        return loss(model(inputs), target)

    def validate() -> float:
        assert validation is not None
        total, n_samples = 0.0, 0
        for samples in _batches_in_order(validation, planned.batch, collate):
            total += float(loss_of(move_batch(samples, place))) * count_samples(samples)
            n_samples += count_samples(samples)
        return total / n_samples

    if validation is not None:
        _count_samples(validation)
    tensors = _tensors_of(dataset, collate)
    choice = _choose_loader(dataset, tensors, planned, place)
    rows = dataset if tensors is None else Rows(tensors)
    resident = choice.loader == "resident"
    if tensors is not None and resident:
        rows = Rows([tensor.to(place) for tensor in tensors])

    def load(settings: Training, draw: Draw) -> Loader[Samples]:
        if resident:
            return ResidentLoader(rows, draw, place)
        return StreamingLoader(
            rows, draw, place, workers=choice.workers, pin_memory=settings.pin_memory,
            collate=cast(Callable[..., Samples], collate if tensors is None else keep_batch),
        )  # fmt: skip

    trial = load(planned, ShuffledEpochs(count, planned))

    def sample(size: int, generator: torch.Generator) -> Samples:
        return move_batch(trial.batch(torch.randint(count, (size,), generator=generator)), place)

    job = Job(
        objective=Objective(
            network=model, loss_of=loss_of, validate=None if validation is None else validate
        ),
        asked=asked,
        planned=planned,
        count=count,
        sample=sample,
        draw=lambda settings: ShuffledEpochs(count, settings),
        load=load,
        dataset=dataset,
        data_bytes=sum(t.nbytes for t in tensors or ()) or None,
        note=str(choice),
    )
    watch = Watch(
        progress=progress, label=type(model).__name__, unit="samples", resume=resume, diagnose=diagnose,
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )  # fmt: skip
    _, log, diagnosis = run(job, watch, group)
    log.diagnosis = diagnosis
    return log


class ShuffledEpochs:
    """The samples of every step: each epoch has all of them once, in an order of its own."""

    def __init__(self, count: int, training: Training) -> None:
        self.count, self.batch, self.seed = count, training.batch, training.seed
        self.per_epoch = -(-count // self.batch)
        self.epoch = -1

    def __call__(self, step: int, generator: torch.Generator) -> Tensor:
        """Return numbers of the samples, (batch,); by the seed and the step alone."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
            self.epoch, self.order = epoch, torch.from_numpy(order)
        return self.order[place * self.batch : (place + 1) * self.batch]


class Rows(Dataset[tuple[Tensor, ...]]):
    """A `TensorDataset` that gathers a batch in one operation, where its tensors lie."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = tuple(tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitems__(self, index: Index | list[int]) -> tuple[Tensor, ...]:
        rows = torch.as_tensor(index, device=self.tensors[0].device)
        return tuple(tensor[rows] for tensor in self.tensors)


def _choose_loader(
    dataset: Dataset[object],
    tensors: tuple[Tensor, ...] | None,
    training: Training,
    device: torch.device,
) -> Choice:
    """Choose the loader of a dataset; one whose items are made one at a time can only stream."""
    if tensors is not None:
        return choose(
            training.loader, training.workers, device,
            needed=sum(t.nbytes for t in tensors), lie=tensors[0].device,
        )  # fmt: skip
    kind = type(dataset).__name__
    if training.loader == "resident":
        raise ConfigError(
            f"loader='resident' wants a TensorDataset, but the dataset is a {kind}, "
            "whose items are made one at a time; use loader='streaming', or put its tensors in "
            "torch.utils.data.TensorDataset",
            option="loader",
            found=kind,
            expected="a TensorDataset",
        )
    choice = choose("streaming", training.workers, device, needed=0, lie=None)
    return replace(choice, why=f"{kind} makes its items one at a time")


def _tensors_of(dataset: Dataset[object], collate: Collate | None) -> tuple[Tensor, ...] | None:
    """Return the tensors that make up a dataset; None where its items are computed."""
    return dataset.tensors if type(dataset) is TensorDataset and collate is None else None


def _batches_in_order(
    dataset: Dataset[object], batch: int, collate: Collate | None
) -> DataLoader[Samples]:
    tensors = _tensors_of(dataset, collate)
    rows: Dataset[object] = dataset if tensors is None else Rows(tensors)
    return DataLoader(
        cast(Dataset[Samples], rows), batch_size=batch,
        collate_fn=collate if tensors is None else keep_batch,
    )  # fmt: skip


def _process_error(training: Training, group: Group, count: int) -> ConfigError:
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


def _count_samples(dataset: Dataset[object]) -> int:
    """Count the samples of a dataset, 1 or more."""
    if isinstance(dataset, DataLoader):
        raise DataError(
            f"the dataset is a DataLoader, and batches are made here; give what it reads: "
            f"fit(model, loader.dataset, loss, batch_size={dataset.batch_size}); shuffling is the rule, "
            "workers=... and collate=... are arguments too",
            option="dataset",
            found="DataLoader",
            expected="the data set that it reads",
        )
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"a {type(dataset).__name__} has no length, and an epoch is one pass over all samples; "
            "give a map-style dataset, with __len__ and __getitem__",
            option="dataset",
            found=type(dataset).__name__,
            expected="a map-style data set",
        )
    count = len(dataset)
    if not count:
        raise DataError(
            "the dataset holds no samples; give one or more",
            option="dataset",
            found=0,
            expected="one sample or more",
        )
    return count
