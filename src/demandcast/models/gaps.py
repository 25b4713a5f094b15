"""Warn of series whose recent history is a gap."""

from __future__ import annotations

import logging
from functools import lru_cache

import numpy as np

from demandcast.panel.panel import Panel
from demandcast.windows.window_source import FEWEST_VALUES

log = logging.getLogger("demandcast")


def warn_of_gaps(name: str, panel: Panel, reach: int) -> None:
    """Log which series have next to no values in the last steps, but earlier ones.

    Args:
        name: The method's, for the message.
        panel: What is forecast.
        reach: Steps that the method reads.
    """
    observed = panel.n_observed(reach)
    series = np.flatnonzero((observed < FEWEST_VALUES) & (observed < panel.n_observed()))
    if len(series):
        warn_once(
            f"{name}: {len(series):,} series hold fewer than {FEWEST_VALUES} values in the last {reach} "
            f"steps (e.g. {panel.key(int(series[0]))}); they are forecast from the same places of "
            "earlier seasons, before the gap"
        )


@lru_cache(maxsize=256)
def warn_once(message: str) -> None:
    """Log a warning the first time only: backtests and `auto` forecast the same series many times."""
    log.warning("%s", message)
