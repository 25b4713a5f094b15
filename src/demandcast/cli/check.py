"""`demandcast check`: show how a table is read, what is wrong with it, and which option mends it."""

from __future__ import annotations

from typing import Annotated

import typer

from demandcast.cli import options, places, show
from demandcast.errors import with_ways

EXAMPLES = "Example: demandcast check sales.csv --key store,item"


@options.takes_table
def check(
    table: options.Table,
    fix: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Write the table as it was read, with ISO dates and plain numbers: .csv .xlsx .parquet.",
        ),
    ] = None,
    force: options.Force = False,
    json: options.Json = False,
) -> None:
    """Show how a table is read and what is wrong with it.

    The command never changes DATA and fits nothing. It counts each finding and names the option that
    treats it another way. The exit code is 2 if the table cannot be forecast as it is.
    """
    from demandcast.frames import check as check_table
    from demandcast.frames.fixed import write_fixed

    if fix:
        places.check_ending(fix, option="--fix")
        places.check(files={"--fix": fix}, table=table, force=force)
    report = check_table(table.source, **table.options)
    if report.panel is not None:
        show.panel(report.panel, table.options, notes=False)
        show.demand(report.panel)
    if json:
        show.machine(report.to_json())
    elif report.findings:
        show.findings(report)
    if report.panel is None:
        errors = [note for note in report.findings if note.severity == "error"]
        if fix:
            show.say(f"{fix} is not written; mend the table first")
        first = with_ways(errors[0].done, errors[0].ways, options.as_option)
        count = "" if len(errors) == 1 else f", {len(errors)} errors; the first"
        show.say(f"error: not ready{count}: {first}")
        if all(note.mend for note in errors):
            show.say(f"try: {options.command_line(report.mend.items())}")
        raise typer.Exit(2)
    if fix:
        options_to_read = write_fixed(report.panel, fix)
        written = options.Table(fix, options.LEFT_ALONE | options_to_read)
        show.say(
            f"wrote {fix}; it reads back as the same panel: demandcast check {options.as_words(written)}"
        )
    if not json:
        warned = sum(note.severity == "warning" for note in report.findings)
        rest = f", {warned} {'warning' if warned == 1 else 'warnings'}" if warned else ""
        show.say(f"ready{rest}: demandcast backtest {options.as_words(table)} --horizon STEPS")
