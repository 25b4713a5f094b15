"""What a history says, against plain loops and numpy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from demandcast.layers.readings import (
    empirical_quantiles,
    main_period,
    masked_mean,
    mean_change,
    phase_means,
    quantiles_of,
    value_at,
    window_means,
)


def holed(batch: int = 6, context: int = 40) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    observed = torch.rand(batch, context, generator=g) > 0.2
    return torch.randn(batch, context, generator=g) * observed, observed


def test_means_of_windows_are_those_of_a_loop() -> None:
    x, observed = holed()
    width = torch.tensor([[1], [2], [5], [7], [12], [40]])
    for trailing in (True, False):
        found = window_means(x, observed, width, trailing=trailing)
        for i, w in enumerate(width[:, 0].tolist()):
            for t in range(x.shape[1]):
                stop = t if trailing else min(t + w // 2 + 1, x.shape[1])
                rows = slice(max(0, stop - w), stop)
                some = observed[i, rows]
                wanted = x[i, rows][some].mean() if some.any() else x[i][observed[i]].mean()
                assert torch.isclose(found[i, t], wanted, atol=1e-5), (i, t, trailing)


def test_a_season_is_found_by_its_phases_and_goes_on() -> None:
    step = torch.arange(50)
    season = torch.tensor([3.0, -1.0, 0.0, -2.0])
    whole = season[step % 4][None]
    observed = torch.ones(1, 40, dtype=torch.bool)
    found = phase_means(whole[:, :40], observed, torch.tensor([[4]]), 10, 0.0)
    torch.testing.assert_close(found, whole)
    shrunk = phase_means(whole[:, :40], observed, torch.tensor([[4]]), 10, 10.0)
    torch.testing.assert_close(shrunk, whole / 2)  # ten values a phase beside ten of 0
    assert (phase_means(whole[:, :40], observed, torch.tensor([[0]]), 10, 0.0) == 0).all()


def test_values_at_steps_fall_back_where_nothing_was() -> None:
    x, observed = torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[True, True, False]])
    value, there = value_at(x, observed, torch.tensor([[-1, 1, 2, 3]]), torch.full((1, 4), 9.0))
    assert value.tolist() == [[9.0, 2.0, 9.0, 9.0]]
    assert there.tolist() == [[False, True, False, False]]


def test_means_and_changes_count_what_was_observed() -> None:
    x, observed = torch.tensor([[1.0, 0.0, 4.0, 6.0]]), torch.tensor([[True, False, True, True]])
    torch.testing.assert_close(masked_mean(x, observed).item(), 11 / 3)
    assert mean_change(x, observed, 1).item() == 2.0  # from 4 to 6 alone
    assert mean_change(x, observed, 2).item() == 3.0  # from 1 to 4; the other pair has a hole
    assert mean_change(x, observed, 9).item() == 0.0


def test_knots_are_numpys_quantiles() -> None:
    x, observed = holed()
    levels = torch.tensor([0.1, 0.5, 0.9])
    found = empirical_quantiles(x, observed, levels)
    for i in range(len(x)):
        wanted = np.quantile(x[i][observed[i]].numpy(), levels.numpy())
        np.testing.assert_allclose(found[i].numpy(), wanted, atol=1e-5)
    assert (empirical_quantiles(x, torch.zeros_like(observed), levels) == 0).all()


def test_quantiles_invert_a_distribution() -> None:
    at_knots = torch.linspace(0, 1, 21)
    levels = torch.tensor([0.05, 0.33, 0.5, 0.98])
    ramp = torch.ones(1)
    torch.testing.assert_close(quantiles_of(at_knots, at_knots, levels, ramp), levels)
    # two values, 0 with probability .6 and 3 with .4: whole numbers step up at once
    cdf, values = torch.tensor([0.6, 1.0]), torch.tensor([0.0, 3.0])
    found = quantiles_of(cdf, values, torch.tensor([0.3, 0.59, 0.75, 0.9]), torch.tensor([0.3]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 3.0, 3.0]))


def test_the_period_that_stands_out_is_found() -> None:
    g = torch.Generator().manual_seed(1)
    step = torch.arange(200)
    noise = torch.randn(3, 200, generator=g)
    wave = (2 * torch.pi * step / 12).sin() * 2
    days = torch.tensor([0.0, 0, 0, 0, 0, 4, 6])[step % 7]
    x = torch.stack([wave + 0.5 * noise[0], days + 0.5 * noise[1], noise[2]])
    x = x - x.mean(1, keepdim=True)
    observed = torch.rand(3, 200, generator=g) > 0.1
    assert main_period(x * observed, observed)[:, 0].tolist() == [12, 7, 0]
