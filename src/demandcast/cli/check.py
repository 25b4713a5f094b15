"""`demandcast check`: what is in a table, what is wrong with it, and what is done about it."""

from __future__ import annotations

import typer

from demandcast.cli import options, show

EXAMPLES = "Example: demandcast check sales.csv --key store,item"


@options.takes_table
def check(table: options.Table, json: options.Json = False) -> None:
    """Show how a table is read and what is wrong with it.

    The command changes nothing and fits nothing. It counts each finding and names the option that
    treats it another way. The exit code is 2 if the table cannot be forecast as it is.
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
        errors = [note for note in report.findings if note.severity == "error"]
        more = f" ({len(errors)} errors in all)" if len(errors) > 1 else ""
        show.say(f"error: not ready{more}; first: {show.as_options(errors[0].action)}")
        raise typer.Exit(2)
    if not json:
        warned = sum(note.severity == "warning" for note in report.findings)
        rest = f", {warned} {'warning' if warned == 1 else 'warnings'}" if warned else ""
        show.say(f"ready{rest}: demandcast backtest {options.as_words(table)} --horizon STEPS")
