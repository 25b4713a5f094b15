"""Windows by their numbers are all there are, each once."""

from __future__ import annotations

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
