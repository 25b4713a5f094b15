"""A season that items share is found in their total; without one a forecast is the same to the bit."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast import registry
from demandcast.decide import scale
from demandcast.forecast.forecast import Forecast

HORIZON = 3


def panel(strength: float, items: int = 30, early: int = 0) -> dc.Panel:
    """Poisson demand of about 3, whose level over 12 months all items share; the first item may end early."""
    months = 64
    season = np.exp(strength * np.sin(2 * np.pi * np.arange(months) / 12))
    units = np.random.default_rng(0).poisson(3 * season, (items, months))
    when = pl.date_range(pl.date(2019, 1, 1), pl.date(2024, 4, 1), "1mo", eager=True).to_numpy()
    names = np.repeat([f"i{i}" for i in range(items)], months)
    table = {"item": names, "month": np.tile(when, items), "units": units.ravel()}
    kept = np.arange(items * months) // months > 0
    kept |= np.arange(items * months) < months - early
    return dc.read_panel(pl.DataFrame(table).filter(kept), key="item", ended="forecast")


@pytest.fixture(autouse=True)
def only_local_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "MEMBERS", ("level_shape",))  # zero_shot takes seconds
    monkeypatch.setattr(scale, "TRIALS", 4)


def ahead(known: dc.Panel) -> Forecast:
    return registry.create("ses", horizon=HORIZON).fit(known).predict(known, n_samples=60)


def test_a_shared_season_is_found_and_counts_stay_counts() -> None:
    whole = panel(0.9)
    known, seen = whole.drop_last(HORIZON), []

    def watched(earlier: dc.Panel) -> Forecast:
        seen.append(int(earlier.ends().max()))
        return ahead(earlier)

    plain = ahead(known)
    found, said = scale.scale_to_total(plain, known, watched)
    assert said.startswith("scaled to the total forecast directly")
    assert max(seen) < known.ends().max()  # what was tried knew nothing of the last months
    assert found.samples is not None
    assert (found.samples == np.rint(found.samples)).all()
    came = known.future_target(HORIZON)
    errors = [abs(f.mean.sum() / came.sum() - 1) for f in (plain, found)]
    assert errors[1] < 0.5 * errors[0]
    assert plain.samples is not None
    exact = (plain.samples * (found.mean / plain.mean)[:, None]).mean((0, 1))
    noise = 0.5 / np.sqrt(plain.samples[..., 0].size)  # of rounding one value: at most a half
    np.testing.assert_allclose(found.samples.mean((0, 1)), exact, atol=5 * noise)


def test_nothing_changes_without_a_shared_season_or_with_few_items() -> None:
    flat = panel(0.0)
    for read in (flat, panel(0.9, items=5)):
        plain = ahead(read)
        found, said = scale.scale_to_total(plain, read, ahead)
        assert found is plain
        assert said.startswith("not scaled")
    model = registry.create("ses", horizon=HORIZON).fit(flat)
    assert scale.forecast_items(model, flat, 50)[1] == ""


def test_an_item_that_ended_keeps_its_forecast() -> None:
    short = panel(0.9, early=6)
    plain = ahead(short)
    found, said = scale.scale_to_total(plain, short, ahead)
    assert said.startswith("scaled")
    moved = (found.mean != plain.mean).any(1)
    assert moved.tolist() == [False] + [True] * 29
