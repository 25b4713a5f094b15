"""A run that is killed again and again ends with the numbers of one that never was."""

from __future__ import annotations

import random
import signal
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import demandcast as dc
from demandcast.frames import examples, read_panel
from demandcast.train.state import CHECKPOINT

KILLS, PATIENCE = 2, 100  # times; seconds

FORECASTER = """
from demandcast import registry
from demandcast.frames import read_panel
hyper = dict(
    horizon=7, context=14, batch_size=4, max_steps=120, checkpoint_every=10, dropout=0.2,
    validation=7, validate_every=40, hidden=8, loader=loader, workers=workers,
)
panel = read_panel(table, key="item", known=["price", "promo"]).drop_last(7)
model = registry.create(name, **hyper)
model.fit(panel, checkpoint=checkpoint, resume=True, progress=False)
model.save(end)
"""
ANY_NETWORK = """
import torch
from safetensors.torch import save_file
from torch import nn
from demandcast.train import fit

class Items(torch.utils.data.Dataset):
    def __len__(self):
        return 50

    def __getitem__(self, i):
        return torch.tensor([i / 50, 1.0]), torch.tensor([i / 25])

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))
fit(
    net, Items(), nn.functional.mse_loss, epochs=80, batch_size=16, workers=1, device="cpu",
    checkpoint=checkpoint, resume=True, checkpoint_every=9, progress=False,
)
save_file(net.state_dict(), end)
"""


def run(
    forks: ForkServerContext,
    code: str,
    checkpoint: Path,
    known: dict[str, Any],
    kill: float | None = None,
) -> int | None:
    """Run a program in a process of its own; kill it so many seconds behind its next checkpoint."""
    known = {"checkpoint": str(checkpoint), "end": str(checkpoint / "end"), **known}
    child = forks.Process(target=exec, args=(code, known))
    kept = checkpoint / CHECKPOINT
    before = kept.stat().st_mtime_ns if kept.exists() else 0
    child.start()
    until = time.monotonic() + PATIENCE
    while kill is not None and child.is_alive():
        assert time.monotonic() < until
        if kept.exists() and kept.stat().st_mtime_ns != before:
            time.sleep(kill)
            child.kill()
            break
        time.sleep(0.002)
    child.join(PATIENCE)
    return child.exitcode


def whole_and_killed(
    forks: ForkServerContext, code: str, folder: Path, known: dict[str, Any], seed: int
) -> tuple[Path, Path]:
    """Where a run ended that never died, and one that died at random moments."""
    chance = random.Random(seed)
    assert run(forks, code, folder / "whole", known) == 0
    for _ in range(KILLS):
        assert (
            run(forks, code, folder / "killed", known, chance.uniform(0, 0.05)) == -signal.SIGKILL
        )
    assert not (folder / "killed" / "end").exists()
    assert run(forks, code, folder / "killed", known) == 0
    return folder / "whole" / "end", folder / "killed" / "end"


@pytest.mark.parametrize(
    ("name", "loader", "workers"),
    [("deepar", "resident", 0), ("nhits", "streaming", 0), ("uber_lstm", "streaming", 2)],
)
def test_a_forecaster(
    name: str, loader: str, workers: int, tmp_path: Path, forks: ForkServerContext
) -> None:
    examples.retail(n_items=4, n_days=60, seed=1).frame.write_csv(tmp_path / "sales.csv")
    known = {
        "name": name,
        "loader": loader,
        "workers": workers,
        "table": str(tmp_path / "sales.csv"),
    }
    ends = whole_and_killed(forks, FORECASTER, tmp_path, known, seed=len(name))
    whole, back = (dc.load(end) for end in ends)
    weights = zip(whole.network.parameters(), back.network.parameters(), strict=True)  # type: ignore[attr-defined]
    assert all(torch.equal(one, other) for one, other in weights)
    logs = [model.log for model in (whole, back)]  # type: ignore[attr-defined]
    assert logs[0].validation == logs[1].validation
    assert logs[0].losses == logs[1].losses
    assert logs[0].windows == logs[1].windows
    panel = read_panel(tmp_path / "sales.csv", key="item", known=["price", "promo"]).drop_last(7)
    np.testing.assert_array_equal(*(model.predict(panel).mean for model in (whole, back)))


def test_any_network(tmp_path: Path, forks: ForkServerContext) -> None:
    whole, back = map(load_file, whole_and_killed(forks, ANY_NETWORK, tmp_path, {}, seed=1))
    assert all(torch.equal(whole[name], back[name]) for name in whole)
