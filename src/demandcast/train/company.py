"""The other processes of a forecaster with `devices` above 1: what each is told, and what it does.

python -m demandcast.train.company fit FOLDER RANK COUNT PORT
python -m demandcast.train.company forecast FOLDER RANK

The folder holds the panel as a store, and as JSON the class of the forecaster and its task.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from demandcast.errors import ConfigError
from demandcast.panel.panel import Panel
from demandcast.saved import read_saved
from demandcast.train.checkpoint import read_tensors, write_tensors
from demandcast.train.group import Group, enrol, launched, started

TASK, PANEL, MODEL = "task.json", "panel", "model"


@contextmanager
def company(model: Any, panel: Panel, count: int, device: str, **fit: Any) -> Iterator[Group]:
    """A group in which every process fits a forecaster like this one to the same panel."""
    task = {"hyper": model.hyperparameters(), "device": device, "fit": fit}
    with (
        _task(model, panel, **task) as folder,
        launched(count, [*_program("fit"), str(folder)], device) as group,
    ):
        yield group


def shared_forecast(
    model: Any, panel: Panel, batches: Sequence[slice], count: int, **asked: Any
) -> list[dict[str, Tensor]]:
    """What `model.forecast_rows` gives of all batches, some of them by each process, in their order."""
    edges = [len(batches) * rank // count for rank in range(count + 1)]
    with _task(
        model, panel, asked=asked, rows=[[s.start, s.stop] for s in batches], edges=edges
    ) as folder:
        model.save(folder / MODEL)
        programs = [[*_program("forecast"), str(folder), str(rank)] for rank in range(1, count)]
        with started(programs):
            own = model.forecast_rows(panel, batches[: edges[1]], **asked)
        paths = [folder / f"{rank}.safetensors" for rank in range(1, count)]
        return [own, *(read_tensors(path)[0] for path in paths)]


@contextmanager
def _task(model: Any, panel: Panel, **task: Any) -> Iterator[Path]:
    kind = type(model)
    if kind.__module__ == "__main__":
        raise ConfigError(
            f"{kind.__name__} is written in the program that runs, where other processes do not find "
            "it; move it to a module of its own to use devices above 1, or start with torchrun"
        )
    with tempfile.TemporaryDirectory(prefix="demandcast-") as name:
        folder = Path(name)
        panel.to_store(folder / PANEL)
        task |= {"module": kind.__module__, "class": kind.__qualname__}
        (folder / TASK).write_text(json.dumps(task))
        yield folder


def _program(what: str) -> list[str]:
    return [sys.executable, "-m", "demandcast.train.company", what]


def main(what: str, name: str, *words: str) -> None:
    """Do the task of a folder."""
    folder, rank = Path(name), int(words[0])
    task = json.loads((folder / TASK).read_text())
    kind = getattr(import_module(task["module"]), task["class"])
    panel = Panel.from_store(folder / PANEL, check=False)
    if what == "fit":
        enrol(rank, int(words[1]), int(words[2]), task["device"])
        hyper = {k: tuple(v) if isinstance(v, list) else v for k, v in task["hyper"].items()}
        kind(**hyper).fit(panel, progress=False, **task["fit"])
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)
    first, stop = task["edges"][rank : rank + 2]
    batches = [slice(*rows) for rows in task["rows"][first:stop]]
    model = kind.restore(read_saved(folder / MODEL))
    write_tensors(
        folder / f"{rank}.safetensors",
        model.forecast_rows(panel, batches, **task["asked"]),
        {},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
