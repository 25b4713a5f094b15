"""Dropout: the right share at the right size; and one mask for all steps of a sequence."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from demandcast.layers.dropout import Dropout, SequenceDropout
from demandcast.layers.lstm import LSTM


@pytest.mark.parametrize("p", [0.0, 0.003, 0.1, 0.5, 0.9, 1.0])
def test_a_share_is_left_out_and_the_rest_makes_up_for_it(p: float) -> None:
    torch.manual_seed(0)
    x = torch.ones(401, 499, requires_grad=True)
    thinned = Dropout(p).train()(x)
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(float((thinned == 0).float().mean()) - p) <= 5 * deviation + 1 / 65536
    if p < 1:
        kept = thinned[thinned > 0]
        torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)
    thinned.sum().backward()
    torch.testing.assert_close(x.grad, thinned.detach())  # the same mask backwards
    assert torch.equal(Dropout(p).eval()(x), x)


def test_entries_are_left_out_one_without_the_other() -> None:
    """Neighbours are cut from one word of random bits, and rows from words in a row."""
    torch.manual_seed(0)
    gone = (Dropout(0.3).train()(torch.ones(1000, 400)) == 0).double() - 0.3
    for a, b in ((gone[:, 1:], gone[:, :-1]), (gone[:, 4:], gone[:, :-4]), (gone[1:], gone[:-1])):
        assert abs(float((a * b).mean())) < 5 * 0.21 / a.numel() ** 0.5


def test_the_same_seed_leaves_out_the_same() -> None:
    layer, x, other = Dropout(0.5).train(), torch.ones(64), torch.Generator()
    torch.manual_seed(1)
    first = layer(x)
    assert not torch.equal(layer(x), first)
    torch.manual_seed(1)
    torch.rand(3, generator=other)
    assert torch.equal(layer(x), first)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_of_lstm_are_those_of_pytorch(layers: int) -> None:
    torch.manual_seed(0)
    ours, x = LSTM(5, 8, layers, 0.4), torch.randn(3, 7, 5)
    theirs = nn.LSTM(5, 8, layers, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    state = theirs(x)[1]
    for hx in (None, state):
        torch.testing.assert_close(ours.eval()(x, hx), theirs(x, hx), rtol=0, atol=0)
    thinned = ours.train()(x, state)
    assert torch.equal(thinned[0], theirs(x, state)[0]) == (layers == 1)
    ours.dropout = 1e-9  # the way of training, with nothing left out
    torch.testing.assert_close(ours(x, state), theirs(x, state), rtol=0, atol=0)


def test_one_mask_for_all_steps_another_for_each_sequence() -> None:
    torch.manual_seed(0)
    layer = SequenceDropout(0.25).train()
    thinned = layer(torch.ones(200, 7, 30))
    assert torch.equal(thinned, thinned[:, :1].expand_as(thinned))
    assert not torch.equal(thinned[0], thinned[1])
    assert set(thinned.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(float((thinned == 0).float().mean()) - 0.25) < 0.02  # 6,000 masks: four deviations


def test_passes_are_the_same_networks_for_every_window() -> None:
    layer = SequenceDropout(0.5).eval()
    x = torch.ones(3 * 4, 5, 16)
    thinned = layer(x, passes=4, generator=torch.Generator().manual_seed(1)).view(3, 4, 5, 16)
    assert torch.equal(thinned[0], thinned[2])
    assert not torch.equal(thinned[0, 0], thinned[0, 1])
    one = layer(torch.ones(4, 5, 16), passes=4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(one, thinned[1])


def test_nothing_is_left_out_of_a_plain_forecast() -> None:
    x = torch.randn(2, 3, 4)
    assert torch.equal(SequenceDropout(0.5).eval()(x), x)
    assert torch.equal(SequenceDropout(0.0).train()(x), x)
