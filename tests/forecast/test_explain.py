"""Explanations add up, and are the effects themselves where effects add up."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.forecast.explain import _structure, shapley, usual_values

from .linear_method import HORIZON, Linear, shop


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    return shop()


def test_parts_add_up_and_additive_effects_are_exact(panel: dc.Panel) -> None:
    forecast = Linear().predict(panel)
    explained = forecast.explain()
    total = sum(explained.parts.values())
    np.testing.assert_allclose(total, forecast.mean, rtol=0, atol=1e-6)
    known = panel.known.reshape(2, -1, len(panel.known_names))[:, -HORIZON:]
    usual = usual_values(panel, HORIZON)
    away = known - usual
    names = list(panel.known_names)
    np.testing.assert_allclose(
        explained.parts["price"], -2 * away[..., names.index("price")], atol=1e-4
    )
    np.testing.assert_allclose(
        explained.parts["promo"], 5 * away[..., names.index("promo")], atol=1e-4
    )
    np.testing.assert_allclose(
        explained.parts["event"], 3 * away[..., names.index("event=fair")], atol=1e-4
    )
    assert explained.covariates == ("price", "promo", "noise", "event")
    assert explained.ranking()["covariate"].to_list()[-1] == "noise"
    assert "learned nothing from 'noise'" in explained.notes[0]
    assert explained.to_frame().columns[:4] == ["item", "date", "mean", "base"]


def test_an_effect_of_two_together_is_shared(panel: dc.Panel) -> None:
    plain = Linear().predict(panel).explain().parts
    both = Linear(together=1.0).predict(panel).explain().parts
    usual = usual_values(panel, HORIZON)[0, 0]
    known = panel.known.reshape(2, -1, len(panel.known_names))[:, -HORIZON:]
    price, promo = (known[..., panel.known_names.index(name)] for name in ("price", "promo"))
    usual_price, usual_promo = (usual[panel.known_names.index(n)] for n in ("price", "promo"))
    alone = usual_promo * (price - usual_price)
    joined = price * promo - usual_price * promo - usual_promo * price + usual_price * usual_promo
    np.testing.assert_allclose(both["price"] - plain["price"], alone + joined / 2, atol=1e-4)


def test_values_are_means_over_all_orders() -> None:
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d"]
    worth: dict[frozenset[str], np.ndarray] = {}

    def value(some: frozenset[str]) -> np.ndarray:
        return worth.setdefault(some, rng.normal(size=(2, 3)))

    found = shapley(names, value)
    for name in names:
        gains = []
        for order in permutations(names):
            before = frozenset(order[: order.index(name)])
            gains.append(value(before | {name}) - value(before))
        np.testing.assert_allclose(found[name], np.mean(gains, 0), atol=1e-12)
    many = [f"x{i}" for i in range(8)]
    found = shapley(many, value)
    np.testing.assert_allclose(
        sum(found.values()), value(frozenset(many)) - value(frozenset()), atol=1e-12
    )


def test_trend_and_season_of_a_method_without_covariates() -> None:
    day = np.arange(98)
    season = np.array([3.0, -1, -1, -1, -1, 0, 1])
    values = 50 + season[day % 7]
    table = {"date": (np.datetime64("2024-01-01") + day).astype("datetime64[D]"), "units": values}
    panel = dc.read_panel(pl.DataFrame(table), time="date", target="units", freq="D")
    for horizon in (21, 7):  # the forecast's own season, and that of the history
        forecast = dc.local.SeasonalNaive(horizon=horizon).predict(panel)
        parts = forecast.explain().parts
        np.testing.assert_allclose(parts["base"], 50, atol=1e-5)
        np.testing.assert_allclose(
            parts["season"][0], season[(98 + np.arange(horizon)) % 7], atol=0.2
        )
        assert np.abs(parts["rest"]).max() < 0.3
        np.testing.assert_allclose(sum(parts.values()), forecast.mean, atol=1e-6)


def test_the_ranking_adds_up_effects_and_their_sizes(panel: dc.Panel) -> None:
    explained = Linear().predict(panel).explain()
    everything, single = explained.ranking(), explained.ranking("b")
    for name, part in explained.parts.items():
        if name in explained.covariates:
            (row,) = everything.filter(covariate=name).rows()
            assert row[1:] == pytest.approx((part.sum(), np.abs(part).sum()))
            (row,) = single.filter(covariate=name).rows()
            assert row[1:] == pytest.approx((part[1].sum(), np.abs(part[1]).sum()))
    assert everything["size"].is_sorted(descending=True)
    naive = dc.local.SeasonalNaive(horizon=HORIZON).predict(panel).explain()
    assert naive.covariates == ()
    assert "does not read covariates known ahead" in naive.notes[0]


def test_a_frame_has_the_parts_beside_the_mean(panel: dc.Panel) -> None:
    explained = Linear().predict(panel).explain()
    frame = explained.to_frame()
    assert frame.columns == ["item", "date", "mean", *explained.parts]
    parts = frame.select(list(explained.parts)).to_numpy().sum(1)
    np.testing.assert_allclose(parts, frame["mean"], atol=1e-5)
    for name, part in explained.parts.items():
        np.testing.assert_array_equal(frame[name], part.ravel())


def test_usual_is_the_median_or_the_commonest_category_of_the_own_history() -> None:
    rows = {
        "a": [(1.0, "none"), (2.0, "fair"), (3.0, "fair"), (9.0, "sale")],
        "b": [(7.0, "sale"), (5.0, "sale"), (5.0, "none"), (None, "fair")],
        "c": [(None, None)] * 4,
    }
    day = np.datetime64("2024-01-01") + np.arange(5)
    table = [
        {"item": item, "day": d, "units": None if t == 4 else 1.0, "price": p, "event": e}
        for item, values in rows.items()
        for t, (d, (p, e)) in enumerate(zip(day.tolist(), [*values, (4.0, "fair")], strict=True))
    ]
    panel = dc.read_panel(
        pl.DataFrame(table), key="item", time="day", target="units", known=["price", "event"],
        freq="D", ended="keep",
    )  # fmt: skip
    usual = usual_values(panel, 2)
    assert usual.shape == (3, 2, len(panel.known_names))
    np.testing.assert_array_equal(usual[:, 0], usual[:, 1])
    price, *events = (
        panel.known_names.index(n) for n in ("price", "event=fair", "event=none", "event=sale")
    )
    # of an even number of prices the lower one in the middle, which was asked once
    assert usual[:, 0, price].tolist() == [2, 5, 5]  # c has that of the panel
    # an empty cell is no event, which is usual for c
    assert usual[:, 0, events].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(("freq", "period"), [("D", 7), ("6MS", 2), ("int", 1)])
def test_base_trend_and_season_of_a_line_with_a_season(freq: str, period: int) -> None:
    """The season is the forecast's own over two periods and more, and that of the history below."""
    n = 9 * max(period, 2)
    past = {7: [3.0, -1, -1, -1, -1, 0, 1], 2: [4.0, -4], 1: [0.0]}[period]
    ahead = 2 * np.roll(past, 1)
    values = 50 + np.array(past)[np.arange(n) % period]
    old = n - 8 * period
    values[:old] = 900  # only the last eight seasons count
    times = np.arange(n)
    if freq == "6MS":
        times = np.datetime64("2000-01", "M") + 6 * times
    elif freq == "D":
        times = np.datetime64("2024-01-01") + times
    stamps = times.astype("datetime64[us]") if freq != "int" else times
    panel = dc.read_panel(pl.DataFrame({"time": stamps, "units": values}), time="time", target="units")  # fmt: skip
    assert panel.freq.period == period
    for horizon in (1, 3, 4, 2 * period - 1, 2 * period, 3 * period + 1):
        step = np.arange(horizon)
        slope = 0.5 * (horizon >= 4)  # of three steps or fewer no line is fitted
        own = period > 1 and horizon >= 2 * period
        season = np.array(ahead if own else past)[(n + step) % period]
        if own and horizon < 4:
            slope = 0.5  # with a season the line is fitted, too
        line = 60 + slope * step
        if own:  # a season adds up to 0 over the horizon
            line, season = line + season.mean(), season - season.mean()
        parts = _structure(panel, (line + season)[None])
        np.testing.assert_allclose(parts["base"], 50, atol=1e-6)
        np.testing.assert_allclose(parts["season"][0], season, atol=1e-6)
        np.testing.assert_allclose(parts["trend"][0], line - 50, atol=1e-6)
        np.testing.assert_allclose(parts["rest"], 0, atol=1e-6)
    # without a line, what is no mean is the rest
    short = _structure(panel, np.array([[60.0, 63.0, 66.0]]))
    if period != 2:
        assert np.ptp(short["trend"]) == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(sum(short.values()), [[60, 63, 66]])
    unseen = replace(panel, target=np.full_like(panel.target, np.nan))
    np.testing.assert_allclose(_structure(unseen, np.array([[4.0, 8.0]]))["base"], 6)
