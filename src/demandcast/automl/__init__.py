"""The best blend of methods for a time budget (`auto`), and the search for hyper-parameters (`tune`).

The package is not named `auto`: a submodule of that name would replace the function `demandcast.auto` once imported.
"""

from demandcast.automl.auto import Auto, auto

__all__ = ["Auto", "auto"]
