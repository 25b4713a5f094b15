"""Bootstraps and damped counts: their parts against hand-worked ones, their paths against the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from demandcast.draws.arrays import Draws
from demandcast.errors import ConfigError, DataError
from demandcast.local import DampedCounts, Renewal, ViswanathanZhou, Willemain
from demandcast.local.bootstrap import bandwidth, demand_probabilities, jitter_sizes
from demandcast.local.damped_counts import Recursion
from demandcast.local.parts.histories import Histories
from demandcast.local.parts.simulated import sizes_and_intervals, zero_periods_since_demand

from .conftest import panel_of

Y = [0.0, 3, 0, 0, 2, 5, 0]


def draws() -> Draws:
    return Draws.of(pl.DataFrame({"key": ["a"]}), 0)


def of(*series: list[float]) -> Histories:
    width = max(map(len, series))
    return Histories.from_rows(np.array([[np.nan] * (width - len(y)) + y for y in series]))


def test_demands_are_sizes_and_intervals() -> None:
    sizes, intervals, count = sizes_and_intervals(of(Y, [0.0, 0, 4], [0.0, 0]))
    np.testing.assert_array_equal(sizes, [[3, 2, 5], [4, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(intervals, [[2, 3, 1], [3, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(count, [3, 1, 0])
    np.testing.assert_array_equal(
        zero_periods_since_demand(of(Y, [0.0, 0, 4], [0.0, 0])), [1, 0, 2]
    )


def test_transitions_are_counted_within_a_series() -> None:
    """Y: after a zero, demand 2 times of 3; after a demand, 1 of 3."""
    found = demand_probabilities(of(Y, [0.0, 1]))
    np.testing.assert_allclose(found[:, 0], [2.5 / 4, 1.5 / 4])
    np.testing.assert_allclose(found[:, 1], [1.5 / 2, 0.5])


def test_jitter_is_that_of_the_paper() -> None:
    width = np.array([[0.5]])
    moved = jitter_sizes(np.full((1, 20_000), 4.0), np.array([[True]]), width, draws())
    expected = 1 + np.trunc(4 + 2 * draws().normal((20_000,)))
    np.testing.assert_array_equal(moved[0], np.where(expected > 0, expected, 4))
    assert (jitter_sizes(np.full((1, 99), 0.5), np.array([[False]]), width, draws()) > 0).all()


def test_amounts_are_smoothed_in_their_own_unit() -> None:
    """By a kernel whose width goes with their spread and shrinks with their number."""
    amounts = np.array([[3.2, 4.1, 2.7, 9.9, 0.0], [5.5, 0.0, 0.0, 0.0, 0.0]])
    found = bandwidth(amounts, np.array([4, 1]))
    assert found[0, 0] == pytest.approx(0.9 * amounts[0, :4].std() * 4**-0.2)
    assert found[1, 0] == 0
    np.testing.assert_allclose(bandwidth(1e-6 * amounts, np.array([4, 1])), 1e-6 * found)
    moved = jitter_sizes(np.full((1, 20_000), 40.0), np.array([[False]]), found[:1], draws())
    np.testing.assert_allclose(moved[0], 40 + found[0, 0] * draws().normal((20_000,)))


def test_a_markov_chain_is_simulated_as_it_was() -> None:
    rng = np.random.default_rng(1)
    state, rows = np.zeros(300, bool), []
    for _ in range(200):
        state = rng.random(300) < np.where(state, 0.7, 0.1)
        rows.append(state * 2.0)
    panel = panel_of(*np.array(rows).T)
    paths = Willemain(h=30, jitter=False).predict(panel, n_samples=100).samples
    assert paths is not None
    on = paths > 0
    assert set(np.unique(paths)) == {0, 2}
    assert on[..., 10:].mean() == pytest.approx(0.25, abs=0.02)
    assert on[..., 11:][on[..., 10:-1]].mean() == pytest.approx(0.7, abs=0.02)


def test_intervals_go_on_from_the_steps_already_waited() -> None:
    """Demand every 4 steps, the last 3 steps ago: it is due at once; 1 path in 1 + k forgets the wait."""
    y = [0.0, 0, 0, 6] * 5 + [0.0, 0, 0]
    k = 4  # intervals longer than the wait; the first is incomplete
    due, forgot = [6, 0, 0, 0, 6, 0, 0, 0, 6], [0, 0, 0, 6, 0, 0, 0, 6, 0]
    paths = ViswanathanZhou(h=9).predict(panel_of(y), n_samples=4000).samples[0]
    waited = paths[:, 0] > 0
    np.testing.assert_array_equal(paths, np.where(waited[:, None], due, forgot))
    assert waited.mean() == pytest.approx(k / (1 + k), abs=0.02)
    plain = ViswanathanZhou(h=9, condition_on_age=False).predict(panel_of(y), n_samples=20).samples
    np.testing.assert_array_equal(plain[0], np.tile(forgot, (20, 1)))
    late = ViswanathanZhou(h=4).predict(panel_of([*y, 0.0, 0]), n_samples=5).samples
    np.testing.assert_array_equal(late[0], np.tile([0, 0, 0, 6], (5, 1)))  # never waited so long


def test_a_single_longer_interval_does_not_settle_the_step_of_the_next_demand() -> None:
    """Waits of 2, and one of 9, after a wait of 5: half of the paths wait to the 9, half start anew with any wait."""
    y = [1.0, *[0.0, 1] * 8, *[0.0] * 8, 1, *[0.0] * 5]
    paths = ViswanathanZhou(h=9).predict(panel_of(y), n_samples=4000).samples[0]
    first = (paths > 0).argmax(1) + 1
    share = [(first == step).mean() for step in (2, 4, 9)]
    assert share == pytest.approx([0.5 * 8 / 9, 0.5, 0.5 / 9], abs=0.03)


def test_the_first_interval_is_left_out_where_others_tell() -> None:
    y = [0.0] * 20 + [1.0, 0, 1, 0, 1]
    paths = ViswanathanZhou(h=4).predict(panel_of(y), n_samples=30).samples
    np.testing.assert_array_equal(paths[0], np.tile([0, 1, 0, 1], (30, 1)))


def test_renewal_keeps_sizes_with_their_waits() -> None:
    y = [1.0, *([0.0] * 2 + [3.0] + [0.0] * 5 + [6.0]) * 8]
    paths = Renewal(h=40).predict(panel_of(y), n_samples=50).samples[0]
    for path in paths:
        steps = np.flatnonzero(path)
        waits = np.diff(steps, prepend=-1)
        np.testing.assert_array_equal(path[steps], np.where(waits == 3, 3, 6))


def test_damped_means_follow_the_recursion() -> None:
    """The pull is to the mean of what came before, with the panel's, within the series' own, as one value more."""
    past = of(Y, [1.0, 1, 0, 1])
    typical = (sum(Y) + 3) / (len(Y) + 4)
    found = Recursion.fit([past], "poisson")
    for i, series in enumerate((Y, [1.0, 1, 0, 1])):
        mean = np.clip(typical, min(series), max(series))
        before = [mean]
        alpha, phi = found.alpha[i], found.phi[i]
        for y in series:
            mean = alpha * y + phi * np.mean(before) + (1 - alpha - phi) * mean
            before.append(y)
        assert found.last[i] == pytest.approx(mean, rel=1e-12)
        assert found.level[i] == pytest.approx(np.mean(before), rel=1e-12)
        moved = alpha * 5 + phi * np.mean(before) + (1 - alpha - phi) * 2
        ahead = found.next_mean(np.full((2, 1), 2.0), np.full((2, 1), 5.0))
        assert ahead[i, 0] == pytest.approx(moved, rel=1e-12)


@pytest.mark.parametrize("law", ["negative_binomial", "poisson", "hurdle_poisson"])
@pytest.mark.parametrize("own", [[3.0], [40.0], [40.0, 38, 41]])
def test_damped_counts_keep_the_size_of_a_short_series(own: list[float], law: str) -> None:
    """Beside series of another size, forecasts lie within the series' own values."""
    for beside in ([20.0] * 30, [2.0] * 30):
        panel = panel_of(own, beside, beside)
        mean = DampedCounts(h=3, law=law).predict(panel).mean[0]
        np.testing.assert_allclose(mean, np.mean(own), rtol=0.1)


def test_weights_are_chosen_without_sight_of_what_comes() -> None:
    """Demand that dies: the mean of the whole record, had it been known, would have pulled down early."""
    rng = np.random.default_rng(5)
    alive = np.arange(60) < rng.integers(15, 90, (200, 1))
    dying = panel_of(*(rng.poisson(3, (200, 60)) * alive))
    silent = (dying.padded_history(5) == 0).all(1)
    mean = DampedCounts(h=6).predict(dying).mean
    assert mean[silent].mean() < 0.05  # pulled to the whole record: 0.09
    assert mean[~silent].mean() > 2


def test_spread_of_damped_counts_is_found_again() -> None:
    rng = np.random.default_rng(2)
    table = rng.negative_binomial(1.5, 0.4, (300, 200)) * 1.0  # mean 2.25, variance 2.25 / 0.4
    found = Recursion.fit([Histories(table.T.copy(), np.full(300, 200))], "negative_binomial")
    assert np.median(found.prob) == pytest.approx(0.4, abs=0.04)
    forecast = DampedCounts(h=5).predict(panel_of(*table), levels=[0.9], n_samples=500)
    assert forecast.samples[..., 0].var() == pytest.approx(2.25 / 0.4, rel=0.15)


def test_draws_fed_back_widen_the_spread() -> None:
    rng = np.random.default_rng(3)
    level = np.exp(rng.normal(0, 0.2, (50, 120)).cumsum(1))
    panel = panel_of(*rng.poisson(np.clip(level * 5, 0, 300)))
    paths = DampedCounts(h=20, law="poisson").predict(panel, n_samples=300).samples
    assert paths is not None
    spread = paths.var(1) / np.maximum(paths.mean(1), 1)
    assert np.median(spread[:, 0]) == pytest.approx(1, abs=0.2)
    assert np.median(spread[:, -1]) > 1.3


def test_hurdle_sizes_are_one_or_more() -> None:
    rng = np.random.default_rng(4)
    y = (rng.random((40, 150)) < 0.3) * (1 + rng.poisson(2, (40, 150))) * 1.0
    paths: Any = (
        DampedCounts(h=4, law="hurdle_poisson").predict(panel_of(*y), n_samples=400).samples
    )
    assert (paths > 0).mean() == pytest.approx(0.3, abs=0.04)
    assert paths[paths > 0].mean() == pytest.approx(3, abs=0.25)


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(DataError, match=r"series s1 holds 0\.5.*'tsb'"):
        DampedCounts(h=2).predict(panel_of([1.0, 2], [0.0, 0.5]))
    with pytest.raises(DataError, match="holds -3"):
        DampedCounts(h=2).predict(panel_of([1.0, -3]))
    with pytest.raises(ConfigError, match="law is 'normal'"):
        DampedCounts(h=2, law="normal")
    with pytest.raises(ConfigError, match="jitter is 1"):
        Willemain(h=2, jitter=1)
    with pytest.raises(ConfigError, match="paths is 0"):
        Renewal(h=2, paths=0)
