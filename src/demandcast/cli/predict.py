"""`demandcast predict`: forecast with a saved model, without training."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated, Any

import typer

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast predict runs/a sales.csv --out forecast.csv"
Run = Annotated[str, typer.Argument(metavar="RUN", help="Folder written by forecast --save.")]


@options.takes_table
def predict(
    run: Run,
    table: options.Table,
    quantiles: options.Quantiles = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    out: options.Out = None,
    json: options.Json = False,
) -> None:
    """Forecast a table with a saved model; what is not said of it is as in the run."""
    import demandcast
    from demandcast.forecaster import check_levels
    from demandcast.frames.read import read_panel

    if out:
        show.check_ending(out)
    levels = check_levels(options.levels(quantiles))
    fitted = demandcast.load(run)
    panel = read_panel(table.source, **{**table.options, **_as_in(run, table)})
    show.panel(panel)
    frame = fitted.predict(panel, levels=levels).to_frame()
    if out:
        show.write(frame, out)
    if json or not out:
        show.table(frame if json else frame.head(20), json=json)


def _as_in(run: str, table: options.Table) -> dict[str, Any]:
    """The roles and rules of the run, for options that were left alone; none for older folders."""
    try:
        before = jsonlib.loads((Path(run) / "config.json").read_text())["table"]["options"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {
        name: value
        for name, value in before.items()
        if name in options.KEPT and table.options[name] == options.LEFT_ALONE[name]
    }
