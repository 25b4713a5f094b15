"""Weights of a file are given to a network that is built in no more memory than the file has weights for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from demandcast.errors import CheckpointError
from demandcast.train.checkpoint import (
    read_tensors,
    reading_facts,
    restore_network,
    take,
    write_tensors,
)

LARGE = {
    "a layer": lambda: nn.Linear(10**7, 10**4),
    "draws": lambda: torch.randn(10**6, 10**6),
    "a range": lambda: torch.arange(10**12),
    "steps": lambda: torch.linspace(0, 1, 10**12),
    "an identity": lambda: torch.eye(10**7),
    "a product": lambda: torch.ones(10**7)[:, None] * torch.ones(10**7),
    "many layers": lambda: nn.ModuleList(nn.Linear(1, 1) for _ in range(10**9)),
}


class Holds(nn.Linear):
    """A layer that has made something large on its way."""

    def __init__(self, make: Callable[[], Tensor | nn.Module]) -> None:
        super().__init__(3, 2)
        self.made = make()


@pytest.mark.parametrize("make", LARGE.values(), ids=LARGE)
def test_sizes_that_the_file_has_no_weights_for_take_no_memory(
    make: Callable[[], Tensor | nn.Module],
) -> None:
    tensors = nn.Linear(3, 2).state_dict()
    with pytest.raises(
        CheckpointError, match=r"do not fit .*more (values|parameters|modules) than"
    ):
        restore_network(lambda: Holds(make), tensors, Path("weights"))


def test_weights_of_another_network_are_named() -> None:
    tensors = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    assert torch.equal(
        restore_network(lambda: nn.Linear(3, 2), tensors, Path("w")).bias, tensors["bias"]
    )
    for found, wrong in ((nn.Linear(3, 2, bias=False), "bias"), (nn.Linear(4, 2), "weight")):
        with pytest.raises(CheckpointError, match=f"{wrong} is .*, and should be"):
            restore_network(lambda found=found: found, tensors, Path("w"))  # type: ignore[misc]


def test_tensors_are_taken_by_name_shape_and_type() -> None:
    like = {"a": torch.zeros(2), "b": torch.zeros(1, dtype=torch.int64)}
    found = {"a": torch.ones(2), "b": torch.ones(1, dtype=torch.int64), "c": torch.ones(9)}
    assert take(found, like).keys() == like.keys()
    for change, said in (
        ({"a": torch.ones(3)}, r"a is torch.float32 \(3,\), and should be torch.float32 \(2,\)"),
        ({"b": torch.ones(1)}, "b is torch.float32 .*should be torch.int64"),
    ):
        with pytest.raises(ValueError, match=said):
            take(found | change, like)
    del found["b"]
    with pytest.raises(ValueError, match="it has no b"):
        take(found, like)


def test_a_file_is_read_back_or_refused_where_a_bit_differs(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    tensors = {"a": torch.arange(5.0), "b": torch.tensor([True, False]), "none": torch.zeros(0, 3)}
    write_tensors(path, tensors, {"steps": 3})
    back, facts = read_tensors(path)
    assert facts == {"steps": 3}
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], value) for name, value in tensors.items())
    whole = path.read_bytes()
    for place in (
        len(whole) - 1,
        len(whole) - 8,
        whole.index(b"steps"),
        whole.index(b"digest") + 12,
    ):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match="is damaged"):
            read_tensors(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="is damaged"):
        read_tensors(path)
    with pytest.raises(CheckpointError, match="is not a file"):
        read_tensors(tmp_path)


def test_a_network_has_at_most_a_hundred_modules_for_each_weight_and_a_hundred_more() -> None:
    """Most have no weights of their own; a damaged manifest could ask for any number."""

    def build(modules: int) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 1, bias=False), *(nn.Identity(),) * (modules - 1))

    weights = {"0.weight": torch.ones(1, 2)}
    network = restore_network(lambda: build(200), weights, Path("here"))
    assert torch.equal(network.get_parameter("0.weight"), weights["0.weight"])
    with pytest.raises(CheckpointError, match="more modules than the file has weights for"):
        restore_network(lambda: build(201), weights, Path("here"))


def test_of_a_long_reason_three_hundred_letters_are_shown() -> None:
    """An error of torch about many weights fills pages."""

    def fail() -> nn.Module:
        raise ValueError("x" * 1000)

    with pytest.raises(CheckpointError, match=r"\(x{300}\)"), reading_facts(Path("here")):
        fail()
    with pytest.raises(CheckpointError, match=r"\(x{300}\)"):
        restore_network(fail, {}, Path("here"))
