"""AdamW takes the steps of torch's own, and neither training, loading nor forecasts import torch's compiler."""

from __future__ import annotations

from multiprocessing.context import ForkServerContext

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from demandcast.train.adamw import AdamW
from demandcast.train.fit import fit

EVERY_NETWORK = """
import sys, tempfile
import demandcast as dc
from demandcast import registry
from demandcast.frames.examples import retail
from demandcast.models.base import NeuralForecaster

panel = dc.read_panel(retail(n_items=3, n_days=90, seed=1).frame, key="item", target="units")
for name, kind in registry.classes().items():
    if issubclass(kind, NeuralForecaster):
        model = kind(horizon=3, context=14, max_steps=1, batch_size=2)
        model.fit(panel, progress=False)
        with tempfile.TemporaryDirectory() as folder:
            model.save(folder)
            dc.load(folder).predict(panel)
        assert "torch._dynamo" not in sys.modules, name
dc.models.ZeroShot(horizon=3).predict(panel)
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_steps_are_those_of_torch(decay: float) -> None:
    """To the bit, with a rate that changes and a weight that has no gradient at first."""
    networks = [nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    ours = AdamW([*networks[0].parameters()], rate=0.1, weight_decay=decay)
    torchs = torch.optim.AdamW(networks[1].parameters(), lr=0.1, weight_decay=decay, fused=True)
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    for step in range(6):
        ours.rate = torchs.param_groups[0]["lr"] = 0.1 / (1 + step)
        for network, optimiser in zip(networks, (ours, torchs), strict=True):
            optimiser.zero_grad()
            network(x).square().mean().backward()
            if step < 2:
                network[0].bias.grad = None
            optimiser.step()
        for one, other in zip(*(net.parameters() for net in networks), strict=True):
            assert torch.equal(one, other)
    state = torchs.state_dict()["state"]
    kept: dict[str, Tensor] = {
        f"optimiser.{i}.{name}": value
        for i, slots in state.items()
        for name, value in slots.items()
    }
    assert ours.tensors().keys() == kept.keys()
    assert all(torch.equal(value, kept[name]) for name, value in ours.tensors().items())
    again = AdamW([*networks[0].parameters()], rate=0.1, weight_decay=decay)
    again.restore(ours.tensors())
    assert again.tensors().keys() == kept.keys()


def test_moments_lie_beside_their_weight_and_the_count_of_steps_where_it_is_read() -> None:
    """Without a fused step the host reads the count: on the device each step would wait for it."""
    device = torch.device("meta")  # has no fused step, and needs no hardware
    weight = nn.Parameter(torch.zeros(3, device=device))
    stepped = AdamW([weight], rate=0.1, weight_decay=0.0)
    weight.grad = torch.ones(3, device=device)
    stepped.step()
    restored = AdamW([weight], rate=0.1, weight_decay=0.0)
    restored.restore(stepped.tensors())
    places = {"step": "cpu", "exp_avg": "meta", "exp_avg_sq": "meta"}
    for optimiser in (stepped, restored):
        assert {n: m.device.type for n, m in optimiser.moments[0].items()} == places


def test_the_compiler_of_torch_is_not_imported(forks: ForkServerContext) -> None:
    """It takes a process over a second of CPU; see `train.adamw` and `layers.generators.GeneratorMode`."""
    child = forks.Process(target=exec, args=(EVERY_NETWORK, {}))
    child.start()
    child.join(100)
    assert child.exitcode == 0


def test_a_compiled_network_trains_as_the_network_does() -> None:
    """The mode that supplies its dropout is exempt from the compiler, warnings and all."""
    x = torch.linspace(-1, 1, 60).view(20, 3)
    data = TensorDataset(x, x.sum(1, keepdim=True))
    sums = []
    for compiled in (False, True):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1))
        model = torch.compile(network, backend="eager") if compiled else network
        fit(model, data, nn.functional.mse_loss, max_steps=4, batch_size=8, device="cpu", progress=False)  # type: ignore[arg-type]  # fmt: skip
        sums.append([weight.detach() for weight in network.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*sums, strict=True))
