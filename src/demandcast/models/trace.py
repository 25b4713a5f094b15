"""The way of a batch through a network: every named intermediate, with its shape.

What is shown is what runs: one training loss is followed line by line through the model's own file
and the layers it uses. Every tensor that gets a name there is a row, and so is what every layer that
learns gives back.
"""

from __future__ import annotations

import html
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TypeAlias

import polars as pl
import torch
from torch import Tensor, nn

from demandcast.layers.generators import draws_of
from demandcast.models.base import NeuralForecaster
from demandcast.models.config import N, Plan
from demandcast.models.network import Network
from demandcast.panel.panel import Panel
from demandcast.windows.window import Window

TraceFunction: TypeAlias = "Callable[[FrameType, str, object], TraceFunction | None]"
PACKAGE = Path(__file__).parents[1]
FOLLOWED = (PACKAGE / "models", PACKAGE / "layers")
BATCH = 3  # windows followed
LONGER = (
    24,
    5,
)  # steps of context and horizon in the second trace, which tells what grows with what
REPEATS = 5


@dataclass(frozen=True)
class Intermediate:
    """A tensor that was given a name, or that a layer with parameters gave back."""

    layer: str  # where in the network: "" for its top, "blocks.0.mlp.2"
    kind: str  # class of the layer
    name: str  # variable in its code; "out" for what a layer with parameters gives back
    shape: tuple[int, ...]
    axes: str  # the shape in words where an axis has a name: "(batch, context, 9)"
    parameters: int  # of that layer; 0 for variables
    source: tuple[str, int] | None  # file and line that named it
    count: int  # how often this name was given in this layer, this time included


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
        """Return one row per intermediate: layer, kind, name, shape, axes, parameters."""
        rows = [(r.layer, r.kind, r.name, str(r.shape), r.axes, r.parameters) for r in self.rows]
        names = ["layer", "kind", "name", "shape", "axes", "parameters"]
        return pl.DataFrame(rows, schema=names, orient="row")

    def heading(self) -> str:
        """Return one line: how large the network is, and how long a training step takes."""
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


def trace(model: NeuralForecaster[N], panel: Panel) -> Trace:
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
    network, windows, plan = _build(model, panel)
    window = windows(BATCH)
    training = network.training
    rows = _follow(network, window)
    seconds = _step_seconds(network, windows(plan.config.batch))
    network.train(training)
    longer = type(model)(
        **model.hyperparameters()
        | {"context": plan.context + LONGER[0], "horizon": plan.horizon + LONGER[1]}
    )
    other, more_windows, _ = _build(longer, panel)
    again = more_windows(BATCH + 2)
    sizes = {(row.layer, row.name, row.count): row.shape for row in _follow(other, again)}
    words = _axis_names(network, window, again)
    return Trace(
        model=model.name,
        context=window.past_target.shape[1],
        horizon=plan.horizon,
        rows=tuple(
            replace(row, axes=_axes(row.shape, sizes.get((row.layer, row.name, row.count)), words))
            for row in rows
        ),
        parameters=sum(p.numel() for p in network.parameters() if p.requires_grad),
        seconds=seconds,
        batch=plan.config.batch,
        device=plan.config.device,
    )


def _build(
    model: NeuralForecaster[N], panel: Panel
) -> tuple[Network[N], Callable[[int], Window], Plan[N]]:
    """Build a model's network, and a function that makes batches of the panel's last windows for it."""
    network, source, plan = model.build(panel)
    extra = model._extra_steps(plan)

    def windows(count: int) -> Window:
        series = torch.arange(count, device=source.device) % panel.n_series
        ends = source.lengths[series]
        return source.windows(series, (ends - plan.horizon).clamp(min=1), ends, extra=extra)

    return network, windows, plan


def _follow(network: Network[N], window: Window) -> list[Intermediate]:
    rows: list[Intermediate] = []
    network.eval()
    with torch.no_grad(), _record_intermediates(network, rows):
        network.loss(window)
    return rows


def _axis_names(network: Network[N], window: Window, again: Window) -> dict[tuple[int, int], str]:
    """Return the names of axes by their sizes in two traces of different context and horizon."""

    def size(window: Window) -> tuple[int, int, int]:
        return len(window.past_target), window.past_target.shape[1], window.future_target.shape[1]

    (batch, context, horizon), (batch_2, context_2, horizon_2) = size(window), size(again)
    words = {(network.likelihood.n_params,) * 2: "params"}
    if window.past_target.ndim == 3:
        words[window.past_target.shape[2], again.past_target.shape[2]] = "series"
    words[context + horizon, context_2 + horizon_2] = "context + horizon"
    words[horizon, horizon_2] = "horizon"
    words[context, context_2] = "context"
    words[batch, batch_2] = "batch"
    return words


def _axes(
    shape: tuple[int, ...], other: tuple[int, ...] | None, words: dict[tuple[int, int], str]
) -> str:
    """Return a shape in words: an axis is named if it grows with the named size."""
    if other is None or len(other) != len(shape):
        other = shape  # made in this trace alone: only what does not grow can be told
    pairs = zip(shape, other, strict=True)
    return f"({', '.join(words.get(pair, str(pair[0])) for pair in pairs)})"


@contextmanager
def _record_intermediates(network: Network[N], rows: list[Intermediate]) -> Iterator[None]:
    """Record every tensor that is given a name while the block runs."""
    places = {id(module): name for name, module in network.named_modules()}
    leaves = {
        id(module)
        for module in network.modules()
        if isinstance(module, nn.MultiheadAttention) or not any(module.children())
    }

    counts: Counter[tuple[str, str]] = Counter()

    def note(module: nn.Module, name: str, value: Tensor, where: tuple[str, int] | None) -> None:
        n_parameters = 0 if where else sum(p.numel() for p in module.parameters())
        layer = places[id(module)]
        counts[layer, name] += 1
        kind, shape = type(module).__name__, tuple(value.shape)
        rows.append(
            Intermediate(layer, kind, name, shape, "", n_parameters, where, counts[layer, name])
        )

    def record_output(module: nn.Module, _: object, out: object) -> None:
        first = out[0] if isinstance(out, tuple) else out
        if isinstance(first, Tensor):
            note(module, "out", first, None)

    def follow(frame: FrameType, event: str, _: object) -> TraceFunction | None:
        module = frame.f_locals.get("self")
        path = Path(frame.f_code.co_filename).parent
        inner = id(module) in places and id(module) not in leaves  # a leaf is one row by its hook
        if event != "call" or not inner or path not in FOLLOWED:
            return None
        known: dict[str, object] = dict(frame.f_locals)
        line = frame.f_lineno

        def step(frame: FrameType, event: str, _: object) -> TraceFunction:
            nonlocal line
            for name, value in frame.f_locals.items():
                if isinstance(value, Tensor) and known.get(name) is not value:
                    note(module, name, value, (frame.f_code.co_filename, line))  # type: ignore[arg-type]
                    known[name] = value
            line = frame.f_lineno
            return step

        return step

    hooks = [
        module.register_forward_hook(record_output)
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


def _step_seconds(network: Network[N], window: Window) -> float:
    """Return the seconds of the fastest of a few forward and backward passes."""
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
