"""A fork of a process that has worked says so where it would hang; other ways to make processes work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demandcast.frames.examples import retail

PROGRAM = """
import os
import torch
import demandcast as dc
from demandcast.train import fit

def work(name, doors):
    for door in doors:
        try:
            if door == "read":
                dc.read_panel("sales.csv", key="item")
            elif door == "load":
                dc.load("run")
            elif door == "predict":
                model.predict(panel)
            else:
                net = torch.nn.Linear(1, 1)
                data = torch.utils.data.TensorDataset(torch.ones(4, 1), torch.ones(4, 1))
                fit(net, data, torch.nn.functional.mse_loss, max_steps=2, progress=False)
            print(name, door, "done", flush=True)
        except dc.errors.WorkerError as error:
            assert 'multiprocessing.get_context("spawn")' in str(error), error
            print(name, door, "refused", flush=True)

def forked(name, doors):
    child = os.fork()
    if not child:
        work(name, doors)
        os._exit(0)
    os.waitpid(child, 0)

forked("early", ["read", "train"])
panel = dc.read_panel("sales.csv", key="item")
model = dc.models.NLinear(horizon=7, max_steps=2).fit(panel, progress=False)
model.save("run")
forked("late", ["read", "load", "predict", "train"])
work("parent", ["read", "load", "predict"])
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="only Linux tells its threads")
def test_a_fork_is_refused_where_it_would_hang(tmp_path: Path) -> None:
    retail(3, 60, seed=0).frame.write_csv(tmp_path / "sales.csv")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "early read done",
        "early train done",
        "late read refused",
        "late load refused",
        "late predict refused",
        "late train refused",
        "parent read done",
        "parent load done",
        "parent predict done",
    ]
