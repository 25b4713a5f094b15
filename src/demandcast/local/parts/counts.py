"""What count laws share: log-gamma on arrays, and the refusal of what is no count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from demandcast.errors import DataError
from demandcast.local.parts.histories import Array
from demandcast.panel.panel import Panel

FAR = 8.0  # from where Stirling's series is exact to 1e-13


def log_gamma(x: Array) -> Array:
    """log Gamma(x) for x > 0, any shape: Stirling's series, after stepping up to `FAR`.

    Abramowitz and Stegun 6.1.41 and 6.1.15; absolute error below 1e-12 for x up to 100.
    """
    x = np.asarray(x, np.float64)
    steps = np.maximum(np.ceil(FAR - x), 0)
    product = np.ones_like(x)
    for k in range(int(steps.max(initial=0))):
        product *= np.where(k < steps, x + k, 1.0)
    z = x + steps
    inverse = 1 / (z * z)
    tail = inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188))
    series = (1 / 12 - inverse * (1 / 360) + inverse * tail) / z
    return np.asarray(
        (z - 0.5) * np.log(z) - z + 0.5 * np.log(2 * np.pi) + series - np.log(product)
    )


def check_counts(name: str, panel: Panel) -> None:
    """Refuse a panel with values that are no counts, naming the first series and value."""
    values = panel.padded_history(max(1, int(panel.lengths.max(initial=1))))
    odd: NDArray[np.bool_] = (values < 0) | (values != np.rint(values)) & ~np.isnan(values)
    if odd.any():
        i = int(odd.any(1).argmax())
        raise DataError(
            f"{name} forecasts counts, but series {panel.key(i)} holds {values[i][odd[i]][0]:g}; "
            "round or clip the target, or use 'tsb' or 'willemain'"
        )
