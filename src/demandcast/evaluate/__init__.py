"""Forecast and what came: scores, and backtests from several cutoffs."""
