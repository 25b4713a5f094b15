"""Turn a search into an ensemble: choose weights, calibration, rounding and zeros on the validation."""

from __future__ import annotations

import logging

import numpy as np

from demandcast import registry
from demandcast.automl.account import Account
from demandcast.automl.blend import GAIN, Blend, Evidence, choose
from demandcast.automl.calibrate import Adjustment, calibration
from demandcast.automl.ensemble import Ensemble
from demandcast.automl.member import Member
from demandcast.automl.portfolio import NAIVE
from demandcast.automl.search import Search
from demandcast.automl.validation import BLEND_LEVELS
from demandcast.automl.zero_levels import with_zeros, zero_levels
from demandcast.forecaster import Learning
from demandcast.panel.classes import CLASSES
from demandcast.panel.panel import Panel

log = logging.getLogger("demandcast")


def conclude(search: Search, name: str) -> tuple[Ensemble, Account | None]:
    """Take the best blend of what was tried; if that is interrupted, the best single member.

    Args:
        search: With one member or more.
        name: Of the blend, on the leaderboard.
    """
    adjustment, rounds, zeros, account = None, False, 0, None
    try:
        evidence = search.evidence()
        blend, adjustment, rounds, zeros, account = weigh(search, evidence, name, search.only)
    except KeyboardInterrupt:
        best = int(np.argmax(search.shares()))
        blend = Blend(np.eye(len(search.members))[best], {}, False)
        log.warning("auto was interrupted; %s is taken", search.members[best].name)
    ensemble = assemble(search, blend, adjustment, rounds, zeros)
    for member in ensemble.members:
        if not member.learns:
            member.models[0].fit(search.panel)
    return ensemble, account


def assemble(
    search: Search, blend: Blend, adjustment: Adjustment | None, rounds: bool, zeros: int
) -> Ensemble:
    """Return the members that have weight in a blend, as an ensemble."""
    weight = np.max([blend.shared, *blend.by_group.values()], axis=0)
    chosen = np.flatnonzero(weight > 0)
    members = [search.members[i] for i in chosen]
    tilts = blend.tilts
    blend = Blend(
        blend.shared[chosen],
        {code: weights[chosen] for code, weights in blend.by_group.items()},
        blend.mixed,
        None if tilts is None else tilts[:, chosen],
    )
    trained = next((m for m in search.members if m.models[-1].for_new_items), None)
    return Ensemble(
        members=members,
        blend=blend,
        horizon=search.horizon,
        seed=search.seed,
        learned=extent(search.panel),
        adjustment=adjustment,
        rounds=rounds,
        zeros=zeros,
        places={} if tilts is None else {search.panel.key(i): i for i in range(len(tilts))},
        cold=None if trained is None or trained in members else trained.models[-1],
    )


def weigh(
    search: Search, evidence: Evidence, name: str, only: Member | None = None
) -> tuple[Blend, Adjustment, bool, int, Account]:
    """Choose weights, calibration, rounding, and the levels that are 0; `only` takes one member alone."""
    allowed = search.allowed(evidence)
    blend = choose(evidence, allowed) if only is None else _alone(search, only)
    weights = blend.weights(evidence.group, evidence.series)
    blended = blend.combine(evidence.quantiles, weights, BLEND_LEVELS)
    stretch = search.validation.stretch()
    adjustment = calibration(evidence, blended, stretch, len(CLASSES))
    blended = adjustment.apply(blended, evidence.group, stretch)
    counts, rounds = search.validation.whole(), False
    if counts.any():
        rounded = np.where(counts[:, None], np.rint(blended), blended).astype(np.float32)
        lost = [float((evidence.pinball(q) * evidence.weight).sum()) for q in (blended, rounded)]
        rounds = lost[1] < (1 + GAIN) * lost[0]
        blended = rounded if rounds else blended
    zeros = zero_levels(evidence, blended)
    blended = with_zeros(blended, zeros)
    return (
        blend,
        adjustment,
        rounds,
        zeros,
        Account.of(search.members, evidence, blend, blended, allowed, name, search.validation),
    )


def _alone(search: Search, member: Member) -> Blend:
    """Return the blend of one member."""
    return Blend(np.array([float(m is member) for m in search.members]), {}, False)


def fall_back(panel: Panel, horizon: int, seed: int) -> Ensemble:
    """Return the seasonal naive and the empirical forecast, half and half, where nothing was measured."""
    models = [
        registry.create(name, horizon=horizon, seed=seed).fit(panel)
        for name in (NAIVE, "empirical")
    ]
    return Ensemble(
        members=[Member.fitted([model], Learning.LOCAL) for model in models],
        blend=Blend(np.array([0.5, 0.5]), {}, False),
        horizon=horizon,
        seed=seed,
        learned=extent(panel),
    )


def extent(panel: Panel) -> tuple[int, int]:
    """Return the steps of a history, and the grid step of the newest of them."""
    return panel.n_steps, int(panel.ends().max(initial=0))
