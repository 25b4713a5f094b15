"""Train the pretrained network further on a panel; keep the result only if it forecasts better."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from demandcast.layers.generators import draws_of, generator
from demandcast.panel.panel import Panel
from demandcast.pretrained.inputs import Histories, histories
from demandcast.pretrained.zero_shot_network import ZeroShotNetwork
from demandcast.train.budget import Budget
from demandcast.train.gradients import Objective
from demandcast.train.loaders import ResidentLoader
from demandcast.train.loop import train
from demandcast.train.training import Training, TrainingLog
from demandcast.train.watch import Watch
from demandcast.windows.sampler import WindowSampler

Expand = Callable[[Histories], Histories]


def fine_tune(
    network: ZeroShotNetwork,
    panel: Panel,
    budget: Budget,
    *,
    context: int,
    horizon: int,
    asked: Training,
    progress: bool,
    expand: Expand | None = None,
) -> tuple[ZeroShotNetwork, TrainingLog]:
    """Train a network further; return it with its log, or the network as it was if that forecasts no worse.

    The last horizon is held out. `ZeroShot.fine_tune` says what the arguments are.
    """
    tuned = deepcopy(network)
    sampler = WindowSampler(panel, horizon=horizon, held_out=horizon, rho=0.5)
    validation_loss = held_out_loss(panel, context, horizon, expand=expand)
    before = validation_loss(tuned)
    loader: ResidentLoader[Histories] = ResidentLoader(
        Windows(panel, context, horizon, expand),
        lambda _, g: sampler.draw(asked.batch, g),
        torch.device("cpu"),
    )

    def loss(batch: Histories) -> Tensor:
        random = generator(torch.device("cpu"))
        ahead = torch.randperm(horizon, generator=random)[:16].sort().values + 1
        return tuned.loss(batch, ahead)

    steps = budget.steps
    if steps is None:
        g = torch.Generator().manual_seed(asked.seed)
        with draws_of(g):
            for _ in range(3):
                began = budget.spent
                loss(loader.batch(sampler.draw(asked.batch, g))).backward()  # type: ignore[no-untyped-call]
        tuned.zero_grad()
        steps = max(20, int(0.8 * budget.left / (budget.spent - began)))
    training = replace(
        asked,
        max_steps=steps,
        clip=1.0,
        average=0.98,
        validate_every=max(10, steps // 8),
        patience=4,
    )
    objective = Objective(network=tuned, loss_of=loss, validate=lambda: validation_loss(tuned))
    log = train(objective, loader, training, watch=Watch(progress=progress, label="zero_shot"))
    better = min((score for _, score in log.validation), default=np.inf) < before
    return (tuned.eval() if better else network), log


def held_out_loss(
    panel: Panel, context: int, horizon: int, *, expand: Expand | None = None
) -> Callable[[ZeroShotNetwork], float]:
    """Return a function for the loss of a network on the last horizon, weighted as wQL; at most 512 series.

    `expand` adds to the input, such as `demandcast.pretrained.neighbours.with_neighbours`.
    """
    rows = np.flatnonzero(panel.lengths > horizon)
    rows = rows[:: max(1, len(rows) // 512)]
    ends = panel.lengths[rows]
    batch = histories(panel, rows, ends - horizon, ends, context, horizon)
    batch = batch if expand is None else expand(batch)
    ahead = torch.arange(1, horizon + 1)
    target = batch.future
    observed = ~target.isnan()

    def loss_of(network: ZeroShotNetwork) -> float:
        total = 0.0
        network.eval()
        with torch.no_grad():
            for part in torch.split(torch.arange(len(batch)), 64):
                part_batch = batch.part(part)
                e = (
                    torch.where(observed[part], part_batch.future, 0.0)[..., None]
                    - network(part_batch, ahead)[0]
                )
                loss = torch.maximum(network.levels * e, (network.levels - 1) * e).mean(-1)
                total += float((loss * observed[part]).sum())
        return total / max(float(target.nan_to_num().abs().sum()), 1e-9)

    return loss_of


class Windows(Dataset[Histories]):
    """A panel as the data of a training: indices are (series, cutoffs, limits)."""

    def __init__(
        self, panel: Panel, context: int, horizon: int, expand: Expand | None = None
    ) -> None:
        self.panel, self.context, self.horizon, self.expand = panel, context, horizon, expand

    def __getitems__(self, drawn: tuple[Tensor, Tensor, Tensor]) -> Histories:
        series, cutoffs, limits = (part.numpy() for part in drawn)
        batch = histories(self.panel, series, cutoffs, limits, self.context, self.horizon)
        return batch if self.expand is None else self.expand(batch)
