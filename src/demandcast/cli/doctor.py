"""`demandcast doctor`: find out where the time of a training goes, and what makes it faster."""

from __future__ import annotations

from typing import Annotated

import typer

from demandcast.cli import options, places, show

EXAMPLES = "Example: demandcast doctor sales.csv --model nhits --set batch_size=256"
FIRST = 12  # steps of a first run, from whose speed the number of steps in --seconds follows
LEAST = 20  # steps that are measured at least


@options.takes_table(optional=True)
def doctor(
    table: options.Table,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Network to train; demandcast models lists them.")
    ] = "deepar",
    horizon: options.Horizon = 24,
    settings: options.Set = None,
    seconds: Annotated[float, typer.Option(min=0.5, metavar="S", help="How long to train.")] = 8.0,
    ops: Annotated[
        bool, typer.Option("--ops", help="List the five most expensive operators.")
    ] = False,
    trace: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write a trace of five steps for https://ui.perfetto.dev: .json."
        ),
    ] = None,
    seed: options.Seed = 0,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Find out where the time of a training goes.

    The command trains for some seconds. It shows the parts of a training step, how busy the machine is,
    and how the speed compares with a bare loop: the same network and optimiser on one batch in memory.
    The verdict names the bottleneck, the fix and what it would gain. Without DATA it trains on simulated
    sales. The trained model is discarded.
    """
    from demandcast import registry
    from demandcast.errors import ConfigError
    from demandcast.frames import examples, read_panel
    from demandcast.models.base import NeuralForecaster
    from demandcast.train.doctor import Doctor

    examiner = Doctor(budget=min(4.0, seconds / 2), operators=ops, trace=trace)
    places.check(files={"--trace": trace}, table=table, force=force)
    hyper = options.hyperparameters([model], settings, seed=seed)[model]
    if not issubclass(registry.get(model), NeuralForecaster):
        raise ConfigError(
            f"{model} has no network to train; name one that has, as in --model nhits"
        )
    max_steps = hyper.pop("max_steps", None)
    if hyper.pop("epochs", None) is not None:
        raise ConfigError("the doctor trains for --seconds; leave --set epochs=... out")
    if table.source:
        panel = read_panel(table.source, **table.options)
        show.panel(panel, table.options)
    else:
        panel = read_panel(
            examples.retail(200, 730, seed=1).frame,
            key="item", time="date", target="units", freq="D",
            known=["price", "promo"], static=["category"],
        )  # fmt: skip
        show.say("training on a simulated shop: 200 items, 730 days")
    plain = {name: value for name, value in hyper.items() if value != "auto"}  # chosen once, below
    first = registry.create(model, horizon=horizon, **plain, max_steps=FIRST)
    assert isinstance(first, NeuralForecaster)
    first.fit(panel, progress=False)
    assert first.log is not None
    steps = max(LEAST, round(seconds / (first.log.seconds / FIRST)))
    steps = min(steps, max_steps or steps)
    trained = registry.create(model, horizon=horizon, **hyper, max_steps=steps)
    assert isinstance(trained, NeuralForecaster)
    show.say(f"training {trained} for {steps} steps")
    trained.fit(panel, progress=False, diagnose=examiner)
    assert trained.diagnosis is not None
    if json:
        show.machine(trained.diagnosis.to_json())
    else:
        show.lines(trained.diagnosis)
    if trace:
        show.say(f"wrote {trace}; open it at https://ui.perfetto.dev")
