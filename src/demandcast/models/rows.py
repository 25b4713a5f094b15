"""Forecast rows of a panel with a network, some series at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from demandcast.draws.tensors import TensorDraws
from demandcast.forecast.draft import Draft
from demandcast.forecast.forecast import Events
from demandcast.forecast.levels import MEAN_LEVELS, mean_after_clipping
from demandcast.models.config import N
from demandcast.models.network import Network
from demandcast.progress import Bar
from demandcast.train.allocator import keep_heap
from demandcast.windows.window_source import WindowSource


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What is asked of the forecasts of some series.

    Attributes:
        levels: Quantile levels.
        paths: Sample paths that are drawn.
        keep: Whether the paths are returned.
    """

    levels: tuple[float, ...]
    paths: int
    keep: bool


def batches_of(total: int, batch: int) -> list[slice]:
    """Split a number of series into batches."""
    return [slice(start, min(start + batch, total)) for start in range(0, total, batch)]


def forecast_rows(
    network: Network[N],
    source: WindowSource,
    batches: Sequence[slice],
    asked: Rows,
    *,
    seed: int,
    bar: str | None,
) -> dict[str, Tensor]:
    """Forecast series batch by batch; a series gets the same paths in any batch.

    Args:
        network: Fitted.
        source: Windows of the panel that is forecast.
        batches: Series that are forecast at once.
        asked: Levels and paths.
        seed: Of the paths.
        bar: Title of a progress bar on stderr; None shows none.

    Returns:
        `quantiles` (series, horizon, levels), `mean` (series, horizon); `samples`, `chances` and
        `thresholds` where there are any.
    """
    keep_heap()
    panel = source.panel
    forecast: dict[str, Tensor] = {}
    total, n_done = sum(rows.stop - rows.start for rows in batches), 0
    draws = TensorDraws.of(panel.keys, seed, source.to)
    levels = torch.tensor((*asked.levels, *MEAN_LEVELS), device=source.to)
    floors = panel.floors()[:, None]
    with Bar(batches, desc=bar, disable=bar is None, leave=False) as progress:
        for rows in progress:
            series = torch.arange(rows.start, rows.stop, device=source.device)
            with torch.inference_mode():
                window = source.latest(series)
                q, m, s = network.predict(window, levels, asked.paths, draws.select(rows))
                events = network.events(window)
            if network.mean_of_paths and s is not None:
                clipped = np.maximum(s.cpu().numpy(), floors[rows][:, None])
                mean = clipped.mean(1, dtype=np.float64)
            else:
                nodes = q[..., len(asked.levels) :].cpu().numpy()
                mean = mean_after_clipping(m.cpu().numpy(), nodes, floors[rows])
            values = {
                "quantiles": q[..., : len(asked.levels)],
                "mean": torch.from_numpy(mean).float(),
            }
            if asked.keep and s is not None:
                values["samples"] = s
            if events is not None:
                values["chances"], values["thresholds"] = events
            unknown = ~window.answerable.cpu()
            for name, value in values.items():
                if name not in forecast:
                    forecast[name] = torch.empty(total, *value.shape[1:])
                part = forecast[name][n_done : n_done + len(value)]
                part.copy_(value)
                if name not in ("chances", "thresholds"):  # 0 where nothing tells the scale
                    part[unknown] = 0.0
            n_done += len(series)
    return forecast


def draft_of(shares: list[dict[str, Tensor]]) -> Draft:
    """Join the forecasts of all series, some of them from each process."""
    forecast = {name: _concatenate([share[name] for share in shares]) for name in shares[0]}
    events = None
    if "chances" in forecast:
        chances, thresholds = forecast["chances"], forecast["thresholds"]
        events = Events(
            p_high=chances[..., 0],
            above=thresholds[:, 0],
            p_low=chances[..., 1],
            below=thresholds[:, 1],
        )
    return Draft(forecast["quantiles"], forecast["mean"], forecast.get("samples"), events)


def _concatenate(shares: list[Tensor]) -> NDArray[np.float32]:
    return np.asarray(shares[0] if len(shares) == 1 else torch.cat(shares))
