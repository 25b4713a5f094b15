"""Closed forms against published values, scipy, and stockpyl where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from demandcast.decide import closed_form as forms
from demandcast.errors import ConfigError


def test_the_newsvendor_of_snyder_and_shen() -> None:
    """Example 4.3: Normal(50, 8), .18 a unit held, .70 a unit short."""
    assert forms.newsvendor_normal(50, 8, 0.70, 0.18) == pytest.approx(56.604, abs=5e-4)
    with pytest.raises(ConfigError, match="both are above 0"):
        forms.newsvendor_normal(50, 8, 0.70, 0.0)


@pytest.mark.parametrize("stock", [0, 1, 3, 6, 12, 40])
def test_losses_are_exact(stock: int) -> None:
    """E[(D - S)+] = sum_{k >= S} P(D > k), summed from the small end; and the Normal integral."""
    k = np.arange(stock, 2000)[::-1]
    for law, exact in (
        (forms.poisson(6.3), scipy.stats.poisson(6.3)),
        (forms.negative_binomial(2.5, 0.31), scipy.stats.nbinom(2.5, 0.31)),
        (forms.negative_binomial(0.4, 0.05), scipy.stats.nbinom(0.4, 0.05)),
    ):
        assert forms.loss(law, stock) == pytest.approx(exact.sf(k).sum(), abs=1e-10)
    normal = scipy.stats.norm(6.3, 2.1)
    exact = scipy.integrate.quad(normal.sf, stock, stock + 60)[0]
    assert forms.normal_loss(stock, 6.3, 2.1) == pytest.approx(exact, abs=1e-9)


def test_reorder_points_of_published_examples() -> None:
    """Snyder and Shen, examples 5.8 ((r, Q), Poisson of 1.5 a unit of time and lead time 2) and 4.17 ((s, S))."""
    best = forms.best_reorder_quantity(forms.poisson(3), 1.5, over=20, under=150, fixed=100)
    assert (best.reorder_point, best.quantity) == (3, 5)
    assert best.cost == pytest.approx(107.92358063314975)
    level = forms.best_reorder_level(forms.poisson(6), over=1, under=4, fixed=5)
    assert (level.reorder_point, level.order_up_to) == (4, 10)
    assert level.cost == pytest.approx(8.034111561471642)


def test_no_other_reorder_point_costs_less() -> None:
    """Against every pair nearby, each cost computed by the formula of (r, Q) and by a Markov chain for (s, S)."""
    law = forms.poisson(3)
    k = np.arange(len(law))

    def held(law: np.ndarray, y: int, over: float, under: float) -> float:
        return float((law * (over * np.maximum(y - k, 0) + under * np.maximum(k - y, 0))).sum())

    pairs = [(r, q) for r in range(-2, 8) for q in range(1, 12)]
    costs = [
        (150.0 + sum(held(law, y, 20, 150) for y in range(r + 1, r + q + 1))) / q for r, q in pairs
    ]
    assert min(costs) == pytest.approx(107.92358063314975)
    assert pairs[int(np.argmin(costs))] == (3, 5)

    law = forms.poisson(6, 60)
    k = np.arange(61)

    def cycle(s: int, top: int) -> float:
        n = top - s  # positions top ... s + 1
        moves = np.array([[law[j - i] if j >= i else 0.0 for j in range(n)] for i in range(n)])
        moves[:, 0] += 1 - moves.sum(1)  # ordered up to S again
        stay = np.linalg.matrix_power(moves, 4096)[0]
        again = np.array([1 - law[: n - i].sum() for i in range(n)])
        return float(sum(stay[i] * (held(law, top - i, 1, 4) + 5 * again[i]) for i in range(n)))

    found = {(s, top): cycle(s, top) for s in range(1, 8) for top in range(8, 14)}
    best = min(found, key=lambda pair: found[pair])
    assert best == (4, 10)
    assert found[best] == pytest.approx(8.034111561471642)


@pytest.mark.parametrize("seed", range(4))
def test_reorder_points_agree_with_stockpyl(seed: int) -> None:
    reason = "stockpyl is not installed: pip install --no-deps stockpyl==1.0.2"
    rq = pytest.importorskip("stockpyl.rq", reason=reason)
    ss = pytest.importorskip("stockpyl.ss", reason=reason)
    rng = np.random.default_rng(seed)
    over, under, fixed, mean = rng.uniform([0.5, 4, 1, 1], [3, 60, 80, 9])
    ours = forms.best_reorder_quantity(
        forms.poisson(mean), mean / 2, over=over, under=under, fixed=fixed
    )
    r, q, cost = rq.r_q_poisson_exact(over, under, fixed, mean / 2, 2)
    assert (ours.reorder_point, ours.quantity, ours.cost) == (r, q, pytest.approx(cost))
    level = forms.best_reorder_level(forms.poisson(mean), over=over, under=under, fixed=fixed)
    s, top, cost = ss.s_s_discrete_exact(over, under, fixed, True, demand_mean=mean)
    assert (level.reorder_point, level.order_up_to, level.cost) == (s, top, pytest.approx(cost))
