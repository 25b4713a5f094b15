"""The recursions against plain loops over one series, and against the biases that theory gives them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from demandcast.local.parts.aggregation import adida, imapa, mean_interval
from demandcast.local.parts.histories import Histories
from demandcast.local.parts.smoothing import RECURSIONS, _sizes_and_intervals, fit_recursion
from demandcast.local.parts.smoothing_weights import (
    golden_section_search,
    optimise_weights,
    part_weights,
    ses_weight,
    shared_weights,
    weight_losses,
)

Array = NDArray[np.float64]


def plain_ses(y: list[float], alpha: float) -> float:
    level = y[0]
    for value in y[1:]:
        level = alpha * value + (1 - alpha) * level
    return level


def plain(name: str, y: list[float], alpha: float, beta: float) -> float:
    """One series, as the formulas stand in the papers."""
    sizes = [v for v in y if v > 0]
    if name == "ses":
        return plain_ses(y, alpha)
    if not sizes:
        return 0.0
    size = plain_ses(sizes, alpha)
    if name == "tsb":
        return size * plain_ses([float(v > 0) for v in y], beta)
    places = [i + 1 for i, v in enumerate(y) if v > 0]
    gaps = [b - a for a, b in zip([0, *places], places, strict=False)]
    gap = plain_ses([float(g) for g in gaps], beta)
    waited = len(y) - places[-1]
    return {
        "croston": size / gap,
        "sba": (1 - beta / 2) * size / gap,
        "sbj": (1 - beta / (2 - beta)) * size / gap,
        "hes": size / (gap + beta * waited / 2),
    }[name]


def histories(*series: list[float]) -> Histories:
    table = np.full((len(series), max(map(len, series))), np.nan)
    for row, values in zip(table, series, strict=True):
        row[len(row) - len(values) :] = values
    return Histories.from_rows(table)


def some_series() -> list[list[float]]:
    rng = np.random.default_rng(0)
    drawn = [list((rng.random(s) < 0.4) * rng.poisson(3, s) * 1.0) for s in (50, 20, 7, 3)]
    return [*drawn, [0.0, 0, 0], [5.0, 0, 0, 0], [0.0, 0, 0, 5], [2.5, -1, 0, 0.5], [4.0]]


@pytest.mark.parametrize("name", RECURSIONS)
def test_rates_are_those_of_a_plain_loop(name: str) -> None:
    series = some_series()
    rates = fit_recursion(RECURSIONS[name], histories(*series), np.float64(0.2), np.float64(0.13))
    expected = [plain(name, y, 0.2, 0.13) for y in series]
    np.testing.assert_allclose(rates[-1], expected, rtol=1e-12)
    before = fit_recursion(
        RECURSIONS[name],
        histories(*(y[:-2] for y in series[:3])),
        np.float64(0.2),
        np.float64(0.13),
    )
    np.testing.assert_allclose(rates[-3, :3], before[-1], rtol=1e-12)  # rates know nothing later


def test_gaps_are_no_steps() -> None:
    holed = np.array([[np.nan, 2, np.nan, 0, 0, 3, np.nan], [1, 2, 3, 4, 5, 6, 7.0]])
    packed = Histories.from_rows(holed)
    np.testing.assert_array_equal(packed.values[-4:, 0], [2, 0, 0, 3])
    np.testing.assert_array_equal(packed.lengths, [4, 7])
    np.testing.assert_array_equal(packed.select(np.array([0])).values[:, 0], [2, 0, 0, 3])


BIAS = {  # percent; geometric sizes, from a simulation of 400 series of 3,500 steps
    (0.5, 0.1): {"croston": 2.5, "sba": -2.6, "sbj": -2.9, "tsb": 0.0, "hes": 0.0, "from 1": -2.5},
    (0.5, 0.3): {"croston": 8.2, "sba": -8.0, "sbj": -10.9, "tsb": 0.1, "hes": 0.7, "from 1": -6.8},
    (0.25, 0.1): {"croston": 4.2, "sba": -1.0, "sbj": -1.3, "tsb": 0.3, "hes": 0.3, "from 1": -1.0},
    (0.25, 0.3): {
        "croston": 13.6,
        "sba": -3.4,
        "sbj": -6.4,
        "tsb": 0.3,
        "hes": 1.2,
        "from 1": -2.9,
    },
    (0.1, 0.1): {"croston": 4.6, "sba": -0.6, "sbj": -0.9, "tsb": -0.1, "hes": 0.0, "from 1": -0.6},
    (0.1, 0.3): {"croston": 16.5, "sba": -1.0, "sbj": -4.1, "tsb": 0.0, "hes": 0.9, "from 1": -0.8},
}


def hes_from_1(past: Histories, weight: float) -> Array:
    """HES with the wait counted from 1, as some have it: what ours must not be."""
    size, interval, waited = (
        np.stack(part)
        for part in zip(
            *_sizes_and_intervals(past, np.float64(weight), np.float64(weight)), strict=True
        )
    )
    return np.asarray(size / (interval + weight * (waited + 1) / 2))


@pytest.mark.parametrize(("p", "weight"), BIAS)
def test_biases_are_those_of_theory(p: float, weight: float) -> None:
    """Off-by-one intervals, a wrong correction or HES counting from 1 each move these by points."""
    rng = np.random.default_rng(5)
    demand = (rng.random((1000, 400)) < p) * rng.geometric(0.4, (1000, 400)) * 1.0
    past = Histories(demand, np.full(400, 1000))
    came = demand[200:].mean()
    for name, expected in BIAS[p, weight].items():
        if name == "from 1":
            rates = hes_from_1(past, weight)
        else:
            rates = fit_recursion(RECURSIONS[name], past, np.float64(weight), np.float64(weight))
        found = 100 * (rates[200:-1].mean() / came - 1)
        # 320,000 correlated steps: a standard error of about 0.3 points, that of the table aside
        assert found == pytest.approx(expected, abs=1.0), (name, p, weight)


@pytest.mark.parametrize("objective", ["mse", "mae", "msr", "mar"])
def test_loss_is_that_of_a_plain_loop(objective: str) -> None:
    series = [y for y in some_series() if len(y) > 2]
    past = histories(*series)
    rates = fit_recursion(RECURSIONS["tsb"], past, np.float64(0.2), np.float64(0.1))
    found = weight_losses(RECURSIONS["tsb"], past, np.array([[0.2]]), np.array([[0.1]]), objective)[
        0
    ]
    for i, y in enumerate(series):
        mine = rates[past.steps - len(y) :, i]
        aims = [np.mean(y[: t + 1]) if objective in ("msr", "mar") else y[t] for t in range(len(y))]
        errors = np.abs(np.array(aims) - mine[:-1])[1:]
        expected = (errors**2 if objective in ("mse", "msr") else errors).mean()
        assert found[i] == pytest.approx(expected, rel=1e-12)


def test_weights_found_are_no_worse_than_a_fine_grid() -> None:
    rng = np.random.default_rng(1)
    past = Histories(
        (rng.random((120, 30)) < 0.6) * rng.poisson(4, (120, 30)) * 1.0, np.full(30, 120)
    )
    alpha, beta = optimise_weights(RECURSIONS["sba"], past, None, None, "mse")
    found = weight_losses(RECURSIONS["sba"], past, alpha, beta, "mse")
    grid = np.exp(np.linspace(np.log(0.01), np.log(0.5), 12))
    pairs = np.array([(a, b) for a in grid for b in grid])
    fine = weight_losses(RECURSIONS["sba"], past, pairs[:, :1], pairs[:, 1:], "mse").min(0)
    assert (found <= fine * 1.01).all()  # 144 pairs against 32
    given, _ = optimise_weights(RECURSIONS["sba"], past, 0.17, None, "mse")
    np.testing.assert_allclose(given, 0.17)


def test_few_demands_share_their_weights() -> None:
    rng = np.random.default_rng(2)
    past = Histories((rng.random((60, 50)) < 0.1) * 1.0, np.full(50, 60))
    search = (None, None, "mse")
    parts = [past.select(np.arange(20)), past.select(np.arange(20, 50))]
    shared = shared_weights(RECURSIONS["tsb"], parts, *search)
    np.testing.assert_allclose(shared, shared_weights(RECURSIONS["tsb"], [past], *search))
    alpha, beta = optimise_weights(RECURSIONS["tsb"], past, *search, shared)
    assert len(np.unique(alpha)) == len(np.unique(beta)) == 1


def test_golden_section_finds_minima_and_the_middle_of_ties() -> None:
    aims = np.array([0.12, 0.3, 0.05, 0.25])
    found = golden_section_search(lambda a: (a - aims) ** 2, 4, 0.1, 0.3, 40)
    np.testing.assert_allclose(found, [0.12, 0.3, 0.1, 0.25], atol=1e-7)
    np.testing.assert_allclose(golden_section_search(lambda a: np.ones(1), 1, 0.1, 0.3, 40), 0.2)


def best_weight(y: list[float]) -> float:
    """The weight in [0.1, 0.3] of least squared one-step error, by trying 20,001."""
    alphas = np.linspace(0.1, 0.3, 20_001)
    level, total = np.full(len(alphas), y[0]), np.zeros(len(alphas))
    for value in y[1:]:
        total += (value - level) ** 2
        level = level + alphas * (value - level)
    return 0.2 if np.ptp(total) <= 1e-9 * total.max(initial=1e-9) else float(alphas[total.argmin()])


def test_part_weights_are_those_of_sizes_and_of_intervals() -> None:
    y = some_series()[0]
    alpha, beta = part_weights(histories(y))
    places = [i + 1 for i, v in enumerate(y) if v > 0]
    gaps = [float(b - a) for a, b in zip([0, *places], places, strict=False)]
    assert alpha[0] == pytest.approx(best_weight([v for v in y if v > 0]), abs=2e-5)
    assert beta[0] == pytest.approx(best_weight(gaps), abs=2e-5)


def plain_adida(y: list[float], level: int) -> float:
    rest = y[len(y) % level :]
    sums = [float(sum(rest[i : i + level])) for i in range(0, len(rest), level)]
    return plain_ses(sums, best_weight(sums)) / level


def test_aggregation_is_that_of_a_plain_loop() -> None:
    series = [y for y in some_series() if any(y)]
    past = histories(*series)
    levels = []
    for y in series:
        last = max(i + 1 for i, v in enumerate(y) if v != 0)
        levels.append(round(last / sum(v != 0 for v in y)))
    np.testing.assert_array_equal(mean_interval(past), levels)
    expected = [plain_adida(y, level) for y, level in zip(series, levels, strict=True)]
    np.testing.assert_allclose(adida(past)[-1], expected, atol=1e-4)  # 1e-5 between weights tried
    expected = [
        np.mean([plain_adida(y, level) for level in range(1, top + 1)])
        for y, top in zip(series, levels, strict=True)
    ]
    np.testing.assert_allclose(imapa(past)[-1], expected, atol=1e-4)
    assert adida(past, 0.1)[-1, 0] != adida(past, 0.3)[-1, 0]


def test_rates_of_blocks_know_nothing_later() -> None:
    y = some_series()[0]
    past = histories(y)
    changed = histories([*y[:-7], *(9.0 for _ in range(7))])
    level = int(mean_interval(past)[0])
    row = past.steps - -(-7 // level) * level  # a block's start before what was changed
    if int(mean_interval(changed)[0]) == level:
        np.testing.assert_allclose(adida(past, 0.2)[: row + 1], adida(changed, 0.2)[: row + 1])


def test_ses_weight_ignores_what_lies_before_a_series() -> None:
    y = some_series()[1]
    alone, beside = ses_weight(histories(y)), ses_weight(histories(y, some_series()[0]))
    assert alone[0] == pytest.approx(beside[0], abs=1e-9)
