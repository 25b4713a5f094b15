"""One thread a worker: pytest-xdist already keeps every core busy, and torch's threads then fight."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported
