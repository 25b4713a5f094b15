"""How tables and files leave a command: to stdout, plain where no one watches, whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demandcast.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from demandcast.panel.panel import Panel


def say(text: object) -> None:
    """A line of progress, to stderr."""
    print(text, file=sys.stderr)


def table(frame: pl.DataFrame, *, json: bool = False) -> None:
    """A frame to stdout: JSON, a ruled table on a terminal, or aligned plain text."""
    if json:
        print(frame.write_json())
        return
    cells = [[_cell(value) for value in row] for row in frame.iter_rows()]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        ruled = Table(*frame.columns)
        for row in cells:
            ruled.add_row(*row)
        Console().print(ruled, markup=False)
        return
    rows = [list(frame.columns), *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def panel(read: Panel) -> None:
    """What was read, and what was done to it, to stderr."""
    schema = read.schema
    say(read)
    say(f"key {list(schema.key)}, time {schema.time!r}, target {schema.target!r}")
    for note in read.notes:
        say(note)


def write(frame: pl.DataFrame, path: str) -> None:
    """Write a frame by the ending of its name; a reader never sees half a file."""
    target = Path(path)
    kind = check_ending(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        os.close(handle)
        try:
            if kind == ".parquet":
                frame.write_parquet(beside)
            else:
                frame.write_csv(beside, separator="," if kind == ".csv" else "\t")
            os.replace(beside, target)
        finally:
            Path(beside).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}") from error
    say(f"wrote {path}")


def check_ending(path: str) -> str:
    """The kind of file a name asks for, refused before any work is done."""
    kind = Path(path).suffix.lower()
    if kind not in (".csv", ".tsv", ".parquet"):
        raise ConfigError(f"--out {path} is of no known kind; end it in .csv, .tsv or .parquet")
    return kind
