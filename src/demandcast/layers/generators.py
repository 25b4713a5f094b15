"""Random numbers of one run: a generator of its own instead of torch's global one.

The global generator belongs to all threads of a program. A run that seeded it would change what other
threads draw, and would draw what they leave. Layers of this package ask for `generator(device)`; modules of
`torch.nn` and code that nobody here wrote are supplied with it while they run. On a GPU fused kernels draw
from the device's generator, which is seeded and put back around a run.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode

RANGES = {"arange", "linspace", "logspace", "randperm"}
WITH_GENERATOR = {  # overloads without a generator, and their twins with one
    "default": "generator",
    "low": "low_generator",
    "Tensor": "Tensor_generator",
    "low_dtype": "low_generator_dtype",
}


class _Thread(threading.local):
    generator: torch.Generator | None = None


_thread = _Thread()


def generator(device: torch.device) -> torch.Generator | None:
    """Return the generator of this thread's run; None, torch's own, outside of one and on a GPU."""
    return _thread.generator if device.type == "cpu" else None


@contextmanager
def draws_of(
    source: torch.Generator, network: nn.Module | None = None, *, everything: bool = False
) -> Iterator[None]:
    """Draw the random numbers of this thread's block from a generator on the CPU.

    Args:
        source: The generator.
        network: Whose modules of `torch.nn` draw from it as well. On a GPU the device's own generator is
            seeded as the source was, and put back afterwards.
        everything: Supply all operators in the block, at some microseconds each.
    """
    before, _thread.generator = _thread.generator, source
    mode = generator_mode(source) if everything else None
    modules = [] if network is None else [m for m in network.modules() if _draws(m)]
    device = torch.device("cpu") if network is None else _device(network)
    state = gpu_state(device)
    seed_gpu(device, source.initial_seed())
    for module in modules:
        module.forward = _draw_from_thread(module)
    try:
        if mode is None:
            yield
        else:
            with mode:
                yield
    finally:
        for module in modules:
            del module.forward
        if state is not None:
            set_gpu_state(device, state)
        _thread.generator = before


class GeneratorMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Supplies a generator to this thread's CPU operators that draw without one.

    Attributes:
        used: Whether one did.
    """

    def __init__(self, source: torch.Generator) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.source, self.used = source, False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        form = _with_generator(func)
        has_generator = any(
            isinstance(value, torch.Generator) for value in (*args, *kwargs.values())
        )
        if form is not None and not has_generator and _on_cpu(args, kwargs):
            self.used = True
            return form(*args, **kwargs | {"generator": self.source})
        return func(*args, **kwargs)


class UncompiledGeneratorMode(GeneratorMode):  # type: ignore[no-untyped-call]
    """The same, excluded from torch's compiler, which otherwise compiles the operators of the mode itself."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return True

    __torch_dispatch__ = GeneratorMode.__torch_dispatch__  # that torch finds it in this class


class BoundedGeneratorMode(GeneratorMode):  # type: ignore[no-untyped-call]
    """The same, which refuses tensors of more than `most` values before they are made."""

    def __init__(self, source: torch.Generator, most: int) -> None:
        super().__init__(source)
        self.most = most

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if _n_values(func, args) > self.most:
            raise ValueError(f"{func} asks for more values than the {self.most:,} there may be")
        return super().__torch_dispatch__(func, types, args, kwargs)


def _n_values(func: Any, args: tuple[Any, ...]) -> float:
    """Return the values of the tensor that an operator makes of a size, a range or tensors that broadcast; else 0."""
    numbers = [abs(value) for value in args if isinstance(value, (int, float))]
    shapes = [value.shape for value in args if isinstance(value, Tensor)]
    if args and isinstance(args[0], (list, tuple)):
        return math.prod(value for value in args[0] if isinstance(value, int))
    if func.overloadpacket.__name__ == "eye":
        return math.prod(numbers) if len(numbers) > 1 else numbers[0] ** 2
    if func.overloadpacket.__name__ in RANGES:
        return max(numbers)
    with suppress(RuntimeError):  # these do not broadcast
        return math.prod(torch.broadcast_shapes(*shapes)) if len(shapes) > 1 else 0  # type: ignore[no-untyped-call]
    return 0


def generator_mode(source: torch.Generator) -> GeneratorMode:
    """Return a mode that supplies a generator.

    The exemption imports the compiler, over a second of CPU: only programs that did so themselves need it.
    """
    return (
        UncompiledGeneratorMode(source) if "torch._dynamo" in sys.modules else GeneratorMode(source)
    )


def with_generator(loss_of: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """Wrap a loss so that it supplies a generator to all it draws, if its first call drew without one.

    `GeneratorMode` costs some microseconds an operator, and most networks do not need it: what they draw comes
    from modules that have the generator.
    """
    needed = True

    @wraps(loss_of)
    def loss(batch: Any) -> Tensor:
        nonlocal needed
        if not needed or _thread.generator is None:
            return loss_of(batch)
        with generator_mode(_thread.generator) as mode:
            value = loss_of(batch)
        needed = mode.used
        return value

    return loss


def gpu_state(device: torch.device) -> Tensor | None:
    """Return the state of a GPU's generator; None for a CPU."""
    if device.type == "cpu":
        return None
    module = torch.get_device_module(device)
    state: Tensor = module.get_rng_state(*_place(device))
    return state


def set_gpu_state(device: torch.device, state: Tensor) -> None:
    """Set the state of a GPU's generator."""
    torch.get_device_module(device).set_rng_state(state, *_place(device))


def seed_gpu(device: torch.device, seed: int) -> None:
    """Seed a GPU's generator; leave a CPU's alone."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def _place(device: torch.device) -> tuple[torch.device, ...]:
    return (device,) if device.type == "cuda" else ()


def _device(network: nn.Module) -> torch.device:
    return next((p.device for p in network.parameters()), torch.device("cpu"))


def _draws(module: nn.Module) -> bool:
    """Return whether a module is one of torch's that draw without a generator, and gets none yet."""
    if not type(module).__module__.startswith("torch.nn") or "forward" in vars(module):
        return False
    rate = getattr(module, "dropout", 0.0)  # of attention and recurrent layers
    return isinstance(module, (_DropoutNd, nn.RReLU)) or (isinstance(rate, float) and rate > 0)


def _draw_from_thread(module: nn.Module) -> Callable[..., Any]:
    forward = module.forward

    @wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        source = _thread.generator
        if source is None or not module.training:
            return forward(*args, **kwargs)
        with generator_mode(source):
            return forward(*args, **kwargs)

    return call


@cache
def _with_generator(func: Any) -> Any:
    """Return the operator, or its twin, that takes a generator; None where there is none."""
    if any(argument.name == "generator" for argument in func._schema.arguments):
        return func
    twin = WITH_GENERATOR.get(func._overloadname, "")
    packet = func.overloadpacket
    return getattr(packet, twin) if twin in packet.overloads() else None


def _on_cpu(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    tensor = next((value for value in args if isinstance(value, Tensor)), None)
    device = kwargs.get("device") or (tensor.device if tensor is not None else "cpu")
    return torch.device(device).type == "cpu"
