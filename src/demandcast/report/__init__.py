"""Forecasts and their scores as something to look at."""

from demandcast.report.figures import fan_chart

__all__ = ["fan_chart"]
