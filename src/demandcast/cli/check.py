"""`demandcast check`: what is in a table, what is wrong with it, and what is done about it."""

from __future__ import annotations

import typer

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast check sales.csv --key store,item"


@options.takes_table
def check(table: options.Table, json: options.Json = False) -> None:
    """Say what is in a table, and what is wrong with it.

    Nothing is changed and nothing is fitted. Each finding is named and counted, with the option
    that treats it another way. Exit code 2 where the table cannot be forecast as it is.
    """
    from demandcast.frames import check as check_table

    report = check_table(table.source, **table.options)
    if report.panel is not None:
        show.panel(report.panel, table.options, notes=False)
        show.demand(report.panel)
    if json:
        show.machine(report.to_json())
    elif report.findings:
        show.findings(report)
    if not report.ok:
        show.say(
            "error: the table cannot be forecast as it is; mend what the table above calls error"
        )
        raise typer.Exit(2)
    if not json:
        show.say(f"next: demandcast backtest {table.source} --horizon STEPS, with the same options")
