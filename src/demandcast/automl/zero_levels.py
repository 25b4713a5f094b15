"""Set low quantiles to 0 where that lowers the loss.

On slow movers, members that disagree blend into fractions of a unit. Where most values are 0, so are the lower quantiles
of the best forecast. The loss of 0 is known without a fit, so a blend is compared with it level by level, and the
levels with a larger loss are forecast as 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demandcast.automl.blend import Evidence, validation_folds

Floats = NDArray[np.float32]


def zero_levels(evidence: Evidence, quantiles: Floats) -> int:
    """Return how many of the lowest levels are better forecast as 0 than by `quantiles` (R, Q).

    As many as save the most loss, none above the share of zeros among the values, and only if they lose in no
    part of the validation (`demandcast.automl.blend.validation_folds`). 0 where a value is negative.
    """
    actual = evidence.actual.astype(np.float32)[:, None]
    if not len(actual) or (actual < 0).any():
        return 0
    levels = np.array(evidence.levels, np.float32)
    error = actual - quantiles
    losses = np.maximum(levels * error, (levels - 1) * error)
    saved = (losses - levels * actual) * evidence.weight.astype(np.float32)[:, None]
    plausible = levels <= (actual == 0).mean()
    total = np.where(plausible, np.cumsum(saved.sum(0, dtype=np.float64)), -np.inf)
    count = int(total.argmax()) + 1
    if total[count - 1] <= 0:
        return 0
    saves_everywhere = all(
        saved[fold, :count].sum(dtype=np.float64) >= 0 for fold in validation_folds(evidence)
    )
    return count if saves_everywhere else 0


def with_zeros(quantiles: Floats, count: int) -> Floats:
    """Return quantiles (..., Q) with the lowest `count` levels at 0."""
    lowest = np.arange(quantiles.shape[-1]) < count
    return np.where(lowest, np.minimum(quantiles, 0), quantiles)
