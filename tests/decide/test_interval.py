"""Every path followed as a plain loop follows it, and the sums that quantiles of single steps get wrong."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from demandcast.decide.interval import levels, observed_leads, protect, random_leads
from demandcast.decide.rules import fractile


def replayed(
    path: np.ndarray, stock: float, arriving: np.ndarray, order: float, lead: int, review: int, lost: bool
) -> tuple[float, float]:  # fmt: skip
    """Units short in the window and units left at its end, step by step."""
    short = 0.0
    for step in range(lead + review):
        stock += arriving[step] + (order if step == lead else 0)
        if step >= lead:
            short += max(path[step] - max(stock, 0), 0)
        stock = max(stock - path[step], 0) if lost else stock - path[step]
    return short, max(stock, 0)


@pytest.mark.parametrize("lost_sales", [True, False])
def test_units_short_and_held_are_those_of_a_loop(lost_sales: bool) -> None:
    rng = np.random.default_rng(0)
    n, s, h = 12, 9, 8
    paths = rng.poisson(3, (n, s, h)).astype(float)
    lead, review = rng.integers(0, 5, (n, s)), rng.integers(1, 4, n)
    on_hand, arriving = (
        rng.integers(0, 9, n).astype(float),
        rng.integers(0, 3, (n, h)).astype(float),
    )
    if not lost_sales:  # units that come within the window would serve what is owed by then
        arriving[:] = 0
    found = protect(paths, on_hand, arriving, lead, review, lost_sales=lost_sales)
    for order in (0.0, 4.0, 11.0):
        orders = np.full(n, order)
        lost, held = found.lost(orders), found.held(orders)
        for i in range(n):
            for j in range(s):
                want = replayed(
                    paths[i, j], on_hand[i], arriving[i], order, lead[i, j], review[i], lost_sales
                )
                assert (lost[i, j], held[i, j]) == want
    end = lead + review[:, None]
    totals = [[paths[i, j, : end[i, j]].sum() for j in range(s)] for i in range(n)]
    np.testing.assert_allclose(found.demand, np.mean(totals, 1))


def test_quantiles_of_sums_need_joint_paths() -> None:
    """A random level shared by three steps: sd of the sum is 3 x 4, not sqrt(3) x 4; marginals cannot tell."""
    rng = np.random.default_rng(1)
    z = np.array([NormalDist().inv_cdf((i + 0.5) / 4000) for i in range(4000)])
    together = np.repeat((20 + 4 * z)[:, None], 3, 1)
    apart = np.stack([20 + 4 * rng.permutation(z) for _ in range(3)], 1)
    nothing, steps = np.zeros(2), np.zeros((2, 3))
    found = protect(np.stack([together, apart]), nothing, steps, np.array([2, 2]), np.array([1, 1]), lost_sales=False)  # fmt: skip
    reached = fractile(found.need, np.array([0.95, 0.95]))
    normal = NormalDist(60, 12).inv_cdf(0.95), NormalDist(60, 4 * 3**0.5).inv_cdf(0.95)
    assert reached[0] == pytest.approx(normal[0], abs=0.02)
    assert reached[1] == pytest.approx(normal[1], abs=0.6)  # 4,000 random sums
    marginal = 3 * fractile(apart.T.copy(), np.full(3, 0.95))[0]
    assert marginal > reached[1] + 7  # quantiles of steps, added up: 8.3 units too much


def test_lead_times_have_the_mean_and_spread_they_are_given() -> None:
    drawn = random_leads(np.array([7.0, 3.0]), np.array([2.0, 0.0]), 400)
    assert drawn[0].mean() == pytest.approx(7, abs=0.05)
    assert drawn[0].std() == pytest.approx(2, abs=0.1)  # whole steps add 1/12 of variance
    assert (drawn[1] == 3).all()
    seen = observed_leads([np.array([2, 2, 9]), np.array([5])], 300)
    assert sorted(seen[0].tolist()) == [2] * 200 + [9] * 100
    assert (seen[1] == 5).all()


@pytest.mark.parametrize("lost_sales", [True, False])
def test_levels_are_those_of_a_loop(lost_sales: bool) -> None:
    rng = np.random.default_rng(2)
    paths, arriving = rng.poisson(4, (6, 9)).astype(float), rng.poisson(3, 9).astype(float)
    stock, want = np.full(6, 5.0), []
    for step in range(9):
        stock = stock + arriving[step] - paths[:, step]
        stock = np.maximum(stock, 0) if lost_sales else stock
        want.append(stock)
    np.testing.assert_array_equal(
        levels(paths, 5.0, arriving, lost_sales=lost_sales), np.stack(want, 1)
    )
