"""Gradients of the mean loss of a batch: in as many parts as fit in memory, and summed over processes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic

import torch
from torch import Tensor, nn

from demandcast.errors import ConfigError
from demandcast.train import interrupts
from demandcast.train.batches import B, count_samples, slice_batch
from demandcast.train.device import out_of_memory
from demandcast.train.state import State


@dataclass(frozen=True, kw_only=True)
class Objective(Generic[B]):
    """A network and the loss that it learns by.

    Attributes:
        network: On the device that trains. Its `done`, if it has one, is set to the share of steps done.
        loss_of: Mean loss of a batch, a scalar.
        weight_of: Over how much a batch's loss is the mean: its samples, or the values observed. Parts
            of a batch that does not fit in memory count by it.
        begin_step: Called before each step.
        validate: Loss on held-out data, every `validate_every` steps; lower is better.
    """

    network: nn.Module
    loss_of: Callable[[B], Tensor]
    weight_of: Callable[[B], Tensor | int] = count_samples
    begin_step: Callable[[], None] | None = None
    validate: Callable[[], float] | None = None


class Gradients(Generic[B]):
    """Computes gradients of an objective; halves the parts of a batch where the memory is exhausted.

    Args:
        state: The training; its weights get the gradients, its log says in how many parts.
        objective: The loss.
        mark: Called at the end of the forward and of the backward pass.
    """

    def __init__(self, state: State, objective: Objective[B], mark: Callable[[str], None]) -> None:
        self.state, self.objective, self.mark = state, objective, mark
        self.interrupted = (
            False  # one of the group's processes, so that all of them end after this step
        )
        # no cache: weights cast once would stay as they were until the outermost autocast ends
        bf16 = partial(torch.autocast, state.device.type, torch.bfloat16, cache_enabled=False)
        # autocast takes its time even where it is not enabled
        self.precision = bf16 if state.training.precision == "bf16" else nullcontext

    def compute(self, batch: B) -> tuple[Tensor, int]:
        """Compute gradients of a batch's mean loss; return the loss, and the samples of all processes."""
        state, alone = self.state, self.state.group.size == 1
        while True:
            state.optimiser.zero_grad()
            try:
                if state.log.parts == 1 and alone:
                    return self._backward(batch), count_samples(batch)
                sums = self._accumulate(batch)
                break
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            # after the handler, so that the failed pass holds no tensors any more
            self._split_batches(count_samples(batch), reason)
        flag = torch.full_like(sums[:1], 0.0 if alone else interrupts.waiting())
        totals = state.group.sum_gradients(state.weights, torch.cat([sums, flag]))
        total, weight, samples, interrupted = totals
        self.interrupted = not alone and bool(interrupted)
        self.mark("backward")
        weight = weight.clamp(min=1)  # a batch in which nothing counts
        for parameter in state.weights:
            if parameter.grad is not None:
                parameter.grad /= weight
        return total / weight, count_samples(batch) if alone else round(float(samples))

    def _backward(self, batch: B, weight: Tensor | None = None) -> Tensor:
        """Add gradients of a batch's loss, times a weight, to those at hand; return the loss."""
        with self.precision():
            loss = self.objective.loss_of(batch)
        self.mark("forward")
        (loss if weight is None else loss * weight).backward()  # type: ignore[no-untyped-call]
        self.mark("backward")
        return loss.detach()

    def _accumulate(self, batch: B) -> Tensor:
        """Accumulate gradients over the parts; return sums of losses, weights and samples, (3,)."""
        sums = torch.zeros(3, device=self.state.device)
        count = count_samples(batch)
        rows = -(-count // self.state.log.parts)
        for first in range(0, count, rows):
            part = slice_batch(batch, slice(first, first + rows))
            weight = torch.as_tensor(
                self.objective.weight_of(part), device=sums.device, dtype=sums.dtype
            )
            loss = self._backward(part, weight)
            samples = torch.full_like(weight, count_samples(part))
            sums += torch.stack([loss * weight, weight, samples])
        return sums

    def _split_batches(self, count: int, reason: str) -> None:
        """Take batches in twice as many parts from here on."""
        log = self.state.log
        if log.parts >= count:
            raise ConfigError(
                f"one sample alone exhausts the memory ({reason}); take a smaller network, a shorter "
                "context, or a device with more memory",
                option="device",
                expected="more memory, or a smaller network",
            )
        log.parts *= 2
        if self.state.device.type == "cuda":
            torch.cuda.empty_cache()
        self.state.note(
            f"out of memory at step {log.steps} ({reason}): batches of {count} are now taken in "
            f"{log.parts} parts, with the gradient of the whole",
            logging.WARNING,
        )
