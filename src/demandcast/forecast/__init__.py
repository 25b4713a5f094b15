"""Forecast, and what is done to one."""

from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast

__all__ = ["DEFAULT_LEVELS", "Forecast"]
