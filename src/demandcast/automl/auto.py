"""Auto: try many methods on the history, and forecast with the blend of them that forecast it best.

The methods of a portfolio are tried from instant ones to those that train for long. Every candidate forecasts the same
rolling windows inside the history, on which it was not fitted. Weights, calibration and rounding are chosen on these
forecasts. When the budget ends, or at Ctrl-C, the best blend so far is used, so a forecast exists after the first second.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from demandcast.automl.account import Account, HeldOut, importance
from demandcast.automl.blend import Blend
from demandcast.automl.by_cost import chosen_by_cost, keep_cheapest
from demandcast.automl.conclude import conclude, extent, fall_back
from demandcast.automl.config import AutoConfig
from demandcast.automl.ensemble import BlendFacts, Ensemble
from demandcast.automl.member import Member, fit_again
from demandcast.automl.portfolio import candidates
from demandcast.automl.search import STALE, Search
from demandcast.automl.validation import VALUES, Validation
from demandcast.decide.replay import Replay
from demandcast.draws.arrays import Draws
from demandcast.errors import NotFittedError
from demandcast.forecast.draft import Ask, Draft
from demandcast.forecaster import ConfiguredForecaster, Forecaster, Learning, fit
from demandcast.panel.panel import Panel
from demandcast.progress import Bar
from demandcast.saved import Saved, Saving
from demandcast.train.budget import Budget
from demandcast.typed import build

log = logging.getLogger("demandcast")
ENOUGH, PER_SECOND = 10.0, 300.0  # seconds that any table is given, and values for each one more
USUAL = 300.0  # seconds of a budget from which small tables get more too


class Auto(ConfiguredForecaster[AutoConfig]):
    """The best blend of forecasts for a budget; `AutoConfig` lists its settings.

    The seasonal naive is always tried, whatever `include` names.

    Attributes:
        ensemble: What forecasts; None before `fit`.
        skipped: What was not tried, and why.
        validation: The windows that methods were compared on.
    """

    name = "auto"
    summary = "the best blend of them all for a budget of time, weighted where nothing was learned"
    takes = "target, known, past, static, available"
    gives = "paths and quantiles"
    learning = Learning.BLEND
    pools = True
    Config = AutoConfig

    def __init__(self, horizon: int | None = None, *, h: int | None = None, **hyper: Any) -> None:
        super().__init__(horizon, h=h, **hyper)
        self.ensemble: Ensemble | None = None
        self.skipped: dict[str, str] = {}
        self.validation = Validation((), 0, self.horizon, self.config.score)
        self._account: Account | None = None
        self._replay: Replay | None = None

    @property
    def members(self) -> list[Member]:
        """What has weight; empty before `fit`."""
        return [] if self.ensemble is None else self.ensemble.members

    @property
    def blend(self) -> Blend | None:
        """Weights of the members; None before `fit`."""
        return None if self.ensemble is None else self.ensemble.blend

    @property
    def held_out(self) -> HeldOut | None:
        """What the blend forecast in validation, and what came; None where it was not measured, or once loaded."""
        return None if self._account is None else self._account.held_out

    # The search

    def fit(self, panel: Panel, *, progress: bool = True) -> Auto:
        """Try the portfolio, weigh it, and fit what has weight on the whole history.

        Ctrl-C ends the search, not the program: the blend of what was tried until then is taken.

        Args:
            panel: The history to learn from.
            progress: Show a bar, on stderr.
        """
        budget, seed = Budget.parse(self.config.budget), self.config.seed
        panel = panel.select(Draws.of(panel.keys, seed).order())  # whatever the user's order
        if (panel.n_observed() > 0).any():  # there is nothing to learn from the others
            panel = panel.select(panel.n_observed() > 0)
        self.ensemble, self._account, self._replay, self.skipped = None, None, None, {}
        self.validation = Validation((), 0, self.horizon, self.config.score)
        search = Search(panel, self.horizon, self.validation, budget, seed, str(self.config.budget))
        bar = Bar(desc="auto", unit="fit", disable=not progress, file=sys.stderr, leave=False)

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
        if not search.members:
            self.ensemble = fall_back(panel, self.horizon, seed)
            self.skipped["validation"] = (
                "it was interrupted before anything was scored"
                if interrupted
                else "the history is too short to hold anything out"
            )
            return self
        try:
            self.ensemble, self._account = conclude(search, self.name)
        except KeyboardInterrupt:
            if interrupted:
                raise
            log.warning("auto was interrupted; it ends with what it has")
            self.ensemble, self._account = conclude(search, self.name)
        return self

    def _search(self, search: Search, tick: Callable[[str], None]) -> None:
        """Hold out windows, try the portfolio on them, and fit what has weight again."""
        panel, config, seconds = search.panel, self.config, search.budget.seconds
        if seconds is not None:  # a small table is soon known
            enough = ENOUGH + int(panel.n_observed().sum()) / PER_SECOND
            search.budget.seconds = seconds = min(seconds, enough * max(1.0, seconds / USUAL))
        values = VALUES if seconds is None else int(min(VALUES, 2_000 * seconds))
        self.validation = search.validation = Validation.of(
            panel, self.horizon, config.folds, config.score, config.seed, values
        )
        trying, search.skipped = candidates(
            panel, config.include, config.exclude or (), config.preset
        )
        if self.validation.folds:
            search.instant([c for c in trying if not c.learns], tick)
            search.learn([c for c in trying if c.learns], tick)
        search.weigh()
        if config.policy is not None and search.members:
            tick("orders")
            self._replay = keep_cheapest(search, config.policy)
        search.finish(tick)

    # Fresh rows

    def refit(self, panel: Panel, *, progress: bool = True) -> Auto:
        """Fit the chosen members again on another panel, or on this one grown, without a search.

        Weights, calibration and hyper-parameters stay. It takes about as long as their first fits did.

        Args:
            panel: The history to learn from.
            progress: Show a bar, on stderr.

        Raises:
            NotFittedError: Before `fit`.
        """
        ensemble = self._require_ensemble()
        fits = [(m, k) for m in ensemble.members for k in range(len(m.models))]
        fresh: dict[int, list[Forecaster]] = {id(m): [] for m in ensemble.members}
        with Bar(fits, desc="auto", disable=not progress, file=sys.stderr, leave=False) as bar:
            for member, k in bar:
                bar.set_postfix_str(member.name)
                fresh[id(member)].append(fit_again(member.models[k], panel))
        if ensemble.cold is not None:
            ensemble.cold = fit_again(ensemble.cold, panel)
        for member in ensemble.members:  # all or none: an interrupt leaves what was there
            member.models, member.whole = fresh[id(member)], True
        ensemble.learned = extent(panel)
        return self

    def update(self, panel: Panel, *, progress: bool = True) -> Auto:
        """Add fresh rows without a new search.

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
            for model in () if member.learns else member.models:
                fit(model, panel, progress=False)
        return self

    def outgrown(self, panel: Panel) -> bool:
        """Return whether a panel grew by 5 % since the members were fitted, in steps or in its end."""
        before, ended = self._require_ensemble().learned
        steps, end = extent(panel)
        span = max(1, int(panel.lengths.max(initial=1)))
        return steps > (1 + STALE) * before or end - ended > STALE * span

    # The forecast

    def align(self, panel: Panel) -> Panel:
        return panel if self.ensemble is None else self.ensemble.align(panel)

    def _check_fitted(self) -> None:
        self._require_ensemble()

    def _check_readable(self, panel: Panel) -> None:
        """Accept every panel: each member checks what it reads itself."""

    def _forecast(self, panel: Panel, ask: Ask) -> Draft:
        """Forecast every series, each class of demand by its own weights.

        Items with fewer than 3 observed values are forecast by trees that were trained for that; without
        trees, items with none by the values of like items. `new_items` lists them. Rows of theirs with an
        empty target after the other series' last step are steps to forecast.

        The mean is that of the distribution which the quantiles describe. Paths take the order of the
        paths of the heaviest member that draws them, and the quantiles of the blend (see
        `demandcast.forecast.levels.shuffle_paths`).
        """
        return self._require_ensemble().forecast(panel, ask)

    def new_items(self, panel: Panel) -> pl.DataFrame:
        """Return the series with too little history to be forecast from it, and what forecasts them.

        Returns:
            Their key columns, `values` observed, and `by`, what forecasts them.
        """
        return self._require_ensemble().new_items(panel)

    def _require_ensemble(self) -> Ensemble:
        if self.ensemble is None:
            raise NotFittedError("auto is not fitted; call model.fit(panel) first")
        return self.ensemble

    # What it says of itself

    def leaderboard(self) -> pl.DataFrame:
        """Return every method tried with its scores on the held-out steps, best first.

        Returns:
            `model`; `wql`; `vs_seasonal_naive`, its ratio to that of the seasonal naive; `value_added`,
            percent of its loss that the method saves; `coverage_80`, `_90`, `_98`, shares of what came
            inside these intervals; `weight`, averaged over series; seconds. The blend's own row is of the
            windows its weights were chosen on: a little too good.
        """
        ensemble = self._require_ensemble()
        if self._account is None:
            names = [m.name for m in ensemble.members]
            return pl.DataFrame({"model": names, "weight": ensemble.blend.shared})
        return self._account.board

    def costs(self) -> pl.DataFrame:
        """Return what orders by each candidate would have cost on the windows held out, the cheapest first.

        Returns:
            The leaderboard of `dc.replay`: the blend ("auto"), each member alone, two usual rules and perfect foresight.

        Raises:
            NotFittedError: The metric is not "cost", the windows are too short for an order, or the run was loaded:
                costs are not saved.
        """
        if self._replay is None:
            raise NotFittedError(
                f"no orders were replayed: {self.skipped.get('cost', 'fit with metric=' + repr('cost') + ' first')}"
            )
        return self._replay.leaderboard()

    def coverage(self) -> pl.DataFrame:
        """Return the share of held-out values inside the blend's 80, 90 and 98 % intervals, one row per class
        of demand.
        """
        return self._require_account().coverage

    def explain(self) -> pl.DataFrame:
        """Return the reason for each method's weight, one row for all series and one for each class of
        demand.

        Returns:
            `class`, `model`, `weight`, `wql`, `vs_seasonal_naive`, and `why`. Methods that were not tried
            stand in `skipped`, with the reason.
        """
        return self._require_account().reasons

    def importance(self) -> pl.DataFrame:
        """Return the worth of each covariate: percent by which the loss rises when it is permuted.

        Measured on the windows held out, with the fits that had not seen them, by the metric that
        weights were chosen by. About 0, or below, is worth nothing.

        Returns:
            `covariate`, `role` ("known", "past" or "static") and `importance`, the most first.

        Raises:
            NotFittedError: Nothing was held out, or the run was loaded: the windows are not saved.
        """
        ensemble = self._require_ensemble()
        if not self.validation.folds or all(m.validated is None for m in ensemble.members):
            raise NotFittedError(
                "importance is measured on the windows that a search held out, which are not saved; "
                "call it after fit"
            )
        rng = np.random.default_rng(self.config.seed)
        return importance(self.validation, ensemble.members, ensemble.blend, rng)

    def weights(self) -> pl.DataFrame:
        """Return the weights of the members, one row for all series and one for each class with its own."""
        return self._require_ensemble().weights()

    def item_weights(self, panel: Panel) -> pl.DataFrame:
        """Return the weights that each series of a panel is forecast with, beside its key and class."""
        return self._require_ensemble().item_weights(panel)

    def _require_account(self) -> Account:
        self._require_ensemble()
        if self._account is None:
            raise NotFittedError(
                f"nothing was measured: {self.skipped.get('validation', 'interrupted')}"
            )
        return self._account

    def verdict(self) -> str:
        """Return one paragraph: which methods the forecast blends, and whether it beats the seasonal naive."""
        ensemble = self._require_ensemble()
        if self._account is None:
            why = self.skipped.get("validation", "the weighing was interrupted")
            return f"Nothing was measured: {why}. The forecast is {ensemble.parts()}."
        text = self._account.verdict(ensemble, self.name, self.validation.ahead)
        return text if self._replay is None else f"{text} {chosen_by_cost(self._replay, ensemble)}"

    def _write(self, run: Saving) -> dict[str, Any]:
        facts = self._require_ensemble().write(run) | {
            "skipped": self.skipped,
            "account": None if self._account is None else self._account.to_dict(),
            "ahead": self.validation.ahead,
        }
        return {"blend": facts}

    @classmethod
    def restore(cls, run: Saved) -> Auto:
        """Return the model of a saved run; see `demandcast.load`."""
        model = cls.from_hyperparameters(run.facts["hyperparameters"])
        facts = build(BlendFacts, run.facts["blend"], "blend")
        model.ensemble = Ensemble.read(run, facts, horizon=model.horizon, seed=model.config.seed)
        model.skipped = facts.skipped
        if facts.account is not None:
            model._account = Account.from_dict(facts.account)
        model.validation = Validation((), facts.ahead, model.horizon, model.config.score)
        return model


def auto(
    panel: Panel,
    horizon: int | None = None,
    *,
    h: int | None = None,
    progress: bool = True,
    **settings: Any,
) -> Auto:
    """Fit an `Auto`: search for the best blend of forecasts in a time budget.

    Args:
        panel: The history.
        horizon: Steps to forecast; also `h`.
        h: The same.
        progress: Show a bar, on stderr.
        **settings: Of `Auto`: budget, preset, metric, folds, include, exclude, seed; with metric="cost" lead_time, review,
            cost_under and cost_over.

    Example:
        >>> import demandcast as dc
        >>> table = dc.frames.examples.retail(n_items=10, n_days=120).frame
        >>> panel = dc.read_panel(table, key="item", time="date", target="units")
        >>> best = dc.auto(panel, horizon=14, include=["tsb", "ses"], progress=False)
        >>> best.predict(panel).quantiles.shape[1:]
        (14, 9)
    """
    return Auto(horizon, h=h, **settings).fit(panel, progress=progress)
