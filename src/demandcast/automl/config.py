"""Settings of the search for the best blend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from demandcast.automl.portfolio import PRESETS, method
from demandcast.automl.validation import METRICS
from demandcast.settings import COUNT, SEED, MethodSettings, choice, setting
from demandcast.train.budget import Budget


@dataclass(frozen=True, kw_only=True)
class AutoConfig(MethodSettings):
    """Settings of the search."""

    # for `fit` and one `predict`: "30s", "5m", "1h", seconds; or training steps of each network,
    # "500 steps", for the same numbers on every run
    budget: str | float = "5m"
    # best tries all of the portfolio, fast no networks
    preset: str = setting("best", choice(*PRESETS))
    # members are weighted by: wql (pooled over series), sql, mase or rmsse (of the mean; averaged over
    # series), spec (units owed and in stock; pooled)
    metric: str = setting("wql", choice(*METRICS))
    # cutoffs of the validation, one horizon apart; None: 2, and up to 7 where series are few and long
    folds: int | None = setting(None, COUNT)
    include: str | tuple[str, ...] | None = None  # names to try instead of the portfolio
    exclude: str | tuple[str, ...] | None = None  # names to leave out
    seed: int = setting(0, SEED)  # of every member and draw

    def __post_init__(self) -> None:
        """Refuse values that cannot work, by name."""
        Budget.parse(self.budget)
        for name in ("include", "exclude"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else _names(value))
        super().__post_init__()
        for name in (*(self.include or ()), *(self.exclude or ())):
            method(name)


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; one name alone, or several by commas, are taken too."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value)
