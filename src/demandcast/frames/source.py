"""Whatever the user has, as one polars frame: a path, a glob, a list of paths, or any frame."""

from __future__ import annotations

import bz2
import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl

from demandcast.errors import FileError, SchemaError

TEXT = (".csv", ".tsv", ".txt")
PACKED = (".gz", ".zst", ".bz2")
MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "#N/A"]


def open_table(source: Any) -> pl.DataFrame:
    """The table behind `source`, as it is: nothing renamed, sorted or dropped.

    Args:
        source: A path or glob of CSV, TSV (also .gz, .zst, .bz2) or Parquet; a list of paths; or a
            frame of pandas, polars (lazy too), pyarrow or any library that narwhals reads.

    Raises:
        FileError: A file is absent, empty, a folder, of another type, or differs in its columns.
        SchemaError: `source` is neither a path nor a frame.
    """
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if isinstance(source, (str, Path)):
        return _stack(_paths(source))
    if isinstance(source, (list, tuple)) and all(isinstance(s, (str, Path)) for s in source):
        return _stack([path for s in source for path in _paths(s)])
    if nw.dependencies.is_pandas_dataframe(source):
        source = _indexed(source)
    try:
        frame = nw.from_native(source)
        eager = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    except nw.exceptions.DuplicateError as error:
        raise SchemaError(f"{' '.join(str(error).split())}; rename the columns") from None
    except TypeError:
        raise SchemaError(
            f"a source of type {type(source).__name__} is no table; give a path, a glob, or "
            'a frame of pandas, polars or pyarrow, as in read_panel("sales.csv")'
        ) from None
    try:
        return eager.to_polars()
    except (TypeError, ValueError):  # a pandas column of mixed objects
        return pl.DataFrame([_column(eager[name]) for name in eager.columns])


def _indexed(frame: Any) -> Any:
    """A pandas frame with its index as columns, where it has a name or holds times."""
    index = frame.index
    named = [name for name in index.names if name is not None and name not in frame.columns]
    return frame.reset_index() if named or index.dtype.kind == "M" else frame


def _column(column: nw.Series[Any]) -> pl.Series:
    """A column as polars has it, or as text where it mixes types; later rules judge the text."""
    try:
        return column.to_polars()
    except (TypeError, ValueError):
        words = [None if v is None or v != v else str(v) for v in column.to_list()]
        return pl.Series(column.name, words, dtype=pl.String)


def open_lazy(source: Any) -> pl.LazyFrame:
    """The same table, but of Parquet files only the columns that are asked of it are read."""
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, (str, Path)):
        source = [source]
    if isinstance(source, (list, tuple)) and all(isinstance(s, (str, Path)) for s in source):
        paths = [path for s in source for path in _paths(s)]
        if paths and all(path.suffix.lower() in (".parquet", ".pq") for path in paths):
            try:
                schemas = [pl.read_parquet_schema(path) for path in paths]
            except (pl.exceptions.PolarsError, OSError):
                schemas = []  # open_table says what is wrong
            if schemas and all(schema == schemas[0] for schema in schemas):
                return pl.scan_parquet(paths, glob=False)
    return open_table(source).lazy()


def _paths(source: str | Path) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        raise FileError(
            f'{path} is a folder; name its files by a glob: read_panel("{path}/*.parquet")'
        )
    found = sorted(Path(p) for p in glob.glob(str(source), recursive=True) if Path(p).is_file())
    if not found:
        raise FileError(f"no file at {source}; check the path, seen from {Path.cwd()}")
    return found


def _stack(paths: Sequence[Path]) -> pl.DataFrame:
    """The files one below the other; their columns must agree."""
    if not paths:
        raise FileError('the list of paths is empty; give a file, as in read_panel(["a.csv"])')
    frames = [_read(path) for path in paths]
    if not any(frame.height for frame in frames):
        raise FileError(
            f"{paths[0]} has a header line but no rows; give at least one row of key, time and target"
        )
    for path, frame in zip(paths, frames, strict=True):
        if set(frame.columns) != set(frames[0].columns):
            differ = sorted(set(frame.columns) ^ set(frames[0].columns))
            raise FileError(
                f"{path} and {paths[0]} differ in the columns {differ}; files read as one table "
                "need the same columns: narrow the glob, or mend the file"
            )
    ordered = [frame.select(frames[0].columns) for frame in frames]
    return ordered[0] if len(ordered) == 1 else pl.concat(ordered, how="vertical_relaxed")


def _read(path: Path) -> pl.DataFrame:
    if path.stat().st_size == 0:
        raise FileError(f"{path} is empty (0 bytes); give a file with a header line and rows")
    kinds = [suffix.lower() for suffix in path.suffixes]
    packed = kinds.pop() if kinds and kinds[-1] in PACKED else ""
    kind = kinds[-1] if kinds else ""
    try:
        if kind in (".parquet", ".pq") and not packed:
            return pl.read_parquet(path, glob=False)
        if kind in TEXT:
            return _read_text(path, packed)
    except (pl.exceptions.PolarsError, OSError, EOFError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(
            f"{path} cannot be read as {kind[1:]} ({reason}); write the file anew"
        ) from error
    raise FileError(
        f"{path} ends in {path.suffix or 'nothing'}; expected .csv, .tsv or .parquet (text also "
        "with .gz, .zst or .bz2): rename it, or load it yourself and pass the frame"
    )


def _read_text(path: Path, packed: str) -> pl.DataFrame:
    data: Any = bz2.decompress(path.read_bytes()) if packed == ".bz2" else path
    head = pl.read_csv(
        data, has_header=False, separator="\x01", quote_char=None, n_rows=5, glob=False
    )
    lines: list[str] = head.to_series().cast(pl.String).drop_nulls().to_list()
    if any("\x00" in line for line in lines):
        raise FileError(
            f"{path} holds binary data, not text; give a CSV, or name it .parquet if it is one"
        )
    counts = {mark: lines[0].count(mark) for mark in (",", ";", "\t", "|")}
    separator = max(counts, key=lambda mark: counts[mark])
    number = re.compile(r'\s*"?-?\d+,\d+"?\s*$')  # "1,5"; never matches where the comma separates
    table = pl.read_csv(
        data,
        separator=separator,
        decimal_comma=any(
            number.match(cell) for line in lines[1:] for cell in line.split(separator)
        ),
        null_values=MISSING,
        infer_schema_length=10_000,
        glob=False,
    )
    for name in table.columns:
        first, again, _ = name.rpartition("_duplicated_")
        if again and name not in lines[0]:
            raise FileError(f"{path} has two columns named {first!r}; rename one in its header")
    return table
