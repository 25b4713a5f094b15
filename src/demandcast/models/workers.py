"""Worker processes of a network with `devices` above 1: they fit with it, or forecast for it.

python -m demandcast.models.workers fit FOLDER RANK COUNT PORT
python -m demandcast.models.workers forecast FOLDER RANK

The folder holds the panel as a store, and as JSON the class of the forecaster and its task.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from demandcast.errors import ConfigError
from demandcast.models.config import N
from demandcast.models.rows import Rows
from demandcast.panel.panel import Panel
from demandcast.saved import read_saved
from demandcast.train.checkpoint import read_tensors, write_tensors
from demandcast.train.device import resolve_device
from demandcast.train.group import Group, join_group, launch_group, process_group, run_beside
from demandcast.train.watch import Watch
from demandcast.typed import build

if TYPE_CHECKING:
    from demandcast.models.base import NeuralForecaster

TASK, PANEL, MODEL = "task.json", "panel", "model"


@contextmanager
def fit_group(model: NeuralForecaster[N], panel: Panel, watch: Watch) -> Iterator[Group]:
    """Start the workers that fit the same forecaster to the same panel, where `devices` asks for them.

    Yields the group of processes that train together: this one alone, those that torchrun started, or
    those started here.
    """
    group, count = process_group(model.config.devices), model.config.devices
    if group.size > 1 or count == 1:
        yield group
        return
    device = resolve_device(model.config.device)
    place = None if watch.checkpoint is None else str(watch.checkpoint.resolve())
    task = {"hyper": model.hyperparameters(), "device": device}
    with (
        _task(model, panel, **task, fit={"checkpoint": place, "resume": watch.resume}) as folder,
        launch_group(count, [*_program("fit"), str(folder)], device) as group,
    ):
        yield group


def shared_forecast(
    model: NeuralForecaster[N], panel: Panel, batches: Sequence[slice], asked: Rows
) -> list[dict[str, Tensor]]:
    """Share the batches of `model.forecast_rows` among processes; return what each forecast, in order."""
    count = model.config.devices
    edges = [len(batches) * rank // count for rank in range(count + 1)]
    rows = [[batch.start, batch.stop] for batch in batches]
    with _task(model, panel, asked=asdict(asked), rows=rows, edges=edges) as folder:
        model.save(folder / MODEL)
        programs = [[*_program("forecast"), str(folder), str(rank)] for rank in range(1, count)]
        with run_beside(programs):
            first_share = model.forecast_rows(panel, batches[: edges[1]], asked)
        paths = [folder / f"{rank}.safetensors" for rank in range(1, count)]
        return [first_share, *(read_tensors(path)[0] for path in paths)]


@contextmanager
def _task(model: NeuralForecaster[N], panel: Panel, **task: object) -> Iterator[Path]:
    kind = type(model)
    if kind.__module__ == "__main__":
        raise ConfigError(
            f"{kind.__name__} is written in the program that runs, where other processes do not find "
            "it; move it to a module of its own to use devices above 1, or start with torchrun",
            option="devices",
            found=kind.__name__,
            expected="a class in a module",
        )
    with tempfile.TemporaryDirectory(prefix="demandcast-") as name:
        folder = Path(name)
        panel.to_store(folder / PANEL)
        task |= {"module": kind.__module__, "class": kind.__qualname__}
        (folder / TASK).write_text(json.dumps(task))
        yield folder


def _program(what: str) -> list[str]:
    return [sys.executable, "-m", "demandcast.models.workers", what]


def main(what: str, name: str, *words: str) -> None:
    """Run the task that a folder describes, as a worker process."""
    folder, rank = Path(name), int(words[0])
    task = json.loads((folder / TASK).read_text())
    kind = getattr(import_module(task["module"]), task["class"])
    panel = Panel.from_store(folder / PANEL, check=False)
    if what == "fit":
        join_group(rank, int(words[1]), int(words[2]), task["device"])
        hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in task["hyper"].items()}
        kind(**hyper).fit(panel, progress=False, **task["fit"])
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    first, stop = task["edges"][rank : rank + 2]
    batches = [slice(*rows) for rows in task["rows"][first:stop]]
    model = kind.restore(read_saved(folder / MODEL))
    asked = build(Rows, task["asked"], "asked")
    write_tensors(folder / f"{rank}.safetensors", model.forecast_rows(panel, batches, asked), {})


if __name__ == "__main__":
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends it to all; the first process ends the others
    main(*sys.argv[1:])
