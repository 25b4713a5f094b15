"""Keyed draws as tensors, on the device where the series' starts lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from demandcast.draws.arrays import Draws
from demandcast.draws.keyed import EXACT, GOLDEN, LAST_SHIFT, MIX, STIRLING, Keyed

BELOW_ONE = 1 - 2**-24  # in float32, which rounds levels near 1 up to it


class TensorDraws(Keyed):
    """Draws of n series as tensors: those of `Draws`, but for the rounding of logarithms.

    On the CPU they are `Draws`, for numpy takes a third of the time of torch's many small operators.
    """

    xp = torch

    @classmethod
    def of(cls, keys: pl.DataFrame, seed: int, device: torch.device | str = "cpu") -> TensorDraws:
        """One stream a row of the key columns."""
        return cls(torch.from_numpy(Draws.of(keys, seed).starts.view(np.int64)).to(device))

    def _drawn(self, draw: Callable[..., Any], shape: Sequence[int], *given: Any) -> Any:
        if self.starts.device.type == "cpu":
            host = Draws(self.starts.numpy().view(np.uint64))
            return torch.from_numpy(
                host._drawn(draw, shape, *(part.detach().numpy() for part in given))
            )
        return self._on_device(draw, shape, *given)

    def _on_device(self, draw: Callable[..., Any], shape: Sequence[int], *given: Any) -> Any:
        shape = torch.Size(shape)
        each = shape.numel() // max(1, len(self))
        steps = torch.arange(each, device=self.starts.device) * _signed(GOLDEN)
        counters = (self.starts[:, None] + steps).flatten()
        return draw(self, counters, *(part.double().flatten() for part in given)).view(shape)

    def _constant(self, value: int) -> Any:
        return _signed(value)

    def _mixed(self, counters: Any) -> Any:
        bits = counters
        for shift, factor in MIX:
            bits = (bits ^ _shifted(bits, shift)) * _signed(factor)
        return bits ^ _shifted(bits, LAST_SHIFT)

    def _unit(self, bits: Any) -> Any:
        return (_shifted(bits, 12).double() + 0.5) * 2.0**-52

    def _inverse_normal(self, levels: Any) -> Any:
        return torch.special.ndtri(levels)

    def _places(self, mask: Any) -> Any:
        return mask.nonzero()[:, 0]

    def _stirling(self, counts: Any) -> Any:
        table = torch.tensor(STIRLING, dtype=counts.dtype, device=counts.device)
        return table[counts.clamp(max=EXACT - 1).long()]


class Sequential:
    """Draws one after another from a torch generator: for training, where what is drawn has no key."""

    def __init__(self, device: torch.device, generator: torch.Generator | None = None) -> None:
        self.device, self.generator = device, generator

    def at(self, *what: str | int) -> Sequential:
        """What comes next, whatever it is for."""
        return self

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Uniform in [0, 1)."""
        return torch.rand(tuple(shape), generator=self.generator, device=self.device)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal."""
        return torch.randn(tuple(shape), generator=self.generator, device=self.device)

    def gamma(self, shape: Tensor) -> Tensor:
        """Gamma of scale 1."""
        return torch._standard_gamma(shape, generator=self.generator)

    def poisson(self, rate: Tensor) -> Tensor:
        """Poisson counts."""
        return torch.poisson(rate, generator=self.generator)

    def negative_binomial(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Counts of a mean and of the variance mean + spread mean^2."""
        return self.poisson(self.gamma(1 / spread) * (spread * mean))


Source = TensorDraws | Sequential


def _signed(value: int) -> int:
    """A whole number modulo 2^64, as the int64 of the same bits."""
    return (value + 2**63) % 2**64 - 2**63


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Bits moved right, zeros coming in from the left."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
