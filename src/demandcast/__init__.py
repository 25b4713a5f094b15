"""Probabilistic demand forecasts from a table, and the proof that they beat a naive one.

The public names are loaded on first use, so that `import demandcast` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demandcast import decide, errors, frames, local, models, train, trees, windows
    from demandcast.automl.auto import Auto, auto
    from demandcast.automl.tune import tune
    from demandcast.decide.orders import Orders, order
    from demandcast.decide.replay import Replay, replay
    from demandcast.evaluate.backtest import BacktestResult, backtest
    from demandcast.forecast.forecast import Forecast
    from demandcast.frames.read import read_panel
    from demandcast.frames.wide import from_wide
    from demandcast.notebook import load_ipython_extension
    from demandcast.panel.panel import Panel
    from demandcast.reading import Reading
    from demandcast.registry import load, register
    from demandcast.schema import Schema

__version__ = "0.1.0"

_HOMES = {
    "Auto": "demandcast.automl.auto",
    "BacktestResult": "demandcast.evaluate.backtest",
    "Forecast": "demandcast.forecast.forecast",
    "Orders": "demandcast.decide.orders",
    "Panel": "demandcast.panel.panel",
    "Reading": "demandcast.reading",
    "Replay": "demandcast.decide.replay",
    "Schema": "demandcast.schema",
    "auto": "demandcast.automl.auto",
    "backtest": "demandcast.evaluate.backtest",
    "load": "demandcast.registry",
    "register": "demandcast.registry",
    "load_ipython_extension": "demandcast.notebook",
    "order": "demandcast.decide.orders",
    "replay": "demandcast.decide.replay",
    "tune": "demandcast.automl.tune",
    "from_wide": "demandcast.frames.wide",
    "read_panel": "demandcast.frames.read",
}
_ROOMS = ("decide", "errors", "frames", "local", "models", "train", "trees", "windows")

__all__ = [
    "Auto",
    "BacktestResult",
    "Forecast",
    "Orders",
    "Panel",
    "Reading",
    "Replay",
    "Schema",
    "auto",
    "backtest",
    "decide",
    "errors",
    "frames",
    "from_wide",
    "load",
    "load_ipython_extension",
    "local",
    "models",
    "order",
    "read_panel",
    "register",
    "replay",
    "train",
    "trees",
    "tune",
    "windows",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"demandcast.{name}")
    raise AttributeError(f"module 'demandcast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
