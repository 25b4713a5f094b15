"""Draw joint paths with given quantiles, ordered like stretches of each series' past (Schaake shuffle)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demandcast.draws.arrays import Draws
from demandcast.forecast.levels import shuffle_paths
from demandcast.panel.panel import Panel
from demandcast.pretrained.zero_shot_network import PRETRAINED_LEVELS

KEPT = 1 << 22  # numbers of histories that paths are taken from, at once


def draw_paths(
    panel: Panel, grid: NDArray[np.float32], n: int, context: int, draws: Draws
) -> NDArray[np.float32]:
    """Draw paths that follow the quantiles of a grid, (N, n, H).

    Args:
        panel: Whose past they are ordered by.
        grid: Quantiles at `PRETRAINED_LEVELS`, (N, H, levels).
        n: Paths of each series.
        context: Steps of history read at most.
        draws: Of the N series.
    """
    horizon, period = grid.shape[1], max(1, panel.freq.period)
    drawn_paths = np.empty((panel.n_series, n, horizon), np.float32)
    count = -(-panel.n_series * n * horizon // KEPT)
    for rows in np.array_split(np.arange(panel.n_series), count):
        part_draws = draws.select(rows)
        stretches = _stretches(
            panel.select(rows), n, horizon, period, context, part_draws.at("past")
        )
        drawn_paths[rows] = shuffle_paths(
            stretches, grid[rows], PRETRAINED_LEVELS, part_draws.at("ties")
        )
    return drawn_paths


def _stretches(
    panel: Panel, n: int, horizon: int, period: int, context: int, draws: Draws
) -> NDArray[np.float32]:
    """Return stretches of the past less the mean of the season before, at the cutoff's phase where there are
    eight seasons or more, (N, n, H).
    """
    lengths = np.minimum(panel.lengths, context)
    past = panel.padded_history(max(1, int(lengths.max(initial=0))))
    past = past[:, -context:]
    middle = np.nan_to_num(np.nanmean(np.where(np.isnan(past).all(1, keepdims=True), 0, past), 1))
    past = np.where(np.isnan(past), middle[:, None], past)
    room = np.maximum(lengths - horizon - period, 0)  # starts there are
    seasons = room // period
    whole = seasons >= 8  # enough of them at the season's own phase
    pick = draws.uniform((len(past), n))
    back = np.where(
        whole[:, None],
        period * (pick * seasons[:, None]).astype(int),
        (pick * (room[:, None] + 1)).astype(int),
    )
    ahead = -(-horizon // period) * period if whole.any() else horizon
    back = np.where(whole[:, None], back + ahead, back + horizon)
    begin = past.shape[1] - np.minimum(back, past.shape[1])  # (N, n)
    index = np.minimum(begin[..., None] + np.arange(horizon), past.shape[1] - 1)
    stretch = np.take_along_axis(past[:, None], index.reshape(len(past), 1, -1), 2)
    before = np.maximum(begin[..., None] - 1 - np.arange(period), 0)
    level = np.take_along_axis(past, before.reshape(len(past), -1), 1)
    stretch = stretch.reshape(len(past), n, horizon)
    departures: NDArray[np.float32] = stretch - level.reshape(len(past), n, period).mean(
        -1, keepdims=True
    )
    return departures
