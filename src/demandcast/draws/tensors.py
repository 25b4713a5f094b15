"""`TensorDraws`: random numbers by key, as torch tensors on the device of the series' starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from demandcast.draws.arrays import Draws
from demandcast.draws.keyed import (
    ELEMENT_STEP,
    FINAL_SHIFT,
    MIX_ROUNDS,
    STIRLING_COUNTS,
    STIRLING_ERRORS,
    KeyedDraws,
)

BELOW_ONE = 1 - 2**-24  # largest float32 below 1: levels near 1 would round up to 1


class TensorDraws(KeyedDraws):
    """Random numbers of n series as tensors, equal to those of `Draws` up to the rounding of logarithms.

    On the CPU the numbers are drawn by `Draws`: numpy takes a third of the time of torch's many small operators.
    """

    xp = torch

    @classmethod
    def of(cls, keys: pl.DataFrame, seed: int, device: torch.device | str = "cpu") -> TensorDraws:
        """Return the draws of the series with these keys, one row of key columns a series."""
        return cls(torch.from_numpy(Draws.of(keys, seed).starts.view(np.int64)).to(device))

    def _draw(self, sampler: Callable[..., Any], shape: Sequence[int], *params: Any) -> Any:
        if self.starts.device.type == "cpu":
            host = Draws(self.starts.numpy().view(np.uint64))
            return torch.from_numpy(
                host._draw(sampler, shape, *(param.detach().numpy() for param in params))
            )
        return self._draw_on_device(sampler, shape, *params)

    def _draw_on_device(
        self, sampler: Callable[..., Any], shape: Sequence[int], *params: Any
    ) -> Any:
        """Draw with torch operators only; the tests compare them to numpy's on the CPU."""
        shape = torch.Size(shape)
        per_series = shape.numel() // max(1, len(self))
        steps = torch.arange(per_series, device=self.starts.device) * _to_int64(ELEMENT_STEP)
        counters = (self.starts[:, None] + steps).flatten()
        return sampler(self, counters, *(param.double().flatten() for param in params)).view(shape)

    def _as_counter(self, value: int) -> Any:
        return _to_int64(value)

    def _mix(self, counters: Any) -> Any:
        bits = counters
        for shift, factor in MIX_ROUNDS:
            bits = (bits ^ _shift_right(bits, shift)) * _to_int64(factor)
        return bits ^ _shift_right(bits, FINAL_SHIFT)

    def _to_unit(self, bits: Any) -> Any:
        return (_shift_right(bits, 12).double() + 0.5) * 2.0**-52

    def _inverse_normal(self, levels: Any) -> Any:
        return torch.special.ndtri(levels)

    def _true_indices(self, mask: Any) -> Any:
        return mask.nonzero()[:, 0]

    def _stirling_errors(self, counts: Any) -> Any:
        table = torch.tensor(STIRLING_ERRORS, dtype=counts.dtype, device=counts.device)
        return table[counts.clamp(max=STIRLING_COUNTS - 1).long()]


class GeneratorDraws:
    """Random numbers from a torch generator, one call after another: for training, where windows have no key."""

    def __init__(self, device: torch.device, generator: torch.Generator | None = None) -> None:
        self.device, self.generator = device, generator

    def at(self, *what: str | int) -> GeneratorDraws:
        """Return these draws: the generator's next numbers are independent of all before."""
        return self

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """Draw uniform numbers in [0, 1)."""
        return torch.rand(tuple(shape), generator=self.generator, device=self.device)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Draw standard normal numbers."""
        return torch.randn(tuple(shape), generator=self.generator, device=self.device)

    def gamma(self, shape: Tensor) -> Tensor:
        """Draw a gamma variable of scale 1 for each of the shape parameters."""
        return torch._standard_gamma(shape, generator=self.generator)

    def poisson(self, rate: Tensor) -> Tensor:
        """Draw a Poisson count for each of the rates."""
        return torch.poisson(rate, generator=self.generator)

    def negative_binomial(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Draw counts with variance mean + spread mean^2."""
        return self.poisson(self.gamma(1 / spread) * (spread * mean))


Source = TensorDraws | GeneratorDraws


def _to_int64(value: int) -> int:
    """Return a whole number, modulo 2^64, as the int64 with the same bits."""
    return (value + 2**63) % 2**64 - 2**63


def _shift_right(bits: Tensor, by: int) -> Tensor:
    """Shift bits right and fill with zeros from the left."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
