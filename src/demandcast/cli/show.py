"""Print tables, notes and progress: plain text where there is no terminal."""

from __future__ import annotations

import contextlib
import math
import re
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from demandcast.cli import options, terminal
from demandcast.errors import FileError

if TYPE_CHECKING:
    import polars as pl

    from demandcast.automl.auto import Auto
    from demandcast.frames.check import Report
    from demandcast.panel.panel import Note, Panel

ROWS = 20  # printed of a table; --json and --out have all of them
GUESSED = ("key", "time", "target", "freq")  # roles that are guessed where nobody names them
FIRST = (
    "model",
    "wql",
    "vs_seasonal_naive",
    "wape",
    "mase",
    "bias",
    "coverage_80",
    "fit_seconds",
    "verdict",
)  # fmt: skip  of a leaderboard; its other columns are in --json and --out


def say(text: object) -> None:
    """Print a line of progress to stderr."""
    terminal.write(terminal.printable(text), sys.stderr)


def lines(text: object) -> None:
    """Print a text of several lines to stdout."""
    for line in str(text).split("\n"):
        terminal.write(terminal.printable(line), sys.stdout)


def machine(text: str) -> None:
    """Print a JSON text to stdout."""
    terminal.write(terminal.printable_json(text), sys.stdout)


def check_stdout(*files: str | None) -> None:
    """Refuse a closed stdout where the result would go nowhere else.

    Raises:
        FileError: stdout is closed and no file is named.
    """
    if sys.stdout is None and not any(files):
        raise FileError("stdout is closed, so the result has no place; name a file with --out FILE")


def shows_progress() -> bool:
    """Return whether progress bars are seen: on a terminal or in a notebook, not in a log."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def leaderboard(board: pl.DataFrame, *, json: bool = False, all_columns: bool = False) -> None:
    """Print a leaderboard to stdout: the main columns, or all of them as JSON or if `whole`."""
    if not json:
        columns = board.columns if all_columns else [c for c in FIRST if c in board.columns]
        board = board.select(columns).with_columns(board["fit_seconds"].round(2))
    table(board, json=json)


def costs(board: pl.DataFrame, *, json: bool = False) -> None:
    """Print a leaderboard in money to stdout; without costs, where the rule is a service, no column of them."""
    if not json:
        board = board.select([c.name for c in board if c.null_count() < len(c)])
    table(board, json=json)


def search(auto: Auto, panel: Panel) -> None:
    """Print the methods that auto tried and its choice to stderr; stdout is for the forecast."""
    import polars as pl

    board = auto.leaderboard()
    if "wql" in board.columns:
        board = board.with_columns(pl.col("fit_seconds", "predict_seconds").round(2))
        board = board.with_columns(pl.col("value_added").round(1))
    with contextlib.redirect_stdout(sys.stderr):
        table(board)
        if "wql" in board.columns and auto.coverage().height > 2:
            table(auto.coverage())
    by_reason: dict[str, list[str]] = {}
    for name, why in auto.skipped.items():
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        say(f"not tried: {', '.join(names)}: {why}")
    new = auto.new_items(panel)
    if new.height:
        names = ["/".join(map(str, row)) for row in new.drop("values", "by").head(5).rows()]
        more = "" if new.height <= 5 else ", ..."
        say(f"{new.height:,} new items, forecast by {new['by'][0]}: {', '.join(names)}{more}")
    say(auto.verdict())


def table(frame: pl.DataFrame, *, json: bool = False) -> None:
    """Print a frame to stdout: JSON, a ruled table on a terminal, or aligned plain text."""
    if json:
        machine(frame.write_json())
        return
    names = list(map(terminal.printable, frame.columns))
    columns = [list(map(terminal.printable, _cells(column.to_list()))) for column in frame]
    right = [column.dtype.is_numeric() for column in frame]
    if sys.stdout is not None and sys.stdout.isatty():
        from rich import box
        from rich.console import Console
        from rich.table import Table

        ruled = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name, is_right in zip(names, right, strict=True):
            ruled.add_column(name, justify="right" if is_right else "left", no_wrap=is_right)
        for row in zip(*columns, strict=True):
            ruled.add_row(*row)
        Console(markup=False, highlight=False, emoji=False).print(ruled)
        return
    columns = [[name, *cells] for name, cells in zip(names, columns, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        padded = (
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        )
        terminal.write("  ".join(padded).rstrip(), sys.stdout)


def findings(report: Report) -> None:
    """Print the findings of `check` as a table to stdout, without empty columns."""
    import polars as pl

    frame = report.to_frame(options.as_option).with_columns(pl.col("series").replace(0, None))
    empty = [c for c in ("series", "example") if not any(frame[c].to_list())]
    table(frame.drop(empty))


def _cells(values: list[Any]) -> list[str]:
    """Return a column as text; all cells have as many decimals as give the largest value four digits."""
    sizes = [abs(v) for v in values if isinstance(v, float) and math.isfinite(v) and v]
    decimals = max(0, 3 - math.floor(math.log10(max(sizes)))) if sizes else 0
    clock = any(isinstance(v, datetime) and (v.hour or v.minute or v.second) for v in values)

    def cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, float):
            return f"{value:.{min(decimals, 9)}f}" if math.isfinite(value) else "n/a"
        if isinstance(value, datetime):
            return str(value) if clock else str(value.date())
        return str(value)

    return [cell(value) for value in values]


def panel(panel: Panel, options_used: dict[str, Any] | None = None, *, notes: bool = True) -> None:
    """Print what was read, the role of each column, and the findings, to stderr.

    Args:
        panel: What was read.
        options_used: The options of the command; roles that they do not name were guessed.
        notes: Whether to list the findings.
    """
    schema, facts = panel.schema, panel.summary()
    missing = facts["missing"]
    say(
        f"read {facts['series']:,} series, {facts['steps']:,} steps of {facts['frequency']}, "
        f"{_moment(facts['first'])} to {_moment(facts['last'])}; {facts['zeros']:.0%} zeros, "
        f"{'none' if not missing else f'{missing:.1%}' if missing >= 0.001 else 'under 0.1%'} missing"
    )
    roles = {
        "key": schema.key, "time": schema.time, "target": schema.target, "freq": schema.freq,
        "known": schema.known, "past": schema.past, "static": schema.static,
        "available": schema.available,
    }  # fmt: skip
    words = [
        f"{role} {column if isinstance(column, str) else ','.join(column)}"
        for role, column in roles.items()
        if column
    ]
    guessed = [f"--{name}" for name in GUESSED if options_used and not options_used[name]]
    hint = f" (guessed; change with {' '.join(guessed)})" if guessed else ""
    say("; ".join(words) + hint)
    for note in panel.notes if notes else ():
        if not _is_role(note):
            say(note.text(options.as_option))


def _is_role(note: Note) -> bool:
    """Return whether a note is about a guessed role, which the line of the roles shows already."""
    changed = {name for out in note.ways for name, _ in out.arguments}
    return note.kind == "guess" and len(changed) == 1 and changed <= set(GUESSED)


def demand(panel: Panel) -> None:
    """Print how many series have each class of demand, to stderr."""
    from demandcast.panel.classes import CLASSES, count_classes

    counts = count_classes(panel)
    kinds, flags = (
        ", ".join(
            f"{count:,} {kind}" for kind, count in counts.items() if (kind in CLASSES) is is_class
        )
        for is_class in (True, False)
    )
    also = f"; of them {flags}" if flags else ""
    say(f"demand by {panel.schema.freq}: {kinds}{also}")


def _moment(text: str) -> str:
    """Return a timestamp without a time of day of zeros: 2024-01-01, or 2024-01-01 13:00."""
    return re.sub(r"T00:00:00(\.0+)?$|(:00)?\.0+$", "", text).replace("T", " ")
