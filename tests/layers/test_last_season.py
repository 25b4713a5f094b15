"""The start that direct models learn from, and the parts it is taken apart into."""

from __future__ import annotations

import pytest
import torch

from demandcast import likelihoods
from demandcast.layers.decoder import ParameterHead
from demandcast.layers.decomposition import moving_average
from demandcast.layers.last_season import SeasonalLinear, season_within


@pytest.mark.parametrize(("horizon", "period"), [(5, 7), (7, 7), (17, 7), (3, 1)])
def test_begins_as_the_seasonal_naive(horizon: int, period: int) -> None:
    x = torch.randn(4, 21)
    season = x[:, -period:]
    naive = season.repeat(1, -(-horizon // period))[:, :horizon]
    assert torch.equal(SeasonalLinear(21, horizon, period)(x), naive)


def test_weight_decay_draws_back_to_the_season() -> None:
    layer, x = SeasonalLinear(21, 7, 7), torch.randn(4, 21)
    optimiser = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=2.0)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)  # far from where it began
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(100):
        optimiser.step()
    torch.testing.assert_close(layer(x), x[:, -7:])


def test_the_season_is_the_shortest_that_fits() -> None:
    assert season_within("h", 336) == 24
    assert season_within("D", 28) == 7
    assert season_within("D", 5) == 1
    assert season_within("1", 28) == 1


def test_moving_average_is_the_plain_loop() -> None:
    x = torch.randn(2, 9)
    rows = []
    for row in x.tolist():
        padded = [row[0]] * 2 + row + [row[-1]] * 2
        rows.append([sum(padded[i : i + 5]) / 5 for i in range(9)])
    torch.testing.assert_close(moving_average(x, 5), torch.tensor(rows))


@pytest.mark.parametrize("name", likelihoods.names())
def test_heads_begin_at_the_still_parameters(name: str) -> None:
    likelihood = likelihoods.create(name)
    still = torch.tensor(likelihood.still)
    assert len(still) == likelihood.n_params
    each = ParameterHead(6, likelihood)(torch.randn(2, 3, 6))
    assert torch.equal(each, still.expand(2, 3, -1))
    at_once = ParameterHead(6, likelihood, 3)(torch.randn(2, 6))
    assert torch.equal(at_once, still.expand(2, 3, -1))
