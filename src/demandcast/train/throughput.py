"""The former name of `demandcast.train.doctor`. Names are still found here, with a deprecation warning."""

from __future__ import annotations

import warnings
from typing import Any

from demandcast.train import doctor


def __getattr__(name: str) -> Any:
    if name not in doctor.__all__:
        raise AttributeError(f"module 'demandcast.train.throughput' has no attribute {name!r}")
    warnings.warn(
        f"demandcast.train.throughput is named demandcast.train.doctor now; import {name} from there",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(doctor, name)
