"""Explanations add up, and are the effects themselves where effects add up."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import demandcast as dc
from demandcast.forecast.explain import shapley, usual_values

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
    import polars as pl

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
