"""Check where a command may write: never over its inputs, and over files of others only with --force."""

from __future__ import annotations

import fnmatch
import glob
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from demandcast.cli.options import Table
from demandcast.errors import ConfigError, FileError
from demandcast.files import check_name, is_same, is_special, printable

HEAD = 1 << 16  # bytes by which a file is recognised
PAGE = b'<meta name="generator" content="demandcast">'
KINDS = (".csv", ".tsv", ".parquet", ".xlsx")
SCORES = {"model", "fit_seconds"}  # columns of every table of scores, whatever its metrics
ROUNDS = {"model", "round", "not_out", "ordered"}  # of every table of a replay
PICTURES = {".png": b"\x89PNG", ".svg": b"matplotlib", ".pdf": b"Matplotlib"}  # what ours hold
ANSWERS = (  # of what-if, a response and an explanation
    {"planned", "changed", "difference"},
    {"factor", "value", "demand", "ratio"},
    {"mean", "base", "trend", "season", "rest"},
)
ORDERS = {"order_up_to", "safety_stock", "p_stock_out", "why"}  # of every table of orders


def check(
    *,
    files: dict[str, str | Path | None] | None = None,
    folders: dict[str, str | None] | None = None,
    table: Table | None = None,
    sources: Mapping[str, str | Path | None] | None = None,
    force: bool = False,
) -> None:
    """Refuse what cannot or must not be written where it is to go, before any work is done for it.

    A file that is there already is replaced where it is an earlier output: a table with the columns
    "mean" and a quantile level, of scores, of orders, of a replay or of what-if; a page, a
    picture or a trace written by this package. An empty file is too.

    Args:
        files: Option -> the file it names.
        folders: Option -> the folder it names.
        table: What is read.
        sources: Option -> another file that is read.
        force: Replace files that are not recognised.

    Raises:
        FileError: A folder is named for a file, a file for a folder; a place may not be written to,
            is read by the command or named twice, or holds a file that is not an earlier output.
    """
    named = {option: Path(path) for option, path in (files or {}).items() if path}
    for option, path in named.items():
        _check_place(path, "a file")
        if table is not None:
            _check_not_read(option, path, table, sources or {})
        if not force and not is_output(path):
            raise FileError(
                f"{option} {printable(path)} is there already, and is not a file that this package wrote; name "
                "another file, or add --force to replace it"
            )
    every = {**named, **{option: Path(path) for option, path in (folders or {}).items() if path}}
    for option, path in every.items():
        if option not in named:
            _check_place(path, "a folder")
            if not force and not is_output(path / "config.json"):
                raise FileError(
                    f"{option} {printable(path)} has a config.json that this package did not write; name another "
                    "folder, or move that file"
                )
        for other, place in every.items():
            both_folders = option not in named and other not in named
            if (
                other < option
                and not both_folders
                and is_same(path, place)
                and not is_special(path)
            ):
                raise FileError(
                    f"{other} and {option} name the same place, {printable(path)}; name two"
                )


def _check_place(path: Path, wanted: str) -> None:
    check_name(path, "nothing else")
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    needed = wanted if there == path else "a folder"
    if there.is_dir() != (needed == "a folder"):
        raise FileError(
            f"cannot write {printable(path)}: {there} is not {needed}; name another place"
        )
    if not os.access(there, os.W_OK):
        raise FileError(f"cannot write {printable(path)}: {there} is read-only; name another place")


def _check_not_read(
    option: str, path: Path, table: Table, others: Mapping[str, str | Path | None]
) -> None:
    """Refuse a file that the command reads, or would read when it is called again."""
    sources = {
        **others,
        "the table": table.source,
        "--future": table.options.get("future"),
        "--static-table": table.options.get("static_table"),
    }
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
    """Yield the files that a path, a folder or a glob stands for."""
    yield source
    yield from glob.iglob(source)
    if os.path.isdir(source):
        yield from (entry.path for entry in os.scandir(source))


def is_output(path: Path) -> bool:
    """Return whether a file may be replaced: it is absent, empty, a pipe, or an earlier output."""
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
    except Exception:  # whatever a damaged file raises: it is not ours
        return False
    ours = {column.removeprefix("forecast_") for column in columns}
    return (
        {*columns} >= SCORES
        or {*columns} >= ROUNDS
        or ours >= ORDERS
        or any(ours >= answer for answer in ANSWERS)
        or (_has_mean(columns) and any(map(_is_level, columns)))
    )


def _is_trace(head: bytes) -> bool:
    """Return whether a file begins like a trace of torch, compressed or not."""
    if head[:2] == b"\x1f\x8b":
        head = zlib.decompressobj(31).decompress(head, HEAD)
    return (
        head.lstrip()[:1] == b"{" and b'"schemaVersion"' in head and b'"deviceProperties"' in head
    )


def _is_config(path: Path) -> bool:
    """Return whether a file holds the configuration of a run, as `show.write_config` writes it."""
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
    """Return the kind of file by the ending of its name, CSV for pipes; refuse others before any work is done."""
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
