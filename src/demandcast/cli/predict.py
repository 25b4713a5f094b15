"""`demandcast predict`: forecast with a saved model, without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, places, show
from demandcast.cli.forecast import DEFAULT_MODEL
from demandcast.reading import options_at_fit

if TYPE_CHECKING:
    from demandcast.forecaster import Forecaster
    from demandcast.panel.panel import Panel

EXAMPLES = "Example: demandcast predict runs/a sales.csv --out forecast.csv"
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="Folder that demandcast forecast --save wrote.")
]


@options.takes_table
def predict(
    run: Run,
    table: options.Table,
    quantiles: options.Quantiles = options.QUANTILES,
    by: options.By = None,
    out: options.Out = None,
    report: options.Report = None,
    explain: options.Explain = None,
    overrides: options.Overrides = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Fit auto again if the table has many fresh rows, and save it in RUN."
        ),
    ] = False,
    force: options.Force = False,
    safe_text: options.SafeText = False,
    json: options.Json = False,
) -> None:
    """Forecast with a saved model, without training.

    The table may be newer or hold other series. Columns, frequency and rules that you do not give are
    those of the saved run.
    """
    show.check_stdout(out, report)
    import demandcast
    from demandcast.errors import ConfigError
    from demandcast.settings import check_levels

    if out:
        places.check_ending(out)
    if explain and overrides:
        raise ConfigError(
            "--explain is of what the model says, not of --overrides; leave one of them out"
        )
    if explain:
        places.check_ending(explain, option="--explain")
    places.check(
        files={"--out": out, "--report": report, "--explain": explain}, table=table, force=force
    )
    levels = check_levels(options.levels(quantiles))
    fitted: Any = demandcast.load(run)
    if update and fitted.name != DEFAULT_MODEL:
        raise ConfigError(f"--update is of auto, and {run} holds {fitted.name}; leave it out")
    panel = read_aligned(fitted, table)
    groups = show.check_groups(panel, by)
    if update:
        if fitted.outgrown(panel):
            fitted.update(panel, progress=show.shows_progress()).save(run)
            show.say(f"learned from the fresh rows; {run} keeps it")
        else:
            show.say("few fresh rows: nothing to learn again")
    predicted = fitted.predict(panel, levels=levels, progress=show.shows_progress())
    explanation = show.explain(predicted, explain, safe_text=safe_text)
    predicted = show.override(predicted, overrides, table.options["decimal"])
    if report:
        from demandcast.report.page import write_report

        title = f"Forecast of {table.name}"
        command = options.command_line()
        write_report(
            report, forecast=predicted, panel=panel, model=fitted, title=title, command=command,
            explanation=explanation,
        )  # fmt: skip
        show.say(f"wrote {report}")
    show.forecast(predicted, out, json=json, safe_text=safe_text, by=groups)
    if not json:
        show.summary(predicted, panel)


def read_aligned(fitted: Forecaster, table: options.Table) -> Panel:
    """Read the table as the panel of a saved model, with the settings of its own, and print it."""
    from demandcast.frames.future import extend
    from demandcast.frames.read import read_panel

    chosen = {**table.options, **_as_in(fitted, table)}
    # laid out after the panel has the model's encoding: a category may stand in the steps ahead only
    future, gaps = chosen.pop("future", None), chosen.pop("future_gaps", "last")
    panel = fitted.align(read_panel(table.source, **chosen))
    if future is not None:
        own = chosen.get("static_table")
        panel = extend(panel, future, future_gaps=gaps, new_items=True, statics=own)
    show.panel(panel, chosen)
    return panel


def _as_in(fitted: Forecaster, table: options.Table) -> dict[str, Any]:
    """Return the roles and rules of the run for options that were not given; none if Python saved it."""
    return {
        name: value
        for name, value in options_at_fit(fitted.origin).items()
        if name in options.KEPT and table.options[name] == options.LEFT_ALONE[name]
    }
