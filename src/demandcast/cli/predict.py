"""`demandcast predict`: forecast with a saved model, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, show
from demandcast.cli.forecast import DEFAULT_MODEL
from demandcast.cli.outputs import Outputs, takes_outputs, write_outputs
from demandcast.errors import ConfigError
from demandcast.reading import options_at_fit

if TYPE_CHECKING:
    from demandcast.forecaster import Forecaster
    from demandcast.panel.panel import Panel

EXAMPLES = "Example: demandcast predict runs/a sales.csv --out forecast.csv"
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder that demandcast forecast --save wrote.")
]


@options.takes_table
@takes_outputs
def predict(
    *,
    run: Run,
    table: options.Table,
    outputs: Outputs,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Fit auto again if the table has many fresh rows, and save it in RUN."
        ),
    ] = False,
) -> None:
    """Forecast with a saved model, without training.

    The table may be newer or hold other series. Columns, frequency and rules that you do not give are
    those of the saved run.
    """
    show.check_stdout(outputs.out, outputs.report)
    import demandcast

    outputs.check(table)
    overrides = outputs.read_overrides(table.options["decimal"])
    levels = outputs.levels()
    fitted: Any = demandcast.load(run)
    if update and fitted.name != DEFAULT_MODEL:
        raise ConfigError(f"--update is of auto, and {run} holds {fitted.name}; leave it out")
    panel = read_aligned(fitted, table)
    outputs.groups(panel)
    if update:
        if fitted.outgrown(panel):
            fitted.update(panel, progress=show.shows_progress()).save(run)
            show.say(f"learned from the fresh rows; {run} keeps it")
        else:
            show.say("few fresh rows: nothing to learn again")
    forecast = fitted.predict(panel, levels=levels, progress=show.shows_progress())
    title = f"Forecast of {table.name}"
    write_outputs(forecast, panel, fitted, outputs, overrides=overrides, title=title)


def read_aligned(fitted: Forecaster, table: options.Table) -> Panel:
    """Read the table as the panel of a saved model, with the options at its fit, and print what was read."""
    from demandcast.frames.future import extend
    from demandcast.frames.read import read_panel

    table_options = {**table.options, **_saved_options(fitted, table)}
    # the steps ahead are added after `align`, because a category may occur in them only
    future, gaps = table_options.pop("future", None), table_options.pop("future_gaps", "last")
    panel = fitted.align(read_panel(table.source, **table_options))
    if future is not None:
        statics = table_options.get("static_table")
        panel = extend(panel, future, future_gaps=gaps, new_items=True, statics=statics)
    show.panel(panel, table_options)
    return panel


def _saved_options(fitted: Forecaster, table: options.Table) -> dict[str, Any]:
    """Return the options of the saved run that the command does not give; none if Python saved it."""
    return {
        name: value
        for name, value in options_at_fit(fitted.origin).items()
        if name in options.KEPT and table.options[name] == options.LEFT_ALONE[name]
    }
