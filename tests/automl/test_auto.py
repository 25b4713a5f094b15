"""The blend: weights where they are earned, a forecast whatever happens, nothing learned from what is scored."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import polars as pl
import pytest

import demandcast as dc
from demandcast import registry
from demandcast.automl.blend import (
    Evidence,
    better_rule,
    both,
    choose,
    exponential,
    mixture,
    select,
)
from demandcast.automl.calibrate import Adjustment, calibration, lowers_loss
from demandcast.automl.portfolio import candidates, portfolio
from demandcast.automl.validation import BLEND_LEVELS, Validation
from demandcast.automl.zero_levels import with_zeros, zero_levels
from demandcast.cli import signals
from demandcast.errors import ConfigError, NotFittedError
from demandcast.frames.examples import retail
from demandcast.train.budget import Budget

QUICK: dict[str, Any] = {"budget": "5 steps", "include": ("tsb", "ses", "empirical")}


@pytest.fixture(scope="module")
def panel() -> dc.Panel:
    frame = retail(n_items=12, n_days=120, seed=2).frame
    return dc.read_panel(frame, key="item", time="date", target="units", freq="D")


def evidence(
    members: list[np.ndarray[Any, Any]], actual: np.ndarray[Any, Any], metric: str = "wql"
) -> Evidence:
    rows = len(actual)
    return Evidence(
        np.stack(members).astype(np.float32),
        np.stack([m.mean(-1) for m in members]).astype(np.float32),
        actual.astype(np.float64),
        BLEND_LEVELS,
        metric,
        np.ones(rows),
        np.arange(rows) % 2,
        np.arange(rows) // 4,
        np.arange(rows) // 4,
        np.arange(rows) % 4,
        np.arange(rows) // 2 % 2,
    )


def normal(mean: Any, deviation: float, rows: int) -> np.ndarray[Any, Any]:
    from statistics import NormalDist

    z = np.array([NormalDist().inv_cdf(level) for level in BLEND_LEVELS])
    return np.broadcast_to(mean, rows)[:, None] + deviation * z


def test_the_right_member_takes_the_weight_and_complements_share_it() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(5, 1, 2000)
    right, wrong = normal(5, 1, 2000), normal(9, 1, 2000)
    one = evidence([wrong, right], actual)
    allowed = np.ones(2, np.bool_)
    np.testing.assert_allclose(select(one, allowed), [0, 1], atol=0.03)
    both = evidence([normal(4, 1, 2000), normal(6, 1, 2000)], actual)
    weights = select(both, allowed)
    np.testing.assert_allclose(weights, [0.5, 0.5], atol=0.06)
    np.testing.assert_array_equal(select(both, np.array([True, False])), [1, 0])


def test_little_evidence_leaves_the_weights_nearly_even() -> None:
    actual = np.array([5.0, 5.2, 4.8])
    few = evidence([normal(5, 1, 3), normal(6, 1, 3)], actual)
    weights = select(few, np.ones(2, np.bool_))
    assert 0.5 < weights[0] < 0.53  # three values against a hundred


def test_forward_selection_wants_windows_that_agree_and_more_than_one() -> None:
    rng = np.random.default_rng(5)
    actual = rng.normal(5, 1, 4000)
    low, high = normal(4, 1, 4000), normal(6.2, 1, 4000)  # whose average is right in every window
    found = evidence([low, high, normal(5.3, 4, 4000)], actual)
    every = np.ones(3, np.bool_)
    assert better_rule(found, every) is both
    assert better_rule(replace(found, fold=np.zeros_like(found.fold)), every) is exponential
    alone = evidence([normal(5, 1, 4000), low, high], actual)  # nothing is added to what is right
    assert better_rule(alone, every) is exponential
    weights = exponential(alone, every)
    losses = [alone.loss(q, m) for q, m in zip(alone.quantiles, alone.means, strict=True)]
    assert weights.sum() == pytest.approx(1)
    assert weights[np.argmin(losses)] == weights.max() > 0.95


def test_classes_get_weights_of_their_own_only_where_that_helps_series_not_chosen_on() -> None:
    rng = np.random.default_rng(1)
    actual = rng.normal(0, 1, 4000)
    group = np.arange(4000) % 2
    first, second = (normal(np.where(group == g, 0, 5), 1, 4000) for g in (0, 1))
    found = choose(evidence([first, second], actual), np.ones(2, np.bool_))
    assert found.by_group[0][0] > 0.7
    assert found.by_group[1][1] > 0.7
    alike = choose(
        evidence([normal(0, 1, 4000), normal(0.1, 1, 4000)], actual), np.ones(2, np.bool_)
    )
    assert not alike.by_group


def test_a_mixture_is_what_pooled_draws_show() -> None:
    levels = tuple(np.linspace(0.005, 0.995, 199))
    from statistics import NormalDist

    z = np.array([NormalDist().inv_cdf(level) for level in levels])
    members = np.stack([z[None], 4 + 0.5 * z[None]]).astype(np.float32)
    found = mixture(members, np.array([[0.25, 0.75]]), levels)[0]
    rng = np.random.default_rng(0)
    draws = np.where(
        rng.random(200_000) < 0.25, rng.normal(0, 1, 200_000), rng.normal(4, 0.5, 200_000)
    )
    some = slice(5, -5)
    expected = np.quantile(draws, levels)[some]
    # where the two meet the density is near 0, and a quantile moves far for a small probability
    assert np.quantile(np.abs(found[some] - expected), 0.95) < 0.05


def test_adjustment_mends_quantiles_that_are_too_narrow_or_off_and_leaves_right_ones() -> None:
    rng = np.random.default_rng(3)
    actual = rng.gamma(2, 3, 6000)
    truth = np.broadcast_to(
        np.quantile(rng.gamma(2, 3, 200_000), BLEND_LEVELS), (6000, len(BLEND_LEVELS))
    )
    narrow = (truth - truth[:, 6:7]) * 0.4 + truth[:, 6:7] + 2
    part = np.zeros(6000, np.int64)
    found = evidence([narrow], actual)
    assert lowers_loss(found, narrow.astype(np.float32), part, 2)
    moved = Adjustment.of(found, narrow.astype(np.float32), part, 2, np.ones(6000, np.bool_)).apply(
        narrow.astype(np.float32), found.group, part
    )
    reached = (actual[:, None] <= moved).mean(0)
    # 3,000 values a class are shrunk by a twentieth towards forecasts that are far off
    np.testing.assert_allclose(reached, BLEND_LEVELS, atol=0.03)
    assert not lowers_loss(found, truth.astype(np.float32), part, 2)


def test_adjustment_moves_and_widens_and_never_narrows() -> None:
    rng = np.random.default_rng(6)
    wide = normal(5, 4, 6000).astype(np.float32)
    found = evidence([wide], rng.normal(7, 1, 6000))
    part = np.zeros(6000, np.int64)
    moved = calibration(found, wide, part, 2).apply(wide, found.group, part)
    middle = BLEND_LEVELS.index(0.5)
    assert moved[:, middle].mean() == pytest.approx(7, abs=0.3)
    spread = np.diff(moved[:, [0, 2, middle, -3, -1]])
    assert (spread >= np.diff(wide[:, [0, 2, middle, -3, -1]]) - 1e-4).all()


def test_what_does_not_hold_from_window_to_window_moves_the_tails_alone_and_outwards() -> None:
    rng = np.random.default_rng(4)
    actual = rng.normal(5, 1, 4000)
    narrow = normal(5, 0.5, 4000).astype(np.float32)
    found = evidence([narrow], actual)
    shifted = replace(found, actual=actual + np.where(found.fold == 0, 3.0, -3.0))
    moved = calibration(shifted, narrow, np.zeros(4000, np.int64), 2).apply(
        narrow, found.group, np.zeros(4000, np.int64)
    )
    inner = slice(2, -2)
    np.testing.assert_allclose(moved[:, inner], narrow[:, inner], atol=1e-5)
    assert (moved[:, :2] < narrow[:, :2]).all()
    assert (moved[:, -2:] > narrow[:, -2:]).all()


def test_nothing_that_loses_to_the_seasonal_naive_gets_weight(panel: dc.Panel) -> None:
    model = dc.Auto(horizon=7, **QUICK).fit(panel, progress=False)
    board = model.leaderboard()
    naive = board.filter(pl.col("model") == "seasonal_naive")["wql"].item()
    losers = board.filter((pl.col("wql") > naive) & (pl.col("model") != "auto"))
    assert (losers["weight"] == 0).all()
    # drawn a little towards even weights, the blend is no worse than the best but for that
    assert board.filter(pl.col("model") == "auto")["wql"].item() <= 1.02 * board["wql"].min()
    assert model.weights().select(pl.exclude("class")).sum_horizontal().to_list() == pytest.approx(
        [1.0]
    )
    assert model.verdict().startswith("The forecast blends ")


def test_paths_have_the_quantiles_of_the_blend(panel: dc.Panel) -> None:
    model = dc.Auto(horizon=7, **QUICK).fit(panel, progress=False)
    forecast = model.predict(panel, n_samples=400)
    assert forecast.samples is not None
    assert forecast.samples.shape == (panel.n_series, 400, 7)
    drawn = np.quantile(forecast.samples, 0.8, axis=1)
    # counts: a quantile of draws lies at most one unit off
    assert (np.abs(drawn - forecast.quantile(0.8)) <= 1).all()


@pytest.mark.parametrize("when", [1, 2, 3])
def test_an_interrupt_leaves_a_forecast(
    panel: dc.Panel, monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    from demandcast.automl import validation

    calls = 0
    plain = validation.Validation.forecast

    def cut(self: Any, *args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == when:
            raise KeyboardInterrupt
        return plain(self, *args, **named)

    monkeypatch.setattr(validation.Validation, "forecast", cut)
    model = dc.Auto(horizon=7, **QUICK).fit(panel, progress=False)
    forecast = model.predict(panel)
    assert np.isfinite(forecast.quantiles).all()
    assert len(model.members) >= 1
    assert ("interrupted before anything" in model.verdict()) == (when == 1)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # pressed in a callback
@pytest.mark.parametrize("after", [0.02, 0.1, 0.3, 0.7, 1.5])
def test_ctrl_c_at_any_moment_leaves_a_forecast(panel: dc.Panel, after: float) -> None:
    import signal

    def press(_: int, frame: FrameType | None) -> None:
        """Press, but not into an import: half a pandas would stay behind for the tests that follow."""
        if signals.in_import(frame):
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    model = dc.Auto(horizon=7, budget="10s", include=("tsb", "multi_stage", "lightgbm", "tsmixer"))
    try:
        signal.setitimer(signal.ITIMER_REAL, after)
        model.fit(panel, progress=False)
    except KeyboardInterrupt:  # before the search began: there was nothing to interrupt
        assert after < 0.1
        return
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    forecast = model.predict(panel)
    assert np.isfinite(forecast.quantiles).all()
    assert (np.diff(forecast.quantiles, axis=-1) >= 0).all()


def test_time_left_goes_to_fits_on_the_whole_history_and_with_other_seeds(
    panel: dc.Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from demandcast.automl.search import Search

    small = {"rows": 500, "trees": 20, "least": 5}
    monkeypatch.setattr(Search, "_size_training", lambda *_: small)
    model = dc.Auto(horizon=7, budget="1h", include=("lightgbm",), seed=5)
    model.fit(panel, progress=False)
    member = next(m for m in model.members if m.name == "lightgbm")
    assert member.whole
    seeds = [m.hyperparameters()["seed"] for m in member.models]
    assert seeds == [5, 6, 7]
    single = np.stack([m.predict(panel).quantiles for m in member.models])
    averaged, _ = member.forecast(panel, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    np.testing.assert_allclose(averaged, single.mean(0), rtol=1e-5)


def test_a_small_table_is_not_given_all_the_time_there_is(
    panel: dc.Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from demandcast.automl.auto import ENOUGH, PER_SECOND
    from demandcast.automl.search import Search

    given: list[float | None] = []
    monkeypatch.setattr(Search, "finish", lambda self, _: given.append(self.budget.seconds))
    for budget in ("2s", "5m", "1h"):
        dc.Auto(horizon=7, budget=budget, include=("tsb",)).fit(panel, progress=False)
    values = int(panel.n_observed().sum())
    enough = ENOUGH + values / PER_SECOND
    assert given == [2, pytest.approx(enough), pytest.approx(12 * enough)]


def test_few_and_long_series_are_judged_on_more_windows() -> None:
    def validated(n_items: int, n_days: int, folds: int | None = None) -> int:
        frame = retail(n_items=n_items, n_days=n_days, seed=1).frame
        table = dc.read_panel(frame, key="item", time="date", target="units", freq="D")
        return len(Validation.of(table, 7, folds, "wql", 0).folds)

    assert validated(2, 1200) == 7
    assert validated(2, 500) == 3  # a twentieth of the history holds three of them
    assert validated(2, 120) == 2
    assert validated(2, 1200, folds=2) == 2


def test_a_method_is_stopped_where_its_first_window_tells_that_all_take_too_long(
    panel: dc.Panel,
) -> None:
    held = Validation.of(panel, 7, 2, "wql", 0)
    with pytest.raises(TimeoutError):
        held.forecast(registry.create("ses", horizon=7), refit=True, limit=0.0)


def test_a_method_that_would_take_all_the_time_is_left_out_by_a_trial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ses: Any = registry.get("ses")
    frame = retail(n_items=2, n_days=1500, seed=1).frame
    long = dc.read_panel(frame, key="item", time="date", target="units", freq="D")
    quick, seen = ses.predict, []

    def slow(self: Any, panel: dc.Panel, **how: Any) -> Any:
        seen.append(panel.n_steps)
        time.sleep(panel.n_steps / 5_000)
        return quick(self, panel, **how)

    monkeypatch.setattr(ses, "predict", slow)
    model = dc.Auto(horizon=7, budget="8s", include=("ses", "empirical"))
    model.fit(long, progress=False)
    assert "take too much" in model.skipped["ses"]
    assert max(seen) < long.n_steps  # only parts of the panel were tried


def test_no_time_at_all_leaves_the_naive_forecast(panel: dc.Panel) -> None:
    model = dc.Auto(horizon=7, budget=0.001).fit(panel, progress=False)
    assert {m.name for m in model.members} == {"seasonal_naive"}
    assert "no time left of 0.001" in model.skipped["tsb"]
    expected = dc.local.SeasonalNaive(horizon=7).predict(panel).median
    assert np.abs(model.predict(panel).median - expected).mean() < 1


def test_a_history_too_short_to_hold_anything_out_is_forecast_all_the_same() -> None:
    frame = pl.DataFrame({"unique_id": ["a"] * 3, "ds": [1, 2, 3], "y": [4.0, 0.0, 2.0]})
    short = dc.read_panel(frame, freq="1")
    model = dc.Auto(horizon=5, **QUICK).fit(short, progress=False)
    assert model.predict(short).quantiles.shape == (1, 5, 9)
    assert "too short" in model.verdict()


def test_fit_starts_fresh_even_where_nothing_can_be_measured(panel: dc.Panel) -> None:
    frame = pl.DataFrame({"item": ["a"] * 3, "date": [1, 2, 3], "units": [4.0, 0.0, 2.0]})
    short = dc.read_panel(frame, key="item", time="date", target="units", freq="1")
    model = dc.Auto(horizon=5, **QUICK).fit(panel, progress=False).fit(short, progress=False)
    again = dc.Auto(horizon=5, **QUICK).fit(short, progress=False)
    np.testing.assert_array_equal(model.predict(short).quantiles, again.predict(short).quantiles)
    assert model.verdict() == again.verdict()


def test_a_member_that_cannot_read_the_panel_is_told_and_left_out(panel: dc.Panel) -> None:
    half = dc.Panel(**{**panel.__dict__, "target": panel.target / 2})
    wanted = ("damped_counts", "tsb")
    model = dc.Auto(horizon=7, budget="5 steps", include=wanted).fit(half, progress=False)
    assert "damped_counts forecasts counts" in model.skipped["damped_counts"]
    assert "tsb" in {m.name for m in model.members} | set(model.leaderboard()["model"])


def test_what_is_tried_depends_on_the_panel(panel: dc.Panel) -> None:
    tried, left_out = candidates(panel, None, ("nhits",))
    assert tried[0].name == "seasonal_naive"
    assert left_out["nhits"] == "excluded"
    assert "too few to learn from" in left_out["deepar"]
    quick = {c.learning.value for c in candidates(panel.select([0] * 20), None, (), "fast")[0]}
    assert quick == {"local", "pretrained", "trees"}
    steady = dc.Panel(**{**panel.__dict__, "target": panel.target + 5})
    _, left_out = candidates(steady, None, ())
    assert "not a panel of slow movers" in left_out["tsb"]
    kinds = {
        c.name: c.learning.value for c in candidates(panel, ["lightgbm", "nhits", "tsb"], ())[0]
    }
    assert kinds == {
        "seasonal_naive": "local",
        "lightgbm": "trees",
        "nhits": "network",
        "tsb": "local",
    }


def test_the_pretrained_network_is_tried_as_it_is_and_trained_on(
    panel: dc.Panel, tmp_path: Any
) -> None:
    names = ("zero_shot", "zero_shot_tuned")
    model = dc.Auto(horizon=7, budget="10 steps", include=names).fit(panel, progress=False)
    tried = {*model.leaderboard()["model"], *model.skipped}
    assert set(names) < tried
    if "zero_shot_tuned" in model.skipped:  # weights that are no better are not kept
        assert "learned" in model.skipped["zero_shot_tuned"]
    model.save(tmp_path / "run")
    again = dc.load(tmp_path / "run")
    assert isinstance(again, dc.Auto)
    assert [m.name for m in again.members] == [m.name for m in model.members]
    np.testing.assert_array_equal(again.predict(panel).quantiles, model.predict(panel).quantiles)


def test_a_class_says_its_place_in_the_portfolio(monkeypatch: pytest.MonkeyPatch) -> None:
    instant = [
        *(
            "seasonal_naive",
            "zero_shot",
            "window_average",
            "empirical",
            "level_shape",
            "ses",
            "tsb",
        ),
        *("imapa", "analogues", "theta", "damped_counts", "multi_stage", "ets", "lightgbm"),
    ]
    learned = ["zero_shot_tuned", "tsmixer", "nhits", "tide", "deepar", "mqcnn", "tft", "patchtst"]
    assert portfolio() == [*instant, *learned]
    assert portfolio("fast") == instant
    monkeypatch.setattr(dc.local.Croston, "portfolio", 65)
    assert portfolio("fast")[7:9] == ["croston", "imapa"]
    assert dc.local.OptimisedTheta.portfolio is None  # of Theta, whose place it does not inherit


def test_budgets() -> None:
    assert Budget.parse("5m").seconds == 300
    assert Budget.parse("1.5h").seconds == 5400
    assert Budget.parse(20).seconds == 20
    assert Budget.parse("500 steps").steps == 500
    for wrong in ("soon", "0s", "-3m", "5 days", ""):
        with pytest.raises(ConfigError, match="budget is"):
            Budget.parse(wrong)


def test_what_is_wrong_is_told(panel: dc.Panel) -> None:
    with pytest.raises(ConfigError, match=r"'budgte'; did you mean 'budget'"):
        dc.Auto(horizon=3, budgte="5m")
    with pytest.raises(ConfigError, match="did you mean 'tsb'"):
        dc.Auto(horizon=3, include="tsbb")
    with pytest.raises(ConfigError, match="metric is 'mape'"):
        dc.Auto(horizon=3, metric="mape")
    with pytest.raises(ConfigError, match="cannot be excluded"):
        dc.Auto(horizon=3, exclude="seasonal_naive").fit(panel)
    with pytest.raises(NotFittedError, match="fit"):
        dc.Auto(horizon=3).predict(panel)


def test_weights_go_by_the_metric() -> None:
    rng = np.random.default_rng(2)
    actual = rng.gamma(0.5, 8, 8000)
    median, mean = np.median(actual), actual.mean()
    by_median, by_mean = normal(median, 1, 8000), normal(mean, 1, 8000)
    allowed = np.ones(2, np.bool_)
    one = np.zeros(8000, np.int64)  # a long horizon of one series
    for metric, wanted in (("mase", 0), ("rmsse", 1)):
        found = replace(evidence([by_median, by_mean], actual, metric), cell=one)
        assert select(found, allowed)[wanted] > 0.8, metric
    late = np.tile([0.0, 0.0, 0.0, 4.0], 500)  # owed from the last step on, or in stock for three
    early = normal(np.tile([4.0, 0.0, 0.0, 0.0], 500), 0.01, 2000)
    never = normal(np.zeros(2000), 0.01, 2000)
    assert select(evidence([early, never], late, "spec"), allowed)[1] > 0.8


@pytest.mark.parametrize("metric", ["sql", "mase", "rmsse", "spec"])
def test_the_metric_is_the_users(panel: dc.Panel, metric: str) -> None:
    model = dc.Auto(horizon=7, metric=metric, **QUICK).fit(panel, progress=False)
    assert model.blend is not None
    assert model.blend.shared.sum() == pytest.approx(1)


def test_series_go_their_own_way_only_where_that_holds_in_other_folds() -> None:
    rng = np.random.default_rng(4)
    rows = 12_000
    series, fold = np.arange(rows) // 40, np.arange(rows) // 20 % 2
    actual = rng.normal(0, 1, rows)
    kind = series % 2  # half of the series suit one member, half the other; one class
    members = [normal(np.where(kind == k, 0, 2), 1, rows) for k in (0, 1)]
    found = replace(
        evidence(members, actual), series=series, fold=fold, group=np.zeros(rows, np.int64)
    )
    blend = choose(found, np.ones(2, np.bool_))
    assert blend.tilts is not None
    weights = blend.weights(np.zeros(4, np.int64), np.array([0, 1, 2, -1]))
    assert weights[0, 0] > 0.65
    assert weights[1, 1] > 0.65
    np.testing.assert_allclose(weights[3], blend.shared)  # a new series takes those of its class
    np.testing.assert_allclose(weights.sum(1), 1)
    alike = [normal(shift, 1, rows) for shift in (0.5, -0.5)]
    noise = choose(
        replace(found, quantiles=np.stack(alike).astype(np.float32)), np.ones(2, np.bool_)
    )
    assert noise.tilts is None


@pytest.fixture(scope="module")
def promoted() -> dc.Panel:
    """Demand that trebles with a promotion; a second flag and a static number say nothing."""
    rng = np.random.default_rng(6)
    items, days = 20, 90
    promo = rng.random((items, days)) < 0.3
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"i{i:02}" for i in range(items)], days),
            "date": np.tile(np.arange(days), items),
            "units": rng.poisson(np.where(promo, 30, 10)).ravel(),
            "promo": promo.ravel().astype(int),
            "noise": rng.integers(0, 2, items * days),
            "size": np.repeat(rng.random(items), days),
        }
    )
    return dc.read_panel(
        frame, key="item", time="date", target="units", freq="1", known=["promo", "noise"],
        static=["size"],
    )  # fmt: skip


@pytest.fixture(scope="module")
def told(promoted: dc.Panel) -> dc.Auto:
    from demandcast.automl.search import Search

    small = {"rows": 4000, "trees": 40, "least": 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "_size_training", lambda *_: small)
        model = dc.Auto(horizon=7, budget="5 steps", include=("lightgbm", "ses"))
        return model.fit(promoted.drop_last(7), progress=False)


def test_importance_finds_the_covariate_that_counts(told: dc.Auto) -> None:
    found = told.importance()
    assert found["covariate"][0] == "promo"
    assert found["importance"][0] > 20
    assert set(found["role"]) == {"known", "static"}
    assert found.filter(pl.col("covariate") != "promo")["importance"].abs().max() < 5


def test_every_weight_has_a_reason(told: dc.Auto, promoted: dc.Panel) -> None:
    why = told.explain()
    assert set(why["class"]) >= {"all"}
    weighted = why.filter((pl.col("class") == "all") & (pl.col("weight") > 0))
    assert "the best alone" in weighted["why"].to_list()
    assert why.filter(pl.col("model") == "seasonal_naive")["why"][0] == "the yardstick"
    board = told.leaderboard()
    naive = board.filter(pl.col("model") == "seasonal_naive").row(0, named=True)
    best = board.row(0, named=True)
    assert best["value_added"] == pytest.approx(100 * (1 - best["wql"] / naive["wql"]))
    cover = told.coverage()
    assert cover["class"][0] == "all"
    assert (cover["coverage_98"] >= cover["coverage_80"]).all()
    assert cover["values"][0] == cover["values"][1:].sum()
    each = told.item_weights(promoted)
    assert each.columns[:2] == ["item", "class"]
    sums = each.select(m.name for m in told.members).sum_horizontal()
    assert sums.to_list() == pytest.approx([1.0] * promoted.n_series)


def test_saved_is_loaded_with_all_it_says(told: dc.Auto, promoted: dc.Panel, tmp_path: Any) -> None:
    told.save(tmp_path / "run")
    again: Any = dc.load(tmp_path / "run")
    known = promoted.drop_last(7)
    np.testing.assert_array_equal(again.predict(known).quantiles, told.predict(known).quantiles)
    for what in ("leaderboard", "coverage", "explain", "weights"):
        assert getattr(again, what)().equals(getattr(told, what)()), what
    with pytest.raises(NotFittedError, match="not saved"):
        again.importance()


def test_refit_learns_from_the_new_panel_and_update_only_where_much_is_new(
    told: dc.Auto, promoted: dc.Panel, tmp_path: Any
) -> None:
    told.save(tmp_path / "run")
    model: Any = dc.load(tmp_path / "run")
    tree = next(m for m in model.members if m.name == "lightgbm")
    before = tree.models[0]
    model.update(promoted.drop_last(5), progress=False)  # two days of 90
    assert tree.models[0] is before
    triple = dc.Panel(**{**promoted.__dict__, "target": promoted.target * 3})
    model.refit(triple, progress=False)
    assert tree.models[0] is not before
    assert tree.models[0].grown == before.grown == 40
    model.update(promoted, progress=False)
    known = promoted.drop_last(7)
    fresh = type(before)(**before.as_trained()).fit(triple)
    np.testing.assert_array_equal(
        tree.models[0].predict(known).quantiles, fresh.predict(known).quantiles
    )
    with pytest.raises(NotFittedError):
        dc.Auto(horizon=7).update(promoted)


def test_new_items_are_forecast_and_listed(
    promoted: dc.Panel, told: dc.Auto, tmp_path: Any
) -> None:
    from demandcast.automl.cold import trim_empty_steps

    frame = promoted.keys.join(pl.DataFrame({"step": range(90)}), how="cross")
    rows = pl.DataFrame({"units": promoted.target.astype(float), "promo": promoted.known[:, 0]})
    frame = pl.concat([frame, rows], how="horizontal").with_columns(noise=0, size=pl.lit(0.5))
    ahead = frame.filter(pl.col("step") >= 83)
    new = ahead.filter(pl.col("item") == "i00").with_columns(item=pl.lit("new"))
    table = pl.concat([frame.filter(pl.col("step") < 83), ahead, new]).with_columns(
        units=pl.when(pl.col("step") < 83).then(pl.col("units"))
    )
    panel = dc.read_panel(
        table, key="item", time="step", target="units", freq="1", known=["promo", "noise"],
        static=["size"],
    )  # fmt: skip
    assert int(trim_empty_steps(panel).lengths[-1]) == 0
    listed = told.new_items(panel)
    assert listed.rows() == [("new", 0, "trees, by attributes and items alike")]
    forecast = told.predict(panel, n_samples=50)
    got = forecast.to_frame().filter(pl.col("item") == "new")
    assert got["step"].to_list() == list(range(83, 90))
    promo = new["promo"].to_numpy() > 0
    assert forecast.median[-1][promo].mean() > 1.8 * forecast.median[-1][~promo].mean()
    assert forecast.samples is not None
    assert np.isfinite(forecast.samples).all()
    told.save(tmp_path / "run")
    np.testing.assert_array_equal(
        dc.load(tmp_path / "run").predict(panel).quantiles, forecast.quantiles
    )


def test_without_trees_new_items_take_the_values_of_like_ones() -> None:
    from demandcast.automl.cold import like_items, without_history

    days, items = 28, 12
    frame = pl.DataFrame(
        {
            "item": np.repeat([f"i{i:02}" for i in range(items)], days),
            "day": np.tile(np.arange(days), items),
            "units": np.repeat(np.where(np.arange(items) % 2, 100.0, 10.0), days)
            + np.tile(np.arange(days) % 7, items),
            "kind": np.repeat(np.where(np.arange(items) % 2, "large", "small"), days),
        }
    ).with_columns(day=pl.date(2024, 1, 1) + pl.duration(days=pl.col("day")))
    panel = dc.read_panel(frame, key="item", time="day", target="units", freq="D", static=["kind"])
    known, new = panel.select(np.arange(2, items)), without_history(panel.select([0, 1]))
    quantiles = like_items(known, new, 7, [0.1, 0.5])
    np.testing.assert_allclose(quantiles[..., 1], [10 + np.arange(7), 100 + np.arange(7)])
    model = dc.Auto(horizon=7, budget="3 steps", include="tsb").fit(known, progress=False)
    both = dc.Panel(
        **{**panel.__dict__, "lengths": np.where(np.arange(items) < 2, 0, panel.lengths)}
    )
    assert model.new_items(both)["by"][0] == "values of items alike"
    assert np.isfinite(model.predict(both).quantiles).all()


def test_two_values_are_better_than_none(panel: dc.Panel) -> None:
    model = dc.Auto(horizon=3, budget="3 steps", include="tsb").fit(panel, progress=False)
    frame = pl.DataFrame({"item": ["x", "x"], "date": [1, 2], "units": [70.0, 74.0]})
    frame = frame.with_columns(date=pl.date(2024, 1, 1) + pl.duration(days=pl.col("date")))
    alone = dc.read_panel(frame, key="item", time="date", target="units", freq="D")
    assert model.new_items(alone).height == 0
    assert (model.predict(alone).median > 50).all()


def test_levels_that_lose_to_zero_are_zero_and_others_are_left() -> None:
    rng = np.random.default_rng(5)
    actual = np.where(rng.random(4000) < 0.66, 0.0, rng.poisson(3, 4000) + 1.0)
    right = np.broadcast_to(np.quantile(actual, BLEND_LEVELS), (4000, len(BLEND_LEVELS))).astype(
        np.float32
    )
    fractions = np.maximum(right, 0.6)  # members that disagree about 0 and 1
    found = evidence([fractions], actual)
    count = zero_levels(found, fractions)
    assert BLEND_LEVELS[count - 1] == 0.6  # 0.7 is the first level that the zeros do not hold
    both = [found.pinball(with_zeros(q, n)).sum() for q, n in ((fractions, count), (right, 0))]
    assert both[0] == pytest.approx(both[1])
    assert zero_levels(found, right) in (0, count)  # no loss either way
    busy = evidence([normal(5, 1, 2000)], rng.normal(5, 1, 2000).clip(0.1))
    assert zero_levels(busy, normal(9, 1, 2000).astype(np.float32)) == 0  # no zeros, no level
    negative = replace(found, actual=actual - 0.5)
    assert zero_levels(negative, fractions) == 0


def test_zeros_must_hold_in_every_window() -> None:
    rng = np.random.default_rng(6)
    fold = np.arange(4000) % 2
    share = np.where(fold == 0, 0.95, 0.1)  # nearly all of a window, then hardly any
    actual = np.where(rng.random(4000) < share, 0.0, 2.0)
    low = np.broadcast_to(np.float32(1.0), (4000, len(BLEND_LEVELS)))
    found = replace(evidence([low], actual), fold=fold)
    assert zero_levels(found, low) == 0
    assert zero_levels(replace(found, fold=fold * 0, series=np.arange(4000) // 2), low) > 0


def test_zeros_are_forecast_saved_and_said(panel: dc.Panel, tmp_path: Path) -> None:
    model = dc.Auto(horizon=7, **QUICK).fit(panel, progress=False)
    assert model.ensemble is not None
    before = model.predict(panel, levels=BLEND_LEVELS).quantiles
    model.ensemble.zeros = 3
    after = model.predict(panel, levels=BLEND_LEVELS).quantiles
    assert (after[..., :3] == 0).all()
    np.testing.assert_array_equal(after[..., 3:], before[..., 3:])
    assert "quantiles up to 0.1 at 0" in model.verdict()
    model.save(tmp_path / "run")
    np.testing.assert_array_equal(
        dc.load(tmp_path / "run").predict(panel, levels=BLEND_LEVELS).quantiles, after
    )


def test_slow_movers_are_weighed_by_how_sure_a_difference_is() -> None:
    rng = np.random.default_rng(7)
    rate = rng.gamma(0.6, 0.4, 1500).repeat(4)  # series of four values
    actual = rng.poisson(rate).astype(np.float64)
    assert (actual == 0).mean() > 0.6
    step = np.arange(1, len(BLEND_LEVELS) + 1) / len(BLEND_LEVELS)
    right = np.maximum(rate[:, None] * 2 * step, 0)
    other = right * 1.1
    found = evidence([right, other], actual)
    losses = [found.pinball(q).sum() for q in found.quantiles]
    best, worse = np.argsort(losses)
    assert (
        losses[worse] < 1.03 * losses[best]
    )  # so little that the old rule gave it a third or more
    assert exponential(found, np.ones(2, np.bool_))[best] > 0.95
    alike = evidence([right, right], actual)
    np.testing.assert_allclose(exponential(alike, np.ones(2, np.bool_)), 0.5)
    np.testing.assert_allclose(exponential(found, np.arange(2) == worse)[worse], 1)
