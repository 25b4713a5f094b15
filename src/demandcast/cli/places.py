"""Check where a command may write: never over its inputs, and over foreign files only with --force."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demandcast.cli.options import Table
from demandcast.errors import ConfigError, FileError
from demandcast.files import check_name, is_same, is_special, printable

HEAD = 1 << 16  # first bytes of a file, by which it is recognised
PAGE = b'<meta name="generator" content="demandcast">'
KINDS = (".csv", ".tsv", ".parquet", ".xlsx")
SCORES = {"model", "fit_seconds"}  # columns of every table of scores, whatever its metrics
ROUNDS = {"model", "round", "not_out", "ordered"}  # columns of every table of a replay
COSTS = {"model", "service", "fill_rate", "held", "lost", "ordered"}  # columns of costs by model
PICTURES = {".png": b"\x89PNG", ".svg": b"matplotlib", ".pdf": b"Matplotlib"}  # bytes of our own
ANSWERS = (  # columns of a what-if, a response and an explanation
    {"planned", "changed", "difference"},
    {"factor", "value", "demand", "ratio"},
    {"mean", "base", "trend", "season", "rest"},
)
ORDERS = {"order_up_to", "safety_stock", "p_stock_out", "why"}  # columns of every table of orders


def check(
    *,
    files: dict[str, str | Path | None] | None = None,
    folders: Mapping[str, str | None] | None = None,
    table: Table | None = None,
    sources: Mapping[str, str | Path | None] | None = None,
    force: bool = False,
) -> None:
    """Refuse places that cannot or must not be written to, before the command does any work.

    An existing file is replaced if it is empty or an earlier output: a forecast, scores, orders, a replay
    or a what-if, recognised by its columns; a page, a picture or a trace written by this package.

    Args:
        files: Option -> the file to write.
        folders: Option -> the folder to write.
        table: The table that the command reads.
        sources: Option -> another file that the command reads.
        force: Also replace files that are not recognised.

    Raises:
        FileError: A place is a folder and should be a file, or the other way round; it is read-only, is
            read by the command, is named twice, or is a file that this package did not write.
    """
    paths = {option: Path(path) for option, path in (files or {}).items() if path}
    inputs: dict[str, Any] = {**(sources or {})}
    if table is not None:
        read_options = {"--future": "future", "--static-table": "static_table"}
        inputs |= {"the table": table.source}
        inputs |= {option: table.options.get(name) for option, name in read_options.items()}
    for option, path in paths.items():
        _check_place(path, "a file")
        _check_not_read(option, path, inputs)
        if not force and not is_output(path):
            raise FileError(
                f"{option} {printable(path)} is there already, and is not a file that this package wrote; name "
                "another file, or add --force to replace it"
            )
    all_paths = {
        **paths,
        **{option: Path(path) for option, path in (folders or {}).items() if path},
    }
    for option, path in all_paths.items():
        if option not in paths:
            _check_place(path, "a folder")
            if not force and not is_output(path / "config.json"):
                raise FileError(
                    f"{option} {printable(path)} has a config.json that this package did not write; name another "
                    "folder, or move that file"
                )
        for other_option, place in all_paths.items():
            both_folders = option not in paths and other_option not in paths
            if (
                other_option < option
                and not both_folders
                and is_same(path, place)
                and not is_special(path)
            ):
                raise FileError(
                    f"{other_option} and {option} name the same place, {printable(path)}; name two"
                )
    for option, path in all_paths.items():
        if option not in paths and path.suffix.lower() in KINDS and not path.exists():
            raise FileError(
                f"{option} {printable(path)} has the name of a file, but it is a folder that is written; name a folder"
            )


def _check_place(path: Path, expected: str) -> None:
    check_name(path, "nothing else")
    nearest = next(p for p in (path, *path.absolute().parents) if p.exists())
    required = expected if nearest == path else "a folder"
    if nearest.is_dir() != (required == "a folder"):
        raise FileError(
            f"cannot write {printable(path)}: {nearest} is not {required}; name another place"
        )
    if not os.access(nearest, os.W_OK):
        raise FileError(
            f"cannot write {printable(path)}: {nearest} is read-only; name another place"
        )


def _check_not_read(option: str, path: Path, sources: Mapping[str, Any]) -> None:
    """Refuse to write a file that the command reads, or would read if it were run again."""
    for name, source in sources.items():
        if not isinstance(source, (str, Path)) or not source:
            continue
        pattern = os.path.abspath(source)
        again = fnmatch.fnmatchcase(os.path.abspath(path), pattern) or (
            os.path.isdir(pattern) and is_same(path.parent, pattern)
        )
        if again or any(is_same(path, member) for member in _members(str(source))):
            raise FileError(
                f"{option} {printable(path)} is read as {name}, and would be overwritten; name another file"
            )


def _members(source: str) -> Iterator[str]:
    """Yield the files of a path, a folder or a glob."""
    yield source
    yield from glob.iglob(source)
    if os.path.isdir(source):
        yield from (entry.path for entry in os.scandir(source))


def is_output(path: Path) -> bool:
    """Return whether a path may be written to: it is absent, empty, a pipe, or an earlier output."""
    if not path.exists() or is_special(path) or path.stat().st_size == 0:
        return True
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            import polars as pl

            columns = [*pl.read_parquet_schema(path)]
        elif kind == ".xlsx":
            from demandcast.frames.sheets import read_sheet

            cells, _, _ = read_sheet(path, str(path), None)
            columns = [str(cell) for cell in cells.row(0)]
        else:
            with path.open("rb") as file:
                head = file.read(HEAD)
            if kind in PICTURES:
                return PICTURES[kind] in head
            if kind not in KINDS:
                return PAGE in head or _is_trace(head) or (kind == ".json" and _is_config(path))
            separator = "\t" if kind == ".tsv" else ","
            first = head.decode("utf-8-sig", "replace").split("\n", 1)[0]
            columns = [word.strip('"\r') for word in first.split(separator)]
    except Exception:  # a damaged file is not ours, whatever it raises
        return False
    ours = {column.removeprefix("forecast_") for column in columns}
    return (
        {*columns} >= SCORES
        or {*columns} >= ROUNDS
        or {*columns} >= COSTS
        or ours >= ORDERS
        or any(ours >= answer for answer in ANSWERS)
        or (_has_mean(columns) and any(map(_is_level, columns)))
    )


def _is_trace(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a torch trace, compressed or not."""
    if head[:2] == b"\x1f\x8b":
        head = zlib.decompressobj(31).decompress(head, HEAD)
    return (
        head.lstrip()[:1] == b"{" and b'"schemaVersion"' in head and b'"deviceProperties"' in head
    )


def _is_config(path: Path) -> bool:
    """Return whether a file is the configuration of a run, written by `results.write_config`."""
    config = json.loads(path.read_bytes())
    return isinstance(config, dict) and "python" in config.get("versions", ())


def _has_mean(columns: list[str]) -> bool:
    return any(column in ("mean", "forecast_mean") for column in columns)


def _is_level(column: str) -> bool:
    try:
        return 0 < float(column.removeprefix("forecast_")) < 1
    except ValueError:
        return False


def check_ending(path: str | Path, *, option: str = "--out") -> str:
    """Return the ending of a table's file, .csv for a pipe; refuse other kinds before any work is done."""
    kind = Path(path).suffix.lower()
    if kind not in KINDS:
        if not kind and is_special(Path(path)):
            return ".csv"
        raise ConfigError(
            f"{option} {printable(path)} is of no known kind; end it in .csv, .tsv, .xlsx or .parquet"
        )
    if kind == ".xlsx":
        from demandcast.frames.sheets import require_writer

        require_writer(printable(path))
    return kind


def check_picture_ending(path: str) -> None:
    """Refuse a file for --picture whose ending names no kind of picture."""
    if Path(path).suffix.lower() not in PICTURES:
        raise ConfigError(
            f"--picture {printable(path)} is of no known kind; end it in .png, .svg or .pdf"
        )


def check_page_ending(path: str) -> None:
    """Refuse a file for --report whose ending is not that of a page."""
    if Path(path).suffix.lower() not in (".html", ".htm", "") and not is_special(Path(path)):
        raise ConfigError(
            f"--report {printable(path)} is of no known kind; a report is a page: end it in .html"
        )
