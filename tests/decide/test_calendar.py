"""Order and delivery days, shelf lives and phase-out dates, against loops over days and over units."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.decide.calendar import Days, Now, plan, read_days
from demandcast.errors import DemandcastError
from demandcast.frequency import Frequency

Make = Callable[..., dc.Forecast]
DAILY = Frequency.parse("D")


def date(text: str) -> np.datetime64:
    return np.datetime64(text, "D")


def step(text: str, freq: Frequency = DAILY) -> int:
    return int(freq.ordinal(np.array([text], "datetime64[us]"))[0])


@pytest.mark.parametrize("seed", range(6))
def test_windows_are_those_of_a_walk_over_the_days(seed: int) -> None:
    """Every day from today on: may one order, when does that order arrive, and which is the first to arrive later."""
    rng = np.random.default_rng(seed)
    weekdays = [
        tuple(sorted(rng.choice(7, rng.integers(1, 5), replace=False).tolist())) for _ in "ab"
    ]
    lead, today = int(rng.integers(0, 12)), date("2024-03-04") + int(rng.integers(0, 7))

    def weekday(day: np.datetime64) -> int:
        return int((day.astype(int) + 3) % 7)

    def arrives(day: np.datetime64) -> np.datetime64:
        at = day + lead + 1
        while weekday(at) not in weekdays[1]:
            at += 1
        return at

    later = today + 1
    while weekday(later) not in weekdays[0] or arrives(later) <= arrives(today):
        later += 1
    found = plan(
        [Days(weekdays[0])], [Days(weekdays[1])], Now(step(str(today)), DAILY), np.array([lead]), np.array([lead + 2]),
        np.array([1]), str,
    )  # fmt: skip
    assert found.may_order[0] == (weekday(today) in weekdays[0])
    assert found.delivery[0, lead] == (arrives(today) - today).astype(int) - 1
    assert found.review[0] == (arrives(later) - arrives(today)).astype(int)


def table(columns: dict[str, Any], n: int = 2) -> pl.DataFrame:
    return pl.DataFrame({"item": list("abcd")[:n], "on_hand": [0] * n} | columns, strict=False)


def weekly(forecast_of: Make, steps: int = 12, n: int = 2, freq: str = "D") -> dc.Forecast:
    """Demand of 1, 2, 3, ... units on the days after Sunday 2024-03-03."""
    forecast = forecast_of(np.tile(np.arange(1.0, steps + 1), (n, 50, 1)), list("abcd")[:n])
    schema = dc.Schema(key=("item",), time="day", target="units", freq=freq)
    cutoffs = np.full(n, step("2024-03-03", Frequency.parse(freq)))
    return dc.Forecast(**{**vars(forecast), "schema": schema, "cutoffs": cutoffs})


def test_an_order_covers_the_days_from_its_delivery_to_the_next_one(forecast_of: Make) -> None:
    """Lead time 1 from Sunday: Tuesday at the earliest, so delivered on Thursday; Thursday's order comes on Monday."""
    stock = table({"order_days": ["Sun, Thu", "Mon"], "delivery_days": ["Mon Thu", None]})
    found = dc.order(weekly(forecast_of), stock, lead_time=1, service=0.9, lost_sales=False)
    assert found.stock.arrival.tolist() == [3, 1]
    assert found.stock.review.tolist() == [4, 1]  # Thursday to Sunday; b is no order day today
    assert found.order.tolist() == [1 + 2 + 3 + 4 + 5 + 6 + 7, 0]
    assert found.why.tolist() == ["service", "calendar"]
    assert found.window_demand[0] == 4 + 5 + 6 + 7
    assert "1 without an order day now" in found.summary()
    assert "b, whose next one is Mon 2024-03-04" in found.stock.notes[0]
    by_option = dc.order(
        weekly(forecast_of), table({}), lead_time=1, service=0.9, lost_sales=False, order_days="Sunday;thu",
        delivery_days=["Mon", "Thu"],
    )  # fmt: skip
    assert by_option.order.tolist() == [28, 28]


def test_dates_are_days_too_and_random_lead_times_wait_for_the_delivery(forecast_of: Make) -> None:
    stock = table({"delivery_days": ["2024-03-08 2024-03-12 2024-03-30"] * 2})
    found = dc.order(weekly(forecast_of), stock, lead_time=2, service=0.9, lost_sales=False)
    assert found.window_demand.tolist() == [5 + 6 + 7 + 8] * 2
    leads = pl.DataFrame({"lead_time": [0, 1, 5, 6]})
    found = dc.order(weekly(forecast_of), stock, lead_times=leads, service=0.9, lost_sales=False)
    drawn = dc.decide.orders.lead_times(found.stock, 40)
    assert sorted(set(drawn.ravel().tolist())) == [4, 8]
    assert (drawn == 4).mean() == 0.5


def test_weeks_take_dates_and_business_days_have_no_sunday() -> None:
    weeks = Frequency.parse("W-MON")
    found = read_days("2024-03-06, 2024-03-18", weeks, "order_days")
    assert found == Days(steps=(step("2024-03-04", weeks), step("2024-03-18", weeks)))
    with pytest.raises(DemandcastError, match=r"a step of the table is 'W-MON'.*write dates"):
        read_days("Mon", weeks, "order_days")
    with pytest.raises(DemandcastError, match="no step on Sun"):
        read_days("Sat Sun", Frequency.parse("D-exSUN"), "order_days")
    hours = Frequency.parse("h")
    start = step("2024-03-03T22:00", hours)
    assert Days(weekdays=(0,)).first(start, hours) == start + 2


def test_dates_of_a_workbook_are_days(forecast_of: Make) -> None:
    """A cell is a date or a moment there, not a text."""
    at = pl.Series(["2024-03-08", "2024-03-08"]).str.to_datetime()
    for column in (at, at.cast(pl.Date), at.dt.strftime("%Y-%m-%d")):
        stock = table({"delivery_days": column, "phase_out": column})
        with pytest.raises(DemandcastError, match="delivery_days of item a have no day from"):
            dc.order(weekly(forecast_of), stock, lead_time=2, service=0.9)
        found = dc.order(weekly(forecast_of), stock.drop("delivery_days"), lead_time=2, service=0.9)
        assert found.stock.until.tolist() == [5, 5]
    days = [at[0].date(), "2024-03-12"]
    assert read_days(days, DAILY, "order_days") == Days(
        steps=(step("2024-03-08"), step("2024-03-12"))
    )


@pytest.mark.parametrize("lost_sales", [True, False])
def test_spoiled_units_are_those_of_a_queue(forecast_of: Make, lost_sales: bool) -> None:
    """First in, first out, unit by unit: what the order's units are when their shelf life ends."""
    rng = np.random.default_rng(3)
    paths = rng.poisson(3, (1, 60, 9))
    stock = table({"arriving_2": [2], "arriving_4": [50], "on_hand": [5]}, 1)
    found = dc.order(
        forecast_of(paths, ["a"]), stock, lead_time=2, review=2, service=0.9, shelf_life=4, lost_sales=lost_sales
    )  # fmt: skip
    inner = dc.decide.orders.look_ahead(found.forecast, found.stock, found.policy, found.gap)
    for order in (0, 3, 9, 20):
        spoiled = []
        for path in paths[0]:
            queue, owed = ["old"] * 5, 0
            for day in range(2 + 4):
                queue += ["old"] * (2 if day == 1 else 0) + ["own"] * (order if day == 2 else 0)
                served = min(len(queue), path[day] + owed)
                owed = 0 if lost_sales else path[day] + owed - served
                queue = queue[served:]
            spoiled.append(queue.count("own"))
        assert inner.spoiled(np.array([float(order)]))[0] == np.mean(spoiled)


def test_orders_of_the_least_cost_weigh_spoilage(forecast_of: Make) -> None:
    """No other whole order costs less, and dearer spoilage means fewer units."""
    paths = np.random.default_rng(4).poisson(2, (4, 300, 7)).astype(float)
    rule = {"lead_time": 1, "review": 1, "cost_under": 4, "cost_over": 0.1}
    stock = table(
        {"shelf_life": [None, 2, 2, 2], "cost_spoiled": [None, 0, 2, 9], "review": [5] * 4}, 4
    )
    found = dc.order(forecast_of(paths, list("abcd")), stock, **rule)
    inner = dc.decide.orders.look_ahead(found.forecast, found.stock, found.policy, found.gap)
    costs = [
        dc.decide.rules.expected_cost(
            inner, np.full(4, float(y)), found.stock.under, found.stock.over
        )
        for y in range(30)
    ]
    np.testing.assert_allclose(found.cost, np.min(costs, 0), rtol=1e-9)
    assert found.order[1] > found.order[2] > found.order[3]
    assert found.to_frame()["expected_spoiled"].to_list()[0] == 0
    assert found.expected_spoiled[2] > found.expected_spoiled[3] > 0  # type: ignore[index]


def test_no_unit_that_rather_spoils_is_ordered_for_a_service(forecast_of: Make) -> None:
    """Ten days of 1, 2, 3, ... units at 95 %, of which only the first two days' can be sold in time."""
    stock = table({"shelf_life": [2, None]})
    for rule in ({}, {"rule": "s,Q", "quantity": 30}):
        found = dc.order(weekly(forecast_of), stock, lead_time=0, review=10, service=0.95, **rule)
        assert (found.order[0], found.why[0]) == (1 + 2, "shelf life")
        assert found.order[1] >= 55


def test_no_demand_is_expected_after_a_phase_out(forecast_of: Make) -> None:
    stock = table({"phase_out": ["2024-03-06", "2024-03-04"]})
    found = dc.order(weekly(forecast_of), stock, lead_time=1, review=4, service=0.9)
    assert found.order.tolist() == [2 + 3, 0]
    assert found.why.tolist() == ["phase-out", "phase-out"]
    found = dc.order(
        weekly(forecast_of), stock, lead_time=1, review=4, service=0.9, rule="s,Q", quantity=24
    )
    assert found.order.tolist() == [5, 0]
    stock = table({"phase_out": [pl.Series(["2024-03-20"]).str.to_date()[0], None]})
    assert dc.order(weekly(forecast_of), stock, lead_time=1, service=0.9).why[0] == "service"


@pytest.mark.parametrize(
    ("columns", "given", "said"),
    [
        ({"order_days": ["Mon", "Mondy"]}, {}, "order_days of item b is 'Mondy': 'Mondy' is neither.*is it Mon"),
        ({"order_days": ["Mon", "Mon 2024-03-04"]}, {}, "item b .*write weekdays or dates, not both"),
        ({"order_days": ["Mon", "2024-02-31"]}, {}, "order_days of item b is '2024-02-31'; write a date"),
        ({"order_days": ["Mon", "2024-03-03"]}, {}, "order_days of item b have no day after Sun 2024-03-03.*add later dates"),
        ({"delivery_days": ["Mon", "2024-03-04"]}, {}, "delivery_days of item b have no day from Tue 2024-03-05 on.*add later"),
        ({}, {"order_days": 3}, "order_days is 3; write weekdays"),
        ({"phase_out": ["2024-03-04", "soon"]}, {}, "phase_out of item b is 'soon'; write a date"),
        ({"shelf_life": [3, 0]}, {}, "shelf_life of item b is 0"),
        ({"shelf_life": [3, 1.5]}, {}, "shelf_life of item b is 1.5.*whole number"),
        ({"shelf_life": [None, 3]}, {"service": None, "cost_under": 1, "cost_over": 1}, "item b has a shelf_life, but no cost_spoiled.*cost_spoiled=2"),
        ({"shelf_life": [None, 30]}, {}, "item b .*with a shelf life of 30 its order.*needs 31 steps"),
        ({"cost_spoiled": [1, -1]}, {}, "cost_spoiled of item b is -1"),
        ({}, {"shelf_life": 0}, "shelf_life is 0"),
        ({}, {"cost_spoiled": -1}, "cost_spoiled is -1"),
    ],
)  # fmt: skip
def test_days_that_cannot_be_are_refused_by_name(
    forecast_of: Make, columns: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(DemandcastError, match=said):
        dc.order(weekly(forecast_of), table(columns), **{"lead_time": 1, "service": 0.9, **given})


def daily(days: int = 60, items: int = 2) -> dc.Panel:
    units = np.random.default_rng(5).poisson(6, (items, days))
    table = pl.DataFrame(
        {
            "item": np.repeat(list("abcd")[:items], days),
            "day": np.tile(date("2024-01-01") + np.arange(days), items),
            "units": units.ravel(),
        }
    )
    return dc.read_panel(table, key="item")


def test_a_replay_follows_the_calendar_of_each_item() -> None:
    """Mean + z sigma of 14 days, ordered and delivered by a walk over the days, two items of different days."""
    panel, rounds, lead = daily(), 16, 1
    days = {
        0: ("Mon Thu", (0, 3), "Tue Fri Sat", (1, 4, 5)),
        1: ("Wed", (2,), None, tuple(range(7))),
    }
    stock = panel.keys.with_columns(
        on_hand=pl.Series([30, 40]), order_days=pl.Series([days[0][0], days[1][0]]),
        delivery_days=pl.Series([days[0][2], days[1][2]]),
    )  # fmt: skip
    rule = {"lead_time": lead, "cost_under": 3, "cost_over": 0.5}
    found = dc.replay([], panel, stock, rounds=rounds, progress=False, **rule)
    z = NormalDist().inv_cdf(3 / 3.5)
    first = found.panels[0].history_times(0)[-1].astype("datetime64[D]")

    def weekday(day: np.datetime64) -> int:
        return int((day.astype(int) + 3) % 7)

    money = lost = 0.0
    for i in range(2):
        history, known = panel.history(i), int(found.panels[0].lengths[i])
        on_hand, coming = float([30, 40][i]), dict[int, float]()
        short, held, windows = dict[int, float](), dict[int, float](), list[tuple[int, int]]()
        for t in range(len(history) - known + 1):  # after day t - 1, then through day t
            today = first + t
            if t < rounds and weekday(today) in days[i][1]:

                def arrives(at: int, i: int = i) -> int:
                    at += lead + 1
                    while weekday(first + at) not in days[i][3]:
                        at += 1
                    return at

                later = t + 1
                while weekday(first + later) not in days[i][1] or arrives(later) <= arrives(t):
                    later += 1
                windows.append((arrives(t), arrives(later)))
                span = arrives(later) - t - 1
                recent = history[: known + t][-14:].astype(float)
                top = span * recent.mean() + z * recent.std(ddof=1) * span**0.5
                order = max(np.ceil(top - on_hand - sum(coming.values()) - 1e-9), 0)
                coming[arrives(t)] = coming.get(arrives(t), 0) + order
            if t == len(history) - known:
                break
            on_hand += coming.pop(t + 1, 0)
            demand = float(history[known + t])
            short[t + 1] = max(demand - on_hand, 0)
            on_hand = held[t + 1] = max(on_hand - demand, 0)
        lost += sum(short[t] for begin, end in windows for t in range(begin, end))
        money += sum(0.5 * held[end - 1] for _, end in windows)
    money += 3 * lost
    board = {row["model"]: row for row in found.leaderboard().to_dicts()}
    assert board["mean_plus_sigma"]["lost"] == lost
    assert board["mean_plus_sigma"]["cost"] == pytest.approx(money)
    assert board["perfect_foresight"]["lost"] == 0
    assert board["perfect_foresight"]["cost"] == min(row["cost"] for row in board.values())
    curve = found.trade_off((0.6, 0.95)).filter(pl.col("model") == "mean_plus_sigma")
    assert curve["held"][0] < curve["held"][1]


@pytest.mark.parametrize("lost_sales", [True, False])
def test_units_that_spoil_in_a_replay_are_those_of_a_queue(lost_sales: bool) -> None:
    """Fifteen days of cover, sold first in, first out, thrown away at the end of their third day."""
    panel = daily(items=1)
    stock = panel.keys.with_columns(
        on_hand=pl.lit(20), shelf_life=pl.lit(3), cost_spoiled=pl.lit(2)
    )
    rule = {"lead_time": 1, "cost_under": 3, "cost_over": 0.5, "lost_sales": lost_sales}
    found = dc.replay([], panel, stock, rounds=12, cover=4, progress=False, **rule)
    known, history = int(found.panels[0].lengths[0]), panel.history(0)
    queue, owed, coming, money, gone = [0] * 20, 0.0, dict[int, int](), 0.0, 0
    for t in range(len(history) - known):
        if t < 12:
            top = 4 * history[: known + t][-14:].astype(float).mean()
            order = max(np.ceil(top - len(queue) + owed - sum(coming.values()) - 1e-9), 0)
            coming[t + 1] = int(order)
        queue += [t] * coming.pop(t, 0)
        served = min(len(queue), history[known + t] + owed)
        queue, before = queue[int(served) :], owed
        owed = 0.0 if lost_sales else history[known + t] + before - served
        short = max(history[known + t] - max(served - before, 0), 0)
        spoiled = sum(delivered == t - 2 for delivered in queue)
        queue = [delivered for delivered in queue if delivered != t - 2]
        if t >= 1:
            gone += spoiled
            money += 3 * short + 0.5 * len(queue) + 2 * spoiled
    row = found.leaderboard().filter(pl.col("model") == "steps_of_cover").row(0, named=True)
    assert row["spoiled"] == gone > 0
    assert row["cost"] == pytest.approx(money)


def test_weighing_spoilage_pays_in_a_replay() -> None:
    panel = daily(items=4)
    stock = panel.keys.with_columns(on_hand=pl.lit(5), shelf_life=pl.lit(2))
    rule = {"lead_time": 1, "cost_under": 3, "cost_over": 0.1, "rounds": 16, "progress": False}
    boards = [
        dc.replay(
            ["empirical"], panel, stock.with_columns(cost_spoiled=pl.lit(w)), **rule
        ).rows.filter(pl.col("model") == "empirical")
        for w in (0.0, 6.0)
    ]
    blind = boards[0]["cost"].sum() + 6 * boards[0]["spoiled"].sum()
    assert boards[1]["cost"].sum() < blind
    assert boards[1]["spoiled"].sum() < boards[0]["spoiled"].sum()


def test_a_replay_orders_nothing_for_days_after_a_phase_out() -> None:
    panel = daily()
    stock = panel.keys.with_columns(on_hand=pl.lit(0), phase_out=pl.Series(["2024-02-15", None]))
    rule = {"lead_time": 1, "service": 0.9}
    found = dc.replay(["seasonal_naive"], panel, stock, rounds=20, progress=False, **rule)
    alone = dc.replay(
        ["seasonal_naive"], panel.select([0]), stock.head(1), rounds=20, progress=False, **rule
    )
    ordered = alone.rows.filter(pl.col("model") == "seasonal_naive")["ordered"].to_list()
    ends = [part.history_times(0)[-1].astype("datetime64[D]") for part in alone.panels]
    after = [end + 2 > date("2024-02-15") for end in ends]
    assert all(units == 0 for units, out in zip(ordered, after, strict=True) if out)
    assert sum(ordered) > 0
    assert found.rows["windows"].unique().to_list() == [2]


def test_a_replay_refuses_what_it_cannot_follow() -> None:
    panel = daily()
    for columns, said in (
        ({"order_days": "2024-02-20"}, "order_days of item a have no day after"),
        ({"order_days": "Fry"}, "'Fry' is neither a weekday"),
    ):
        stock = panel.keys.with_columns(on_hand=3, **{k: pl.lit(v) for k, v in columns.items()})
        with pytest.raises(DemandcastError, match=said):
            dc.replay([], panel, stock, rounds=2, lead_time=1, service=0.9, progress=False)
    stock = panel.keys.with_columns(on_hand=3, order_days=pl.lit("Mon"))
    result = dc.backtest(
        "seasonal_naive", panel, horizon=3, folds=2, step=1, n_samples=50, progress=False
    )
    with pytest.raises(DemandcastError, match="not by a backtest"):
        dc.replay(result, stock=stock, lead_time=1, service=0.9)
