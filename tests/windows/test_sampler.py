"""Windows by their numbers are all there are, each once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

import demandcast as dc
from demandcast.frames.examples import retail
from demandcast.windows.sampler import WindowSampler


def test_every_window_has_a_number_of_its_own() -> None:
    table = retail(n_items=3, n_days=30, seed=0).frame
    panel = dc.read_panel(table, key="item", target="units").drop_last(3)
    sampler = WindowSampler(panel, horizon=5, held_out=2, rho=0.5)
    series, cutoffs, limits = (part.numpy() for part in sampler.at(torch.arange(sampler.n_windows)))
    ends = panel.lengths - 2
    expected = [
        (i, cutoff)
        for i, end in enumerate(ends)
        for cutoff in range(int(sampler.first[i]), int(end) - 5 + 1)
    ]
    assert list(zip(series.tolist(), cutoffs.tolist(), strict=True)) == expected
    np.testing.assert_array_equal(limits, ends[series])


def test_series_with_nothing_to_learn_from_are_never_drawn() -> None:
    table = retail(n_items=4, n_days=30, seed=0).frame
    panel = dc.read_panel(table, key="item", target="units")
    panel = replace(panel, lengths=np.array([30, 2, 12, 3]))
    sampler = WindowSampler(panel, horizon=5, held_out=2, rho=0.0)
    series, cutoffs, limits = sampler.draw(4000, torch.Generator().manual_seed(0))
    drawn = set(zip(series.tolist(), cutoffs.tolist(), strict=True))
    assert drawn == {(0, c) for c in range(1, 24)} | {(2, c) for c in range(1, 6)}
    assert limits.tolist() == [[28, 0, 10, 1][i] for i in series.tolist()]
    # every window as often as any other: 5 standard errors
    share = float((series == 0).double().mean())
    assert abs(share - 23 / 28) < 5 * (23 / 28 * 5 / 28 / 4000) ** 0.5
