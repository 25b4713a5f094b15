"""Divide arrays of series into a part to learn from and a later part to test on."""

from __future__ import annotations

from typing import Any

from demandcast.errors import ConfigError, DataError


def split(*arrays: Any, test_size: float = 0.25, context: int = 0) -> list[Any]:
    """Split arrays in time: the first steps of every series for training, the last for testing.

    Steps are never shuffled: a model that has seen the days around a test day is tested on what it knows.

    Args:
        arrays: `X` and `y`, or any number of NumPy arrays or tensors, (series, steps, ...) each.
        test_size: Steps of the test part, or their share of all steps (0.2).
        context: So many steps before the test part are its first steps too, so that a model that reads
            a context can forecast the first test step. They are not to be scored.

    Returns:
        Train and test part of each array, in the order of scikit-learn's `train_test_split`:
        X_train, X_test, y_train, y_test. They are views, not copies.

    Raises:
        DataError: An array has fewer than two axes, or the arrays have other series or steps.
        ConfigError: A part would be empty, or the context begins before the first step.

    Example:
        >>> import numpy as np
        >>> import demandcast as dc
        >>> X, y = np.zeros((3, 100, 5)), np.zeros((3, 100))
        >>> X_train, X_test, y_train, y_test = dc.windows.split(X, y, test_size=20, context=7)
        >>> X_train.shape, X_test.shape, y_test.shape
        ((3, 80, 5), (3, 27, 5), (3, 27))
    """
    shapes = [tuple(getattr(array, "shape", ())) for array in arrays]
    if not shapes or any(len(shape) < 2 for shape in shapes):
        shapes_text = ", ".join(map(str, shapes)) or "none"
        raise DataError(
            f"split takes arrays of (series, steps) or (series, steps, features), and was given shapes "
            f"{shapes_text}; give one series as array[None]"
        )
    if len({shape[:2] for shape in shapes}) > 1:
        raise DataError(
            f"the arrays have shapes {', '.join(map(str, shapes))}; their series and steps, the first two "
            "axes, have to be the same"
        )
    steps = shapes[0][1]
    tested = _steps(test_size, steps)
    if type(context) is not int or context < 0:
        raise ConfigError(f"context is {context!r}; it is a whole number of steps, 0 or more")
    first = steps - tested
    if context > first:
        raise ConfigError(
            f"context={context} reaches before the first step: {first} steps lie before the test part; "
            f"take a context of {first} or less, or a smaller test_size"
        )
    return [part for array in arrays for part in (array[:, :first], array[:, first - context :])]


def _steps(test_size: Any, steps: int) -> int:
    """Return the steps of the test part, which leaves at least one to learn from."""
    tested = 0
    if type(test_size) is int:
        tested = test_size
    elif isinstance(test_size, float) and 0 < test_size < 1:
        tested = max(1, round(test_size * steps))
    if not 0 < tested < steps:
        raise ConfigError(
            f"test_size is {test_size!r}, of {steps} steps; it is a whole number from 1 to {steps - 1}, "
            "or a share of the steps such as 0.2"
        )
    return tested
