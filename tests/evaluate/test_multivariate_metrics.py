"""RSE and CORR against their definitions, written out as loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from demandcast.errors import ShapeError
from demandcast.evaluate.multivariate_metrics import corr, rse


def loop_rse(y: np.ndarray, f: np.ndarray) -> float:
    cells = [(t, i) for t in range(len(y)) for i in range(y.shape[1]) if not math.isnan(y[t, i])]
    mean = sum(y[c] for c in cells) / len(cells)
    return math.sqrt(sum((y[c] - f[c]) ** 2 for c in cells)) / math.sqrt(
        sum((y[c] - mean) ** 2 for c in cells)
    )


def loop_corr(y: np.ndarray, f: np.ndarray) -> float:
    found = []
    for i in range(y.shape[1]):
        steps = [t for t in range(len(y)) if not math.isnan(y[t, i])]
        my, mf = (sum(v[t, i] for t in steps) / len(steps) for v in (y, f))
        both = sum((y[t, i] - my) * (f[t, i] - mf) for t in steps)
        sizes = [sum((v[t, i] - m) ** 2 for t in steps) for v, m in ((y, my), (f, mf))]
        found.append(both / math.sqrt(sizes[0] * sizes[1]))
    return sum(found) / len(found)


def test_both_are_what_their_definitions_say() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 4)) * [1, 5, 0.1, 2] + [0, 10, 3, -4]
    f = y + rng.normal(size=y.shape)
    assert rse(y, f) == pytest.approx(loop_rse(y, f), rel=1e-12)
    assert corr(y, f) == pytest.approx(loop_corr(y, f), rel=1e-12)
    y[3, 1], y[7:9, 2] = np.nan, np.nan
    assert rse(y, f) == pytest.approx(loop_rse(y, f), rel=1e-12)
    assert corr(y, f) == pytest.approx(loop_corr(y, f), rel=1e-12)


def test_levels_that_differ_flatter_the_rse_and_not_the_corr() -> None:
    y = np.array([[1.0, 101.0], [3.0, 103.0], [2.0, 102.0]])
    still = np.broadcast_to([2.0, 102.0], y.shape)
    assert rse(y, still) == pytest.approx(2 / math.sqrt(4 + 6 * 50**2))
    assert corr(y, still) == 0
    assert rse(y, np.full_like(y, y.mean())) == pytest.approx(1)


def test_series_that_stand_still_do_not_count() -> None:
    y = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]])
    f = np.array([[2.0, 6.0], [3.0, 7.0], [4.0, 9.0]])
    assert corr(y, f) == pytest.approx(1)
    assert math.isnan(corr(y[:, 1:], f[:, 1:]))
    assert math.isnan(rse(y[:, 1:], f[:, 1:]))


def test_a_forecast_of_nan_is_not_passed_over() -> None:
    y, f = np.array([[1.0, 7.0], [2.0, 5.0]]), np.array([[1.0, 7.0], [2.0, np.nan]])
    assert math.isnan(rse(y, f))
    assert math.isnan(corr(y, f))
    y[1, 1] = np.nan
    assert rse(y, f) == 0
    assert corr(y, f) == 1


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 2\).*\(2, 2\).*one forecast a step"):
        rse(np.zeros((2, 2)), np.zeros((3, 2)))
