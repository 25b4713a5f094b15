"""Metrics, and backtests from several cutoffs."""
