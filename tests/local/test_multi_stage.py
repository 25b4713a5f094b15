"""Stages against their formula, fits against a general optimiser, latent paths against dense algebra."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

import demandcast
from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError
from demandcast.local import MultiStage
from demandcast.local.parts.aligned import AlignedHistories, CovariateScale
from demandcast.local.parts.glm import Glm
from demandcast.local.parts.latent import NEWTON_STEPS, find_mode
from demandcast.local.parts.recent import (
    DECAYS,
    DEMAND_DECAY,
    PRIOR_STEPS,
    PanelAverages,
    RecentDemand,
)
from demandcast.local.parts.stages import LINKS, Stage, draw_counts, logistic, stage_values

from .conftest import panel_of

NAN = float("nan")
Array = NDArray[np.float64]


def draws() -> Draws:
    return Draws.of(pl.DataFrame({"key": ["a"]}), 0)


def log_p(y: Array, f: Array, link: str, scale: float) -> Array:
    """The formula of the paper, stage by stage, from `Stage.likelihood`."""
    total = np.zeros(len(y))
    for k, value in enumerate(stage_values(y)):
        asked = ~np.isnan(value)
        stage = Stage(link if k == 2 else None)
        at = np.full(asked.sum(), f[k])
        total[asked] += stage.likelihood(at, value[asked], scale)[0]
        if k == 2:
            k2 = value[asked]
            total[asked] += k2 * np.log(scale) - scipy.special.gammaln(k2 + 1)
    return total


@pytest.mark.parametrize("link", LINKS)
def test_the_stages_make_one_distribution(link: str) -> None:
    f, scale = np.array([0.4, -0.3, 0.8]), 1.7
    y = np.arange(200.0)
    found = np.exp(log_p(y, f, link, scale))
    assert found.sum() == pytest.approx(1, rel=1e-10)
    s0, s1 = logistic(f[0]), logistic(f[1])
    mean = scale * Stage(link).rate(f[2:])[0][0]
    np.testing.assert_allclose(found[:2], [s0, (1 - s0) * s1], rtol=1e-12)
    above = (1 - s0) * (1 - s1) * scipy.stats.poisson.pmf(np.arange(198), mean)
    np.testing.assert_allclose(found[2:], above, rtol=1e-8)


def test_links_are_those_of_the_paper() -> None:
    f = np.linspace(-6, 30, 50)
    plain, bent = (Stage(link).rate(f)[0] for link in LINKS)
    np.testing.assert_allclose(plain, np.log1p(np.exp(f)), rtol=1e-12)
    bend = f * (1 + 0.01 * np.log1p(np.exp(f)))
    np.testing.assert_allclose(bent, np.log1p(np.exp(bend)), rtol=1e-12)
    assert (bent < np.exp(f) + 1e-9).all()


@pytest.mark.parametrize("link", [None, *LINKS])
def test_slope_and_information_are_those_of_the_likelihood(link: str | None) -> None:
    stage, f, scale, eps = Stage(link), np.linspace(-3, 4, 9), 1.3, 1e-5
    for value in (0.0, 1.0):
        up, down = (stage.likelihood(f + d, np.full(9, value), scale)[0] for d in (eps, -eps))
        slope = stage.likelihood(f, np.full(9, value), scale)[1]
        np.testing.assert_allclose(slope, (up - down) / (2 * eps), rtol=1e-5, atol=1e-8)
    counts = np.arange(2 if link is None else 200.0)
    squares = np.zeros(9)  # Fisher's information is the mean squared slope
    for value in counts:
        chance = (
            np.where(value, logistic(f), 1 - logistic(f))
            if link is None
            else scipy.stats.poisson.pmf(value, scale * stage.rate(f)[0])
        )
        squares += chance * stage.likelihood(f, np.full(9, value), scale)[1] ** 2
    np.testing.assert_allclose(stage.likelihood(f, f, scale)[2], squares, rtol=1e-6)


def test_three_fits_are_the_joint_one() -> None:
    """The joint likelihood, maximised by a general optimiser over all weights at once."""
    rng = np.random.default_rng(0)
    x = np.stack([np.ones(400), rng.normal(0, 1, 400)], 1)
    true = np.array([[-0.5, 0.8], [0.2, -0.6], [0.5, 0.7]])
    f = list((x @ true.T).T)
    y = draw_counts(f, 1.5 * Stage(LINKS[1]).rate(f[2])[0], draws())
    fits = []
    for k, value in enumerate(stage_values(y)):
        asked = ~np.isnan(value)
        stage = Stage(LINKS[1] if k == 2 else None)
        fits.append(stage.fit_weights(x[asked], value[asked], 1.5, 0.0, 2.0))

    def cost(w: Array) -> float:
        total = 1.0 * (w @ w)
        for i in range(3):
            value = stage_values(y)[i]
            asked = ~np.isnan(value)
            stage = Stage(LINKS[1] if i == 2 else None)
            total -= stage.likelihood(x[asked] @ w[2 * i : 2 * i + 2], value[asked], 1.5)[0].sum()
        return float(total)

    best = scipy.optimize.minimize(cost, np.zeros(6), method="BFGS", options={"gtol": 1e-6})
    np.testing.assert_allclose(np.concatenate(fits), best.x, atol=2e-4)
    np.testing.assert_allclose(np.concatenate(fits), true.ravel(), atol=0.35)  # 3 standard errors


def test_draws_follow_the_stages() -> None:
    f = [np.full(200_000, v) for v in (0.2, -0.4, 0.0)]
    y = draw_counts(f, np.full(200_000, 1.2), draws())
    s0, s1 = logistic(np.array(0.2)), logistic(np.array(-0.4))
    expected = [s0, (1 - s0) * s1, (1 - s0) * (1 - s1) * np.exp(-1.2)]
    np.testing.assert_allclose([(y == k).mean() for k in range(3)], expected, atol=0.006)


def test_the_recent_past_is_that_of_a_plain_loop() -> None:
    y = [0.0, 3, NAN, 1, 0, 5, 0]
    averages = PanelAverages(share=0.4, many=0.5, mean=1.1, excess=0.9)
    recent = RecentDemand.start(averages, np.full(1, np.inf))
    for value in y:
        recent = recent.update(np.array([value]))
    seen = [v for v in y if not np.isnan(v)]
    expected = []
    for of in (lambda v: float(v > 0), lambda v: v):
        for pace in DECAYS:
            weights = pace ** np.arange(len(seen))[::-1]
            prior = 0.4 if of(3) == 1 else 1.1
            mean = (
                sum(w * of(v) for w, v in zip(weights, seen, strict=True)) + PRIOR_STEPS * prior
            ) / (weights.sum() + PRIOR_STEPS)
            expected.append(np.log(mean / (1 - mean)) if prior == 0.4 else np.log(mean))
    many = (DEMAND_DECAY**2 + 1 + PRIOR_STEPS * 0.5) / (
        DEMAND_DECAY**2 + DEMAND_DECAY + 1 + PRIOR_STEPS
    )  # of 3, 1, 5
    scale = (DEMAND_DECAY * 1 + 3 + PRIOR_STEPS * 0.9) / (
        DEMAND_DECAY + 1 + PRIOR_STEPS
    )  # of 3 and 5, less 2
    expected += [np.log1p(1), np.log(many / (1 - many)), np.log(scale)]
    np.testing.assert_allclose(np.stack(recent.features())[:, 0], expected, rtol=1e-12)


def test_time_is_kept_over_gaps() -> None:
    panel = panel_of([1.0, NAN, 3, 4, 9, 9], [5.0, 6, 9, 9], freq="D", behind=2)
    past = AlignedHistories.from_panel(panel, 2, CovariateScale.from_panel(panel))
    np.testing.assert_array_equal(past.values.T, [[1, NAN, 3, 4], [NAN, NAN, 5, 6]])
    np.testing.assert_array_equal(np.diff(past.phase[:, 0]) % 7, [1] * 5)
    assert past.phase[4, 0] == 4  # both series begin on step 0: step 4 comes next
    assert past.phase[4, 1] == 2
    weekday = past.inputs[:, :, :7].argmax(2)
    np.testing.assert_array_equal(weekday[4], (weekday[3] + 1) % 7)


def dense(
    stage: Stage, value: Array, base: Array, q: float, noise: float, s: float
) -> tuple[Array, float]:
    """Mode of f and Laplace's log-likelihood by plain matrices."""
    steps = np.arange(len(value))
    seen = ~np.isnan(value)
    k = (s + q * np.minimum.outer(steps, steps) + noise * np.eye(len(value)))[np.ix_(seen, seen)]
    inverse, y, b = np.linalg.inv(k), value[seen], base[seen]

    def cost(u: Array) -> float:
        return float(0.5 * u @ inverse @ u - stage.likelihood(b + u, y, 1.0)[0].sum())

    u = scipy.optimize.minimize(cost, np.zeros(seen.sum()), method="BFGS", options={"gtol": 1e-8}).x
    likely, _, information = stage.likelihood(b + u, y, 1.0)
    fit = likely.sum() - 0.5 * u @ inverse @ u
    volume = np.linalg.slogdet(np.eye(len(u)) + k * information[:, None])[1]
    return b + u, float(fit - 0.5 * volume)


@pytest.mark.parametrize("link", [None, *LINKS])
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_latent_paths_are_those_of_dense_algebra(
    link: str | None, noise: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demandcast.local.parts.latent.NEWTON_STEPS", 30)  # to the very mode
    rng = np.random.default_rng(2)
    value = rng.poisson(1.5, (20, 4)) * 1.0 if link else (rng.random((20, 4)) < 0.3) * 1.0
    value[rng.random(value.shape) < 0.25] = NAN
    base = rng.normal(0, 0.3, value.shape)
    mode = find_mode(Stage(link), value, 1.0, base, 0.05, noise, 0.8)
    for i in range(4):
        f, likely = dense(Stage(link), value[:, i], base[:, i], 0.05, noise, 0.8)
        assert mode.log_likelihood[i] == pytest.approx(likely, abs=1e-4)
        if noise == 0:
            seen = ~np.isnan(value[:, i])
            np.testing.assert_allclose((base + mode.level)[seen, i], f, atol=1e-4)
    monkeypatch.undo()
    soon = find_mode(Stage(link), value, 1.0, base, 0.05, noise, 0.8)
    assert NEWTON_STEPS < 30
    np.testing.assert_allclose(soon.log_likelihood, mode.log_likelihood, atol=0.02)


def test_laplace_is_near_the_integral() -> None:
    """Of one value, whose likelihood a sum over f gives."""
    f = np.linspace(-12, 12, 40_001)
    for link, y in ((None, 1.0), (LINKS[0], 3.0)):
        law = (
            scipy.stats.norm.logpdf(f, 0.2, 1.0)
            + Stage(link).likelihood(f, np.full_like(f, y), 1.0)[0]
        )
        exact = np.log(np.exp(law).sum() * (f[1] - f[0]))
        mode = find_mode(Stage(link), np.array([[y]]), 1.0, np.array([[0.2]]), 0.0, 0.0, 1.0)
        assert mode.log_likelihood[0] == pytest.approx(
            exact, abs=0.1
        )  # Fisher for the second derivative


@pytest.mark.parametrize("latent", [False, True])
def test_one_can_be_forecast(latent: bool) -> None:
    rng = np.random.default_rng(3)
    y = np.where(rng.random((60, 50)) < 0.4, 0.0, np.where(rng.random((60, 50)) < 0.7, 1.0, 4.0))
    paths = MultiStage(h=5, latent=latent).predict(panel_of(*y), n_samples=300).samples
    shares = [(paths == k).mean() for k in (0, 1)]
    np.testing.assert_allclose(shares, [0.4, 0.42], atol=0.04)


def promoted(n_days: int = 120, n_items: int = 8) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    rows = []
    for item in range(n_items):
        for day in range(n_days):
            promo = int((day + 3 * item) % 9 < 2)
            sold = int(rng.poisson(6.0 if promo else 0.6))
            rows.append((f"i{item}", date(2024, 1, 1) + timedelta(day), sold, promo))
    return pl.DataFrame(rows, schema=["item", "day", "sold", "promo"], orient="row")


@pytest.mark.parametrize("latent", [False, True])
def test_known_covariates_move_the_forecast(latent: bool) -> None:
    frame = promoted()
    cut = date(2024, 1, 1) + timedelta(112)
    panel = demandcast.read_panel(
        frame.filter(pl.col("day") < cut), key="item", time="day", target="sold", freq="D",
        known=["promo"],
    )  # fmt: skip
    future = frame.filter(pl.col("day") >= cut).drop("sold")
    model = MultiStage(h=8, latent=latent)
    forecast = model.predict(panel, future=future)
    on = future["promo"].to_numpy().reshape(8, 8) == 1
    assert forecast.mean[on].mean() == pytest.approx(6, rel=0.25)
    assert forecast.mean[~on].mean() == pytest.approx(0.6, abs=0.35)
    with pytest.raises(DataError, match=r"'promo' reach 0 of the 8 steps.*i0 \(8 series.*future="):
        model.predict(panel)
    whole = demandcast.read_panel(
        frame, key="item", time="day", target="sold", freq="D", known=["promo"]
    ).drop_last(8)
    np.testing.assert_allclose(model.predict(whole).mean, forecast.mean, rtol=1e-6)


def test_seasons_are_followed() -> None:
    rng = np.random.default_rng(5)
    rate = np.where(np.arange(210) % 7 < 2, 5.0, 0.5)
    forecast = MultiStage(h=14).predict(panel_of(*rng.poisson(rate, (30, 210)), freq="D"))
    expected = np.where(np.arange(14) % 7 < 2, 5.0, 0.5)
    np.testing.assert_allclose(forecast.mean.mean(0), expected, rtol=0.3, atol=0.1)


def test_latent_levels_widen_the_spread_step_by_step() -> None:
    rng = np.random.default_rng(6)
    walk = np.exp(rng.normal(0, 0.35, (40, 100)).cumsum(1) * 0.8)
    panel = panel_of(*rng.poisson(np.clip(3 * walk, 0, 60)), freq="1")
    paths = MultiStage(h=15, latent=True).predict(panel, n_samples=200).samples
    assert paths is not None
    spread = np.median(paths.var(1) / np.maximum(paths.mean(1), 0.1), 0)
    assert spread[-1] > 1.5 * spread[0]


def test_sizes_may_vary_more_than_poisson_ones() -> None:
    rng = np.random.default_rng(7)
    panel = panel_of(*(2 + rng.negative_binomial(0.6, 0.1, (60, 60))), freq="1")
    free, paper = (
        Glm.fit(
            AlignedHistories.from_panel(panel, 0, CovariateScale.from_panel(panel)),
            LINKS[1],
            1.0,
            varied,
        ).dispersion
        for varied in (True, False)
    )
    assert free == pytest.approx(10, rel=0.2)  # variance over mean of that law: 1 / 0.1
    assert paper == 1
    for latent in (False, True):
        wide, narrow = (
            MultiStage(h=2, latent=latent, varied=varied)
            .predict(panel, levels=[0.1, 0.9])
            .quantiles
            for varied in (True, False)
        )
        assert np.diff(wide).mean() > 1.15 * np.diff(narrow).mean()


@pytest.mark.parametrize("latent", [False, True])
def test_no_demand_anywhere_is_forecast_as_none(latent: bool) -> None:
    quiet = MultiStage(h=3, latent=latent).predict(panel_of([0.0] * 9, [0.0] * 4))
    assert not quiet.quantiles.any()
    assert not quiet.mean.any()
    rng = np.random.default_rng(8)
    beside = MultiStage(h=3, latent=latent).predict(
        panel_of([0.0] * 40, *rng.poisson(1, (20, 40))), n_samples=200
    )
    assert beside.mean[0].mean() < 0.3 * beside.mean[1:].mean()


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match="latent is 1; it must be True or False"):
        MultiStage(h=2, latent=1)
    with pytest.raises(ConfigError, match=r"link is 'exp'; did you mean 'twice_logistic'|logistic"):
        MultiStage(h=2, link="exp")
    with pytest.raises(ConfigError, match="ridge is 0; it must be above 0"):
        MultiStage(h=2, ridge=0)
    model: Any = MultiStage(h=2)
    with pytest.raises(DataError, match=r"multi_stage.*series s0 holds 1\.5"):
        model.predict(panel_of([1.5, 2]))
