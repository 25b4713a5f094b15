"""Settings of the search for the best blend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from demandcast.automatic.portfolio import PRESETS, method
from demandcast.automatic.validation import METRICS
from demandcast.settings import one_of, whole
from demandcast.train.budget import Budget


@dataclass(frozen=True, kw_only=True)
class AutoConfig:
    """Settings of the search."""

    horizon: int  # steps forecast
    # for `fit` and one `predict`: "30s", "5m", "1h", seconds; or training steps of each network,
    # "500 steps", for the same numbers on every run
    budget: str | float = "5m"
    preset: str = "best"  # best tries all of the portfolio, fast no networks
    # members are weighted by: wql (pooled over series), sql, mase or rmsse (of the mean; averaged over
    # series), spec (units owed and in stock; pooled)
    metric: str = "wql"
    # cutoffs of the validation, one horizon apart; None: 2, and up to 7 where series are few and long
    folds: int | None = None
    include: str | tuple[str, ...] | None = None  # names to try instead of the portfolio
    exclude: str | tuple[str, ...] | None = None  # names to leave out
    seed: int = 0  # of every member and draw

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        Budget.parse(self.budget)
        one_of("metric", self.metric, METRICS)
        one_of("preset", self.preset, tuple(PRESETS))
        if self.folds is not None:
            whole("folds", self.folds, least=1)
        whole("seed", self.seed, least=0)
        for name in ("include", "exclude"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else _names(value))
        for name in (*(self.include or ()), *(self.exclude or ())):
            method(name)


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; one name alone, or several by commas, are taken too."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value)
