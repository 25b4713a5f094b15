"""`demandcast backtest`: forecast from several cutoffs and score against the seasonal naive."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, order, places, results, show

if TYPE_CHECKING:
    import polars as pl

    from demandcast.decide.rules import Policy
    from demandcast.evaluate.backtest import BacktestResult

SCORES = ("rows.csv", "leaderboard.csv", "config.json")  # files of the folder of --out
EXAMPLES = "Example: demandcast backtest sales.csv --horizon 28 --folds 4 --models deepar,mqrnn"


@options.takes_table
@order.takes_rule(targets=True)
def backtest(
    table: options.Table,
    horizon: options.Horizon,
    rule: order.Rule,
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
    by_cost: Annotated[
        bool,
        typer.Option(
            "--by-cost",
            help="Rank models by the cost of orders, one a fold: --lead-time, --cost-under.",
        ),
    ] = False,
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

    With --by-cost each fold is an order by the rule of demandcast order, with the stock that the orders
    before have left, and the table has costs: give --lead-time, and --cost-under and --cost-over or
    --service. Cutoffs are then --review steps apart.
    """
    from demandcast import registry
    from demandcast.decide.replay import check_folds, opening, replay
    from demandcast.evaluate.backtest import NAIVE
    from demandcast.evaluate.backtest import backtest as score
    from demandcast.frames.read import read_panel

    policy = _policy(rule, by_cost=by_cost, report=report, metrics=metrics)
    if policy is not None:
        step = policy.review if step is None else step
    outputs: dict[str, str | Path | None] = {"--report": report}
    outputs |= {f"--out {name}": Path(out) / name for name in SCORES if out}
    places.check(files=outputs, folders={"--out": out}, table=table, force=force)
    if report:
        places.check_page_ending(report)
    names = list(dict.fromkeys([*options.parse_model_names(models), NAIVE]))
    hyper = options.hyperparameters(names, settings, seed=seed, devices=devices)
    forecasters = [registry.create(name, horizon=horizon, **hyper[name]) for name in names]
    panel = read_panel(table.source, **table.options)
    show.panel(panel, table.options)
    if policy is not None:
        check_folds(opening(None, panel, policy), horizon, step or horizon, folds=folds)
    result = score(
        forecasters,
        panel,
        folds=folds,
        step=step,
        refit=refit,
        horizon=horizon,
        metrics=metrics,
        n_samples=None if policy is None else order.PATHS,
        progress=show.shows_progress(),
    )
    if not options.is_first_process():
        return
    board = result.leaderboard()
    if policy is None:
        show.leaderboard(board, json=json, all_columns=metrics is not None)
    else:
        board = replay(result, policy=policy).leaderboard()
        show.costs(board, json=json)
    if out:
        config: dict[str, Any] = {"horizon": horizon, "folds": folds, "step": step or horizon}
        config |= {"refit": refit, "models": {m.name: m.hyperparameters() for m in forecasters}}
        config |= {"table": {"source": table.source, "options": table.options}}
        config |= {"rule": {name: value for name, value in rule.items() if policy is not None}}
        write_scores(out, result, board, config)
    if report:
        from demandcast.report.page import write_report

        title = f"Backtest of {table.name}"
        write_report(
            report, result=result, panel=panel, title=title, command=options.command_line()
        )
        show.say(f"wrote {report}")


def _policy(
    rule: order.Rule, *, by_cost: bool, report: str | None, metrics: str | None
) -> Policy | None:
    """Return the rule of --by-cost; None without it, when no option of it is given."""
    from demandcast.decide.rules import Policy
    from demandcast.errors import ConfigError

    if not by_cost:
        usual = inspect.signature(order.target_options).parameters
        for name, value in rule.items():
            if value != usual[name].default:
                option = "--backorders" if name == "lost_sales" else f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} is of orders; add --by-cost, or leave it out")
        return None
    for option, value in (("--report", report), ("--metrics", metrics)):
        if value is not None:
            raise ConfigError(
                f"{option} shows scores of forecasts, and --by-cost costs of orders; leave one of the two out"
            )
    return Policy(**rule)


def write_scores(
    folder: str | Path, result: BacktestResult, board: pl.DataFrame, config: dict[str, Any]
) -> None:
    """Write a run folder: a row for each model and fold, the leaderboard, and the settings."""
    results.write_table(result.rows, Path(folder) / "rows.csv", what="the scores")
    results.write_table(board, Path(folder) / "leaderboard.csv", what="the scores")
    results.write_config(folder, config)
