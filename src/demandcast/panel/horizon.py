"""How many steps to forecast, and from how many cutoffs to measure, where nobody says it."""

from __future__ import annotations

from demandcast.panel.panel import Panel

USUAL = {"h": 48, "D": 28, "B": 20, "W": 8, "MS": 12, "ME": 12, "QS": 4, "QE": 4, "YS": 2, "YE": 2}
SHARE = 3  # the history is at least so many times as long


def usual_horizon(panel: Panel) -> int:
    """Return the steps to forecast: as far as known covariates reach, else what is usual for the frequency.

    Example:
        >>> import polars as pl
        >>> from demandcast.frames.read import read_panel
        >>> days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 12, 31), eager=True)
        >>> usual_horizon(read_panel(pl.DataFrame({"date": days, "units": range(366)})))
        28
    """
    reach = int((panel.extents - panel.lengths).min())
    if panel.known_names and reach > 0:
        return reach
    freq = panel.schema.freq
    usual = next((n for name, n in USUAL.items() if freq == name or freq.startswith(f"{name}-")), 0)
    usual = usual or max(2, panel.freq.period)
    return max(1, min(usual, int(panel.lengths.max()) // SHARE))


def usual_folds(panel: Panel, horizon: int) -> int:
    """Return the cutoffs of a short backtest: two, or as many as leave a history of as many steps before them; 0 where there is none."""
    return min(2, (int(panel.lengths.max()) - 1) // (2 * horizon))
