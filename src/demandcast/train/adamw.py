"""AdamW: Adam with decoupled weight decay.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019. The arithmetic is that of
`torch.optim.adamw`. The class `torch.optim.AdamW` is not used because it imports torch's compiler: over a second
of CPU and 80 MB in every process that trains a network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from demandcast.train.checkpoint import take

BETAS, EPSILON = (0.9, 0.999), 1e-8  # as torch.optim.AdamW has them


class AdamW:
    """The optimiser of a list of weights, all on one device.

    Attributes:
        rate: Learning rate of the next step.
        moments: For each weight the tensors `step`, `exp_avg` and `exp_avg_sq`; empty before its first step.
    """

    def __init__(self, weights: Sequence[Tensor], *, rate: float, weight_decay: float) -> None:
        self.weights, self.rate, self.weight_decay = list(weights), rate, weight_decay
        self.moments: list[dict[str, Tensor]] = [{} for _ in self.weights]
        self.fused = self.weights[0].device.type in ("cpu", "cuda")

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for weight in self.weights:
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient."""
        pairs = [
            (w, m) for w, m in zip(self.weights, self.moments, strict=True) if w.grad is not None
        ]
        for weight, moments in pairs:
            if not moments:
                place = weight.device if self.fused else "cpu"
                moments["step"] = torch.zeros((), dtype=torch.float32, device=place)
                moments["exp_avg"] = torch.zeros_like(weight)
                moments["exp_avg_sq"] = torch.zeros_like(weight)
        adamw(
            [weight for weight, _ in pairs],
            [weight.grad for weight, _ in pairs if weight.grad is not None],
            [moments["exp_avg"] for _, moments in pairs],
            [moments["exp_avg_sq"] for _, moments in pairs],
            [],
            [moments["step"] for _, moments in pairs],
            fused=self.fused,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=self.rate,
            weight_decay=self.weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the moments by name, for a checkpoint."""
        return {
            f"optimiser.{index}.{name}": value
            for index, moments in enumerate(self.moments)
            for name, value in moments.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take the moments from what `tensors` gave, among other tensors.

        Raises:
            ValueError: Moments of a weight are missing, or have another shape or type.
        """
        for index, (weight, moments) in enumerate(zip(self.weights, self.moments, strict=True)):
            step = torch.zeros((), dtype=torch.float32)
            expected = {"step": step, "exp_avg": weight, "exp_avg_sq": weight}
            like = {f"optimiser.{index}.{name}": value for name, value in expected.items()}
            if not like.keys() & tensors.keys():
                continue  # it had no step yet
            for name, value in zip(expected, take(tensors, like).values(), strict=True):
                place = "cpu" if name == "step" and not self.fused else weight.device
                moments[name] = value.to(place)
