"""Laws of counts: the negative binomial itself where much is known, wider where little is, without a unit."""

from __future__ import annotations

import math

import pytest
import torch

from demandcast.pretrained.distributions import count_laws
from demandcast.pretrained.inputs import Histories
from demandcast.pretrained.weights import load_shipped
from demandcast.pretrained.zero_shot_network import LAWFUL, PRETRAINED_LEVELS


def exact(mean: float, variance: float, level: float) -> int:
    """The least count whose distribution function reaches the level, by the recursion of the chances."""
    r = mean**2 / (variance - mean)
    p = r / (r + mean)
    chance, reached, k = p**r, p**r, 0
    while reached < level:
        k += 1
        chance *= (k - 1 + r) / k * (1 - p)
        reached += chance
    return k


def laws(mean: float, variance: float, steps: float, one: float) -> torch.Tensor:
    parts = (torch.tensor([value]) for value in (mean, variance, steps, one))
    return count_laws(*parts, torch.tensor(PRETRAINED_LEVELS))[0]


@pytest.mark.parametrize(("mean", "variance"), [(0.3, 0.5), (1.7, 4.0), (6.0, 14.0)])
def test_counts_with_known_moments_are_negative_binomial(mean: float, variance: float) -> None:
    found = laws(mean, variance, 1e7, 1.0)
    wanted = torch.tensor([exact(mean, variance, level) for level in PRETRAINED_LEVELS])
    # between two counts a quantile slopes for three tenths of the way; five deviations end the knots
    assert (found <= wanted + 1e-4).all()
    assert ((found - wanted).abs() < 1e-3).float().mean() > 0.6
    assert (found > wanted - 1).all()


def test_few_steps_make_a_law_wider() -> None:
    known, guessed = laws(4.0, 8.0, 1e6, 1.0), laws(4.0, 8.0, 4.0, 1.0)
    assert guessed[-1] > known[-1] + 2
    assert guessed[0] <= known[0]


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_measured_values_have_no_unit(size: float) -> None:
    one, many = laws(3.0, 4.0, 20.0, 0.0), laws(3.0 * size, 4.0 * size**2, 20.0, 0.0)
    torch.testing.assert_close(many / size, one, rtol=1e-4, atol=1e-4)
    assert (one.diff() >= 0).all()
    assert math.isclose(
        float(one[PRETRAINED_LEVELS.index(0.5)]), 2.53, abs_tol=0.1
    )  # of a gamma law


def test_nothing_seen_is_nothing() -> None:
    assert laws(0.0, 0.0, 10.0, 1.0).abs().max() == 0


def test_laws_are_of_counts_alone() -> None:
    network = load_shipped()
    first = sum(network.out_sizes[:2])
    rows = torch.tensor([first + i for i, law in enumerate(LAWFUL) if law])
    counts = torch.poisson(torch.full((3, 60), 1.5), generator=torch.Generator().manual_seed(0))
    measures = counts * 1000 + 0.5
    steps, found = torch.arange(1, 7), []
    for more in (0.0, 8.0):
        with torch.no_grad():
            network.out.bias[rows] += more  # laws are preferred to all else
            found.append([network(history(x), steps)[0] for x in (counts, measures)])
    assert (found[1][0] - found[0][0]).abs().max() > 0.1
    torch.testing.assert_close(found[1][1], found[0][1])


def history(past: torch.Tensor) -> Histories:
    n = len(past)
    told = torch.tensor([[12, 0]]).expand(n, 2)
    return Histories(past, torch.zeros(n, past.shape[1] + 6, 0), told, torch.zeros(n, 0))
