"""Trees read what stands in the table, learn what covariates do, and give ordered quantiles."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast.errors import ConfigError, DataError, MissingExtraError
from demandcast.frames.examples import retail
from demandcast.trees import boosting
from demandcast.trees.boosting import FEWEST_ROWS, count_rows
from demandcast.trees.like import Likeness
from demandcast.trees.table import LEANING, NEW, NEWEST, PHASES, FeatureTable
from demandcast.windows.features import Features

SMALL: dict[str, Any] = {"trees": 30, "least": 5, "levels": (0.05, 0.25, 0.5, 0.75, 0.95)}
LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    frame = retail(n_items=8, n_days=150, seed=4).frame
    return dc.read_panel(
        frame, key="item", time="date", target="units", freq="D", known=["price", "promo"]
    )


def test_rows_are_what_a_plain_loop_reads(panel: dc.Panel) -> None:
    target = panel.target.copy()
    target[::7] = np.nan
    holed = dc.Panel(**{**panel.__dict__, "target": target})
    table = FeatureTable(holed, Features.of(holed, ()), 9, (7,), (3, 7, 28))
    series, cutoffs, ahead = np.array([2, 5, 2]), np.array([60, 8, 2]), np.array([1, 9, 4])
    found = table.rows(series, cutoffs, ahead)
    for row, i, cutoff, step in zip(found, series, cutoffs, ahead, strict=True):
        history = holed.history(i)[:cutoff].astype(float)
        scale = np.nanmean(np.abs(history[-28:]))
        seen = int((~np.isnan(history)).sum())
        if seen < NEW:  # leans on that of items like it
            scale = (seen * scale + LEANING * table.like[i]) / (seen + LEANING)
        assert table.scale(np.array([i]), np.array([cutoff]))[0] == pytest.approx(scale)
        column = iter(row)
        assert next(column) == pytest.approx(np.log(scale))
        assert (next(column), next(column)) == (step, pytest.approx(np.log2(1 + cutoff)))
        for lag in range(1, NEWEST + 1):
            value = history[-lag] / scale if lag <= cutoff else np.nan
            assert next(column) == pytest.approx(value, nan_ok=True)
        for width in (3, 7, 28):
            part = history[-width:]
            before = history[max(0, cutoff - 2 * width) : max(0, cutoff - width)]
            assert next(column) == pytest.approx(np.nanmean(part) / scale)
            assert next(column) == pytest.approx(np.nanstd(part) / scale, abs=1e-5)
            assert next(column) == pytest.approx((part[~np.isnan(part)] != 0).mean())
            gone = np.nanmean(before) if len(before) and not np.isnan(before).all() else np.nan
            change = (np.nanmean(part) - gone) / scale
            assert next(column) == pytest.approx(change, nan_ok=True, abs=1e-6)
        demand = np.flatnonzero(np.nan_to_num(history) != 0)
        assert next(column) == (cutoff - 1 - demand[-1] if len(demand) else np.nan)
        place = cutoff + step - 1 - -(-step // 7) * 7
        places = [history[p] if 0 <= p < cutoff else np.nan for p in place - 7 * np.arange(PHASES)]
        for value in (*places[:2], np.nanmean(places) if not np.isnan(places).all() else np.nan):
            assert next(column) == pytest.approx(value / scale, nan_ok=True)


def test_a_promotion_known_ahead_is_learned() -> None:
    rng = np.random.default_rng(0)
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 6, 28), eager=True)
    parts = []
    for item in range(10):
        promo = rng.random(len(days)) < 0.3
        units = np.rint((20 + 5 * item) * (1 + promo) + rng.normal(0, 2, len(days)))
        parts.append(
            pl.DataFrame({"item": item, "date": days, "units": units, "promo": promo * 1.0})
        )
    panel = dc.read_panel(
        pl.concat(parts), key="item", time="date", target="units", known=["promo"]
    )
    known = panel.drop_last(14)
    forecast = dc.trees.LightGBM(horizon=14, learning_rate=0.2, **SMALL).fit(known).predict(known)
    came = panel.drop_last(14).future_target(14)
    rows = known.begins[:, None] + known.lengths[:, None] + np.arange(14)
    promo = panel.known[rows, 0] == 1
    expected = (20 + 5 * np.arange(10))[:, None] * (1 + promo)
    assert np.abs(forecast.median / expected - 1).mean() < 0.1
    assert np.abs(forecast.mean / expected - 1).mean() < 0.1
    inside = (came >= forecast.quantile(0.1)) & (came <= forecast.quantile(0.9))
    assert 0.6 < inside.mean() < 0.97  # 140 values of few items


def test_units_do_not_matter(panel: dc.Panel) -> None:
    known = panel.drop_last(7)
    large = dc.Panel(**{**known.__dict__, "target": known.target * 1024})
    first, second = (dc.trees.LightGBM(h=7, **SMALL).fit(p).predict(p) for p in (known, large))
    np.testing.assert_allclose(second.quantiles / 1024, first.quantiles, rtol=1e-5, atol=1e-5)


def test_where_zeros_are_rare_departures_from_the_season_are_learned(panel: dc.Panel) -> None:
    steady = dc.Panel(**{**panel.__dict__, "target": panel.target + 10})
    assert dc.trees.LightGBM(h=3, **SMALL).fit(steady).based
    sparse = dc.Panel(**{**panel.__dict__, "target": np.where(panel.target < 5, 0, panel.target)})
    assert not dc.trees.LightGBM(h=3, **SMALL).fit(sparse).based


def test_what_is_wrong_is_told(panel: dc.Panel, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"'tree'; did you mean 'trees'"):
        dc.trees.LightGBM(horizon=3, tree=4)
    for name, value in (("leaves", 1), ("columns", 0), ("rho", 2), ("least", 0)):
        with pytest.raises(ConfigError, match=f"{name} is {value}"):
            dc.trees.LightGBM(horizon=3, **{name: value})
    whole = dc.Panel(**{**panel.__dict__, "extents": panel.lengths})
    model = dc.trees.LightGBM(horizon=3, **SMALL).fit(whole)
    with pytest.raises(DataError, match="reach 0 of the 3 steps"):
        model.predict(whole)
    with pytest.raises(ConfigError, match="draws no paths"):
        model.predict(panel, n_samples=5)
    one = dc.read_panel(pl.DataFrame({"unique_id": ["a"], "ds": [1], "y": [2.0]}), freq="1")
    with pytest.raises(DataError, match="nothing to learn from"):
        dc.trees.LightGBM(horizon=3).fit(one)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'demandcast\[trees\]'"):
        dc.trees.LightGBM(horizon=3).fit(panel)


def test_a_small_panel_learns_from_few_rows_of_each_value(
    panel: dc.Panel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within 20,000 and 200,000 rows; a fit shows its rounds on stderr, where it is asked to."""
    assert count_rows(panel) == FEWEST_ROWS
    monkeypatch.setattr(dc.Panel, "n_observed", lambda _: np.array([4_000, 3_000]))
    assert count_rows(panel) == 56_000
    monkeypatch.setattr(dc.Panel, "n_observed", lambda _: np.full(9, 10_000))
    assert count_rows(panel) == 200_000
    monkeypatch.undo()
    drawn: list[int] = []
    own = boosting._draw_rows
    monkeypatch.setattr(boosting, "_draw_rows", lambda *a: drawn.append(a[2]) or own(*a))
    for rows, progress in ((None, False), (300, True)):
        dc.trees.LightGBM(horizon=7, rows=rows, **SMALL | {"trees": 2}).fit(
            panel, progress=progress
        )
        assert ("lightgbm: " in capsys.readouterr().err) == progress
    assert drawn == [FEWEST_ROWS, 300]


def test_with_little_time_fewer_trees_learn_faster(panel: dc.Panel) -> None:
    from demandcast.trees.boosting import MIN_TREES

    hurried = dc.trees.LightGBM(horizon=7, trees=40, rows=600, least=5, levels=LEVELS).fit(
        panel, seconds=0.0
    )
    assert hurried.grown == MIN_TREES
    patient = dc.trees.LightGBM(horizon=7, trees=40, rows=600, least=5, levels=LEVELS).fit(
        panel, seconds=1e6
    )
    usual = dc.trees.LightGBM(horizon=7, trees=40, rows=600, least=5, levels=LEVELS).fit(panel)
    assert patient.grown == usual.grown == 40
    assert patient.boosters == usual.boosters
    few = dc.trees.LightGBM(horizon=7, trees=30, least=5, levels=LEVELS).fit(panel)
    assert list(few.boosters or {}) == ["0.1", "0.5", "0.9"]
    assert few.predict(panel.drop_last(7), levels=[0.3, 0.95]).quantiles.shape[-1] == 2
    with pytest.raises(ConfigError, match="two or more"):
        dc.trees.LightGBM(horizon=7, levels=(0.5,))


def test_a_row_that_reaches_back_two_steps_is_that_of_a_series_begun_then(panel: dc.Panel) -> None:
    short = dc.Panel(
        **{
            **panel.__dict__,
            "begins": panel.begins + 58, "extents": panel.extents - 58,
            "lengths": np.maximum(panel.lengths - 58, 0), "starts": panel.starts + 58,
        }
    )  # fmt: skip
    features, likeness = Features.of(panel, ()), Likeness(1.5, (), {}, np.ones(panel.n_series))
    told = [FeatureTable(p, features, 9, (7,), (3, 7, 28), 1.0, likeness) for p in (panel, short)]
    some, ahead = np.array([1, 3, 3]), np.array([1, 9, 4])
    for seen in (0, 2):
        reach = np.full(3, seen)
        hidden = told[0].rows(some, np.full(3, 58 + seen), ahead, reach)
        begun = told[1].rows(some, reach, ahead)
        known = slice(
            len(hidden[0]) - 4, None
        )  # covariates' change since the season before is kept
        np.testing.assert_allclose(hidden[:, : known.start], begun[:, : known.start], rtol=1e-6)
        np.testing.assert_allclose(
            told[0].base(some, np.full(3, 58 + seen), ahead, reach),
            told[1].base(some, reach, ahead),
        )


def test_likeness_finds_what_categories_do_to_the_scale() -> None:
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(1, 5, 400), rng.integers(1, 4, 400)], 1)
    first, second = np.array([0, 0, 1, 2, 3]), np.array([0, 0.5, 0, -1])
    scale = np.exp(first[codes[:, 0]] + second[codes[:, 1]] + rng.normal(0, 0.1, 400))
    found = Likeness.of(scale, codes, np.ones(400, np.bool_))
    np.testing.assert_allclose(found.scale(codes), scale, rtol=0.5)
    truth = np.exp(first[codes[:, 0]] + second[codes[:, 1]])
    assert np.abs(np.log(found.scale(codes) / truth)).max() < 0.1
    new = found.scale(np.array([[0, 0], [99, 1]]))  # unknown categories tell nothing
    assert new[0] == pytest.approx(np.exp(found.level))
    alone = Likeness.of(np.array([1.0, 1.0, 50.0]), np.array([[1], [1], [2]]), np.ones(3, np.bool_))
    assert alone.leaving_out[2] < 25  # not told by itself


def test_a_new_item_is_forecast_like_those_of_its_kind() -> None:
    rng = np.random.default_rng(3)
    items, days = 40, 120
    kind = np.arange(items) % 2
    level = np.where(kind == 0, 4.0, 40.0) * np.exp(rng.normal(0, 0.2, items))
    week = 1 + 0.5 * np.sin(np.arange(days) * 2 * np.pi / 7)
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"i{i:02}" for i in range(items)], days),
            "date": np.tile(
                pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 4, 29), eager=True), items
            ),
            "units": rng.poisson(level[:, None] * week).ravel(),
            "kind": np.repeat(np.where(kind == 0, "small", "large"), days),
        }
    )
    panel = dc.read_panel(frame, key="item", time="date", target="units", freq="D", static=["kind"])
    model = dc.trees.LightGBM(horizon=7, trees=60, least=20, levels=LEVELS).fit(
        panel.select(np.arange(4, items))
    )
    new = panel.select([0, 1])
    new = dc.Panel(
        **{
            **new.__dict__,
            "begins": new.begins + new.lengths, "extents": new.extents * 0,
            "starts": new.starts + new.lengths, "lengths": new.lengths * 0,
        }
    )  # fmt: skip
    forecast = model.predict(new, levels=LEVELS)
    low, median, high = forecast.quantiles.mean(1).T
    assert 2.5 < median[0] < 6
    assert 25 < median[1] < 60
    assert (high > low).all()
    usual = model.predict(panel.select([0, 1]), levels=LEVELS).quantiles.mean(1).T
    assert high[1] - low[1] > 1.5 * (usual[2] - usual[0])[1]  # it is not known how large it is
