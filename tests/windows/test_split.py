"""Arrays are divided in time, never at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import demandcast as dc

STEPS = np.arange(3 * 50).reshape(3, 50)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize(("test_size", "tested"), [(10, 10), (0.25, 12), (0.001, 1), (49, 49)])
def test_every_test_step_is_later_than_every_training_step(
    kind: Any, test_size: float, tested: int
) -> None:
    x, y = kind(np.stack([STEPS] * 4, -1)), kind(STEPS)
    x_train, x_test, y_train, y_test = dc.windows.split(x, y, test_size=test_size)
    assert (np.concatenate([y_train, y_test], 1) == STEPS).all()
    assert y_test.shape == (3, tested)
    assert (np.asarray(x_test[..., 0]) == np.asarray(y_test)).all()
    assert x_train.shape == (3, 50 - tested, 4)
    assert type(x_train) is type(x)


def test_the_test_part_may_begin_with_its_context() -> None:
    train, test = dc.windows.split(STEPS, test_size=5, context=7)
    assert (test[:, :7] == train[:, -7:]).all()
    assert (test[:, 7:] == STEPS[:, -5:]).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"test_size": 50}, "test_size is 50, of 50 steps"),
        ({"test_size": 1.0}, "test_size is 1.0"),
        ({"test_size": True}, "test_size is True"),
        ({"test_size": 10, "context": 41}, "context of 40 or less"),
        ({"context": -1}, "context is -1"),
    ],
)
def test_parts_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(dc.errors.ConfigError, match=said):
        dc.windows.split(STEPS, **given)


def test_arrays_of_other_steps_or_without_series_are_refused() -> None:
    with pytest.raises(dc.errors.DataError, match="have to be the same"):
        dc.windows.split(STEPS, STEPS[:, 1:])
    with pytest.raises(dc.errors.DataError, match=r"array\[None\]"):
        dc.windows.split(STEPS[0])
