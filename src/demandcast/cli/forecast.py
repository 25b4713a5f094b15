"""`demandcast forecast`: a table in, quantiles out."""

from __future__ import annotations

from typing import Annotated

import typer

from demandcast.cli import options, show

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
    resume: Annotated[bool, typer.Option(help="Go on from --checkpoint.")] = False,
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
    hyper = options.hyperparameters(model, settings)
    if "seed" in registry.classes()[model].defaults():  # type: ignore[attr-defined, unused-ignore]
        hyper.setdefault("seed", seed)
    training = {"checkpoint": checkpoint, "resume": resume} if checkpoint else {}
    if resume and not checkpoint:
        raise ConfigError("--resume goes on from a folder; add --checkpoint DIR")

    panel = read_panel(table.source, **table.options)
    show.panel(panel)
    fitted = registry.create(model, horizon=horizon, **hyper).fit(panel, **training)
    made = fitted.predict(panel, levels=levels)
    if save:
        fitted.save(save)
        show.say(f"saved {save}")
    if report:
        from demandcast.report.page import write_report

        write_report(report, forecast=made, panel=panel, title=f"Forecast by {model}")
        show.say(f"wrote {report}")
    if out:
        show.write(made.to_frame(), out)
    if json or not out:
        frame = made.to_frame()
        show.table(frame if json else frame.head(20), json=json)
