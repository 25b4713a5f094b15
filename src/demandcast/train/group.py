"""Processes that train one network together: each takes its share of every batch, and all add up.

A group is what `torchrun` started, what the program itself made of `torch.distributed`, or what
`launch_group` starts: gloo on CPUs, NCCL on GPUs, a device each. The samples of a step are drawn alike in all
processes, and gradients are added up weighing what was observed, so that the group learns what one
process would: the same but for the order of sums, and for random numbers inside the network.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from demandcast.errors import ConfigError, WorkerError, way
from demandcast.train import interrupts
from demandcast.train.batches import count_samples, slice_batch
from demandcast.train.doctor.bare_loop import limit_threads
from demandcast.train.loaders import Draw, Index

T = TypeVar("T")
HOST, PATIENCE = "127.0.0.1", timedelta(minutes=10)


class Group:
    """This process among those that train together."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.device = torch.device("cpu")
        if size > 1 and dist.get_backend() == "nccl":
            self.device = torch.device("cuda", torch.cuda.current_device())

    def share(self, draw: Draw) -> Draw:
        """Return a function that draws this process's part of each step."""
        if self.size == 1:
            return draw

        def drawn(step: int, generator: torch.Generator) -> Index:
            index = draw(step, generator)
            count = count_samples(index)
            edges = [count * rank // self.size for rank in (self.rank, self.rank + 1)]
            return slice_batch(index, slice(*edges))

        return drawn

    def broadcast_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Broadcast rank 0's tensors to all ranks."""
        if self.size > 1:
            with torch.no_grad():
                for tensor in tensors:
                    numbers = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor
                    numbers = numbers.contiguous()
                    dist.broadcast(numbers, 0)
                    tensor.copy_(numbers)

    def sum_gradients(self, parameters: Sequence[Tensor], numbers: Tensor) -> Tensor:
        """Sum gradients, in place, and numbers (n,) over all processes."""
        if self.size == 1:
            return numbers
        have = [parameter.grad is not None for parameter in parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flags = numbers.new_tensor(have)
        flat = torch.cat([*(g.flatten().to(numbers) for g in gradients), flags, numbers])
        dist.all_reduce(flat)
        lengths = [*(p.numel() for p in parameters), len(have), len(numbers)]
        *sums, flags, numbers = flat.tensor_split(np.cumsum(lengths)[:-1].tolist())
        anywhere = have if all(have) else flags.tolist()  # whether any process has the gradient
        for parameter, total, has_gradient in zip(parameters, sums, anywhere, strict=True):
            parameter.grad = total.view_as(parameter).to(parameter) if has_gradient else None
        return numbers

    def broadcast(self, value: T | None) -> T:
        """Broadcast rank 0's value to all ranks; anything that JSON can hold."""
        if self.size == 1:
            return cast(T, value)
        words = json.dumps(value if self.rank == 0 else None).encode()
        length = torch.tensor([len(words)], device=self.device)
        dist.broadcast(length, 0)
        text = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == 0:
            text = torch.frombuffer(bytearray(words), dtype=torch.uint8).to(self.device)
        dist.broadcast(text, 0)
        value = json.loads(bytes(text.cpu().tolist()))
        return cast(T, value)

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Gather a tensor of every process, all of one shape, on the CPU."""
        if self.size == 1:
            return [tensor]
        parts = [torch.zeros_like(tensor, device=self.device) for _ in range(self.size)]
        dist.all_gather(parts, tensor.to(self.device))
        return [part.cpu() for part in parts]


ALONE = Group()


def process_group(devices: int) -> Group:
    """Return the group of processes that this one trains in; `ALONE` if there is none.

    Raises:
        ConfigError: `devices` asks for another number of processes.
    """
    if not dist.is_available():
        return ALONE
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
            return ALONE
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        dist.init_process_group(
            _backend("auto", local_rank), timeout=PATIENCE
        )  # as torchrun has set it
        atexit.register(_destroy_group)
    group = Group(dist.get_rank(), dist.get_world_size())
    if devices not in (1, group.size):
        raise ConfigError(
            f"devices={devices}, but {group.size} processes were started together; leave devices out, "
            f"or start torchrun with --nproc-per-node {devices}",
            option="devices",
            found=devices,
            expected=f"1 or {group.size}",
        )
    return group


@contextmanager
def run_beside(programs: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run programs beside this one until the block ends, with an equal share of its threads.

    The end of the block waits for them; an error in it ends them.

    Raises:
        WorkerError: One of them ended with an error; what it said last is in the message.
    """
    threads = max(1, torch.get_num_threads() // (1 + len(programs)))
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}
    outputs = [tempfile.TemporaryFile() for _ in programs]  # noqa: SIM115  closed below
    processes = [
        subprocess.Popen(
            program, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        for program, output in zip(programs, outputs, strict=True)
    ]
    try:
        with limit_threads(threads):
            yield processes
        for process in processes:
            process.wait(PATIENCE.total_seconds())
        if any(process.returncode for process in processes):
            raise RuntimeError("a process ended with an error")
    except RuntimeError as error:
        interrupts.check()  # Ctrl-C reaches all of a terminal's processes, and others end first
        for process, output in zip(processes, outputs, strict=True):
            if _exit_code(process):
                output.seek(0)
                last = output.read().decode(errors="replace").strip().splitlines()[-1:]
                raise WorkerError(
                    f"a process that worked along ended early ({''.join(last) or process.returncode}); "
                    "mend that, or use devices=1"
                ) from error
        raise
    finally:
        for process, output in zip(processes, outputs, strict=True):
            process.kill()
            process.wait()
            output.close()


@contextmanager
def launch_group(count: int, program: Sequence[str], device: str) -> Iterator[Group]:
    """Start `count` - 1 more processes, form a group with them, and end them with the block.

    Args:
        count: Processes, this one included.
        program: Command line of the others, to which rank, count and port are added; see `join_group`.
        device: "cpu" or "cuda".

    Raises:
        ConfigError: There are fewer GPUs than that.
        WorkerError: One of them ended early.
    """
    if device.startswith("cuda") and torch.cuda.device_count() < count:
        raise ConfigError(
            f"devices={count}, but there are {torch.cuda.device_count()} GPUs; use",
            option="devices", found=count, ways=[way(devices=torch.cuda.device_count()), way(device="cpu")],
        )  # fmt: skip
    store = TCPStore(HOST, 0, count, True, PATIENCE, wait_for_workers=False)
    ranks = range(1, count)
    with run_beside([[*program, str(r), str(count), str(store.port)] for r in ranks]) as processes:
        try:
            while not store.check([f"here.{rank}" for rank in ranks]):
                if any(process.poll() is not None for process in processes):
                    raise RuntimeError("a process ended before it joined")
                time.sleep(0.02)
            _init_group(store, 0, count, device)
            yield Group(0, count)
        finally:
            _destroy_group()


def join_group(rank: int, count: int, port: int, device: str) -> None:
    """Join the group that `launch_group` waits for."""
    store = TCPStore(HOST, port, count, False, PATIENCE)
    store.set(f"here.{rank}", "")
    _init_group(store, rank, count, device)
    atexit.register(_destroy_group)


def _init_group(store: TCPStore, rank: int, count: int, device: str) -> None:
    backend = _backend(device, rank)
    dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)


def _backend(device: str, rank: int) -> str:
    """Return gloo on a CPU, and NCCL with a GPU for each process where there are GPUs."""
    if device == "cpu" or not torch.cuda.is_available():
        return "gloo"
    torch.cuda.set_device(rank)
    return "cpu:gloo,cuda:nccl"


def _destroy_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a process that has ended, or is about to."""
    try:
        return process.wait(2)
    except subprocess.TimeoutExpired:
        return 0
