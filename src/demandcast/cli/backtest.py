"""`demandcast backtest`: forecasts from several cutoffs, scored beside the seasonal naive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, show

if TYPE_CHECKING:
    from demandcast.evaluate.backtest import BacktestResult

EXAMPLES = "Example: demandcast backtest sales.csv --horizon 28 --folds 4 --models deepar,mqrnn"


@options.takes_table
def backtest(
    table: options.Table,
    horizon: options.Horizon,
    models: Annotated[str, typer.Option(help="Names by commas.")] = "deepar,mqrnn",
    settings: options.Set = None,
    folds: Annotated[int, typer.Option(min=1, help="Cutoffs to forecast from.")] = 1,
    step: Annotated[int | None, typer.Option(min=1, help="Steps between cutoffs.")] = None,
    refit: Annotated[bool, typer.Option("--refit/--no-refit", help="Fit at each fold?")] = True,
    seed: options.Seed = 0,
    out: Annotated[str | None, typer.Option(help="Folder for scores and config.")] = None,
    report: options.Report = None,
    json: options.Json = False,
) -> None:
    """Score models on the past of the table; the seasonal naive always stands beside them."""
    from demandcast import registry
    from demandcast.evaluate.backtest import NAIVE
    from demandcast.evaluate.backtest import backtest as score
    from demandcast.frames.read import read_panel

    names = [name.strip() for name in models.split(",") if name.strip()]
    names = list(dict.fromkeys([*names, NAIVE]))
    hyper = options.hyperparameters(names, settings)
    made = [registry.create(n, horizon=horizon, **{"seed": seed} | hyper[n]) for n in names]
    panel = read_panel(table.source, **table.options)
    show.panel(panel)
    result = score(
        made, panel, folds=folds, step=step, refit=refit, horizon=horizon, progress=show.watched()
    )
    show.leaderboard(result.leaderboard(), json=json)
    if out:
        config: dict[str, Any] = {"horizon": horizon, "folds": folds, "step": step or horizon}
        config |= {"refit": refit, "models": {m.name: m.hyperparameters() for m in made}}
        config |= {"table": {"source": table.source, "options": table.options}}
        write_scores(out, result, config)
    if report:
        from demandcast.report.page import write_report

        write_report(report, result=result, panel=panel, title="Backtest")
        show.say(f"wrote {report}")


def write_scores(folder: str | Path, result: BacktestResult, config: dict[str, Any]) -> None:
    """A run folder: a row for each model and fold, the leaderboard, and how to run it again."""
    show.write(result.rows, Path(folder) / "rows.csv")
    show.write(result.leaderboard(), Path(folder) / "leaderboard.csv")
    show.write_config(folder, config)
