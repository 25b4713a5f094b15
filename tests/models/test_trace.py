"""The shapes that stand at line ends are those that run, for every network."""

from __future__ import annotations

import ast
import re
import tokenize
from functools import lru_cache
from pathlib import Path

import pytest
import torch

import demandcast as dc
from demandcast import registry
from demandcast.frames import read_panel
from demandcast.frames.examples import retail
from demandcast.models.base import NeuralForecaster
from demandcast.models.multivariate import MultivariateForecaster
from demandcast.models.trace import BATCH, Intermediate, Trace, trace
from demandcast.panel.panel import Panel

NEURAL = [n for n, kind in registry.classes().items() if issubclass(kind, NeuralForecaster)]
STATED = re.compile(r"\((\w[\w +*/-]*(?:, [\w +*/-]+)*),?\)")


@pytest.fixture(scope="module")
def panel() -> Panel:
    return read_panel(
        retail(n_items=5, n_days=150, seed=1).frame,
        key="item", time="date", target="units", freq="D",
        known=["price", "promo"], static=["category"],
    )  # fmt: skip


_seen: dict[str, Trace] = {}


def seen(name: str, panel: Panel) -> Trace:
    """What a network's layers give, worked out once for all tests."""
    if name not in _seen:
        model = registry.create(name, horizon=9, context=29)
        assert isinstance(model, NeuralForecaster)
        _seen[name] = trace(model, panel)
    return _seen[name]


@lru_cache
def stated(path: str) -> dict[tuple[str, int], list[str]]:
    """(variable, line) -> axes, of assignments whose last line ends in a comment with a shape."""
    with tokenize.open(path) as file:
        text = file.read()
    comments = {
        token.start[0]: token.string
        for token in tokenize.generate_tokens(iter(text.splitlines(True)).__next__)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign):
            names = [node.targets[0]]
        elif isinstance(node, ast.AnnAssign):
            names = [node.target]
        else:
            continue
        shape = STATED.search(comments.get(node.end_lineno or 0, ""))
        if shape and isinstance(names[0], ast.Name):
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                found[names[0].id, line] = shape[1].split(", ")
    return found


def check(row: Intermediate, axes: list[str], sizes: dict[str, int]) -> None:
    where = f"{Path(row.source[0]).name}:{row.source[1]} {row.name}" if row.source else row.name
    assert len(axes) == len(row.shape), f"{where} is {row.shape} but says ({', '.join(axes)})"
    for axis, size in zip(axes, row.shape, strict=True):
        if re.fullmatch(r"[\w +*]+", axis) and all(
            word in sizes or word.isdigit() for word in re.findall(r"\w+", axis)
        ):
            wanted = eval(axis, {}, sizes)
            assert size == wanted, f"{where} is {row.shape} but says ({', '.join(axes)})"


@pytest.mark.parametrize("name", NEURAL)
def test_shapes_at_line_ends_are_true(name: str, panel: Panel) -> None:
    found = seen(name, panel)
    kind = registry.get(name)
    assert issubclass(kind, NeuralForecaster)
    likelihood = kind(horizon=9).make_likelihood(kind.Config(horizon=9, likelihood="auto"), panel)
    sizes = {"batch": BATCH, "horizon": 9, "context": found.context, "params": likelihood.n_params}
    if issubclass(kind, MultivariateForecaster):
        sizes |= {"series": panel.n_series, "steps": 9}
    checked = 0
    for row in found.rows:
        if row.source is None or Path(row.source[0]).parent.name != "models":
            continue
        if issubclass(kind, MultivariateForecaster) and row.source[0].endswith("models/network.py"):
            continue  # the shapes there are those of one series
        axes = stated(row.source[0]).get((row.name, row.source[1]))
        if axes is not None and axes[0] == "batch":
            check(row, axes, sizes)
            checked += 1
    assert checked >= 3


def test_a_wrong_shape_would_be_told(panel: Panel) -> None:
    row = next(r for r in seen("dlinear", panel).rows if r.name == "trend")
    with pytest.raises(AssertionError, match=r"trend is \(3, 29\) but says \(batch, horizon\)"):
        check(row, ["batch", "horizon"], {"batch": 3, "horizon": 9})


@pytest.mark.parametrize("name", NEURAL)
def test_every_parameter_has_its_row(name: str, panel: Panel) -> None:
    """What layers hold adds up to the whole; a layer used twice counts once."""
    found = seen(name, panel)
    layers = {row.layer: row.parameters for row in found.rows if row.source is None}
    model = registry.create(name, horizon=9, context=29)
    assert isinstance(model, NeuralForecaster)
    network, _, _ = model.build(panel)
    assert found.parameters == sum(p.numel() for p in network.parameters())
    # numbers that are read directly (MQ-RNN's blend, PatchTST's positions) have no output of their own
    rest = sum(
        p.numel()
        for label, p in network.named_parameters()
        if not any(label.startswith(f"{layer}.") for layer in layers)
    )
    assert sum(layers.values()) + rest == found.parameters
    assert rest < 0.01 * found.parameters


def test_following_leaves_the_model_as_it_was(panel: Panel) -> None:
    known = panel.drop_last(9)
    model = dc.models.TiDE(horizon=9, context=29, max_steps=3).fit(known, progress=False)
    before = model.predict(known).quantiles
    state = torch.get_rng_state()
    found = dc.models.trace(model, known)
    assert torch.equal(torch.get_rng_state(), state)
    assert (model.predict(known).quantiles == before).all()
    assert model.network is not None
    assert not any(m._forward_hooks for m in model.network.modules())
    assert all(p.grad is None for p in model.network.parameters())
    assert found.to_frame().columns == ["layer", "kind", "name", "shape", "axes", "parameters"]
    assert "(batch, horizon, params)" in repr(found)
    assert "<table>" in found._repr_html_()


def test_an_axis_is_named_by_what_it_grows_with_and_not_by_its_size(panel: Panel) -> None:
    """With a context of 48 the first block of NHITS has 6 knots, as many as the horizon has steps."""
    shown = trace(dc.models.NHITS(horizon=6, context=48), panel)
    (knots,) = (r.axes for r in shown.rows if (r.layer, r.name) == ("blocks.0.backcast", "out"))
    assert knots == "(batch, 6)"
    other = trace(dc.models.NHITS(horizon=7, context=40), panel)
    words = [[re.sub(r"\d+", "n", row.axes) for row in seen.rows] for seen in (shown, other)]
    assert words[0] == words[1]
