"""`demandcast models`: list the models, or show the layers of one."""

from __future__ import annotations

from typing import Annotated

import typer

from demandcast.cli import options, show
from demandcast.errors import ConfigError

EXAMPLES = "Example: demandcast models show nhits --context 168 --horizon 24"


def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[show NAME]", help="Show the layers of this network."),
    ] = None,
    context: Annotated[
        int, typer.Option(min=1, metavar="STEPS", help="Steps that the network reads.")
    ] = 168,
    horizon: options.Horizon = 24,
    settings: options.Set = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """List the models, or show the layers of one.

    demandcast models lists every model with its inputs and outputs. demandcast models show NAME follows
    a batch through a network and prints each intermediate tensor with its shape.
    """
    import polars as pl

    from demandcast import registry

    if not words:
        rows = [
            {"model": name, "summary": kind.summary, "takes": kind.takes, "gives": kind.gives}
            for name, kind in registry.classes().items()
        ]
        show.table(pl.DataFrame(rows), json=json)
        return
    if words[0] != "show" or len(words) != 2:
        raise ConfigError(
            f"models {' '.join(words)} is no command; list all with `demandcast models`, follow one "
            "with `demandcast models show NAME`"
        )
    _show(words[1], context, horizon, settings, seed, json)


def _show(
    name: str, context: int, horizon: int, settings: list[str] | None, seed: int, json: bool
) -> None:
    """Print the intermediate tensors of a network, on simulated daily sales with price and promotion."""
    from demandcast import registry
    from demandcast.frames import examples, read_panel
    from demandcast.models import trace
    from demandcast.models.base import NeuralForecaster

    hyper = options.hyperparameters([name], settings, seed=seed)[name]
    if not issubclass(registry.get(name), NeuralForecaster):
        raise ConfigError(f"{name} has no network to show; `demandcast models` says what it is")
    model = registry.create(name, horizon=horizon, **hyper | {"context": context})
    assert isinstance(model, NeuralForecaster)
    panel = read_panel(
        examples.retail(8, context + 2 * horizon, seed=1).frame,
        key="item", time="date", target="units", freq="D",
        known=["price", "promo"], static=["category"],
    )  # fmt: skip
    trace_table = trace(model, panel)
    if not json:
        show.say(trace_table.heading())
    frame = trace_table.to_frame()
    show.table(frame if json else frame.select("layer", "name", "axes", "parameters"), json=json)
