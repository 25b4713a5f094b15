"""The way of a batch through a network: every named intermediate, with its shape.

What is shown is what runs: one training loss is followed line by line through the model's own file
and the layers it uses. Every tensor that gets a name there is a row, and so is what every layer that
learns gives back.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

from demandcast.layers.draws import draws_of
from demandcast.models.base import Network, NeuralForecaster
from demandcast.panel.panel import Panel
from demandcast.windows.window import Window

PACKAGE = Path(__file__).parents[1]
FOLLOWED = (PACKAGE / "models", PACKAGE / "layers")
BATCH = 3  # windows followed; a size that few axes have by chance
REPEATS = 5


@dataclass(frozen=True)
class Intermediate:
    """A tensor that was given a name, or that a layer with parameters gave back."""

    layer: str  # where in the network: "" for its top, "blocks.0.mlp.2"
    kind: str  # class of the layer
    name: str  # variable in its code; "out" for what a layer with parameters gives back
    shape: tuple[int, ...]
    axes: str  # the shape in words where its sizes are known: "(batch, context, 9)"
    parameters: int  # of that layer; 0 for variables
    source: tuple[str, int] | None  # file and line that named it


@dataclass(frozen=True)
class Trace:
    """What `trace` saw; prints as a table, in a notebook as a coloured one.

    Attributes:
        rows: Intermediates in the order they were made.
        parameters: Numbers that are learned.
        seconds: Of one training step with `batch` windows, on `device`; the optimiser not counted.
    """

    model: str
    context: int
    horizon: int
    rows: tuple[Intermediate, ...]
    parameters: int
    seconds: float
    batch: int
    device: str

    def to_frame(self) -> pl.DataFrame:
        """One row an intermediate: layer, kind, name, shape, axes, parameters."""
        rows = [(r.layer, r.kind, r.name, str(r.shape), r.axes, r.parameters) for r in self.rows]
        names = ["layer", "kind", "name", "shape", "axes", "parameters"]
        return pl.DataFrame(rows, schema=names, orient="row")

    def heading(self) -> str:
        """One line: how large the network is, and how long a step takes."""
        return (
            f"{self.model}: context {self.context}, horizon {self.horizon}, "
            f"{self.parameters:,} parameters, {1000 * self.seconds:.1f} ms a training step of "
            f"{self.batch} windows ({self.device})"
        )

    def __repr__(self) -> str:
        table = [("layer", "name", "shape", "parameters")]
        table += [(r.layer or r.kind, r.name, r.axes, f"{r.parameters:,}") for r in self.rows]
        widths = [max(len(row[i]) for row in table) for i in range(4)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(row[:3], widths, strict=False)), row[3].rjust(widths[3])])
            for row in table
        ]  # fmt: skip
        return "\n".join([self.heading(), "", *lines])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{html.escape(r.layer or r.kind)}</td><td><code>{html.escape(r.name)}</code></td>"
            f"<td>{html.escape(r.axes)}</td><td style='text-align:right'>{r.parameters:,}</td></tr>"
            for r in self.rows
        )
        head = "<tr><th>layer</th><th>name</th><th>shape</th><th>parameters</th></tr>"
        return f"<b>{html.escape(self.heading())}</b><table>{head}{cells}</table>"


def trace(model: NeuralForecaster, panel: Panel) -> Trace:
    """Follow a batch of the panel's last windows through a model's network.

    Args:
        model: Fitted or not; one that is not gets the network that `fit` would begin with.
        panel: Where the windows come from, and with it the number of inputs.

    Returns:
        Every named intermediate with its shape, the parameters, and the time of a training step.

    Raises:
        DataError: No series is longer than one step.

    Example:
        >>> from demandcast.frames import read_panel
        >>> from demandcast.models import DLinear
        >>> panel = read_panel(pl.DataFrame({"ds": range(40), "y": range(40)}), key=[])
        >>> seen = trace(DLinear(horizon=4, context=8), panel)
        >>> [(r.name, r.axes) for r in seen.rows if r.layer == ""][:2]
        [('x', '(batch, context)'), ('trend', '(batch, context)')]
    """
    network, source, config = model.build(panel)
    extra = model._extra(config)

    def windows(count: int) -> Window:
        series = torch.arange(count, device=source.device) % panel.n_series
        ends = source.lengths[series]
        return source.windows(series, (ends - config.horizon).clamp(min=1), ends, extra=extra)

    rows: list[Intermediate] = []
    training = network.training
    network.eval()
    window = windows(BATCH)
    with torch.no_grad(), _followed(network, _words(network, window), rows):
        network.loss(window)
    seconds = _step_seconds(network, windows(config.batch))
    network.train(training)
    return Trace(
        model=model.name,
        context=window.past_target.shape[1],
        horizon=config.horizon,
        rows=tuple(rows),
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        seconds=seconds,
        batch=config.batch,
        device=config.device,
    )


def _words(network: Network, window: Window) -> dict[int, str]:
    """Sizes that have a name; where two axes have one size the more frequent one names it."""
    context, horizon = window.past_target.shape[1], window.future_target.shape[1]
    words = {context + horizon: "context + horizon", network.likelihood.n_params: "params"}
    if window.past_target.ndim == 3:
        words[window.past_target.shape[2]] = "series"
    return words | {horizon: "horizon", context: "context"}


@contextmanager
def _followed(network: Network, words: dict[int, str], rows: list[Intermediate]) -> Iterator[None]:
    """Collect what gets a name while the block runs."""
    places = {id(module): name for name, module in network.named_modules()}
    leaves = {
        id(module)
        for module in network.modules()
        if isinstance(module, nn.MultiheadAttention) or not any(module.children())
    }

    def note(module: nn.Module, name: str, value: Tensor, where: tuple[str, int] | None) -> None:
        shape = tuple(value.shape)
        axes = [words.get(size, str(size)) for size in shape]
        if shape and shape[0] == BATCH:
            axes[0] = "batch"
        own = 0 if where else sum(p.numel() for p in module.parameters())
        rows.append(
            Intermediate(
                places[id(module)], type(module).__name__, name, shape,
                f"({', '.join(axes)})", own, where,
            )
        )  # fmt: skip

    def came(module: nn.Module, _: Any, out: Any) -> None:
        first = out[0] if isinstance(out, tuple) else out
        if isinstance(first, Tensor):
            note(module, "out", first, None)

    def follow(frame: FrameType, event: str, _: Any) -> Any:
        module = frame.f_locals.get("self")
        path = Path(frame.f_code.co_filename).parent
        inner = id(module) in places and id(module) not in leaves  # a leaf is one row by its hook
        if event != "call" or not inner or path not in FOLLOWED:
            return None
        seen: dict[str, Any] = dict(frame.f_locals)
        line = frame.f_lineno

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal line
            for name, value in frame.f_locals.items():
                if isinstance(value, Tensor) and seen.get(name) is not value:
                    note(module, name, value, (frame.f_code.co_filename, line))  # type: ignore[arg-type]
                    seen[name] = value
            line = frame.f_lineno
            return step

        return step

    hooks = [
        module.register_forward_hook(came)
        for module in network.modules()
        if id(module) in leaves and any(True for _ in module.parameters())
    ]
    before = sys.gettrace()
    sys.settrace(follow)
    try:
        yield
    finally:
        sys.settrace(before)
        for hook in hooks:
            hook.remove()


def _step_seconds(network: Network, window: Window) -> float:
    """The shortest of a few forward and backward passes, in seconds."""
    network.train()
    times = []
    with draws_of(torch.Generator(), network):
        for _ in range(REPEATS):
            began = time.perf_counter()
            network.loss(window).backward()  # type: ignore[no-untyped-call]
            if window.scale.is_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
            network.zero_grad()
    return min(times)
