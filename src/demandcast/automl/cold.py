"""Forecast items with little or no history.

Trees that were trained for such items forecast them (see `demandcast.trees`). Without trees, they are forecast by the
values of the items that share most of their static attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from demandcast.panel.panel import Panel

Floats = NDArray[np.float32]
NEW_BELOW = 3  # observed values below which an item counts as new
ALIKE = 5  # items that a new one is likened to, at least, before an attribute counts
SEASONS = 4  # newest seasons of each


def new_items(panel: Panel, *, trained: bool) -> NDArray[np.bool_]:
    """Return which series are forecast as new, (N,): those with few values if a model is trained for that,
    else with none.

    Where no other series is there to liken them to, and no model is trained, none is.
    """
    new = panel.n_observed() < (NEW_BELOW if trained else 1)
    return np.asarray(new & (trained or not new.all()))


def without_history(panel: Panel) -> Panel:
    """Return the same series as they were before their first step, at the same cutoff."""
    return replace(
        panel,
        begins=panel.begins + panel.lengths,
        extents=panel.extents - panel.lengths,
        starts=panel.starts + panel.lengths,
        lengths=np.zeros_like(panel.lengths),
    )


def trim_empty_steps(panel: Panel) -> Panel:
    """Move never-observed steps after the other series' end from the history to the horizon.

    A new item stands in a table as rows with an empty target: they are to be forecast, not history.
    """
    none = (panel.n_observed() == 0) & (panel.lengths > 0)
    if not none.any() or none.all():
        return panel
    last = int(panel.ends()[~none].max())
    lengths = np.clip(last - panel.starts + 1, 0, panel.lengths)
    return replace(panel, lengths=np.where(none, lengths, panel.lengths))


def like_items(known: Panel, new: Panel, horizon: int, levels: Sequence[float]) -> Floats:
    """Return quantiles (n, H, Q) of similar items' values at the same place of the season.

    Like are those of `known` that share all static categories; where they are fewer than `ALIKE`, the last
    attribute is dropped, and so on until all are.
    """
    period = known.freq.period
    past = known.padded_history(SEASONS * period if period > 1 else 8).astype(np.float64)
    ends = known.ends()
    quantiles = np.zeros((new.n_series, horizon, len(levels)), np.float32)
    columns = [
        (list(known.vocabularies).index(name), [("", *known.vocabularies[name]).index(v) if v in known.vocabularies[name] else -1 for v in ("", *words)])
        for name, words in new.vocabularies.items()
        if name in known.vocabularies
    ]  # fmt: skip
    codes = np.stack(
        [np.array(place)[new.static_codes[:, k]] for k, (_, place) in enumerate(columns)], 1
    ) if columns else np.zeros((new.n_series, 0), np.int64)  # fmt: skip
    known_codes = known.static_codes[:, [j for j, _ in columns]]
    groups, which = np.unique(codes, axis=0, return_inverse=True)
    which = np.asarray(which).reshape(-1)
    for g, wanted in enumerate(groups):
        for count in range(len(wanted), -1, -1):
            like = np.flatnonzero((known_codes[:, :count] == wanted[:count]).all(1))
            if len(like) >= ALIKE or count == 0:
                break
        members = np.flatnonzero(which == g)
        place = ends[like, None] - np.arange(past.shape[1])[::-1]  # grid step of each past value
        first = new.ends()[members] + 1
        for start in np.unique(first):
            rows = members[first == start]
            for h in range(horizon):
                same = (place - (start + h)) % period == 0
                values = past[like][same & ~np.isnan(past[like])]
                if not len(values):
                    values = past[like][~np.isnan(past[like])]
                if len(values):
                    quantiles[rows, h] = np.quantile(values, levels)
    return quantiles
