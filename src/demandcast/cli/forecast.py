"""`demandcast forecast`: a table in, quantiles out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from demandcast.cli import options, show

if TYPE_CHECKING:
    from demandcast.panel.panel import Panel

EXAMPLES = "Example: demandcast forecast sales.csv --horizon 28 --known price,promo --out f.parquet"
DEFAULT_MODEL = "deepar"


@options.takes_table
def forecast(
    table: options.Table,
    horizon: options.Horizon,
    model: Annotated[str, typer.Option(help="See demandcast models.")] = DEFAULT_MODEL,
    settings: options.Set = None,
    quantiles: options.Quantiles = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    seed: options.Seed = 0,
    out: options.Out = None,
    report: options.Report = None,
    save: Annotated[str | None, typer.Option(help="Folder for the fitted model.")] = None,
    checkpoint: Annotated[str | None, typer.Option(help="Folder to go on from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from --checkpoint.")] = False,
    json: options.Json = False,
) -> None:
    """Fit a model to the table and forecast every series from its last step."""
    from demandcast import registry
    from demandcast.errors import ConfigError
    from demandcast.forecaster import check_levels
    from demandcast.frames.read import read_panel

    if out:
        show.check_ending(out)
    levels = check_levels(options.levels(quantiles))
    hyper = {"seed": seed} | options.hyperparameters([model], settings)[model]
    made = registry.create(model, horizon=horizon, **hyper)
    training: dict[str, Any] = {}
    if hasattr(made, "network"):  # only networks train
        training = {"checkpoint": checkpoint, "resume": resume, "progress": show.watched()}
    elif checkpoint:
        raise ConfigError(f"{model} has no training to keep; leave --checkpoint out")
    if resume and not checkpoint:
        raise ConfigError("--resume goes on from a folder; add --checkpoint DIR")

    panel = read_panel(table.source, **table.options)
    show.panel(panel)
    if "known" in made.takes:
        _check_reach(panel, horizon)
    show.say(f"fitting {made}")
    predicted = made.fit(panel, **training).predict(panel, levels=levels)
    if save:
        made.save(save)
        asked = {**table.options, "freq": panel.schema.freq}
        config = {"model": model, "hyperparameters": made.hyperparameters(), "quantiles": levels}
        show.write_config(save, {**config, "table": {"source": table.source, "options": asked}})
        show.say(f"saved {save}")
    if report:
        from demandcast.report.page import write_report

        write_report(report, forecast=predicted, panel=panel, title=f"Forecast by {model}")
        show.say(f"wrote {report}")
    if out:
        show.write(predicted.to_frame(), out)
    if json or not out:
        frame = predicted.to_frame()
        show.table(frame if json else frame.head(20), json=json)
        if not json and len(frame) > 20:
            show.say(f"the first 20 of {len(frame):,} rows; --out FILE writes all")


def _check_reach(panel: Panel, horizon: int) -> None:
    """Refuse covariates that end too early before the training, not after it."""
    from demandcast.errors import DataError

    ahead = panel.extents - panel.lengths
    if panel.known_names and ahead.min() < horizon:
        short = int(ahead.argmin())
        raise DataError(
            f"known covariates {', '.join(panel.schema.known)} reach {ahead[short]} of the {horizon} "
            f"steps to forecast for series {panel.key(short)}; give them with --future FILE, or as "
            "rows of the table whose target is empty"
        )
