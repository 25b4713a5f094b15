"""Forecasts and their scores as something to look at."""

from demandcast.report.figures import fan_chart
from demandcast.report.page import write_report

__all__ = ["fan_chart", "write_report"]
