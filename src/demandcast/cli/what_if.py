"""`demandcast what-if`: what a price or a promotion changes in the forecast of a saved model."""

from __future__ import annotations

from typing import Annotated

import typer

from demandcast.cli import options, places, results, show
from demandcast.cli.predict import Run, read_aligned

EXAMPLES = 'Example: demandcast what-if runs/a sales.csv --future prices.csv --set "promo=1 where week=12 and store=north"'


@options.takes_table
def what_if(
    run: Run,
    table: options.Table,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="CHANGE",
            help='A change: "promo=1 where week=12", "price*=0.9"; repeat for more.',
        ),
    ] = None,
    response: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="In place of --set: demand at 0.7 to 1.3 times a price."
        ),
    ] = None,
    effect: Annotated[
        str,
        typer.Option(
            metavar="WHO",
            help="Who says what a change does: the model, or the history (any model).",
        ),
    ] = "model",
    out: options.Out = None,
    picture: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Draw the series that changes most: .png, .svg, .pdf."),
    ] = None,
    force: options.Force = False,
    safe_text: options.SafeText = False,
    json: options.Json = False,
) -> None:
    """Show what a price or a promotion changes in a forecast.

    The saved model forecasts twice, as planned and with the changes, with the same random numbers. Printed are the
    sums over the steps ahead and the 80 % interval of the difference.
    """
    show.check_stdout(out, picture)
    import demandcast
    from demandcast.errors import ConfigError
    from demandcast.forecast.changes import as_changes
    from demandcast.forecast.what_if import EFFECTS
    from demandcast.settings import one_of

    if (response is None) == (not changes):
        raise ConfigError(
            'give either --set "promo=1 where week=12" (and more) or --response price'
        )
    one_of("--effect", effect, EFFECTS)
    as_changes(changes or ["x=0"], {})  # refused before the table is read
    if out:
        places.check_ending(out)
    if picture:
        places.check_picture_ending(picture)
    places.check(files={"--out": out, "--picture": picture}, table=table, force=force)
    fitted = demandcast.load(run)
    panel = read_aligned(fitted, table)
    forecast = fitted.predict(panel, progress=show.shows_progress())
    if response is not None:
        curve = forecast.response(response, effect=effect)  # type: ignore[arg-type]
        answered, rows, notes = curve.frame, curve.frame, curve.notes
        drawn = curve.plot if picture else None
    else:
        answer = forecast.what_if(*(changes or ()), effect=effect)  # type: ignore[arg-type]
        answered, notes = answer.to_frame(), answer.notes
        moved = answer.totals()[answer.planned.column("difference")].abs()
        rows = answer.totals()[moved.arg_sort(descending=True)]
        drawn = answer.plot if picture else None
    for note in notes:
        show.say(note)
    if out:
        results.write_table(answered, out, safe_text=safe_text, what="what changes")
    if picture and drawn is not None:
        results.write_picture(drawn(), picture)
    if json:
        show.table(answered, json=True)
        return
    if not out:
        show.table(rows.head(show.ROWS))
        if len(rows) > show.ROWS:
            show.say(
                f"shown: {show.ROWS} of {len(rows):,} rows; --out FILE writes every series and step"
            )
    if response is None:
        total = answer.total()
        low, high = (
            total[f"difference_{level:g}"] for level in (answer.levels[0], answer.levels[-1])
        )
        show.say(
            f"{answer.planned.n_series:,} of {panel.n_series:,} series change, by the {effect}: "
            f"{total['planned']:,.1f} -> {total['changed']:,.1f} over {forecast.horizon} steps, "
            f"{total['difference']:+,.1f} ({total['ratio'] - 1:+.1%}), 80 % interval {low:+,.1f} to {high:+,.1f}"
        )
