"""One thread a worker: pytest-xdist already keeps every core busy, and torch's threads then fight."""

from __future__ import annotations

import os

import pytest

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported
os.environ["POLARS_MAX_THREADS"] = "1"  # and Polars


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random panels each method is tried on; see tests/contracts/test_any_panel.py."""
    parser.addoption("--panels", type=int, default=None, help="random panels for each method")
