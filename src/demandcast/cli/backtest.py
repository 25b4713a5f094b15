"""`demandcast backtest`: forecasts from several cutoffs, scored beside the seasonal naive."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

import typer

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast backtest sales.csv --horizon 28 --folds 4 --models deepar,mqrnn"


@options.takes_table
def backtest(
    table: options.Table,
    horizon: options.Horizon,
    models: Annotated[str, typer.Option(help="Names by commas.")] = "deepar,mqrnn",
    folds: Annotated[int, typer.Option(min=1, help="Cutoffs to forecast from.")] = 1,
    step: Annotated[int | None, typer.Option(min=1, help="Steps between cutoffs.")] = None,
    refit: Annotated[bool, typer.Option("--refit/--no-refit", help="Fit at each fold?")] = True,
    seed: options.Seed = 0,
    out: Annotated[str | None, typer.Option(help="Folder for rows, leaderboard, config.")] = None,
    report: options.Report = None,
    json: options.Json = False,
) -> None:
    """Score models on the past of the table; the seasonal naive always stands beside them."""
    from demandcast import registry
    from demandcast.evaluate.backtest import backtest as score
    from demandcast.frames.read import read_panel

    names = list(dict.fromkeys([n.strip() for n in models.split(",")] + ["seasonal_naive"]))
    made = []
    for name in names:
        hyper = options.hyperparameters(name, None)
        if "seed" in registry.classes()[name].defaults():  # type: ignore[attr-defined, unused-ignore]
            hyper["seed"] = seed
        made.append(registry.create(name, horizon=horizon, **hyper))
    panel = read_panel(table.source, **table.options)
    show.panel(panel)
    result = score(made, panel, folds=folds, step=step, refit=refit, horizon=horizon)
    leaderboard = result.leaderboard()
    show.table(leaderboard, json=json)
    for row in leaderboard.iter_rows(named=True):
        if row["verdict"].startswith("loses"):
            show.say(f"{row['model']} loses to the seasonal naive on this table: do not use it")
    if out:
        folder = Path(out)
        show.write(result.rows, str(folder / "rows.csv"))
        show.write(leaderboard, str(folder / "leaderboard.csv"))
        config = {"horizon": horizon, "models": names, "folds": folds, "step": step}
        config |= {"refit": refit, "seed": seed, "table": {"source": table.source, **table.options}}
        (folder / "config.json").write_text(jsonlib.dumps(config, indent=2))
    if report:
        from demandcast.report.page import write_report

        write_report(report, result=result, panel=panel, title="Backtest")
        show.say(f"wrote {report}")
