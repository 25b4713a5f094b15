"""Score weights of the zero-shot network on the twelve public tasks, and fracast where it is installed.

python benchmarks/pretrain/evaluate.py --data ../shared/data --weights pretrained/checkpoint.safetensors
python benchmarks/pretrain/evaluate.py --data ../shared/data --last --blind --peer-python ../fc/bin/python

Recipes are chosen on the horizon before the one that benchmarks/accuracy/run.py scores; `--last` takes run.py's
own cutoffs. At most `--most` series of each task are read, always the same ones. For each forecast: wQL of nine
deciles, its ratio to the seasonal naive forecast's, and the share of values within the 80, 90, 95 and 99 %
intervals (`within_`). For ours also the share of values up to the quantiles at 90, 95 and 99 % (`reach_`) and within
those intervals (`lot_`) with ties broken at random: the ends of an interval of counts are values that occur, so
`within_` is above the level even for a calibrated forecast (`demandcast.evaluate.count_metrics.randomised_pit`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "accuracy"))
from script import DECILES, arguments, parse, publish
from tasks import TASKS, Task

from demandcast import registry
from demandcast.evaluate.count_metrics import randomised_pit
from demandcast.models.zero_shot import ZeroShot
from demandcast.panel.panel import Panel
from demandcast.pretrained.weights import read_network
from demandcast.pretrained.zero_shot_network import Shape, ZeroShotNetwork
from demandcast.train.checkpoint import read_tensors

PUBLIC = (
    "walmart_weekly", "rossmann_top100", "stallion_monthly", "carparts_monthly", "auto_parts_monthly",
    "m5_daily_3000", "tourism_monthly", "m3_monthly", "m4_weekly", "m4_hourly", "electricity_10clients_2014",
    "gefcom2012_load",
)  # fmt: skip
EDGES = ((0.1, 0.9), (0.05, 0.95), (0.025, 0.975), (0.005, 0.995))
LEVELS = tuple(sorted({*DECILES, *(level for pair in EDGES for level in pair)}))
FINE = tuple((i + 0.5) / 200 for i in range(200))  # what a distribution is read from
HELD = (80, 90, 95, 99)  # percent of values within EDGES
REACHED = (0.9, 0.95, 0.99)
LONGEST = 2048  # steps that fracast reads
FEWEST = 8  # values that it wants
PEER = """
import sys
import numpy as np, torch
from fracast import FracastModel
torch.set_num_threads(1)
rows = np.load(sys.argv[1])
model = FracastModel.from_pretrained(weights="fp32")
found = [model.forecast_batch(rows[i : i + 64], horizon=int(sys.argv[3])) for i in range(0, len(rows), 64)]
np.save(sys.argv[2], np.concatenate(found))
"""


def weights(file: Path) -> ZeroShotNetwork:
    """A network from its weights, or from a checkpoint of its training: the running average there."""
    tensors, _ = read_tensors(file)
    if "averaged.0" not in tensors:
        return read_network(file)
    network = ZeroShotNetwork(Shape(**json.loads((file.parent / "shape.json").read_text())))
    with torch.no_grad():
        for i, parameter in enumerate(network.parameters()):
            parameter.copy_(tensors[f"averaged.{i}"])
    return network.eval()


class Naive:
    name = "seasonal_naive"

    def __call__(self, known: Panel, horizon: int) -> np.ndarray:
        model = registry.create(self.name, horizon=horizon)
        return model.fit(known).predict(known, levels=LEVELS).quantiles


class Ours:
    def __init__(self, file: str, *, blind: bool) -> None:
        self.name = f"{file}, blind" if blind else file
        self.blind = blind  # whether covariates are kept from it
        self.fine = np.empty(0)  # quantiles of the last forecast at FINE
        self.network = None if file == "shipped" else weights(Path(file))

    def __call__(self, known: Panel, horizon: int) -> np.ndarray:
        if self.blind:
            known = replace(known, known=known.known[:, :0], known_names=())
        model = ZeroShot(horizon=horizon).fit(known)
        if self.network is not None:
            model.pretrained = self.network
        levels = sorted({*LEVELS, *FINE})
        q = model.predict(known, levels=levels).quantiles
        self.fine = q[..., [levels.index(level) for level in FINE]]
        return q[..., [levels.index(level) for level in LEVELS]]


class Fracast:
    """The peer, run by a Python of its own. It gives deciles only, and refuses fewer than 8 values: naive there."""

    name = "fracast"

    def __init__(self, python: str) -> None:
        self.python = python

    def __call__(self, known: Panel, horizon: int) -> np.ndarray:
        q = np.full((known.n_series, horizon, len(LEVELS)), np.nan, np.float32)
        at = [LEVELS.index(level) for level in DECILES]
        q[..., at] = Naive()(known, horizon)[..., at]
        rows = known.padded_history(min(LONGEST, int(known.lengths.max())))
        enough = (~np.isnan(rows)).sum(1) >= FEWEST
        if enough.any():
            with tempfile.TemporaryDirectory() as folder:
                source, out = Path(folder) / "in.npy", Path(folder) / "out.npy"
                np.save(source, rows[enough])
                words = [self.python, "-c", PEER, str(source), str(out), str(horizon)]
                subprocess.run(words, check=True)
                found = np.sort(np.load(out), -1)
            part = q[enough]
            part[..., at] = found
            q[enough] = part
        return np.maximum(q, known.floors()[:, None, None])


def sums(q: np.ndarray, known: Panel, horizon: int) -> np.ndarray:
    """Twice the pinball losses of the deciles, absolute values, steps, and steps within each interval."""
    y = known.future_target(horizon)
    seen = ~np.isnan(y)
    levels = np.asarray(DECILES)
    e = np.nan_to_num(y)[..., None] - q[..., [LEVELS.index(level) for level in DECILES]]
    loss = 2 * np.maximum(levels * e, (levels - 1) * e).mean(-1)
    within = [
        ((y >= q[..., LEVELS.index(low)]) & (y <= q[..., LEVELS.index(high)]) & seen).sum()
        if not np.isnan(q[..., LEVELS.index(low)]).any()
        else np.nan
        for low, high in EDGES
    ]
    return np.array([loss[seen].sum(), np.abs(y[seen]).sum(), seen.sum(), *within], np.float64)


def lots(fine: np.ndarray, known: Panel, horizon: int) -> np.ndarray:
    """Count the steps up to each of REACHED and within each interval, ties broken at random."""
    pit = randomised_pit(known.future_target(horizon), fine.transpose(0, 2, 1))
    within = [((pit > low) & (pit <= high)).sum() for low, high in EDGES]
    return np.array([*[(pit <= level).sum() for level in REACHED], *within], np.float64)


def cuts(task: Task, *, last: bool) -> list[int]:
    """Steps that are held out of each fold."""
    if last:
        return [task.horizon * k for k in range(1, task.folds + 1)]
    if task.folds == 1:
        return [2 * task.horizon]
    return [task.horizon * (task.folds + 3 * k) for k in range(1, 6)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tasks", default=",".join(PUBLIC))
    parser.add_argument("--weights", nargs="*", default=["shipped"], help="files, or shipped")
    parser.add_argument("--last", action="store_true", help="as benchmarks/accuracy/run.py does")
    parser.add_argument("--blind", action="store_true", help="also without covariates")
    parser.add_argument("--most", type=int, default=400, help="series of a task")
    parser.add_argument("--peer-python", help="a Python that has fracast")
    given = parse(parser)
    models = [Naive(), *([Fracast(given.peer_python)] if given.peer_python else [])]
    for file in given.weights:
        models += [Ours(file, blind=blind) for blind in ([False, True] if given.blind else [False])]
    rows: list[dict[str, Any]] = []
    for name in given.tasks.split(","):
        panel = TASKS[name].load(given.data)
        if panel.n_series > given.most:
            rng = np.random.default_rng(1)
            panel = panel.select(np.sort(rng.choice(panel.n_series, given.most, replace=False)))
        total = np.zeros((len(models), 3 + len(EDGES)))
        even = np.zeros((len(models), len(REACHED) + len(EDGES)))
        for cut in cuts(TASKS[name], last=given.last):
            known = panel.drop_last(cut)
            for i, model in enumerate(models):
                total[i] += sums(model(known, TASKS[name].horizon), known, TASKS[name].horizon)
                if isinstance(model, Ours):
                    even[i] += lots(model.fine, known, TASKS[name].horizon)
        wql, within = total[:, 0] / total[:, 1], total[:, 3:] / total[:, 2:3]
        reached = even / total[:, 2:3]  # the share up to each of REACHED, and within each interval
        for i, model in enumerate(models):
            row = {
                "task": name,
                "model": model.name,
                "wql": wql[i],
                "vs_seasonal_naive": wql[i] / wql[0],
            }
            row |= {f"within_{held}": share for held, share in zip(HELD, within[i], strict=True)}
            shares = reached[i] if reached[i].any() else [None] * reached.shape[1]
            labels = [*(f"reach_{held}" for held in HELD[1:]), *(f"lot_{held}" for held in HELD)]
            rows.append(row | dict(zip(labels, shares, strict=True)))
            print(rows[-1], file=sys.stderr, flush=True)
    frame = pl.DataFrame(rows, infer_schema_length=None)
    ratio = pl.col("vs_seasonal_naive").log().mean().exp()
    means = frame.group_by("model", maintain_order=True).agg(geometric_mean=ratio)
    publish(given, frame, means)


if __name__ == "__main__":
    main()
