"""The search of `auto`: which methods are tried, how long each fit may take, and how the remaining time is used.

It has four parts. Each stops early enough to leave time for the forecast itself.

1. `instant`: methods without training.
2. `learn`: a first fit of each method that learns, each in an equal share of the time. While time remains, longer training
   of members with weight whose training was shortened, and methods that had no turn yet.
3. `finish`: fits on the whole history of members with weight.
4. Further such fits with other seeds; the forecasts of a member's fits are averaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demandcast import registry
from demandcast.automl.blend import GAIN, Blend, Evidence, better_rule, select
from demandcast.automl.member import Member
from demandcast.automl.portfolio import NAIVE, Candidate
from demandcast.automl.validation import Validation
from demandcast.errors import DemandcastError
from demandcast.forecaster import Learning, fit
from demandcast.panel.panel import Panel
from demandcast.train.budget import Budget
from demandcast.trees.boosting import FEWER, count_rows

FEWEST_STEPS = 60  # of a network; if there is time for fewer, it is not tried
PILOT = 8  # steps of a trial fit that measures the seconds of a step
FEWEST_SECONDS = 2.5  # of a first fit; with less a method is not tried
USUAL_SECONDS = 6.0  # of a first fit, where time allows
FEWEST_TUNED, TUNED_SECONDS = (
    5.0,
    120.0,
)  # least and most seconds of fine-tuning the pretrained network
TUNED_SHARES = 3  # shares of the time for its first fit; in ten seconds it improves too little
TRIALS = ((8, 500), (48, 2_000))  # series and steps of two trial forecasts that time a method
ROWS_PER_SECOND = 4_000  # that trees read, for each second of their share
HURRIED = 30.0  # seconds below which trees have fewer levels
RESERVE = 1.25  # times the estimated seconds of the forecast, reserved for it
STALE = 0.05  # with a larger share of the history held out, members are fitted to the whole history first
INSTANT = 0.25  # share of the time for methods without training
SLOW = 0.25  # share of the time that one member's forecast may take
FIRST = 0.45  # share of the time for first fits, if members are fitted again to the whole history
FIRST_KEPT = 0.7  # share of the time for first fits, if they are not
LONGER = 1.5  # factor by which a training must become longer to be repeated
AGAIN = 3  # fits of a member on the whole history, at most
QUIET = 3  # methods in a row that learn and do not help, after which no more are tried

Tick = Callable[[str], object]  # called with the name of the method that is tried next


@dataclass
class Search:
    """One search over a panel.

    Attributes:
        members: The methods that were fitted and can forecast, in the order they were tried.
        skipped: The other methods, each with the reason.
        only: The member that forecasts alone, as its orders cost least; None for a blend.
        weighing: Seconds that the last choice of weights took.
    """

    panel: Panel
    horizon: int
    validation: Validation
    budget: Budget
    seed: int
    budget_text: str  # the budget in the user's words
    members: list[Member] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    only: Member | None = None
    weighing: float = 0.0
    _weights: dict[int, float] = field(default_factory=dict)  # of members, by identity
    _loss: float = float("inf")  # the smallest so far

    # The time

    @property
    def per_row(self) -> float:
        """Series to forecast for each one forecast in validation."""
        return self.panel.n_series / max(1, self.validation.n_rows)

    @property
    def left(self) -> float:
        """Seconds left for fits, after the time to weigh the members and to forecast is subtracted."""
        used = [m for m, w in zip(self.members, self.shares(), strict=True) if w > 0]
        predict = sum(m.predict_seconds * self.per_row * max(1, len(m.models)) for m in used)
        return self.budget.left - RESERVE * (predict + 3 * self.weighing)

    def refits(self) -> float:
        """Return the seconds needed to fit the members with weight to the whole history."""
        if self.validation.held_out < STALE:
            return 0.0
        weights = self.shares()
        return sum(
            m.fit_seconds * m.share
            for m, w in zip(self.members, weights, strict=True)
            if w > 0.05 and m.learns and not m.whole
        )

    # Parts

    def instant(self, trying: list[Candidate], tick: Tick) -> None:
        """Try the methods without training, fast ones first, in a quarter of the time."""
        for candidate in trying:
            tick(candidate.name)
            limit = max(5.0, INSTANT * (self.budget.seconds or np.inf))
            if candidate.name != NAIVE and (self.budget.spent > limit or self.budget.left <= 0):
                self.skipped[candidate.name] = f"no time left of {self.budget_text}"
            elif candidate.name != NAIVE and self._is_slow(candidate):
                self.skipped[candidate.name] = f"it would take too much of {self.budget_text}"
            else:
                self.attempt(candidate, {}, None)

    def learn(self, trying: list[Candidate], tick: Tick) -> None:
        """Fit each method that learns in an equal share of the time, then use the rest for longer training."""
        waiting = list(trying)
        if self.budget.seconds is None:
            for candidate in waiting:
                tick(candidate.name)
                self.attempt(
                    candidate, self._size_training(candidate, self.validation.first, None), None
                )
            return
        self.weigh()
        part = FIRST if self.validation.held_out >= STALE else FIRST_KEPT
        stop = self.budget.spent + part * max(0.0, self.left)
        quiet = 0
        while waiting and quiet < QUIET:
            room = stop - self.budget.spent
            count = min(len(waiting), max(1, int(room / USUAL_SECONDS)))
            if room / count < FEWEST_SECONDS:
                break
            candidate = waiting.pop(0)
            tick(candidate.name)
            shares = TUNED_SHARES if candidate.learning is Learning.TUNED else 1
            member = self._fit_within(candidate, min(shares * room / count, room))
            if member is not None:
                helped = self.weigh() > GAIN or self._weights[id(member)] > 0
                quiet = 0 if helped else quiet + 1
        for candidate in waiting:
            self.skipped[candidate.name] = f"too little time left of {self.budget_text}"
        if quiet >= QUIET:
            why = f"{QUIET} methods before it had not helped"
            self.skipped |= {candidate.name: why for candidate in waiting}
            waiting = []
        self._train_longer(waiting, tick)

    def _train_longer(self, waiting: list[Candidate], tick: Tick) -> None:
        """Spend the remaining time on longer training of shortened members, then on methods that had no turn."""
        lengthened: set[str] = set()
        while True:
            room = self.left - self.refits()
            weights = self.shares()
            cut = [
                (w * (1 - m.share), m)
                for m, w in zip(self.members, weights, strict=True)
                if m.learns and w > 0.05 and m.share < 1 / LONGER and m.name not in lengthened
                and room > (LONGER + 1) * m.fit_seconds
            ]  # fmt: skip
            if cut:
                member = max(cut, key=lambda pair: pair[0])[1]
                lengthened.add(member.name)
                tick(f"{member.name}, longer")
                candidate = Candidate(member.name, member.learning, member.method)
                self._fit_within(candidate, min(room / 2, 4 * member.fit_seconds), instead=member)
            elif waiting and room > 2.5 * FEWEST_SECONDS:
                candidate = waiting.pop(0)
                tick(candidate.name)
                if self._fit_within(candidate, room / 2.5):
                    self.skipped.pop(candidate.name, None)
            else:
                return
            self.weigh()

    def keep_only(self, member: Member | None) -> None:
        """Let one member forecast alone; None leaves the blend."""
        self.only = member
        if member is not None:
            self._weights = {id(member): 1.0}

    def finish(self, tick: Tick) -> None:
        """Fit members with weight on the whole history, the heaviest first, and again while time remains."""
        weights = self.shares()
        order = [i for i in np.argsort(-weights) if weights[i] > 0 and self.members[i].learns]
        steps = self.budget.seconds is None
        for turn in range(1 if steps else AGAIN):
            for i in order:
                member = self.members[i]
                again = member.predict_seconds * self.per_row * (turn > 0)
                if not steps and self.left < 1.1 * member.fit_seconds + RESERVE * again:
                    continue
                if turn > 0 and weights[i] < 0.1:
                    continue
                tick(f"{member.name}, whole history")
                model = self._fit_whole_history(member, turn)
                if member.learning is Learning.TUNED and not model.improved:
                    continue
                fresh = self.validation.held_out >= STALE and not member.whole
                member.models = [model] if fresh or steps else [*member.models, model]
                member.whole = True

    def _fit_whole_history(self, member: Member, turn: int) -> Any:
        """Fit a member on the whole history, for as long as the validated fit took."""
        hyper = member.models[0].hyperparameters() | {"seed": self.seed + turn}
        model = registry.create(member.method, **hyper)
        seconds = None if self.budget.seconds is None else member.fit_seconds
        self._fit(model, member.learning, self.panel, seconds)
        return model

    # One candidate

    def attempt(
        self, candidate: Candidate, hyper: dict[str, Any] | None, seconds: float | None
    ) -> Member | None:
        """Fit and validate one candidate; add it to the members, or its reason to `skipped`."""
        name, local = candidate.name, not candidate.learns
        if hyper is None:
            self.skipped[name] = f"too little time left of {self.budget_text}"
            return None
        try:
            began = time.perf_counter()
            model: Any = registry.create(
                candidate.method, horizon=self.horizon, **candidate.hyper, **hyper, seed=self.seed
            )
            if not local:
                self._fit(model, candidate.learning, self.validation.first, seconds)
            if candidate.learning is Learning.TUNED and not model.improved:
                self.skipped[name] = "nothing that it learned from this panel was better"
                return None
            fitted = time.perf_counter()
            limit = self._limit if local and name != NAIVE else np.inf
            quantiles, means = self.validation.forecast(model, refit=local, limit=limit)
        except TimeoutError:
            self.skipped[name] = f"it would take too much of {self.budget_text}"
            return None
        except DemandcastError as error:
            self.skipped[name] = str(error)
            return None
        ended = time.perf_counter()
        share = self._training_share(model, candidate.learning)
        member = Member(
            name, candidate.learning, [model], quantiles, means, fitted - began, ended - fitted, share,
            validated=model,
        )  # fmt: skip
        self.members.append(member)
        return member

    def _fit_within(
        self, candidate: Candidate, seconds: float, instead: Member | None = None
    ) -> Member | None:
        """Fit a candidate in about `seconds`; it replaces the member `instead` only if it forecasts better."""
        try:
            hyper = self._size_training(candidate, self.validation.first, seconds)
        except DemandcastError as error:
            self.skipped[candidate.name] = str(error)
            return None
        member = self.attempt(candidate, hyper, seconds)
        if member is not None and instead is not None:
            evidence = self.evidence()
            new, old = (evidence.loss(m.quantiles, m.means) for m in (member, instead))
            self.members.remove(member if old <= new else instead)
            instead.share = max(instead.share, member.share)
        return member

    def _fit(self, model: Any, learning: Learning, panel: Panel, seconds: float | None) -> None:
        if learning is Learning.TREES:
            model.fit(panel, seconds=seconds, progress=False)
        else:
            fit(model, panel, progress=False)

    def _size_training(
        self, candidate: Candidate, panel: Panel, seconds: float | None
    ) -> dict[str, Any] | None:
        """Return hyper-parameters for a training of about `seconds`; None if that is too short."""
        kind: Any = registry.get(candidate.method)
        if candidate.learning is Learning.TUNED:
            if seconds is None:
                return {"tune": f"{self.budget.steps} steps"}
            return {"tune": min(seconds, TUNED_SECONDS)} if seconds >= FEWEST_TUNED else None
        if candidate.learning is Learning.NETWORK:
            if self.budget.steps is not None or seconds is None:
                return {"max_steps": self.budget.steps}
            wanted = int(kind.defaults()["max_steps"])
            trial = kind(horizon=self.horizon, seed=self.seed, max_steps=PILOT, **candidate.hyper)
            began = time.perf_counter()
            fit(trial, panel, progress=False)
            pilot = time.perf_counter() - began
            fixed = pilot - trial.log.seconds
            steps = int((seconds - pilot - fixed) / max(trial.log.seconds / PILOT, 1e-6))
            return {"max_steps": min(wanted, steps)} if steps >= FEWEST_STEPS else None
        if seconds is None:
            return {}
        rows = int(min(count_rows(panel), max(20_000, ROWS_PER_SECOND * seconds)))
        return {"rows": rows, "levels": FEWER} if seconds < HURRIED else {"rows": rows}

    def _training_share(self, model: Any, learning: Learning) -> float:
        """Return the length of a fit as a share of the usual training of its method."""
        if learning is Learning.NETWORK:
            return float(model.config.max_steps / model.defaults()["max_steps"])
        if learning is Learning.TREES:
            usual = count_rows(self.validation.first)
            rows = (model.config.rows or usual) / usual
            return float(rows * model.grown / model.defaults()["trees"])
        if learning is Learning.TUNED and self.budget.steps is None:
            return float(model.config.tune / TUNED_SECONDS)
        return 1.0

    def _is_slow(self, candidate: Candidate) -> bool:
        """Return whether a method without training would take more than an eighth of the time.

        It is estimated from the times of two small parts of the panel, the second with more series and steps.
        """
        if self.budget.seconds is None:
            return False
        fold = self.validation.folds[-1]
        seconds, values = [], []
        for count, steps in TRIALS:
            part = fold.known.select(fold.rows[:: max(1, len(fold.rows) // count)][:count])
            part = part.drop_last(max(0, int(np.median(part.lengths)) - steps))
            part = part.select(part.lengths > self.horizon)
            began = time.perf_counter()
            try:
                registry.create(candidate.method, horizon=self.horizon).fit(part).predict(part)
            except DemandcastError:
                return False  # `attempt` says why
            seconds.append(time.perf_counter() - began)
            values.append(part.n_steps)
        each = max(0.0, seconds[1] - seconds[0]) / max(1, values[1] - values[0])
        scored = sum(int(f.known.lengths[f.rows].sum()) for f in self.validation.folds)
        return each * max(scored, self.panel.n_steps) > self._limit

    @property
    def _limit(self) -> float:
        """Seconds that a method without a training may take."""
        return (self.budget.seconds or np.inf) / 8

    # Weights so far

    def evidence(self) -> Evidence:
        """Return the evidence of all members."""
        return self.validation.evidence(
            np.stack([m.quantiles for m in self.members]), np.stack([m.means for m in self.members])
        )

    def allowed(self, evidence: Evidence) -> NDArray[np.bool_]:
        """Return which members beat the seasonal naive and forecast all series in a quarter of the time."""
        limit = SLOW * (self.budget.seconds or np.inf)
        slow = np.array([m.predict_seconds * self.per_row > limit for m in self.members])
        losses = np.array([evidence.loss(m.quantiles, m.means) for m in self.members])
        naive = next((i for i, m in enumerate(self.members) if m.name == NAIVE), None)
        allowed = losses < losses[naive] if naive is not None else np.ones(len(losses), bool)
        allowed &= ~slow
        if not allowed.any():
            allowed = np.arange(len(losses)) == (naive if naive is not None else losses.argmin())
        return np.asarray(allowed)

    def shares(self) -> NDArray[np.float64]:
        """Return the weights of the members as last chosen, 0 for members added since, (M,)."""
        return np.array([self._weights.get(id(m), 0.0) for m in self.members])

    def weigh(self) -> float:
        """Choose the weights of the members so far; return the share by which the loss fell."""
        if not self.members:
            return 0.0
        began = time.perf_counter()
        evidence = self.evidence()
        allowed = self.allowed(evidence)
        selected = select(evidence, allowed)  # its loss falls with every member that helps
        weights = better_rule(evidence, allowed)(evidence, allowed)
        self._weights = {id(m): float(w) for m, w in zip(self.members, weights, strict=True)}
        blend = Blend(selected, {}, False)
        rows = np.broadcast_to(selected, (len(evidence.actual), len(selected)))
        loss = evidence.loss(
            blend.combine(evidence.quantiles, rows, evidence.levels),
            blend.mean(evidence.means, rows),
        )
        gain = 1 - loss / self._loss if np.isfinite(self._loss) and self._loss > 0 else 1.0
        self._loss = min(loss, self._loss)
        self.weighing = time.perf_counter() - began
        return gain
