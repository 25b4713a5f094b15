"""`demandcast forecast`: forecast every series of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, places, show, signals

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

EXAMPLES = "Example: demandcast forecast sales.csv --horizon 28 --out forecast.csv"
DEFAULT_MODEL = "auto"


@options.takes_table
def forecast(
    table: options.Table,
    horizon: options.Horizon,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="auto, or a name that demandcast models lists.")
    ] = DEFAULT_MODEL,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="How long auto searches: 30s, 5m, 1h or '500 steps'; default 5m."
        ),
    ] = None,
    settings: options.Set = None,
    quantiles: options.Quantiles = options.QUANTILES,
    by: options.By = None,
    reconcile: options.Reconcile = False,
    lock: options.Lock = None,
    seed: options.Seed = 0,
    devices: options.Devices = None,
    out: options.Out = None,
    report: options.Report = None,
    explain: options.Explain = None,
    overrides: options.Overrides = None,
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
    force: options.Force = False,
    safe_text: options.SafeText = False,
    json: options.Json = False,
) -> None:
    """Forecast every series of a table.

    Each series is forecast from its own last step. Without --model, the command tries many methods on
    the end of the history and blends those that forecast it best; Ctrl-C stops the search and takes the
    best so far. With --model, demandcast backtest measures whether that model beats the naive forecast.

    Covariates known ahead (--known) need values for the steps to forecast too: as rows of the table
    whose target is empty, or in a second table with --future.
    """
    show.check_stdout(out, report, save)
    from demandcast import registry
    from demandcast.errors import ConfigError
    from demandcast.forecaster import fit
    from demandcast.frames.read import read_panel
    from demandcast.settings import check_levels

    if out:
        places.check_ending(out)
    if explain:
        places.check_ending(explain, option="--explain")
    if explain and (reconcile or lock or overrides):
        raise ConfigError(
            "--explain is of what the model says, not of --reconcile, --lock or --overrides; leave one of them out"
        )
    outputs: dict[str, str | Path | None] = {"--out": out, "--report": report, "--explain": explain}
    kept = {"--save": save, "--checkpoint": checkpoint}
    places.check(
        files=outputs,
        folders=kept,
        table=table,
        sources={"--lock": lock, "--overrides": overrides},
        force=force,
    )
    levels = check_levels(options.levels(quantiles))
    hyper = options.hyperparameters([model], settings, seed=seed, devices=devices)[model]
    if budget is not None:
        if model != DEFAULT_MODEL:
            raise ConfigError(f"--budget is of auto, not of {model}; leave one of the two out")
        hyper["budget"] = budget
    made: Any = registry.create(model, horizon=horizon, **hyper)
    training: dict[str, Any] = {}
    if hasattr(made, "network"):  # only networks train
        training = {"checkpoint": checkpoint, "resume": resume}
    elif checkpoint:
        raise ConfigError(f"{model} has no training to keep; leave --checkpoint out")
    if resume and not checkpoint:
        raise ConfigError("--resume goes on from a folder; add --checkpoint DIR")

    if reconcile and not by:
        raise ConfigError(
            "--reconcile needs the totals to agree with; add --by store or --by total"
        )

    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    groups = show.check_groups(panel, by)
    locks = None
    if lock:
        from demandcast.frames.locks import read_lock_table

        locks = read_lock_table(lock, panel, decimal=table.options["decimal"])
    if "known" in made.takes:
        check_reach(panel, horizon)
    show.say(f"fitting {made}")
    fitted = fit(made, panel, progress=show.shows_progress(), **training)
    if model == DEFAULT_MODEL:
        signals.finish()
    predicted = fitted.predict(panel, levels=levels, progress=show.shows_progress())
    totals = []
    for columns in groups if reconcile else ():
        above = panel.total(columns)
        show.say(f"fitting {model} to {above.n_series:,} totals by {', '.join(columns) or 'all'}")
        own: Any = registry.create(model, horizon=horizon, **hyper)
        fit(own, above, progress=show.shows_progress())
        totals.append(own.predict(above, levels=levels, progress=show.shows_progress()))
    if totals or locks is not None:
        predicted = predicted.reconcile(*totals, locks=locks)
        for note in predicted.notes:
            show.say(note)
    for note in getattr(getattr(made, "log", None), "notes", ()) if verbose else ():
        show.say(note)
    if not options.first_process():
        return
    if model == DEFAULT_MODEL:
        show.search(made, panel)
    if save:
        asked = {**table.options, "freq": panel.schema.freq}
        config = {"model": model, "hyperparameters": made.hyperparameters(), "quantiles": levels}
        show.save(made, save, {**config, "table": {"source": table.source, "options": asked}})
    explanation = show.explain(predicted, explain, safe_text=safe_text)
    predicted = show.override(predicted, overrides, table.options["decimal"])
    if report:
        from demandcast.report.page import write_report

        title = f"Forecast of {table.name}"
        asked_for = options.command_line()
        write_report(
            report, forecast=predicted, panel=panel, model=made, title=title, command=asked_for,
            explanation=explanation,
        )  # fmt: skip
        show.say(f"wrote {report}")
    show.forecast(predicted, out, json=json, safe_text=safe_text, by=groups)
    if not json:
        show.summary(predicted, panel)


def check_reach(panel: Panel, horizon: int) -> None:
    """Refuse covariates that end too early, before the training."""
    from demandcast.errors import DataError

    ahead = panel.extents - panel.lengths
    if panel.known_names and ahead.min() < horizon:
        short = int(ahead.argmin())
        raise DataError(
            f"known covariates {', '.join(panel.schema.known)} reach {ahead[short]} of the {horizon} "
            f"steps to forecast for series {panel.key(short)}; give them with --future FILE, or as "
            "rows of the table whose target is empty"
        )
