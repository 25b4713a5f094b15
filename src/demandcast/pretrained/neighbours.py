"""Covariates of the steps before and after a step, added as inputs where that lowers the loss on held-out windows.

A shop sells more on the day before it closes, and a promotion takes demand from the weeks around it. The network reads
each step's own covariates; those of its neighbours are covariates like any others, and need no new weights.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import pad

from demandcast.draws.arrays import Draws
from demandcast.panel.panel import Panel
from demandcast.pretrained.fine_tune import held_out_loss
from demandcast.pretrained.inputs import Histories
from demandcast.pretrained.zero_shot_network import ZeroShotNetwork

SERIES = 200  # that the choice is made on, at most
WINDOWS = 2  # held out for it, one horizon each
MARGIN = 0.02  # of the loss that neighbours must save


def with_neighbours(h: Histories) -> Histories:
    """Add the covariates of the step before and of the step after, (batch, context + horizon, 3 covariates).

    NaN at both ends: nothing is known of the step after the last.
    """
    before = pad(h.known[:, :-1], (0, 0, 1, 0), value=float("nan"))
    after = pad(h.known[:, 1:], (0, 0, 0, 1), value=float("nan"))
    return replace(h, known=torch.cat([h.known, before, after], -1))


def neighbours_help(
    network: ZeroShotNetwork, panel: Panel, *, context: int, horizon: int, seed: int
) -> bool:
    """Return whether neighbours save `MARGIN` of the loss on the last two horizons of a panel.

    False without covariates, and where no history is long enough to hold out both horizons and keep as much.

    Args:
        network: What forecasts.
        panel: Whose last horizons are held out; of at most `SERIES` series, drawn by their keys.
        context: Steps read at most.
        horizon: Steps of a window.
        seed: Of the draw.
    """
    panel = panel.select(panel.lengths >= (WINDOWS + 1) * horizon + 1)
    if not panel.known.shape[1] or not panel.n_series:
        return False
    panel = panel.select(Draws.of(panel.keys, seed).at("scored").order()[:SERIES])
    plain_loss = neighbour_loss = 0.0
    for back in range(WINDOWS):
        window = panel.drop_last(back * horizon)
        plain_loss += held_out_loss(window, context, horizon)(network)
        neighbour_loss += held_out_loss(window, context, horizon, expand=with_neighbours)(network)
    return neighbour_loss < (1 - MARGIN) * plain_loss
