"""Auto: many methods tried on the history at hand, and the blend of them that forecast it best.

A portfolio is worked through from what is instant to what learns long. Every candidate forecasts the
same rolling windows inside the history, none of which it was fitted on; weights, calibration and rounding
are chosen there. A forecast stands from the first second on: when the budget ends, or at Ctrl-C, the best
blend so far is taken.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from tqdm import tqdm

from demandcast import registry
from demandcast.automatic.blend import GAIN, Blend, Evidence, choose
from demandcast.automatic.calibrate import STRETCHES, Adjustment, calibration, stretches
from demandcast.automatic.cold import like_items, new_items, opened
from demandcast.automatic.explain import Account, importance
from demandcast.automatic.member import Member
from demandcast.automatic.portfolio import NAIVE, PRESETS, TREES, candidates, method
from demandcast.automatic.search import STALE, Search
from demandcast.automatic.validation import LEVELS, METRICS, VALUES, Validation, codes
from demandcast.draws.arrays import Draws
from demandcast.errors import CheckpointError, NotFittedError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecast.levels import (
    MEAN_LEVELS,
    MEAN_WEIGHTS,
    interpolate_quantiles,
    shuffle_paths,
)
from demandcast.forecaster import ConfiguredForecaster, Forecaster, fit
from demandcast.panel.classes import CLASSES
from demandcast.panel.panel import Panel
from demandcast.saved import Saved, Saving
from demandcast.settings import one_of, whole
from demandcast.train.budget import Budget
from demandcast.typed import build

COLD = "cold"  # the folder of the model of new items, in a saved run
log = logging.getLogger("demandcast")
Floats = NDArray[np.float32]
ENOUGH, PER_SECOND = 10.0, 300.0  # seconds that any table is given, and values for each one more
ROWS = 50_000  # series and steps described at once
USUAL = 300.0  # seconds of a budget from which small tables get more too


@dataclass(frozen=True, kw_only=True)
class AutoConfig:
    """What the search can be told."""

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


class Auto(ConfiguredForecaster[AutoConfig]):
    """The best blend of forecasts for a budget; `AutoConfig` lists its settings.

    The seasonal naive is always tried, whatever `include` names.
    """

    name = "auto"
    summary = "the best blend of them all for a budget of time, weighted where nothing was learned"
    takes = "target, known, past, static, available"
    gives = "paths and quantiles"
    pools = True
    Config = AutoConfig

    def __init__(self, horizon: int | None = None, *, h: int | None = None, **hyper: Any) -> None:
        super().__init__(horizon, h=h, **hyper)
        self.members: list[Member] = []
        self.skipped: dict[str, str] = {}
        self.blend: Blend | None = None
        self.adjustment: Adjustment | None = None
        self.rounds = False
        self.validation = Validation((), 0, self.horizon, self.config.metric)
        self._account: Account | None = None
        self._places: dict[str, int] = {}  # key of a series -> its row of the blend's tilts
        self._cold: Forecaster | None = None  # for new items, where no member is
        self._learned: tuple[int, int] = (0, 0)  # steps and end of what members were fitted on

    # The search

    def fit(self, panel: Panel, *, progress: bool = True) -> Auto:
        """Try the portfolio, weigh it, and fit what has weight on the whole history.

        Ctrl-C ends the search, not the program: the blend of what was tried until then is taken.

        Args:
            panel: The history to learn from.
            progress: Show a bar, on stderr.
        """
        budget = Budget.parse(self.config.budget)
        panel = panel.select(
            Draws.of(panel.keys, self.config.seed).order()
        )  # whatever the user's order
        if (panel.n_observed() > 0).any():  # there is nothing to learn from the others
            panel = panel.select(panel.n_observed() > 0)
        self.members, self.blend, self.adjustment = [], None, None
        self.rounds, self._account, self.skipped = False, None, {}
        self._places, self._learned, self._cold = {}, _extent(panel), None
        self.validation = Validation((), 0, self.horizon, self.config.metric)
        search = Search(
            panel, self.horizon, self.validation, budget, self.config.seed, str(self.config.budget)
        )
        bar = tqdm(desc="auto", unit="fit", disable=not progress, file=sys.stderr, leave=False)

        def tick(text: str) -> None:
            bar.set_postfix_str(f"{text}, {max(0.0, budget.spent):.0f} s")
            bar.update()

        interrupted = False
        try:
            self._search(search, tick)
        except KeyboardInterrupt:
            interrupted = True
            log.warning(
                "auto was interrupted; the best of %d methods is taken", len(search.members)
            )
        finally:
            bar.close()
        self.skipped = search.skipped
        try:
            self._conclude(search)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            log.warning("auto was interrupted; it ends with what it has")
            self._conclude(search)
        if self.blend is None:
            self._fall_back(panel, interrupted)
        return self

    def _search(self, search: Search, tick: Any) -> None:
        """Hold out windows, try the portfolio on them, and fit what has weight again."""
        panel, seconds = search.panel, search.budget.seconds
        if seconds is not None:  # a small table is soon known
            enough = ENOUGH + int(panel.n_observed().sum()) / PER_SECOND
            search.budget.seconds = seconds = min(seconds, enough * max(1.0, seconds / USUAL))
        values = VALUES if seconds is None else int(min(VALUES, 2_000 * seconds))
        self.validation = search.validation = Validation.of(
            panel, self.horizon, self.config.folds, self.config.metric, self.config.seed, values
        )
        trying, search.skipped = candidates(
            panel, self.config.include, self.config.exclude or (), self.config.preset
        )
        if self.validation.folds:
            search.instant([c for c in trying if c.kind == "local"], tick)
            search.learn([c for c in trying if c.kind != "local"], tick)
        search.weigh()
        search.finish(tick)

    def _conclude(self, search: Search) -> None:
        """Take the best blend of what was tried; if that is interrupted, the best single member."""
        if not search.members:
            return
        try:
            evidence = search.evidence()
            self._weigh(search.members, evidence, search.allowed(evidence))
        except KeyboardInterrupt:
            best = int(np.argmax(search.shares()))
            self.blend = Blend(np.eye(len(search.members))[best], {}, False)
            self.adjustment, self.rounds, self._account = None, False, None
            log.warning("auto was interrupted; %s is taken", search.members[best].name)
        assert self.blend is not None
        weight = np.max([self.blend.shared, *self.blend.by_group.values()], axis=0)
        kept = np.flatnonzero(weight > 0)
        for member in (search.members[i] for i in kept):
            if member.kind == "local":
                member.models[0].fit(search.panel)
        self.members = [search.members[i] for i in kept]
        tilts = self.blend.tilts
        self.blend = Blend(
            self.blend.shared[kept],
            {code: own[kept] for code, own in self.blend.by_group.items()},
            self.blend.mixed,
            None if tilts is None else tilts[:, kept],
        )
        trained = next((m for m in search.members if m.name in TREES), None)
        if trained is not None and trained not in self.members:
            self._cold = trained.models[-1]
        self._places = {}
        if tilts is not None:
            self._places = {search.panel.key(i): i for i in range(len(tilts))}
        self._learned = _extent(search.panel)

    def _weigh(self, members: list[Member], evidence: Evidence, allowed: NDArray[np.bool_]) -> None:
        """Choose weights, calibration and rounding on the validation."""
        self.blend = choose(evidence, allowed)
        weights = self.blend.weights(evidence.group, evidence.series)
        blended = self.blend.combine(evidence.quantiles, weights, LEVELS)
        stretch = self.validation.stretch()
        self.adjustment = calibration(evidence, blended, stretch, len(CLASSES))
        blended = self.adjustment.apply(blended, evidence.group, stretch)
        counts = self.validation.whole()
        if counts.any():
            rounded = np.where(counts[:, None], np.rint(blended), blended).astype(np.float32)
            lost = [
                float((evidence.pinball(q) * evidence.weight).sum()) for q in (blended, rounded)
            ]
            self.rounds = lost[1] < (1 + GAIN) * lost[0]
            blended = rounded if self.rounds else blended
        self._account = Account.of(members, evidence, self.blend, blended, allowed, self.name)

    def _fall_back(self, panel: Panel, interrupted: bool) -> None:
        """Nothing could be measured: the seasonal naive and the empirical forecast, half and half."""
        made = [
            registry.create(name, horizon=self.horizon, seed=self.config.seed)
            for name in (NAIVE, "empirical")
        ]
        self.members = [_member(m.fit(panel), kind="local") for m in made]
        self.blend = Blend(np.array([0.5, 0.5]), {}, False)
        self.skipped["validation"] = (
            "it was interrupted before anything was scored"
            if interrupted
            else "the history is too short to hold anything out"
        )

    # Fresh rows

    def refit(self, panel: Panel, *, progress: bool = True) -> Auto:
        """Fit the members that were chosen on another panel, or on this one grown; nothing is searched.

        Weights, calibration and hyper-parameters stay. It takes about as long as their first fits did.

        Args:
            panel: The history to learn from.
            progress: Show a bar, on stderr.

        Raises:
            NotFittedError: Before `fit`.
        """
        self._fitted()
        fits = [(m, k) for m in self.members for k in range(len(m.models))]
        bar = tqdm(fits, desc="auto", disable=not progress, file=sys.stderr, leave=False)
        fresh: dict[int, list[Forecaster]] = {id(m): [] for m in self.members}
        for member, k in bar:
            bar.set_postfix_str(member.name)
            before: Any = member.models[k]
            hyper = before.as_grown() if member.kind == "trees" else before.hyperparameters()
            model = registry.create(before.name, **hyper)
            fit(model, panel, progress=False)
            fresh[id(member)].append(model)
        if self._cold is not None:
            cold: Any = self._cold
            self._cold = type(cold)(**cold.as_grown()).fit(panel)
        for member in self.members:  # all or none: an interrupt leaves what was there
            member.models, member.whole = fresh[id(member)], True
        self._learned = _extent(panel)
        return self

    def update(self, panel: Panel, *, progress: bool = True) -> Auto:
        """Take in fresh rows, without a new search.

        Forecasts go by the history they are given, so a few rows more need no fit: members are fitted
        again where it is `outgrown`.

        Args:
            panel: The whole history, fresh rows and all.
            progress: Show a bar, on stderr.

        Raises:
            NotFittedError: Before `fit`.
        """
        if self.outgrown(panel):
            return self.refit(panel, progress=progress)
        for member in self.members:
            for model in member.models if member.kind == "local" else ():
                model.fit(panel)
        return self

    def outgrown(self, panel: Panel) -> bool:
        """Whether a panel has grown by 5 % since the members were fitted, in steps or in its end."""
        self._fitted()
        steps, end = _extent(panel)
        before, ended = self._learned
        span = max(1, int(panel.lengths.max(initial=1)))
        return steps > (1 + STALE) * before or end - ended > STALE * span

    # The forecast

    def align(self, panel: Panel) -> Panel:
        for member in self.members:
            for model in member.models:
                panel = model.align(panel)
        return panel

    def _check_fitted(self) -> None:
        self._fitted()

    def _check_readable(self, panel: Panel) -> None:
        """Leave it to the members: what one of them reads, another may not need."""

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast every series, each class of demand by its own weights.

        Items with fewer than 3 observed values are forecast by trees that were trained for that; without
        trees, items with none by the values of like items. `new_items` lists them. Rows of theirs with an
        empty target after the other series' last step are steps to forecast.

        The mean is that of the distribution which the quantiles describe. Paths take the order of the
        paths of the heaviest member that draws them, and the quantiles of the blend (see
        `demandcast.forecast.levels.shuffle_paths`).
        """
        levels, n_samples = ask.levels, ask.n_samples
        panel = opened(panel)
        new = new_items(panel, trained=self._trained() is not None)
        rest = panel.select(~new) if new.any() else panel
        grid = np.zeros((panel.n_series, self.horizon, len(LEVELS)), np.float32)
        if rest.n_series:
            grid[~new] = self._blended(rest)
        if new.any():
            grid[new] = self._new(rest, panel.select(new))
        floors = panel.floors()
        counts = panel.whole_numbers() if self.rounds else np.zeros(panel.n_series, np.bool_)
        quantiles = np.zeros((*grid.shape[:2], len(levels)), np.float32)
        mean = np.zeros(grid.shape[:2], np.float32)
        for start in range(0, panel.n_series, max(1, ROWS // self.horizon)):
            some = slice(start, start + max(1, ROWS // self.horizon))
            found = interpolate_quantiles(grid[some], LEVELS, (*levels, *MEAN_LEVELS)).astype(
                np.float32
            )
            found = _bounded(found, floors[some], counts[some])
            quantiles[some] = found[..., : len(levels)]
            mean[some] = found[..., len(levels) :] @ MEAN_WEIGHTS
        samples = None
        if n_samples is not None:
            draws = Draws.of(panel.keys, self.config.seed)
            template = np.empty((panel.n_series, n_samples, self.horizon), np.float32)
            if rest.n_series:
                template[~new] = self._template(rest, n_samples)
            # what is not known of a new item is its size: a path keeps its rank, more or less
            own, paths = draws.select(new), (int(new.sum()), n_samples)
            ranks = own.at("rank").uniform((*paths, 1))
            template[new] = ranks + 0.3 * own.at("step").uniform((*paths, self.horizon))
            samples = _bounded(
                shuffle_paths(template, grid, LEVELS, draws.at("ties")), floors, counts
            )
        return Draft(quantiles, mean, samples)

    def _blended(self, panel: Panel) -> Floats:
        """Quantiles (N, H, Q) of series that have a history."""
        blend = self._fitted()
        group = codes(panel)
        weights = blend.weights(group, self._rows(panel))
        shape = (panel.n_series, self.horizon)
        parts = [m.forecast(panel, LEVELS)[0].reshape(-1, len(LEVELS)) for m in self.members]
        each = np.repeat(weights, self.horizon, 0)
        grid = blend.combine(np.stack(parts), each, LEVELS)
        if self.adjustment is not None:
            part = np.tile(stretches(self.horizon), panel.n_series)
            grid = self.adjustment.apply(grid, np.repeat(group, self.horizon), part)
        return np.sort(grid, -1).reshape(*shape, -1)

    def _new(self, rest: Panel, new: Panel) -> Floats:
        """The same of items that have next to none."""
        trained = self._trained()
        if trained is not None:
            return trained.predict(new, levels=LEVELS).quantiles
        return like_items(rest, new, self.horizon, LEVELS)

    def _trained(self) -> Forecaster | None:
        """The fit that is trained for new items, if there is one."""
        return next((m.models[-1] for m in self.members if m.name in TREES), self._cold)

    def new_items(self, panel: Panel) -> pl.DataFrame:
        """Which series of a panel have too little history to be forecast by it, and what is done.

        Returns:
            Their key columns, `values` observed, and `by`, what forecasts them.
        """
        self._fitted()
        panel = opened(panel)
        new = panel.select(new_items(panel, trained=self._trained() is not None))
        by = (
            "values of items alike"
            if self._trained() is None
            else "trees, by attributes and items alike"
        )
        return new.keys.with_columns(pl.Series("values", new.n_observed()), by=pl.lit(by))

    def _rows(self, panel: Panel) -> NDArray[np.int64]:
        """Which row of the blend's tilts each series has, -1 where it is new."""
        if not self._places:
            return np.full(panel.n_series, -1)
        return np.array([self._places.get(panel.key(i), -1) for i in range(panel.n_series)])

    def _template(self, panel: Panel, n_samples: int) -> Floats:
        """Paths of the heaviest member that draws them, else of the seasonal naive."""
        assert self.blend is not None
        for i in np.argsort(-self.blend.shared):
            model = self.members[i].models[0]
            if "paths" in model.gives:
                found = model.predict(panel, levels=[0.5], n_samples=n_samples).samples
                if found is not None:
                    return np.asarray(found, np.float32)
        naive = registry.create(NAIVE, horizon=self.horizon, seed=self.config.seed)
        drawn = naive.fit(panel).predict(panel, levels=[0.5], n_samples=n_samples).samples
        assert drawn is not None
        return np.asarray(drawn, np.float32)

    def _fitted(self) -> Blend:
        if self.blend is None:
            raise NotFittedError("auto is not fitted; call model.fit(panel) first")
        return self.blend

    # What it says of itself

    def leaderboard(self) -> pl.DataFrame:
        """What was tried, on the steps held out, the best first.

        Returns:
            `model`; `wql`; `vs_seasonal_naive`, its ratio to that of the seasonal naive; `value_added`,
            percent of its loss that the method saves; `coverage_80`, `_90`, `_98`, shares of what came
            inside these intervals; `weight`, averaged over series; seconds. The blend's own row is of the
            windows its weights were chosen on: a little too good.
        """
        blend = self._fitted()
        if self._account is None:
            return pl.DataFrame({"model": [m.name for m in self.members], "weight": blend.shared})
        return self._account.board

    def coverage(self) -> pl.DataFrame:
        """How much of what came the blend's intervals of 80, 90 and 98 % held, a row a class of demand."""
        return self._told().coverage

    def explain(self) -> pl.DataFrame:
        """Why each method has its weight, a row for all series and each class of demand.

        Returns:
            `class`, `model`, `weight`, `wql`, `vs_seasonal_naive`, and `why`. Methods that were not tried
            stand in `skipped`, with the reason.
        """
        return self._told().reasons

    def importance(self) -> pl.DataFrame:
        """What each covariate is worth: percent by which the loss rises when it is mixed up.

        Measured on the windows held out, with the fits that had not seen them, by the metric that
        weights were chosen by. About 0, or below, is worth nothing.

        Returns:
            `covariate`, `role` ("known", "past" or "static") and `importance`, the most first.

        Raises:
            NotFittedError: Nothing was held out, or the run was loaded: the windows are not saved.
        """
        blend = self._fitted()
        if not self.validation.folds or all(m.judged is None for m in self.members):
            raise NotFittedError(
                "importance is measured on the windows that a search held out, which are not saved; "
                "call it after fit"
            )
        rng = np.random.default_rng(self.config.seed)
        return importance(self.validation, self.members, blend, rng)

    def weights(self) -> pl.DataFrame:
        """Weights of the members, a row for all series and one for each class with its own."""
        blend = self._fitted()
        rows = [
            ("all", blend.shared),
            *((CLASSES[c], w) for c, w in sorted(blend.by_group.items())),
        ]
        columns = {m.name: [float(w[i]) for _, w in rows] for i, m in enumerate(self.members)}
        return pl.DataFrame({"class": [kind for kind, _ in rows], **columns})

    def item_weights(self, panel: Panel) -> pl.DataFrame:
        """The weights that each series of a panel is forecast with, beside its keys and class."""
        group = codes(panel)
        found = self._fitted().weights(group, self._rows(panel))
        columns = {m.name: found[:, i] for i, m in enumerate(self.members)}
        kinds = pl.Series("class", [CLASSES[code] for code in group])
        return panel.keys.with_columns(kinds, **{k: pl.Series(v) for k, v in columns.items()})

    def _told(self) -> Account:
        self._fitted()
        if self._account is None:
            raise NotFittedError(
                f"nothing was measured: {self.skipped.get('validation', 'interrupted')}"
            )
        return self._account

    def verdict(self) -> str:
        """One paragraph: what the forecast is made of, and whether it beats the naive one."""
        blend = self._fitted()
        parts = ", ".join(
            f"{m.name} {w:.0%}"
            for m, w in sorted(zip(self.members, blend.shared, strict=True), key=lambda p: -p[1])
            if w >= 0.005
        )
        if self._account is None:
            why = self.skipped.get("validation", "the weighing was interrupted")
            return f"Nothing was measured: {why}. The forecast is {parts}."
        board = self._account.board
        own = board.filter(pl.col("model") == self.name).row(0, named=True)
        tried = board.height - 1
        text = f"The forecast blends {parts}, the best of {tried} methods tried"
        ratio = own["vs_seasonal_naive"]
        if ratio is not None:
            value = f"{1 - ratio:.0%} better" if ratio < 1 else "no better"
            text += f"; on the last {self.validation.ahead} steps held out it is {value} than the seasonal naive"
        how = "distributions mixed" if blend.mixed else "quantiles averaged"
        text += f" (wQL {own['wql']:.3g}, {how}"
        text += ", weights by class of demand" if blend.by_group else ""
        text += ", and by series" if blend.tilts is not None else ""
        text += self.adjustment.told() if self.adjustment is not None else ""
        return text + f"). Its 80 % interval held {own['coverage_80']:.0%} of what came."

    def _write(self, run: Saving) -> dict[str, Any]:
        """Every member into a folder of its own, and how they are blended."""
        blend = self._fitted()
        places = [
            [f"member_{i}_{m.name}" + (f"_{k}" if k else "") for k in range(len(m.models))]
            for i, m in enumerate(self.members)
        ]
        for member, own in zip(self.members, places, strict=True):
            for model, place in zip(member.models, own, strict=True):
                with run.inner(place) as inner:
                    model.save_into(inner)
        if self._cold is not None:
            with run.inner(COLD) as inner:
                self._cold.save_into(inner)
        facts = _Facts(
            names=[m.name for m in self.members],
            members=places,
            shared=blend.shared.tolist(),
            by_group={str(code): own.tolist() for code, own in blend.by_group.items()},
            mixed=blend.mixed,
            shifts=None if self.adjustment is None else self.adjustment.shifts.tolist(),
            rounds=self.rounds,
            skipped=self.skipped,
            tilts=self._tilts(),
            cold=self._cold is not None,
            costs=[(m.kind, m.fit_seconds, m.predict_seconds) for m in self.members],
            learned=self._learned,
            account=None if self._account is None else self._account.to_dict(),
            ahead=self.validation.ahead,
        )
        return {"blend": asdict(facts)}

    def _tilts(self) -> dict[str, list[float]] | None:
        """Of the series that have any."""
        if self.blend is None or self.blend.tilts is None:
            return None
        rows = self.blend.tilts
        return {key: rows[i].tolist() for key, i in self._places.items() if (rows[i] != 1).any()}

    @classmethod
    def restore(cls, run: Saved) -> Auto:
        """The model of a saved run; see `demandcast.load`."""
        model = cls(**run.facts["hyperparameters"])
        facts = build(_Facts, run.facts["blend"], "blend")
        count = len(facts.names)
        every: list[Sequence[Any]] = [
            facts.members,
            facts.costs,
            facts.shared,
            *facts.by_group.values(),
            *(facts.tilts or {}).values(),
        ]
        if not count or any(len(own) != count for own in every) or not all(facts.members):
            raise CheckpointError(
                f"{run.folder} is damaged: names, members, costs and weights of its blend are not of one "
                "number; save it again"
            )
        for name, places, costs in zip(facts.names, facts.members, facts.costs, strict=True):
            member = _member(*(_restored(run.inner(place)) for place in places))
            member.name = name
            member.kind, member.fit_seconds, member.predict_seconds = costs
            model.members.append(member)
        by_group = {int(code): np.array(own) for code, own in facts.by_group.items()}
        rows = np.array(list(facts.tilts.values())) if facts.tilts else None
        model.blend = Blend(np.array(facts.shared), by_group, facts.mixed, rows)
        model._places = {key: i for i, key in enumerate(facts.tilts or ())}
        model._cold = _restored(run.inner(COLD)) if facts.cold else None
        model._learned = facts.learned
        if facts.shifts is not None:
            shifts = np.array(facts.shifts, np.float64)
            right = shifts.shape[1:] == (STRETCHES, len(LEVELS)) and len(shifts) >= len(CLASSES)
            if not right or not (np.abs(shifts) < np.finfo(np.float32).max).all():
                raise CheckpointError(f"{run.folder} is damaged: its shifts are out of range")
            model.adjustment = Adjustment(shifts.astype(np.float32))
        model.rounds, model.skipped = facts.rounds, facts.skipped
        if facts.account is not None:
            model._account = Account.from_dict(facts.account)
        model.validation = Validation((), facts.ahead, model.horizon, model.config.metric)
        return model


@dataclass(frozen=True)
class _Facts:
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


def _restored(run: Saved) -> Forecaster:
    """A member; a blend is none, so that a run cannot hold itself."""
    if run.facts["model"] == Auto.name:
        raise CheckpointError(f"{run.folder} is a blend, which cannot be a member of another")
    return registry.restore(run)


def auto(
    panel: Panel,
    horizon: int | None = None,
    *,
    h: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> Auto:
    """A fitted `Auto`: the best blend of forecasts for the budget.

    Args:
        panel: The history.
        horizon: Steps to forecast; also `h`.
        h: The same.
        progress: Show a bar, on stderr.
        **settings: Of `Auto`: budget, preset, metric, folds, include, exclude, seed.

    Example:
        >>> import demandcast as dc
        >>> table = dc.frames.examples.retail(n_items=10, n_days=120).frame
        >>> panel = dc.read_panel(table, key="item", time="date", target="units")
        >>> best = dc.auto(panel, horizon=14, include=["tsb", "ses"], progress=False)
        >>> best.predict(panel).quantiles.shape[1:]
        (14, 9)
    """
    return Auto(horizon, h=h, **settings).fit(panel, progress=progress)


def _member(*models: Forecaster, kind: str = "") -> Member:
    """A member that nothing is known of but its fits."""
    none = np.zeros((0, len(LEVELS)), np.float32)
    return Member(models[0].name, kind, list(models), none, none[:, 0])


def _extent(panel: Panel) -> tuple[int, int]:
    """Steps of history, and the grid step of the newest of them."""
    return panel.n_steps, int(panel.ends().max(initial=0))


def _names(value: Any) -> tuple[str, ...]:
    """Names as a tuple; one name alone, or several by commas, are taken too."""
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return tuple(value)


def _bounded(values: Floats, floors: Floats, counts: NDArray[np.bool_]) -> Floats:
    """Values (N, ...) not below the floors (N,), whole where the history is."""
    shape = (-1, *[1] * (values.ndim - 1))
    values = np.maximum(values, floors.reshape(shape))
    return np.asarray(np.where(counts.reshape(shape), np.rint(values), values), np.float32)
