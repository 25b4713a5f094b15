"""What Deep Factors claim: shared courses found, Kalman's likelihood exact, forecasts conditional."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.linalg
import scipy.stats
import torch

import demandcast as dc
from demandcast.draws.tensors import TensorDraws
from demandcast.layers.gaussian import condition, log_density
from demandcast.models.deep_factors import RUN_UP, STRETCH, StateSpace, add_noise
from demandcast.models.gaps import warn_once
from demandcast.panel.panel import Panel

EFFECTS = ("lds", "gp", "rnn")


def hours(values: np.ndarray) -> Panel:
    """Series (N, steps) by the hour, from Monday 2024-01-01."""
    ds = pl.datetime_range(
        pl.datetime(2024, 1, 1),
        pl.datetime(2024, 1, 1) + pl.duration(hours=values.shape[1] - 1),
        "1h",
        eager=True,
    )
    return dc.read_panel(
        pl.concat(
            pl.DataFrame({"unique_id": f"s{i}", "ds": ds, "y": row}) for i, row in enumerate(values)
        )
    )


@pytest.fixture(scope="module")
def panel() -> Panel:
    """Two courses of the day, mixed by each of eight series in its own way, and noise of .1."""
    rng, hour = np.random.default_rng(0), np.arange(24 * 16)
    courses = np.stack(
        [np.sin(2 * np.pi * hour / 24), np.sign(np.cos(2 * np.pi * (hour + 0.5) / 12))]
    )
    mixed = rng.normal(0, 1, (8, 2)) @ courses
    return hours(10 + 3 * mixed + rng.normal(0, 0.3, mixed.shape))


def model(effect: str, **hyper: Any) -> dc.models.DeepFactors:
    hyper = {"max_steps": 4, "context": 48, "batch_size": 8} | hyper
    return dc.models.DeepFactors(horizon=12, random_effect=effect, **hyper)


def level(deviation: float, memory: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a level's state becomes in a step, its stationary covariance, and how it is read."""
    return np.array([[math.exp(-1 / memory)]]), np.array([[deviation**2]]), np.ones(1)


def smooth(deviation: float, memory: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of a Matern 3/2: a state and its slope."""
    rate = 1 / memory
    step = math.exp(-rate) * np.array([[1 + rate, 1.0], [-(rate**2), 1 - rate]])
    return step, deviation**2 * np.diag([1.0, rate**2]), np.array([1.0, 0.0])


def course(
    period: int, deviation: float, memory: float, near: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same of a season: a state for each place, the one that is read last; all fade together."""
    places = np.arange(period)
    turn = 2 * np.pi / period
    apart = (np.cos(turn * (places[:, None] - places)) - 1) / (1 - np.cos(turn)) / near**2
    fade = math.exp(-1 / period / memory)
    return (
        fade * np.roll(np.eye(period), 1, axis=0),
        deviation**2 * np.exp(apart),
        np.eye(period)[-1],
    )


def kalman(
    values: np.ndarray,
    noise: np.ndarray,
    slope: np.ndarray,
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> float:
    """Log likelihood of one window by the filter's recursion; nan is not observed.

    Each of the parts starts in its stationary covariance and keeps it. One more state of variance 1
    does not change, and is read as often as `slope` says at each step.
    """
    step = scipy.linalg.block_diag(*[s for s, _, _ in parts], 1.0)
    spread = scipy.linalg.block_diag(*[c for _, c, _ in parts], 1.0)
    read = np.concatenate([*[r for _, _, r in parts], [0.0]])
    state, added = np.zeros(len(read)), spread - step @ spread @ step.T
    total = 0.0
    for y, sigma, read[-1] in zip(values, noise, slope, strict=True):
        if not np.isnan(y):
            variance = read @ spread @ read + sigma**2
            gain = spread @ read / variance
            error = y - read @ state
            total += -0.5 * (math.log(2 * math.pi * variance) + error**2 / variance)
            state = state + gain * error
            spread = spread - np.outer(gain, read @ spread)
        state, spread = step @ state, step @ spread @ step.T + added
    return total


def test_the_marginal_likelihood_is_kalmans() -> None:
    """The dense covariance and the recursion agree to the last digits, gaps and all."""
    rng, periods = np.random.default_rng(0), (4, 6)
    effect = StateSpace(3, periods, horizon=5)
    with torch.no_grad():
        effect.parts.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    static, steps = torch.randn(2, 3, generator=torch.Generator().manual_seed(1)), 30
    covariance = effect(static, torch.zeros(2, steps, 1))
    values, noise = rng.normal(size=(2, steps)), rng.uniform(0.1, 0.5, (2, steps))
    values[0, [3, 7, 20]] = np.nan
    seen = torch.from_numpy(~np.isnan(values))
    dense = log_density(
        torch.from_numpy(values), add_noise(covariance, torch.from_numpy(noise)), seen
    ).detach()
    numbers = effect.parts(static).exp().detach().double().numpy()  # (2, parts)
    for i in range(2):
        size, deviation, memory, near = np.split(numbers[i], [1, 8, 15])
        slope = size * (np.arange(steps) - 25) / 5  # 0 at the cutoff, 5 steps before the end
        parts = [level(deviation[0], memory[0]), level(deviation[1], memory[1])]
        parts.append(smooth(deviation[2], memory[2]))
        for period, *own in zip(2 * periods, deviation[3:], memory[3:], near, strict=True):
            parts.append(course(period, *own))
        # 1e-4: the numbers were made in float32
        wanted = kalman(values[i], noise[i], slope, parts)
        assert float(dense[i]) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("transform", ["log1p", "none"])
@pytest.mark.parametrize("effect", ["lds", "gp"])
def test_the_loss_is_the_density_of_the_whole_window(
    effect: str, transform: str, panel: Panel
) -> None:
    hyper: dict[str, Any] = {"likelihood": "normal", "transform": transform}
    network, source, plan = model(effect, **hyper).build(panel)
    network.eval()
    series = torch.arange(3)
    ends = source.lengths[series]
    window = source.windows(series, ends - 12, ends)
    fixed, noise, covariance = network(window)
    target = torch.cat([window.past_target, window.future_target], 1) / window.scale
    target = target.log1p() if transform == "log1p" else target
    oracle = torch.distributions.MultivariateNormal(
        fixed.double(), covariance.double() + noise.double().square().diag_embed()
    )
    wanted = -oracle.log_prob(target.double()).sum() / target.numel()
    assert float(network.loss(window).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    assert plan.context == 48


@pytest.mark.parametrize("likelihood", ["normal", "student_t"])
@pytest.mark.parametrize("effect", ["lds", "gp"])
def test_forecasts_are_the_exact_conditional(effect: str, likelihood: str, panel: Panel) -> None:
    """Of the normal by the textbook's formula; of the Student-t process wider by what was seen."""
    network, source, _ = model(effect, likelihood=likelihood, transform="none").build(panel)
    network.eval()
    window = source.latest(torch.arange(3))
    levels, draws = torch.tensor([0.1, 0.5, 0.9]), TensorDraws.of(panel.keys[:3], 0)
    with torch.no_grad():
        quantiles, mean, paths = network.predict(window, levels, 20_000, draws)
        fixed, noise, covariance = network(window)
        df = network.df
    whole = covariance.double() + noise.double().square().diag_embed()
    error = (window.past_target / window.scale).double() - fixed[:, :48]
    inverse = torch.linalg.inv(whole[:, :48, :48])
    gain = whole[:, 48:, :48] @ inverse
    centre = fixed[:, 48:] + (gain @ error[..., None])[..., 0]
    joint = whole[:, 48:, 48:] - gain @ whole[:, :48, 48:]
    if df is not None:
        square = (error[:, None] @ inverse @ error[..., None])[:, 0, 0]
        joint = joint * ((df - 2 + square) / (df - 2 + 48))[:, None, None]
    torch.testing.assert_close(mean, (centre * window.scale).float(), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(quantiles[..., 1], mean)
    scaled = (paths / window.scale[..., None]).double()
    for i in range(3):
        size = float(joint[i].diagonal().max())
        np.testing.assert_allclose(np.cov(scaled[i].numpy().T), joint[i], atol=0.06 * size)
    reached = (paths[..., None] <= quantiles[:, None]).float().mean(1)
    np.testing.assert_allclose(reached, levels.expand_as(reached), atol=0.02)
    law = scipy.stats.norm if df is None else scipy.stats.t(float(df) + 48)
    spread = joint.diagonal(dim1=-2, dim2=-1).sqrt().numpy() * window.scale.numpy()
    spread = spread * float(law.ppf(0.9)) / (1 if df is None else float(law.std()))
    np.testing.assert_allclose(quantiles[..., 2] - mean, spread, rtol=1e-3)


def test_the_logarithm_is_the_same_model_of_other_values(panel: Panel) -> None:
    """Quantiles are those of log(1 + y / scale) taken back, and the mean is that of the paths."""
    network, source, plan = model("lds", likelihood="normal").build(panel)
    assert plan.config.transform == "log1p"
    network.eval()
    window = source.latest(torch.arange(8))
    levels = torch.tensor([0.1, 0.5, 0.9])

    def forecast(given: Any) -> Any:
        with torch.no_grad():
            return network.predict(given, levels, 40_000, TensorDraws.of(panel.keys[:8], 0))

    quantiles, mean, paths = forecast(window)
    logs = replace(
        window,
        past_target=(window.past_target / window.scale).log1p(),
        scale=torch.ones_like(window.scale),
    )
    network.config = replace(plan.config, transform="none")
    as_they_are = forecast(logs)
    most = 3 * window.past_target.amax(1)[:, None, None]  # above it a path in 200,000 is cut
    for found, wanted in ((quantiles, as_they_are[0]), (paths, as_they_are[2])):
        taken_back = wanted.expm1() * window.scale[..., None]
        torch.testing.assert_close(found, torch.minimum(taken_back, most))
    torch.testing.assert_close(mean, paths.mean(1), rtol=0.03, atol=0.01)


def test_no_forecast_lies_far_above_the_context(panel: Panel) -> None:
    """A context that jumps about leaves wide logarithms, which taken back would reach any height."""
    network, source, _ = model("lds").build(panel)
    network.eval()
    window = source.latest(torch.arange(8))
    wild = window.past_target * torch.rand(8, 48, generator=torch.Generator().manual_seed(0)) ** 9
    window = replace(window, past_target=wild)
    with torch.no_grad():
        found, _, paths = network.predict(
            window, torch.tensor([0.999999]), 50, TensorDraws.of(panel.keys[:8], 0)
        )
    highest = torch.maximum(wild.amax(1, keepdim=True), window.scale)
    assert (found[..., 0] <= 3.001 * highest).all()
    assert (found[..., 0] > 2.999 * highest).any()
    assert (paths.amax(1) <= 3.001 * highest).all()


def test_negative_values_have_no_logarithm(panel: Panel) -> None:
    below = replace(panel, target=panel.target - 30)
    assert model("lds").build(below)[2].config.transform == "none"
    with pytest.raises(
        dc.errors.ConfigError, match=r"transform is 'log'; .* one of auto, log1p, none"
    ):
        model("lds", transform="log")


def test_paths_hang_together_but_for_noise_alone(panel: Panel) -> None:
    """Neighbouring steps of a path move together under a state space; under DF-RNN they do not."""
    moved = {}
    for effect in ("lds", "rnn"):
        forecast = model(effect).fit(panel, progress=False).predict(panel, n_samples=2000)
        assert forecast.samples is not None
        error = forecast.samples - forecast.samples.mean(1, keepdims=True)
        ahead, behind = error[..., 1:], error[..., :-1]
        moved[effect] = float((ahead * behind).mean() / (error**2).mean())
    assert moved["lds"] > 0.3
    assert abs(moved["rnn"]) < 0.05


def test_a_rough_context_widens_the_forecast(panel: Panel) -> None:
    """Errors twice as large in the context: a Student-t process says wider bands, the normal does not."""
    widths = {}
    for likelihood in ("normal", "student_t"):
        network, source, _ = model("lds", likelihood=likelihood, transform="none").build(panel)
        network.eval()
        window = source.latest(torch.arange(8))
        rough = window.past_target + 5 * torch.randn(
            8, 48, generator=torch.Generator().manual_seed(0)
        )
        for label, seen in (("smooth", window), ("rough", replace(window, past_target=rough))):
            with torch.no_grad():
                q = network.predict(
                    seen, torch.tensor([0.1, 0.9]), 1, TensorDraws.of(panel.keys[:8], 0)
                )[0]
            widths[likelihood, label] = q[..., 1] - q[..., 0]
    torch.testing.assert_close(widths["normal", "rough"], widths["normal", "smooth"])
    assert (widths["student_t", "rough"] > 1.2 * widths["student_t", "smooth"]).all()


def test_factors_are_computed_once_for_each_stamp(panel: Panel) -> None:
    """All series and cutoffs read one table; windows that overlap find the same factors in it."""
    network, source, _ = model("lds").build(panel)
    network.eval()
    read = []
    network.lstm.register_forward_pre_hook(lambda _, args: read.append(args[0].shape))  # type: ignore[union-attr]
    series = torch.arange(8).repeat(4)
    cutoffs = source.lengths[series] - 12 - 5 * torch.arange(4).repeat_interleave(8)
    window = source.windows(series, cutoffs, cutoffs + 12)
    factors = network.global_factors(window.stamps)  # type: ignore[operator]
    stretches = len((window.stamps // STRETCH).unique())
    assert read == [(stretches, RUN_UP + STRETCH, network.shared)]  # not 32 windows
    by_stamp: dict[int, torch.Tensor] = {}
    for stamp, value in zip(window.stamps.flatten().tolist(), factors.flatten(0, 1), strict=True):
        assert torch.equal(by_stamp.setdefault(stamp, value), value)
    assert len(by_stamp) < factors.shape[0] * factors.shape[1] / 8


@pytest.mark.parametrize("effect", EFFECTS)
def test_shared_courses_are_found(effect: str, panel: Panel) -> None:
    """Loadings times factors explain what eight series mix of two courses; nothing is told of them."""
    known = panel.drop_last(12)
    steps = 200 if effect == "rnn" else 80  # the others lean on what they have seen
    hyper = {"max_steps": steps, "batch_size": 16, "learning_rate": 0.03, "seed": 1}
    made = model(effect, transform="none", **hyper)
    made.fit(known, progress=False)
    median = made.predict(known, levels=[0.5]).quantiles[..., 0]
    error = np.abs(median - known.future_target(12)).mean()
    assert error < 0.45  # the noise alone errs by .24 in the mean; without any course it is 2.5
    network, source, _ = made.build(known)
    window = source.latest(torch.arange(8))
    with torch.no_grad():
        fixed = network(window)[0][:, :48].double()
    target = (window.past_target / window.scale).double()
    fixed, target = (x - x.mean(1, keepdim=True) for x in (fixed, target))  # levels may differ
    explained = 1 - (target - fixed).square().mean() / target.square().mean()
    assert explained > (0.95 if effect == "rnn" else 0.5)


@pytest.mark.parametrize("effect", EFFECTS)
def test_a_new_series_gets_the_average_loadings(effect: str, panel: Panel) -> None:
    made = model(effect).fit(panel.select(range(6)), progress=False)
    _, source, _ = made.build(panel)
    window = source.latest(torch.arange(8))
    assert window.static_codes[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 0, 0]
    forecast = made.predict(panel)
    assert np.isfinite(forecast.quantiles).all()


@pytest.mark.parametrize("effect", EFFECTS)
def test_odd_series_do_no_harm(effect: str) -> None:
    """All zero, constant, huge, tiny, mostly missing."""
    rng = np.random.default_rng(0)
    values = np.stack([
        np.zeros(120), np.full(120, 7.0), 1e12 * rng.random(120), 1e-9 * rng.random(120),
        np.where(rng.random(120) < 0.9, np.nan, 5.0),
    ])  # fmt: skip
    odd = hours(values)
    forecast = model(effect, max_steps=30).fit(odd, progress=False).predict(odd)
    assert np.isfinite(forecast.quantiles).all()
    assert np.abs(forecast.quantiles[0]).max() < 1


@pytest.mark.parametrize("effect", EFFECTS)
def test_every_parameter_of_every_effect_learns(effect: str, panel: Panel) -> None:
    network, source, _ = model(effect, dropout=0.0).build(panel)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    series = torch.arange(8)
    ends = source.lengths[series]
    network.loss(source.windows(series, ends - 12, ends)).backward()
    for label, p in network.named_parameters():
        assert p.grad is not None, label
        assert p.grad.abs().sum() > 0, label


def test_stock_outs_say_nothing(panel: Panel) -> None:
    """Where an item could not be bought its sales do not count: other values there change nothing."""
    available = np.ones(len(panel.target), np.bool_)
    available[panel.begins[0] + panel.lengths[0] - 20 : panel.begins[0] + panel.lengths[0] - 8] = 0
    first = replace(panel, available=available)
    network, source, _ = model("lds").build(first)
    window = source.latest(torch.arange(1))
    other = replace(window, past_target=torch.where(window.past_censored, 99.0, window.past_target))
    levels = torch.tensor([0.5])
    with torch.no_grad():
        one, two = (
            network.eval().predict(w, levels, 1, TensorDraws.of(panel.keys[:1], 0))[0]
            for w in (window, other)
        )
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("link", ["exp", "softplus"])
def test_links_keep_the_fixed_effect_positive(link: str, panel: Panel) -> None:
    network, source, _ = model("rnn", link=link).build(panel)
    assert (network(source.latest(torch.arange(8)))[0] > 0).all()


def test_what_there_is_not_is_named() -> None:
    with pytest.raises(
        dc.errors.ConfigError, match=r"random_effect is 'kalman'; .*It must be one of lds"
    ):
        dc.models.DeepFactors(horizon=3, random_effect="kalman")
    with pytest.raises(dc.errors.ConfigError, match="link is 'log'"):
        dc.models.DeepFactors(horizon=3, link="log")
    with pytest.raises(dc.errors.ConfigError, match="normal or a Student-t process"):
        dc.models.DeepFactors(horizon=3, likelihood="poisson").fit(hours(np.ones((2, 60))))


def test_conditions_use_only_what_is_seen() -> None:
    error, whole = torch.full((1, 3), torch.nan), torch.eye(5, dtype=torch.float64)[None]
    mean, rest, square = condition(error, whole, torch.zeros(1, 3, dtype=torch.bool))
    assert torch.equal(mean, torch.zeros(1, 2, dtype=torch.float64))
    assert torch.equal(rest[0], torch.eye(2, dtype=torch.float64))
    assert float(square) == 0


def test_bounds_that_are_left_out_are_counted(
    panel: Panel, caplog: pytest.LogCaptureFixture
) -> None:
    available = np.ones(len(panel.target), np.bool_)
    available[panel.begins + panel.lengths - 3] = False
    available[panel.begins[0]] = False
    warn_once.cache_clear()
    model("rnn").build(replace(panel, available=available).drop_last(2))
    assert "deep_factors leaves out 9 steps at which an item could not be bought" in caplog.text
    caplog.clear()
    model("rnn").build(replace(panel, available=np.ones_like(available)))
    assert not caplog.text
