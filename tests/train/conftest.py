"""Processes that begin with all imported, which takes a fresh one three seconds."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

import pytest


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Makes forks of a process that has imported all and started nothing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("no such forks on this system")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["demandcast.registry", "demandcast.models"])
    return context
