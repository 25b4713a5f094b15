"""The ensemble: the chosen members and their weights, and the forecast of their blend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from demandcast import registry
from demandcast.automl.blend import Blend
from demandcast.automl.calibrate import STRETCHES, Adjustment, stretches
from demandcast.automl.cold import like_items, new_items, trim_empty_steps
from demandcast.automl.member import Member
from demandcast.automl.portfolio import NAIVE
from demandcast.automl.validation import BLEND_LEVELS, codes
from demandcast.automl.zero_levels import with_zeros
from demandcast.draws.arrays import Draws
from demandcast.errors import CheckpointError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import (
    MEAN_LEVELS,
    MEAN_WEIGHTS,
    interpolate_quantiles,
    shuffle_paths,
)
from demandcast.forecaster import Forecaster, Learning
from demandcast.panel.classes import CLASSES
from demandcast.panel.panel import Panel
from demandcast.saved import Saved, Saving

COLD = "cold"  # the folder of the model of new items, in a saved run
ROWS = 50_000  # series and steps described at once
Floats = NDArray[np.float32]


@dataclass
class Ensemble:
    """Members with weights, fitted.

    Attributes:
        members: What has weight.
        blend: Their weights, by class of demand and by series.
        horizon, seed: As of `Auto`.
        learned: Steps of the history that the members were fitted on, and the grid step of its end.
        adjustment: Calibration of the blend; None where nothing was measured.
        rounds: Whether forecasts of whole numbers are rounded.
        zeros: How many of the lowest levels are 0, for series that never were below.
        places: Key of a series -> its row of the blend's tilts.
        cold: Forecaster of new items, where no member is trained for them.
    """

    members: list[Member]
    blend: Blend
    horizon: int
    seed: int
    learned: tuple[int, int]
    adjustment: Adjustment | None = None
    rounds: bool = False
    zeros: int = 0
    places: dict[str, int] = field(default_factory=dict)
    cold: Forecaster | None = None

    @property
    def trained(self) -> Forecaster | None:
        """The fit that is trained for new items, if there is one."""
        models = (m.models[-1] for m in self.members if m.models[-1].for_new_items)
        return next(models, self.cold)

    def parts(self) -> str:
        """Return the members with their weights, the heaviest first."""
        pairs = zip(self.members, self.blend.shared, strict=True)
        return ", ".join(
            f"{m.name} {w:.0%}" for m, w in sorted(pairs, key=lambda pair: -pair[1]) if w >= 0.005
        )

    def weights(self) -> pl.DataFrame:
        """Return the weights of the members, one row for all series and one for each class with its own."""
        rows = [
            ("all", self.blend.shared),
            *((CLASSES[c], w) for c, w in sorted(self.blend.by_group.items())),
        ]
        columns = {m.name: [float(w[i]) for _, w in rows] for i, m in enumerate(self.members)}
        return pl.DataFrame({"class": [kind for kind, _ in rows], **columns})

    def item_weights(self, panel: Panel) -> pl.DataFrame:
        """Return the weights that each series of a panel is forecast with, beside its key and class."""
        group = codes(panel)
        weights = self.blend.weights(group, self.rows(panel))
        columns = {m.name: weights[:, i] for i, m in enumerate(self.members)}
        kinds = pl.Series("class", [CLASSES[code] for code in group])
        return panel.keys.with_columns(kinds, **{k: pl.Series(v) for k, v in columns.items()})

    def align(self, panel: Panel) -> Panel:
        """Return a newer panel with its columns as the members were fitted on them."""
        for member in self.members:
            for model in member.models:
                panel = model.align(panel)
        return panel

    def forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast every series; see `Auto.predict`."""
        levels, n_samples = ask.levels, ask.n_samples
        panel = trim_empty_steps(panel)
        new = new_items(panel, trained=self.trained is not None)
        rest = panel.select(~new) if new.any() else panel
        grid = np.zeros((panel.n_series, self.horizon, len(BLEND_LEVELS)), np.float32)
        if rest.n_series:
            grid[~new] = self._quantiles(rest)
        if new.any():
            grid[new] = self._new_quantiles(rest, panel.select(new))
        floors = panel.floors()
        counts = panel.whole_numbers() if self.rounds else np.zeros(panel.n_series, np.bool_)
        quantiles = np.zeros((*grid.shape[:2], len(levels)), np.float32)
        mean = np.zeros(grid.shape[:2], np.float32)
        for start in range(0, panel.n_series, max(1, ROWS // self.horizon)):
            chunk = slice(start, start + max(1, ROWS // self.horizon))
            values = interpolate_quantiles(
                grid[chunk], BLEND_LEVELS, (*levels, *MEAN_LEVELS)
            ).astype(np.float32)
            values = _clip_and_round(values, floors[chunk], counts[chunk])
            quantiles[chunk] = values[..., : len(levels)]
            mean[chunk] = values[..., len(levels) :] @ MEAN_WEIGHTS
        samples = None
        if n_samples is not None:
            draws = Draws.of(panel.keys, self.seed)
            template = np.empty((panel.n_series, n_samples, self.horizon), np.float32)
            if rest.n_series:
                template[~new] = self._paths(rest, n_samples)
            # what is not known of a new item is its size: a path keeps its rank, more or less
            new_draws, paths = draws.select(new), (int(new.sum()), n_samples)
            ranks = new_draws.at("rank").uniform((*paths, 1))
            template[new] = ranks + 0.3 * new_draws.at("step").uniform((*paths, self.horizon))
            samples = _clip_and_round(
                shuffle_paths(template, grid, BLEND_LEVELS, draws.at("ties")), floors, counts
            )
        return Draft(quantiles, mean, samples)

    def _quantiles(self, panel: Panel) -> Floats:
        """Return quantiles (N, H, Q) of series that have a history."""
        blend = self.blend
        group = codes(panel)
        weights = blend.weights(group, self.rows(panel))
        shape = (panel.n_series, self.horizon)
        parts = [
            m.forecast(panel, BLEND_LEVELS)[0].reshape(-1, len(BLEND_LEVELS)) for m in self.members
        ]
        each = np.repeat(weights, self.horizon, 0)
        grid = blend.combine(np.stack(parts), each, BLEND_LEVELS)
        if self.adjustment is not None:
            part = np.tile(stretches(self.horizon), panel.n_series)
            grid = self.adjustment.apply(grid, np.repeat(group, self.horizon), part)
        grid = np.sort(grid, -1).reshape(*shape, -1)
        never_below = (panel.floors() == 0)[:, None, None]
        return np.where(never_below, with_zeros(grid, self.zeros), grid)

    def _new_quantiles(self, rest: Panel, new: Panel) -> Floats:
        """Return quantiles (N, H, Q) of items that have next to no history."""
        trained = self.trained
        if trained is not None:
            return trained.predict(new, levels=BLEND_LEVELS).quantiles
        return like_items(rest, new, self.horizon, BLEND_LEVELS)

    def new_items(self, panel: Panel) -> pl.DataFrame:
        """Return the series that have too little history; see `Auto.new_items`."""
        panel = trim_empty_steps(panel)
        new = panel.select(new_items(panel, trained=self.trained is not None))
        by = (
            "values of items alike"
            if self.trained is None
            else "trees, by attributes and items alike"
        )
        return new.keys.with_columns(pl.Series("values", new.n_observed()), by=pl.lit(by))

    def rows(self, panel: Panel) -> NDArray[np.int64]:
        """Return the row of the blend's tilts of each series, -1 where it is new."""
        if not self.places:
            return np.full(panel.n_series, -1)
        return np.array([self.places.get(panel.key(i), -1) for i in range(panel.n_series)])

    def _paths(self, panel: Panel, n_samples: int) -> Floats:
        """Draw paths of the heaviest member that draws them, else of the seasonal naive."""
        for i in np.argsort(-self.blend.shared):
            model = self.members[i].models[0]
            if "paths" in model.gives:
                samples = model.predict(panel, levels=[0.5], n_samples=n_samples).samples
                if samples is not None:
                    return np.asarray(samples, np.float32)
        naive = registry.create(NAIVE, horizon=self.horizon, seed=self.seed)
        drawn = naive.fit(panel).predict(panel, levels=[0.5], n_samples=n_samples).samples
        assert drawn is not None
        return np.asarray(drawn, np.float32)

    def write(self, run: Saving) -> dict[str, Any]:
        """Save every member into a folder of its own; return how they are blended."""
        places = [
            [f"member_{i}_{m.name}" + (f"_{k}" if k else "") for k in range(len(m.models))]
            for i, m in enumerate(self.members)
        ]
        for member, member_places in zip(self.members, places, strict=True):
            for model, place in zip(member.models, member_places, strict=True):
                with run.inner(place) as inner:
                    model.save_into(inner)
        if self.cold is not None:
            with run.inner(COLD) as inner:
                self.cold.save_into(inner)
        tilts = self.blend.tilts
        if tilts is not None:
            changed = {k: i for k, i in self.places.items() if (tilts[i] != 1).any()}
        return {
            "names": [m.name for m in self.members],
            "members": places,
            "shared": self.blend.shared.tolist(),
            "by_group": {
                str(code): weights.tolist() for code, weights in self.blend.by_group.items()
            },
            "mixed": self.blend.mixed,
            "shifts": None if self.adjustment is None else self.adjustment.shifts.tolist(),
            "rounds": self.rounds,
            "zeros": self.zeros,
            "tilts": None if tilts is None else {k: tilts[i].tolist() for k, i in changed.items()},
            "cold": self.cold is not None,
            "costs": [(m.learning.value, m.fit_seconds, m.predict_seconds) for m in self.members],
            "learned": self.learned,
        }

    @classmethod
    def read(cls, run: Saved, facts: BlendFacts, *, horizon: int, seed: int) -> Ensemble:
        """Return what `write` saved.

        Raises:
            CheckpointError: Its parts do not fit together.
        """
        count = len(facts.names)
        every: list[Sequence[Any]] = [
            facts.members,
            facts.costs,
            facts.shared,
            *facts.by_group.values(),
            *(facts.tilts or {}).values(),
        ]
        if not count or any(len(weights) != count for weights in every) or not all(facts.members):
            raise CheckpointError(
                f"{run.folder} is damaged: names, members, costs and weights of its blend are not of one "
                "number; save it again"
            )
        members = []
        for name, places, costs in zip(facts.names, facts.members, facts.costs, strict=True):
            models = [_restore_member(run.inner(place)) for place in places]
            member = Member.fitted(models, Learning(costs[0]))
            member.name, member.fit_seconds, member.predict_seconds = name, *costs[1:]
            members.append(member)
        by_group = {int(code): np.array(weights) for code, weights in facts.by_group.items()}
        rows = np.array(list(facts.tilts.values())) if facts.tilts else None
        return cls(
            members=members,
            blend=Blend(np.array(facts.shared), by_group, facts.mixed, rows),
            horizon=horizon,
            seed=seed,
            learned=facts.learned,
            adjustment=_adjustment(run, facts.shifts),
            rounds=facts.rounds,
            zeros=min(max(facts.zeros, 0), len(BLEND_LEVELS)),
            places={key: i for i, key in enumerate(facts.tilts or ())},
            cold=_restore_member(run.inner(COLD)) if facts.cold else None,
        )


@dataclass(frozen=True)
class BlendFacts:
    """What is saved of an `Auto` beside its members."""

    names: list[str]
    members: list[list[str]]  # folders of each
    shared: list[float]
    by_group: dict[str, list[float]]
    mixed: bool
    shifts: list[list[list[float]]] | None
    rounds: bool
    skipped: dict[str, str]
    tilts: dict[str, list[float]] | None
    cold: bool
    costs: list[tuple[str, float, float]]
    learned: tuple[int, int]
    account: dict[str, list[dict[str, Any]]] | None
    ahead: int
    zeros: int = 0


def _adjustment(run: Saved, saved: list[list[list[float]]] | None) -> Adjustment | None:
    """Return the calibration of a saved run, checked."""
    if saved is None:
        return None
    shifts = np.array(saved, np.float64)
    right = shifts.shape[1:] == (STRETCHES, len(BLEND_LEVELS)) and len(shifts) >= len(CLASSES)
    if not right or not (np.abs(shifts) < np.finfo(np.float32).max).all():
        raise CheckpointError(f"{run.folder} is damaged: its shifts are out of range")
    return Adjustment(shifts.astype(np.float32))


def _restore_member(run: Saved) -> Forecaster:
    """Return a saved member; a blend is none, so that a run cannot hold itself."""
    name = run.facts["model"]
    if name in registry.names() and registry.get(name).learning is Learning.BLEND:
        raise CheckpointError(f"{run.folder} is a blend, which cannot be a member of another")
    return registry.restore(run)


def _clip_and_round(values: Floats, floors: Floats, counts: NDArray[np.bool_]) -> Floats:
    """Clip values (N, ...) at the floors (N,), and round them where the history is whole numbers."""
    shape = (-1, *[1] * (values.ndim - 1))
    values = np.maximum(values, floors.reshape(shape))
    return np.asarray(np.where(counts.reshape(shape), np.rint(values), values), np.float32)
