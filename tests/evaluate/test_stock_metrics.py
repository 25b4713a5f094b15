"""Costs over time against plain loops and the vectors that their authors print."""

from __future__ import annotations

import numpy as np
import pytest

from demandcast.errors import ConfigError, ShapeError
from demandcast.evaluate.stock_metrics import cfe, nos, pis, scaled_pis, spec

Y = [0, 0, 5, 6, 0, 5, 0, 0, 0, 8, 0, 0, 6, 0]
F = [0, 0, 5, 6, 0, 5, 0, 0, 8, 0, 0, 0, 6, 0]


def test_spec_is_that_of_the_authors() -> None:
    """The example of their package: one delivery of 8, a step early."""
    y, f = np.array([Y]), np.array([F])
    assert spec(y, f)[0] == pytest.approx(0.142857, abs=1e-6)
    assert spec(y, f, shortage=0.1, stock=0.9)[0] == pytest.approx(0.514286, abs=1e-6)
    assert spec(y, f)[0] == pytest.approx(0.25 * 8 / 14)
    assert spec(f, y)[0] == pytest.approx(0.75 * 8 / 14)  # and a step late


def plain_spec(y: list[float], f: list[float], a1: float, a2: float) -> float:
    total = 0.0
    for t in range(1, len(y) + 1):
        for i in range(1, t + 1):
            owed = a1 * min(y[i - 1], sum(y[:i]) - sum(f[:t]))
            lying = a2 * min(f[i - 1], sum(f[:i]) - sum(y[:t]))
            total += (t - i + 1) * max(0, owed, lying)
    return total / len(y)


def test_spec_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    y, f = rng.poisson(1, (6, 11)) * 1.0, rng.gamma(1, 1, (6, 11))
    expected = [plain_spec(list(a), list(b), 0.6, 0.4) for a, b in zip(y, f, strict=True)]
    np.testing.assert_allclose(spec(y, f, shortage=0.6, stock=0.4), expected, rtol=1e-12)
    assert (spec(y, y) == 0).all()


def test_errors_add_up_over_time() -> None:
    """Worked by hand: errors 2, -1, 1, -4 add up to 2, 1, 2, -2."""
    y, f = np.array([[3.0, 0, 2, 0]]), np.array([[1.0, 1, 1, 4]])
    np.testing.assert_array_equal(cfe(y, f), [[2, 1, 2, -2]])
    np.testing.assert_array_equal(pis(y, f), [-3])
    np.testing.assert_array_equal(nos(y, f), [2 / 4])  # the first and third step
    np.testing.assert_allclose(scaled_pis(y, f, np.array([[np.nan, 1.0, 0, 2]])), [-3])
    assert np.isnan(scaled_pis(y, f, np.zeros((1, 3)))).all()


def test_steps_not_observed_count_nowhere() -> None:
    y, f = np.array([[3.0, np.nan, 2], [np.nan] * 3]), np.array([[1.0, 9, 1], [1, 1, 1]])
    np.testing.assert_array_equal(cfe(y, f)[0], [2, 2, 3])
    np.testing.assert_array_equal(nos(y, f), [1, np.nan])
    assert np.isnan(spec(y, f)[1])
    with pytest.raises(ShapeError, match="series, horizon"):
        spec(y, f[:, :2])
    with pytest.raises(ConfigError, match="negative"):
        spec(y, f, stock=-1)
