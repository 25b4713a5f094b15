"""What LSTNet and TPA-LSTM claim, each part against a plain loop with the same weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import demandcast as dc
from demandcast.layers.highway import Highway, last_observed
from demandcast.models.lstnet import SkipGRU, attend
from demandcast.models.tpa_lstm import TemporalPatternAttention
from demandcast.panel.panel import Panel

BOTH = (dc.models.LSTNet, dc.models.TPALSTM)
VARIANTS: list[tuple[Any, dict[str, Any]]] = [
    (dc.models.LSTNet, {"skip": 7}),
    (dc.models.LSTNet, {"skip": 0}),
    (dc.models.LSTNet, {"attention": True}),
    (dc.models.LSTNet, {"last_value": True, "single_step": True, "calendar": False}),
    (dc.models.TPALSTM, {"last_value": True, "single_step": True}),
    (dc.models.TPALSTM, {"per_step": True}),
    (dc.models.TPALSTM, {"ar": 0}),
]


def days_of(values: np.ndarray[Any, Any]) -> Panel:
    """A daily panel of a block (steps, series)."""
    frame = pl.DataFrame({f"s{i}": values[:, i] for i in range(values.shape[1])})
    stamps = pl.datetime_range(
        pl.datetime(2020, 1, 1), pl.datetime(2030, 1, 1), "1d", eager=True
    ).head(len(values))
    wide = frame.with_columns(ds=stamps)
    return dc.read_panel(wide.unpivot(index="ds", variable_name="unique_id", value_name="y"))


@pytest.fixture(scope="module")
def panel() -> Panel:
    rng = np.random.default_rng(0)
    week = rng.normal(0, 3, (7, 3))
    values = 20 + np.tile(week, (30, 1))[:200] + rng.normal(0, 1, (200, 3))
    return days_of(values)


def window_of(model: Any, panel: Panel) -> tuple[Any, Any]:
    network, source, _ = model.build(panel)
    network.eval()
    series = torch.zeros(4, dtype=torch.int64)
    cutoffs = torch.tensor([60, 90, 130, 150])
    return network, source.windows(series, cutoffs, cutoffs + model.horizon)


# The parts


def test_the_skip_steps_back_whole_periods() -> None:
    """Section 3.4: h[t] is made of h[t-p]; p recurrences with the same weights, one a phase."""
    period, hidden = 4, 3
    layer = SkipGRU(5, hidden, period)
    columns = torch.randn(2, 14, 5)  # three whole turns; the first two columns are left out
    cell = nn.GRUCell(5, hidden)
    with torch.no_grad():
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, kind).copy_(getattr(layer.gru, f"{kind}_l0"))
    states = {t: torch.zeros(2, hidden) for t in range(14)}
    for t in range(2, 14):
        before = states[t - period] if t - period >= 2 else torch.zeros(2, hidden)
        states[t] = cell(columns[:, t], before)
    expected = torch.cat([states[t] for t in range(10, 14)], -1)
    torch.testing.assert_close(layer(columns), expected)


def test_a_phase_of_the_skip_sees_no_other() -> None:
    layer = SkipGRU(2, 3, 4)
    columns = torch.randn(1, 12, 2, requires_grad=True)
    layer(columns)[0, 3:6].sum().backward()  # the second phase
    assert columns.grad is not None
    touched = columns.grad[0].abs().sum(-1) > 0
    assert touched.tolist() == [t % 4 == 1 for t in range(12)]


def test_a_period_is_learned_through_the_skip() -> None:
    """With no highway to carry it, the recurrence that skips the period learns the shape."""
    rng = np.random.default_rng(1)
    values = 10 + np.tile(rng.normal(0, 1, (9, 2)), (40, 1))
    panel = days_of(values)
    model = dc.models.LSTNet(
        horizon=9, context=40, skip=9, ar=0, calendar=False, dropout=0.0, kernel=1,
        hidden=4, channels=16, learning_rate=1e-2, max_steps=150,
    )  # fmt: skip
    known = panel.drop_last(9)
    median = model.fit(known, progress=False).predict(known, levels=[0.5]).quantiles[..., 0]
    error = np.abs(median - known.future_target(9)).mean()
    flat = np.abs(known.future_target(9) - 10).mean()
    assert error < 0.25 * flat


def test_attention_weighs_steps_by_their_likeness_to_the_last() -> None:
    states = torch.randn(2, 6, 4)
    for batch in range(2):
        likeness = [float(states[batch, s] @ states[batch, -1]) / 2 for s in range(6)]
        sizes = np.exp(likeness)
        weights = sizes / sizes.sum()
        expected = sum(float(weights[s]) * states[batch, s] for s in range(6))
        torch.testing.assert_close(attend(states)[batch], expected)
    alike = torch.ones(1, 5, 4)
    torch.testing.assert_close(attend(alike), torch.ones(1, 4))  # the weights add up to 1


def test_the_convolution_spans_all_series(panel: Panel) -> None:
    """Section 3.2: filters of width k and height m, as one two-dimensional convolution."""
    network, window = window_of(dc.models.LSTNet(horizon=5, context=28), panel)
    _, inputs, _ = network.read_window(window)
    flat = nn.functional.conv2d(
        inputs[:, None], network.conv.weight.transpose(1, 2)[:, None], network.conv.bias
    )  # (batch, channels, columns, 1)
    torch.testing.assert_close(
        network.conv(inputs.transpose(1, 2)), flat[..., 0], atol=1e-5, rtol=1e-5
    )
    assert flat.shape[2] == 28 - 6 + 1


def test_pattern_attention_is_the_papers_in_loops() -> None:
    """Equations 6 to 10: filters along time, a sigmoid for each row, rows weighed and added."""
    width, steps, filters, batch = 5, 7, 3, 2
    layer = TemporalPatternAttention(steps, width, width, filters)
    past, last = torch.randn(batch, steps, width), torch.randn(batch, width)
    c, w = layer.filters.weight, layer.score.weight
    expected = torch.zeros(batch, width)
    for b in range(batch):
        query = w @ last[b]
        found = torch.zeros(filters)
        for i in range(width):
            row = torch.stack(
                [sum(past[b, s, i] * c[j, s] for s in range(steps)) for j in range(filters)]
            )
            alpha = torch.sigmoid(row @ query)
            assert 0 < alpha < 1
            found = found + alpha * row
        expected[b] = layer.own.weight @ last[b] + layer.pattern.weight @ found
    torch.testing.assert_close(layer(past, last), expected)


def test_rows_that_are_shuffled_keep_their_weights() -> None:
    layer = TemporalPatternAttention(7, 5, 5, 3)
    patterns, query, order = torch.randn(2, 5, 3), torch.randn(2, 5), torch.tensor([3, 0, 4, 1, 2])
    weights = layer.weights(patterns, query)
    torch.testing.assert_close(layer.weights(patterns[:, order], query), weights[:, order])
    assert (weights.sum(-1) - 1).abs().max() > 1e-3  # each is for itself: they are not shares


def test_the_highway_alone_fits_a_linear_recursion() -> None:
    """x[t] = 1.6 x[t-1] - .8 x[t-2], exactly: the weights found are those, for one step ahead."""
    x = np.zeros((60, 2))
    x[:2] = [[1.0, -2.0], [0.5, 3.0]]
    for t in range(2, 60):
        x[t] = 1.6 * x[t - 1] - 0.8 * x[t - 2] + 0.1 * np.sin(7.0 * t + np.arange(2))
    values = torch.tensor(x, dtype=torch.float64)
    noise = torch.tensor([[0.1 * np.sin(7.0 * t + i) for i in range(2)] for t in range(60)])
    layer = Highway(2, 1, "D").double()
    past = torch.stack([values[t - 4 : t] for t in range(4, 60)])  # (batch, context, series)
    ahead = values[4:] - noise[4:]
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (layer(past)[:, 0] - ahead).square().mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    weights = (layer.linear.get_buffer("start") + layer.linear.weight).detach()[0]
    torch.testing.assert_close(weights, torch.tensor([-0.8, 1.6]).double(), atol=1e-4, rtol=0)


def test_the_highway_reads_its_last_steps_only() -> None:
    layer = Highway(3, 2, "D")
    x = torch.randn(1, 8, 2)
    assert torch.equal(layer(x), layer(torch.cat([torch.full((1, 5, 2), 9.0), x[:, -3:]], 1)))
    assert layer(x).shape == (1, 2, 2)


def test_the_last_observed_value_is_found() -> None:
    values = torch.tensor([[[1.0, 4.0, 7.0], [2.0, 5.0, 8.0], [3.0, 6.0, 9.0]]])
    seen = torch.tensor([[[True, True, False], [False, True, False], [True, False, False]]])
    assert last_observed(values, seen).tolist() == [[[3.0, 5.0, 0.0]]]


# The whole


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("last_value", [False, True])
def test_the_first_forecast_is_the_season_repeated(
    kind: Any, last_value: bool, panel: Panel
) -> None:
    network, window = window_of(kind(horizon=10, context=28, last_value=last_value), panel)
    median = network.likelihood.quantile(
        network(window), window.scale.expand(4, 10, 3), torch.tensor([0.5])
    )[..., 0]
    season = window.past_target[:, -7:].repeat(1, 2, 1)[:, :10]
    torch.testing.assert_close(median, season, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", BOTH)
def test_without_a_season_it_is_the_last_value(kind: Any, panel: Panel) -> None:
    model = kind(horizon=4, context=28, ar=0, last_value=True)
    holed = replace(panel, target=panel.target.copy())
    holed.target[holed.begins[1] + 57 : holed.begins[1] + 60] = np.nan
    network, window = window_of(model, holed)
    median = network.likelihood.quantile(
        network(window), window.scale.expand(4, 4, 3), torch.tensor([0.5])
    )[..., 0]
    last = window.past_target[:, -1].clone()
    last[0, 1] = window.past_target[0, -4, 1]  # the last three were not observed
    torch.testing.assert_close(median, last[:, None].expand(4, 4, 3), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "hyper"), VARIANTS)
def test_every_variant_learns_all_its_parameters(
    kind: Any, hyper: dict[str, Any], panel: Panel
) -> None:
    network, window = window_of(kind(horizon=5, context=28, dropout=0.0, **hyper), panel)
    with torch.no_grad():  # layers that begin at 0 hide those before them
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    network.loss(window).backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().sum() > 0, label


@pytest.mark.parametrize(("kind", "hyper"), VARIANTS)
def test_every_variant_forecasts(kind: Any, hyper: dict[str, Any], panel: Panel) -> None:
    model = kind(horizon=5, context=28, max_steps=3, **hyper).fit(panel, progress=False)
    forecast = model.predict(panel)
    assert forecast.quantiles.shape == (3, 5, 9)
    assert np.isfinite(forecast.mean).all()


@pytest.mark.parametrize("kind", BOTH)
def test_single_steps_are_all_forecast_one_horizon_ahead(kind: Any, panel: Panel) -> None:
    """Step j of the horizon is the forecast made `horizon` steps before it."""
    model = kind(horizon=4, context=28, max_steps=20, single_step=True, seed=1)
    model.fit(panel, progress=False)
    whole = model.predict(panel, levels=[0.5]).quantiles[..., 0]  # (series, horizon)
    for back in range(4):
        earlier = panel.drop_last(back) if back else panel
        last = model.predict(earlier, levels=[0.5]).quantiles[:, -1, 0]
        np.testing.assert_allclose(whole[:, 3 - back], last, rtol=1e-5)


@pytest.mark.parametrize("kind", BOTH)
def test_series_help_each_other(kind: Any) -> None:
    """One series repeats another's noise two steps later: only a network of both can know."""
    rng = np.random.default_rng(3)
    lead = rng.normal(10, 1, 500)
    panel = days_of(np.stack([lead, np.roll(lead, 2)], 1)[2:])
    model = kind(
        horizon=2, context=6, calendar=False, dropout=0.0, hidden=16, max_steps=200,
        learning_rate=1e-2,
    )  # fmt: skip
    model.fit(panel.drop_last(100), progress=False)
    errors = []
    for back in range(2, 100, 8):
        known = panel.drop_last(back)
        median = model.predict(known, levels=[0.5]).quantiles[1, :, 0]
        errors.append(np.abs(median - known.future_target(2)[1]).mean())
    assert np.mean(errors) < 0.4  # the mean errs by .8, the last value by 1.1


@pytest.mark.parametrize("kind", BOTH)
def test_hard_series_train_without_nan(kind: Any) -> None:
    rng = np.random.default_rng(0)
    noise = rng.random(120)
    values = np.stack([0 * noise, 0 * noise + 7, 1e12 * noise, 1e-9 * noise], 1)
    panel = days_of(values)
    for hyper in ({}, {"likelihood": "student_t"}, {"last_value": True}):
        model = kind(horizon=5, context=20, max_steps=10, batch_size=16, **hyper).fit(
            panel, progress=False
        )
        assert np.isfinite(model.predict(panel).quantiles).all()
        assert model.log.skipped == 0


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("context", [1, 2, 5])
def test_short_contexts_are_read(kind: Any, context: int, panel: Panel) -> None:
    model = kind(horizon=3, context=context, max_steps=2).fit(panel, progress=False)
    assert np.isfinite(model.predict(panel).quantiles).all()


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "likelihood", ["student_t", "hurdle_negative_binomial", "implicit_quantile", "tweedie"]
)
def test_every_kind_of_likelihood_is_learned(kind: Any, likelihood: str, panel: Panel) -> None:
    counts = replace(panel, target=np.round(panel.target))
    model = kind(horizon=7, context=14, likelihood=likelihood, max_steps=25, batch_size=8)
    forecast = model.fit(counts, progress=False).predict(counts)
    assert np.isfinite(forecast.quantiles).all()
    assert model.log.losses[-1][1] < 8  # nats a step


@pytest.mark.parametrize("kind", BOTH)
def test_the_last_stamps_are_watched(kind: Any, panel: Panel) -> None:
    model = kind(horizon=5, context=28, max_steps=20, validation=30, validate_every=5)
    model.fit(panel, progress=False)
    assert len(model.log.validation) == 4
    # what is held out is not learned from: other values there change the score and not the steps
    spoiled = replace(panel, target=panel.target.copy())
    for begin, length in zip(panel.begins, panel.lengths, strict=True):
        spoiled.target[begin + length - 30 : begin + length] += 100
    again = kind(horizon=5, context=28, max_steps=20, validation=30, validate_every=5)
    again.fit(spoiled, progress=False)
    assert again.log.losses == model.log.losses
    assert again.log.validation != model.log.validation


def test_settings_that_cannot_be_are_named(panel: Panel) -> None:
    with pytest.raises(
        dc.errors.ConfigError, match="skip is 24; it must be 0 or None where attention"
    ):
        dc.models.LSTNet(horizon=3, skip=24, attention=True)
    with pytest.raises(dc.errors.ConfigError, match="skip is 1; it must be 2 steps or more"):
        dc.models.LSTNet(horizon=3, skip=1)
    with pytest.raises(dc.errors.ConfigError, match=r"23 columns.*context=29 or more"):
        dc.models.LSTNet(horizon=3, context=28, skip=24).fit(panel, progress=False)
    with pytest.raises(dc.errors.ConfigError, match="ar is -1"):
        dc.models.TPALSTM(horizon=3, ar=-1)
    with pytest.raises(dc.errors.ConfigError, match="hidden is 0"):
        dc.models.TPALSTM(horizon=3, hidden=0)
