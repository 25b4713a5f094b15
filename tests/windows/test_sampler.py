"""Windows by their numbers are all there are, each once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch.utils.data import default_collate

import demandcast as dc
from demandcast.errors import DataError
from demandcast.frames.examples import retail
from demandcast.windows.dataset import WindowDataset
from demandcast.windows.features import Features
from demandcast.windows.sampler import WindowSampler
from demandcast.windows.window_source import WindowSource


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


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_series_are_drawn_by_a_power_of_their_size(rho: float) -> None:
    """Of the values to learn from, at least a thousandth of the median size."""
    days = np.datetime64("2024-01-01") + np.arange(20)
    size = {"a": 1.0, "b": 16.0, "c": 0.0, "d": 100.0}
    rows = [
        pl.DataFrame({"item": item, "day": days, "units": [s] * 18 + [1e6] * 2})
        for item, s in size.items()
    ]
    panel = dc.read_panel(pl.concat(rows), key="item", time="day", target="units")
    sampler = WindowSampler(panel, horizon=3, held_out=2, rho=rho, min_history=4)
    series, cutoffs, _ = sampler.draw(20_000, torch.Generator().manual_seed(0))
    weights = np.array([1, 16, 0.016, 100]) ** rho
    shares = np.bincount(series.numpy(), minlength=4) / 20_000
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.015)
    counts = np.bincount(cutoffs.numpy())
    assert np.flatnonzero(counts).tolist() == list(range(4, 16))  # 3 steps come before step 18
    np.testing.assert_allclose(counts[4:] / 20_000, 1 / 12, atol=0.01)


def test_a_history_shorter_than_asked_for_leaves_a_whole_horizon() -> None:
    table = retail(n_items=2, n_days=30, seed=0).frame
    panel = replace(dc.read_panel(table, key="item", target="units"), lengths=np.array([10, 30]))
    sampler = WindowSampler(panel, horizon=4, held_out=0, rho=0.0, min_history=8)
    assert sampler.first.tolist() == [6, 8]
    assert sampler.last.tolist() == [6, 26]
    with pytest.raises(DataError, match="no series has more than 30 steps, and 29 are held out"):
        WindowSampler(panel, horizon=4, held_out=29, rho=0.0)


def test_a_dataset_has_every_window_by_its_number() -> None:
    """Cutoffs are moved by `extra`, for models that forecast from several cutoffs of one window."""
    table = retail(n_items=3, n_days=30, seed=0).frame
    panel = dc.read_panel(table, key="item", target="units")
    source = WindowSource(panel, Features.of(panel, ()), context=7, horizon=5, scaling="standard")
    sampler = WindowSampler(panel, horizon=5, held_out=2, rho=0.5)
    dataset = WindowDataset(source, sampler, extra=2)
    assert len(dataset) == sampler.n_windows
    numbers = [0, 40, len(dataset) - 1]
    series, cutoffs, limits = sampler.at(torch.tensor(numbers))
    expected = source.gather(series, cutoffs + 2, limits, extra=2)
    for batch in (
        dataset.__getitems__(numbers),
        dataset.__getitems__((series, cutoffs, limits)),
        default_collate([dataset[0], dataset[40], dataset[-1]]),
        default_collate(dataset.__getitems__(numbers)),
    ):
        assert len(batch) == 3
        assert torch.equal(batch.past_target, expected.past_target)
        assert torch.equal(batch.future_target, expected.future_target)
        assert torch.equal(batch.scale, expected.scale)
    with pytest.raises(IndexError):
        dataset[len(dataset)]
    one = expected[-1]
    assert torch.equal(one.past_target, expected.past_target[2:])
    assert one.to("cpu") is one
    assert one.answerable.tolist() == [True]
    steps = int(panel.starts[series[2]]) + int(cutoffs[2]) + 2 - 7 + np.arange(12)
    assert one.stamps[0].tolist() == steps.tolist()


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
