"""The `Forecast`: quantiles, mean and paths of all series."""

from demandcast.forecast.forecast import DEFAULT_LEVELS, Forecast

__all__ = ["DEFAULT_LEVELS", "Forecast"]
