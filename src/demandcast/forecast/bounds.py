"""How far a forecast may lie from what its own series has shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

ROOM = 1_000.0  # times the largest value of a series' own history
LARGEST = float(np.finfo(np.float32).max)


def bounds(panel: Panel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest value that a forecast of each series may have, (N,) both.

    A forecast is at most `ROOM` times the largest |value| of the series' own history, and never
    beyond float32. A history of zeros counts as one of at most 1, or as the smallest series of the
    panel where that is smaller. A series without an observed value, whose size was learned from other
    items, has the bound of float32 alone. A history that is never negative stops at 0; one of
    whole numbers has a whole bound.
    """
    own = panel.largest().astype(np.float64)
    unseen = panel.n_observed() == 0
    zeros = min(1.0, own[own > 0].min(initial=own.max(initial=0.0)))
    other = np.where(unseen, LARGEST, ROOM * zeros)
    high = np.minimum(np.where(own > 0, ROOM * own, other), LARGEST)
    high = np.where(panel.whole_numbers(), np.floor(high), high)
    return np.maximum(panel.floors(), -high), high


def bounded(
    values: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values (N, ...) as float32 within bounds (N,), and which series went above `high`.

    NaN stays NaN, for the caller to refuse.
    """
    shape = (len(values), *[1] * (values.ndim - 1))
    each = tuple(range(1, values.ndim))
    beyond = (np.abs(values) > high.reshape(shape) * (1 + 1e-6)).any(each)
    kept = np.clip(values, low.reshape(shape), high.reshape(shape))
    return kept.astype(np.float32, copy=False), beyond
