"""Concatenate panels, so that a method forecasts all their series in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from demandcast.panel.panel import Panel


def is_alike(one: Panel, other: Panel) -> bool:
    """Return whether two panels agree in all but their series: columns, encodings, time grid and time zone."""
    return (
        one.schema == other.schema
        and one.keys.schema == other.keys.schema
        and one.known_names == other.known_names
        and one.past_names == other.past_names
        and one.vocabularies == other.vocabularies
        and one.static_real_names == other.static_real_names
        and (one.available is None) == (other.available is None)
        and (one.share is None) == (other.share is None)
        and one.time_zone == other.time_zone
        and one.time_dtype == other.time_dtype
    )


def concatenate(panels: Sequence[Panel]) -> Panel:
    """Concatenate the series of all panels, in order, in new arrays.

    Keys may repeat: methods index series by position, and draw random numbers by key.

    Args:
        panels: At least one, each pair `is_alike`. Notes and left-out series are those of the first.
    """
    parts = [panel.compact() for panel in panels]
    before = np.cumsum([0, *[len(part.target) for part in parts[:-1]]])
    flat = {name: np.concatenate([part.flat[name] for part in parts]) for name in parts[0].flat}
    per_series = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("extents", "lengths", "starts", "static_codes", "static_reals")
    }
    begins = np.concatenate([part.begins + rows for part, rows in zip(parts, before, strict=True)])
    keys = pl.concat([part.keys for part in parts])
    arrays: dict[str, Any] = {**per_series, **flat, "begins": begins}
    return replace(parts[0], keys=keys, **arrays)
