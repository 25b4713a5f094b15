"""The Gamma-Poisson filter against a plain loop, conjugate updating, and its own simulations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError
from demandcast.local import GammaPoisson
from demandcast.local.gamma_poisson import DISCOUNTS, EVIDENCE, MIN_A, SHARES, Fitted, Rate
from demandcast.local.parts.counts import log_gamma
from demandcast.local.parts.histories import Histories

from .conftest import panel_of

Y = [0.0, 3, 0, 0, 2, 5, 0, 1]


def rate(w: float, e: float, a: float, b: float) -> Rate:
    return Rate(*(np.array([[part]]) for part in (w, e, a, b)))


def of(*series: list[float]) -> Histories:
    width = max(map(len, series))
    return Histories.from_rows(np.array([[np.nan] * (width - len(y)) + y for y in series]))


def test_log_gamma_is_that_of_scipy() -> None:
    x = np.geomspace(1e-5, 1e6, 4000).reshape(4, -1)
    expected = scipy.special.gammaln(x)
    np.testing.assert_allclose(log_gamma(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("evidence", [1.0, 0.25])
def test_the_likelihood_is_that_of_a_plain_loop(evidence: float) -> None:
    a, b, total = 1.3, 0.8, 0.0
    for y in Y:
        total += scipy.stats.nbinom.logpmf(y, a, b / (1 + b)) + scipy.special.gammaln(y + 1)
        a, b = 0.9 * (a + evidence * y), 0.9 * (b + evidence)
    last, likely = rate(0.9, evidence, 1.3, 0.8).filter(of(Y))
    assert likely[0, 0] == pytest.approx(total, rel=1e-12)
    np.testing.assert_allclose([last.a[0, 0], last.b[0, 0]], [a, b], rtol=1e-12)


def test_zeros_beside_those_of_the_negative_binomial_have_their_likelihood() -> None:
    a, b, share, size = 1.3, 0.8, 0.4, 1 / (1 / 1.3 + (1 + 1 / 1.3) / 2.0)
    last = Rate(*(np.array([[part]]) for part in (1.0, 1.0, a, b, share, 2.0)))
    for y in (0.0, 3.0):
        law = scipy.stats.nbinom(size, size / (size + a / b / share))
        total = np.log(share * law.pmf(y) + (y == 0) * (1 - share)) + scipy.special.gammaln(y + 1)
        assert last.log_likelihood(np.array([y]))[0, 0] == pytest.approx(total, rel=1e-12)
    steady = Rate(*(np.array([[part]]) for part in (1.0, 1.0, 1e3, 1.0)))
    expected = -1e3 * np.log(2)  # so little that one less it is one to the last digit
    assert steady.log_likelihood(np.zeros(1))[0, 0] == pytest.approx(expected)


def test_laws_are_drawn_by_their_likelihood() -> None:
    """Where one step in five has a count, 1 or more, the share of steps that may have one is about .2."""
    rng = np.random.default_rng(4)
    many = (rng.random((40, 100)) < 0.2) * (1 + rng.negative_binomial(1, 0.15, (40, 100)))
    plain = rng.poisson(0.5, (40, 100))
    for values, low, high in ((many, 0.17, 0.36), (plain, 0.6, 1.0)):
        past = Histories.from_panel(panel_of(*values.astype(float)))
        fitted = Fitted.fit([past], DISCOUNTS, EVIDENCE, SHARES)
        chance = np.diff(fitted.cumulative, prepend=0, axis=0)
        mean = (fitted.pairs[:, 0, None] * chance).sum(0)
        drawn = fitted.draw_rates(np.arange(40), 500, Draws.of(panel_of(*values).keys, 0)).share
        np.testing.assert_allclose(drawn.mean(1), mean, atol=0.06)
        assert low < mean.mean() < high


def test_without_a_discount_it_is_the_conjugate_posterior() -> None:
    last, _ = rate(1.0, 1.0, 2.0, 3.0).filter(of(Y))
    np.testing.assert_allclose([last.a[0, 0], last.b[0, 0]], [2 + sum(Y), 3 + len(Y)])


def test_series_begin_where_they_begin() -> None:
    together = Rate(*(np.array([[v, v]]) for v in (0.8, 1.0, 1.0, 1.0))).filter(of(Y, Y[3:]))
    for i, y in enumerate((Y, Y[3:])):
        last, likely = rate(0.8, 1.0, 1.0, 1.0).filter(of(y))
        assert together[1][0, i] == pytest.approx(likely[0, 0], rel=1e-12)
        assert together[0].a[0, i] == pytest.approx(last.a[0, 0], rel=1e-12)


def test_one_step_ahead_is_negative_binomial() -> None:
    model = GammaPoisson(h=1, discount=0.85, evidence=1.0, paths=40_000)
    panel = panel_of(Y * 4)
    found = Fitted.fit([Histories.from_panel(panel)], (0.85,), (1.0,)).rate
    law = scipy.stats.nbinom(found.a[0], found.b[0] / (1 + found.b[0]))
    paths = model.predict(panel, n_samples=40_000).samples
    assert paths is not None
    shares = [(paths[0, :, 0] == k).mean() for k in range(5)]
    np.testing.assert_allclose(shares, law.pmf(np.arange(5)), atol=0.012)  # 5 standard errors


def test_draws_fed_back_widen_the_spread_at_the_same_mean() -> None:
    rng = np.random.default_rng(0)
    panel = panel_of(*rng.poisson(6, (40, 60)))
    steady, moving = (
        GammaPoisson(h=20, discount=w, evidence=1.0).predict(panel, n_samples=1000).samples
        for w in (1.0, 0.8)
    )
    assert steady is not None
    assert moving is not None
    ratio = moving.var(1).mean(0) / steady.var(1).mean(0)
    assert 1.1 < ratio[0] < 1.6  # size A = mean B: variance 1 + (1 - w) / w = 1.25 of the mean
    assert ratio[-1] > 1.5 * ratio[0]
    mean = moving.mean((0, 1))
    np.testing.assert_allclose(mean, mean[0], rtol=0.05)


def test_discounts_are_found_again() -> None:
    """Of steady rates the discount is high, of rates that double or halve in steps it is low."""
    rng = np.random.default_rng(1)
    steady = rng.poisson(5, (100, 80)) * 1.0
    walk = np.exp(rng.normal(0, 0.4, (100, 80)).cumsum(1) * 0.8)
    moving = rng.poisson(5 * np.clip(walk, 0.05, 40)) * 1.0
    high, low = (
        np.median(Fitted.fit([Histories.from_panel(panel_of(*t))], DISCOUNTS, (1.0,)).rate.discount)
        for t in (steady, moving)
    )
    assert high >= 0.97
    assert low <= 0.8


def test_counts_that_vary_more_than_poisson_tell_less() -> None:
    """A steady rate: with evidence 1 only a low discount explains the spread, with less it need not."""
    rng = np.random.default_rng(2)
    past = Histories.from_panel(panel_of(*rng.negative_binomial(1, 0.15, (60, 100))))
    paper, free = (Fitted.fit([past], DISCOUNTS, e).rate for e in ((1.0,), EVIDENCE))
    assert np.median(paper.discount) < 0.8 < np.median(free.discount)
    assert np.median(free.evidence) < 0.3
    spread = [np.std(r.a / r.b) for r in (paper, free)]  # the rate of all is the same: 5.7
    assert spread[1] < 0.6 * spread[0]


def test_few_demands_choose_as_the_panel_does() -> None:
    rng = np.random.default_rng(3)
    walk = np.exp(rng.normal(0, 0.5, (60, 60)).cumsum(1) * 0.7)
    many = [list(y) for y in rng.poisson(5 * np.clip(walk, 0.05, 40)) * 1.0]
    few = [4.0, 4, 4, 3]  # as steady as can be, but few
    alone = Fitted.fit([of(few)], DISCOUNTS, (1.0,)).rate.discount[0]
    beside = Fitted.fit([of(few, *many)], DISCOUNTS, (1.0,)).rate.discount[0]
    assert alone == 1
    assert beside < 0.95


def test_long_silence_stops_at_the_least() -> None:
    last, likely = rate(0.5, 1.0, 1.0, 1.0).filter(of([3.0] + [0.0] * 60))
    assert last.a[0, 0] == MIN_A
    assert np.isfinite(likely).all()
    forecast = GammaPoisson(h=3, discount=0.5).predict(panel_of([3.0] + [0.0] * 60))
    assert (forecast.quantiles == 0).all()


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(DataError, match=r"gamma_poisson.*series s1 holds 0\.5.*'tsb'"):
        GammaPoisson(h=2).predict(panel_of([1.0, 2], [0.0, 0.5]))
    with pytest.raises(ConfigError, match=r"discount is 1\.5"):
        GammaPoisson(h=2, discount=1.5)
    with pytest.raises(ConfigError, match="evidence is 0"):
        GammaPoisson(h=2, evidence=0)
