"""`demandcast replay`: compute what ordering by each model would have cost on the history of a table."""

from __future__ import annotations

from typing import Annotated

import typer

from demandcast.cli import options, order, places, results, show

EXAMPLES = (
    "Example: demandcast replay sales.csv --lead-time 2 --cost-under 1 --cost-over 0.2 "
    "--models zero_shot --rounds 8"
)


@options.takes_table
@order.takes_rule
def replay(
    table: options.Table,
    rule: order.Rule,
    models: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Models to compare, separated by commas; demandcast models lists them.",
        ),
    ] = "zero_shot",
    rounds: Annotated[
        int, typer.Option(min=1, metavar="N", help="Orders placed for every item.")
    ] = 8,
    stock: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Stock at the first round; default: mean demand over lead time and review.",
        ),
    ] = None,
    settings: options.Set = None,
    scaled: order.Scaled = True,
    paths: order.Paths = order.PATHS,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Fit at every round, or at the first only.")
    ] = True,
    seed: options.Seed = 0,
    devices: options.Devices = None,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write one row for each model and round: .csv, .parquet."
        ),
    ] = None,
    picture: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw stock held against units lost: .png, .svg, .pdf."),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Compare models by what their orders would have cost.

    In each round every model forecasts from what was known then, the rule orders, and the demand that
    came is served from the stock that the model's own orders left. Two usual rules are always compared
    too: mean + z sigma of the last steps, and some steps of cover. Perfect foresight is the lower bound.
    """
    show.check_stdout(out, picture)
    from demandcast import registry
    from demandcast.decide.replay import horizon_of_rounds, opening
    from demandcast.decide.replay import replay as play
    from demandcast.decide.rules import Policy
    from demandcast.frames.read import read_panel

    if out:
        places.check_ending(out)
    if picture:
        places.check_picture_ending(picture)
    places.check(
        files={"--out": out, "--picture": picture},
        table=table,
        sources={"--stock": stock},
        force=force,
    )
    policy = Policy(**rule)
    names = options.parse_model_names(models)
    hyper = options.hyperparameters(names, settings, seed=seed, devices=devices)
    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    start = opening(stock, panel, policy, decimal=table.options["decimal"])
    horizon = horizon_of_rounds(panel, start, policy, rounds)
    result = play(
        [registry.create(name, horizon=horizon, **hyper[name]) for name in names],
        panel, None if stock is None else start, policy, rounds=rounds, refit=refit, n_samples=paths, scaled=scaled, progress=show.shows_progress(),
    )  # fmt: skip
    if not options.is_first_process():
        return
    show.costs(result.leaderboard(), json=json)
    if out:
        results.write_table(result.rows, out, what="the rounds")
    if picture:
        results.write_picture(result.plot(), picture)
