"""Choose the forecast whose orders cost least: replay members and blend on the windows that were held out.

The candidates are the blend that the usual metric would choose and each member alone, calibrated alike. Each orders
in the rounds that lie in the held-out windows, with fits that have not seen them, by the engine of `dc.replay`. A
member replaces the blend only where its orders cost `GAIN` less, because a few rounds tell little.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from demandcast.automl.conclude import assemble, weigh
from demandcast.automl.ensemble import Ensemble
from demandcast.automl.member import Member
from demandcast.automl.search import Search
from demandcast.automl.validation import Validation
from demandcast.decide.replay import (
    COVER,
    PATHS,
    SIGMA,
    Replay,
    mean_demand_on_hand,
    opening,
    play_forecasts,
    usual_window,
)
from demandcast.decide.rules import Policy
from demandcast.forecast.draft import Ask
from demandcast.forecast.forecast import Forecast
from demandcast.forecaster import fit
from demandcast.panel.panel import Panel

log = logging.getLogger("demandcast")
ROUNDS = 8  # orders of each item at most
GAIN = 0.01  # of the blend's cost, that a member alone has to save
BLEND = "auto"


@dataclass(frozen=True)
class Rounds:
    """The states of the held-out part of a panel at which orders are placed."""

    panels: tuple[Panel, ...]
    policy: Policy

    @classmethod
    def of(cls, panel: Panel, validation: Validation, policy: Policy) -> Rounds:
        """Return the rounds whose windows end with the panel; none where the held-out part is too short for one.

        Args:
            panel: The whole history.
            validation: What was held out of it, and which series are scored.
            policy: With lead time, review period and costs.
        """
        assert policy.lead_time is not None
        lead, step = int(policy.lead_time), policy.review
        held_out = validation.ahead * len(validation.folds)
        count = min(ROUNDS, (held_out - lead) // step)
        if count < 1 or lead + step > validation.ahead:
            return cls((), policy)
        scored = panel.select(validation.folds[0].series)
        steps = lead + count * step
        return cls(tuple(scored.drop_last(steps - r * step) for r in range(count)), policy)

    def forecast(self, name: str, ensemble: Ensemble) -> list[Forecast]:
        """Return the forecast of every round by an ensemble of the fits that were validated."""
        forecasts = []
        for panel in self.panels:
            for member in ensemble.members:
                if not member.learns:
                    fit(member.models[0], panel, progress=False)
            draft = ensemble.forecast(panel, Ask((0.5,), PATHS))
            forecasts.append(
                Forecast.of(panel, (0.5,), draft.quantiles, draft.mean, samples=draft.samples, model=name)
            )  # fmt: skip
        return forecasts

    def play(self, forecasts: dict[str, list[Forecast]]) -> Replay:
        """Return what the orders by each candidate's forecasts would have cost."""
        first = self.panels[0]
        window = usual_window(first)
        start = mean_demand_on_hand(opening(None, first, self.policy), first, window)
        return play_forecasts(forecasts, list(self.panels), start, self.policy, window)


def keep_cheapest(search: Search, policy: Policy) -> Replay | None:
    """Let the candidate forecast whose orders cost least; return what all would have cost.

    Members that lose to the seasonal naive, or for which no time is left, are no candidates. Without a round in the
    held-out windows the blend stays, and `skipped` says so.
    """
    rounds = Rounds.of(search.panel, search.validation, policy)
    if not rounds.panels:
        held_out = search.validation.ahead * len(search.validation.folds)
        search.skipped["cost"] = (
            f"the windows held out, of {held_out} steps, are too short for an order; the blend is chosen by wql"
        )
        log.warning("auto: %s", search.skipped["cost"])
        return None
    evidence = search.evidence()
    allowed = search.allowed(evidence)
    order = [i for i in np.argsort(-search.shares(), kind="stable") if allowed[i]]
    candidates: list[Member | None] = [None, *(search.members[i] for i in order)]
    forecasts: dict[str, list[Forecast]] = {}
    for member in candidates:
        if forecasts and search.left <= 0:
            break
        name = BLEND if member is None else member.name
        blend, adjustment, rounded, zeros, _ = weigh(search, evidence, BLEND, member)
        trial = with_validated_fits(assemble(search, blend, adjustment, rounded, zeros))
        forecasts[name] = rounds.forecast(name, trial)
    replay = rounds.play(forecasts)
    best = cheapest(replay.leaderboard(), list(forecasts))
    search.keep_only(None if best == BLEND else next(m for m in search.members if m.name == best))
    return replay


def chosen_by_cost(replay: Replay, ensemble: Ensemble) -> str:
    """Return one sentence on the costs that decided."""
    costs = dict(replay.leaderboard().select("model", "cost").rows())
    name = ensemble.members[0].name if len(ensemble.members) == 1 else BLEND
    name = name if name in costs else BLEND
    usual = min(costs[SIGMA], costs[COVER])
    return (
        f"Orders of {len(replay.panels)} rounds in the windows held out would have cost {costs[name]:,.2f} by "
        f"{name}, {costs[BLEND]:,.2f} by the blend, and {usual:,.2f} by the better usual rule."
    )


def with_validated_fits(ensemble: Ensemble) -> Ensemble:
    """Return the ensemble of the fits that have not seen the held-out windows."""
    members = [
        replace(m, models=[m.models[0] if m.validated is None else m.validated])
        for m in ensemble.members
    ]
    return replace(ensemble, members=members)


def cheapest(board: pl.DataFrame, names: list[str]) -> str:
    """Return the candidate whose orders cost least; the blend unless a member saves `GAIN` of its cost.

    Args:
        board: Of a replay.
        names: The candidates.
    """
    costs = dict(board.select("model", "cost").rows())
    best = min(names, key=lambda name: costs[name])
    return best if BLEND not in names or costs[best] < (1 - GAIN) * costs[BLEND] else BLEND
