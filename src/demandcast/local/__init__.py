"""Methods fitted series by series, computed for all series at once."""

from __future__ import annotations

from demandcast.forecaster import Forecaster
from demandcast.local.naive import Drift, LastValue, SeasonalNaive, WindowAverage

_ALL: dict[str, type[Forecaster]] = {
    kind.name: kind for kind in (LastValue, SeasonalNaive, Drift, WindowAverage)
}


def names() -> tuple[str, ...]:
    """Every local method's name."""
    return tuple(_ALL)


__all__ = ["Drift", "LastValue", "SeasonalNaive", "WindowAverage", "names"]
