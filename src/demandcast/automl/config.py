"""Settings of the search for the best blend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from demandcast.automl.portfolio import PRESETS, method
from demandcast.automl.validation import METRICS
from demandcast.decide.rules import Policy
from demandcast.errors import ConfigError, way
from demandcast.settings import (
    COUNT,
    POSITIVE,
    SEED,
    MethodSettings,
    choice,
    setting,
    whole_number,
)
from demandcast.train.budget import Budget

COST = "cost"  # the metric of orders in money


@dataclass(frozen=True, kw_only=True)
class AutoConfig(MethodSettings):
    """Settings of the search."""

    # for `fit` and one `predict`: "30s", "5m", "1h", seconds; or training steps of each network,
    # "500 steps", for the same numbers on every run
    budget: str | float = "5m"
    # best tries all of the portfolio, fast no networks
    preset: str = setting("best", choice(*PRESETS))
    # members are weighted by: wql (pooled over series), sql, mase or rmsse (of the mean; averaged over
    # series), spec (units owed and in stock; pooled). cost: by wql, and then the blend or one member, whichever
    # orders at the least cost on the windows held out; it needs lead_time, cost_under and cost_over
    metric: str = setting("wql", choice(*METRICS, COST))
    lead_time: int | None = setting(None, whole_number(0))  # steps until an order is on sale
    review: int = setting(1, COUNT)  # steps between orders
    cost_under: float | None = setting(None, POSITIVE)  # money lost by one unit short
    cost_over: float | None = setting(None, POSITIVE)  # money lost by one unit left over
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
        self._check_cost()
        for name in (*(self.include or ()), *(self.exclude or ())):
            method(name)

    @property
    def score(self) -> str:
        """The metric that weights are chosen by."""
        return "wql" if self.metric == COST else self.metric

    @property
    def policy(self) -> Policy | None:
        """The order rule of the metric "cost"; None for others."""
        if self.metric != COST:
            return None
        return Policy(
            lead_time=self.lead_time, review=self.review, cost_under=self.cost_under, cost_over=self.cost_over
        )  # fmt: skip

    def _check_cost(self) -> None:
        """Check that what orders need is there with the metric "cost", and only then."""
        needed = ("lead_time", "cost_under", "cost_over")
        present = [name for name in needed if getattr(self, name) is not None]
        if self.metric != COST:
            if present:
                raise ConfigError(
                    f"{present[0]} is of orders, and the metric is {self.metric}; leave it out, or give",
                    option=present[0], ways=[way(metric=COST)],
                )  # fmt: skip
            return
        if absent := [name for name in needed if name not in present]:
            raise ConfigError(
                f"metric='cost' replays orders and needs {', '.join(needed)}; {absent[0]} is not given; give",
                option=absent[0], ways=[way(lead_time=2, cost_under=1, cost_over=0.2)],
            )  # fmt: skip
        assert self.lead_time is not None
        if self.lead_time + self.review > self.horizon:
            raise ConfigError(
                f"lead_time and review are {self.lead_time + self.review} steps, and the horizon is {self.horizon}; "
                "an order is decided by the steps until the next one arrives; give",
                option="horizon", ways=[way(horizon=self.lead_time + self.review)],
            )  # fmt: skip


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple; one name alone, or several by commas, are taken too."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value)
