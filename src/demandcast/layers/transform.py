"""A logarithmic scale for networks whose errors grow with the level: log(1 + y / scale)."""

from __future__ import annotations

import numpy as np

from demandcast.panel.panel import Panel

TRANSFORMS = ("auto", "log1p", "none")


def resolve_transform(name: str, panel: Panel) -> str:
    """Return the transform that "auto" means: log1p if no value of the panel is below 0."""
    if name != "auto":
        return name
    return "none" if bool(np.isinf(panel.floors()).any()) else "log1p"
