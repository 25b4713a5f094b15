"""What TFT claims: gates pass over, heads share values, and what it looked at can be told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

import demandcast as dc
from demandcast.errors import ConfigError, DataError, NotFittedError
from demandcast.models.tft import (
    Explanation,
    GatedResidual,
    InterpretableAttention,
    VariableSelection,
)
from demandcast.panel.panel import Panel


@pytest.fixture(scope="module")
def shop(promotions: Panel) -> Panel:
    """Promotions that move demand, beside a known covariate and a past one of pure noise."""
    rng, rows = np.random.default_rng(1), len(promotions.target)
    noise = rng.normal(size=(rows, 1)).astype(np.float32)
    known = np.concatenate([noise, promotions.known], 1)
    schema = replace(promotions.schema, known=("noise", "promo"), past=("visits",))
    past = rng.normal(size=(rows, 1)).astype(np.float32)
    return replace(
        promotions, schema=schema, known=known, known_names=("noise", "promo"),
        past=past, past_names=("visits",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fitted(shop: Panel) -> tuple[dc.models.TFT, Panel]:
    known = shop.drop_last(14)
    hyper = {"hidden": 16, "max_steps": 120, "learning_rate": 1e-2, "batch_size": 16}
    model = dc.models.TFT(horizon=14, context=28, **hyper)
    model.fit(known, progress=False)
    return model, known


def test_a_closed_gate_passes_the_input_on() -> None:
    """Section 4.1: where a gate is shut the layer is its skip connection, normed."""
    layer = GatedResidual(5, 8, 5, 0.0, context=3)
    x, context = torch.randn(4, 6, 5), torch.randn(4, 3)
    assert not torch.allclose(layer(x, context), layer.norm(x))
    with torch.no_grad():
        layer.gate.bias[5:] = -1e4  # the sigmoid of the gate
    torch.testing.assert_close(layer(x, context), layer.norm(x))


def test_a_static_vector_reaches_every_step() -> None:
    layer = GatedResidual(5, 8, 5, 0.0, context=3)
    x, context = torch.randn(2, 6, 5), torch.randn(2, 3)
    moved = layer(x, context + torch.tensor([[1.0, 0, 0], [0, 0, 0]])) - layer(x, context)
    assert (moved[0].abs().amax(-1) > 1e-5).all()
    assert (moved[1] == 0).all()


def test_heads_share_their_values() -> None:
    """Equations 14 to 16, head by head in a loop."""
    layer = InterpretableAttention(8, 4, 0.0)
    x = torch.randn(3, 10, 8)
    found, attention = layer(x[:, 6:], x)
    loops = []
    for head in range(4):
        part = slice(2 * head, 2 * head + 2)
        score = layer.query(x[:, 6:])[..., part] @ layer.key(x)[..., part].transpose(1, 2) / 2**0.5
        for i in range(4):
            score[:, i, 7 + i :] = -torch.inf
        loops.append(score.softmax(-1))
    torch.testing.assert_close(attention, sum(loops) / 4)
    heads = [layer.out(loop @ layer.value(x)) for loop in loops]
    torch.testing.assert_close(found, sum(heads) / 4)


def test_no_step_sees_one_behind_it() -> None:
    layer, x = InterpretableAttention(8, 2, 0.0), torch.randn(1, 10, 8)
    later = x.clone()
    later[:, 8:] += 1
    first, second = layer(x[:, 6:], x)[0], layer(later[:, 6:], later)[0]
    torch.testing.assert_close(first[:, :2], second[:, :2])
    assert not torch.allclose(first[:, 2:], second[:, 2:])


def test_a_variable_is_read_from_its_own_columns_and_the_weights_add_up() -> None:
    layer = VariableSelection([0, 0, 1, 2], 8, 0.0, 5)
    x, context = torch.randn(4, 6, 4), torch.randn(4, 5)
    chosen, weights = layer(x, context)
    assert chosen.shape == (4, 6, 8)
    torch.testing.assert_close(weights.sum(-1), torch.ones(4, 6))
    other = x.clone()
    other[..., 1] += 1  # the second column of variable 0
    for part in (layer.embed, layer.inner):
        moved = (part(other) - part(x)).abs().amax((0, 1, 3))  # (variables,)
        assert moved[0] > 0
        assert (moved[1:] == 0).all()


def test_only_one_variable_counts_where_its_weight_is_one() -> None:
    layer = VariableSelection([0, 1, 1, 2], 8, 0.0, 0)
    with torch.no_grad():
        layer.choose.gate.weight.zero_()
        layer.choose.skip.weight.zero_()
        layer.choose.norm.bias.copy_(torch.tensor([0.0, 50.0, 0.0]))
    x = torch.randn(5, 4)
    other = x + torch.tensor([1.0, 0.0, 0.0, 1.0])
    torch.testing.assert_close(layer(x)[0], layer(other)[0])


def test_what_it_looked_at_is_told(fitted: tuple[dc.models.TFT, Panel]) -> None:
    model, known = fitted
    seen = model.explain(known)
    assert isinstance(seen, Explanation)
    kinds = seen.importances.group_by("kind").agg(pl.col("weight").sum())
    np.testing.assert_allclose(kinds["weight"], 1.0, rtol=1e-4)
    names = {
        kind: set(seen.importances.filter(kind=kind)["variable"])
        for kind in ("static", "past", "future")
    }
    calendar = {"day_of_week", "day_of_month", "day_of_year", "age"}
    assert names["static"] == {"scale", "level"}
    assert names["past"] == calendar | {"target", "visits", "noise", "promo"}
    assert names["future"] == calendar | {"season", "noise", "promo"}


def test_what_moves_demand_weighs_more_than_noise(fitted: tuple[dc.models.TFT, Panel]) -> None:
    model, known = fitted
    future = model.explain(known).importances.filter(kind="future")
    weight = dict(zip(future["variable"], future["weight"], strict=True))
    assert weight["promo"] > 2 * weight["noise"]
    assert future["variable"][0] == "promo"  # the largest first


def test_attention_is_told_by_lag(fitted: tuple[dc.models.TFT, Panel]) -> None:
    model, known = fitted
    seen = model.explain(known)
    assert seen.attention["lag"].to_list() == list(range(14 + 28))
    np.testing.assert_allclose(seen.attention["weight"].sum(), 1.0, rtol=1e-4)
    steps = seen.attention_by_step.group_by("step").agg(
        pl.col("weight").sum(), pl.col("lag").max().alias("furthest"), pl.len()
    ).sort("step")  # fmt: skip
    np.testing.assert_allclose(steps["weight"], 1.0, rtol=1e-4)
    assert steps["furthest"].to_list() == [28 + step - 1 for step in range(1, 15)]
    assert steps["len"].to_list() == [28 + step for step in range(1, 15)]
    one = model.explain(known.select([2]))
    assert not one.attention.equals(seen.attention)
    assert model.network is not None
    source = model._source(known, model.features, model.plan)  # type: ignore[arg-type]
    weights = model.network.attend(source.latest(torch.tensor([2])))[1]  # type: ignore[operator]
    last = one.attention_by_step.filter(step=14).sort("lag", descending=True)["weight"]
    np.testing.assert_allclose(last, weights["attention"][0, -1].detach(), rtol=1e-5)


def test_explaining_needs_what_predicting_needs(
    fitted: tuple[dc.models.TFT, Panel], shop: Panel
) -> None:
    with pytest.raises(NotFittedError, match="fit"):
        dc.models.TFT(horizon=14).explain(shop)
    model, _ = fitted
    with pytest.raises(DataError, match=r"'noise', 'promo'.*future="):
        model.explain(shop)


def test_heads_must_share_the_width() -> None:
    with pytest.raises(ConfigError, match="5 heads cannot share"):
        dc.models.TFT(horizon=7, heads=5)
