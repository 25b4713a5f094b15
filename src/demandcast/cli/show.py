"""How tables and files leave a command: to stdout, plain where no one watches, whole or not at all."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demandcast.errors import ConfigError, FileError

if TYPE_CHECKING:
    import polars as pl

    from demandcast.panel.panel import Panel

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
    """A line of progress, to stderr."""
    print(text, file=sys.stderr)


def watched() -> bool:
    """Whether someone sees bars move: on a terminal or in a notebook, not in a log."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def leaderboard(board: pl.DataFrame, *, json: bool = False) -> None:
    """A leaderboard to stdout: what is looked at first, or all of it as JSON."""
    table(board if json else board.select(c for c in FIRST if c in board.columns), json=json)


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
    schema, facts = read.schema, read.summary()
    first, last = (facts[end].removesuffix("T00:00:00.000000") for end in ("first", "last"))
    say(
        f"read {facts['series']:,} series, {facts['steps']:,} steps of {facts['frequency']}, {first} "
        f"to {last}; {facts['zeros']:.0%} zeros, {facts['missing']:.1%} missing"
    )
    say(f"key {', '.join(schema.key)}; time {schema.time}; target {schema.target}")
    for note in read.notes:
        say(note if note.series else f"{note.kind}: {note.action}")


def write(frame: pl.DataFrame, path: str | Path) -> None:
    """Write a frame by the ending of its name; a reader never sees half a file."""
    if check_ending(path) == ".parquet":
        content = io.BytesIO()
        frame.write_parquet(content)
        _replace(Path(path), content.getvalue())
    else:
        separator = "," if check_ending(path) == ".csv" else "\t"
        _replace(Path(path), frame.write_csv(separator=separator).encode())
    say(f"wrote {path}")


def write_config(folder: str | Path, content: dict[str, Any]) -> None:
    """Write `config.json`: what a run was told, and the versions that it ran on."""
    versions = {"python": platform.python_version()}
    for package in ("demandcast", "torch", "numpy", "polars"):
        with contextlib.suppress(PackageNotFoundError):  # run from a source folder
            versions[package] = version(package)
    text = json.dumps({**content, "versions": versions}, indent=2, default=str)
    _replace(Path(folder) / "config.json", (text + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    """Put a whole file in its place; the place keeps what it had if anything fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise FileError(f"cannot write {path}: {error.strerror or error}") from error


def check_ending(path: str | Path) -> str:
    """The kind of file a name asks for, refused before any work is done."""
    kind = Path(path).suffix.lower()
    if kind not in (".csv", ".tsv", ".parquet"):
        raise ConfigError(f"--out {path} is of no known kind; end it in .csv, .tsv or .parquet")
    return kind
