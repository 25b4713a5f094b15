"""What DeepAR claims: it starts as the season repeated, knows no level, and learns from its own draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import demandcast as dc
from demandcast.draws.tensors import TensorDraws
from demandcast.panel.panel import Panel


def test_the_first_forecast_is_the_shortest_season_repeated(promotions: Panel) -> None:
    network, source, _ = dc.models.DeepAR(horizon=7, context=28).build(promotions)
    network.eval()
    window = source.latest(torch.arange(3))
    with torch.no_grad():
        paths = network.sample(
            window, 400, TensorDraws.of(promotions.keys[:3], 0)
        )  # (3, 400, horizon)
    season = window.past_target[:, -7:]
    # paths start with the spread of the scale, and a median of 400 errs by a twentieth of it; the
    # untrained LSTM adds a tenth of its usual say
    away = (paths.median(1).values - season).abs() / window.scale
    assert float(away.max()) < 0.5


def test_it_begins_as_the_season_it_is_told(promotions: Panel) -> None:
    network, _, plan = dc.models.DeepAR(horizon=7, context=28, season=14).build(promotions)
    middle = network.skip.weight[1].detach()  # of the location
    assert [lag for lag, w in zip(plan.lags, middle, strict=True) if float(w)] == [14]
    network, _, _ = dc.models.DeepAR(horizon=7, context=28, season=[7, 14]).build(promotions)
    middle = network.skip.weight[1].detach()
    assert {lag: float(w) for lag, w in zip(plan.lags, middle, strict=True) if float(w)} == {
        7: 0.5,
        14: 0.5,
    }
    with pytest.raises(dc.errors.ConfigError, match="season is 12 steps, which none of the lags"):
        dc.models.DeepAR(horizon=7, context=28, season=(7, 12)).build(promotions)
    for wrong in (0, 7.0, (7, 0), True):
        with pytest.raises(dc.errors.ConfigError, match=r"season .*must be a whole number"):
            dc.models.DeepAR(horizon=7, season=wrong)


def test_a_level_added_is_a_level_added_to_the_forecast(promotions: Panel) -> None:
    known = promotions.drop_last(7)
    model = dc.models.DeepAR(horizon=7, context=28, likelihood="normal", max_steps=20)
    model.fit(known, progress=False)
    raised = replace(known, target=known.target + 64)
    np.testing.assert_allclose(
        model.predict(raised).quantiles - 64, model.predict(known).quantiles, rtol=0, atol=0.01
    )  # float32 at 128 has 8e-6, drawn on seven times by a network


def test_own_draws_take_the_place_of_lags_behind_the_cutoff(promotions: Panel) -> None:
    lags, horizon, context = (1, 7), 10, 28
    model = dc.models.DeepAR(horizon=horizon, context=context, lags=lags, own_draws=1.0)
    network, source, _ = model.build(promotions)
    series, ends = torch.arange(3), source.lengths[:3]
    window = source.windows(series, ends - horizon, ends)
    inputs = network.inputs(window)
    _, state = network.lstm(inputs[:, :context])
    true = inputs[:, context:]
    fed = network.feed_own_draws(window, true, state)  # (3, horizon, width)
    for place, lag in enumerate(lags):
        changed = (fed[..., place] != true[..., place]).all(0)  # (horizon,)
        assert changed.tolist() == [step >= lag for step in range(horizon)]
    torch.testing.assert_close(fed[..., 2:], true[..., 2:])  # covariates are known
    # one drawn value is the same at every lag it is read from
    torch.testing.assert_close(fed[:, 1:4, 0], fed[:, 7:10, 1])


def test_without_own_draws_training_is_teacher_forcing(promotions: Panel) -> None:
    model = dc.models.DeepAR(horizon=10, context=28, own_draws=0.0, dropout=0.0)
    network, source, _ = model.build(promotions)
    ends = source.lengths[:3]
    window = source.windows(torch.arange(3), ends - 10, ends)
    taught = network.train().loss(window)
    torch.testing.assert_close(taught, network.eval().loss(window))


def test_a_share_of_own_draws_lies_between_none_and_all() -> None:
    with pytest.raises(
        dc.errors.ConfigError, match=r"own_draws is 1\.5; it must be between 0 and 1"
    ):
        dc.models.DeepAR(horizon=7, own_draws=1.5)


def _repeats(network: torch.nn.Module, lags: tuple[int, ...], lag: int) -> None:
    """Let a network forecast the value so many steps back plus a quarter of the scale, almost surely."""
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.25, -30.0]))  # of the normal: location, width
        network.skip.weight.zero_()
        network.skip.weight[0, lags.index(lag)] = 1.0


@pytest.mark.parametrize("lag", [1, 3])
def test_a_draw_is_fed_back_after_exactly_its_lag(promotions: Panel, lag: int) -> None:
    """In forecasts and in training alike: a draw that comes a step late is another's lag."""
    lags, horizon, context = (1, 3), 4, 28
    model = dc.models.DeepAR(
        horizon=horizon, context=context, lags=lags, likelihood="normal", own_draws=1.0
    )
    network, source, _ = model.build(promotions)
    _repeats(network.eval(), lags, lag)
    ends = source.lengths[:3]
    window = source.windows(torch.arange(3), ends - horizon, ends)
    values = network.scale_context(window)  # (3, context), grows step by step
    for _ in range(horizon):
        values = torch.cat([values, values[:, -lag, None] + 0.25], 1)
    with torch.no_grad():
        paths = network.sample(window, 2, TensorDraws.of(promotions.keys[:3], 0))
        inputs = network.inputs(window)
        _, state = network.lstm(inputs[:, :context])
        fed = network.feed_own_draws(window, inputs[:, context:], state)
    drawn = (paths - window.level[..., None]) / window.scale[..., None]  # (3, 2, horizon)
    expected = values[:, None, context:].expand_as(drawn)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=2e-3)  # the width's floor is 1e-4
    for place, back in enumerate(lags):  # four passes reach all of four steps
        own = values[:, context - back : context - back + horizon]
        torch.testing.assert_close(fed[:, back:, place], own[:, back:], rtol=0, atol=2e-3)


def test_every_step_of_the_window_is_learned_from(promotions: Panel) -> None:
    """The context's steps as the horizon's: the loss is their mean, worked out one after the other."""
    model = dc.models.DeepAR(horizon=10, context=28, likelihood="normal")
    network, source, _ = model.build(promotions)
    network.eval()
    ends = source.lengths[:3]
    window = source.windows(torch.arange(3), ends - 10, ends)
    target = torch.cat([window.past_target, window.future_target], 1)  # (3, 38)
    inputs, state, losses = network.inputs(window), None, []
    with torch.no_grad():
        for step in range(target.shape[1]):
            hidden, state = network.lstm(inputs[:, step : step + 1], state)
            location, width = network.params(
                inputs[:, step], hidden[:, 0], (window.level / window.scale)[:, 0]
            ).unbind(-1)
            width = (torch.nn.functional.softplus(width) + 1e-4) * window.scale[:, 0]
            normal = torch.distributions.Normal(location * window.scale[:, 0], width)
            losses.append(-normal.log_prob(target[:, step]))
        torch.testing.assert_close(network.loss(window), torch.stack(losses).mean())
    assert int(network.weight(window)) == target.numel()


def test_an_embedding_that_copies_the_lags_changes_nothing(promotions: Panel) -> None:
    plain, source, plan = dc.models.DeepAR(horizon=7, context=28).build(promotions)
    lags = len(plan.lags)
    embedded = dc.models.DeepAR(horizon=7, context=28, input_embedding=lags).build(promotions)[0]
    weights = plain.state_dict()
    assert set(embedded.state_dict()) - set(weights) == {
        "lstm.embedding.weight", "lstm.embedding.bias"
    }  # fmt: skip
    embedded.load_state_dict(weights, strict=False)
    with torch.no_grad():
        embedded.lstm.embedding.weight.copy_(torch.eye(lags))
        embedded.lstm.embedding.bias.zero_()
        window = source.latest(torch.arange(3))
        paths = [
            network.eval().sample(window, 3, TensorDraws.of(promotions.keys[:3], 0))
            for network in (plain, embedded)
        ]
    torch.testing.assert_close(*paths)
    wide = dc.models.DeepAR(horizon=7, context=28, input_embedding=64).build(promotions)[0]
    assert wide.lstm.input_size == plain.lstm.input_size - lags + 64
    with pytest.raises(dc.errors.ConfigError, match="input_embedding is 0"):
        dc.models.DeepAR(horizon=7, input_embedding=0)
