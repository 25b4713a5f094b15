"""Replay orders on real history: stock is carried forward for every model, and costs are added up."""

from __future__ import annotations

import html
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from demandcast import registry
from demandcast.decide import next_order
from demandcast.decide.calendar import Now
from demandcast.decide.interval import Doubles, Ints
from demandcast.decide.orders import decide
from demandcast.decide.rules import UP_TO, Policy, choose_policy, in_packs
from demandcast.decide.scale import forecast_items
from demandcast.decide.stock import Stock
from demandcast.decide.stock_table import read_stock
from demandcast.errors import ConfigError, DataError, way
from demandcast.evaluate.backtest import BacktestResult
from demandcast.forecast.forecast import Forecast
from demandcast.forecaster import Forecaster, fit
from demandcast.frames.table_rows import show
from demandcast.panel.panel import Panel
from demandcast.progress import Bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger("demandcast")
SIGMA, COVER, FORESIGHT = "mean_plus_sigma", "steps_of_cover", "perfect_foresight"
TARGETS = (0.80, 0.85, 0.90, 0.95, 0.975, 0.99)
PATHS = 400
Decider = Callable[[int, Stock], Doubles]  # round and stock to orders


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Costs of ordering by each model's forecasts, by two usual rules and by perfect foresight.

    Attributes:
        rows: A row for each model, round and quantity: see `leaderboard`.
        policy: The rule.
        forecasts: The forecast of each round, by model.
        panels: What was known at each round.
        actual: Demand of the steps after the first round's cutoff, (N, steps).
        start: The stock that every replay began with.
        window: Steps that the usual rules average.
    """

    rows: pl.DataFrame
    policy: Policy
    forecasts: dict[str, list[Forecast]] = field(repr=False)
    panels: list[Panel] = field(repr=False)
    actual: Doubles = field(repr=False)
    start: Stock = field(repr=False)
    window: int

    def leaderboard(self) -> pl.DataFrame:
        """Return one row a model, the cheapest first: total cost, service and fill rate reached, stock, lost units.

        `cost` is cost_under x units short + cost_over x units left at the end of each window, and fixed_cost for every
        order placed, cost_spoiled for every unit that spoils, summed over items and rounds; null where the policy has no costs, and the order is then by units short. `service` is the share
        of windows without a shortage, `held` the mean stock of all items together at the end of their windows.
        """
        return _board(self.rows)

    def trade_off(self, targets: Sequence[float] = TARGETS) -> pl.DataFrame:
        """Return stock held and units lost when ordering by service level, one row a model and target.

        The forecasts are those of the replay; only the rule differs.
        """
        boards = []
        for target in targets:
            policy = replace(self.policy, service=float(target), fill_rate=None)
            n = len(self.start.service)
            stock = replace(self.start, service=np.full(n, target), fill_rate=np.full(n, np.nan))
            players = _players(self.forecasts, self.panels, policy, self.window, None)
            rows = [
                row
                for name, play in players.items()
                if name != COVER
                for row in _play(
                    name,
                    play,
                    self.panels,
                    self.actual,
                    _at_rounds(stock, _first(self.panels), len(self.panels)),
                    policy,
                    int(stock.review[0]),
                )
            ]
            board = _board(pl.DataFrame(rows)).with_columns(target=pl.lit(float(target)))
            boards.append(
                board.select("model", "target", "cost", "service", "fill_rate", "held", "lost")
            )
        return pl.concat(boards)

    def plot(self, targets: Sequence[float] = TARGETS) -> Figure:
        """Draw `trade_off`: a line a model, a dot a target; nearer to the corner is better."""
        from demandcast.report.stock_charts import trade_off_chart

        return trade_off_chart(self.trade_off(targets))

    def __repr__(self) -> str:
        board = self.leaderboard()
        best = board.row(0, named=True)
        rounds = len(self.panels)
        cost = "" if best["cost"] is None else f", cost {best['cost']:,.2f}"
        return f"Replay({board.height} rules x {rounds} rounds; best {best['model']}{cost})"

    def _repr_html_(self) -> str:
        table: str = self.leaderboard()._repr_html_()
        return f"<b>{html.escape(repr(self))}</b>{table}"


def replay(
    models: Sequence[Forecaster | str] | Forecaster | str | BacktestResult,
    panel: Panel | None = None,
    stock: Any = None,
    policy: Policy | None = None,
    *,
    rounds: int = 8,
    refit: bool = True,
    n_samples: int = PATHS,
    window: int | None = None,
    cover: float | None = None,
    scaled: bool = True,
    progress: bool = True,
    **rule: Any,
) -> Replay:
    """Compute what orders on the history of a panel would have cost, by each model's forecasts and two usual rules.

    In each round every model forecasts from what was known then, the rule orders, and the demand that came is
    served from the stock that the model's own orders left. The last window ends with the panel. Three rules are
    compared with the models: the mean of the last `window` steps plus z times their deviation (z of the
    service level or of the cost fractile), lead time + review + 1 steps of cover, and perfect foresight.

    Args:
        models: Forecasters or names; or a backtest with paths, whose forecasts are then ordered by: its folds are the
            rounds, so they are `review` steps apart, and `panel`, `rounds`, `refit` and `scaled` have no use.
        panel: The whole history; series too short for the first round are left out, with a warning.
        stock: As `order` takes it, at the first round of each item; None for lead time + review steps of mean demand on hand.
        policy: The rule; or give its parts as keywords: lead_time=2, cost_under=1, cost_over=0.2.
        rounds: Orders of every item, `review` steps apart. With order days, an item is ordered only in the rounds that fall
            on one of them: seven rounds are a week of daily reviews.
        refit: Fit at every round; else at the first only.
        n_samples: Paths of each series.
        window: Steps that the usual rules average; None for 13 or the next whole number of seasons.
        cover: Steps of mean demand that the rule of cover orders up to; None for lead time + review + 1.
        scaled: Whether paths of a pretrained model are scaled to the total where that pays, as `demandcast order`
            does; see `demandcast.decide.scale`.
        progress: Show a bar, on stderr.
        **rule: Of `Policy`.

    Raises:
        ConfigError: A number is out of its range, or nothing says what to order by.
        DataError: The history is too short, lead times are random, or reviews differ between items.
    """
    policy = choose_policy(policy, rule)
    if rounds < 1 or n_samples < 1:
        raise ConfigError(f"rounds is {rounds} and n_samples {n_samples}; both are 1 or more")
    if isinstance(models, BacktestResult):
        return _replay_backtest(models, stock, policy, window=window, cover=cover)
    if panel is None:
        raise ConfigError("models are replayed on a panel; give replay(models, panel, ...)")
    start = stock if isinstance(stock, Stock) else opening(stock, panel, policy)
    _check(panel, start)
    step = int(start.review[0])
    steps = _steps(start, panel, rounds)
    begun = panel.lengths > steps
    if not begun.any():
        raise DataError(
            f"{rounds} rounds need {steps} steps after the first, but the longest series has {int(panel.lengths.max())}; "
            "use fewer rounds"
        )
    if not begun.all():
        left = int((~begun).sum())
        log.warning("%d series begin after the first round and are left out of the replay", left)
        panel, start = panel.select(begun), start.select(np.flatnonzero(begun))
    known = [panel.drop_last(steps - r * step) for r in range(rounds)]
    window = window or usual_window(panel)
    if stock is None:
        start = mean_demand_on_hand(start, known[0], window)
    horizon = horizon_of_rounds(panel, start, policy, rounds)
    chosen = [models] if isinstance(models, (Forecaster, str)) else list(models)
    forecasters = [registry.create(m, horizon=horizon) if isinstance(m, str) else m for m in chosen]
    forecasts: dict[str, list[Forecast]] = {}
    seconds: dict[str, float] = {}
    with Bar(
        total=rounds * len(forecasters),
        desc="replay",
        disable=not progress,
        file=sys.stderr,
        leave=False,
    ) as bar:
        for model in forecasters:
            began, own = time.perf_counter(), list[Forecast]()
            for r, part in enumerate(known):
                bar.set_postfix_str(f"{model.name}, round {r + 1}")
                if refit or r == 0:
                    fit(model, part, progress=False)
                own.append(
                    forecast_items(model, part, n_samples)[0]
                    if scaled
                    else model.predict(part, n_samples=n_samples)
                )
                bar.update()
            label = (
                model.name if model.name not in forecasts else f"{model.name}_{len(forecasts) + 1}"
            )
            forecasts[label], seconds[label] = own, time.perf_counter() - began
    return play_forecasts(forecasts, known, start, policy, window, cover=cover, seconds=seconds)


def play_forecasts(
    forecasts: dict[str, list[Forecast]],
    panels: list[Panel],
    start: Stock,
    policy: Policy,
    window: int,
    *,
    cover: float | None = None,
    seconds: dict[str, float] | None = None,
) -> Replay:
    """Order by forecasts that are made, and serve the demand that came; see `replay`.

    Args:
        forecasts: Of every round, by model, with paths.
        panels: What was known at each round, of the same series.
        start: The stock at the first round.
        policy: The rule.
        window: Steps that the usual rules average.
        cover: Steps of cover of the usual rule.
        seconds: Seconds that the forecasts of a model took in all.
    """
    rounds, step = len(panels), int(start.review[0])
    starts = _at_rounds(start, _first(panels), rounds)
    steps = _steps_to_the_last_window(starts, step)
    actual = np.nan_to_num(panels[0].future_target(steps).astype(np.float64))
    horizon = max(next_order.horizon(placed, policy) for placed in starts)
    least = min((f.horizon for own in forecasts.values() for f in own), default=horizon)
    for note in next_order.note_on_steps(least, starts[0], policy):
        log.warning("%s", note)
    players = _players(forecasts, panels, policy, window, cover)
    truth = [_truth(panels[r], actual[:, r * step :], horizon) for r in range(rounds)]
    players[FORESIGHT] = _by_forecast(
        truth, replace(policy, rule=UP_TO, continuous=False, fixed_cost=None, quantity=None)
    )
    rows = [
        {**row, "seconds": (seconds or {}).get(name, 0.0) / rounds}
        for name, play in players.items()
        for row in _play(name, play, panels, actual, starts, policy, step)
    ]
    return Replay(
        rows=pl.DataFrame(rows), policy=policy, forecasts=forecasts, panels=panels, actual=actual,
        start=start, window=window,
    )  # fmt: skip


def _replay_backtest(
    result: BacktestResult,
    stock: Any,
    policy: Policy,
    *,
    window: int | None,
    cover: float | None,
) -> Replay:
    """Replay the forecasts of a backtest, whose folds are the rounds."""
    first = result.panels[0]
    start = stock if isinstance(stock, Stock) else opening(stock, first, policy)
    _check(first, start)
    if start.dated:
        raise DataError(
            "orders by days or phase-out dates are replayed by replay(models, panel, ...), whose rounds follow them, "
            "not by a backtest; leave order_days, delivery_days and phase_out out"
        )
    check_folds(start, result.horizon, result.step, folds=len(result.panels))
    if any(f.samples is None for own in result.forecasts.values() for f in own):
        raise DataError(
            "the backtest's forecasts have no sample paths, and sums over the lead time need them; ask for them:",
            ways=[way(n_samples=PATHS, call=f"backtest(..., n_samples={PATHS})")],
        )
    window = window or usual_window(first)
    if stock is None:
        start = mean_demand_on_hand(start, first, window)
    rows = [_rows_of(first, panel) for panel in result.panels]
    panels = [panel.select(own) for panel, own in zip(result.panels, rows, strict=True)]
    forecasts = {
        name: [_select(f, own) for f, own in zip(folds, rows, strict=True)]
        for name, folds in result.forecasts.items()
    }
    seconds = dict(
        result.rows.group_by("model").agg(pl.col("fit_seconds", "predict_seconds").sum()).select(
            "model", pl.col("fit_seconds") + pl.col("predict_seconds")
        ).rows()
    )  # fmt: skip
    return play_forecasts(forecasts, panels, start, policy, window, cover=cover, seconds=seconds)


def check_folds(start: Stock, horizon: int, step: int, *, folds: int) -> None:
    """Refuse folds of a backtest that are no rounds of orders.

    Args:
        start: The stock, with lead times and review periods.
        horizon: Steps that the backtest forecasts.
        step: Steps between its cutoffs.
        folds: How many there are.

    Raises:
        ConfigError: They are not a review period apart, or the horizon ends before an order's window does.
    """
    review = int(start.review[0])
    if folds > 1 and step != review:
        raise ConfigError(
            f"the folds of the backtest are {step} steps apart, but orders are placed every {review}; set both alike with",
            option="step", ways=[way(step=review), way(review=step)],
        )  # fmt: skip
    if start.horizon > horizon:
        raise ConfigError(
            f"lead time and review are {start.horizon} steps, but the backtest forecasts {horizon}; give",
            option="horizon", ways=[way(horizon=start.horizon)],
        )  # fmt: skip


def _first(panels: list[Panel]) -> Now:
    """Return when the first round's orders are placed."""
    return Now(int(panels[0].ends().max()), panels[0].freq)


def _at_rounds(start: Stock, first: Now, rounds: int) -> list[Stock]:
    """Return the stock table as it holds at each round: lead times and review periods follow the calendar."""
    if not start.dated:
        return [start] * rounds
    step = int(start.review[0])
    return [start.at(Now(first.step + r * step, first.freq)) for r in range(rounds)]


def _steps_to_the_last_window(starts: list[Stock], step: int) -> int:
    """Return the steps from the first round to the end of the window that ends last."""
    return max(int((r * step + s.arrival + s.review).max()) for r, s in enumerate(starts))


def _steps(start: Stock, panel: Panel, rounds: int) -> int:
    """Return the steps from the first round to the end of the panel, with which the last window ends.

    With a calendar, windows depend on the day on which the rounds begin, so that day is moved back until they fit.
    """
    step, steps = int(start.review[0]), int(start.lead.max()) + rounds * int(start.review[0])
    if not start.dated:
        return steps
    if len(set(panel.ends().tolist())) > 1:
        i = int(panel.ends().argmin())
        raise DataError(
            f"item {panel.key(i)} ends before others, and a replay by days needs items that end on the same; read the "
            "table with",
            series=panel.key(i), ways=[way(ended="forecast")],
        )  # fmt: skip
    end = int(panel.ends().max())
    while True:
        placed = _at_rounds(start, Now(end - steps, panel.freq), rounds)
        if _steps_to_the_last_window(placed, step) <= steps:
            return steps
        steps += 1


def _rows_of(first: Panel, later: Panel) -> Ints:
    """Return the rows of the first panel's series in a later state of it, to which series may have come."""
    place = {key: i for i, key in enumerate(later.keys.rows())}
    return np.array([place[key] for key in first.keys.rows()], np.int64)


def _select(forecast: Forecast, rows: Ints) -> Forecast:
    """Return the forecast of some series, for orders: keys, cutoffs, paths, mean and quantiles."""
    assert forecast.samples is not None
    return replace(
        forecast, keys=forecast.keys[rows.tolist()], cutoffs=forecast.cutoffs[rows],
        quantiles=forecast.quantiles[rows], mean=forecast.mean[rows], samples=forecast.samples[rows],
        events=None, panel=None, forecaster=None,
    )  # fmt: skip


def mean_demand_on_hand(start: Stock, panel: Panel, window: int) -> Stock:
    """Return the stock with lead time + review steps of mean demand on hand."""
    mean = _recent(panel, window).mean(1)
    return replace(start, on_hand=np.ceil(mean * (start.lead + start.review)))


def horizon_of_rounds(panel: Panel, start: Stock, policy: Policy, rounds: int) -> int:
    """Return the steps to forecast in every round, those of the next order included where they are known.

    The last window ends with the panel, and known covariates may end there too.
    """
    first = int(panel.ends().max()) - _steps(start, panel, rounds)
    starts = _at_rounds(start, Now(first, panel.freq), rounds)
    least = max(placed.horizon for placed in starts)
    horizon = max(next_order.horizon(placed, policy) for placed in starts)
    beyond = int((panel.extents - panel.lengths).min())
    return least if panel.known_names and least + beyond < horizon else horizon


def _check(panel: Panel, start: Stock) -> None:
    if (start.deviation > 0).any() or start.observed is not None:
        raise DataError("a replay has fixed lead times; leave lead_time_deviation out")
    if len(set(start.review.tolist())) > 1:
        i = int(np.argmax(start.review != start.review[0]))
        raise DataError(
            f"item {panel.key(i)} has a review of {int(start.review[i])}, others of {int(start.review[0])}; replay items "
            "of one review together, with panel.select"
        )


def opening(stock: Any, panel: Panel, policy: Policy, *, decimal: str | None = None) -> Stock:
    """Return the stock at the first round: from the table, or for every item none on hand and the policy's rule."""
    if stock is None:
        stock = panel.keys.with_columns(on_hand=pl.lit(0))
    start = read_stock(stock, panel.keys, policy, decimal=decimal, freq=panel.freq)
    for note in start.notes:
        log.warning("%s", note)
    return start


def usual_window(panel: Panel) -> int:
    """Return the steps that usual rules average: 13, or the next whole number of seasons of up to 24 steps."""
    period = panel.freq.period
    return -(-13 // period) * period if 1 <= period <= 24 else 13


def _recent(panel: Panel, window: int) -> Doubles:
    """Return the last steps of each series, (N, window), 0 where nothing was observed and before its start."""
    return np.nan_to_num(panel.padded_history(window).astype(np.float64))


def _truth(panel: Panel, ahead: Doubles, horizon: int) -> Forecast:
    """Return the values that came as a forecast of one path."""
    path = np.zeros((len(ahead), horizon), np.float32)
    seen = ahead[:, :horizon]
    path[:, : seen.shape[1]] = seen
    return Forecast.of(panel, (0.5,), path[..., None], path, samples=path[:, None], model=FORESIGHT)


def _players(
    forecasts: dict[str, list[Forecast]],
    panels: list[Panel],
    policy: Policy,
    window: int,
    cover: float | None,
) -> dict[str, Decider]:
    """Return every rule by name: a function from round and stock to orders."""
    players: dict[str, Decider] = {
        name: _by_forecast(own, policy) for name, own in forecasts.items()
    }

    def by_sigma(r: int, stock: Stock) -> Doubles:
        recent = _recent(panels[r], window)
        span = stock.arrival + stock.review
        level = np.where(np.isnan(stock.service), stock.fill_rate, stock.service)
        level = np.where(stock.by_cost, stock.critical, level)
        z = np.array([NormalDist().inv_cdf(p) for p in level])
        top = recent.mean(1) * span + z * recent.std(1, ddof=1) * np.sqrt(span)
        return np.where(stock.may_order, in_packs(top - stock.position, stock.pack), 0)

    def by_cover(r: int, stock: Stock) -> Doubles:
        steps = stock.arrival + stock.review + 1 if cover is None else cover
        top = _recent(panels[r], window).mean(1) * steps
        return np.where(stock.may_order, in_packs(top - stock.position, stock.pack), 0)

    return {**players, SIGMA: by_sigma, COVER: by_cover}


def _by_forecast(forecasts: list[Forecast], policy: Policy) -> Decider:
    return lambda r, stock: decide(forecasts[r], stock, policy, now=forecasts[r].cutoffs).order


def _play(
    name: str,
    decider: Decider,
    panels: list[Panel],
    actual: Doubles,
    starts: list[Stock],
    policy: Policy,
    step: int,
) -> list[dict[str, Any]]:
    """Order in every round, `step` steps apart, and serve the demand that came; return one row a round."""
    n, steps = actual.shape
    start, items = starts[0], np.arange(n)
    comes = start.open_orders(steps + 1)
    on_hand = start.on_hand.copy()
    lost, held, ordered = np.zeros((n, steps)), np.zeros((n, steps)), []
    shelf = _Shelf(start, steps) if np.isfinite(start.life).any() else None
    spoiled = np.zeros((n, steps))
    for r, placed in enumerate(starts):
        at = r * step
        waiting = {k + 1: comes[:, at + k] for k in range(steps - at) if comes[:, at + k].any()}
        stock = replace(placed, on_hand=on_hand, on_order=np.zeros(n), arriving=waiting)
        amount = decider(r, stock)
        ordered.append(amount)
        comes[items, at + placed.arrival] += amount
        last = steps if r == len(panels) - 1 else at + step
        for t in range(at, last):
            if shelf is not None:
                spoiled[:, t] = shelf.step(t, comes[:, t], actual[:, t] + np.maximum(-on_hand, 0))
            on_hand = on_hand + comes[:, t]
            lost[:, t] = np.maximum(actual[:, t] - np.maximum(on_hand, 0), 0)
            on_hand = on_hand - actual[:, t]
            on_hand = np.maximum(on_hand, 0) if policy.lost_sales else on_hand
            on_hand = on_hand - spoiled[:, t]
            held[:, t] = np.maximum(on_hand, 0)
    rows = []
    for r, (part, placed, amount) in enumerate(zip(panels, starts, ordered, strict=True)):
        due = np.flatnonzero(placed.may_order)
        begin = (r * step + placed.arrival)[due]
        end = begin + placed.review[due]
        k = np.arange(steps)
        inside = (k >= begin[:, None]) & (k < end[:, None])  # steps of this round's window
        short, wanted, gone = ((x[due] * inside).sum(1) for x in (lost, actual, spoiled))
        left = held[due, end - 1]
        money = start.under[due] * short + start.over[due] * left
        money = money + np.where(amount[due] > 0, np.nan_to_num(start.fixed[due]), 0)
        money = money + np.nan_to_num(start.waste[due]) * gone
        rows.append(
            {
                "model": name, "round": r + 1, "cutoff": show(part.freq.times(part.ends().max(keepdims=True))[0]),
                "cost": None if np.isnan(money).any() else float(money.sum()),
                "held": float(left.sum()), "lost": float(short.sum()), "demand": float(wanted.sum()),
                "not_out": float((short == 0).mean()) if len(due) else 0.0, "ordered": float(amount.sum()),
                "windows": len(due), "items": n,
            }
            | ({} if shelf is None else {"spoiled": float(gone.sum())})
        )  # fmt: skip
    return rows


class _Shelf:
    """Stock by the step of its delivery, sold first in, first out; the opening stock counts as delivered at step 0."""

    def __init__(self, start: Stock, steps: int) -> None:
        self.left = np.zeros((len(start.on_hand), steps))  # units by step of delivery
        self.left[:, 0] = np.maximum(start.on_hand, 0)
        self.life = start.life

    def step(self, t: int, comes: Doubles, wanted: Doubles) -> Doubles:
        """Add what comes at a step, sell what is wanted, and return the units that spoil at its end, (N,)."""
        self.left[:, t] += comes
        sold_up_to = self.left.cumsum(1) - wanted[:, None]
        self.left = np.clip(sold_up_to, 0, self.left)
        old = t - self.life + 1 == np.arange(self.left.shape[1])[:, None]  # (steps, N)
        gone = np.where(old.T, self.left, 0)
        self.left = self.left - gone
        return np.asarray(gone.sum(1))


def _board(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rounds added up, the cheapest model first."""
    aggregates = [
        pl.col("cost").cast(pl.Float64).sum() if rows["cost"].null_count() == 0 else pl.lit(None, pl.Float64).alias("cost"),
        ((pl.col("not_out") * pl.col("windows")).sum() / pl.col("windows").sum()).alias("service"),
        (1 - pl.col("lost").sum() / pl.col("demand").sum()).alias("fill_rate"),
        (pl.col("held").sum() / pl.col("windows").sum() * pl.col("items").first()).alias("held"),
        pl.col("lost").sum(), pl.col("ordered").sum(),
    ]  # fmt: skip
    if "spoiled" in rows.columns:
        aggregates.append(pl.col("spoiled").sum())
    if "seconds" in rows.columns:
        aggregates.append(pl.col("seconds").sum())
    board = rows.group_by("model", maintain_order=True).agg(aggregates)
    return board.sort("cost" if board["cost"].null_count() == 0 else "lost")
