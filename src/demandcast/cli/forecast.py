"""`demandcast forecast`: forecast every series of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, results, show, signals
from demandcast.cli.outputs import Outputs, takes_outputs, write_outputs
from demandcast.errors import ConfigError, DataError

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

EXAMPLES = "Example: demandcast forecast sales.csv --horizon 28 --out forecast.csv"
DEFAULT_MODEL = "auto"


@options.takes_table
@takes_outputs
def forecast(
    *,
    table: options.Table,
    horizon: options.Horizon,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="auto, or a name that demandcast models lists.")
    ] = DEFAULT_MODEL,
    budget: options.Budget = None,
    settings: options.Set = None,
    outputs: Outputs,
    reconcile: options.Reconcile = False,
    lock: options.Lock = None,
    seed: options.Seed = 0,
    devices: options.Devices = None,
    save: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Save the fitted model for demandcast predict."),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Save the state of the training, for --resume."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the training in --checkpoint; the numbers are those of an uninterrupted one.",
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Print what the training chose, and why.")
    ] = False,
) -> None:
    """Forecast every series of a table.

    Each series is forecast from its own last step. Without --model, the command tries many methods on
    the end of the history and blends those that forecast it best; Ctrl-C stops the search and takes the
    best so far. With --model, demandcast backtest measures whether that model beats the naive forecast.

    Covariates known ahead (--known) need values for the steps to forecast too: as rows of the table
    whose target is empty, or in a second table with --future.
    """
    show.check_stdout(outputs.out, outputs.report, save)
    from demandcast import registry
    from demandcast.forecaster import fit
    from demandcast.frames.read import read_panel

    if outputs.explain and (reconcile or lock):
        raise ConfigError(
            "--explain shows the parts of the model's own forecast, and --reconcile and --lock change that forecast; "
            "leave one of them out"
        )
    folders, sources = {"--save": save, "--checkpoint": checkpoint}, {"--lock": lock}
    outputs.check(table, folders=folders, sources=sources)
    overrides = outputs.read_overrides(table.options["decimal"])
    levels = outputs.levels()
    options.check_one_model(model)
    hyper = options.hyperparameters([model], settings, seed=seed, devices=devices, budget=budget)[
        model
    ]
    forecaster: Any = registry.create(model, horizon=horizon, **hyper)
    training = _training(forecaster, checkpoint, resume=resume)
    if reconcile and not outputs.by:
        raise ConfigError(
            "--reconcile needs the totals to agree with; add --by store or --by total"
        )

    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    groups = outputs.groups(panel)
    locks = None
    if lock:
        from demandcast.frames.lock_table import read_lock_table

        locks = read_lock_table(lock, panel, decimal=table.options["decimal"])
    if "known" in forecaster.takes:
        check_reach(panel, horizon)
    show.say(f"fitting {forecaster}")
    fit(forecaster, panel, progress=show.shows_progress(), **training)
    if model == DEFAULT_MODEL:
        signals.finish()
    predicted = forecaster.predict(panel, levels=levels, progress=show.shows_progress())
    totals = []
    for columns in groups if reconcile else ():
        total = panel.total(columns)
        show.say(f"fitting {model} to {total.n_series:,} totals by {', '.join(columns) or 'all'}")
        total_model: Any = registry.create(model, horizon=horizon, **hyper)
        fit(total_model, total, progress=show.shows_progress())
        totals.append(total_model.predict(total, levels=levels, progress=show.shows_progress()))
    if totals or locks is not None:
        predicted = predicted.reconcile(*totals, locks=locks)
        for note in predicted.notes:
            show.say(note)
    for note in getattr(getattr(forecaster, "log", None), "notes", ()) if verbose else ():
        show.say(note)
    if not options.is_first_process():
        return
    if model == DEFAULT_MODEL:
        show.search(forecaster, panel)
    if save:
        results.save_model(forecaster, save, panel, table, quantiles=levels)
    title = f"Forecast of {table.name}"
    write_outputs(predicted, panel, forecaster, outputs, overrides=overrides, title=title)


def _training(forecaster: Any, checkpoint: str | None, *, resume: bool) -> dict[str, Any]:
    """Return the arguments of `fit` that only networks have; refuse --checkpoint and --resume of others."""
    if hasattr(forecaster, "network"):
        if resume and not checkpoint:
            raise ConfigError("--resume goes on from a folder; add --checkpoint DIR")
        return {"checkpoint": checkpoint, "resume": resume}
    if checkpoint or resume:
        option = "--checkpoint" if checkpoint else "--resume"
        raise ConfigError(f"{forecaster.name} has no training to go on with; leave {option} out")
    return {}


def check_reach(panel: Panel, horizon: int) -> None:
    """Refuse covariates that end too early, before the training."""
    ahead = panel.extents - panel.lengths
    if panel.known_names and ahead.min() < horizon:
        short = int(ahead.argmin())
        raise DataError(
            f"known covariates {', '.join(panel.schema.known)} reach {ahead[short]} of the {horizon} "
            f"steps to forecast for series {panel.key(short)}; give them with --future FILE, or as "
            "rows of the table whose target is empty"
        )
