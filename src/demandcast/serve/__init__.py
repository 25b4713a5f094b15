"""Forecasts over HTTP: `demandcast serve`, or `create_app` in a server of your own."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demandcast.serve.app import create_app
    from demandcast.serve.limits import Limits

_HOMES = {"create_app": "demandcast.serve.app", "Limits": "demandcast.serve.limits"}
__all__ = ["Limits", "create_app"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'demandcast.serve' has no attribute {name!r}")
