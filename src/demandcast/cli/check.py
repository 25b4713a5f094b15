"""`demandcast check`: what is in a table, what is wrong with it, and what is done about it."""

from __future__ import annotations

import typer

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast check sales.csv --key store,item --json"


@options.takes_table
def check(table: options.Table, json: options.Json = False) -> None:
    """Say what is in the table, what is wrong with it, and what will be done about it."""
    from demandcast.frames import check as check_table

    report = check_table(table.source, **table.options)
    if json:
        print(report.to_json())
    else:
        if report.panel is not None:
            show.panel(report.panel)
        show.table(report.to_frame())
    if not report.ok:
        show.say("error: the table cannot be forecast as it is; see the findings of severity error")
        raise typer.Exit(2)
