"""The best blend of forecasts for the time there is.

The room is not called `auto`, for `demandcast.auto` is the function: a submodule of that name would
take its place once imported.
"""

from demandcast.automatic.auto import Auto, auto

__all__ = ["Auto", "auto"]
