"""`demandcast backtest`: forecast from several cutoffs and score against the seasonal naive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, places, results, show

if TYPE_CHECKING:
    from demandcast.evaluate.backtest import BacktestResult

SCORES = ("rows.csv", "leaderboard.csv", "config.json")  # files of the folder of --out
EXAMPLES = "Example: demandcast backtest sales.csv --horizon 28 --folds 4 --models deepar,mqrnn"


@options.takes_table
def backtest(
    table: options.Table,
    horizon: options.Horizon,
    models: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Models to score, separated by commas; demandcast models lists them.",
        ),
    ] = "deepar,mqrnn",
    settings: options.Set = None,
    folds: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many cutoffs to forecast from.")
    ] = 1,
    step: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="Steps between cutoffs; default: the horizon."),
    ] = None,
    refit: Annotated[
        bool, typer.Option("--refit/--no-refit", help="Fit at every fold, or at the first only.")
    ] = True,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Scores to show, such as wql,mape; mape counts only steps with demand.",
        ),
    ] = None,
    seed: options.Seed = 0,
    devices: options.Devices = None,
    out: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write scores and settings into a folder.")
    ] = None,
    report: options.Report = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Measure models on the history of a table.

    Each fold hides the last steps, fits on the rest and forecasts the hidden steps. The seasonal naive
    is always scored too: a model that does not beat it is not worth its effort. --set applies to every
    model that has the hyper-parameter.
    """
    from demandcast import registry
    from demandcast.evaluate.backtest import NAIVE
    from demandcast.evaluate.backtest import backtest as score
    from demandcast.frames.read import read_panel

    outputs: dict[str, str | Path | None] = {"--report": report}
    outputs |= {f"--out {name}": Path(out) / name for name in SCORES if out}
    places.check(files=outputs, folders={"--out": out}, table=table, force=force)
    names = list(dict.fromkeys([*options.parse_model_names(models), NAIVE]))
    hyper = options.hyperparameters(names, settings, seed=seed, devices=devices)
    forecasters = [registry.create(name, horizon=horizon, **hyper[name]) for name in names]
    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    result = score(
        forecasters,
        panel,
        folds=folds,
        step=step,
        refit=refit,
        horizon=horizon,
        metrics=metrics,
        progress=show.shows_progress(),
    )
    if not options.is_first_process():
        return
    show.leaderboard(result.leaderboard(), json=json, all_columns=metrics is not None)
    if out:
        config: dict[str, Any] = {"horizon": horizon, "folds": folds, "step": step or horizon}
        config |= {"refit": refit, "models": {m.name: m.hyperparameters() for m in forecasters}}
        config |= {"table": {"source": table.source, "options": table.options}}
        write_scores(out, result, config)
    if report:
        from demandcast.report.page import write_report

        title = f"Backtest of {table.name}"
        write_report(
            report, result=result, panel=panel, title=title, command=options.command_line()
        )
        show.say(f"wrote {report}")


def write_scores(folder: str | Path, result: BacktestResult, config: dict[str, Any]) -> None:
    """Write a run folder: a row for each model and fold, the leaderboard, and the settings."""
    results.write_table(result.rows, Path(folder) / "rows.csv", what="the scores")
    results.write_table(result.leaderboard(), Path(folder) / "leaderboard.csv", what="the scores")
    results.write_config(folder, config)
