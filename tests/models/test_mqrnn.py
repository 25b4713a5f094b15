"""The decoder that the first PyTorch versions of MQ-RNN had, against itself in a plain loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import demandcast as dc
from demandcast.models.mqrnn import LegacyDecoder
from demandcast.panel.panel import Panel
from demandcast.windows.window import Window

KINDS = (dc.models.MQRNN, dc.models.MQCNN)


class PlainLoop(nn.Module):
    """A step of the horizon at a time, nothing shared: N series, hidden D, F covariates, contexts of K."""

    def __init__(self, d: int, f: int, k: int, h: int, q: int) -> None:
        super().__init__()
        self.h, self.k = h, k
        self.global_mlp = nn.Linear(h * (f + d), (h + 1) * k)
        self.local_mlp = nn.Linear(2 * k + f, q)

    def forward(self, ht: Tensor, xf: Tensor) -> Tensor:
        rows = []
        for n in range(len(ht)):
            steps = [torch.cat([xf[n, i], ht[n]]) for i in range(self.h)]
            contexts = self.global_mlp(torch.cat(steps))
            agnostic = contexts[self.h * self.k :]
            y = []
            for i in range(self.h):
                own = torch.relu(contexts[i * self.k : (i + 1) * self.k])
                y.append(self.local_mlp(torch.cat([xf[n, i], own, agnostic])))
            rows.append(torch.stack(y))
        return torch.stack(rows)


@pytest.mark.parametrize(("n", "d", "f", "k", "h", "q"), [(4, 6, 3, 5, 7, 11), (1, 2, 1, 1, 1, 3)])
def test_the_legacy_decoder_is_the_plain_loop(
    n: int, d: int, f: int, k: int, h: int, q: int
) -> None:
    torch.manual_seed(0)
    plain, ours = PlainLoop(d, f, k, h, q), LegacyDecoder(d, f, k, h, q)
    for theirs, mine in zip(plain.parameters(), ours.parameters(), strict=True):
        assert theirs.shape == mine.shape
        mine.data.copy_(theirs.data)
    ht, xf = torch.randn(n, d), torch.randn(n, h, f)
    assert ours(ht, xf).shape == plain(ht, xf).shape == (n, h, q)
    torch.testing.assert_close(ours(ht, xf), plain(ht, xf))


def test_only_the_contexts_of_steps_are_rectified() -> None:
    """A context of no step that is negative still reaches every step's quantiles."""
    decoder = LegacyDecoder(2, 1, 3, 4, 5)
    with torch.no_grad():
        decoder.global_layer.weight.zero_()
        decoder.global_layer.bias.fill_(-1.0)
        decoder.local_layer.weight.fill_(1.0)
        decoder.local_layer.bias.zero_()
    y = decoder(torch.ones(1, 2), torch.zeros(1, 4, 1))
    torch.testing.assert_close(y, torch.full((1, 4, 5), -3.0))  # 3 of -1; relu(-1) is 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_of_the_legacy_decoder_learns(
    kind: type[dc.models.MQRNN], promotions: Panel, tmp_path: Path
) -> None:
    known = promotions.drop_last(14)
    hyper = {"max_steps": 80, "learning_rate": 2e-2, "batch_size": 16}
    model = kind(horizon=14, context=28, legacy_decoder=True, **hyper)
    before = dict(model.build(known)[0].state_dict())
    forecast = model.fit(known, progress=False).predict(known, levels=[0.5])
    assert model.network is not None
    for label, learned in model.network.named_parameters():
        assert not torch.equal(learned, before[label]), label
    # an ideal forecast errs by the noise, .8 a day; one that sees no promotions by 6 and more
    error = np.abs(forecast.quantiles[..., 0] - known.future_target(14)).mean()
    assert error < 3.0
    model.save(tmp_path)
    again = dc.load(tmp_path).predict(known, levels=[0.5])
    np.testing.assert_array_equal(forecast.quantiles, again.quantiles)


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_decoder_is_another(kind: type[dc.models.MQRNN], promotions: Panel) -> None:
    legacy, _, _ = kind(horizon=14, context=28, legacy_decoder=True).build(promotions)
    ours, _, _ = kind(horizon=14, context=28).build(promotions)
    assert not [n for n, _ in ours.named_parameters() if n.startswith("legacy")]
    assert not [
        n for n, _ in legacy.named_parameters() if n.startswith(("global_mlp", "local_", "ahead"))
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_no_fork_is_scaled_by_its_own_future(
    kind: type[dc.models.MQRNN], promotions: Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In training a window's scale is that of the steps before its first fork."""
    seen = []
    loss = kind.Net.loss

    def watched(self: Any, window: Window) -> Tensor:
        seen.append(window)
        return loss(self, window)

    monkeypatch.setattr(kind.Net, "loss", watched)
    kind(horizon=7, context=28, forks=8, max_steps=4, batch_size=16, scaling="mean_abs").fit(
        promotions, progress=False
    )
    compared = 0
    for window in seen:
        assert window.past_target.shape[1] == 28 + 7
        known = window.past_observed[:, :28]
        size = (window.past_target[:, :28].abs() * known).sum(1) / known.sum(1)
        torch.testing.assert_close(window.scale[:, 0], size)
        compared += len(window)
    assert compared >= 4 * 16


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_that_copies_the_demand_changes_nothing(
    kind: type[dc.models.MQRNN], promotions: Panel
) -> None:
    plain, source, plan = kind(horizon=7, context=28).build(promotions)
    demand = 2 + len(plan.lags)
    embedded = kind(horizon=7, context=28, input_embedding=demand).build(promotions)[0]
    embedded.load_state_dict(plain.state_dict(), strict=False)
    window, cutoff = source.latest(torch.arange(3)), torch.tensor([28 + 7])
    with torch.no_grad():
        embedded.embedding.weight.copy_(torch.eye(demand))
        embedded.embedding.bias.zero_()
        expected = plain.eval()(window, cutoff)
        torch.testing.assert_close(embedded.eval()(window, cutoff), expected)
    narrow = kind(horizon=7, context=28, input_embedding=1).build(promotions)[0]
    assert narrow.embedding.weight.shape == (1, demand)
    with pytest.raises(dc.errors.ConfigError, match="input_embedding is 0"):
        kind(horizon=7, input_embedding=0)
