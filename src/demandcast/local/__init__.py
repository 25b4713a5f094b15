"""Methods fitted series by series, computed for all series at once."""

from __future__ import annotations

from demandcast import registry
from demandcast.local.analogues import Analogues
from demandcast.local.bootstrap import Renewal, ViswanathanZhou, Willemain
from demandcast.local.croston import ADIDA, HES, IMAPA, SBA, SBJ, SES, TSB, Croston
from demandcast.local.damped_counts import DampedCounts
from demandcast.local.empirical import Empirical, Zero
from demandcast.local.ets import ETS
from demandcast.local.gamma_poisson import GammaPoisson
from demandcast.local.level_shape import LevelShape
from demandcast.local.local_level import LocalLevel
from demandcast.local.multi_stage import MultiStage
from demandcast.local.naive import Drift, LastValue, SeasonalNaive, WindowAverage
from demandcast.local.routed import Routed
from demandcast.local.theta import AutoTheta, OptimisedTheta, Theta


def names() -> tuple[str, ...]:
    """Return the names of the local methods."""
    return registry.names("local")


__all__ = [
    "ADIDA",
    "ETS",
    "HES",
    "IMAPA",
    "SBA",
    "SBJ",
    "SES",
    "TSB",
    "Analogues",
    "AutoTheta",
    "Croston",
    "DampedCounts",
    "Drift",
    "Empirical",
    "GammaPoisson",
    "LastValue",
    "LevelShape",
    "LocalLevel",
    "MultiStage",
    "OptimisedTheta",
    "Renewal",
    "Routed",
    "SeasonalNaive",
    "Theta",
    "ViswanathanZhou",
    "Willemain",
    "WindowAverage",
    "Zero",
    "names",
]
