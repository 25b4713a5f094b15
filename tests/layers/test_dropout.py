"""Variational dropout: one mask for all steps of a sequence, and the same thinned networks for every window."""

from __future__ import annotations

import torch

from demandcast.layers.dropout import SequenceDropout


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
